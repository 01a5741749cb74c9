"""Configurations: what they accept, what they refuse by name, and that they are values."""

import copy
import json
import pickle

import pytest
import torch

from components import AutoencoderKL, UNet2DConditionModel
from components.model_config import AutoencoderKLConfig, UNet2DConditionConfig

REFUSED = {
    "only_cross_attention": True,
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "dual_cross_attention": True,
    "class_embed_type": "timestep",
    "num_class_embeds": 10,
    "addition_embed_type": "image",
    "encoder_hid_dim_type": "text_proj",
    "attention_type": "gated",
    "conv_in_kernel": 5,
    "time_embedding_type": "fourier",
    "num_attention_heads": 8,
    "act_fn": "tanh",
    "resnet_time_scale_shift": "ada_group",
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_values_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"UNet2DConditionModel: {name}={REFUSED[name]!r} is not supported"):
        UNet2DConditionModel.from_config({name: REFUSED[name]})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"down_block_types": ["KDownBlock2D"] * 4}, "down_block_types has 'KDownBlock2D'"),
        ({"block_out_channels": [32, 64]}, "down_block_types has 4 entries and block_out_channels 2"),
        ({"attention_head_dim": [4, 8]}, "must provide the same number"),
        ({"attention_head_dim": 7}, "attention_head_dim=7 is not supported"),
        ({"block_out_channels": [320, 640, 1280, 1290]}, "norm_num_groups=32 does not divide a width of 1290"),
        ({"layers_per_block": "2"}, "layers_per_block='2' is not supported; expected a whole number or a list"),
        ({"addition_embed_type": "text_time"}, "addition_time_embed_dim=None"),
        ({"transformer_layers_per_block": [1, 2, 3, [1, 1]]}, "reverse_transformer_layers_per_block=None"),
        (
            {"transformer_layers_per_block": [1, 2, 3, 4], "reverse_transformer_layers_per_block": [1, [2, 2], 3, 4]},
            r"reverse_transformer_layers_per_block=\(1, \(2, 2\), 3, 4\) is not supported; expected 3 numbers",
        ),
        ({"transformer_layers_per_block": [1, [], 1, 1]}, "transformer_layers_per_block"),
        ({"reverse_transformer_layers_per_block": [1, 1]}, "must provide the same number"),
        ({"norm_num_groups": 0}, "norm_num_groups=0 is not supported; expected numbers from 1 to 1048576"),
        ({"attention_head_dim": 0}, "attention_head_dim=0"),
        ({"layers_per_block": 3_000_000}, "layers_per_block=3000000 is not supported; expected numbers from 1 to 100"),
        ({"transformer_layers_per_block": [1, 1, 1, 10**9]}, "transformer_layers_per_block"),
        ({"sample_size": -1}, "sample_size=-1"),
        ({"sample_size": [64]}, r"sample_size=\[64\] .* a list of 2 times a whole number"),
        ({"block_out_channels": []}, "block_out_channels"),
        ({"block_out_channels": [32] * 40}, "block_out_channels"),
        ({"cross_attention_dim": "768"}, "cross_attention_dim='768'"),
        ({"norm_eps": float("nan")}, "norm_eps=nan"),
        ({"freq_shift": float("inf")}, "freq_shift=inf is not supported; expected finite numbers"),
        ({"mid_block_scale_factor": 0}, "mid_block_scale_factor=0"),
        ({"in_channels": 10**4000}, "in_channels"),
        ({"center_input_sample": "false"}, "center_input_sample='false' is not supported; expected true or false"),
        ({"act_fn": ["silu"]}, r"act_fn=\['silu'\]"),
    ],
)
def test_contradictions_are_explained(config, message):
    with pytest.raises(ValueError, match=message):
        UNet2DConditionConfig.from_dict(config)


def test_numbers_may_be_spelt_otherwise():
    said = {"in_channels": 4.0, "norm_eps": 1, "center_input_sample": 0, "sample_size": [64.0, 96], "dropout": 0}
    config = UNet2DConditionConfig.from_dict(said)
    assert config.in_channels == 4 and isinstance(config.in_channels, int) and config.sample_size == (64, 96)
    assert config.center_input_sample is False and {**config.to_dict(), **said} == config.to_dict()


def test_a_message_stays_short():
    with pytest.raises(ValueError) as caught:
        UNet2DConditionConfig.from_dict({"block_out_channels": ["x" * 100] * 10_000})
    assert len(str(caught.value)) < 500


def test_a_misspelt_option_suggests_the_nearest():
    with pytest.raises(TypeError, match=r"no option 'latent_chanels'\. Did you mean 'latent_channels'"):
        AutoencoderKL(latent_chanels=4)


def test_a_configuration_of_another_class_is_refused():
    with pytest.raises(ValueError, match="describes a AutoencoderKL, not a UNet2DConditionModel"):
        UNet2DConditionModel.from_config({"_class_name": "AutoencoderKL"})


def test_unknown_keys_of_a_file_are_kept_and_named_once(caplog):
    config = AutoencoderKLConfig.from_dict({"_class_name": "AutoencoderKL", "colour": "blue", "latent_channels": 8})
    assert "ignored unknown configuration keys colour" in caplog.text
    assert config["colour"] == "blue" and config.latent_channels == config["latent_channels"] == 8
    assert json.loads(json.dumps(config.to_dict()))["colour"] == "blue"


def test_a_configuration_is_an_immutable_value():
    config = AutoencoderKLConfig.from_dict(
        {
            "block_out_channels": [8, 8],
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "norm_num_groups": 4,
        }
    )
    assert config.block_out_channels == (8, 8) and config.scale == 2
    with pytest.raises(AttributeError):
        config.latent_channels = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        config["latent_channels"] = 5  # type: ignore[index]
    assert config == AutoencoderKLConfig.from_dict(config.to_dict())
    assert dict(config)["latent_channels"] == 4


def test_models_can_be_copied_and_pickled():
    model = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.config == model.config
        assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), model.parameters(), strict=True))
