"""What a run says while it works: sentences on stderr, and one bar that is drawn only where somebody can watch it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


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
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self.batches * self.rows,
                unit="NFE",
                leave=True,
                bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} NFE [{elapsed}<{remaining}{postfix}]",
            )
        if row == 0:
            self._started = time.perf_counter()
        else:
            per_step = (time.perf_counter() - self._started) / row * self.rows / self.steps
            self._bar.set_postfix_str(f"{_duration(per_step)}/step", refresh=False)
        which = f"batch {batch + 1}/{self.batches}, " if self.batches > 1 else ""
        self._bar.set_description_str(f"{which}step {step + 1}/{self.steps}", refresh=False)
        self._bar.update(1)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
