"""The autoencoder equals the reference library's, from the same random weights, in float64."""

import diffusers
import pytest
import torch

from components import AutoencoderKL

THREE_LEVELS = {
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "norm_num_groups": 4,
    "sample_size": 32,
}
CONFIGS = {
    "three_levels": THREE_LEVELS | {"layers_per_block": 2},
    "wide_latent": THREE_LEVELS | {"latent_channels": 7, "act_fn": "mish"},
    "bare": {
        "block_out_channels": (8,),
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
}
EXACT = {"rtol": 1e-11, "atol": 1e-12}


def pair(config):
    """Ours and theirs with the same weights, which equal seeds must give."""
    torch.manual_seed(0)
    ours = AutoencoderKL(**config)
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderKL(**config)
    return ours.double().eval(), theirs.double().eval()


def image(height, width, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def latents(height, width, batch=2, channels=4):
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


@pytest.mark.parametrize("name", CONFIGS)
def test_equal_seeds_give_equal_weights_in_the_same_order(name):
    ours, theirs = pair(CONFIGS[name])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for (key, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


@pytest.mark.parametrize("size", [(24, 16), (27, 18)], ids=["multiple", "odd"])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_encode_and_decode_equal_diffusers(name, size):
    ours, theirs = pair(CONFIGS[name])
    x = image(*size)
    a, b = ours.encode(x).latent_dist, theirs.encode(x).latent_dist
    torch.testing.assert_close(a.mean, b.mean, **EXACT)
    torch.testing.assert_close(a.logvar, b.logvar, **EXACT)
    torch.testing.assert_close(a.kl(), b.kl(), **EXACT)
    torch.testing.assert_close(a.mode(), b.mode(), **EXACT)
    z = latents(*size, channels=CONFIGS[name].get("latent_channels", 4))
    torch.testing.assert_close(ours.decode(z).sample, theirs.decode(z).sample, **EXACT)


@torch.no_grad()
def test_a_draw_from_the_posterior_is_that_of_the_same_generator():
    ours, theirs = pair(CONFIGS["three_levels"])
    x = image(16, 16)
    a = ours(x, sample_posterior=True, generator=torch.Generator().manual_seed(9)).sample
    b = theirs(x, sample_posterior=True, generator=torch.Generator().manual_seed(9)).sample
    torch.testing.assert_close(a, b, **EXACT)
    assert not torch.allclose(a, ours(x).sample)


def test_the_log_variance_is_clamped():
    from components.torch_models.autoencoder_kl import DiagonalGaussian

    posterior = DiagonalGaussian(torch.tensor([0.0, 0.0, -1e3, 1e3]).reshape(1, 4, 1, 1))
    assert posterior.logvar.flatten().tolist() == [-30.0, 20.0]


@torch.no_grad()
def test_slicing_changes_nothing():
    ours, _ = pair(CONFIGS["three_levels"])
    x, z = image(16, 24, batch=3), latents(4, 6, batch=3)
    mean, sample = ours.encode(x).latent_dist.mean, ours.decode(z).sample
    ours.enable_slicing()
    torch.testing.assert_close(ours.encode(x).latent_dist.mean, mean, **EXACT)
    torch.testing.assert_close(ours.decode(z).sample, sample, **EXACT)


@pytest.mark.parametrize("size", [(64, 64), (72, 40), (16, 80)])
@torch.no_grad()
def test_tiling_equals_the_tiling_of_diffusers(size):
    ours, theirs = pair(CONFIGS["three_levels"])
    ours.enable_tiling()
    theirs.enable_tiling()
    x, z = image(*size), latents(size[0] // 4, size[1] // 4)
    torch.testing.assert_close(ours.encode(x).latent_dist.mean, theirs.encode(x).latent_dist.mean, **EXACT)
    torch.testing.assert_close(ours.decode(z).sample, theirs.decode(z).sample, **EXACT)
    untiled = pair(CONFIGS["three_levels"])[0].decode(z).sample
    assert ours.decode(z).sample.shape == untiled.shape
    assert not torch.allclose(ours.decode(z).sample, untiled)


@torch.no_grad()
def test_an_image_of_one_tile_is_not_tiled():
    ours, _ = pair(CONFIGS["three_levels"])
    z = latents(8, 8)
    expected = ours.decode(z).sample
    ours.enable_tiling()
    assert torch.equal(ours.decode(z).sample, expected)


@torch.no_grad()
def test_channels_last_gives_the_same_numbers_in_the_same_layout():
    ours, _ = pair(CONFIGS["three_levels"])
    z = latents(6, 8)
    expected = ours.decode(z).sample
    ours.to(memory_format=torch.channels_last)
    found = ours.decode(z.contiguous(memory_format=torch.channels_last)).sample
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, **EXACT)


def test_gradients_equal_those_of_diffusers():
    ours, theirs = pair(CONFIGS["three_levels"])
    x = image(16, 16)
    for model in (ours, theirs):
        model(x).sample.square().mean().backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert a.grad is not None, name
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-13, msg=name)
