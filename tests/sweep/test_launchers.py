"""What holds of every launcher: it is checked before any work, weights are loaded seldom, parts make the whole."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
from launched import FOLDER, commits, files, sweep

from components.packages import ROOT
from runner.errors import RecipeError
from runner.sweep.folder import SweepPlan
from runner.sweep.launchers import backlog, check
from runner.sweep.launchers.backlog import ATTEMPTS, Backlog, Task, Verdict
from runner.sweep.partition import Together


def planned(sources: str, pictures: int = 1) -> tuple[SweepPlan, list[Together]]:
    """A batch of so many pictures for every letter, which stands for the weights it is drawn with."""
    batches = [Together(f"b{n}", tuple(f"{n}.{i}" for i in range(pictures)), 1) for n in range(len(sources))]
    recipes = {b.id: {"checkpoint": source, "backend": "torch"} for b, source in zip(batches, sources, strict=True)}
    items = {item: {"recipe": recipes[batch.id]} for batch in batches for item in batch.items}
    return SweepPlan("test", {}, list(items), items), batches


def loads(sources: str, workers: int, kind: type[Backlog] = Backlog) -> int:
    """How often weights are loaded when workers that keep one set of them draw in turn."""
    todo = kind(*planned(sources))
    loaded: list[str | None] = [None] * workers
    count = 0
    while todo:
        for number in range(workers):
            others = {source for i, source in enumerate(loaded) if i != number and source}
            if task := todo.take(loaded[number], others):
                count += task.source != loaded[number]
                loaded[number] = task.source
                todo.over(task)
    return count


class InOrder(Backlog):
    """A queue: the next batch goes to whoever is free."""

    def _best(self, ready, loaded, elsewhere) -> Task:
        return ready[0]


@pytest.mark.parametrize(
    ("sources", "workers", "with_affinity", "without"),
    [
        ("ABCD" * 6, 2, 4, 24),  # interleaved: each worker meets other weights every time
        ("ABCD" * 6, 4, 4, 4),
        ("A" * 6 + "B" * 6 + "C" * 6 + "D" * 6, 2, 4, 8),  # the order of a plan: every worker loads everything
        ("A" * 12, 3, 3, 3),  # all help where nothing else is left
    ],
)
def test_weights_are_loaded_as_seldom_as_the_workers_allow(sources, workers, with_affinity, without) -> None:
    assert loads(sources, workers) == with_affinity
    assert loads(sources, workers, InOrder) == without


def test_a_batch_that_costs_workers_is_tried_again_then_drawn_one_by_one_and_only_then_a_picture_fails() -> None:
    todo = Backlog(*planned("A", pictures=2))
    for expected in [Verdict.AGAIN] * (ATTEMPTS - 1) + [Verdict.ONE_BY_ONE]:
        assert todo.lost(todo.take(None, ())) is expected
    poison = todo.take(None, ())
    for _ in range(ATTEMPTS - 1):
        assert todo.lost(poison) is Verdict.AGAIN
        assert todo.take(None, ()) is poison
    assert todo.lost(poison) is Verdict.FAILED
    assert todo.over(poison) is None
    healthy = todo.take(None, ())
    assert todo.over(healthy).id == "b0", "with its last picture the batch is over"
    assert not todo


def test_a_batch_that_another_process_is_at_is_asked_about_again_later(monkeypatch) -> None:
    todo = Backlog(*planned("A"))
    todo.put_off(todo.take(None, ()))
    assert todo and todo.take(None, ()) is None
    now = backlog.time.monotonic() + backlog.AGAIN_AFTER
    monkeypatch.setattr(backlog.time, "monotonic", lambda: now)
    assert todo.take(None, ()).batch.id == "b0"


@pytest.mark.parametrize(("launcher", "package", "extra"), [("ray", "ray", "[ray]"), ("slurm", "submitit", "[slurm]")])
def test_a_missing_package_is_told_before_any_work(here, monkeypatch, launcher, package, extra) -> None:
    monkeypatch.setattr("components.packages.find_spec", lambda name: None if name == package else find_spec(name))
    code, _, err = here.run("-m", "seed=1,2", f"launcher={launcher}", "workers=2")
    assert code == 2
    assert f"launcher: '{launcher}' needs {package}, which is not installed" in err
    assert f"pip install -e '{ROOT}{extra}'" in err
    assert not (here.folder / "outputs").exists()


def test_an_engine_is_imported_only_when_it_is_chosen_and_works(here) -> None:
    before = {name for name in ("ray", "submitit") if name in sys.modules}
    with pytest.raises(RecipeError):
        check(here.recipe("launcher=ray", "backend.device=cuda:1"))
    assert {name for name in ("ray", "submitit") if name in sys.modules} == before


def test_ray_gives_each_worker_a_gpu_of_its_own(here) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'diffusion-recipes[ray]'")
    with pytest.raises(RecipeError, match=r"backend.device: 'cuda:1' names one GPU(.|\n)*backend.device=cuda"):
        check(here.recipe("launcher=ray", "backend.device=cuda:1"))


def test_parts_drawn_elsewhere_make_the_whole_with_the_same_bytes(tmp_path, monkeypatch) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    sweep()
    whole = files(), set(commits())
    monkeypatch.chdir(tmp_path / "parts")
    counts = []
    for number in (1, 2, 3):
        outcome = sweep(f"shard={number}/3")
        counts.append(len(commits()))
        assert outcome.planned == 8 and not outcome.failures
    assert counts == [2, 3, 4], "each part draws its share of the four batches and no other"
    assert (files(), set(commits())) == whole
    assert len((FOLDER / "results.csv").read_text(encoding="utf-8").splitlines()) == 9, "all parts are in one table"


def test_a_part_that_is_not_there_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="there is no part 5 of 4"):
        sweep("shard=5/4")


def test_what_is_taken_away_of_a_sweep_is_drawn_again_by_the_same_command(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = sweep(seeds="1,2")
    before = files()
    for path in (outcome.folder / "images").iterdir():
        path.unlink()
    sweep(seeds="1,2")
    assert files() == before
