"""Where the reference library is not the measure in combinations and numbers of steps that only the matrix visits."""

from __future__ import annotations

from dataclasses import dataclass

from family import Config
from peer_differs import (
    DDIM,
    DDPM,
    DIFFERS,
    DPM,
    NAN,
    RAISES,
    SINGLESTEP,
    UNIPC,
    WHOLE_TIMESTEPS,
    Cell,
    Difference,
    told_the_peers_timesteps,
)
from reference_loop import distance
from wider_differs import COSINE, EDM

from components.schedulers import scheduler_classes
from components.schedulers.options import SIGMA_FLAGS

ONE_CALL = tuple(name for name, cls in scheduler_classes().items() if cls.order == 1 and name != "PNDMScheduler")
"""Those that tell each of their timesteps once."""
TWO_CALLS = ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")


@dataclass(frozen=True)
class Repeating(Difference):
    """Cells in which the peer tells one timestep twice; `first`: the one it begins with."""

    first: bool = False

    def covers(self, cell: Cell) -> bool:
        if cell.member.name not in self.schedulers:
            return False
        try:
            told = cell.peer().timesteps.tolist()
        except Exception:  # a peer that cannot be made is another entry's
            return False
        return told[0] in told[1:] if self.first else len(set(told)) < len(told)


def not_thresholded(cell: Cell) -> float:
    """Our run without thresholding beside the peer's with it."""
    plain = Cell(cell.member, cell.config | {"thresholding": False}, cell.steps)
    return distance(plain.run(), cell.run_peer())


def _blind_eps(c: Config, steps: int) -> bool:
    return c["rescale_betas_zero_snr"] and c["prediction_type"] == "epsilon"


def _third_order_sde(c: Config, steps: int) -> bool:
    return c["algorithm_type"] == "sde-dpmsolver++" and c["solver_order"] == 3 and steps >= 3


def _on_sigmas(c: Config) -> bool:
    return "sigma_schedule" in c or any(value is True for name, value in c.items() if name in SIGMA_FLAGS)


def _ends_where_it_is(c: Config, steps: int) -> bool:
    """A spacing of sigma that ends on sigma_min, and a method that divides by the last step."""
    return _on_sigmas(c) and c["final_sigmas_type"] == "sigma_min" and _divides_by_the_last_step(c, steps)


def _inverse_ends_where_it_is(c: Config, steps: int) -> bool:
    """These spacings have reached by then the level on which the way to the noise ends."""
    there = c["timestep_spacing"] == "trailing" or _on_sigmas(c) or c["use_flow_sigmas"]
    return there and _divides_by_the_last_step(c, steps)


def _divides_by_the_last_step(c: Config, steps: int) -> bool:
    looks_back = c["solver_order"] == 3 or (c["solver_order"] == 2 and c["solver_type"] == "heun")
    lowered = c["lower_order_final"] and steps < 15
    return looks_back and not lowered


def _beyond_the_clock(c: Config, steps: int) -> bool:
    """The leading spacing, shifted, begins at a timestep that there is not."""
    length = c["num_train_timesteps"]
    return c["timestep_spacing"] == "leading" and (steps - 1) * (length // steps) + c["steps_offset"] >= length


def _any(c: Config, steps: int) -> bool:
    return True


WITH_EPS = (*DDPM, *DDIM, "LCMScheduler", "TCDScheduler", "DDIMInverseScheduler")
BLIND = "divides by alpha = 0, of which clipping may leave a number; we take the smallest alpha there is in its place"
REPEATS = "tells a timestep twice, for levels beyond the clock or too near for it; and looks a step up by its timestep"

OFFSET = tuple(name for name, cls in scheduler_classes().items() if "steps_offset" in cls.options())

MATRIX_DIFFERS: tuple[Difference, ...] = (
    *(
        Difference(OFFSET, _beyond_the_clock, what, "begins at a timestep beyond the clock's last, where ours begins")
        for what in (RAISES, NAN, DIFFERS)
    ),
    Difference(
        ("EulerDiscreteScheduler",),
        lambda c, n: c["interpolation_type"] == "log_linear" and c["s_churn"] > 0,
        DIFFERS,
        "has a log_linear level too many, and shares the churn out over N + 1 steps instead of N",
    ),
    Difference(
        DDIM,
        lambda c, n: c["beta_schedule"] == "squaredcos_cap_v2" and c["eta"] == 1.0,
        NAN,
        "in float32 1 - alpha'^2 - std^2 is below 0, and its root nan",
    ),
    Difference(
        ("PNDMScheduler",),
        lambda c, n: not c["skip_prk_steps"] and (c["num_train_timesteps"] // n) % 2 == 1,
        DIFFERS,
        "a Runge-Kutta step is two half steps of T // N // 2: one short of where the next one reads when T // N is odd",
    ),
    Difference(
        (*DPM, "SASolverScheduler"),
        lambda c, n: c["lambda_min_clipped"] == -2.0 and c["timestep_spacing"] == "trailing" and n > 1,
        DIFFERS,
        "spaces what is left of the clock by T / N, as if it were not cut: of 10 steps asked for it runs 7",
    ),
    *(Difference(WITH_EPS, _blind_eps, what, BLIND) for what in (NAN, DIFFERS)),
    *(Repeating(ONE_CALL, _any, what, REPEATS) for what in (RAISES, NAN, DIFFERS)),
    *(
        Repeating(
            TWO_CALLS, _any, what, "begins at the second of two equal timesteps, and ends beyond its levels", first=True
        )
        for what in (RAISES, NAN, DIFFERS)
    ),
    Difference(
        (*DPM, *SINGLESTEP),
        _third_order_sde,
        DIFFERS,
        "the second difference is weighted by something that tends to -alpha', not to 0, with the step",
    ),
    Difference(
        (EDM, COSINE),
        lambda c, n: (
            c["solver_order"] == 3 and c.get("algorithm_type", "sde-dpmsolver++") == "sde-dpmsolver++" and n >= 3
        ),
        RAISES,
        "UnboundLocalError: this branch was never written",
    ),
    *(
        Difference(schedulers, cells, NAN, "ends on a level it is at already, a step of no size, and divides by it")
        for schedulers, cells in (
            ((*DPM, EDM, COSINE), _ends_where_it_is),
            ((COSINE,), lambda c, n: c["final_sigmas_type"] == "sigma_min"),  # its noise is per unit of the step
            (("DPMSolverMultistepInverseScheduler",), _inverse_ends_where_it_is),
        )
    ),
    Difference(
        UNIPC,
        lambda c, n: n == 1 and _on_sigmas(c) and c["final_sigmas_type"] == "sigma_min",
        DIFFERS,
        "ends a sigma spacing on its last level once more, which is where a single step starts: nothing is denoised",
    ),
    Difference(
        UNIPC,
        lambda c, n: c["final_sigmas_type"] == "zero" and not c["lower_order_final"] and n > 1,
        RAISES,
        "LinAlgError: B(h) is infinite where the run ends at sigma = 0; the limit exists, and is first order",
    ),
    Difference(
        ("EulerAncestralDiscreteScheduler", "KDPM2AncestralDiscreteScheduler"),
        lambda c, n: c["beta_schedule"] == "squaredcos_cap_v2" or c["trained_betas"] is not None,
        NAN,
        "in float32 sigma^2 - sigma_down^2 is below 0, and its root nan",
    ),
    Difference(
        ("LCMScheduler", "TCDScheduler"),
        lambda c, n: n > c["original_inference_steps"],
        RAISES,
        "takes no more steps than the distillation had; ours takes any number",
    ),
    Difference(
        ("EulerAncestralDiscreteScheduler",),
        lambda c, n: c["rescale_betas_zero_snr"] and n == c["num_train_timesteps"],
        NAN,
        "its stand-in for alpha = 0, sigma = 4096, may be below the next level: noise of a variance below 0",
    ),
    Difference(
        WHOLE_TIMESTEPS,
        lambda c, n: c.get("use_lu_lambdas", False),
        DIFFERS,
        "tells the network timesteps rounded down; we round to the nearest, as the peer does with Karras sigmas",
        told_the_peers_timesteps,
    ),
    Difference(
        ("SASolverScheduler",),
        lambda c, n: c["thresholding"] and c["algorithm_type"] == "noise_prediction",
        RAISES,
        "RuntimeError: gives its thresholding arguments that do not fit",
    ),
    Difference(
        UNIPC,
        lambda c, n: c["thresholding"] and not c["predict_x0"],
        DIFFERS,
        "its eps form knows no thresholding; ours goes on with the eps of the thresholded x0",
        not_thresholded,
    ),
    Difference(
        SINGLESTEP,
        lambda c, n: c["thresholding"] and c["algorithm_type"] in ("dpmsolver", "sde-dpmsolver"),
        RAISES,
        "RuntimeError: gives its thresholding arguments that do not fit",
    ),
    Difference(
        UNIPC,
        lambda c, n: _on_sigmas(c) and c["final_sigmas_type"] == "sigma_min" and not c["lower_order_final"],
        NAN,
        "ends on a level it is at already, a step of no size, and divides by it",
    ),
    Difference(
        UNIPC,
        lambda c, n: _on_sigmas(c) and c["final_sigmas_type"] == "sigma_min" and c["sigma_min"] is not None,
        DIFFERS,
        "ends on the spacing's last level once more; ours goes on to the least of the clock, which is where it ends",
    ),
    Difference(
        ("SASolverScheduler",),
        lambda c, n: c["use_flow_sigmas"] and n == c["num_train_timesteps"],
        DIFFERS,
        "rounds a flow's timesteps down, and so lets tau begin a step early",
    ),
    Difference(
        ("DPMSolverMultistepInverseScheduler",),
        lambda c, n: c["timestep_spacing"] == "leading" and n >= c["num_train_timesteps"],
        DIFFERS,
        "spaces timesteps by T // (N + 1), which is 0, and tells the network nothing else",
    ),
    *(
        Difference(
            ("DPMSolverMultistepInverseScheduler",),
            lambda c, n: c["timestep_spacing"] == "linspace" and n >= c["num_train_timesteps"],
            what,
            "has fewer than N + 1 whole timesteps, drops one that repeats and keeps its sigma",
        )
        for what in (DIFFERS, NAN)
    ),
    *(
        Difference(
            ("DPMSolverMultistepInverseScheduler",),
            lambda c, n: c["lambda_min_clipped"] == -2.0,
            what,
            "spaces trailing timesteps and sigmas as if the clock were not cut, beyond its end too; ours stay within",
        )
        for what in (DIFFERS, NAN)
    ),
)
