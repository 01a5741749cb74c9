"""The rest of the family: schedulers for other networks than SD's, the two directions of the ODE, and SD's students.

Each has a clock and a direction of its own, so a row says what schedules it may be given and what its network answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from exact import Answer
from family import NEEDS, SD, TRAINING_SPACINGS, VALUES, Config, Member, alternatives, ours_alone

SIGMAS = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]
TIMESTEPS = [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]
FLOW_SIGMAS = [1.0, 0.93, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.0]
FLOW_TIMESTEPS = [1000, 900.5, 700, 500, 300, 100]
RISING_FLOW, RISING_FLOW_SIGMAS = (100, 300, 500, 700, 900.5), (0.1, 0.25, 0.4, 0.7, 0.93, 0.99)
EDM_SIGMAS = [80.0, 20.0, 5.0, 1.0, 0.2, 0.0]

VALUES |= {
    "rho": (5.0,),
    "sigma_data": (1.0,),
    "shift": (3.0,),
    "flow_shift": (3.0,),
    "shift_terminal": (0.1,),
    "original_inference_steps": (100,),
    "timestep_scaling": (5.0,),
    "strength": (0.5,),
    "predictor_order": (1, 3, 4),
    "corrector_order": (1, 3, 4),
    "disable_corrector": ([0, 2],),
}
KEPT_ALONE = {"mu", "tau", "noise_sampler_seed", "solver_p", "invert_sigmas", "scale_factors", "upscale_mode"}
KEPT_ALONE |= {"trained_betas"}
KEPT_ALONE |= {
    "steps_offset",
    "num_train_timesteps",
    "base_shift",
    "max_shift",
    "base_image_seq_len",
    "max_image_seq_len",
    "time_shift_type",
    "variance_type",
    "strength",
}
"""Options that have tests of their own, or that a pipeline reads and no scheduler does."""

GRID = ("timestep_spacing", "prediction_type")


def edm(sigma_data: float, sign: float = 1.0, sigma_min: float = 0.0) -> Answer:
    """Karras et al. 2022, table 1: output = (x0 - c_skip x) / c_out; with sigma_min, Song et al. 2023, appendix C."""

    def answer(x: Any, alpha: float, sigma: float, x0: Any) -> Any:
        above = sigma - sigma_min
        c_skip = sigma_data**2 / (above**2 + sigma_data**2)
        return sign * (x0 - c_skip * x) / (above * sigma_data / np.hypot(sigma, sigma_data))

    return answer


@dataclass(frozen=True)
class Wider(Member):
    """`base` is under every configuration; timesteps and sigmas are a schedule in its own clock and direction."""

    base: Config = field(default_factory=dict)
    only: tuple[str, ...] | None = None
    """The options tried, where not all are."""
    answer: Answer = "epsilon"
    timesteps: tuple[float, ...] = tuple(TIMESTEPS)
    sigmas: tuple[float, ...] = tuple(SIGMAS)
    spaced: bool = True
    """Whether every training spacing is tried with every prediction type."""

    def configs(self) -> Iterator[Config]:
        """Every option on its own, spacings × prediction types where there are spacings, and the extra."""
        options = self.cls.options()
        yield self.base
        grid = self.spaced and "timestep_spacing" in options
        if grid:
            predictions = options["prediction_type"].choices
            for spacing, prediction in itertools.product(TRAINING_SPACINGS, predictions):
                if prediction != "flow_prediction":
                    yield self.base | spacing | {"prediction_type": prediction}
        for name, option in options.items():
            if (
                (self.only is not None and name not in self.only)
                or name in KEPT_ALONE | ours_alone(self.name)
                or name in self.base
                or (grid and name in GRID)
            ):
                continue
            for value in alternatives(name, option):
                yield self.base | {k: v for k, v in NEEDS.get(name, {}).items() if k in options} | {name: value}
        for extra in self.extra:
            yield self.base | extra

    def answer_of(self, config: Config) -> Answer:
        """What the network of this configuration answers."""
        if isinstance(self.answer, str):
            return config.get("prediction_type", self.answer)
        scheduler = self.cls(**config)
        v = self.cls.options().get("prediction_type") and scheduler.prediction_type == "v_prediction"
        lowest = scheduler.sigma_min if scheduler.fits == "consistency" else 0.0
        return edm(scheduler.sigma_data, -1.0 if v else 1.0, lowest)


RISING = {"timesteps": tuple(TIMESTEPS[::-1]), "sigmas": tuple(SIGMAS[::-1])}
OF_FLOWS: dict[str, Any] = {
    "answer": "flow_prediction",
    "timesteps": tuple(FLOW_TIMESTEPS),
    "sigmas": tuple(FLOW_SIGMAS),
    "spaced": False,
}
OF_EDM: dict[str, Any] = {
    "answer": edm(0.5),
    "timesteps": tuple(np.log([80.0, 20.0, 5.0, 1.0, 0.2]) / 4),
    "sigmas": tuple(EDM_SIGMAS),
}
FLOW: Config = SD | {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
FLOW_ONLY: dict[str, Any] = {"base": FLOW, "only": ("flow_shift", "solver_order", "shift_terminal"), **OF_FLOWS}

WIDER: tuple[Wider, ...] = (
    Wider("DDIMInverseScheduler", base=SD, **RISING),
    Wider("DPMSolverMultistepInverseScheduler", base=SD, **RISING, extra=({"solver_order": 3, "solver_type": "heun"},)),
    Wider("LCMScheduler", spaced=False, extra=({"prediction_type": "v_prediction"}, {"clip_sample": True})),
    Wider("TCDScheduler", spaced=False, extra=({"eta": 1.0}, {"prediction_type": "v_prediction"})),
    Wider("UnCLIPScheduler"),
    Wider(
        "SASolverScheduler",
        base=SD,
        extra=tuple(
            {"predictor_order": p, "corrector_order": c, "algorithm_type": kind}
            for (p, c), kind in itertools.product(
                ((1, 1), (1, 2), (2, 1), (2, 3), (3, 3), (4, 4)), ("data_prediction", "noise_prediction")
            )
        ),
    ),
    Wider("DPMSolverSDEScheduler", base=SD | {"noise_sampler_seed": 0}),
    Wider("IPNDMScheduler", answer="v_prediction", timesteps=(0.98, 0.9, 0.7, 0.5, 0.3, 0.1)),
    Wider("EDMEulerScheduler", **OF_EDM),
    Wider("EDMDPMSolverMultistepScheduler", **OF_EDM, extra=({"solver_order": 3, "final_sigmas_type": "sigma_min"},)),
    Wider(
        "CosineDPMSolverMultistepScheduler",
        answer=edm(1.0, -1.0),
        timesteps=(0.998, 0.95, 0.8, 0.5, 0.3),
        sigmas=(500.0, 80.0, 20.0, 5.0, 1.0, 0.5, 0.0),
    ),
    Wider(
        "CMStochasticIterativeScheduler",
        answer=edm(0.5, 1.0, 0.002),
        timesteps=(39, 22, 5, 0),
        sigmas=(80.0, 20.0, 5.0, 1.0, 0.002),
        steps=(1, 2, 3, 5, 9, 10, 27, 40),
    ),
    Wider("FlowMatchEulerDiscreteScheduler", **OF_FLOWS),
    Wider("FlowMatchHeunDiscreteScheduler", **OF_FLOWS),
    Wider("FlowMatchLCMScheduler", **OF_FLOWS),
    Wider(
        "DPMSolverMultistepScheduler", **FLOW_ONLY, float32_noise=True, extra=({"algorithm_type": "sde-dpmsolver++"},)
    ),
    Wider("DPMSolverMultistepInverseScheduler", **FLOW_ONLY | {"timesteps": RISING_FLOW, "sigmas": RISING_FLOW_SIGMAS}),
    Wider("DPMSolverSinglestepScheduler", **FLOW_ONLY),
    Wider("DEISMultistepScheduler", **FLOW_ONLY),
    Wider("UniPCMultistepScheduler", **FLOW_ONLY),
    Wider("SASolverScheduler", **FLOW_ONLY),
)
