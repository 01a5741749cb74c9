"""Loading and saving: what we write the reference library reads, and the reverse; what does not fit is named."""

import json
import os
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from components import AutoencoderKL, CheckpointError, UNet2DConditionModel, open_checkpoint
from components.torch_models.base import load_model
from components.torch_models.saving import byte_size

VAE = {"block_out_channels": (8,), "norm_num_groups": 4}
UNET = {
    "block_out_channels": (8, 8),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def assert_same_weights(a, b):
    assert list(a.state_dict()) == list(b.state_dict())
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return AutoencoderKL(**VAE)


@pytest.fixture
def saved(vae, tmp_path):
    vae.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("options", [{}, {"variant": "fp16"}, {"max_shard_size": "20KB"}], ids=str)
def test_diffusers_reads_what_we_write_and_the_reverse(options, tmp_path):
    torch.manual_seed(0)
    ours = UNet2DConditionModel(**UNET)
    ours.save_pretrained(tmp_path / "ours", **options)
    variant = options.get("variant")
    theirs = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "ours", variant=variant)
    assert_same_weights(ours, theirs)
    theirs.save_pretrained(tmp_path / "theirs", **options)
    assert sorted(p.name for p in (tmp_path / "theirs").iterdir()) == sorted(
        p.name for p in (tmp_path / "ours").iterdir()
    )
    again = UNet2DConditionModel.from_pretrained(tmp_path / "theirs", variant=variant)
    assert_same_weights(again, ours)
    assert again.config == ours.config and not again.training


@pytest.mark.filterwarnings("ignore:This serialization format")
def test_shards_in_the_old_spelling_are_read(vae, tmp_path):
    vae.save_pretrained(tmp_path, variant="fp16", max_shard_size="10KB")
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.fp16.json"
    content = index.read_text().replace(".fp16-", "-").replace(".safetensors", ".fp16.safetensors")
    for path in tmp_path.glob("*.fp16-*"):
        path.rename(tmp_path / path.name.replace(".fp16-", "-").replace(".safetensors", ".fp16.safetensors"))
    index.unlink()
    (tmp_path / "diffusion_pytorch_model.safetensors.fp16.index.json").write_text(content)
    assert_same_weights(AutoencoderKL.from_pretrained(tmp_path, variant="fp16"), vae)
    assert_same_weights(diffusers.AutoencoderKL.from_pretrained(tmp_path, variant="fp16"), vae)


def test_a_save_replaces_its_own_variant_and_no_other(vae, tmp_path):
    vae.save_pretrained(tmp_path, max_shard_size="10KB")
    vae.save_pretrained(tmp_path, variant="ema", max_shard_size="10KB")
    ema = {p.name for p in tmp_path.glob("*ema*")}
    vae.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", WEIGHTS} | ema
    assert_same_weights(AutoencoderKL.from_pretrained(tmp_path, variant="ema"), vae)


def test_an_interrupted_save_leaves_the_earlier_one_whole(saved, monkeypatch):
    def fail(tensors, path, metadata):
        save_file({"half": torch.zeros(1)}, path, metadata=metadata)
        raise KeyboardInterrupt

    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        AutoencoderKL(**VAE).save_pretrained(saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before


def test_saving_to_a_file_is_refused(vae, tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(CheckpointError, match="x is a file"):
        vae.save_pretrained(tmp_path / "x")


@pytest.mark.parametrize(("size", "number"), [(7, 7), ("10GB", 10 * 10**9), ("1.5 KiB", 1536), ("3mb", 3 * 10**6)])
def test_sizes(size, number):
    assert byte_size(size) == number


def test_a_size_that_is_none_is_refused():
    with pytest.raises(ValueError, match="'ten' is not a size"):
        byte_size("ten")


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("asked", [None, torch.float32, torch.bfloat16, torch.float16])
def test_weights_are_cast_while_they_are_read(vae, tmp_path, stored, asked):
    vae.to(stored).save_pretrained(tmp_path)
    loaded = AutoencoderKL.from_pretrained(tmp_path, dtype=asked)
    assert loaded.dtype == (asked or torch.float32)
    for a, b in zip(loaded.parameters(), vae.parameters(), strict=True):
        assert torch.equal(a, b.to(loaded.dtype))


def test_a_dtype_may_be_named_and_must_be_of_numbers_with_a_point(saved):
    assert AutoencoderKL.from_pretrained(saved, torch_dtype="bfloat16").dtype == torch.bfloat16
    for wrong in ("fp16", torch.int8):
        with pytest.raises(ValueError, match="is not a floating-point dtype"):
            AutoencoderKL.from_pretrained(saved, dtype=wrong)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads the process's memory map, as Linux shows it")
def test_weights_of_the_right_dtype_are_the_file_itself(saved):
    loaded = AutoencoderKL.from_pretrained(saved)
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(saved / WEIGHTS) in line]
    spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    assert all(any(low <= p.data_ptr() < high for low, high in spans) for p in loaded.parameters())


def test_a_loaded_model_can_be_trained(saved):
    loaded = AutoencoderKL.from_pretrained(saved).train()
    before = (saved / WEIGHTS).read_bytes()
    loaded(torch.zeros(1, 3, 8, 8)).sample.sum().backward()
    with torch.no_grad():
        for p in loaded.parameters():
            p -= 0.1 * p.grad
    assert (saved / WEIGHTS).read_bytes() == before


def test_old_attention_names_are_read_in_shards_too(vae, tmp_path):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, tensor in vae.state_dict().items():
        for new, other in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{other}.")
        state[name] = tensor.clone()
    assert any("proj_attn" in name for name in state)
    names = list(state)
    vae.save_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    shards = (
        "diffusion_pytorch_model-00001-of-00002.safetensors",
        "diffusion_pytorch_model-00002-of-00002.safetensors",
    )
    for shard, keys in zip(shards, (names[:60], names[60:]), strict=True):
        save_file({k: state[k] for k in keys}, tmp_path / shard)
    weight_map = {k: shards[i >= 60] for i, k in enumerate(names)}
    (tmp_path / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert_same_weights(AutoencoderKL.from_pretrained(tmp_path), vae)


def test_attention_weights_saved_as_convolutions_are_squeezed(vae, saved):
    state = load_file(saved / WEIGHTS)
    for name in list(state):
        if name.endswith(("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")):
            state[name] = state[name][:, :, None, None].contiguous()
    save_file(state, saved / WEIGHTS)
    assert_same_weights(AutoencoderKL.from_pretrained(saved), vae)


def test_pickle_is_read_only_when_allowed(vae, saved):
    (saved / WEIGHTS).unlink()
    torch.save(vae.state_dict(), saved / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"only as pickle \(diffusion_pytorch_model.bin\)"):
        AutoencoderKL.from_pretrained(saved)
    assert_same_weights(AutoencoderKL.from_pretrained(saved, use_safetensors=False), vae)


def test_a_pickle_that_would_run_code_is_not_run(saved):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {saved}/ran",)

    (saved / WEIGHTS).unlink()
    torch.save({"x": Evil()}, saved / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be read by torch's weights-only loader"):
        AutoencoderKL.from_pretrained(saved, use_safetensors=False)
    assert not (saved / "ran").exists()


def drop(state):
    del state["encoder.conv_in.weight"]


def add(state):
    state["extra.weight"] = torch.zeros(2)


def reshape(state):
    state["encoder.conv_in.bias"] = torch.zeros(9)


def integers(state):
    state["encoder.conv_in.bias"] = torch.zeros(8, dtype=torch.int64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"1 tensors missing: encoder.conv_in.weight \[8, 3, 3, 3\]"),
        (add, rf"1 tensors unexpected: extra.weight \(in {WEIGHTS}\)"),
        (reshape, rf"encoder.conv_in.bias is \[9\], expected \[8\] \(in {WEIGHTS}\)"),
        (integers, "encoder.conv_in.bias is int64"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved, change, message):
    state = load_file(saved / WEIGHTS)
    change(state)
    save_file(state, saved / WEIGHTS)
    with pytest.raises(CheckpointError, match=message) as caught:
        AutoencoderKL.from_pretrained(saved)
    assert str(saved / WEIGHTS) in str(caught.value)


def test_the_class_must_be_the_one_in_the_configuration(saved):
    with pytest.raises(CheckpointError, match=r"config\.json: The configuration describes a AutoencoderKL"):
        UNet2DConditionModel.from_pretrained(saved)


def test_a_model_on_the_meta_device_is_filled(vae, saved):
    with torch.device("meta"):
        empty = AutoencoderKL(**VAE)
    loaded = load_model(empty, open_checkpoint(saved).component(None), dtype=torch.float32)
    assert loaded is empty
    assert_same_weights(loaded, vae)
