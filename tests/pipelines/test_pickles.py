"""A checkpoint that has its weights only as pickle draws the same picture, where that is allowed, and else says how."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoint import altered, pixels

from runner.errors import RecipeError
from runner.execute import RunResult

Run = Callable[..., RunResult]


@pytest.fixture
def pickled(family: Callable[[str], Path], tmp_path: Path) -> Path:
    """The UNet in two shards, the others in one file each, every one a pickle."""
    folder = altered(family("sd15"), tmp_path, "model_index.json")
    for file in folder.rglob("*.safetensors"):
        state, stem = load_file(file), "pytorch_model" if file.stem == "model" else file.stem
        file.unlink()
        if file.parent.name != "unet":
            torch.save(state, file.with_name(f"{stem}.bin"))
            continue
        names = [f"{stem}-0000{i}-of-00002.bin" for i in (1, 2)]
        weight_map = {key: names[i % 2] for i, key in enumerate(state)}
        for name in names:
            torch.save({key: state[key] for key in state if weight_map[key] == name}, file.with_name(name))
        file.with_name(f"{stem}.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_allowed(family: Callable[[str], Path], pickled: Path, run: Run) -> None:
    found = run(checkpoint={"repo": str(pickled), "allow_pickle": True})
    np.testing.assert_array_equal(pixels(found), pixels(run(checkpoint={"repo": str(family("sd15"))})))


def test_not_allowed(pickled: Path, run: Run) -> None:
    with pytest.raises(RecipeError, match=r"only as pickle .*checkpoint\.allow_pickle=true in a recipe") as caught:
        run(checkpoint={"repo": str(pickled)})
    assert len(caught.value.problems) == 3  # text encoder, UNet, VAE


def test_safetensors_come_first_even_where_pickles_are_allowed(
    family: Callable[[str], Path], tmp_path: Path, run: Run
) -> None:
    folder = altered(family("sd15"), tmp_path, "model_index.json")
    (folder / "vae/diffusion_pytorch_model.bin").write_bytes(b"never opened")
    assert run(checkpoint={"repo": str(folder), "allow_pickle": True}).images
