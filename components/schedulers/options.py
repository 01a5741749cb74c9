"""What a scheduler may be told: each option declared once, with its default, type, range and meaning, and the check
of a set of values against the declarations, all problems at once. Knows no scheduler and no mathematics.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from components.schedulers.noise import BETA_SCHEDULES
from components.schedulers.spacing import TRAINING_SPACINGS


@dataclass(frozen=True)
class Option:
    """One constructor option: what a checkpoint's scheduler_config.json calls it, its default and what it may be.

    `annotation` is a type or tuple of types (None among the types when the option may be null). `run` marks what
    belongs to one run and not to the configuration (eta, churn): never saved with it.
    """

    name: str
    default: Any
    annotation: type | tuple[type | None, ...]
    doc: str
    choices: tuple[Any, ...] | None = None
    minimum: float = -math.inf
    maximum: float = math.inf
    run: bool = False

    def problem(self, value: Any) -> str | None:
        """What is wrong with `value`, in words; None when nothing is."""
        kinds = self.annotation if isinstance(self.annotation, tuple) else (self.annotation,)
        if value is None:
            return None if None in kinds else "must not be null"
        if not any(_is(value, kind) for kind in kinds):
            return f"is {value!r}, but must be {' or '.join(_KIND_NAMES[kind] for kind in kinds)}"
        if self.choices is not None and value not in self.choices:
            return f"is {value!r}, which is not one of its values"
        if isinstance(value, int | float) and not self.minimum <= value <= self.maximum:
            return f"is {value!r}, but must be {_range(self.minimum, self.maximum)}"
        if isinstance(value, list | tuple) and value != self.default:
            sound = value and all(_is(v, float) for v in value)
            return None if sound else "must be a list of numbers, and not an empty one"
        return None


@dataclass(frozen=True)
class OptionProblem:
    """One thing wrong with one option, in plain words.

    `file` is None where the user set the option; otherwise the file that says it, empty where nobody knows which.
    """

    option: str
    what: str
    allowed: tuple[str, ...] = ()
    nearest: str | None = None
    hint: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        text = f"{self.option} of {self.file} {self.what}" if self.file else f"{self.option} {self.what}"
        if self.nearest:
            text += f"; did you mean {self.nearest}?"
        if self.hint:
            text += f" ({self.hint})"
        if self.allowed:
            text += f"; there are: {', '.join(self.allowed)}"
        return text


class SchedulerConfigError(ValueError):
    """A scheduler was named or configured wrongly; `problems` holds each thing that is wrong."""

    def __init__(self, subject: str, problems: Iterable[OptionProblem]):
        self.subject, self.problems = subject, tuple(problems)
        super().__init__(f"{subject}: " + "; ".join(map(str, self.problems)))

    def of_file(self, path: Any) -> SchedulerConfigError:
        """The same, with the file named that says what is wrong."""
        named = (p if p.file is None else replace(p, file=str(path)) for p in self.problems)
        return SchedulerConfigError(self.subject, named)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The known name most like `name`, if any is like it at all."""
    by_lower = {known.lower(): known for known in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[found[0]] if found else None


def check(
    options: Mapping[str, Option], values: Mapping[str, Any], owners: Mapping[str, list[str]]
) -> list[OptionProblem]:
    """Every problem of `values`; `owners` says which other schedulers have an option this one lacks."""
    problems = []
    for name, value in values.items():
        option = options.get(name)
        if option is None:
            others = owners.get(name, [])
            hint = f"it is an option of {', '.join(others)}" if others else None
            close = None if others else nearest(name, options)
            problems.append(OptionProblem(name, "is not an option here", tuple(sorted(options)), close, hint))
        elif what := option.problem(value):
            problems.append(misfit(option, value, what))
    chosen = [name for name in SIGMA_FLAGS if values.get(name) is True]
    if len(chosen) > 1:
        problems.append(OptionProblem(chosen[1], f"cannot be true together with {chosen[0]}"))
    return problems


def misfit(option: Option, value: Any, what: str, file: str | None = None) -> OptionProblem:
    """A value that its option cannot have, with what it can."""
    allowed = tuple(map(str, option.choices)) if option.choices else ()
    close = nearest(value, allowed) if isinstance(value, str) and allowed else None
    return OptionProblem(option.name, what, allowed, close, file=file)


def as_yaml(value: Any) -> str:
    """A plain value as a recipe would have it."""
    return str(value).lower().replace("none", "null") if value is None or isinstance(value, bool) else str(value)


def with_defaults(options: tuple[Option, ...], **defaults: Any) -> tuple[Option, ...]:
    """The same options with other defaults: classes differ in little else."""
    return tuple(replace(o, default=defaults[o.name]) if o.name in defaults else o for o in options)


_KIND_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "a mapping",
    None: "null",
}


def _is(value: Any, kind: type | None) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is list:
        return isinstance(value, list | tuple)
    return kind is not None and isinstance(value, kind)


def _range(low: float, high: float) -> str:
    if math.isinf(high):
        return f"at least {low:g}"
    return f"at most {high:g}" if math.isinf(low) else f"between {low:g} and {high:g}"


SIGMA_FLAGS = {
    "use_karras_sigmas": "karras",
    "use_exponential_sigmas": "exponential",
    "use_beta_sigmas": "beta",
    "use_lu_lambdas": "lu",
}
"""Configuration flags that choose a spacing of sigma, and that spacing."""

BETAS = (
    Option("num_train_timesteps", 1000, int, "Length T of the training clock.", minimum=1),
    Option("beta_start", 0.0001, float, "First beta.", minimum=0, maximum=1),
    Option("beta_end", 0.02, float, "Last beta.", minimum=0, maximum=1),
    Option("beta_schedule", "linear", str, "Curve of the betas.", choices=tuple(BETA_SCHEDULES)),
    Option("trained_betas", None, (list, None), "The betas themselves, instead of a curve."),
    Option("rescale_betas_zero_snr", False, bool, "Rescale the betas to zero terminal SNR (arXiv 2305.08891)."),
)
SPACING = (
    Option("timestep_spacing", "linspace", str, "How timesteps spread over the clock.", choices=TRAINING_SPACINGS),
    Option("steps_offset", 0, int, "Shift of the 'leading' spacing (SD 1.x: 1).", minimum=0),
)
SIGMAS = tuple(
    Option(flag, False, bool, f"Visit {name} levels of sigma instead of evenly spaced timesteps.")
    for flag, name in SIGMA_FLAGS.items()
    if name != "lu"
)
ALPHA_END = (Option("set_alpha_to_one", True, bool, "End at alpha = 1 instead of at the level of timestep 0."),)
CLIP = (
    Option("clip_sample", True, bool, "Clamp the predicted x0."),
    Option("clip_sample_range", 1.0, float, "Clamp x0 to plus or minus this.", minimum=0),
)
THRESHOLD = (
    Option("thresholding", False, bool, "Dynamic thresholding of x0 (Imagen); for pixel-space models."),
    Option("dynamic_thresholding_ratio", 0.995, float, "Quantile of |x0| used as threshold.", minimum=0, maximum=1),
    Option("sample_max_value", 1.0, float, "Largest threshold.", minimum=0),
)
SIGMA_RANGE = (
    Option("sigma_min", None, (float, None), "Smallest sigma of a sigma spacing.", minimum=0),
    Option("sigma_max", None, (float, None), "Largest sigma of a sigma spacing.", minimum=0),
)
ENDS = ("zero", "sigma_min")
FINAL_SIGMA = (
    Option("final_sigmas_type", "zero", str, "Where the last step ends: at 0, or at the clock's least.", choices=ENDS),
)
ETA = Option("eta", 0.0, float, "Share of the posterior's noise: 0 is DDIM, 1 is DDPM.", minimum=0, run=True)
CHURN = (
    Option("s_churn", 0.0, float, "Noise added before each step (Karras et al. 2022, table 5).", minimum=0, run=True),
    Option("s_tmin", 0.0, float, "Churn only at sigma above this.", minimum=0, run=True),
    Option("s_tmax", float("inf"), float, "Churn only at sigma below this.", minimum=0, run=True),
    Option("s_noise", 1.0, float, "Standard deviation of the churn noise.", minimum=0, run=True),
)


def prediction_type(*choices: str) -> tuple[Option, ...]:
    return (Option("prediction_type", "epsilon", str, "What the network predicts.", choices=choices),)


OF_THE_NETWORK = frozenset(option.name for option in BETAS) | {"prediction_type"}
"""What says how the network was trained: no class's default may take its place."""

EPS_X0_V = prediction_type("epsilon", "sample", "v_prediction")
EPS_X0_V_FLOW = prediction_type("epsilon", "sample", "v_prediction", "flow_prediction")
LEARNED = ("learned", "learned_range")
VARIANCE_TYPE = Option(
    "variance_type", None, (str, None), "Set where the network predicts a variance too, unread.", choices=LEARNED
)
ALGORITHMS = ("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++")
ALGORITHM = Option("algorithm_type", "dpmsolver++", str, "Of x0 (++) or eps; the ODE or the SDE.", choices=ALGORITHMS)
SOLVER_ORDER = Option("solver_order", 2, int, "How many outputs a step looks at.", minimum=1, maximum=3)
SOLVER_TYPE = Option("solver_type", "midpoint", str, "How second order uses the slope.", choices=("midpoint", "heun"))
LOWER_ORDER_FINAL = Option("lower_order_final", True, bool, "Lower the order over the last of fewer than 15 steps.")
EULER_AT_FINAL = Option("euler_at_final", False, bool, "Make the last step first order.")
LAMBDA_MIN = Option("lambda_min_clipped", -math.inf, float, "Leave out timesteps of lambda below this (cosine betas).")
THIRD_ORDER = Option("corrected_third_order", False, bool, "Third order whose second difference has its factor 2.")
LENGTH = Option("num_train_timesteps", 1000, int, "What sigma = 1 is told as.", minimum=1)
SHIFT = Option("shift", 1.0, float, "Shift of sigma towards noise (arXiv 2403.03206, eq. 23).", minimum=0)
DYNAMIC = (
    Option("use_dynamic_shifting", False, bool, "Shift by the picture's size, with `mu`, instead."),
    Option("time_shift_type", "exponential", str, "Of dynamic shifting.", choices=("exponential", "linear")),
    Option("mu", None, (float, None), "Amount of dynamic shifting.", run=True),
)
TERMINAL = Option("shift_terminal", None, (float, None), "Stretch: the last sigma read.", minimum=0, maximum=1)
FLOW_OPTIONS = (
    LENGTH,
    SHIFT,
    *DYNAMIC,
    Option("base_shift", 0.5, (float, None), "mu at base_image_seq_len."),
    Option("max_shift", 1.15, (float, None), "mu at max_image_seq_len."),
    Option("base_image_seq_len", 256, (int, None), "Tokens of the smallest picture."),
    Option("max_image_seq_len", 4096, (int, None), "Tokens of the largest picture."),
    Option("invert_sigmas", False, bool, "Run from data to noise.", choices=(False,)),
    TERMINAL,
    *SIGMAS,
)
FLOW_SIGMAS = (
    Option("use_flow_sigmas", False, bool, "Sample a rectified flow instead of a network trained on betas."),
    Option("flow_shift", 1.0, float, "Shift of a flow's sigma towards noise (arXiv 2403.03206, eq. 23).", minimum=0),
)
EDM_OPTIONS = (
    Option("sigma_min", 0.002, float, "Smallest sigma.", minimum=0),
    Option("sigma_max", 80.0, float, "Largest sigma.", minimum=0),
    Option("sigma_data", 0.5, float, "Standard deviation of the data.", minimum=0),
    Option("sigma_schedule", "karras", str, "Spacing of sigma.", choices=("karras", "exponential")),
    Option("num_train_timesteps", 1000, int, "Kept for the checkpoint's sake: time is continuous.", minimum=1),
    *prediction_type("epsilon", "v_prediction"),
    Option("rho", 7.0, float, "Exponent of the Karras spacing."),
    *FINAL_SIGMA,
)
EXPONENTIAL = (*BETAS, *EPS_X0_V_FLOW, *THRESHOLD, LOWER_ORDER_FINAL, *SIGMAS, *FLOW_SIGMAS)
"""Of the exponential integrators, for networks trained on betas or flows."""
DPM_SOLVER = (*EXPONENTIAL, SOLVER_ORDER, ALGORITHM, SOLVER_TYPE, LAMBDA_MIN, VARIANCE_TYPE)
MULTISTEP = (SOLVER_ORDER, SOLVER_TYPE, LOWER_ORDER_FINAL, EULER_AT_FINAL, THIRD_ORDER)
POSTERIOR = (*BETAS, *CLIP, *EPS_X0_V, *with_defaults(SPACING, timestep_spacing="leading"))
"""Of DDPM and its kin, on the variance-preserving scale."""
SIGMA_SPACE = (*BETAS, *EPS_X0_V, *SIGMAS, *SPACING)
"""Of k-diffusion's samplers, on the scale x0 + sigma eps; SD's betas were the default of some."""
SIGMA_SPACE_OF_SD = with_defaults(SIGMA_SPACE, beta_start=0.00085, beta_end=0.012)
LCM_OPTIONS = (
    *with_defaults(POSTERIOR, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False),
    *ALPHA_END,
    *THRESHOLD,
    Option("original_inference_steps", 50, int, "Steps of the schedule the student was distilled on.", minimum=1),
    Option("timestep_scaling", 10.0, float, "Factor on t in the boundary condition of the student."),
    Option("strength", 1.0, float, "Share of the original schedule to run.", minimum=0, maximum=1, run=True),
)
"""Of samplers for students of few steps; spacing and offset are kept for the checkpoint's sake and play no part."""
