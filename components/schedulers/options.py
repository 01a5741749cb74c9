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
        if (
            isinstance(value, list | tuple)
            and value != self.default
            and not (value and all(_is(v, float) for v in value))
        ):
            return "must be a list of numbers, and not an empty one"
        return None


@dataclass(frozen=True)
class OptionProblem:
    """One thing wrong with one option, in plain words."""

    option: str
    what: str
    allowed: tuple[str, ...] = ()
    nearest: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.option} {self.what}"
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
        self.problems = tuple(problems)
        super().__init__(f"{subject}: " + "; ".join(map(str, self.problems)))

    @property
    def allowed(self) -> tuple[str, ...]:
        return self.problems[0].allowed

    @property
    def nearest(self) -> str | None:
        return self.problems[0].nearest


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The known name most like `name`, if any is like it at all."""
    by_lower = {known.lower(): known for known in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
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
            allowed = tuple(map(str, option.choices)) if option.choices else ()
            close = nearest(value, allowed) if isinstance(value, str) and allowed else None
            problems.append(OptionProblem(name, what, allowed, close))
    chosen = [name for name in SIGMA_FLAGS if values.get(name) is True]
    if len(chosen) > 1:
        problems.append(OptionProblem(chosen[1], f"cannot be true together with {chosen[0]}"))
    return problems


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


# ---- options that several schedulers share -------------------------------------------------------------------------

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
)
SPACING = (
    Option("timestep_spacing", "linspace", str, "How timesteps spread over the clock.", choices=TRAINING_SPACINGS),
    Option("steps_offset", 0, int, "Shift of the 'leading' spacing (SD 1.x: 1).", minimum=0),
)
RESCALE = (Option("rescale_betas_zero_snr", False, bool, "Rescale the betas to zero terminal SNR (arXiv 2305.08891)."),)
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
FINAL_SIGMA = (
    Option(
        "final_sigmas_type",
        "zero",
        str,
        "Where the last step ends: at sigma = 0, or at the smallest of the clock.",
        choices=("zero", "sigma_min"),
    ),
)
ETA = Option(
    "eta", 0.0, float, "Share of the posterior's noise: 0 is deterministic DDIM, 1 is DDPM.", minimum=0, run=True
)

CHURN = (
    Option("s_churn", 0.0, float, "Noise added before each step (Karras et al. 2022, table 5).", minimum=0, run=True),
    Option("s_tmin", 0.0, float, "Churn only at sigma above this.", minimum=0, run=True),
    Option("s_tmax", float("inf"), float, "Churn only at sigma below this.", minimum=0, run=True),
    Option("s_noise", 1.0, float, "Standard deviation of the churn noise.", minimum=0, run=True),
)


def prediction_type(*choices: str) -> tuple[Option, ...]:
    return (Option("prediction_type", "epsilon", str, "What the network predicts.", choices=choices),)


EPS_X0_V = prediction_type("epsilon", "sample", "v_prediction")
EPS_X0_V_FLOW = prediction_type("epsilon", "sample", "v_prediction", "flow_prediction")
VARIANCE_TYPE = Option(
    "variance_type",
    None,
    (str, None),
    "Set where the network predicts a variance as well, in further channels that this sampler does not read.",
    choices=("learned", "learned_range"),
)
LCM_OPTIONS = (
    *with_defaults(BETAS, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    Option("original_inference_steps", 50, int, "Steps of the schedule the student was distilled on.", minimum=1),
    *with_defaults(CLIP, clip_sample=False),
    *ALPHA_END,
    *EPS_X0_V,
    *THRESHOLD,
    *with_defaults(SPACING, timestep_spacing="leading"),
    Option("timestep_scaling", 10.0, float, "Factor on t in the boundary condition of the student."),
    *RESCALE,
    Option("strength", 1.0, float, "Share of the original schedule to run.", minimum=0, maximum=1, run=True),
)
"""Of samplers for students of few steps; spacing and offset are kept for the checkpoint's sake and play no part."""
