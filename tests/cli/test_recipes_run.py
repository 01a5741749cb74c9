"""Every packaged recipe whose weights are on this machine draws its pictures, in a tiny mode, by the command itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.bundled import demo_checkpoints
from runner.registry import PACKAGED, Library

RECIPES = Library((PACKAGED,)).choices("recipe")
TINY = ("steps=4", "num_images=1", "backend.device=cpu", "backend.threads=1")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_where_its_weights_are(here, name) -> None:
    words = [f"recipe={name}", *TINY]
    composition = here.compose(*words)
    repo = composition.base.checkpoint.repo
    if repo not in demo_checkpoints():
        pytest.skip(f"the weights of {repo} are not bundled")
    if composition.base.compare:
        words += ["compare.reference_steps=2", "prompt=a large red star on a white background"]
        composition = here.compose(*words)
    code, out, err = here.run(*words)
    assert code == 0, err
    folder = Path(out.splitlines()[-1])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert composition.is_sweep or manifest["finished"] is True
    assert here.run(str(folder / "recipe.yaml"), "--cfg", "job")[0] == 0
    drawn = [*folder.glob("images/*.png")] if composition.is_sweep else [*folder.glob("*.png")]
    assert len(drawn) == len(composition.jobs)
    assert (folder / "comparison.json").exists() == bool(composition.base.compare)
