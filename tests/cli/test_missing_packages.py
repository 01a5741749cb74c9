"""Packages that are not installed are told before work, in one sentence everywhere, with what installs them."""

from __future__ import annotations

import json
import shlex
import sys
import tomllib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from components import packages
from components.packages import EXTRAS, ROOT, absent, how_to_install, lacking
from components.schedulers.brownian import BrownianTree
from runner.errors import RecipeError
from runner.sweep.folder import load_results
from runner.sweep.trackers import TRACKERS, tracker

SWEEP = ["-m", "steps=2", "num_images=1", "seed=1", "backend.threads=1"]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """without("jax"): as on a machine where these packages are not installed."""

    def hide(*names: str) -> None:
        monkeypatch.setattr(packages, "find_spec", lambda name: None if name in names else find_spec(name))
        loaded = [one for one in sys.modules if one.partition(".")[0] in names]
        for name in {*names, *loaded}:  # an earlier test may have imported some of it
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def sentence(who: str, *names: str) -> str:
    return f"{lacking(who, names)}; {how_to_install(names)}"


# what asks for a package: the words of a recipe, who needs it there, what of it is hidden
NEEDS = {
    "jax": (["backend=jax"], "the jax backend", ("jax",)),
    "flax": (["backend=jax"], "the jax backend", ("flax",)),
    "jax and flax": (["backend=jax"], "the jax backend", ("jax", "flax")),
    "torchsde": (["scheduler=dpmpp_sde"], "DPMSolverSDEScheduler's noise", ("torchsde",)),
    "torchsde, cosine": (
        ["scheduler=cosine_dpmpp_2m_sde"],
        "CosineDPMSolverMultistepScheduler's noise",
        ("torchsde",),
    ),
    "ray": (["launcher=ray"], "'ray'", ("ray",)),
    "submitit": (["launcher=slurm", "workers=2"], "'slurm'", ("submitit",)),
    "matplotlib": (["compare.below=[0.1]"], "a comparison", ("matplotlib",)),
    "lpips": (["compare.lpips=true"], "LPIPS", ("lpips",)),
}
DRAWING = [case for case in NEEDS if "jax" in case or "flax" in case or case == "torchsde"]


@pytest.mark.parametrize("case", NEEDS)
def test_check_says_what_a_sound_recipe_needs(here, without, case: str) -> None:
    words, who, names = NEEDS[case]
    without(*names)
    here.put("mine.yaml", f"# {case}\n" + here.recipe_command("cat", "shapes", *words)[1])
    code, out, err = here.recipe_command("check", "mine.yaml")
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first == "mine.yaml  ok"
    assert second.strip() == f"but {lacking(who, names)} here; {how_to_install(names)}"


def test_check_says_nothing_where_all_is_here_and_needs_nothing_of_it(here) -> None:
    assert here.recipe_command("check", "shapes") == (0, "shapes  ok\n", "")
    assert absent(("torchsde", "matplotlib", "filelock")) == [], "a plain installation has them"


@pytest.mark.parametrize("case", DRAWING)
def test_plan_tells_what_it_knows_then_what_is_missing(here, without, case: str) -> None:
    words, who, names = NEEDS[case]
    _, everything, _ = here.recipe_command("plan", "shapes", *words)
    without(*names)
    code, out, err = here.recipe_command("plan", "shapes", *words)
    assert (code, out) == (2, everything)
    assert lacking(who, names) in err
    assert how_to_install(names) in " ".join(err.split())


@pytest.mark.parametrize("case", DRAWING)
def test_a_run_is_refused_before_any_work(here, without, case: str) -> None:
    words, who, names = NEEDS[case]
    without(*names)
    code, _, err = here.run(*words)
    assert code == 2
    assert lacking(who, names) in err
    assert how_to_install(names) in " ".join(err.split())
    assert not (here.folder / "outputs").exists()


def test_an_installation_that_lost_a_package_says_so(here, without) -> None:
    without("scipy")
    code, _, err = here.run("schedule=beta")
    assert code == 1
    assert sentence("this program", "scipy") in " ".join(err.split())


def test_schedulers_and_schedule_tell_without_the_package(here, without) -> None:
    without("torchsde", "jax", "flax")
    code, out, err = here.recipe_command("schedulers", "backend=jax")
    assert (code, err) == (0, "")
    assert sentence("DPMSolverSDEScheduler's noise", "torchsde") in out
    assert out.count(sentence("the jax backend", "jax", "flax")) == 1
    code, out, _ = here.recipe_command("schedule", "scheduler/dpmpp_sde", "backend=jax", "steps=3")
    assert code == 0 and "network evaluations" in out


def test_a_plot_is_refused_before_anything_is_printed(here, without) -> None:
    without("matplotlib")
    code, out, err = here.recipe_command("schedule", "shapes", "--plot", "x.png")
    assert (code, out) == (2, "")
    assert lacking("a plot", ["matplotlib"]) in err


@pytest.mark.parametrize("words", [["backend=torch,jax"], ["scheduler=dpmpp_sde,euler"]])
def test_a_job_of_a_sweep_that_lacks_a_package_fails_alone(here, without, words) -> None:
    without("torchsde", "jax", "flax")
    names, who = (
        (("jax", "flax"), "the jax backend") if "jax" in words[0] else (("torchsde",), "DPMSolverSDEScheduler's noise")
    )
    code, out, err = here.run(*SWEEP, *words)
    assert code == 1
    found = load_results(here.folder / out.strip())
    assert [image.seed for image in found.images] == [1]
    assert [failure.message for failure in found.failures] == [sentence(who, *names)]
    assert f"1 picture cannot be drawn here: {sentence(who, *names)}" in err
    assert "1 of 2 pictures failed" in err
    planned = json.loads((here.folder / out.strip() / "plan.json").read_text())
    assert sum(len(batch["items"]) for batch in planned["batches"]) == 1, "the partition of the others is their own"


def test_what_failed_for_want_of_a_package_is_drawn_once_it_is_there(here, without, monkeypatch) -> None:
    words = [*SWEEP, "scheduler=dpmpp_sde,euler"]
    with monkeypatch.context() as patch:
        patch.setattr(packages, "find_spec", lambda name: None if name == "torchsde" else find_spec(name))
        assert here.run(*words)[0] == 1
    code, out, _ = here.run(*words)
    assert code == 0
    assert len(load_results(here.folder / out.strip()).images) == 2


@pytest.mark.parametrize("words", [["scheduler=dpmpp_sde"], ["scheduler=dpmpp_sde,euler", "on_error=stop"]])
def test_a_sweep_that_cannot_end_well_does_not_begin(here, without, words) -> None:
    without("torchsde")
    code, _, err = here.run(*SWEEP, *words)
    assert code == 2
    assert lacking("DPMSolverSDEScheduler's noise", ["torchsde"]) in err
    assert not (here.folder / "outputs").exists()


def test_the_plan_of_a_sweep_leaves_out_what_cannot_be_drawn(here, without) -> None:
    without("torchsde")
    code, out, err = here.recipe_command("plan", "-m", "shapes", "num_images=1", "steps=2", "scheduler=dpmpp_sde,euler")
    assert code == 1
    assert "to draw     1 pictures in 1 batches, 2 network evaluations" in out
    assert "1 of 2 pictures cannot be drawn here: " + sentence("DPMSolverSDEScheduler's noise", "torchsde") in err


@pytest.mark.parametrize("name", TRACKERS)
def test_an_export_is_refused_before_the_sweep_is_read(without, name: str) -> None:
    without(name)
    with pytest.raises(RecipeError) as caught:
        tracker(name)
    assert lacking(f"the export to {name}", [name]) in str(caught.value)


def test_from_python_a_brownian_path_says_the_same(without) -> None:
    without("torchsde")
    with pytest.raises(ImportError) as caught:
        BrownianTree(0, (4, 8, 8), 0.1, 1.0)
    assert str(caught.value) == sentence("a Brownian path", "torchsde")


# ---- the command that installs ---------------------------------------------------------------------------------------


def installed(monkeypatch: pytest.MonkeyPatch, site: Path, told: dict | None, python: Path) -> None:
    """As if this program lay in site-packages, installed from what direct_url.json tells, run by this Python."""
    monkeypatch.setattr(packages, "ROOT", site)
    text = None if told is None else json.dumps(told)
    found = SimpleNamespace(read_text=lambda name: text if name == "direct_url.json" else None)
    monkeypatch.setattr(metadata, "distribution", lambda name: found)
    python.parent.mkdir(parents=True, exist_ok=True)
    python.with_name("pip").touch()
    monkeypatch.setattr(sys, "executable", str(python))


def test_the_command_is_right_for_a_clone_and_for_an_installed_package(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    (tmp_path / "site").mkdir()
    installed(monkeypatch, tmp_path / "site", None, python)
    assert how_to_install(["jax", "flax"]) == "install it with: .venv/bin/pip install 'diffusion-recipes[jax]'"
    assert how_to_install(["torchsde"]) == "install it with: .venv/bin/pip install diffusion-recipes"
    (tmp_path / "pyproject.toml").touch()
    installed(monkeypatch, tmp_path / "site", {"url": tmp_path.as_uri(), "dir_info": {}}, python)
    assert how_to_install(["submitit"]) == "install it with: .venv/bin/pip install '.[slurm]'"
    installed(monkeypatch, tmp_path, {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}, python)
    assert how_to_install(["jax"]) == "install it with: .venv/bin/pip install -e '.[jax]'"
    (tmp_path / "else where").mkdir()
    monkeypatch.chdir(tmp_path / "else where")
    assert how_to_install(["jax"]) == f"install it with: {python.with_name('pip')} install -e '{tmp_path}[jax]'"
    monkeypatch.setenv("PATH", str(python.parent))
    python.with_name("pip").chmod(0o755)
    assert how_to_install(["jax"]) == f"install it with: pip install -e '{tmp_path}[jax]'"
    python.with_name("pip").unlink()
    assert how_to_install(["jax"]) == f"install it with: {shlex.quote(str(python))} -m pip install -e '{tmp_path}[jax]'"


def test_extras_are_those_of_the_project(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for package, extra in EXTRAS.items():
        assert any(line.startswith(package) for line in extras[extra]), package
    assert set(extras) == {*EXTRAS.values(), "test"}
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for line in project["dependencies"]:
        assert line.partition(">")[0].lower() in pinned, "the first command installs the versions that were tested"
