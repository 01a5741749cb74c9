"""The ray launcher on a cluster of three simulated nodes, of which one joins while the sweep runs and one is lost."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launched import commits, files, sweep

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'diffusion-recipes[ray]'")

from runner.sweep.launchers import ray_pool  # noqa: E402
from runner.sweep.launchers.ray_pool import Pool  # noqa: E402
from runner.sweep.launchers.ray_worker import RayWorker  # noqa: E402

PATIENCE = 240.0


class Placed(RayWorker):
    """Notes on which node it begins a batch. Four are begun before a third node is there; the doomed one ends none."""

    notes: Path

    def do(self, batch, items):
        self.node = ray.get_runtime_context().get_node_id()
        with (self.notes / "begun").open("a") as file:
            file.write(f"{self.node} {batch.id}\n")
        until(lambda: len(places(self.notes)) <= 4 or len({place for place, _ in places(self.notes)}) == 3)
        return super().do(batch, items)

    def after_row(self, pictures):
        super().after_row(pictures)
        if (self.notes / "doomed").read_text() == self.node:
            (self.notes / "at work").touch()
            time.sleep(PATIENCE)


def places(notes: Path) -> list[tuple[str, str]]:
    """Node and batch of every batch that was begun."""
    path = notes / "begun"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(node, batch) for node, batch in map(str.split, lines)]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


@pytest.fixture
def cluster():
    """A head and a second node of one CPU each; this process is on the head."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.doomed = made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield made
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.shutdown()
    made.shutdown()


def test_a_node_that_joins_is_used_and_a_lost_one_is_replaced_with_the_same_bytes(
    cluster, tmp_path, monkeypatch
) -> None:
    for name in ("warm", "work", "notes"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "warm")
    sweep(batch_size=1)
    warm = files()
    monkeypatch.chdir(tmp_path / "work")
    notes = Placed.notes = tmp_path / "notes"
    (notes / "doomed").write_text(cluster.doomed.node_id)
    monkeypatch.setattr(ray_pool, "RayWorker", Placed)
    joined: list[str] = []

    def fate() -> Iterator[None]:
        """What befalls the cluster, in steps that the pool's loop takes: Ray starts nodes in the main thread only."""
        while len(places(notes)) < 2:
            yield
        joined.append(cluster.add_node(num_cpus=1).node_id)
        begun: list[str] = []
        while joined[0] not in begun or not (notes / "at work").exists():
            yield
            begun = [node for node, _ in places(notes)]
        cluster.remove_node(cluster.doomed, allow_graceful=False)

    steps, look = fate(), Pool.look
    monkeypatch.setattr(Pool, "look", lambda pool: (next(steps, None), look(pool)))
    outcome = sweep("launcher=ray", batch_size=1)  # without a number of workers: as many as there is room for
    assert outcome.planned == 8 and not outcome.failures
    assert files() == warm
    begun = places(notes)
    assert joined[0] in {node for node, _ in begun}, "the node that joined has drawn"
    (lost,) = [batch for node, batch in begun if node == cluster.doomed.node_id]
    assert sorted(batch for _, batch in begun) == sorted([*commits(), lost]), "only what was lost was begun again"
