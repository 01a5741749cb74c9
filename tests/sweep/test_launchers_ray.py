"""The ray launcher on one machine: workers die, pictures kill them, a failure stops; all else is as ever."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from launched import FOLDER, commits, files, label_of, sweep
from PIL import Image

from runner.drawing import Worker
from runner.interrupts import Interrupted
from runner.outputs import read_pixels
from runner.provenance import cache_folder
from runner.sweep.folder import IMAGES

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'diffusion-recipes[ray]'")

from runner.sweep.launchers import ray_pool  # noqa: E402
from runner.sweep.launchers.ray_pool import NoWorkers  # noqa: E402
from runner.sweep.launchers.ray_worker import RayWorker  # noqa: E402
from runner.sweep.speed import FILE as SPEEDS  # noqa: E402

ON_RAY = ("launcher=ray", "workers=2")
PATIENCE = 120.0  # seconds to wait for a worker to be hired, on a machine that has other work too


@pytest.fixture(scope="module", autouse=True)
def two_cpus():
    """Ray on this machine, and the actors here sent to workers as they are, because no worker can import a test."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.shutdown()


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> dict[str, bytes]:
    """The pictures as the warm launcher draws them."""
    folder = tmp_path_factory.mktemp("warm")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        sweep()
        return files()


@pytest.fixture
def notes(tmp_path, monkeypatch) -> Path:
    """A folder in which workers leave notes; the working directory is another one."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def employ(monkeypatch, kind: type[RayWorker], notes: Path) -> None:
    """Has the pool hire workers of this kind."""
    kind.notes = notes
    monkeypatch.setattr(ray_pool, "RayWorker", kind)


class Noting(RayWorker):
    """Notes every batch that it begins, a line each: its process and the labels."""

    notes: Path

    def do(self, batch, items):
        labels = " ".join(entry["label"] for entry in items.values())
        with (self.notes / "begun").open("a") as file:
            file.write(f"{os.getpid()} {labels}\n")
        return super().do(batch, items)


class Mortal(Noting):
    """The first of them is killed in the middle of its second batch; the other one's waits there until the one that is
    hired in its place has begun, so that it cannot have drawn everything by then."""

    begun = 0

    def do(self, batch, items):
        self.begun += 1
        return super().do(batch, items)

    def after_row(self, pictures):
        super().after_row(pictures)
        if self.begun < 2:
            return
        with suppress(FileExistsError):
            with (self.notes / "killed").open("x") as file:
                file.write(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while len({process for process, _ in begun(self.notes)}) < 3 and time.monotonic() < end:
            time.sleep(0.05)


class Poisoned(Noting):
    """Killed by one picture, every time."""

    def do(self, batch, items):
        if any(entry["label"] == "seed-5" for entry in items.values()):
            with (self.notes / "killed").open("a") as file:
                file.write(f"{len(items)}\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().do(batch, items)


class Sketching(Worker):
    """Draws a grey patch for every picture, for tests in which it does not matter what a picture shows."""

    def _draw(self, batch):
        entries = []
        for item in batch.items:
            path = self.place.folder.folder(IMAGES) / f"{self.place.plan.items[item]['label']}_{item[:8]}.png"
            Image.new("RGB", (8, 8)).save(path)
            entries.append({"id": item, "file": f"{IMAGES}/{path.name}", "seed": 0, "seconds": 0.1, "sha256": item})
        size = {"width": 8, "height": 8, "recipe": ""}
        self.place.folder.commit(batch, {"items": [entry | size for entry in entries]})
        self.after_batch(batch)


class Quick(Noting):
    """An actor with such a worker."""

    def __init__(self, *given):
        super().__init__(*given)
        self.worker.__class__ = Sketching


class Faulty(Quick):
    """Its code fails in a way that nobody foresaw; no process dies."""

    def do(self, batch, items):
        if any(entry["label"] == "seed-5" for entry in items.values()):
            raise KeyError("unforeseen")
        return super().do(batch, items)


class Stillborn(RayWorker):
    """Dies before it is ready."""

    def ready(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Blind(RayWorker):
    """A worker on a node that has not the folder."""

    def ready(self):
        self.root = Path("/nowhere")
        return super().ready()


def begun(notes: Path) -> list[tuple[str, list[str]]]:
    lines = [line.split() for line in (notes / "begun").read_text().splitlines()]
    return [(process, labels) for process, *labels in lines]


def test_a_worker_killed_mid_job_is_replaced_and_the_sweep_completes_with_the_same_bytes(
    notes, monkeypatch, warm, capsys
) -> None:
    employ(monkeypatch, Mortal, notes)
    (cache_folder() / SPEEDS).unlink(missing_ok=True)
    outcome = sweep(*ON_RAY)
    assert outcome.planned == 8 and not outcome.failures
    assert (cache_folder() / SPEEDS).is_file(), "a plan knows from now on how long such pictures take"
    assert files() == warm
    tries = begun(notes)
    assert len(tries) == 5, "four batches, and the one in flight again"
    victim = (notes / "killed").read_text()
    (lost,) = [labels for labels, count in Counter(tuple(labels) for _, labels in tries).items() if count == 2]
    assert next(process for process, labels in tries if tuple(labels) == lost) == victim
    assert len({process for process, _ in tries}) == 3, "two workers, and one in the place of the victim"
    assert "a worker was lost with a batch of 2" in capsys.readouterr().err
    assert (FOLDER / "report.html").is_file() and (FOLDER / "results.csv").is_file()


def test_the_poison_job_alone_fails_after_bounded_attempts(notes, monkeypatch, warm, capsys) -> None:
    employ(monkeypatch, Poisoned, notes)
    outcome = sweep(*ON_RAY)
    (failure,) = outcome.failures
    assert failure.varied == {"seed": 5}
    assert failure.message.startswith("3 workers died of it")
    assert (notes / "killed").read_text().split() == ["2"] * 3 + ["1"] * 3, "the batch thrice, then the picture thrice"
    made = files()
    mate = next(name for name in made if label_of(name) == "seed-4")
    pixels = read_pixels(FOLDER / "images" / mate).tobytes()
    assert made.keys() == {name for name in warm if label_of(name) != "seed-5"}
    assert all(data == warm[name] for name, data in made.items() if name != mate)
    assert "failed: seed-5" in capsys.readouterr().err
    monkeypatch.chdir(notes)
    sweep(seeds="4,6", batch_size=1)
    assert read_pixels(FOLDER / "images" / mate).tobytes() == pixels, "its mate is as the warm launcher draws it alone"


def test_an_error_that_kills_no_worker_is_not_tried_again_but_by_the_same_command(notes, monkeypatch) -> None:
    employ(monkeypatch, Faulty, notes)
    (failure,) = sweep(*ON_RAY).failures
    assert failure.varied == {"seed": 5}
    assert "KeyError" in failure.message and "unforeseen" in failure.message
    assert len(files()) == 7
    employ(monkeypatch, Quick, notes)
    assert not sweep(*ON_RAY).failures
    assert len(files()) == 8


def test_a_failure_stops_the_sweep_where_the_recipe_says_so(notes, monkeypatch) -> None:
    employ(monkeypatch, Faulty, notes)
    outcome = sweep("launcher=ray", "workers=1", "on_error=stop", batch_size=1)
    assert [failure.varied for failure in outcome.failures] == [{"seed": 5}]
    assert {label_of(name) for name in files()} == {f"seed-{n}" for n in range(5)}, "those before it"


def test_ctrl_c_ends_the_workers_and_the_same_command_goes_on(notes, monkeypatch) -> None:
    employ(monkeypatch, Quick, notes)

    def pressed(self, batch) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("runner.sweep.progress.SweepProgress.batch_done", pressed)
        with pytest.raises(Interrupted, match="the same command goes on"):
            sweep("launcher=ray", "workers=1")
    processes = {Path("/proc") / process for process, _ in begun(notes)}
    end = time.monotonic() + 30
    while any(process.exists() for process in processes) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(process.exists() for process in processes)
    made = set(commits())
    assert 1 <= len(made) < 4
    (notes / "begun").unlink()
    assert not sweep("launcher=ray", "workers=1").failures
    assert len(begun(notes)) == 4 - len(made)
    assert len(files()) == 8


@pytest.mark.parametrize(
    ("kind", "why"), [(Stillborn, "no worker can be started"), (Blind, "must be on a file system that all nodes share")]
)
def test_workers_that_never_start_end_the_sweep_with_the_reason(notes, monkeypatch, kind, why) -> None:
    employ(monkeypatch, kind, notes)
    with pytest.raises(NoWorkers, match=why):
        sweep(*ON_RAY)
