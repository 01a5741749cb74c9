"""What scripts set on a scheduler: its arrays moved to a device or cut, the clock of other betas.

`scheduler.timesteps = scheduler.timesteps.to(torch.float32)` and the like read back as they were set. Numbers that the
scheduler can follow are followed, all others are refused with what to do instead; none is taken and then not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from components.schedulers.arrays import plain, rounded
from components.schedulers.loop import Loop
from components.schedulers.noise import TrainingClock

OF_A_RUN = ("timesteps", "sigmas", "init_noise_sigma", "num_inference_steps")
OF_BETAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "betas": lambda betas: np.cumprod(1 - betas),
    "alphas": np.cumprod,
    "alphas_cumprod": np.array,
}
"""What says what the clock is, and how to alpha^2 from there."""
INSTEAD = {
    "sigmas": "set_timesteps(sigmas=…) begins a run of others",
    "num_inference_steps": "set_timesteps begins a run of another number",
    "init_noise_sigma": "multiply the first draw by what it shall be",
}
ONE_PART = 1e-5
"""float32 arithmetic of scripts, relative to the largest number."""


class Reassignable(property):
    """A property that may be set: see `Reassigned`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.called = getattr(self, "called", name)  # an alias reads what its first name was set to

    def __get__(self, scheduler: Any, owner: type | None = None) -> Any:
        if scheduler is not None and self.called in scheduler.reassigned:
            return scheduler.reassigned[self.called]
        return super().__get__(scheduler, owner)

    def __set__(self, scheduler: Any, value: Any) -> None:
        scheduler.reassign(self.called, value, super().__get__(scheduler))


class Reassigned:
    """Mixed into a scheduler with a loop of its own; `reassigned`: what was set, which is what is read."""

    reassigned: dict[str, Any] = {}  # noqa: RUF012 (never changed in place)

    def reassign(self, name: str, value: Any, now: Any) -> None:
        """Set an array that reads as `now` otherwise. Raises ValueError for numbers that no row can follow."""
        numbers = np.asarray(plain(value), np.float64)
        if name == "timesteps":
            self._all_in_run(value, numbers)
        elif not _equal(numbers, value, now):
            of_betas = name in OF_BETAS and isinstance(self.clock, TrainingClock)  # type: ignore[attr-defined]
            if not of_betas or numbers.shape != np.shape(now) or not ((numbers >= 0) & (numbers <= 1)).all():
                hint = INSTEAD.get(name, "it follows from the betas and the options of the scheduler")
                raise ValueError(f"{name} of a {type(self).__name__} cannot be set to other numbers: {hint}")
            self._train_on(OF_BETAS[name](numbers))
        self.reassigned = self.reassigned | {name: value}

    def _all_in_run(self, value: Any, numbers: np.ndarray) -> None:
        """Any of the run's timesteps, in any order; which of them a step may take is the loop's to say."""
        loop: Loop = getattr(self, "_loop", None) or self._unasked  # type: ignore[attr-defined]
        told = rounded(loop.handed, value)
        for t in numbers.ravel():
            if t not in told and t not in loop.handed:
                raise ValueError(f"{loop.unknown(t)}. set_timesteps(timesteps=…) begins a run of others")

    def _train_on(self, alphas_cumprod: np.ndarray) -> None:
        """Another clock; a run that was set is begun anew on it."""
        clock, loop = TrainingClock(alphas_cumprod), self._loop  # type: ignore[attr-defined]
        self.clock = clock if alphas_cumprod[-1] > 0 else self.usable(clock)  # type: ignore[attr-defined]
        self.reassigned, self._clock_run = {}, None
        self._loop = loop and Loop(self.running(loop.scheduler.run), loop.schedule, loop.device)  # type: ignore[attr-defined]


def _equal(numbers: np.ndarray, value: Any, now: Any) -> bool:
    """Whether these are the numbers there are, in the format they come in."""
    if now is None or numbers.shape != np.shape(now):
        return False
    expected = rounded(np.asarray(plain(now), np.float64), value)
    largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    return bool(np.isclose(numbers, expected, rtol=0, atol=ONE_PART * largest).all())
