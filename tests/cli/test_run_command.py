"""The `run` command around the work itself: its flags, its exit codes, its folders, and sweeps with failing jobs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from runner import execute as execution
from runner.errors import Problem, RecipeError


@pytest.fixture
def work(monkeypatch) -> list:
    """Replaces the work by notes about it; seed 13 fails, seed 14 is found impossible, seed 15 is stopped."""
    calls = []

    def fake(recipe, *, folder=None, session=None, **_):
        if recipe.seed == 13:
            raise execution.RunError("Out of luck.\nWith details.")
        if recipe.seed == 14:
            raise RecipeError([Problem("checkpoint", "it cannot be reached")])
        if recipe.seed == 15:
            raise KeyboardInterrupt("Stopped. Nothing was written.")
        folder = folder or Path(recipe.output.dir) / recipe.name / "now"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps({"finished": True}))
        calls.append((recipe, folder, session))
        return SimpleNamespace(folder=folder, images=[], manifest={})

    monkeypatch.setattr(execution, "execute", fake)
    return calls


def test_a_run_prints_its_folder_last(here, work) -> None:
    assert here.run("seed=3", "output.dir=pictures") == (0, "pictures/shapes/now\n", "")
    assert work[0][0].seed == 3


def test_failures_have_their_exit_codes_and_no_traceback(here, work) -> None:
    assert here.run("seed=13") == (1, "", "run: Out of luck.\nWith details.\n")
    assert here.run("seed=14") == (2, "", "run: checkpoint: it cannot be reached.\n")
    assert here.run("seed=15") == (130, "", "Stopped. Nothing was written.\n")


def test_a_defect_is_named_with_the_way_to_its_traceback(here, monkeypatch) -> None:
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(execution, "execute", broken)
    code, _, err = here.run()
    assert code == 1
    assert err == "run: ZeroDivisionError: by zero\n(HYDRA_FULL_ERROR=1 shows where)\n"


def test_cfg_job_shows_the_recipe_and_the_jobs_and_runs_nothing(here, work) -> None:
    for flag in (["--cfg", "job"], ["--cfg=job"], ["-c", "job"]):
        code, out, err = here.run(*flag, "-m", "seed=1,2")
        assert (code, err, work) == (0, "", [])
        assert out.startswith("format: 1\nname: shapes\n")
        assert out.endswith("#   seed-1\n#   seed-2\n")


def test_cfg_job_shows_a_prompt_as_typed(here) -> None:
    code, out, _ = here.run("--cfg", "job", "prompt=A cat, sitting (at home) = fun")
    assert code == 0
    assert "prompt: A cat, sitting (at home) = fun\n" in out


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["--multirn", "seed=1"], "there is no option '--multirn'. Did you mean '--multirun'?"),
        (["--cfg"], "allowed: job"),
        (["--cfg", "all"], "allowed: job"),
        (["-1"], "a negative value is set with its key"),
        (["-x", "seed=y"], "'y' is not a whole number"),
    ],
)
def test_mistaken_flags_are_told_together_with_the_rest(here, argv, part) -> None:
    code, _, err = here.run(*argv)
    assert code == 2
    assert part in err


def test_help_explains_itself_with_examples(here) -> None:
    code, out, _ = here.run("--help")
    assert code == 0
    assert out.count("\n  run ") >= 8
    assert max(map(len, out.splitlines())) <= 120
    assert here.run("-h", "seed=nonsense")[1] == out


def test_the_examples_of_the_help_compose(here) -> None:
    """Every example line that needs no file of the user's is composed, so that the help cannot grow stale."""
    import shlex

    from runner.cli.run import HELP

    here.put("my_checkpoint/model_index.json", "{}")
    examples = [line.strip().split("  ")[0] for line in HELP.splitlines() if line.startswith("  run")]
    tried = 0
    for example in examples:
        words = shlex.split(example)[1:]
        if not any(word.endswith(".yaml") for word in words):
            code, _, err = here.run(*words, "--cfg", "job")
            assert code == 0, f"{example}: {err}"
            tried += 1
    assert tried >= 6
