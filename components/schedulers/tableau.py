"""A sampler as a table: one row per network evaluation, computed once on the host in float64.

One denoising run is an affine map of the initial noise, the network's outputs and the fresh noise, so a solver needs
no object with state, only the coefficients of that map. `trace` obtains them from a method's textbook formula by
calling it with the rows of the identity matrix (a linear function fed the basis returns its own matrix), and
`Tableau.verify` proves what can be proved of them on a data set of one point. Nothing here knows torch or jax, and
nothing here runs a network: the engines do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from components.schedulers.noise import Array


class TableauError(ValueError):
    """A table contradicts its own mathematics; the message names the row and what was expected."""


@dataclass(frozen=True)
class Clip:
    """What is done to x0 before the update: clamp to +-limit, or dynamic thresholding (Imagen, arXiv 2205.11487)."""

    kind: str  # "range" or "quantile"
    limit: float = 1.0
    ratio: float = 0.995


@dataclass(frozen=True, eq=False)
class Level:
    """Places on the noise scale, one or many: timestep, alpha, sigma (arrays of one shape), and x_model = scale * x.

    A solver may keep x in any scale of its own (alpha = 1 and sigma unbounded, say); `scale` takes it to the
    variance-preserving scale the network was trained in.
    """

    timestep: Array
    alpha: Array
    sigma: Array
    scale: Array

    @property
    def lam(self) -> Array:
        """Half the log signal-to-noise ratio, log(alpha / sigma); inf where sigma is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.alpha) - np.log(self.sigma)

    @property
    def clock(self) -> Array:
        """alpha^2 / sigma^2: the time of the Brownian path that posterior noise is made of."""
        with np.errstate(divide="ignore"):
            return (self.alpha / self.sigma) ** 2

    def __getitem__(self, index: Any) -> Level:
        return Level(self.timestep[index], self.alpha[index], self.sigma[index], self.scale[index])

    def __len__(self) -> int:
        return len(self.sigma)


def parameterisation(prediction_type: str, at: Level) -> tuple[Array, Array, Array, Array]:
    """(p, q, r, s) with x0 = p x + q output and eps = r x + s output, at each level.

    The network's output is eps, x0 or v = alpha eps - sigma x0 (arXiv 2202.00512, section 4) of the
    variance-preserving x, to which `at.scale` brings the solver's own; or the velocity eps - x0 of a flow.
    """
    alpha, sigma, zero, one = at.alpha * at.scale, at.sigma * at.scale, 0 * at.alpha, 1 + 0 * at.alpha
    with np.errstate(divide="ignore", invalid="ignore"):
        if prediction_type == "epsilon":
            return at.scale / alpha, -sigma / alpha, zero, one
        if prediction_type == "sample":
            return zero, one, at.scale / sigma, -alpha / sigma
        if prediction_type == "v_prediction":
            return at.scale * alpha, -sigma, at.scale * sigma, alpha
        if prediction_type == "flow_prediction":
            return one, -sigma, one, alpha
    raise ValueError(f"unknown prediction type {prediction_type!r}")


@dataclass(frozen=True, eq=False)
class State:
    """What an update formula computes with: basis vectors while tracing. `h` is the history, newest meaning first."""

    x: Array
    h: tuple[Array, ...]
    output: Array
    x0: Array
    eps: Array
    noise: Array


Update = Callable[[State], Sequence[Array]]
"""(x, history, output, x0, eps, noise) -> the new (x, *history); history that is left out stays zero."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a table that share one formula.

    index (n,): their places in the table; at, to: where each reads and lands; step (n,): the user-visible step.
    `noise`: which of them take a draw; `span`: of which interval of the Brownian clock, where that is not
    alpha^2 / sigma^2 from one level to the other. `variance`, `mean`: the closed forms (gain, added) that the method
    declares for var(x') = gain var(x) + added, and for the c-part of x' alike, where they are not sigma'^2 and alpha';
    a gain of inf: nothing is claimed.
    `log_variance`: bounds of a learned variance; the formula's noise is then of unit size.
    """

    index: Array
    at: Level
    to: Level
    update: Update
    step: Array
    noise: Any = False
    variance: tuple[Array, Array] | None = None
    mean: tuple[Array, Array] | None = None
    span: tuple[Array, Array] | None = None
    log_variance: tuple[Array, Array] | None = None


@dataclass(frozen=True, eq=False)
class Tableau:
    """The whole run of one sampler; a stack of tables has a leading batch axis B on every array.

    timestep (N,): what the network is told. input_scale (N,): the network sees input_scale * x.
    to_x0 (N, 2): x0 = to_x0[0] x + to_x0[1] output. update (N, R, R + 3): state' = update [state, output, x0, noise].
    noise_span (N, 2): the interval of the Brownian clock that the row's draw belongs to; nan where none is taken.
    step (N,): user-visible step. read, land (N, 2): (alpha, sigma) where the row reads x and where it leaves it.
    brownian: ends (2,) of the clock on which all draws are increments of one path; None where every draw is its own.
    In a stack (B, 2), nan for the images whose draws are their own.
    log_variance (N, 2): where not nan, bounds at v = -1 and 1 of the log variance that the network gives the draw, v
    being a second half of its channels (arXiv 2102.09672, eq. 15). Every other row drops such a half.
    declared (N, 2, 2): (gain, added) of a mean and of a variance the method declares; nan where it declares none.
    """

    timestep: Array
    input_scale: Array
    to_x0: Array
    update: Array
    noise_span: Array
    step: Array
    init_noise_sigma: float | Array
    clip: Clip | None
    read: Array
    land: Array
    declared: Array
    point_mass: Array = field(repr=False)  # (N, 2): output = point_mass[0] x + point_mass[1] c for data = {c}
    log_variance: Array = field(repr=False)
    brownian: tuple[float, float] | Array | None = None
    unchecked: str = ""  # why the mean and variance on a point mass say nothing of this method, if so

    @property
    def rows(self) -> int:
        return self.timestep.shape[-1]

    @property
    def nfe(self) -> int:
        """Network evaluations (with guidance each is one batch of two)."""
        return self.rows

    @property
    def registers(self) -> int:
        return self.update.shape[-2]

    @property
    def steps(self) -> int:
        return int(self.step.max()) + 1

    @property
    def takes_noise(self) -> Array:
        return ~np.isnan(self.noise_span[..., 0])

    @property
    def log_std(self) -> Array:
        """(N, 2): the draw is multiplied by exp([0] + [1] v), v the second half of the output; zeros: by 1."""
        low, high = np.moveaxis(np.nan_to_num(self.log_variance), -1, 0)
        return np.stack([(low + high) / 4, (high - low) / 4], -1)

    def verify(self, tolerance: float = 1e-9) -> Tableau:
        """Prove the table on a data set of one point c, or raise TableauError naming the row.

        Every coefficient is finite; each row lands where the next one reads; the c-part of x is alpha' and its
        standard deviation sigma' (or the closed form that the method declares) wherever a row lands.
        """
        for name in ("timestep", "input_scale", "update", "read", "land"):
            bad = ~np.isfinite(getattr(self, name)).reshape(self.rows, -1).all(1)
            if bad.any():
                raise TableauError(f"row {bad.argmax()}: {name} is not finite")
        gap = np.abs(self.land[:-1] - self.read[1:]).max(1, initial=0)
        if (gap > tolerance * (1 + self.read[1:, 1])).any():
            row = int(gap.argmax())
            raise TableauError(f"row {row} lands at {self.land[row]}, but row {row + 1} reads at {self.read[row + 1]}")
        if self.unchecked:
            return self
        moments, _ = self._on_point_mass()
        alpha, sigma = self.land.T
        gain, added = np.moveaxis(self.declared, -1, 0)
        free, gain = np.isinf(gain), np.where(np.isinf(gain), np.nan, gain)
        declared = gain * np.stack([moments[:-1, 0], moments[:-1, 1] ** 2], -1) + added
        expected = np.where(np.isnan(gain), np.stack([alpha, sigma**2], -1), declared)
        # The standard deviation, not its square: where sigma' is 0 an error's square would be too small to see.
        expected[:, 1] = np.sqrt(expected[:, 1])
        off, allowed = np.abs(moments[1:] - expected), tolerance * (1 + sigma[:, None])
        if (~(off <= allowed) & ~free).any():
            allowed = allowed + self._on_point_mass(rounding=True)[1][1:]
        for row, which in np.argwhere(~(off <= allowed) & ~free):
            raise TableauError(
                f"row {row}: the {('mean', 'standard deviation')[which]} of x on a point mass is "
                f"{moments[row + 1, which]:.12g}, but should be {expected[row, which]:.12g}"
            )
        return self

    def _on_point_mass(self, rounding: bool = False) -> tuple[Array, Array]:
        """(N + 1, 2) twice: the c-part and the standard deviation of x before the first row and after each, with the
        exact denoiser of data = {c}; and how far rounding alone may have carried both, where asked for.

        Each register is a vector over (c, the initial noise, every draw): reused noise stays one and the same.
        """
        registers = self.registers
        output, x0 = self.update[..., registers], self.update[..., registers + 1]
        move, by_x, by_c = self.update[..., :registers].copy(), *(self.point_mass[:, None, k] for k in (0, 1))
        move[..., 0] += output * by_x
        shift = output * by_c + x0
        # A learned variance may be anything between its bounds: the smaller one is what is proved.
        std = np.exp(np.nan_to_num(self.log_variance[:, :1]) / 2) * self.takes_noise[:, None]
        # Where there is no noise to see, any answer agrees with the data: it is a draw that the run then keeps to.
        noise = self.update[..., registers + 2] * std + output * (self.read[:, 1:] == 0)
        draws = noise.any(1)
        column = np.where(draws, 1 + draws.cumsum(), 0).tolist()
        state, vectors = np.zeros((2, registers, 2 + draws.sum())), np.zeros((2, self.rows + 1, 2 + draws.sum()))
        state[0, 0, :2] = vectors[0, 0, :2] = self.read[0]
        if rounding:  # far, where a long step ends at little noise
            size, shifted = np.abs(self.update[..., :registers]), np.abs(output * by_c) + np.abs(x0)
            size[..., 0] += np.abs(output * by_x)
        exact, error = state
        for row in range(self.rows):
            if rounding:
                unit = size[row] @ np.abs(exact)
                unit[:, 0] += shifted[row]
                error = np.abs(move[row]) @ error + unit * 4 * np.finfo(np.float64).eps
                vectors[1, row + 1] = error[0]
            exact = move[row] @ exact
            exact[:, 0] += shift[row]
            if column[row]:
                exact[:, column[row]] += noise[row]
            vectors[0, row + 1] = exact[0]
        found, error = np.stack([vectors[..., 0], np.linalg.norm(vectors[..., 1:], axis=-1)], -1)
        return found, error


def trace(
    groups: Sequence[Rows],
    *,
    history: int,
    parameterisation: Callable[[Level], tuple[Array, Array, Array, Array]],
    init_noise_sigma: float,
    clip: Clip | None = None,
    unchecked: str = "",
    brownian: tuple[float, float] | None = None,
) -> Tableau:
    """The table of a method with `history` registers beside x: every update is called once, with basis vectors."""

    count, registers = sum(len(group.index) for group in groups), 1 + history
    basis = np.eye(registers + 3)
    update = np.zeros((count, registers, registers + 3))
    columns: list[dict[str, Array]] = []
    for group in groups:
        at, to, noisy = group.at, group.to, np.broadcast_to(group.noise, group.index.shape)
        coefficients = parameterisation(at)
        p, q, r, s = (coefficient[:, None] for coefficient in coefficients)
        x, output = basis[0], basis[registers]
        state = State(
            x=x,
            h=tuple(basis[1:registers]),
            output=output,
            # Where nothing clips, x0 is no column of its own: its coefficients go straight to x and the output.
            x0=basis[registers + 1] if clip else p * x + q * output,
            eps=r * x + s * output,
            noise=basis[registers + 2],
        )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for register, vector in enumerate(group.update(state)):
                update[group.index, register] = vector
        values: dict[str, Array] = {
            "timestep": at.timestep,
            "input_scale": at.scale,
            "to_x0": np.hstack([p, q]),
            "read": np.stack([at.alpha, at.sigma], -1),
            "land": np.stack([to.alpha, to.sigma], -1),
            "noise_span": np.where(noisy[:, None], np.stack(group.span or (at.clock, to.clock), -1), np.nan),
            "log_variance": np.stack(group.log_variance or (noisy * np.nan,) * 2, -1),
            "step": group.step,
            "point_mass": _network_on_point_mass(at, *coefficients),
        }
        forms = (form or (at.alpha * np.nan,) * 2 for form in (group.mean, group.variance))
        values["declared"] = np.stack([np.stack(np.broadcast_arrays(*form), -1) for form in forms], 1)
        columns.append(values)
    place = np.argsort(np.concatenate([group.index for group in groups]))
    joined: dict[str, Any] = {name: np.concatenate([values[name] for values in columns])[place] for name in columns[0]}
    made = {"init_noise_sigma": init_noise_sigma, "clip": clip, "unchecked": unchecked, "brownian": brownian}
    return Tableau(update=update, **made, **joined)


def _network_on_point_mass(at: Level, p: Array, q: Array, r: Array, s: Array) -> Array:
    """(n, 2): the exact network for data = {c} answers [0] x + [1] c: then x0 = c, eps = (x - alpha c) / sigma."""
    with np.errstate(divide="ignore", invalid="ignore"):
        by_eps = np.stack([(1 / at.sigma - r) / s, -at.alpha / at.sigma / s], -1)
        by_x0 = np.stack([-p / q, 1 / q], -1)
    answer = np.where(np.isfinite(by_x0).all(-1, keepdims=True), by_x0, by_eps)
    return np.where(np.isfinite(answer), answer, 0.0)  # neither: the answer plays no part


def stackable(tables: Sequence[Tableau]) -> bool:
    """Whether these tables can share a batch: as many rows each, and one way of clipping at the most.

    Not clipping goes with any clipping. History, noise, its source and learned variance may differ from image to image.
    """
    return len({table.rows for table in tables}) == 1 and len({table.clip for table in tables} - {None}) <= 1


def stack(tables: Sequence[Tableau]) -> Tableau:
    """Tables as one with a batch axis in front: different samplers share a batch.

    Shorter histories are padded with registers that stay zero. Raises ValueError for tables that are not `stackable`.
    """
    if not stackable(tables):
        raise ValueError("only tables of equal row count, and with no two ways of clipping, can share a batch")
    registers = max(table.registers for table in tables)
    padded = [_padded(table, registers) for table in tables]
    arrays = {
        f.name: np.stack([getattr(table, f.name) for table in padded])
        for f in fields(Tableau)
        if f.name not in ("clip", "unchecked", "brownian")
    }
    ends = np.array([(np.nan, np.nan) if table.brownian is None else table.brownian for table in tables])
    return Tableau(
        clip=next((table.clip for table in tables if table.clip), None),
        brownian=None if np.isnan(ends).all() else ends,
        unchecked="; ".join(filter(None, (table.unchecked for table in tables))),
        **arrays,
    )


def _padded(table: Tableau, registers: int) -> Tableau:
    """The same table with as many registers, and no x0 where nothing reads it."""
    old = table.registers
    update = np.zeros((table.rows, registers, registers + 3))
    update[:, :old, :old] = table.update[..., :old]
    update[:, :old, registers:] = table.update[..., old:]
    # Where no row reads x0, the clipping of others must not: at alpha = 0 its coefficients are infinite.
    to_x0 = np.where(table.update[..., old + 1].any(-1, keepdims=True), table.to_x0, 0.0)
    return replace(table, update=update, to_x0=to_x0)
