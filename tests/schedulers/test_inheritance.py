"""A class with another class's configuration: what it takes, what it drops, and what is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from family import MEMBERS, PEERS_WITH_ZERO_SNR, SD, Config, Member, ours_alone
from matrix import WRONG, judge
from peer_differs import Cell
from reference_loop import distance, make_peer, peer_in_float64, run_peer, run_table, smooth_path
from wider import WIDER

from components.schedulers import SchedulerConfigError, find_scheduler, scheduler_classes

CLASSES = scheduler_classes()
EVERY: dict[str, Member] = {member.name: member for member in WIDER[::-1]} | MEMBERS
UNREAD = {"variance_type", "algorithm_type"}
"""Options the reference library keeps as another class's file has them, and then does not read."""

KARRAS = {"_class_name": "EulerDiscreteScheduler", **SD, "use_karras_sigmas": True}
ZERO_SNR = {"_class_name": "DDIMScheduler", **SD, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
ON_BETAS = [name for name, cls in CLASSES.items() if "beta_start" in cls.options()]


def saved(name: str, folder: Path, **options: Any) -> Path:
    CLASSES[name](**options).save_pretrained(folder)
    return folder


# ---- every class with every other's file ---------------------------------------------------------------------------


def differences(giver: str, taker: str, folder: Path) -> list[str]:
    """In what we differ from the peer's `taker` where it reads the file, or the configuration, of its `giver`.

    Trajectories too; where the reference library is not the measure of a class, its listed cells say so, as ever.
    """
    source, peer, cls = getattr(diffusers, giver)(), getattr(diffusers, taker), CLASSES[taker]
    source.save_pretrained(folder)
    try:
        theirs = peer.from_pretrained(folder).config, peer.from_config(source.config).config
    except Exception:  # it does not read them
        return []
    ours = cls.from_pretrained(folder), cls.from_config(source.config)
    off = [
        f"{key}: {made.config[key]} for {said[key]}"
        for made, said in zip(ours, theirs, strict=True)
        for key in set(made.config) & set(said) - UNREAD
        if made.config[key] != said[key]
    ]
    config = {key: value for key, value in ours[0].inherited.items() if key not in ours_alone(taker)}
    config |= {"noise_sampler_seed": 0} if "noise_sampler_seed" in cls.options() else {}
    with smooth_path():
        verdict = judge(Cell(EVERY[taker], config, 5))
    return [*off, verdict.why] if verdict.kind == WRONG and "the peer raises" not in verdict.why else off


@pytest.mark.parametrize(
    ("giver", "taker", "dropped"),
    [
        ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler", {"solver_type": "midpoint"}),
        ("UniPCMultistepScheduler", "DPMSolverMultistepScheduler", {"solver_type": "bh2"}),
        ("UniPCMultistepScheduler", "DEISMultistepScheduler", {"solver_type": "bh2"}),
        ("DEISMultistepScheduler", "UniPCMultistepScheduler", {"solver_type": "logrho"}),
        ("DDPMScheduler", "DPMSolverMultistepScheduler", {"variance_type": "fixed_small"}),
        ("UnCLIPScheduler", "SASolverScheduler", {"variance_type": "fixed_small_log"}),
        ("DEISMultistepScheduler", "DPMSolverMultistepInverseScheduler", {"algorithm_type": "deis"}),
        ("DDIMScheduler", "EulerDiscreteScheduler", {}),
    ],
)
def test_what_means_something_to_another_class_alone_is_dropped_and_told(
    giver: str, taker: str, dropped: Config, tmp_path: Path
) -> None:
    assert differences(giver, taker, tmp_path) == []
    made = CLASSES[taker].from_pretrained(tmp_path)
    assert {**made.dropped, **dropped} == made.dropped and not set(dropped) & set(made.inherited)
    assert all(made.config[key] == made.options()[key].default for key in dropped)


@pytest.mark.slow
@pytest.mark.parametrize("giver", CLASSES)
def test_every_pair_that_the_peer_reads(giver: str, tmp_path: Path) -> None:
    assert {taker: off for taker in CLASSES if (off := differences(giver, taker, tmp_path))} == {}


@pytest.mark.parametrize("giver", ["DEISMultistepScheduler", "SASolverScheduler", "DPMSolverMultistepScheduler"])
def test_whatever_solver_wrote_a_file_all_others_read_it(giver: str, tmp_path: Path) -> None:
    """The reference library refuses DEIS's algorithm in DPM++ and SA-Solver, and SA-Solver's everywhere."""
    saved(giver, tmp_path)
    for name in set(CLASSES) - {"UnCLIPScheduler"}:  # which takes its own betas alone
        assert CLASSES[name].from_pretrained(tmp_path).tableau(3).steps == 3


def test_the_same_from_the_user_is_refused() -> None:
    file = {"_class_name": "DPMSolverMultistepScheduler", "solver_type": "midpoint"}
    with pytest.raises(SchedulerConfigError, match="solver_type is 'midpoint', which is not one of its values"):
        CLASSES["UniPCMultistepScheduler"].from_config(file, solver_type="midpoint")
    assert CLASSES["UniPCMultistepScheduler"].from_config(file, solver_type="bh1").dropped == {}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("DPMSolverMultistepScheduler", {"algorithm_type": "deis"}),
        ("DPMSolverMultistepScheduler", {"solver_order": 4}),
        ("DPMSolverMultistepScheduler", {"solver_type": "midpiont"}),
        ("DDIMScheduler", {"steps_offset": "x"}),
        ("DDIMScheduler", {"clip_sample": "false"}),
        ("DDIMScheduler", {"beta_start": None}),
        ("DDIMScheduler", {"prediction_type": "eps"}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "use_beta_sigmas": True}),
    ],
)
def test_damage_in_a_class_s_own_file_is_an_error_that_names_the_file(name: str, file: Config, tmp_path: Path) -> None:
    path = tmp_path / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": name, **file}))
    with pytest.raises(SchedulerConfigError) as error:
        CLASSES[name].from_pretrained(tmp_path)
    [problem] = error.value.problems
    assert problem.option in file and str(path) in str(error.value)


def test_what_means_nothing_to_any_class_is_damage_in_another_class_s_file_too() -> None:
    file = {"_class_name": "DPMSolverMultistepScheduler", "solver_type": "midpiont"}
    with pytest.raises(SchedulerConfigError, match="solver_type is 'midpiont'"):
        CLASSES["UniPCMultistepScheduler"].from_config(file)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("DPMSolverMultistepScheduler", "solver_type", "bh1"),
        ("DEISMultistepScheduler", "solver_type", "heun"),
        ("UniPCMultistepScheduler", "solver_type", "logrho"),
        ("DPMSolverMultistepScheduler", "variance_type", "fixed_large"),
        ("DDIMScheduler", "clip_sample", None),
        ("DDIMScheduler", "clip_sample", 0),
        ("DDIMScheduler", "set_alpha_to_one", None),
        ("DEISMultistepScheduler", "lower_order_final", None),
        ("EulerDiscreteScheduler", "use_karras_sigmas", 1),
        ("EulerDiscreteScheduler", "steps_offset", 0.0),
        ("HeunDiscreteScheduler", "steps_offset", None),
        ("DDPMScheduler", "variance_type", None),
        ("FlowMatchEulerDiscreteScheduler", "max_image_seq_len", 4096.0),
    ],
)
def test_what_old_files_say_is_what_the_peer_makes_of_it(name: str, option: str, value: Any) -> None:
    file = {"_class_name": name, **SD, option: value}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = getattr(diffusers, name).from_config(file)
    peer.set_timesteps(5)
    noise = torch.float32 if EVERY[name].float32_noise else torch.float64
    assert distance(run_table(CLASSES[name].from_config(file).tableau(5), noise_dtype=noise), run_peer(peer)) < 1e-5


@pytest.mark.parametrize("name", ["FlaxPNDMScheduler", ["custom", "PNDMScheduler"], ["PNDMScheduler"]])
def test_a_class_s_name_may_be_flaxs_or_a_list(name: Any) -> None:
    """As custom pipelines write it; then the file is that class's own."""
    with pytest.raises(SchedulerConfigError, match="prediction_type"):
        CLASSES["PNDMScheduler"].from_config({"_class_name": name, "prediction_type": "eps"})
    problem = CLASSES["EDMEulerScheduler"]().mismatch({"_class_name": name})
    assert problem is not None and "training clock" in problem.what


@pytest.mark.parametrize("name", ["SomeoneElsesScheduler", [], None, 3])
def test_a_class_s_name_that_says_nothing_is_no_error(name: Any) -> None:
    made = CLASSES["UniPCMultistepScheduler"].from_config({"_class_name": name, "solver_type": "midpoint"})
    assert made.dropped == {"solver_type": "midpoint"} and made.mismatch({"_class_name": name}) is None


@pytest.mark.parametrize("options", [{}, {"prediction_type": "flow_prediction", "use_flow_sigmas": True}])
def test_compatibles_read_the_configuration(options: Config, tmp_path: Path) -> None:
    made = CLASSES["DPMSolverMultistepScheduler"](**options)
    made.save_pretrained(tmp_path)
    assert len(made.compatibles) > 5
    for cls in made.compatibles:
        cls.from_config(made.config)
        cls.from_pretrained(tmp_path)


# ---- a file's switches beside the user's ---------------------------------------------------------------------------


def test_the_user_s_spacing_of_sigma_beats_the_file_s() -> None:
    made = find_scheduler("euler").from_config(KARRAS, use_exponential_sigmas=True)
    alone = find_scheduler("euler")(**SD, use_exponential_sigmas=True)
    np.testing.assert_array_equal(made.tableau(7).update, alone.tableau(7).update)
    assert made.dropped == {"use_karras_sigmas": True} and not made.use_karras_sigmas
    with pytest.raises(SchedulerConfigError, match="cannot be true together"):
        find_scheduler("euler").from_config(KARRAS, use_exponential_sigmas=True, use_beta_sigmas=True)


@pytest.mark.parametrize("schedule", [{"timesteps": [900, 500, 100]}, {"sigmas": [10.0, 3.0, 1.0, 0.0]}])
def test_a_listed_schedule_beats_a_file_s_spacing_of_sigma_and_not_the_user_s(schedule: dict[str, Any]) -> None:
    """The reference library refuses the first, but for Euler's sigmas, which it follows."""
    made, plain = find_scheduler("euler").from_config(KARRAS), find_scheduler("euler")(**SD)
    np.testing.assert_array_equal(made.tableau(**schedule).update, plain.tableau(**schedule).update)
    made.set_timesteps(**schedule)
    assert made.num_inference_steps == 3
    [key] = schedule
    [told] = made.concessions(made._loop.schedule)
    assert told == f"The checkpoint's use_karras_sigmas gives way to schedule.{key}."
    with pytest.raises(SchedulerConfigError, match=f"{key} cannot be given together"):
        find_scheduler("euler").from_config(SD, use_karras_sigmas=True).set_timesteps(**schedule)


@pytest.mark.parametrize(("other", "left"), [("use_karras_sigmas", "karras"), ("use_beta_sigmas", "lu")])
def test_two_spacings_of_sigma_that_the_peer_reads_from_one_file(other: str, left: str) -> None:
    file = SD | {"use_lu_lambdas": True, other: True}
    made = find_scheduler("dpmpp_2m").from_config(file)
    peer = diffusers.DPMSolverMultistepScheduler.from_config(file)
    peer.set_timesteps(6)
    assert made.configured_spacing() == left and len(made.dropped) == 1
    made.set_timesteps(6)
    np.testing.assert_allclose(np.asarray(made.sigmas), np.asarray(peer.sigmas), rtol=1e-4)


def test_clipping_that_the_user_asks_for_beats_a_file_s_thresholding() -> None:
    file = {"_class_name": "DDIMScheduler", "thresholding": True}
    clip = find_scheduler("ddpm").from_config(file, clip_sample=True).clip
    assert clip is not None and clip.kind == "range"
    clip = find_scheduler("ddpm").from_config({"clip_sample": True}, thresholding=True).clip
    assert clip is not None and clip.kind == "quantile"


def test_betas_that_the_user_describes_beat_a_file_s_list_of_them() -> None:
    file = {"_class_name": "DDIMScheduler", "trained_betas": [0.01] * 1000}
    made = find_scheduler("euler").from_config(file, beta_schedule="scaled_linear")
    assert made.tableau(3).read[0, 1] == find_scheduler("euler")(beta_schedule="scaled_linear").tableau(3).read[0, 1]
    assert list(made.dropped) == ["trained_betas"]
    assert find_scheduler("euler").from_config(file, beta_schedule="linear", trained_betas=[0.5, 0.6]).dropped == {}


# ---- zero terminal SNR ---------------------------------------------------------------------------------------------


def finite_betas() -> list[float]:
    """Betas of zero terminal SNR (arXiv 2305.08891, algorithm 1), the last alpha being the smallest in use, 2^-12."""
    root = np.sqrt(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))
    bar = np.maximum(((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2, 2.0**-24)
    return (1 - bar / np.append(1.0, bar[:-1])).tolist()


@pytest.mark.parametrize("name", ON_BETAS)
def test_every_class_on_betas_honours_zero_terminal_snr(name: str) -> None:
    options = {"timestep_spacing": "trailing"} if "timestep_spacing" in CLASSES[name].options() else {}
    made = CLASSES[name].from_config(ZERO_SNR, **options)
    read = made.tableau(10).read
    if made.ascending:
        return
    ends = np.inf if not made.finite_clock else 4096
    with np.errstate(divide="ignore"):
        assert read[0, 1] / read[0, 0] == pytest.approx(ends, rel=1e-4)


@pytest.mark.parametrize("name", sorted(set(ON_BETAS) & set(MEMBERS) - PEERS_WITH_ZERO_SNR))
def test_those_the_peer_does_not_offer_it_to_run_as_the_peer_does_on_such_betas(name: str) -> None:
    options: Config = {"prediction_type": "v_prediction"}
    options |= {"timestep_spacing": "trailing"} if "timestep_spacing" in CLASSES[name].options() else {}
    options |= {"skip_prk_steps": True} if name == "PNDMScheduler" else {}
    made = CLASSES[name].from_config(ZERO_SNR, **options)
    with peer_in_float64():
        peer = run_peer(make_peer(name, {"trained_betas": finite_betas(), **options}, 10))
    assert distance(run_table(made.tableau(10)), peer) < 1e-5


@pytest.mark.parametrize("name", ["ddim", "ddpm", "lcm", "tcd"])
@pytest.mark.parametrize("spacing", ["karras", "exponential", "beta", "polyexponential", "kl_optimal"])
def test_levels_of_sigma_start_at_the_largest_where_the_clock_ends_at_infinity(name: str, spacing: str) -> None:
    """Zero terminal SNR: sigma / alpha of the smallest alpha^2 there is, 2^-24, told as the last timestep."""
    table = find_scheduler(name).from_config(ZERO_SNR, timestep_spacing="trailing").tableau(7, spacing=spacing)
    assert table.timestep[0] == 999 and table.steps == 7
    np.testing.assert_allclose(table.read[0], [2**-12, 1], rtol=1e-6)
