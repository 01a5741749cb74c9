"""Schedules that were optimised for a model and published as numbers, to be used as they stand or resampled.

Sigmas are noise-to-signal ratios, the end included. The same ten steps of "Align Your Steps" mean four things in four
tools, so the convention of the end is spelled out: `Schedule.final_sigma` says where the last step goes.
"""

from __future__ import annotations

AYS_SIGMAS: dict[str, list[float]] = {
    "sd15": [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029],
    "sdxl": [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029],
    "deepfloyd": [160.41, 8.081, 3.315, 1.885, 1.207, 0.785, 0.553, 0.293, 0.186, 0.030, 0.006],
    "svd": [700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002],
}
"""Align Your Steps (Sabour, Fidler and Kreis 2024, arXiv 2404.14507), table 3: eleven levels, ten steps."""

AYS_TIMESTEPS: dict[str, list[int]] = {
    "sd15": [999, 850, 736, 645, 545, 455, 343, 233, 124, 24],
    "sdxl": [999, 845, 730, 587, 443, 310, 193, 116, 53, 13],
}
"""The same as timesteps of the SD clock; the last step goes on to the scheduler's own end."""

GITS_SIGMAS: dict[int, list[float]] = {
    4: [2.36326075, 0.92192322, 0.36617002],
    5: [2.84484982, 1.24153244, 0.59516323, 0.25053367],
    6: [5.85520077, 2.05039096, 0.95350921, 0.45573691, 0.17026083],
    8: [5.85520077, 2.45070267, 1.36964464, 0.803307, 0.45573691, 0.25053367, 0.09824532],
    10: [5.85520077, 2.84484982, 1.67050016, 1.08895338, 0.74807048, 0.50118381, 0.32104823, 0.19894916, 0.09824532],
}
"""GITS (Chen et al. 2024, arXiv 2405.11326) for SD 1 models, gamma = 1.20, by steps: the levels between the ends."""

GITS_ENDS = (14.61464119, 0.02916753)


def gits(steps: int) -> list[float]:
    """The levels of GITS at one of its step counts, ends included. Raises ValueError for another count."""
    if steps not in GITS_SIGMAS:
        raise ValueError(f"GITS was published for {', '.join(map(str, GITS_SIGMAS))} steps, not for {steps}")
    return [GITS_ENDS[0], *GITS_SIGMAS[steps], GITS_ENDS[1]]


AysSchedules: dict[str, list[int] | list[float]] = {
    "StableDiffusionTimesteps": AYS_TIMESTEPS["sd15"],
    "StableDiffusionSigmas": [*AYS_SIGMAS["sd15"][:-1], 0.0],
    "StableDiffusionXLTimesteps": AYS_TIMESTEPS["sdxl"],
    "StableDiffusionXLSigmas": [*AYS_SIGMAS["sdxl"][:-1], 0.0],
    "StableDiffusionVideoSigmas": [*AYS_SIGMAS["svd"][:-1], 0.0],
}
"""Under the reference library's name and keys; its lists of sigmas end at 0 instead of at the published level."""
