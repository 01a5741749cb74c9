"""The ray launcher: a pool of warm workers, an actor of Ray Core for each GPU or CPU slot, on one machine or a cluster.

Workers pull batches and keep what they have loaded. One that dies, alone or with its node, is replaced; its batch is
tried again, then drawn one by one, and only a picture that kills its worker every time fails. Nodes that join are used.
The sweep's folder, and the working directory, must be on a file system that all nodes share.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import Problem
from runner.sweep.folder import SweepFolder, SweepPlan
from runner.sweep.launchers.backlog import Backlog
from runner.sweep.partition import Together
from runner.sweep.progress import SweepProgress

if TYPE_CHECKING:
    from runner.schema import Recipe


def problems(base: Recipe) -> list[Problem]:
    """What of a recipe this launcher cannot serve."""
    kind, _, number = base.backend.device.partition(":")
    if not number:
        return []
    what = f"'{base.backend.device}' names one GPU, but Ray gives every worker a GPU of its own"
    return [Problem("backend.device", what, hint=f"backend.device={kind}")]


def launch(
    base: Recipe,
    folder: SweepFolder,
    plan: SweepPlan,
    batches: Sequence[Together],
    reporter: SweepProgress,
    after_batch: Callable[[Together], None],
) -> bool:
    """Draws all batches on the Ray cluster that is already joined, RAY_ADDRESS names or runs here, else on one of ours.

    Raises Stop, NoWorkers; whatever ends it, its workers end too.
    """
    import ray  # pyright: ignore[reportMissingImports] (an extra)

    from runner.sweep.launchers.ray_pool import Pool, Seats

    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # who runs a recipe has not been asked
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    try:
        seats = Seats.of(base, max(batch.threads for batch in batches))
        reporter.say(seats.told())
        pool = Pool(folder, plan, Backlog(plan, batches), reporter, after_batch, seats, stop=base.on_error == "stop")
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # Ray tells of every death at length
            pool.run()
    finally:
        if ours:
            ray.shutdown()
    return True
