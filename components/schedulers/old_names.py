"""What else old scripts read from a scheduler or ask of it: its clock as arrays, where a loop stands, its file's names.

Arrays are torch's where torch is loaded, numpy's otherwise, float32; they say what there is, and nothing reads them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from components.schedulers.config import CONFIG_NAME, find_file
from components.schedulers.loop import Loop
from components.schedulers.noise import TrainingClock
from components.schedulers.reassigned import Reassignable, Reassigned
from components.schedulers.schedule import Grid, Schedule
from components.schedulers.tableau import Level


class OldNames(Reassigned):
    """Mixed into a scheduler with a loop of its own (`Facade`)."""

    _loop: Loop | None = None
    _clock_run: Loop | None = None
    config_name = CONFIG_NAME

    @property
    def _unasked(self) -> Loop:
        """A run of the whole training clock."""
        if self._clock_run is None:
            self._clock_run = Loop(self, Schedule(len(self)))  # type: ignore[arg-type]
        return self._clock_run

    def _handed(self, values: np.ndarray) -> Any:
        """torch's arrays where the caller uses torch, on the run's device; numpy's otherwise."""
        torch = sys.modules.get("torch")
        device = None if self._loop is None else self._loop.device
        return values.copy() if torch is None else torch.from_numpy(values.copy()).to(device)

    # ---- the run ---------------------------------------------------------------------------------------------------

    @Reassignable
    def num_inference_steps(self) -> int | None:
        return None if self._loop is None else self._loop.whole.steps

    @Reassignable
    def timesteps(self) -> Any:
        """(N,) what the network is told, row by row; the training clock's, where no run is set."""
        if self._loop is not None:
            return self._handed(self._loop.handed)
        clock = self.clock  # type: ignore[attr-defined]
        if isinstance(clock, TrainingClock) and self.order == 1:  # type: ignore[attr-defined]
            t = np.arange(clock.length, dtype=np.int64 if self.whole_timesteps else np.float32)  # type: ignore[attr-defined]
            return self._handed(t if self.ascending else t[::-1])  # type: ignore[attr-defined]
        if self.fits == "flow":  # type: ignore[attr-defined]
            return self._handed(self._clock_levels.timestep[:-1].astype(np.float32))
        return self._handed(self._unasked.handed)

    @Reassignable
    def sigmas(self) -> Any:
        """(N + 1,) level where each row reads, and where the last one lands: noise to signal, or a flow's sigma.

        Where no run is set, those of the training clock: rising where x is kept as alpha x0 + sigma eps; without their
        end, where that is no place on the clock.
        """
        clock, kind = self.clock, self.fits  # type: ignore[attr-defined]
        if self._loop is None and isinstance(clock, TrainingClock) and self.variance_preserving:  # type: ignore[attr-defined]
            return self._handed(clock.sigmas.astype(np.float32))
        if self._loop is None and kind in ("flow", "consistency"):
            return self._handed(self._clock_levels.sigma[:-1].astype(np.float32))
        table = (self._loop or self._unasked).whole
        alpha, sigma = np.vstack([table.read, table.land[-1:]]).T
        with np.errstate(divide="ignore"):
            return self._handed((sigma if kind == "flow" else sigma / alpha).astype(np.float32))

    @property
    def _clock_levels(self) -> Level:
        """Levels of the whole training clock."""
        return self.grid(Schedule(len(self))).levels  # type: ignore[attr-defined,arg-type]

    @Reassignable
    def init_noise_sigma(self) -> float:
        """What to multiply a standard normal draw by."""
        if self._loop is not None:
            return float(self._loop.whole.init_noise_sigma)
        return float(self.initial_scale(Grid(self._clock_levels)))  # type: ignore[attr-defined]

    @property
    def step_index(self) -> int | None:
        """The row that comes next; None where none has been taken."""
        return None if self._loop is None or self._loop.fresh else self._loop.row

    @property
    def begin_index(self) -> int | None:
        return None if self._loop is None else self._loop.begin_index

    def _stands_at(self, row: int | None) -> None:
        """Scripts that draw once more without `set_timesteps` set the index to None."""
        if self._loop is not None:
            self._loop.restart()
            if row is not None:
                self._loop.begin(row)

    _step_index = property(lambda self: self.step_index, _stands_at)
    _begin_index = property(lambda self: self.begin_index, _stands_at)

    def index_for_timestep(self, timestep: Any, schedule_timesteps: Any = None) -> int:
        """The row that begins at this timestep; its place in `schedule_timesteps`, where those are given.

        Raises ValueError where there is none.
        """
        if schedule_timesteps is not None:
            found = np.flatnonzero(np.asarray(schedule_timesteps) == np.asarray(timestep))
            if not len(found):
                raise ValueError(f"timestep {timestep} is not among these {len(schedule_timesteps)} timesteps")
            return int(found[min(1, len(found) - 1)])
        loop = self._loop or self._unasked
        if (row := loop.beginning_at(timestep)) is None:
            raise loop.unknown(timestep)
        return row

    def previous_timestep(self, timestep: Any) -> Any:
        """What the row after this one is told; -1 after the last. On the training clock, where no run is set."""
        told = self._handed((self._loop or self._unasked).handed)
        row = self.index_for_timestep(timestep) + 1
        return told[row] if row < len(told) else -1

    # ---- the clock -------------------------------------------------------------------------------------------------

    def _trained(self, name: str) -> TrainingClock:
        """The clock of betas. Raises AttributeError for a network that has none."""
        clock = self.clock  # type: ignore[attr-defined]
        if isinstance(clock, TrainingClock):
            return clock
        if "beta_schedule" not in type(self).options():  # type: ignore[attr-defined]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self.training_clock()  # type: ignore[attr-defined]

    @Reassignable
    def alphas_cumprod(self) -> Any:
        """(T,) alpha^2 at every timestep."""
        return self._handed(self._trained("alphas_cumprod").alphas_cumprod.astype(np.float32))

    @Reassignable
    def alphas(self) -> Any:
        """(T,) 1 - beta: alpha^2 at every timestep as a share of the one before."""
        return self._handed(_shares(self._trained("alphas")).astype(np.float32))

    @Reassignable
    def betas(self) -> Any:
        """(T,) the variance that each timestep of training adds."""
        return self._handed((1 - _shares(self._trained("betas"))).astype(np.float32))

    @Reassignable
    def alpha_t(self) -> Any:
        return self.alphas_cumprod**0.5

    @Reassignable
    def sigma_t(self) -> Any:
        return (1 - self.alphas_cumprod) ** 0.5

    @Reassignable
    def lambda_t(self) -> Any:
        """(T,) log(alpha / sigma) at every timestep."""
        return self._handed(-self._trained("lambda_t").log_sigmas.astype(np.float32))

    @Reassignable
    def final_alpha_cumprod(self) -> Any:
        """alpha^2 where the last step ends."""
        to_one = self.config.get("set_alpha_to_one", True)  # type: ignore[attr-defined]
        first = self._trained("final_alpha_cumprod").alphas_cumprod[0]
        return self._handed(np.array(1.0 if to_one else first, np.float32))

    initial_alpha_cumprod = final_alpha_cumprod

    @Reassignable
    def one(self) -> Any:
        return self._handed(np.array(1.0, np.float32))

    # ---- the configuration and its file ----------------------------------------------------------------------------

    def register_to_config(self, **options: Any) -> None:
        """Take other values for these options, as if made with them; there is no run afterwards.

        Raises SchedulerConfigError for options that are unknown or do not fit.
        """
        made = type(self).from_config(self, **options)  # type: ignore[attr-defined]
        vars(self).clear()
        vars(self).update(vars(made))

    @classmethod
    def load_config(cls, repo: str | Path, subfolder: str | None = None, **hub: Any) -> dict[str, Any]:
        """What the file of a folder or hub repository says, for `from_config` of any class. Raises CheckpointError."""
        from components.component_files import read_json

        return read_json(find_file(repo, subfolder, **hub))

    def save_config(self, save_directory: str | Path, **options: Any) -> None:
        """Write scheduler_config.json into this folder: `save_pretrained`."""
        self.save_pretrained(save_directory)  # type: ignore[attr-defined]

    def to_json_string(self) -> str:
        return self.to_json()  # type: ignore[attr-defined]

    def to_json_file(self, json_file_path: str | Path) -> None:
        Path(json_file_path).write_text(self.to_json(), encoding="utf-8")  # type: ignore[attr-defined]


def _shares(clock: TrainingClock) -> np.ndarray:
    return clock.alphas_cumprod / np.append(1.0, clock.alphas_cumprod[:-1])
