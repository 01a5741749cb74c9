"""Which pictures of a sweep are drawn together: jobs of different schedulers, prompts, scales and seeds in one batch.

Everything that one call of the network can serve may share a batch: equal files, size and number format, and tables of
equal row count. The partition decides the last bit of a picture, so it is made once, saved, and kept.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.memory import device_type, estimate_peak

if TYPE_CHECKING:
    from runner.plan import Plan
    from runner.schema import Recipe

MOST_TOGETHER = 64  # images, where memory allows
# Latent pixels drawn at once: larger batches gain no more, and lose more where one is killed. On two cores 24 pictures
# of the demo together cost a tenth less each than 16 and no more than 48 or 64.
LATENT_PIXELS = {"cpu": 24 * 16 * 16, "mps": 16 * 64 * 64, "cuda": 64 * 64 * 64}
SHARE = 0.6  # of the free memory that a batch may take


@dataclass(frozen=True)
class Item:
    """One picture of a sweep. `recipe` draws it alone: its own seed, one image; `plan` is that recipe, settled.

    varied: every varied key with its value; index: which of its job's pictures it is; label: part of its file's name;
    lacks: what would have to be installed to draw it here, with how to do that; former: the id that older versions
    gave it, where that is another.
    """

    id: str
    label: str
    index: int
    recipe: Recipe = field(repr=False)
    plan: Plan = field(repr=False)
    varied: Mapping[str, Any] = field(default_factory=dict)
    lacks: str = ""
    former: str = ""


@dataclass(frozen=True)
class Together:
    """A batch: ids of its items, in the order they are drawn, and the thread count they are drawn with."""

    id: str
    items: tuple[str, ...]
    threads: int

    @classmethod
    def of(cls, items: Sequence[str], threads: int) -> Together:
        """The batch of these items, whose id says what it is."""
        digest = hashlib.sha256("\n".join([*items, str(threads)]).encode()).hexdigest()[:16]
        return cls(digest, tuple(items), threads)

    def alone(self, item: str) -> Together:
        """A batch of one item of this one, which failed as a whole."""
        return Together.of([item], self.threads)


def partition(items: Sequence[Item]) -> list[Together]:
    """Batches for these items: sources in the order they first come, so that each is loaded once; equal shares."""
    keys = [_fits_with(item.plan) for item in items]
    clips: dict[tuple[Any, ...], Any] = {}  # not clipping goes with the first way of clipping there is
    for key, item in zip(keys, items, strict=True):
        clips[key] = clips.get(key) or item.plan.tableau.clip
    groups: dict[tuple[Any, ...], list[Item]] = {}
    for key, item in zip(keys, items, strict=True):
        groups.setdefault((*key, item.plan.tableau.clip or clips[key]), []).append(item)
    order = {source: number for number, source in enumerate(dict.fromkeys(key[0] for key in groups))}
    batches = []
    for key in sorted(groups, key=lambda key: order[key[0]]):
        members = groups[key]
        plan = members[0].plan
        count = -(-len(members) // _most(plan, len(members)))
        ends = [len(members) * n // count for n in range(count + 1)]
        batches += [Together.of([item.id for item in members[a:b]], plan.threads) for a, b in pairwise(ends)]
    return batches


def _fits_with(plan: Plan) -> tuple[Any, ...]:
    """What must be equal for two pictures to share a batch; the source of the weights first."""
    recipe, table = plan.recipe, plan.tableau
    on_device = recipe.noise.device == "device"
    return (
        (recipe.checkpoint.files, recipe.backend.model_dump_json()),
        plan.threads,
        (plan.height, plan.width, *plan.latent_shape),
        table.rows,
        (plan.guidance.doubles, plan.guidance.embedded),
        (recipe.noise.model_dump_json(), plan.scheduler.noise_dtype if on_device else None),
        recipe.batch_size,
    )


def _most(plan: Plan, wanted: int) -> int:
    """How many pictures to draw at once: as the recipe says, else as many as the free memory takes, within reason."""
    if plan.recipe.batch_size:
        return plan.recipe.batch_size
    device, (_, height, width) = device_type(plan), plan.latent_shape
    most = max(1, LATENT_PIXELS[device] // (height * width))
    size, free = min(wanted, MOST_TOGETHER, most), free_memory(device) * SHARE
    while size > 1 and estimate_peak(plan, size).total > free:
        size //= 2
    return size


def free_memory(device: str) -> int:
    """Bytes free now, on the machine or its first GPU; 8 GB where nobody says. Imports no torch."""
    with suppress(OSError, ValueError, subprocess.SubprocessError, IndexError):
        if device == "cuda":
            command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
            told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
            return int(told.stdout.split()[0]) << 20
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 8_000_000_000
