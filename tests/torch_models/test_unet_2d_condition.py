"""The conditional UNet equals the reference library's, from the same random weights, in float64."""

import diffusers
import pytest
import torch

from components import UNet2DConditionModel
from components.torch_models.layers import Context

SD1 = {
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "attention_head_dim": 4,
}
SD2 = SD1 | {"attention_head_dim": (2, 4, 8), "use_linear_projection": True, "upcast_attention": True}
SDXL = SD2 | {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 3),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 6,
    "projection_class_embeddings_input_dim": 10 + 6 * 6,
}
REFINER = (
    SDXL
    | {  # told original size, crop and aesthetic score, five numbers instead of six; no attention at the ends
        "block_out_channels": (8, 16, 16, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": (2, 4, 4, 8),
        "transformer_layers_per_block": 2,
        "projection_class_embeddings_input_dim": 10 + 5 * 6,
    }
)
CONFIGS = {
    "sd1": SD1,
    "sd2": SD2,
    "sdxl": SDXL,
    "refiner": REFINER,
    "lcm": SD1 | {"time_cond_proj_dim": 20},
    "per_block": SD1 | {"layers_per_block": (1, 2, 3), "cross_attention_dim": (12, 12, 12)},
    "scale_shift": SD1
    | {
        "resnet_time_scale_shift": "scale_shift",
        "mid_block_scale_factor": 1.5,
        "downsample_padding": 0,
        "center_input_sample": True,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "time_embedding_dim": 36,
        "act_fn": "gelu",
    },
    "no_middle": SD1 | {"mid_block_type": None, "upcast_attention": None},  # BK-SDM small
    "middle_without_text": SD1 | {"mid_block_type": "UNetMidBlock2D", "mid_block_scale_factor": 1.5},
    # SSD-1B: the depth of every attention by itself, on the way up another one than on the way down
    "depth_by_attention": SDXL
    | {
        "transformer_layers_per_block": [[0, 3], 2, [4, 1]],
        "reverse_transformer_layers_per_block": [[1, 3, 2], [2, 1, 1], 0],
    },
    "reversed_depths": SDXL | {"reverse_transformer_layers_per_block": [1, 3, 2], "mid_block_type": None},
    "no_depth": SD1 | {"transformer_layers_per_block": 0, "mid_block_type": None},
    "read_by_no_block": SD1
    | {"resnet_skip_time_act": True, "resnet_out_scale_factor": 2.0, "only_cross_attention": [False] * 3},
    "one_level": SD1
    | {
        "block_out_channels": (8,),
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
    },
}


def pair(config):
    """Ours and theirs with the same weights, which equal seeds must give."""
    torch.manual_seed(0)
    ours = UNet2DConditionModel(**config)
    torch.manual_seed(0)
    theirs = diffusers.UNet2DConditionModel(**config)
    return ours.double().eval(), theirs.double().eval()


def inputs(config, height=16, width=8, seed=1):
    g = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64)

    conditions = {"encoder_hidden_states": randn(2, 5, 12)}
    if config.get("time_cond_proj_dim"):
        conditions["timestep_cond"] = randn(2, config["time_cond_proj_dim"])
    if config.get("addition_embed_type"):
        time_ids = torch.tensor([[1024.0, 768, 0, 16, 1024, 768], [512, 512, 3, 0, 6.0, 640]], dtype=torch.float64)
        told = (config["projection_class_embeddings_input_dim"] - 10) // 6
        time_ids = time_ids[:, :told]
        conditions["added_cond_kwargs"] = {"text_embeds": randn(2, 10), "time_ids": time_ids}
    return randn(2, 4, height, width), conditions


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_seeds_give_equal_weights_in_the_same_order(name):
    ours, theirs = pair(CONFIGS[name])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for (key, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


@pytest.mark.parametrize("size", [(16, 8), (13, 11)], ids=["multiple", "odd"])
@pytest.mark.parametrize("name", CONFIGS)
def test_output_equals_diffusers(name, size):
    ours, theirs = pair(CONFIGS[name])
    sample, conditions = inputs(CONFIGS[name], *size)
    with torch.no_grad():
        expected = theirs(sample, 321, **conditions).sample
        found = ours(sample, 321, **conditions).sample
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("timestep", [7, 333.25, torch.tensor(5), torch.tensor([3.5, 900.0]), torch.tensor([980])])
def test_timesteps_may_be_numbers_or_tensors_and_fractional(timestep):
    ours, theirs = pair(SD1)
    sample, conditions = inputs(SD1)
    with torch.no_grad():
        expected = theirs(sample, timestep, **conditions).sample
        torch.testing.assert_close(ours(sample, timestep, **conditions).sample, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_kept_context_changes_no_bit(name):
    ours, _ = pair(CONFIGS[name])
    sample, conditions = inputs(CONFIGS[name])
    kept = Context(conditions["encoder_hidden_states"])
    with torch.inference_mode():
        for x in (sample, sample + 1):  # the second time there are keys and values already
            expected = ours(x, 321, **conditions).sample
            assert torch.equal(ours(x, 321, **conditions | {"encoder_hidden_states": kept}).sample, expected)


@pytest.mark.parametrize("keep", [False, True], ids=["", "kept"])
@pytest.mark.parametrize("name", CONFIGS)
def test_latents_under_several_conditions_are_as_if_repeated(name, keep):
    ours, _ = pair(CONFIGS[name])
    sample, conditions = inputs(CONFIGS[name])
    few, timesteps = sample[:1], torch.tensor([321.5])
    if "timestep_cond" in conditions:  # is told of the latents, as the timestep is: the same for all their conditions
        conditions["timestep_cond"] = conditions["timestep_cond"][:1].expand(len(sample), -1)
    alone = {**conditions}
    if "timestep_cond" in alone:
        alone["timestep_cond"] = alone["timestep_cond"][:1]
    if keep:
        alone["encoder_hidden_states"] = Context(alone["encoder_hidden_states"])
    with torch.no_grad():
        expected = ours(few.expand_as(sample), timesteps, **conditions).sample
        found = ours(few, timesteps, **alone).sample
        with pytest.raises(ValueError, match="2 rows of encoder_hidden_states are no multiple of the 3 rows of sample"):
            ours(sample[[0, 0, 0]], timesteps, **conditions)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_rows_of_several_latents_lie_together_by_condition():
    ours, _ = pair(SD1)
    sample, conditions = inputs(SD1)
    states = torch.cat([conditions["encoder_hidden_states"], conditions["encoder_hidden_states"].flip(0) + 1])
    timesteps = torch.tensor([20.0, 700.0])
    with torch.no_grad():
        expected = torch.cat([ours(sample, timesteps, part).sample for part in states.chunk(2)])
        found = ours(sample, timesteps, states).sample
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_one_row_of_further_conditions_serves_all_latents():
    ours, theirs = pair(SDXL)
    sample, conditions = inputs(SDXL)
    conditions["added_cond_kwargs"] = {name: rows[:1] for name, rows in conditions["added_cond_kwargs"].items()}
    with torch.no_grad():
        expected = theirs(sample, 321, **conditions).sample
        torch.testing.assert_close(ours(sample, 321, **conditions).sample, expected, rtol=1e-12, atol=1e-12)


def test_channels_last_gives_the_same_numbers_in_the_same_layout():
    ours, _ = pair(SD2)
    sample, conditions = inputs(SD2)
    with torch.no_grad():
        expected = ours(sample, 10, **conditions).sample
        ours.to(memory_format=torch.channels_last)
        found = ours(sample.contiguous(memory_format=torch.channels_last), 10, **conditions).sample
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_gradients_equal_those_of_diffusers():
    ours, theirs = pair(SDXL)
    sample, conditions = inputs(SDXL)
    for model in (ours, theirs):
        model.train()(sample, 100, **conditions).sample.square().mean().backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert a.grad is not None, name
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-14, msg=name)


@pytest.mark.parametrize("missing", ["text_embeds", "time_ids"])
def test_a_missing_condition_is_named(missing):
    ours, _ = pair(SDXL)
    sample, conditions = inputs(SDXL)
    del conditions["added_cond_kwargs"][missing]
    with pytest.raises(ValueError, match=missing):
        ours(sample, 1, **conditions)


def test_a_condition_without_a_place_is_refused():
    ours, _ = pair(SD1)
    sample, conditions = inputs(SD1)
    with pytest.raises(ValueError, match="time_cond_proj_dim"):
        ours(sample, 1, timestep_cond=torch.zeros(2, 8, dtype=torch.float64), **conditions)
