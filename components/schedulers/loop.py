"""Where a caller's loop stands, and which row of its table a timestep means.

A method that looks back at earlier rows can go on to the next one alone; it begins wherever a step starts. Any other
method takes its rows in any order, any number of times. Nothing is guessed: a timestep is told exactly, or refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from components.schedulers.arrays import rounded, single
from components.schedulers.schedule import Schedule
from components.schedulers.tableau import Tableau

NAMED = 12
"""So many timesteps of a run a message lists."""


@dataclass
class Loop:
    """One run, its rows counted from the whole run's first, and the registers beside x.

    A loop that begins late walks a table of its own, whose first row is the whole one's row `first`.
    """

    scheduler: Any  # with the options of this run
    schedule: Schedule
    device: Any = None
    whole: Tableau = field(init=False)
    handed: np.ndarray = field(init=False)  # the timesteps as the caller is handed them
    table: Tableau = field(init=False)
    first: int = 0
    row: int = 0
    """The row that comes next."""
    fresh: bool = True
    """Whether no row has been taken since the run, or its beginning, was set."""
    begin_index: int | None = None
    history: list[Any] = field(default_factory=list)
    path: Any = None

    def __post_init__(self) -> None:
        self.whole = self.table = self.scheduler.table_of(self.schedule, self.scheduler.run)
        t = self.whole.timestep
        whole_numbers = self.scheduler.whole_timesteps and np.array_equal(t, np.round(t))
        self.handed = t.astype(np.int64 if whole_numbers else np.float32)

    @property
    def remembers(self) -> bool:
        """Whether rows read what earlier rows left in the registers beside x."""
        return self.whole.registers > 1

    def starts_a_step(self, row: int) -> bool:
        return row == 0 or bool(self.whole.step[row] != self.whole.step[row - 1])

    def change(self, scheduler: Any) -> None:
        """Go on with other options of a run."""
        whole = scheduler.table_of(self.schedule, scheduler.run)
        if whole.registers != self.whole.registers and not self.fresh:
            raise ValueError("this option changes how far the method looks back: it stays as it is within a run")
        self.scheduler, self.whole = scheduler, whole
        self._lay_out(self.first)

    def begin(self, row: int) -> None:
        """Make this row the next one, whatever has been taken before. Raises ValueError where no step starts."""
        if not 0 <= row < self.whole.rows:
            raise ValueError(f"begin_index is {row}, but this run has {self.whole.rows} rows, counted from 0")
        if not self.starts_a_step(row):
            raise ValueError(f"begin_index is {row}, in the middle of a step: {self._starts(row)}")
        self.restart()
        self.row = self.begin_index = row

    def restart(self) -> None:
        """Forget what has been taken: the first row comes next, unless a timestep says another."""
        self.row, self.begin_index, self.fresh, self.history, self.path = 0, None, True, [], None

    def take(self, timestep: Any) -> int:
        """The row of the loop's own table that this call is for; the loop begins there where it has not begun."""
        row = self.locate(timestep)
        if self.fresh:
            self._lay_out(row)
        return row - self.first

    def leave(self, row: int, history: list[Any]) -> None:
        """A row of the loop's own table is done, and leaves this in the registers."""
        self.row, self.history, self.fresh = self.first + row + 1, history, False

    def _lay_out(self, row: int) -> None:
        """The table of a run from this row on."""
        step = int(self.whole.step[row])
        if self.remembers and step:
            late, run = replace(self.schedule, begin=step), replace(self.scheduler.run, same_rows=True)
            self.table, self.first = self.scheduler.table_of(late, run), row
        else:
            self.table, self.first = self.whole, 0

    # ---- a timestep's row ------------------------------------------------------------------------------------------

    def rows_told(self, timestep: Any) -> np.ndarray:
        """The rows whose timestep this is, in the format it was handed out in or in that of `timestep`."""
        told = single(timestep)
        as_handed = np.float64(np.float32(told)) if self.handed.dtype == np.float32 else told
        found = np.flatnonzero(self.handed == as_handed)
        return found if len(found) else np.flatnonzero(rounded(self.handed, timestep) == told)

    def locate(self, timestep: Any) -> int:
        """The whole run's row that a step at this timestep takes. Raises ValueError where it may take none."""
        found = self.rows_told(timestep)
        if self.row in found:
            return self.row
        if not len(found):
            raise ValueError(self._unknown(single(timestep)))
        if not self.remembers:
            return int(found[0])
        if self.row >= self.whole.rows:
            raise ValueError(f"the run is over after {self.whole.rows} rows: call set_timesteps for another one")
        if not self.fresh:
            raise ValueError(
                f"timestep {single(timestep):.7g} is out of turn: {type(self.scheduler).__name__} looks back at "
                f"earlier rows, and the next is told {self.handed[self.row]:.7g}. set_timesteps and set_begin_index "
                "start anew; pictures that are stepped in turns take a scheduler each"
            )
        starts = [int(row) for row in found if self.starts_a_step(row)]
        if not starts:
            what = f"timestep {single(timestep):.7g} is told in the middle of a step, where no run can begin"
            raise ValueError(f"{what}: {self._starts(int(found[0]))}")
        return starts[0]

    def place_of(self, timestep: Any) -> int | None:
        """The row to speak of at this timestep, whether or not it may be taken now; None where no row is told it."""
        return self.row if self.row in self.rows_told(timestep) else self.beginning_at(timestep)

    def beginning_at(self, timestep: Any) -> int | None:
        """The row where a run told this timestep begins; the first that is told it, where none starts a step."""
        found = self.rows_told(timestep)
        starts = [int(row) for row in found if self.starts_a_step(row)]
        return next(iter([*starts, *map(int, found)]), None)

    def unknown(self, timestep: Any) -> ValueError:
        return ValueError(self._unknown(single(timestep)))

    def _unknown(self, told: float) -> str:
        near = self.handed[np.nanargmin(np.abs(self.handed - told))] if told == told else self.handed[0]
        return f"timestep {told:.7g} is not one of this run's; the nearest is {near:.7g}. There are: {self._list()}"

    def _list(self) -> str:
        names = [f"{t:.7g}" for t in dict.fromkeys(self.handed.tolist())]
        cut = NAMED // 2
        return ", ".join(names if len(names) <= NAMED else [*names[:cut], "…", *names[-cut:]])

    def _starts(self, row: int) -> str:
        starts = [n for n in range(self.whole.rows) if self.starts_a_step(n)]
        near = sorted(starts, key=lambda n: abs(n - row))[:2]
        return "the nearest beginnings are " + " and ".join(f"row {n} (timestep {self.handed[n]:.7g})" for n in near)
