"""The one loop that runs every sampler in torch: a table's rows as weighted sums, in float32.

It knows no scheduler by name and no network: it is given a table, a function for the network and a source of noise, and
runs any segment of the rows, so that a long table can be stopped, looked at and taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from components.schedulers import Clip, Tableau

Coefficient = float | Tensor
Term = tuple[int, Coefficient]
Network = Callable[[Tensor, Tensor], Tensor]


class Noise(Protocol):
    """Fresh noise for the images of a batch, drawn when a row asks for it."""

    def draw(self, wanted: Sequence[bool] | None = None) -> Tensor:
        """(B, C, H, W) float32, zeros for the images that are not `wanted` (None: all are)."""
        ...


@dataclass(frozen=True)
class Row:
    """One network evaluation with every number that never changes during the run worked out beforehand."""

    timestep: Tensor
    input_scale: Coefficient
    to_x0: tuple[Coefficient, Coefficient] | None
    sums: tuple[tuple[Term, ...], ...]
    draws: bool
    log_std: tuple[Coefficient, Coefficient] | None
    wanted: tuple[bool, ...] | None


@dataclass(frozen=True)
class Program:
    """A table made ready for one device. Sources of a term: the registers, then the output, x0 and the noise."""

    rows: tuple[Row, ...]
    init_noise_sigma: Coefficient
    clip: Clip | None


@dataclass
class State:
    """Where a run stands: the next row, and the registers (x first; None stands for a register full of zeros)."""

    row: int
    registers: list[Tensor | None]


def compile_table(table: Tableau, device: torch.device | str = "cpu") -> Program:
    """Precomputes a table, single (N, …) or stacked (B, N, …), for `run`: zeros dropped, dead registers not computed.

    In a stacked table a number equal for all images stays a plain float; the others become (B, 1, 1, 1) tensors.
    """
    stacked = np.ndim(table.timestep) == 2

    def number(values: np.ndarray) -> Coefficient:
        flat = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if (flat == flat[0]).all():
            return float(flat[0])
        return torch.tensor(flat, dtype=torch.float32, device=device).view(-1, 1, 1, 1)

    axis = 1 if stacked else 0
    update = np.asarray(table.update, dtype=np.float64)
    registers = update.shape[-2]
    per_row = np.moveaxis(update, axis, 0)  # (N, [B,] R, R + 3)
    used = (per_row != 0).reshape(len(per_row), -1, registers, registers + 3).any(axis=1)  # (N, R, R + 3)
    _drop_zero_registers(used)
    _drop_dead_registers(used)
    wanted = np.moveaxis(np.asarray(table.takes_noise), axis, 0)
    log_std = np.moveaxis(np.asarray(table.log_std), axis, 0)
    scales = np.moveaxis(np.asarray(table.input_scale), axis, 0)
    to_x0 = np.moveaxis(np.asarray(table.to_x0), axis, 0)
    timesteps = torch.tensor(np.moveaxis(np.asarray(table.timestep), axis, 0), dtype=torch.float32, device=device)
    rows = []
    for n, (flags, clock) in enumerate(zip(used, timesteps.unbind(0), strict=True)):
        sums = tuple(
            tuple(_ones_first((int(j), number(per_row[n, ..., i, j])) for j in np.flatnonzero(flags[i])))
            for i in range(registers)
        )
        x0 = (number(to_x0[n, ..., 0]), number(to_x0[n, ..., 1])) if flags[:, registers + 1].any() else None
        learned = (number(log_std[n, ..., 0]), number(log_std[n, ..., 1])) if log_std[n].any() else None
        asks = np.atleast_1d(wanted[n])
        rows.append(
            Row(
                timestep=clock,
                input_scale=number(scales[n]),
                to_x0=x0,
                sums=sums,
                draws=bool(asks.any()),
                log_std=learned,
                wanted=None if asks.all() else tuple(map(bool, asks)),
            )
        )
    return Program(tuple(rows), number(np.asarray(table.init_noise_sigma)), table.clip)


def start(program: Program, noise: Noise, x: Tensor | None = None) -> State:
    """The state before the first row: this x, or init_noise_sigma · one draw; every other register zero."""
    x = noise.draw() * program.init_noise_sigma if x is None else x
    return State(0, [x, *[None] * (len(program.rows[0].sums) - 1)])


def run(
    program: Program,
    state: State,
    network: Network,
    noise: Noise,
    stop: int | None = None,
    after_row: Callable[[int, Tensor], Tensor | None] | None = None,
) -> State:
    """Runs the rows from `state.row` up to `stop` (None: to the end) and returns the state reached.

    `network(x, timestep)` takes (B, C, H, W) float32 and a timestep () or (B,), and returns float32 of the same shape,
    or of twice the channels where it predicts a variance.
    The given state is not changed, so a segment can be run again. `after_row(n, x)` is called when row n is done;
    what it returns, unless None, takes the place of x.
    """
    registers = state.registers
    end = len(program.rows) if stop is None else stop
    with torch.inference_mode():
        for n in range(state.row, end):
            row = program.rows[n]
            x = registers[0]
            assert x is not None
            scale = row.input_scale
            out = network(x if isinstance(scale, float) and scale == 1.0 else x * scale, row.timestep)
            variance = None
            if out.shape[1] == 2 * x.shape[1]:  # a network that predicts a variance as well
                out, variance = out.chunk(2, dim=1)
            x0 = None
            if row.to_x0 is not None:
                x0 = weighted_sum(((0, row.to_x0[0]), (1, row.to_x0[1])), (x, out))
                if program.clip is not None:
                    x0 = clip_x0(x0, program.clip)
            fresh = noise.draw(row.wanted) if row.draws else None
            if fresh is not None and row.log_std is not None and variance is not None:
                fresh = fresh * torch.exp(row.log_std[0] + row.log_std[1] * variance)
            sources = (*registers, out, x0, fresh)
            registers = [weighted_sum(terms, sources) if terms else None for terms in row.sums]
            if after_row is not None:
                assert registers[0] is not None
                changed = after_row(n, registers[0])
                if changed is not None:
                    registers[0] = changed
    return State(end, registers)


def weighted_sum(terms: Sequence[Term], sources: Sequence[Any]) -> Tensor:
    """Σ coefficient · source over the terms: as few passes over memory as there are terms, no source changed.

    A lone term with coefficient 1 returns the source itself: registers are never written in place, so it may be shared.
    """
    j, coefficient = terms[0]
    total: Tensor = sources[j]
    rest = terms[1:]
    if isinstance(coefficient, Tensor) or coefficient != 1.0:
        total = total * coefficient
    elif rest:
        j, coefficient = rest[0]
        rest = rest[1:]
        if isinstance(coefficient, Tensor):
            total = torch.addcmul(total, sources[j], coefficient)
        else:
            total = torch.add(total, sources[j], alpha=coefficient)
    for j, coefficient in rest:
        if isinstance(coefficient, Tensor):
            total.addcmul_(sources[j], coefficient)
        else:
            total.add_(sources[j], alpha=coefficient)
    return total


def clip_x0(x0: Tensor, clip: Clip) -> Tensor:
    """Limits the predicted clean image: a fixed range, or dynamic thresholding (Saharia et al. 2022, section 2.3).

    Dynamic: s = the `ratio` quantile of |x0| over each image, held to [1, limit]; x0 is clamped to ±s and divided by s.
    """
    if clip.kind == "range":
        return x0.clamp(-clip.limit, clip.limit)
    limit = torch.quantile(x0.abs().flatten(1), clip.ratio, dim=1).clamp(1.0, clip.limit)
    limit = limit.view(-1, *[1] * (x0.ndim - 1))
    return torch.minimum(torch.maximum(x0, -limit), limit) / limit


def _drop_zero_registers(used: np.ndarray) -> None:
    """Unmarks terms that read a register still full of zeros; changes `used` (N, R, R + 3) in place."""
    registers = used.shape[1]
    empty = np.arange(registers) > 0
    for flags in used:
        flags[:, :registers][:, empty] = False
        empty = ~flags.any(axis=1)


def _drop_dead_registers(used: np.ndarray) -> None:
    """Unmarks terms of registers that no later row reads; changes `used` (N, R, R + 3) in place."""
    registers = used.shape[1]
    live = np.arange(registers) == 0
    for flags in used[::-1]:
        flags[~live] = False
        live = flags[:, :registers].any(axis=0)
        live[0] = True  # the network reads x in every row


def _ones_first(terms: Iterable[Term]) -> list[Term]:
    """A term with coefficient 1 in front costs no pass of its own."""
    return sorted(terms, key=lambda term: not (isinstance(term[1], float) and term[1] == 1.0))
