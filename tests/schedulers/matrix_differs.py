"""Where the reference library is not the measure in combinations and numbers of steps that only the matrix visits."""

from __future__ import annotations

from dataclasses import dataclass

from family import Config
from peer_differs import DDIM, DDPM, DIFFERS, DPM, NAN, RAISES, SINGLESTEP, Cell, Difference

from components.schedulers import scheduler_classes

ONE_CALL = tuple(name for name, cls in scheduler_classes().items() if cls.order == 1 and name != "PNDMScheduler")
"""Those that tell each of their timesteps once."""


@dataclass(frozen=True)
class Repeating(Difference):
    """Cells in which the peer tells one timestep twice."""

    def covers(self, cell: Cell) -> bool:
        told = cell.peer().timesteps.tolist()
        return cell.member.name in self.schedulers and len(set(told)) < len(told)


def _blind_eps(c: Config, steps: int) -> bool:
    return c["rescale_betas_zero_snr"] and c["prediction_type"] == "epsilon"


def _third_order_sde(c: Config, steps: int) -> bool:
    return c["algorithm_type"] == "sde-dpmsolver++" and c["solver_order"] == 3 and steps >= 3


def _any(c: Config, steps: int) -> bool:
    return True


WITH_EPS = (*DDPM, *DDIM, "LCMScheduler", "TCDScheduler", "DDIMInverseScheduler")
BLIND = "divides by alpha = 0, of which clipping may leave a number; we take the smallest alpha there is in its place"
REPEATS = "tells a timestep twice, for levels beyond the clock or too near for it; and looks a step up by its timestep"

MATRIX_DIFFERS: tuple[Difference, ...] = (
    *(Difference(WITH_EPS, _blind_eps, what, BLIND) for what in (NAN, DIFFERS)),
    *(Repeating(ONE_CALL, _any, what, REPEATS) for what in (RAISES, NAN, DIFFERS)),
    Difference(
        (*DPM, *SINGLESTEP),
        _third_order_sde,
        DIFFERS,
        "the second difference is weighted by something that tends to -alpha', not to 0, with the step",
    ),
)
