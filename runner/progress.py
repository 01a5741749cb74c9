"""What a run says while it works: sentences on stderr, and one bar that is drawn only where somebody can watch it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_EVERY = 10.0  # seconds between two lines where nobody watches a bar


class Speaker:
    """Sentences on stderr, and a bar there that they are written above; `speak` False is silence.

    `shown` None draws the bar when stderr is a terminal, so that a log file holds sentences only.
    """

    def __init__(self, *, speak: bool = True, shown: bool | None = None) -> None:
        self.speak = speak
        self.shown = speak and (sys.stderr.isatty() if shown is None else shown)
        self._bar: tqdm | None = None

    def say(self, sentence: str) -> None:
        """One sentence on stderr, above the bar."""
        if not self.speak:
            return
        if self._bar is not None:
            self._bar.write(sentence, file=sys.stderr)
        else:
            print(sentence, file=sys.stderr, flush=True)

    def _move(self, rows: int, total: int, form: str, told: str) -> tqdm:
        """Moves the bar on by `rows` of `total`; it is made when it first moves."""
        if self._bar is None:
            from tqdm import tqdm

            bar_format = f"{{desc}} {{percentage:3.0f}}% |{{bar}}| {{n_fmt}}/{{total_fmt}} NFE [{form}]"
            self._bar = tqdm(total=total, unit="NFE", leave=True, bar_format=bar_format, file=sys.stderr)
        self._bar.set_description_str(told, refresh=False)
        self._bar.update(rows)
        return self._bar

    def close(self) -> None:
        """Leaves the bar as it stands and goes to a new line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Progress(Speaker):
    """Counts rows of the table over all batches of a run; one row is one network evaluation (NFE)."""

    def __init__(self, *, batches: int, rows: int, steps: int, speak: bool = True, shown: bool | None = None) -> None:
        self.batches, self.rows, self.steps = batches, rows, steps
        super().__init__(speak=speak, shown=shown)
        self._started = 0.0

    def row_done(self, batch: int, row: int, step: int) -> None:
        """Row `row` of batch `batch` is done; `step` is the user-visible step it belongs to, from 0."""
        if not self.shown:
            return
        which = f"batch {batch + 1}/{self.batches}, " if self.batches > 1 else ""
        form = "{elapsed}<{remaining}{postfix}"
        bar = self._move(1, self.batches * self.rows, form, f"{which}step {step + 1}/{self.steps}")
        if row == 0:
            self._started = time.perf_counter()
        else:
            per_step = (time.perf_counter() - self._started) / row * self.rows / self.steps
            bar.set_postfix_str(
                f"{per_step * 1000:.0f} ms/step" if per_step < 1 else f"{per_step:.1f} s/step", refresh=False
            )


class Counted(Speaker):
    """Counts evaluations of single pictures (NFE), so that batches of any size and length move the bar evenly.

    `todo` pictures, which take `total` evaluations; `what` they are called. A log gets a line now and then.
    """

    def __init__(self, what: str, todo: int, total: int, *, speak: bool = True, shown: bool | None = None) -> None:
        super().__init__(speak=speak, shown=shown)
        self.what, self.todo, self.total = what, todo, total
        self.done = 0
        self._said = self._started = time.monotonic()

    def row_done(self, pictures: int) -> None:
        """A row of the table is done for so many pictures."""
        if self.shown:
            self._move(pictures, self.total, "{elapsed}<{remaining}, {rate_fmt}", self._told())

    def pictures_done(self, count: int) -> None:
        """So many pictures more are done."""
        self.done += count
        if self._bar is not None:
            self._bar.set_description_str(self._told())
        now = time.monotonic()
        if not self.shown and (now - self._said > LINE_EVERY or self.done == self.todo):
            self._said, spent = now, now - self._started
            left = spent / self.done * (self.todo - self.done)
            rest = f", about {duration(left)} left" if left else ""
            self.say(f"{self._told()} in {duration(spent)}{rest}")

    def _told(self) -> str:
        return f"{self.done}/{self.todo} {self.what}"


def duration(seconds: float) -> str:
    """A time as people say it: 42 s, 7 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
