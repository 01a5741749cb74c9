"""For people who bring their own loop: `set_timesteps`, `scale_model_input`, `step` and `add_noise`, over a table.

The one class that keeps a loop's state on an object and looks a timestep up, because the names it promises say so. It
takes and returns the caller's kind of array (numpy, torch, JAX) and imports torch only when handed or asked for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from components.schedulers.arrays import (
    clipped,
    in_format_of,
    kind_of,
    like,
    listed,
    plain,
    standard_normal,
    weighted_sum,
)
from components.schedulers.brownian import brownian_path, path_seed
from components.schedulers.calls import STEP, StepOutput, called
from components.schedulers.loop import Loop
from components.schedulers.noise import variance_preserving
from components.schedulers.old_names import OldNames
from components.schedulers.options import SchedulerConfigError
from components.schedulers.reassigned import OF_A_RUN
from components.schedulers.schedule import Schedule
from components.schedulers.tableau import Tableau

OF_A_SCHEDULE = ("mu", "strength")
"""Run options that decide which levels are visited: `step` comes too late for them."""


class Facade(OldNames):
    """The old names. Everything they do is said by the table that `tableau` of the scheduler returns."""

    order: int = 1
    """Network evaluations that make one step."""
    step_takes: ClassVar[tuple[str, ...]] = ("generator", "return_dict")
    """What `step` takes by place after model_output, timestep and sample."""
    schedule_takes: ClassVar[tuple[str, ...]] = ()
    """What `set_timesteps` takes by place after num_inference_steps and device."""
    returns: ClassVar[int] = 2
    """How many values `step` returns with return_dict=False."""
    output: ClassVar[Any] = StepOutput
    runs_unasked: ClassVar[bool] = False
    """Whether a loop without `set_timesteps` runs the whole training clock."""
    whole_timesteps: ClassVar[bool] = True
    """Whether timesteps that are whole numbers are handed out as such."""
    format_of: ClassVar[str | None] = None
    """Whose number format x is returned in, where they differ: "model_output", "sample", or the wider one (None)."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        run = {option.name: option.default for option in getattr(cls, "OPTIONS", ()) if option.run}
        of_steps = [name for name in run if name not in OF_A_SCHEDULE]
        always = ("generator", "variance_noise", "return_dict")
        cls.step = called("step", cls._step_of_loop, STEP, cls.step_takes, (*of_steps, *always), run)
        where = ("num_inference_steps", "device", *cls.schedule_takes)
        cls.set_timesteps = called("set_timesteps", cls._begin_run, (), where, ("timesteps", "sigmas", *run), run)

    def __len__(self) -> int:
        """Length of the training clock."""
        return self.config["num_train_timesteps"]  # type: ignore[attr-defined]

    def set_timesteps(self, num_inference_steps: int | None = None, device: Any = None, **options: Any) -> None:
        """Begin a run: see `_begin_run`, which each class takes its arguments to in its own order."""
        self._begin_run(num_inference_steps=num_inference_steps, device=device, **options)

    def _begin_run(
        self,
        *,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        original_inference_steps: int | None = None,
        num_train_timesteps: int | None = None,
        **run: Any,
    ) -> None:
        """Begin a run of so many steps, or of listed timesteps or sigmas.

        Sigmas are noise-to-signal ratios, the end included; a flow's are in (0, 1], before the scheduler's shift and
        without the end, which is 0. Run options (eta, s_churn, mu, …) hold for the run. Raises SchedulerConfigError for
        an unfit schedule.
        """
        if num_train_timesteps not in (None, len(self)):
            raise ValueError(
                f"num_train_timesteps is {num_train_timesteps}, but this scheduler's clock has {len(self)}"
            )
        scheduler, told, levels = self.under(**run), listed(timesteps), listed(sigmas)
        if original_inference_steps is not None:
            scheduler = scheduler.corrected({"original_inference_steps": original_inference_steps})
        if self.fits == "flow" and not self.ascending and levels and not told:  # type: ignore[attr-defined]
            scheduler, num_inference_steps = scheduler.visiting(levels, num_inference_steps)
            levels = None
        self._loop = Loop(scheduler, Schedule(num_inference_steps, told, levels), device)
        self.reassigned = {name: value for name, value in self.reassigned.items() if name not in OF_A_RUN}

    def under(self, **options: Any) -> Any:
        """This scheduler with these options of a run; None leaves one as it is. Raises TypeError for an unknown name.

        Raises SchedulerConfigError for a value that it may not have.
        """
        given = {name: plain(value) for name, value in options.items() if value is not None}
        known = type(self).options()  # type: ignore[attr-defined]
        if unknown := [name for name in given if name not in known or not known[name].run]:
            raise TypeError(f"{type(self).__name__} has no option of a run named {unknown[0]!r}")
        if problems := type(self).check_options(given):  # type: ignore[attr-defined]
            raise SchedulerConfigError(type(self).__name__, problems)
        return self.running(self.with_run(**given)) if given else self  # type: ignore[attr-defined]

    @property
    def _scales(self) -> bool:
        """Whether the network sees another scale of x than the solver keeps it in."""
        return bool(self.levels(np.zeros(1), np.array([1.0, 0.0])).levels.scale[0] != 1)  # type: ignore[attr-defined]

    @property
    def table(self) -> Tableau:
        """The table of the whole run that `set_timesteps` began."""
        return self._begun.whole

    @property
    def _begun(self) -> Loop:
        """The run there is; that of the whole training clock, where one may go without `set_timesteps`."""
        if self._loop is None and self.runs_unasked:
            self._loop, self._clock_run = self._unasked, None
        if self._loop is None:
            raise ValueError("there is no run yet: call set_timesteps first")
        return self._loop

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start at this row of `timesteps`, as image to image does: the rest is a run of its own, without history.

        Raises ValueError for a row in the middle of a step.
        """
        self._begun.begin(int(begin_index))

    def scale_model_input(self, sample: Any, timestep: Any = None, *args: Any, **options: Any) -> Any:
        """What the network is to see of x at this timestep; the row that comes next, where none is said."""
        if not self._scales:
            return sample
        loop = self._begun
        row = loop.row if timestep is None else loop.place_of(timestep)
        if row is None:
            raise loop.unknown(timestep)
        scale = float(loop.whole.input_scale[row])
        return sample if scale == 1.0 else sample * scale

    def step(self, model_output: Any, timestep: Any, sample: Any, **options: Any) -> Any:
        """One row: see `_step_of_loop`, which each class takes its arguments to in its own order."""
        return self._step_of_loop(model_output=model_output, timestep=timestep, sample=sample, **options)

    def _step_of_loop(
        self,
        *,
        model_output: Any,
        timestep: Any,
        sample: Any,
        generator: Any = None,
        variance_noise: Any = None,
        return_dict: bool | None = True,
        **options: Any,
    ) -> Any:
        """One row: x and the network's answer at its level -> x at the next one, of the same shape and kind.

        Methods without history take any row of the run, in any order. Others take the next one, or begin where a step
        starts. Run options (eta, s_churn, order, …) hold from here on. `generator` is a torch.Generator or a list of
        one per image, a numpy Generator, or a JAX key, after the kind of `sample`.

        Raises ValueError for a timestep that no row is told, or that is out of turn.
        """
        loop, format_of = self._begun, {"model_output": model_output, "sample": sample}
        self._change(loop, options, timestep)
        n = loop.take(timestep)
        table = loop.table
        variance, channels = None, sample.shape[1]
        if model_output.shape[1] == 2 * channels:  # a network that predicts a variance as well
            model_output, variance = model_output[:, :channels], model_output[:, channels:]
        p, q = map(float, table.to_x0[n])
        x0 = weighted_sum((p, sample), (q, model_output))
        if table.clip is not None:
            x0 = clipped(x0, table.clip)
        noise = None
        if table.takes_noise[n]:
            noise = self._drawn(n, model_output, generator) if variance_noise is None else variance_noise
            if variance is not None and table.log_std[n].any():
                base, slope = map(float, table.log_std[n])
                noise = noise * math.e ** (base + slope * variance)
        history = loop.history or [None] * (table.registers - 1)
        sources, weights = [sample, *history, model_output, x0], table.update[n].tolist()
        known = [weighted_sum(*zip(row, sources, strict=False)) for row in weights]
        new = [weighted_sum((1.0, sure), (row[-1], noise)) for sure, row in zip(known, weights, strict=True)]
        loop.leave(n, new[1:])
        x = new[0] if self.format_of is None else in_format_of(format_of[self.format_of], new[0])
        if return_dict or return_dict is None:
            return self.output(x, self.second_output(table, n, known[0], x0))
        return (x, self.second_output(table, n, known[0], x0))[: self.returns]

    def second_output(self, table: Tableau, row: int, sure: Any, x0: Any) -> Any:
        """What `step` returns beside x, of x0 and of the part of x at the next level that is not fresh noise."""
        return x0

    def _change(self, loop: Loop, options: dict[str, Any], timestep: Any) -> None:
        """Take up a step's run options. Raises TypeError or ValueError for what means nothing here."""
        known = type(self).options()  # type: ignore[attr-defined]
        for name in [name for name in options if name not in known or not known[name].run]:
            if name not in self.step_takes:
                raise TypeError(f"{type(self).__name__}.step() got an unexpected keyword argument {name!r}")
            self.check_unread(name, options.pop(name), timestep)
        if (changed := loop.scheduler.under(**options)).run != loop.scheduler.run:
            loop.change(changed)

    def check_unread(self, name: str, value: Any, timestep: Any) -> None:
        """Refuse what the old signature takes and no row reads, where it would say something. Raises ValueError."""
        if value is not None and not (isinstance(value, int | float) and value in (0, 1, math.inf)):
            raise ValueError(f"{type(self).__name__}.step() takes {name} for old scripts' sake, but does not read it")

    def _drawn(self, row: int, model_output: Any, generator: Any) -> Any:
        """This row's noise in the answer's format: a draw of its own, or an increment of the generator's path."""
        loop = self._begun
        if loop.table.brownian is None:
            return standard_normal(model_output, generator)
        if loop.path is None:
            seed = path_seed(self._values.get("noise_sampler_seed"), generator)  # type: ignore[attr-defined]
            loop.path = brownian_path(seed, model_output.shape, *loop.table.brownian, dtype=model_output.dtype)
        noise = loop.path.unit(loop.table.noise_span[row])
        return like(noise, model_output) if kind_of(noise) == "numpy" else noise.to(model_output.device)

    # ---- data made noisy -------------------------------------------------------------------------------------------

    def add_noise(self, original_samples: Any, noise: Any, timesteps: Any) -> Any:
        """x at these timesteps (B,), in the scale this solver keeps x in: alpha x0 + sigma noise.

        The level is the one that the run's row of this timestep reads at; that of the training clock, where no row of
        the run is told it. Raises ValueError for a timestep beyond the clock.
        """
        alpha, sigma = self._levels_of(timesteps, original_samples)
        return alpha * original_samples + sigma * noise

    def scale_noise(self, sample: Any, timestep: Any, noise: Any = None) -> Any:
        """The same under the name that flows have for it; without `noise`, a fresh draw."""
        return self.add_noise(sample, standard_normal(sample, None) if noise is None else noise, timestep)

    def get_velocity(self, sample: Any, noise: Any, timesteps: Any) -> Any:
        """v = alpha noise - sigma x0 (arXiv 2202.00512), on the variance-preserving scale."""
        alpha, sigma = self._levels_of(timesteps, sample, variance_preserving_scale=True)
        return alpha * noise - sigma * sample

    def _levels_of(self, timesteps: Any, array: Any, variance_preserving_scale: bool = False) -> tuple[Any, Any]:
        t = np.ravel(timesteps.tolist() if hasattr(timesteps, "tolist") else timesteps).astype(np.float64)
        pairs = variance_preserving(self.sigma_told(t)) if variance_preserving_scale else self._read_at(t).T
        shape = (-1,) + (1,) * (array.ndim - 1)
        return tuple(like(values.reshape(shape), array) for values in pairs)  # type: ignore[return-value]

    def _read_at(self, timesteps: np.ndarray) -> np.ndarray:
        """(B, 2) alpha and sigma, in the solver's own scale."""
        read, on_clock = np.empty((len(timesteps), 2)), np.ones(len(timesteps), bool)
        if self._loop is not None:
            for n, t in enumerate(timesteps):
                if (row := self._loop.place_of(t)) is not None:
                    read[n], on_clock[n] = self._loop.whole.read[row], False
        told = timesteps[on_clock]
        levels = self.levels(told, np.append(self.sigma_told(told), 0)).levels  # type: ignore[attr-defined]
        read[on_clock] = np.stack([levels.alpha[:-1], levels.sigma[:-1]], -1)
        return read

    def sigma_told(self, timesteps: np.ndarray) -> np.ndarray:
        """The clock's sigma where the network is told these. Raises ValueError beyond the clock's ends."""
        low, high = self.clock.ends  # type: ignore[attr-defined]
        outside = ~((low <= timesteps) & (timesteps <= high))
        if outside.any():
            what = f"timestep {timesteps[outside][0]:.7g} is beyond the training clock"
            raise ValueError(f"{what}, which runs from {low:g} to {high:g}")
        return self.clock.sigma_at(timesteps)  # type: ignore[attr-defined]
