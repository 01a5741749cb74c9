"""What every picture of a batch carries inside itself: its recipe, and those of all that were drawn with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runner.outputs import ImageRecord, pack, pixel_sha256
from runner.provenance import versions

if TYPE_CHECKING:
    from runner.session import Drawn


def facts(drawn: Drawn) -> dict[str, Any]:
    """What a batch was drawn with: all that can move the last bit of its pictures."""
    backend = drawn.backend
    return {
        "device": backend.device,
        "dtype": backend.dtype,
        "threads": backend.threads,
        "versions": {**versions(), **backend.versions()},
    }


def records(recipes: Sequence[str], seeds: Sequence[int], drawn: Drawn, made: Mapping[str, Any]) -> list[ImageRecord]:
    """The record of each picture of a batch; `recipes` as YAML text, `made` as `facts` tells it."""
    together = pack(recipes) if len(recipes) > 1 else ""
    return [
        ImageRecord(
            recipe=text,
            seed=seed,
            index=0,
            batch=(0,),
            sha256=pixel_sha256(pixels),
            together=together,
            position=number,
            **made,
        )
        for number, (text, seed, pixels) in enumerate(zip(recipes, seeds, drawn.pictures, strict=True))
    ]
