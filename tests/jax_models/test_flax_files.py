"""Weights that Flax saved are read without flax or torch, onto the device in the wanted dtype; damage is named."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("jax", reason="the JAX models need jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the JAX models need flax: pip install '.[jax]'")

import jax.numpy as jnp
from flax import nnx
from flax_writer import flax_tree, write_flax
from test_jax_unet_2d_condition import CONFIGS

from components import CheckpointError, open_checkpoint
from components.flax_files import read_header, torch_name
from components.jax_models.autoencoder_kl import AutoencoderKL
from components.jax_models.clip_text import load_text_encoder
from components.jax_models.unet_2d_condition import UNet2DConditionModel
from components.torch_models.autoencoder_kl import AutoencoderKL as TorchAutoencoder
from components.torch_models.unet_2d_condition import UNet2DConditionModel as TorchUNet

ROOT = Path(__file__).parents[2]
FILE = "diffusion_flax_model.msgpack"
TINY: dict[str, Any] = {"block_out_channels": (4,), "norm_num_groups": 2}


def saved(reference: Any, folder: Path, dtype: Any = jnp.float32, **kind: bool) -> None:
    """The folder as Flax would have saved the torch model."""
    reference.save_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    write_flax(flax_tree(reference.state_dict(), dtype=dtype, **kind), folder / FILE)


def assert_same(model: nnx.Module, loaded_from_torch: nnx.Module, dtype: Any = jnp.float32) -> None:
    """Parameter by parameter, in this dtype."""
    pairs = [nnx.to_flat_state(nnx.state(network, nnx.Param)) for network in (model, loaded_from_torch)]
    assert pairs[0].paths == pairs[1].paths
    for ours, theirs in zip(pairs[0].leaves, pairs[1].leaves, strict=True):
        assert ours[...].dtype == dtype
        np.testing.assert_array_equal(ours[...], theirs[...].astype(dtype))


@pytest.mark.parametrize("name", CONFIGS)
def test_unets(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = TorchUNet(**CONFIGS[name])
    reference.save_pretrained(tmp_path / "torch")
    saved(reference, tmp_path / "flax")
    expected = UNet2DConditionModel.from_pretrained(tmp_path / "torch")
    assert_same(UNet2DConditionModel.from_pretrained(tmp_path / "flax"), expected)


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_autoencoders_in_any_dtype(stored: str, wanted: str, tmp_path: Path) -> None:
    """Their attention layers have names of their own. bfloat16 files hold what rounding left."""
    torch.manual_seed(0)
    reference = TorchAutoencoder(**TINY).to(getattr(torch, stored))
    reference.save_pretrained(tmp_path / "torch")
    saved(reference, tmp_path / "flax", jnp.dtype(stored), vae=True)
    expected = AutoencoderKL.from_pretrained(tmp_path / "torch")
    found = AutoencoderKL.from_pretrained(tmp_path / "flax", dtype=wanted)
    assert_same(found, expected, jnp.dtype(wanted))


def test_text_encoders(tmp_path: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2, "num_hidden_layers": 11}
    reference = CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=20, projection_dim=6, **sizes))
    reference.save_pretrained(tmp_path / "torch")
    reference.save_pretrained(tmp_path / "flax")
    state = reference.state_dict()
    (tmp_path / "flax" / "model.safetensors").unlink()
    write_flax(flax_tree(state, text=True, dtype=jnp.float32), tmp_path / "flax" / "flax_model.msgpack")
    found, expected = (
        load_text_encoder(open_checkpoint(tmp_path, need_index=False).component(None, subfolder=kind))
        for kind in ("flax", "torch")
    )
    assert_same(found, expected)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    saved(TorchAutoencoder(**TINY), tmp_path, vae=True)
    return tmp_path


def test_safetensors_come_first(folder: Path) -> None:
    TorchAutoencoder(**TINY).save_pretrained(folder)
    files = open_checkpoint(folder, need_index=False).component(None)
    assert [path.suffix for path in files.weights] == [".safetensors"]


def cut(data: bytes) -> bytes:
    return data[:-5]


def longer(data: bytes) -> bytes:
    return data + b"\0"


def other_dtype(data: bytes) -> bytes:
    return data.replace(b"\xa7float32", b"\xa7float99", 1)


def other_shape(data: bytes) -> bytes:
    return data.replace(b"\x93\x91\x08", b"\x93\x91\x09", 1)


def not_a_tree(data: bytes) -> bytes:
    return b"\xc3"


def empty(data: bytes) -> bytes:
    return b""


def pointer(data: bytes) -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\n"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, r"flax_model\.msgpack is truncated: tensor 'post_quant_conv/bias' ends at byte [\d,]+, the file"),
        (longer, r"diffusion_flax_model\.msgpack is corrupt.*: 1 bytes follow its last tensor"),
        (other_dtype, r"at tensor 'encoder/conv_in/kernel': its shape is \[3, 3, 3, 4\] and its dtype float99"),
        (other_shape, r"is corrupt at tensor '.*': its shape is \[9\] and its dtype float32, but it has 32 bytes"),
        (not_a_tree, r"is corrupt: it holds a value of type 0xc3 where"),
        (empty, "is empty"),
        (pointer, "is a Git LFS pointer"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damage_names_the_file_and_the_tensor(folder: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    file = folder / FILE
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match=said):
        AutoencoderKL.from_pretrained(folder)


def test_every_cut_is_noticed(folder: Path) -> None:
    """Wherever a download ended, nothing but a CheckpointError comes of it."""
    file = folder / FILE
    whole = file.read_bytes()
    for end in [*range(1, 300), *range(300, len(whole), 997)]:
        file.write_bytes(whole[:end])
        with pytest.raises(CheckpointError):
            read_header(file)


def test_tensors_that_do_not_fit_are_listed(folder: Path) -> None:
    tree = flax_tree(TorchAutoencoder(**TINY).state_dict(), vae=True, dtype=jnp.float32)
    del tree["quant_conv"]["bias"]
    tree["decoder"]["conv_in"]["kernel"] = jnp.zeros((1, 1, 4, 4))
    tree["odd"] = {"one": jnp.zeros(3)}
    write_flax(tree, folder / FILE)
    with pytest.raises(CheckpointError) as caught:
        AutoencoderKL.from_pretrained(folder)
    message = str(caught.value)
    assert "1 tensors missing: quant_conv.bias [8]" in message
    assert "1 tensors unexpected: odd.one (in diffusion_flax_model.msgpack)" in message
    assert "decoder.conv_in.weight is [4, 4, 1, 1], expected [4, 4, 3, 3] (in diffusion_flax_model.msgpack)" in message


def test_torch_says_who_reads_them(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"diffusion_flax_model\.msgpack .* backend=jax"):
        TorchAutoencoder.from_pretrained(folder)


def test_names_of_parameters() -> None:
    assert torch_name(("to_out", "0", "kernel")) == "to_out.0.weight"
    assert torch_name(("norm", "scale")) == "norm.weight"


def test_reading_needs_neither_torch_nor_msgpack(folder: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['msgpack'] = None\n"
        "from components.flax_files import read_header, read_tensors\n"
        "from pathlib import Path\n"
        f"path = Path({str(folder / FILE)!r})\n"
        "assert {n: a.shape for n, a in read_tensors(path)} == {n: t.shape for n, t in read_header(path).items()}\n"
        "print([name for name in ('torch', 'jax', 'flax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
