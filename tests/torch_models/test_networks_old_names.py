"""Networks are called, loaded and asked as old scripts do; expected is what the reference library's networks do."""

import inspect
import json
import logging
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

import components
from components.torch_models.old_names import WITHOUT_EFFECT

SMALL: dict[str, dict[str, Any]] = {
    "UNet2DConditionModel": {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    },
    "UNet2DModel": {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
    },
    "AutoencoderKL": {"block_out_channels": (8,), "norm_num_groups": 4, "sample_size": 16},
}
CALLS = {
    "UNet2DConditionModel": ["forward"],
    "UNet2DModel": ["forward"],
    "AutoencoderKL": ["forward", "encode", "decode"],
}


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any]:
    """(ours, theirs) with equal weights."""
    torch.manual_seed(0)
    theirs = getattr(diffusers, request.param)(**SMALL[request.param])
    theirs.save_pretrained(tmp_path / "net")
    ours = getattr(components, request.param).from_pretrained(tmp_path, subfolder="net")
    return ours, theirs.eval()


def each(*names: str) -> Any:
    return pytest.mark.parametrize("pair", names or list(SMALL), indirect=True)


def arguments(call: Any) -> dict[str, Any]:
    return {name: one.default for name, one in inspect.signature(call).parameters.items()}


@pytest.mark.parametrize("name", SMALL)
def test_arguments_are_in_their_places(name: str) -> None:
    for call in CALLS[name]:
        found, expected = (arguments(getattr(getattr(library, name), call)) for library in (components, diffusers))
        assert list(found.items()) == list(expected.items())


@each("UNet2DConditionModel", "UNet2DModel")
@torch.no_grad()
def test_what_a_network_returns(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    call: list[Any] = [torch.randn(2, ours.config.in_channels, 8, 8), 5]
    call += [torch.randn(2, 3, 8)] if "Condition" in type(ours).__name__ else []
    expected = theirs(*call).sample
    output = ours(*call)
    for found in (output.sample, output[0], output["sample"], output.to_tuple()[0], *output[:1]):
        torch.testing.assert_close(found, expected)
    assert list(output) == list(theirs(*call)) and len(output) == 1
    whole = ours(*call, return_dict=False)
    assert type(whole) is tuple and len(whole) == 1
    torch.testing.assert_close(whole[0], expected)
    with pytest.raises(KeyError, match="has no 'image'; it has sample"):
        output["image"]


@each("UNet2DConditionModel")
def test_conditions_that_are_not_served_are_named(pair: tuple[Any, Any]) -> None:
    x, context = torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8)
    with pytest.raises(ValueError, match="attention_mask, cross_attention_kwargs: not served here"):
        pair[0](x, 1, context, attention_mask=torch.ones(1, 3), cross_attention_kwargs={"scale": 1})
    pair[0](x, 1, context, None, None, None, {})


@each("AutoencoderKL")
@torch.no_grad()
def test_an_autoencoder_is_called(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    x, z = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 8, 8)
    generators = [torch.Generator().manual_seed(1) for _ in pair]
    found, expected = (net.encode(x).latent_dist for net in pair)
    drawn = [one.sample(generator) for one, generator in zip((found, expected), generators, strict=True)]
    torch.testing.assert_close(*drawn)
    torch.testing.assert_close(found.mode(), expected.mode())
    torch.testing.assert_close(ours.encode(x, return_dict=False)[0].mean, ours.encode(x)["latent_dist"].mean)
    others = [net.encode(x.flip(0)).latent_dist for net in pair]
    torch.testing.assert_close(found.kl(others[0]), expected.kl(others[1]))
    torch.testing.assert_close(found.kl(), expected.kl())
    torch.testing.assert_close(found.nll(z), expected.nll(z))
    for decoded in (ours.decode(z).sample, ours.decode(z, return_dict=False)[0], ours.decode(z, generator=None)[0]):
        torch.testing.assert_close(decoded, theirs.decode(z).sample)
    torch.testing.assert_close(ours(x, return_dict=False)[0], theirs(x, return_dict=False)[0])
    ours.enable_slicing(), ours.enable_tiling(), ours.disable_slicing(), ours.disable_tiling()
    assert not ours.use_slicing and ours.tile_size is None


@each()
def test_sizes_and_options(pair: tuple[Any, Any]) -> None:
    ours, theirs = pair
    for query in ("num_parameters", "get_memory_footprint"):
        assert getattr(ours, query)() == getattr(theirs, query)()
    for net in pair:
        net.conv_in.requires_grad_(False) if hasattr(net, "conv_in") else net.encoder.requires_grad_(False)
    assert (
        ours.num_parameters(only_trainable=True) == theirs.num_parameters(only_trainable=True) < ours.num_parameters()
    )
    assert ours.in_channels == ours.config.in_channels == theirs.config.in_channels
    assert (ours.dtype, ours.device.type, ours.config_name) == (torch.float32, "cpu", theirs.config_name)
    assert not ours.is_gradient_checkpointing
    with pytest.raises(AttributeError, match="no attribute 'in_chanels'"):
        _ = ours.in_chanels
    assert json.loads(ours.to_json_string())["sample_size"] == ours.config.sample_size


@each("UNet2DModel")
def test_switches_say_once_that_they_change_nothing(pair: tuple[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    WITHOUT_EFFECT.said.clear()
    with caplog.at_level(logging.WARNING):
        for name in (*WITHOUT_EFFECT, *WITHOUT_EFFECT):
            getattr(pair[0], name)()
    assert [record.message.partition(":")[0] for record in caplog.records] == list(WITHOUT_EFFECT.why)
    assert all(any(hasattr(getattr(diffusers, net), name) for net in SMALL) for name in WITHOUT_EFFECT)


class TestLoading:
    @each()
    def test_habits(self, pair: tuple[Any, Any], tmp_path: Path) -> None:
        cls = type(pair[0])
        habits: dict[str, Any] = {"low_cpu_mem_usage": False, "device_map": None, "force_download": False}
        loaded = cls.from_pretrained(tmp_path, subfolder="net", torch_dtype=torch.float16, **habits)
        assert loaded.dtype == torch.float16
        loaded.save_pretrained(tmp_path / "half", is_main_process=True, safe_serialization=True)
        loaded.save_pretrained(tmp_path / "absent", False)
        assert not (tmp_path / "absent").exists()
        assert cls.from_pretrained(tmp_path / "half", torch_dtype="auto", device_map="cpu").dtype == torch.float16
        assert cls.from_pretrained(tmp_path / "half").dtype == torch.float32
        loaded.save_config(tmp_path / "config")
        assert json.loads((tmp_path / "config" / "config.json").read_text())["_class_name"] == cls.__name__

    @each("UNet2DModel")
    def test_loading_info(self, pair: tuple[Any, Any], tmp_path: Path) -> None:
        ours, theirs = (type(net).from_pretrained(tmp_path / "net", output_loading_info=True)[1] for net in pair)
        assert ours == theirs

    @each("UNet2DModel")
    def test_what_cannot_be_is_refused_at_once(self, pair: tuple[Any, Any], tmp_path: Path) -> None:
        with pytest.raises(
            TypeError, match=r"quantization_config=3 cannot be served.*'subfoldr'. Did you mean 'subfolder'"
        ):
            type(pair[0]).from_pretrained(tmp_path / "net", quantization_config=3, subfoldr="x")
        with pytest.raises(ValueError, match="device_map='auto' spreads"):
            type(pair[0]).from_pretrained(tmp_path / "net", device_map="auto")
        with pytest.raises(ValueError, match="only safetensors are written"):
            pair[0].save_pretrained(tmp_path, safe_serialization=False)
