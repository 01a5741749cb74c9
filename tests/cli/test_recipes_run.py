"""Every packaged recipe whose weights are on this machine draws its pictures, in a tiny mode, by the command itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.plan import demo_checkpoints
from runner.registry import PACKAGED, Library

RECIPES = Library((PACKAGED,)).choices("recipe")
TINY = ("steps=4", "num_images=1", "backend.device=cpu", "backend.threads=1")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_where_its_weights_are(here, name) -> None:
    composition = here.compose(f"recipe={name}", *TINY)
    repo = composition.base.checkpoint.repo
    if repo not in demo_checkpoints():
        pytest.skip(f"the weights of {repo} are not bundled")
    code, out, err = here.run(f"recipe={name}", *TINY)
    assert code == 0, err
    folder = Path(out.splitlines()[-1])
    manifests = sorted(folder.rglob("manifest.json"))
    assert len(manifests) == len(composition.jobs)
    for manifest in manifests:
        assert json.loads(manifest.read_text())["finished"] is True
        assert len(list(manifest.parent.glob("*.png"))) == 1
        assert here.run(str(manifest.parent / "recipe.yaml"), "--cfg", "job")[0] == 0
