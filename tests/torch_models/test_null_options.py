"""A null in a network's configuration means what the reference library makes of it, option by option."""

import inspect
import json
from typing import Any

import diffusers
import pytest
import torch

from components import AutoencoderKL, UNet2DConditionModel, UNet2DModel

SMALL: dict[Any, dict[str, Any]] = {
    UNet2DConditionModel: {
        "block_out_channels": [8, 16],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "cross_attention_dim": 12,
        "attention_head_dim": 4,
    },
    UNet2DModel: {
        "block_out_channels": [8, 16],
        "down_block_types": ["AttnDownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
    },
    AutoencoderKL: {
        "block_out_channels": [8, 16],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "norm_num_groups": 4,
    },
}
OPTIONS = [(cls, name) for cls in SMALL for name in inspect.signature(getattr(diffusers, cls.__name__)).parameters]


def made(cls: Any, config: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return cls.from_config(config).eval()


def output(model: Any) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    x, states = torch.randn(2, 4, 8, 8, generator=g), torch.randn(2, 5, 12, generator=g)
    kind = type(model).__name__
    with torch.no_grad():
        if kind == "UNet2DConditionModel":
            return model(x, 321, states).sample
        return (model(x[:, :3], 321) if kind == "UNet2DModel" else model(x[:, :3])).sample


@pytest.mark.parametrize(("cls", "name"), OPTIONS, ids=[f"{cls.__name__}-{name}" for cls, name in OPTIONS])
def test_null_is_what_the_reference_makes_of_it(cls, name, tmp_path):
    config = SMALL[cls] | {name: None}
    try:
        theirs = made(getattr(diffusers, cls.__name__), config)
        expected = output(theirs)
    except Exception:  # the reference cannot build it, or not run it
        with pytest.raises(ValueError, match=f"{cls.__name__}: {name}=None is not supported; expected "):
            cls.from_config(config)
        return
    ours = made(cls, config)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(output(ours), expected, rtol=1e-5, atol=1e-6)
    ours.save_pretrained(tmp_path)
    for said in (ours.config, ours.config.to_dict(), json.loads((tmp_path / "config.json").read_text())):
        assert said[name] is None
    assert cls.from_pretrained(tmp_path).config == ours.config


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (UNet2DConditionModel, "flip_sin_to_cos", False),  # where the default is true
        (UNet2DConditionModel, "upcast_attention", False),
        (UNet2DModel, "attention_head_dim", 16),  # one head, where the default is heads of 8
        (UNet2DModel, "add_attention", False),
        (UNet2DModel, "downsample_type", "conv"),
        (AutoencoderKL, "use_quant_conv", False),
        (AutoencoderKL, "mid_block_add_attention", False),
    ],
)
def test_null_is_the_same_as(cls, name, value):
    config = SMALL[cls] | {"block_out_channels": [16, 16]}
    null, said = made(cls, config | {name: None}), made(cls, config | {name: value})
    assert list(null.state_dict()) == list(said.state_dict())
    assert torch.equal(output(null), output(said))


def test_what_only_pipelines_read_of_an_autoencoder():
    config = AutoencoderKL.from_config(SMALL[AutoencoderKL] | {"scaling_factor": None, "force_upcast": None}).config
    assert config["scaling_factor"] is None and config.latent_scale == 0.18215
    assert not config.force_upcast
