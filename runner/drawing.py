"""Draws batches and commits each of them whole: a lone run's or a sweep's, in this process or in any number of others.

Where batches come from and where their pictures go is a `Place`'s to say: a run's folder (execute.py) or a sweep's
(sweep/place.py). What every picture carries inside itself is said here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from components.errors import CheckpointError
from runner.errors import RecipeError
from runner.named_files import contents
from runner.outputs import ImageRecord, encode_image, pack, pixel_sha256
from runner.provenance import NUMERICS, versions
from runner.session import Drawn, Session, Shot, Stopwatch

if TYPE_CHECKING:
    from runner.sweep.partition import Together

FAILURES = (CheckpointError, RecipeError, MemoryError, OSError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Made:
    """A batch that was drawn: what of, the pictures, and the seconds that each phase took."""

    shots: Sequence[Shot]
    drawn: Drawn
    watch: Stopwatch

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What it was drawn with: all that can move the last bit of its pictures."""
        backend = self.drawn.backend
        return {
            "device": backend.device,
            "dtype": backend.dtype,
            "threads": backend.threads,
            "numerics": NUMERICS,
            "versions": {**versions(), **backend.versions()},
        }

    @cached_property
    def records(self) -> list[ImageRecord]:
        """What each picture carries: its recipe, and what was drawn with it.

        Pictures of one recipe know each other by their indices; of several, each carries the recipes of all.
        """
        from runner.compose import to_yaml

        written = {id(shot.plan.recipe): shot.plan.recipe for shot in self.shots}
        text = {key: to_yaml(recipe, carried=True) for key, recipe in written.items()}
        texts = [text[id(shot.plan.recipe)] for shot in self.shots]
        files = contents(self.shots[0].plan)  # a batch is of one source
        indices = tuple(shot.seed - shot.plan.recipe.seed for shot in self.shots)
        several = any(recipe != self.shots[0].plan.recipe for recipe in written.values())
        together = pack(texts) if several else ""
        return [
            ImageRecord(
                recipe=texts[number],
                seed=shot.seed,
                index=indices[number],
                batch=(0,) if several else indices,
                sha256=pixel_sha256(self.drawn.pictures[number]),
                together=together,
                position=number if several else 0,
                files={key: dict(found) for key, found in files.items()},
                **self.facts,
            )
            for number, shot in enumerate(self.shots)
        ]

    def files(self, names: Sequence[str]) -> list[tuple[str, bytes]]:
        """Name and content of each picture's file; the ending says the format."""
        return [
            (name, encode_image(pixels, name.rpartition(".")[2], record))
            for name, pixels, record in zip(names, self.drawn.pictures, self.records, strict=True)
        ]


class Place(Protocol):
    """Where batches come from and where their pictures go."""

    def claim(self, batch: Together) -> AbstractContextManager[bool]:
        """Whether this process has the batch to itself for the block."""
        ...

    def is_over(self, batch: Together) -> bool:
        """Whether nothing of a batch is left to do."""
        ...

    def shots(self, batch: Together) -> list[Shot]:
        """Its pictures, in their order, each with its plan."""
        ...

    def commit(self, batch: Together, made: Made) -> None:
        """Writes its pictures, then what counts them as done."""
        ...

    def failed(self, batch: Together, error: Exception, worker: Worker) -> None:
        """What becomes of a batch that could not be drawn."""
        ...


@dataclass
class Worker:
    """One process at work on a place's batches.

    after_row: called with the number of a row of the table that is done, and of the pictures that it moved on;
    after_batch: when a batch is committed. uninterrupted: a context in which Ctrl-C waits.
    """

    place: Place
    session: Session = field(default_factory=Session)
    after_row: Callable[[int, int], None] = lambda row, pictures: None
    after_batch: Callable[[Together], None] = lambda batch: None
    say: Callable[[str], None] = lambda sentence: None
    uninterrupted: Callable[[], AbstractContextManager[Any]] = nullcontext

    def do(self, batch: Together) -> bool:
        """Draws one batch, unless it is over or another process is at it. False: another one is."""
        with self.place.claim(batch) as mine:
            if not mine:
                return self.place.is_over(batch)
            try:
                self._draw(batch)
            except FAILURES as error:
                self.place.failed(batch, error, self)
        return True

    def _draw(self, batch: Together) -> None:
        shots, watch = self.place.shots(batch), Stopwatch()
        drawn = self.session.draw(shots, watch, self.say, lambda row: self.after_row(row, len(shots)))
        with self.uninterrupted():
            self.place.commit(batch, Made(shots, drawn, watch))
        self.after_batch(batch)
