"""The Flax names of the schedulers: a class `FlaxXScheduler` around every `XScheduler`, made when it is asked for.

For people who bring their own loop in JAX. A scheduler keeps nothing of a run: its state is a pytree that the caller
holds and gets back, so `step` may stand inside jax.jit and lax.fori_loop. All numbers are the plain scheduler's table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import components.jax_models  # noqa: F401 (says what to install where JAX is not)

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from jax.core import Tracer

from components.schedulers.arrays import clipped
from components.schedulers.base import Scheduler
from components.schedulers.config import Config
from components.schedulers.family import scheduler_classes
from components.schedulers.loop import Loop
from components.schedulers.noise import TrainingClock
from components.schedulers.schedule import Schedule
from components.schedulers.tableau import Clip, Tableau


@struct.dataclass
class CommonState:
    """The training clock, (T,) each; `levels` and `unit_levels` (T, 2): alpha and sigma of every timestep, in the scale
    that the solver keeps x in and in the variance-preserving one."""

    alphas: Array
    betas: Array
    alphas_cumprod: Array
    levels: Array
    unit_levels: Array


@struct.dataclass
class RowState:
    """The numbers of the table's rows, as in Tableau: (N,), (N, 2), (N, R, R + 3), (N, 2); and where steps start."""

    input_scale: Array
    to_x0: Array
    update: Array
    log_std: Array
    takes_noise: Array
    starts: Array


@struct.dataclass
class SchedulerState:
    """Where a run stands. `row` is -1 before the first step, `history` (R - 1, *sample) None until a shape is known.

    `scheduler` is whose state it is, `run` its schedule and options of a run; the clip and the source of the noise are
    the same in every row.
    """

    common: CommonState | None
    init_noise_sigma: Array
    timesteps: Array | None
    rows: RowState | None = None
    row: Array | None = None
    history: Array | None = None
    scheduler: Any = struct.field(pytree_node=False, default=None)
    num_inference_steps: int | None = struct.field(pytree_node=False, default=None)
    clip: Clip | None = struct.field(pytree_node=False, default=None)
    noise: str = struct.field(pytree_node=False, default="none")
    run: Any = struct.field(pytree_node=False, default=None)


class FlaxSchedulerOutput(NamedTuple):
    """What `step` returns: x at the next level, and the state to go on from."""

    prev_sample: Array
    state: SchedulerState


class FlaxScheduler:
    """Base of the Flax classes; `plain` is the scheduler whose tables it runs."""

    plain_class: ClassVar[type[Scheduler]]

    def __init__(self, *, dtype: Any = None, plain: Scheduler | None = None, **options: Any) -> None:
        """`options` are those of the plain class. `dtype` is taken so that old scripts run: numbers are float32.

        Raises SchedulerConfigError (a ValueError) for options that are unknown or do not fit.
        """
        self.plain = self.plain_class(**options) if plain is None else plain

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any] | Scheduler | FlaxScheduler, **options: Any
    ) -> tuple[Self, SchedulerState]:
        """(scheduler, state) with another one's configuration, options on top."""
        options.pop("dtype", None)
        source = config.plain if isinstance(config, FlaxScheduler) else config
        made = cls(plain=cls.plain_class.from_config(source, **options))
        return made, made.create_state()

    @classmethod
    def from_pretrained(
        cls, repo: str | Path, subfolder: str | None = None, **options: Any
    ) -> tuple[Self, SchedulerState]:
        """(scheduler, state) of a folder or hub repository; see `Scheduler.from_pretrained`."""
        options.pop("dtype", None)
        made = cls(plain=cls.plain_class.from_pretrained(repo, subfolder, **options))
        return made, made.create_state()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write scheduler_config.json into `folder`, as the plain class does."""
        self.plain.save_pretrained(folder)

    @property
    def config(self) -> Config:
        return self.plain.config

    def __len__(self) -> int:
        return len(self.plain)

    def __repr__(self) -> str:
        return f"Flax{self.plain!r}"

    # ---- the state -------------------------------------------------------------------------------------------------

    def create_state(self) -> SchedulerState:
        """A state before any run: the training clock, and every timestep of it, falling."""
        clock = self.plain.clock
        if not isinstance(clock, TrainingClock):
            return SchedulerState(None, jnp.float32(self.plain.init_noise_sigma), None, scheduler=self)
        every, one = np.arange(clock.length), np.zeros(1)
        alphas = clock.alphas_cumprod / np.append(1.0, clock.alphas_cumprod[:-1])
        common = CommonState(
            alphas=_numbers(alphas),
            betas=_numbers(1 - alphas),
            alphas_cumprod=_numbers(clock.alphas_cumprod),
            levels=_numbers(np.stack(self.plain._levels_of(every, one), -1)),
            unit_levels=_numbers(np.stack(self.plain._levels_of(every, one, variance_preserving_scale=True), -1)),
        )
        return SchedulerState(
            common, jnp.float32(self.plain.init_noise_sigma), jnp.asarray(every[::-1].copy()), scheduler=self
        )

    def set_timesteps(
        self,
        state: SchedulerState,
        num_inference_steps: int | None = None,
        shape: tuple[int, ...] = (),
        *,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        **run: Any,
    ) -> SchedulerState:
        """The state at the start of a run of so many steps, or of listed timesteps or sigmas; `run`: run options (eta,
        s_churn, …). Samples of this `shape` are expected, which a loop under jit must be told.

        Raises SchedulerConfigError (a ValueError) for an unfit schedule.
        """
        told, levels = (None if values is None else tuple(values) for values in (timesteps, sigmas))
        schedule, options = Schedule(num_inference_steps, told, levels), self.plain.with_run(**run)
        table = self.plain.table_of(schedule, options)
        whole = np.array_equal(table.timestep, np.round(table.timestep))
        return SchedulerState(
            state.common,
            jnp.float32(table.init_noise_sigma),
            jnp.asarray(table.timestep, jnp.int32 if whole else jnp.float32),
            rows=_rows_of(table),
            row=jnp.int32(-1),
            history=jnp.zeros((table.registers - 1, *shape)) if shape else None,
            scheduler=self,
            num_inference_steps=table.steps,
            clip=table.clip,
            noise=_kind_of_noise(table),
            run=(schedule, options),
        )

    def set_begin_index(self, state: SchedulerState, begin_index: int) -> SchedulerState:
        """The state of a run that begins at this row of its timesteps: the rest is a run of its own, without history.

        Raises ValueError for a row in the middle of a step, and where there is no run.
        """
        if state.run is None:
            raise ValueError(NO_RUN)
        schedule, options = state.run
        loop = Loop(self.plain.running(options), schedule)
        loop.begin(begin_index)
        loop.take(loop.handed[begin_index])
        before = jax.tree.map(lambda values: values[: loop.first], _rows_of(loop.whole))
        rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), before, _rows_of(loop.table))
        history = None if state.history is None else jnp.zeros_like(state.history)
        return state.replace(rows=rows, row=jnp.int32(begin_index), history=history)  # type: ignore[attr-defined]

    # ---- a loop's body ---------------------------------------------------------------------------------------------

    def scale_model_input(self, state: SchedulerState, sample: Array, timestep: Any = None) -> Array:
        """What the network is to see of x at the row that comes next."""
        rows, n = _place(state, timestep)
        return (sample * rows.input_scale[n]).astype(sample.dtype)

    def step(
        self,
        state: SchedulerState,
        model_output: Array,
        timestep: Any,
        sample: Array,
        key: Array | None = None,
        return_dict: bool = True,
        *,
        noise: Array | None = None,
    ) -> FlaxSchedulerOutput | tuple[Array, SchedulerState]:
        """One row: x and the network's answer at its level → x at the next one.

        Args:
            timestep: of the first call says where to begin; rows then follow one another. Under jit a method that
                looks back begins late after `set_begin_index` alone, since a traced timestep is no number yet.
            key: of jax.random, another one for each call, where the scheduler draws noise.
            noise: a draw of the caller's own in place of the key's.

        Raises:
            ValueError: there is no run yet, or the noise cannot be drawn.
        """
        state = self._begun(state, timestep)
        rows, n = _place(state, timestep)
        variance = None
        if model_output.shape[1] == 2 * sample.shape[1]:  # a network that predicts a variance as well
            model_output, variance = jnp.split(model_output, 2, axis=1)
        x, out = sample.astype(jnp.float32), model_output.astype(jnp.float32)
        x0 = rows.to_x0[n, 0] * x + rows.to_x0[n, 1] * out
        if state.clip is not None:
            x0 = clipped(x0, state.clip)
        fresh = self._drawn(state, x, key) if noise is None else noise.astype(jnp.float32)
        if variance is not None:
            fresh = fresh * jnp.exp(rows.log_std[n, 0] + rows.log_std[n, 1] * variance)
        registers = rows.update.shape[1]
        history = jnp.zeros((registers - 1, *x.shape)) if state.history is None else state.history
        sources = jnp.concatenate([x[None], history, jnp.stack([out, x0, fresh])])
        new = jnp.tensordot(rows.update[n], sources, axes=1, precision="highest")
        moved = state.replace(row=n + 1, history=new[1:])  # type: ignore[attr-defined]
        return FlaxSchedulerOutput(new[0].astype(sample.dtype), moved)

    def _begun(self, state: SchedulerState, timestep: Any) -> SchedulerState:
        """The state at its first row, where that is a number and not traced."""
        numbers = not any(isinstance(value, Tracer) for value in (state.row, state.timesteps, timestep))
        if not numbers or state.row is None or state.row >= 0 or state.timesteps is None:
            return state
        _, n = _place(state, timestep)
        return state if n == 0 else self.set_begin_index(state, int(n))

    def _drawn(self, state: SchedulerState, x: Array, key: Array | None) -> Array:
        if state.noise == "none":
            return jnp.zeros_like(x)
        if state.noise == "path":
            raise ValueError(f"Flax{type(self.plain).__name__} draws from a Brownian path: give its draws as noise=…")
        if key is None:
            raise ValueError(f"Flax{type(self.plain).__name__} draws noise: give key=…, another one for each step")
        return jax.random.normal(key, x.shape, jnp.float32)

    def add_noise(self, state: SchedulerState, original_samples: Array, noise: Array, timesteps: Any) -> Array:
        """x at these timesteps (B,), in the scale this solver keeps x in: alpha x0 + sigma noise."""
        if state.common is None:
            return self.plain.add_noise(original_samples, noise, timesteps)
        alpha, sigma = self._levels(state.common.levels, timesteps, original_samples)
        return alpha * original_samples + sigma * noise

    def get_velocity(self, state: SchedulerState, sample: Array, noise: Array, timesteps: Any) -> Array:
        """v = alpha noise - sigma x0 (arXiv 2202.00512), on the variance-preserving scale."""
        if state.common is None:
            return self.plain.get_velocity(sample, noise, timesteps)
        alpha, sigma = self._levels(state.common.unit_levels, timesteps, sample)
        return alpha * noise - sigma * sample

    def _levels(self, table: Array, timesteps: Any, like: Array) -> tuple[Array, Array]:
        """alpha and sigma at whole timesteps, to be multiplied with `like` (B, …); ValueError beyond the clock."""
        if not isinstance(timesteps, Tracer):
            self.plain.sigma_told(np.ravel(timesteps).astype(np.float64))
        found = table[jnp.asarray(timesteps).reshape(-1)].reshape(-1, *[1] * (like.ndim - 1), 2)
        return found[..., 0].astype(like.dtype), found[..., 1].astype(like.dtype)


NO_RUN = "there is no run yet: state = scheduler.set_timesteps(state, num_inference_steps)"


def _rows_of(table: Tableau) -> RowState:
    x0_is_read = (table.update[..., table.registers + 1] != 0).any(-1, keepdims=True)
    return RowState(
        input_scale=_numbers(table.input_scale),
        to_x0=_numbers(np.where(x0_is_read, table.to_x0, 0.0)),  # 0 · inf is no 0
        update=_numbers(table.update),
        log_std=_numbers(table.log_std),
        takes_noise=jnp.asarray(table.takes_noise),
        starts=jnp.asarray(np.diff(table.step, prepend=-1) != 0),
    )


def _numbers(values: np.ndarray) -> Array:
    return jnp.asarray(values, jnp.float32)


def _kind_of_noise(table: Tableau) -> str:
    if not table.takes_noise.any():
        return "none"
    return "independent" if table.brownian is None else "path"


def _place(state: SchedulerState, timestep: Any) -> tuple[RowState, Array]:
    """The rows of the run, and the next one's number: at the start the one that is told this timestep."""
    if state.rows is None or state.row is None or state.timesteps is None:
        raise ValueError(NO_RUN)
    apart = 0 if timestep is None else jnp.abs(state.timesteps - timestep)
    first = jnp.where(state.rows.starts, apart, jnp.inf).argmin()
    return state.rows, jnp.where(state.row < 0, first, state.row)


@cache
def flax_scheduler(name: str) -> type[FlaxScheduler]:
    """The class of a name such as FlaxDDIMScheduler. Raises AttributeError where there is none."""
    plain = scheduler_classes().get(name.removeprefix("Flax"))
    if plain is None or not name.startswith("Flax"):
        raise AttributeError(f"there is no scheduler {name!r}")
    own = Parameter("dtype", Parameter.KEYWORD_ONLY, default=None)
    said = Signature([*signature(plain).parameters.values(), own])
    names = {"plain_class": plain, "__module__": __name__, "__doc__": plain.__doc__, "__signature__": said}
    return type(name, (FlaxScheduler,), names)


def __getattr__(name: str) -> Any:
    return flax_scheduler(name)
