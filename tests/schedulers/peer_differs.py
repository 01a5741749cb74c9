"""Where the reference library is not the measure: every cell in which it errs, refuses, or keeps too few digits.

Each entry says which cells, what the peer does there, and why we do otherwise. The parity test holds the list to its
word: in a listed cell the peer must differ in the way that is said, and in every other it must agree. Where it is known
what separates the two, `remedy` takes that away from one of them, and then they must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from family import MEMBERS, SD, ZERO_SNR, Config, Member
from reference_loop import distance, make_peer, peer_in_float64, run_peer, run_table
from torch import Tensor

from components.schedulers import Tableau


@dataclass(frozen=True)
class Cell:
    """One scheduler in one configuration at one number of steps, run by us and by the peer."""

    member: Member
    config: Config
    steps: int

    @property
    def scheduler(self) -> Any:
        return self.member.cls(**self.config)

    @cached_property
    def effective(self) -> Config:
        """Every option with its value, so that entries can ask without knowing defaults."""
        return {name: option.default for name, option in self.member.cls.options().items()} | self.config

    def peer(self) -> Any:
        return make_peer(self.member.name, self.member.split(self.config)[0], self.steps)

    def run_peer(self) -> Tensor:
        return run_peer(self.peer(), **self.member.split(self.config)[1])

    def table(self) -> Tableau:
        return self._table

    @cached_property
    def _table(self) -> Tableau:
        return self.scheduler.tableau(self.steps)

    def run(self, table: Tableau | None = None) -> Tensor:
        noise = torch.float32 if self.member.float32_noise else torch.float64
        return run_table(table or self.table(), noise_dtype=noise)


RAISES, NAN, DIFFERS = "raises", "gives nan", "differs"


@dataclass(frozen=True)
class Difference:
    """Cells (scheduler, effective configuration, steps) in which the peer is not the measure, and why.

    `remedy(cell)` is the distance that is left once the cause is taken away. `witness`: a cell that does differ, for an
    entry about digits lost, where one cannot say beforehand which cells lose how many.
    """

    schedulers: tuple[str, ...]
    cells: Callable[[Config, int], bool]
    peer: str
    why: str
    remedy: Callable[[Cell], float] | None = None
    witness: tuple[Config, int] | None = None

    def covers(self, cell: Cell) -> bool:
        return cell.member.name in self.schedulers and self.cells(cell.effective, cell.steps)


def difference_in(cell: Cell) -> Difference | None:
    return next((entry for entry in PEER_DIFFERS if entry.covers(cell)), None)


# ---- remedies ------------------------------------------------------------------------------------------------------


def all_in_float64(cell: Cell) -> float:
    """The peer with its float32 numbers in float64."""
    with peer_in_float64():
        return distance(cell.run(), cell.run_peer())


def told_the_peers_timesteps(cell: Cell) -> float:
    """Our table, its network told the peer's timesteps: whole numbers like ours, but rounded down."""
    table, told = cell.table(), cell.peer().timesteps.double().numpy()
    assert (np.abs(told - table.timestep) <= 1).all()
    return distance(cell.run(replace(table, timestep=told)), cell.run_peer())


def told_the_peers_timesteps_in_float64(cell: Cell) -> float:
    with peer_in_float64():
        return told_the_peers_timesteps(cell)


def landing_below_where_it_reads(cell: Cell) -> float:
    """Our rows, each landing T // N below where it reads, wherever the next one reads."""
    table, scheduler = cell.table(), cell.scheduler
    below = cell.effective["num_train_timesteps"] // table.steps
    rows = [scheduler.tableau(timesteps=[t, t - below] if t >= below else [t]) for t in table.timestep]
    return distance(cell.run(replace(table, update=np.concatenate([row.update[:1] for row in rows]))), cell.run_peer())


def second_difference_with_a_half_too_little(cell: Cell) -> float:
    """Our rows of third order, alpha' less on the second difference of x0: sde weight phi_3 with -1/2 for +1/2."""
    table = cell.table()
    update, output = table.update.copy(), table.registers
    alpha, sigma = np.vstack([table.read, table.land[-1:]]).T
    lam = np.log(alpha) - np.log(np.maximum(sigma, 1e-300))
    for n in np.flatnonzero(update[:, 0, 2]):
        second = _second_difference(lam[n - 2 : n + 2], "Singlestep" in cell.member.name)
        update[n, 0, [0, output]] -= table.land[n, 0] * second[0] * table.to_x0[n]
        update[n, 0, 1:3] -= table.land[n, 0] * second[1:]
    with peer_in_float64():  # this weight makes the run magnify every rounding
        return distance(cell.run(replace(table, update=update)), cell.run_peer())


def _second_difference(lam: np.ndarray, singlestep: bool) -> np.ndarray:
    """Weights of x0 and the two before it, read at lam[2], lam[1], lam[0]; the step ends at lam[3]."""
    if singlestep:  # twice the divided difference, in units of the whole cycle
        r1, r2 = (lam[1:3] - lam[0]) / (lam[3] - lam[0])
        return 2 * np.array([1 / r2, -1 / r1, 1 / r1 - 1 / r2]) / (r2 - r1)
    r0, r1 = np.diff(lam[:3])[::-1] / (lam[3] - lam[2])  # the divided difference, in units of the last step
    return np.array([1 / r0, -1 / r0 - 1 / r1, 1 / r1]) / (r0 + r1)


# ---- the list ------------------------------------------------------------------------------------------------------

DPM = ("DPMSolverMultistepScheduler",)
SINGLESTEP = ("DPMSolverSinglestepScheduler",)
DEIS, UNIPC = ("DEISMultistepScheduler",), ("UniPCMultistepScheduler",)
KDPM2 = ("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")
DDPM, DDIM = ("DDPMScheduler", "DDPMParallelScheduler"), ("DDIMScheduler", "DDIMParallelScheduler")
SIGMA_SPACE = (
    "EulerDiscreteScheduler",
    "LMSDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    *KDPM2,
)
WHOLE_TIMESTEPS = (*DPM, *SINGLESTEP, *DEIS, *UNIPC)
NO_SIGMOID = (*DDIM, "PNDMScheduler", *SIGMA_SPACE, *WHOLE_TIMESTEPS)


def _uneven(c: Config, steps: int) -> bool:
    return c["timestep_spacing"] == "trailing" and c["num_train_timesteps"] % steps != 0


def _third_order(c: Config, steps: int, algorithm: str) -> bool:
    return c["algorithm_type"] == algorithm and c["solver_order"] == 3 and steps >= 5


def _multistep(c: Config) -> bool:
    return "timestep_spacing" in c  # the singlestep class has no such option


def _cosine_karras(c: Config) -> bool:
    return c["use_karras_sigmas"] and c["beta_schedule"] == "squaredcos_cap_v2"


PEER_DIFFERS: tuple[Difference, ...] = (
    Difference(
        ("PNDMScheduler",),
        lambda c, n: c["prediction_type"] == "sample",
        RAISES,
        "takes no network that predicts x0",
    ),
    Difference(
        NO_SIGMOID,
        lambda c, n: c["beta_schedule"] == "sigmoid",
        RAISES,
        "knows these betas in DDPM alone",
    ),
    Difference(
        DDPM,
        lambda c, n: c["variance_type"] == "fixed_large_log" and n > 1,
        NAN,
        "takes log(beta) for the standard deviation; we take sqrt(beta), as with fixed_large",
    ),
    Difference(
        ("EulerAncestralDiscreteScheduler", *KDPM2),
        lambda c, n: c["prediction_type"] == "sample",
        RAISES,
        "not implemented there",
    ),
    Difference(
        DDIM,
        lambda c, n: (c["timestep_spacing"] == "linspace" and n > 1) or _uneven(c, n),
        DIFFERS,
        "lands T // N below where it reads, and reads on at the next listed timestep, which is another",
        landing_below_where_it_reads,
    ),
    Difference(
        ("PNDMScheduler",),
        lambda c, n: not c["skip_prk_steps"] and n <= 3,
        RAISES,
        "three Runge-Kutta steps are laid out whatever the number of steps",
    ),
    Difference(
        ("PNDMScheduler",),
        lambda c, n: (c["timestep_spacing"] == "linspace" and n > 1) or _uneven(c, n),
        DIFFERS,
        "lands T // N below where it reads, as DDIM",
    ),
    Difference(
        ("PNDMScheduler",),
        lambda c, n: (
            not c["skip_prk_steps"]
            and (c["num_train_timesteps"] // n) % 2 == 1
            and not (n == 27 and c["prediction_type"] == "v_prediction")  # there it is too little to see
        ),
        DIFFERS,
        "a Runge-Kutta step is two half steps of T // N // 2: one short of where the next one reads when T // N is odd",
    ),
    Difference(
        SIGMA_SPACE,
        lambda c, n: c["timestep_spacing"] == "linspace" and n == 1,
        DIFFERS,
        "sigma of timestep 0 in float32: 1 - alpha^2 is 1e-4 to 1e-3 and keeps four digits",
        all_in_float64,
        witness=(SD, 1),
    ),
    Difference(
        ("HeunDiscreteScheduler",),
        lambda c, n: c["prediction_type"] == "sample" or c["beta_schedule"] == "squaredcos_cap_v2",
        DIFFERS,
        "its sigma is float32, and the second slope divides by the next one",
        all_in_float64,
        witness=(SD | {"prediction_type": "sample"}, 27),
    ),
    Difference(
        ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
        lambda c, n: c["rescale_betas_zero_snr"] and c["prediction_type"] == "v_prediction",
        DIFFERS,
        "steps in float32 an x that starts at sigma 4096: three digits less",
        all_in_float64,
        witness=(SD | ZERO_SNR[1], 2),
    ),
    Difference(
        ("EulerDiscreteScheduler",),
        lambda c, n: c["sigma_max"] == 700.0,
        DIFFERS,
        "steps in float32 an x that starts at sigma 700",
        all_in_float64,
        witness=(SD | MEMBERS["EulerDiscreteScheduler"].extra[-1], 2),
    ),
    Difference(
        KDPM2,
        lambda c, n: c["use_karras_sigmas"],
        DIFFERS,
        "with Karras sigmas the network is told whole timesteps at a step's ends, but exact ones in its middle",
        told_the_peers_timesteps_in_float64,
        witness=(SD | {"use_karras_sigmas": True, "timestep_spacing": "trailing"}, 3),
    ),
    Difference(
        KDPM2,
        lambda c, n: c["beta_schedule"] == "squaredcos_cap_v2" or c["trained_betas"] is not None or n == 2,
        DIFFERS,
        "in float32 sigma^2 - sigma_down^2 loses its digits, or is below 0 and its root nan",
        all_in_float64,
        witness=(SD | {"beta_schedule": "squaredcos_cap_v2"}, 2),
    ),
    Difference(
        DEIS,
        lambda c, n: n == 1 and any(c[f"use_{kind}_sigmas"] for kind in ("karras", "exponential", "beta")),
        DIFFERS,
        "ends a sigma spacing on its last level once more, which is where a single step starts: nothing is denoised",
    ),
    Difference(
        DEIS,
        lambda c, n: c["solver_order"] == 3 and n == 50,
        DIFFERS,
        "its third-order weights cancel, in float32",
        all_in_float64,
        witness=(SD | {"solver_order": 3}, 50),
    ),
    Difference(
        UNIPC,
        lambda c, n: (
            c["final_sigmas_type"] == "zero"
            and (c["solver_type"] == "bh1" or not c["predict_x0"] or (not c["lower_order_final"] and n > 1))
        ),
        NAN,
        "B(h) is infinite where the run ends at sigma = 0; the limit exists, and is first order",
    ),
    Difference(
        SINGLESTEP,
        lambda c, n: c["algorithm_type"] == "sde-dpmsolver",
        RAISES,
        "not implemented there",
    ),
    Difference(
        (*DPM, *SINGLESTEP),
        lambda c, n: c["algorithm_type"] in ("dpmsolver", "sde-dpmsolver") and c["final_sigmas_type"] == "zero",
        RAISES,
        "refuses to end the eps form at sigma = 0; the limit exists, and is its first order",
    ),
    Difference(
        WHOLE_TIMESTEPS,
        lambda c, n: (c["use_beta_sigmas"] and n == 50) or (_cosine_karras(c) and n >= 5),
        RAISES,
        "whole timesteps that repeat: a step is looked up by its timestep, and the last one is past the end",
    ),
    Difference(
        WHOLE_TIMESTEPS,
        lambda c, n: c["use_exponential_sigmas"] or c["use_beta_sigmas"] or _cosine_karras(c),
        DIFFERS,
        "tells the network timesteps rounded down; we round to the nearest, as the peer does with Karras sigmas",
        told_the_peers_timesteps,
    ),
    Difference(
        DPM,
        lambda c, n: (
            c["use_karras_sigmas"] and c["final_sigmas_type"] == "sigma_min" and c["solver_order"] == 3 and n > 14
        ),
        NAN,
        "ends on a level it is at already, a step of no size, and divides by it",
    ),
    Difference(
        DPM,
        lambda c, n: _third_order(c, n, "sde-dpmsolver"),
        RAISES,
        "UnboundLocalError: this branch was never written",
    ),
    Difference(
        (*DPM, *SINGLESTEP),
        lambda c, n: _third_order(c, n, "sde-dpmsolver++") and (_multistep(c) or c["solver_type"] == "heun"),
        DIFFERS,
        "the second difference is weighted by something that tends to -alpha', not to 0, with the step",
        second_difference_with_a_half_too_little,
    ),
)
