"""A further group is a folder of recipes/ and a field of the schema: nothing else lists groups."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIELD = '''

class Frame(Part):
    """What goes around a picture."""

    width: int = key("pixels", default=1)
    colour: Text = key("of the frame", default="black")


class Recipe(Recipe):
    """A recipe with a further group."""

    frame: Frame | None = key("what goes around the picture", later=True, default=None)
'''


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The program with one folder and one field more."""
    house = tmp_path / "house"
    shutil.copytree(ROOT / "recipes", house / "recipes")
    for room in ("runner", "components"):
        shutil.copytree(ROOT / room, house / room, ignore=shutil.ignore_patterns("demo", "__pycache__", "torch_models"))
    (house / "runner" / "demo").symlink_to(ROOT / "runner" / "demo")
    schema = house / "runner" / "schema.py"
    text = schema.read_text()
    at = text.index("\n\n@cache\ndef _later(")
    schema.write_text(text[:at] + FIELD + text[at:])
    folder = house / "recipes" / "frame"
    folder.mkdir()
    (folder / "thick.yaml").write_text("# A broad frame\nwidth: 9\n")
    (folder / "gold.yaml").write_text("# A golden one, as broad\ndefaults: [thick]\ncolour: gold\n")
    (house / "recipes" / "recipe" / "framed.yaml").write_text(
        "# Framed\n# @package _global_\ndefaults: [shapes, override /frame: gold]\nframe: {width: 3}\n"
    )
    return house


PROBE = """
from runner.compose import compose, to_yaml
from runner.errors import RecipeError
from runner.cli.recipe import main

def frames(*words, multirun=False):
    found = [job.recipe.frame for job in compose(words, multirun=multirun).jobs]
    return [frame and (frame.width, frame.colour) for frame in found]

def error(*words):
    try:
        compose(words)
    except RecipeError as found:
        return str(found)

assert frames() == [None] and "frame" not in to_yaml(compose([]).base)
assert frames("frame=thick") == [(9, "black")]
assert frames("frame=gold", "frame.width=2") == [(2, "gold")]
assert frames("frame.width=2") == [(2, "black")]
assert frames("recipe=framed") == [(3, "gold")]
assert frames("recipe=framed", "frame=thick") == [(9, "black")]
assert frames("frame=thick,gold", "seed=1,2", multirun=True) == [(9, "black")] * 2 + [(9, "gold")] * 2
assert "there is no frame 'golt'. Did you mean 'gold'?" in error("frame=golt"), error("frame=golt")
assert "there is no key 'frame.with'. Did you mean 'frame.width'?" in error("frame.with=1"), error("frame.with=1")
assert main(["ls", "frame"]) == 0
"""


def test_a_folder_and_a_field_make_a_group(house: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(house)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "gold" in done.stdout and "A broad frame" in done.stdout
