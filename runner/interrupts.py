"""Ctrl-C: stops a run between two operations, never inside a write; pressed again, it quits at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """A run was stopped by Ctrl-C. What was finished by then lies in `folder` (None: nothing was)."""

    def __init__(self, message: str, folder: Path | None = None, images: tuple[Path, ...] = ()) -> None:
        super().__init__(message)
        self.folder = folder
        self.images = images


class InterruptGuard:
    """Owns Ctrl-C while it is entered: KeyboardInterrupt as usual, but held back inside `uninterrupted()`.

    The second Ctrl-C ends the process with code 130 on the spot; files are renamed into place, so none is left half
    written. Outside the main thread Python delivers no signals and this does nothing.
    """

    def __init__(self) -> None:
        self.presses = 0
        self.held = 0
        self._before: Any = None

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Runs the block to its end; a Ctrl-C that came meanwhile takes effect after it."""
        self.held += 1
        before = self.presses
        try:
            yield
        finally:
            self.held -= 1
        if not self.held and self.presses > before:
            raise KeyboardInterrupt

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        self.presses += 1
        if self.presses > 1:
            sys.stderr.write("\nStopped at once.\n")
            sys.stderr.flush()
            os._exit(130)
        if not self.held:
            raise KeyboardInterrupt
