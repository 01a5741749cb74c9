"""Files that torch saved, read into JAX models: every layout, every dtype, one message for all that does not fit."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("jax", reason="the JAX models need jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the JAX models need flax: pip install '.[jax]'")

from flax import nnx
from safetensors.torch import load_file, save_file

from components import CheckpointError
from components.jax_models.autoencoder_kl import AutoencoderKL
from components.jax_models.loading import from_torch, torch_name
from components.torch_models.autoencoder_kl import AutoencoderKL as TorchAutoencoder

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {"block_out_channels": (4,), "norm_num_groups": 2}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def reference() -> TorchAutoencoder:
    torch.manual_seed(0)
    return TorchAutoencoder(**TINY)


def assert_same(model: nnx.Module, reference: TorchAutoencoder) -> None:
    """Every parameter is the torch one, rounded to the model's dtype."""
    expected = reference.state_dict()
    for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        names = tuple(map(str, path))
        wanted = from_torch(names[-1], expected.pop(torch_name(names)).numpy()).astype(leaf.dtype)
        np.testing.assert_array_equal(np.asarray(leaf[...]), wanted)
    assert not expected


def test_shards_and_variants(reference: TorchAutoencoder, tmp_path: Path) -> None:
    reference.save_pretrained(tmp_path, variant="fp16", max_shard_size=8_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_same(AutoencoderKL.from_pretrained(tmp_path, variant="fp16"), reference)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_files_of_any_dtype_give_models_of_any_dtype(dtype: str, tmp_path: Path, reference: TorchAutoencoder) -> None:
    """bfloat16 is the dtype that numpy has no word for."""
    reference.to(torch.bfloat16).save_pretrained(tmp_path)
    assert_same(AutoencoderKL.from_pretrained(tmp_path, dtype=dtype), reference.to(torch.float32))


def test_old_names_and_linear_layers_saved_as_convolutions(reference: TorchAutoencoder, tmp_path: Path) -> None:
    reference.save_pretrained(tmp_path)
    old = {}
    for name, tensor in load_file(tmp_path / WEIGHTS).items():
        for new, earlier in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
            if f".{new}." in name and tensor.ndim == 2:
                tensor = tensor[..., None, None].contiguous()
            name = name.replace(f".{new}.", f".{earlier}.")
        old[name] = tensor
    save_file(old, tmp_path / WEIGHTS)
    assert_same(AutoencoderKL.from_pretrained(tmp_path), reference)


def test_tensors_that_do_not_fit_are_listed_as_torch_lists_them(reference: TorchAutoencoder, tmp_path: Path) -> None:
    reference.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    del tensors["quant_conv.bias"]
    tensors["decoder.conv_in.weight"] = torch.zeros(4, 4, 1, 1)
    save_file(tensors, tmp_path / WEIGHTS)
    messages = []
    for cls in (AutoencoderKL, TorchAutoencoder):
        with pytest.raises(CheckpointError) as caught:
            cls.from_pretrained(tmp_path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "1 tensors missing: quant_conv.bias [8]" in messages[0]
    assert "decoder.conv_in.weight is [4, 4, 1, 1], expected [4, 4, 3, 3]" in messages[0]


def test_loading_needs_no_torch(reference: TorchAutoencoder, tmp_path: Path) -> None:
    reference.save_pretrained(tmp_path)
    program = (
        "import sys\n"
        "from components.jax_models.autoencoder_kl import AutoencoderKL\n"
        f"AutoencoderKL.from_pretrained({str(tmp_path)!r}, dtype='bfloat16')\n"
        "print([name for name in ('torch', 'transformers', 'runner') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
