"""The family as one table: what each scheduler is tried with. A new scheduler is one more row of `FAMILY`.

Most configurations follow from the options a class declares; a row adds what does not: combinations that take a branch
of their own, and what the method promises (its order, its kind of noise).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.schedulers import scheduler_classes

Config = dict[str, Any]

SD: Config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""The training clock of Stable Diffusion, on which nearly everything is tried."""

STEPS = (1, 2, 3, 5, 9, 10, 27, 50)
"""1 and 2 cut every history short; 3, 9 and 27 do not divide 1000; 5, 10 and 50 do."""

TRAINING_SPACINGS: tuple[Config, ...] = (
    {"timestep_spacing": "linspace"},
    {"timestep_spacing": "leading"},
    {"timestep_spacing": "leading", "steps_offset": 1},
    {"timestep_spacing": "trailing"},
)

VALUES: dict[str, tuple[Any, ...]] = {
    "num_train_timesteps": (500,),
    "beta_start": (0.001,),
    "beta_end": (0.02,),
    "trained_betas": ([0.001 + 2e-5 * i for i in range(1000)],),
    "clip_sample_range": (0.5,),
    "dynamic_thresholding_ratio": (0.9,),
    "sample_max_value": (3.0,),
    "lambda_min_clipped": (-2.0,),
    "solver_order": (1, 2, 3),
    "eta": (0.5, 1.0),
    "order": (1, 2, 3),
    "s_churn": (5.0,),
    "sigma_min": (0.1,),
    "sigma_max": (10.0,),
    "disable_corrector": ([0, 2],),
}
"""Values tried of options that are neither switches nor choices."""

NEEDS: dict[str, Config] = {
    "clip_sample_range": {"clip_sample": True},
    "dynamic_thresholding_ratio": {"thresholding": True, "sample_max_value": 3.0},
    "sample_max_value": {"thresholding": True},
    "use_clipped_model_output": {"eta": 0.5},
    "sigma_min": {"use_karras_sigmas": True},
    "sigma_max": {"use_exponential_sigmas": True},
    "s_tmin": {"s_churn": 40.0},
    "s_tmax": {"s_churn": 40.0},
    "s_noise": {"s_churn": 40.0},
}
"""What an option does nothing without."""

VALUES |= {"s_tmin": (0.05,), "s_tmax": (5.0,), "s_noise": (1.01,)}

OURS_ALONE = {"corrected_third_order"}
"""Options that the reference library does not have; other tests speak of them."""

PEERS_WITH_ZERO_SNR = {
    *("DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler", "DDPMScheduler", "DDPMParallelScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler"),
    *("UniPCMultistepScheduler", "LCMScheduler", "TCDScheduler"),
}
"""Classes that honour rescale_betas_zero_snr in the reference library too; here all on a training clock do."""


def ours_alone(name: str) -> set[str]:
    """Options of this class that the reference library's does not have."""
    return OURS_ALONE | ({"rescale_betas_zero_snr"} if name not in PEERS_WITH_ZERO_SNR else set())


OF_FLOWS = {
    "use_flow_sigmas",
    "flow_shift",
    "use_dynamic_shifting",
    "time_shift_type",
    "mu",
    "shift_terminal",
    "solver_p",
}
OF_OTHER_NETWORKS = {"flow_prediction", "learned", "learned_range"}
"""Options, and choices, that say nothing of networks like SD's: `wider` speaks of them."""


@dataclass(frozen=True)
class Member:
    """One scheduler: further configurations, what its noise is drawn in, and the numbers of steps to try it at.

    Those are fewer where the peer takes long to set its timesteps; the plain SD configuration has all of `STEPS`.
    """

    name: str
    extra: tuple[Config, ...] = ()
    float32_noise: bool = False
    steps: tuple[int, ...] = STEPS

    @property
    def cls(self) -> type:
        return scheduler_classes()[self.name]

    def spacings(self) -> tuple[Config, ...]:
        """The training spacings it can be configured with; where it has no such option, its own."""
        return TRAINING_SPACINGS if "timestep_spacing" in self.cls.options() else ({},)

    def configs(self) -> Iterator[Config]:
        """Spacings × prediction types, spacings × sigma spacings, every other option on its own, and the extra."""
        options = self.cls.options()
        flags = [
            {name: True}
            for name in options
            if name.startswith("use_") and name.split("_")[-1] in SIGMA_SPACINGS and name not in OF_FLOWS
        ]
        predictions = [
            {"prediction_type": choice}
            for choice in options["prediction_type"].choices
            if choice not in OF_OTHER_NETWORKS
        ]
        yield {}
        for spacing, other in itertools.product(self.spacings(), [*predictions, *flags]):
            yield SD | spacing | other
        for name, option in options.items():
            if (
                name in ("timestep_spacing", "steps_offset", "prediction_type", *ours_alone(self.name), *OF_FLOWS)
                or {name: True} in flags
            ):
                continue
            for value in alternatives(name, option):
                yield SD | NEEDS.get(name, {}) | {name: value}
        for extra in self.extra:
            yield SD | extra

    def split(self, config: Mapping[str, Any]) -> tuple[Config, Config]:
        """(configuration, options of a run): the peer takes the second with every step."""
        options = self.cls.options()
        run = {name: value for name, value in config.items() if options[name].run}
        return {name: value for name, value in config.items() if name not in run}, run


SIGMA_SPACINGS = ("sigmas", "lambdas")


def alternatives(name: str, option: Any) -> tuple[Any, ...]:
    """The values of an option other than its default that are worth a run."""
    if option.choices is not None:
        return tuple(choice for choice in option.choices if choice not in (option.default, *OF_OTHER_NETWORKS))
    if isinstance(option.default, bool):
        return (not option.default,)
    return VALUES[name]


def label(config: Mapping[str, Any]) -> str:
    """A configuration as a test's name: what differs from SD, long lists by their length."""
    words = [f"{k}={v if not isinstance(v, list) else len(v)}" for k, v in config.items() if SD.get(k) != v]
    return ",".join(words) or ("sd" if config else "defaults")


def dpm_combinations() -> Iterator[Config]:
    """Order × algorithm × second-order formula × end; the eps forms must end above sigma = 0."""
    algorithms = ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++")
    for order, algorithm, formula in itertools.product((1, 2, 3), algorithms, ("midpoint", "heun")):
        for end in ("zero", "sigma_min") if algorithm.endswith("++") else ("sigma_min",):
            yield {
                "solver_order": order,
                "algorithm_type": algorithm,
                "solver_type": formula,
                "final_sigmas_type": end,
            }


def singlestep_combinations() -> Iterator[Config]:
    """Order × algorithm × formula × shortened last cycles."""
    algorithms = ("dpmsolver", "dpmsolver++", "sde-dpmsolver++")
    for order, algorithm, formula, lower in itertools.product(
        (1, 2, 3), algorithms, ("midpoint", "heun"), (True, False)
    ):
        yield {
            "solver_order": order,
            "algorithm_type": algorithm,
            "solver_type": formula,
            "lower_order_final": lower,
            "final_sigmas_type": "zero" if algorithm.endswith("++") else "sigma_min",
        }


def unipc_combinations() -> Iterator[Config]:
    """Order × what is integrated × B(h); the eps form and bh1 must end above sigma = 0."""
    for order, predict_x0, formula in itertools.product((1, 2, 3, 4), (True, False), ("bh1", "bh2")):
        yield {
            "solver_order": order,
            "predict_x0": predict_x0,
            "solver_type": formula,
            "final_sigmas_type": "sigma_min",
        }
    yield {"solver_order": 3, "lower_order_final": False, "final_sigmas_type": "sigma_min"}
    yield {"disable_corrector": [0, 1], "solver_order": 3}


ZERO_SNR: tuple[Config, ...] = (
    {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
)

FAMILY: tuple[Member, ...] = (
    Member("DDPMScheduler", extra=ZERO_SNR),
    Member("DDIMScheduler", extra=ZERO_SNR),
    Member(
        "PNDMScheduler",
        extra=(
            *({**spacing, "skip_prk_steps": True} for spacing in TRAINING_SPACINGS),
            *({**s, "skip_prk_steps": True, "prediction_type": "v_prediction"} for s in TRAINING_SPACINGS),
            {"skip_prk_steps": True, "set_alpha_to_one": True},
            {"skip_prk_steps": True, "beta_schedule": "squaredcos_cap_v2"},
        ),
    ),
    Member("LMSDiscreteScheduler", steps=(1, 2, 3, 5, 9, 10)),
    Member(
        "EulerDiscreteScheduler",
        extra=(
            *ZERO_SNR,
            {"timestep_type": "continuous", "prediction_type": "v_prediction"},
            {
                "timestep_type": "continuous",
                "prediction_type": "v_prediction",
                "use_karras_sigmas": True,
                "sigma_min": 0.002,
                "sigma_max": 700.0,
            },
        ),
    ),
    Member("EulerAncestralDiscreteScheduler", extra=ZERO_SNR),
    Member("HeunDiscreteScheduler", extra=({"clip_sample": True, "prediction_type": "v_prediction"},)),
    Member(
        "DPMSolverMultistepScheduler",
        extra=(
            *dpm_combinations(),
            *ZERO_SNR,
            {"solver_order": 3, "lower_order_final": False},
            {"solver_order": 3, "lower_order_final": False, "final_sigmas_type": "sigma_min"},
            {"solver_order": 3, "euler_at_final": True},
            {"thresholding": True, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
            {"lambda_min_clipped": -5.1, "beta_schedule": "squaredcos_cap_v2"},
            {"use_karras_sigmas": True, "beta_schedule": "squaredcos_cap_v2"},
            {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min"},
            {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min", "solver_order": 3},
            {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"},
        ),
        float32_noise=True,
    ),
    Member("DDPMParallelScheduler"),
    Member("DDIMParallelScheduler"),
    Member("KDPM2DiscreteScheduler", steps=(3,)),
    Member("KDPM2AncestralDiscreteScheduler", steps=(3,)),
    Member("DEISMultistepScheduler", extra=tuple({"solver_order": n, "lower_order_final": False} for n in (1, 2, 3))),
    Member("DPMSolverSinglestepScheduler", extra=tuple(singlestep_combinations())),
    Member("UniPCMultistepScheduler", extra=tuple(unipc_combinations())),
)

MEMBERS = {member.name: member for member in FAMILY}
