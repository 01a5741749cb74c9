"""Eight devices make the pictures that one makes: shared out evenly or not, parameters on each device or in parts.

The eight are simulated on the CPU, in a process of their own, as JAX reads their number when it starts.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_checkpoint import pixels

pytest.importorskip("jax", reason="the JAX backend needs jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the JAX backend needs flax: pip install '.[jax]'")

import jax
from PIL import Image

from runner.execute import execute
from runner.schema import Recipe

ROOT = Path(__file__).parents[2]
JAX: dict[str, Any] = {"name": "jax", "device": "cpu", "dtype": "float32", "threads": 1}
BASE: dict[str, Any] = {"name": "tiny", "prompt": "a large red star", "seed": 11}
CALL: dict[str, Any] = {"scheduler": {"name": "euler_a"}, "steps": 4, "negative_prompt": "blue", "backend": JAX}
CASES: dict[str, dict[str, Any]] = {
    "one on each": {"num_images": 8},
    "one on each, then one on some": {"num_images": 11, "batch_size": 8},
    "parameters shared out": {"num_images": 8, "backend": JAX | {"shard_parameters": True}},
}
PROGRAM = """
import json, sys
import jax
from runner.compose import compose
from runner.execute import Session, execute
from runner.plan import make_plan
from runner.schema import Recipe

compiled = []
def listen(event, seconds, **details):
    if event == "/jax/core/compile/backend_compile_duration":
        compiled.append(details["fun_name"])
jax.monitoring.register_event_duration_secs_listener(listen)
cases, told = json.loads(sys.argv[1]), {"devices": jax.device_count()}
session = Session()
for name, recipe in cases.items():
    done = execute(Recipe.model_validate(recipe), progress=False, session=session)
    unet = [part for key, (part, _) in session._parts.items() if key[1] == "unet"][-1]
    arrays = jax.tree.leaves(unet.parameters)
    told[name] = {
        "files": [str(path) for path in done.images],
        "batches": done.manifest["batches"],
        "versions": done.manifest["versions"],
        "bytes": sum(array.nbytes for array in arrays),
        "here": sum(array.addressable_shards[0].data.nbytes for array in arrays),
    }
    if name == "one on each, then one on some":
        told["programs of the first two"] = compiled.count("jit(denoise_rows)")
        many = Recipe.model_validate(recipe | {"num_images": 33, "batch_size": None})
        told["33 pictures"] = [len(batch.indices) for batch in make_plan(many).batches]
guide = compose(["recipe=flax_parallel", "checkpoint.repo=" + sys.argv[2]]).jobs[0].recipe
told["flax_parallel"] = [len(batch.indices) for batch in make_plan(guide).batches]
told["guide"] = guide.model_dump(include={"steps", "num_images", "backend"})
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def eight(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process with eight devices says of every case."""
    folder = tmp_path_factory.mktemp("eight")
    where = {"checkpoint": {"repo": str(tiny)}, "output": {"dir": str(folder)}}
    cases = {name: BASE | where | CALL | case for name, case in CASES.items()}
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        # compiled quickly rather than well: nothing here is about speed
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
    }
    words = [sys.executable, "-c", PROGRAM, json.dumps(cases), str(tiny)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def expected(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The pictures, one after the other on one device."""
    keys = CALL | {"num_images": 11, "batch_size": 1}
    where = {"checkpoint": {"repo": str(tiny)}, "output": {"dir": str(tmp_path_factory.mktemp("one"))}}
    return pixels(execute(Recipe.model_validate(BASE | keys | where), progress=False))


@pytest.mark.parametrize("case", CASES)
def test_pictures_are_those_of_one_device(eight: dict[str, Any], expected: np.ndarray, case: str) -> None:
    assert eight["devices"] == 8 and jax.device_count() == 1
    wanted = expected[: CASES[case]["num_images"]]
    found = np.stack([np.asarray(Image.open(path), dtype=int) for path in eight[case]["files"]])
    assert wanted.std() > 10
    assert np.abs(found - wanted).max() <= 1


def test_batches_are_made_for_the_devices_there_are(eight: dict[str, Any]) -> None:
    """Up to four pictures on each; and the record says how many devices there were."""
    assert eight["one on each"]["batches"] == [list(range(8))]
    assert eight["one on each"]["versions"]["devices"] == "8"
    assert eight["33 pictures"] == [32, 1]


def test_the_guides_recipe_puts_one_picture_on_each(eight: dict[str, Any]) -> None:
    assert eight["flax_parallel"] == [8]
    assert eight["guide"]["steps"] == 25 and eight["guide"]["num_images"] == 8
    assert eight["guide"]["backend"]["name"] == "jax" and eight["guide"]["backend"]["dtype"] == "bfloat16"


def test_a_last_batch_of_fewer_pictures_is_padded(eight: dict[str, Any]) -> None:
    assert eight["one on each, then one on some"]["batches"] == [list(range(8)), [8, 9, 10]]
    assert eight["programs of the first two"] == 1


def test_parameters_are_on_every_device_or_a_part_on_each(eight: dict[str, Any]) -> None:
    whole, shared = eight["one on each"], eight["parameters shared out"]
    assert whole["here"] == whole["bytes"] == shared["bytes"]
    assert shared["here"] < shared["bytes"] / 7


def test_only_jax_shares_parameters_out(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(ValueError, match=r"backend\.shard_parameters\n.*only the jax backend can share parameters out"):
        recipe(backend={"name": "torch", "shard_parameters": True})
