"""The unconditional UNet equals the reference library's, from the same random weights, in float64."""

import diffusers
import pytest
import torch

from components import UNet2DModel

SMALL = {"block_out_channels": (8, 16, 16, 32), "norm_num_groups": 4, "sample_size": 16}
CONFIGS = {
    "defaults": {},
    "ddpm": {  # the values of ddpm-cifar10-32 and its relatives
        "attention_head_dim": None,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    },
    "scaled": {"mid_block_scale_factor": 1.7, "center_input_sample": True, "act_fn": "mish", "time_embedding_dim": 24},
    "no_middle": {"mid_block_type": None},
    "no_middle_attention": {"add_attention": False, "layers_per_block": 1, "in_channels": 4, "out_channels": 4},
}


def pair(name):
    """Ours and theirs, made from the same torch seed."""
    models = []
    for cls in (UNet2DModel, diffusers.UNet2DModel):
        torch.manual_seed(3)
        models.append(cls(**SMALL | CONFIGS[name]).double().eval())
    return models


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_seeds_give_the_initial_weights_of_diffusers(name):
    ours, theirs = (model.state_dict() for model in pair(name))
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("timestep", [0, 999, torch.tensor(5), torch.tensor([3, 900])], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_output_equals_diffusers(name, timestep):
    ours, theirs = pair(name)
    sample = torch.randn(2, ours.config.in_channels, 16, 24, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        expected = theirs(sample, timestep).sample
        found = ours(sample, timestep).sample
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_any_size_will_do():
    ours, _ = pair("ddpm")
    assert ours(torch.zeros(1, 3, 13, 21, dtype=torch.float64), 0.5).sample.shape == (1, 3, 13, 21)


def test_what_we_save_diffusers_loads_and_the_reverse(tmp_path):
    ours, theirs = (model.float() for model in pair("ddpm"))
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.01)
    ours.save_pretrained(tmp_path / "ours", variant="non_ema")
    read = diffusers.UNet2DModel.from_pretrained(tmp_path / "ours", variant="non_ema")
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), read.state_dict().values(), strict=True))
    theirs.save_pretrained(tmp_path / "theirs")
    read = UNet2DModel.from_pretrained(tmp_path / "theirs")
    assert all(torch.equal(a, b) for a, b in zip(theirs.state_dict().values(), read.state_dict().values(), strict=True))
    assert dict(diffusers.UNet2DModel.load_config(tmp_path / "ours")).keys() >= set(read.config.option_names())


def test_old_attention_names_are_read(tmp_path):
    from safetensors.torch import load_file, save_file

    ours, _ = pair("ddpm")
    ours.float().save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, tensor in load_file(file).items():
        for new, former in old.items():
            name = name.replace(f".{new}.", f".{former}.")
        state[name] = tensor
    assert sum(".query." in name for name in state) == 12  # six layers: two down, three up, one between
    save_file(state, file)
    read = UNet2DModel.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), read.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"time_embedding_type": "fourier"}, "time_embedding_type='fourier' is not supported"),
        ({"down_block_types": ("SkipDownBlock2D",) * 4}, "down_block_types has 'SkipDownBlock2D'"),
        ({"attention_head_dim": 5}, "attention_head_dim=5"),
        ({"num_class_embeds": 10}, "num_class_embeds=10"),
        ({"block_out_channels": (8, 16)}, "must provide the same number"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(options, said):
    with pytest.raises(ValueError, match=said):
        UNet2DModel(**SMALL | options)
