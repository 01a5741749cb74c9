"""The way from the network's latents to the autoencoder's, by its definition, in both libraries."""

from __future__ import annotations

import numpy as np
import pytest

from components.latent_space import LatentSpace
from components.model_config import AutoencoderKLConfig

MEAN, STD = (0.5, -1.0), (2.0, 0.25)
X = np.random.default_rng(0).standard_normal((2, 2, 3, 3)).astype(np.float32)


def per_channel(numbers: tuple[float, ...]) -> np.ndarray:
    return np.asarray(numbers, np.float32)[None, :, None, None]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scaling_factor": 0.18215}, X / 0.18215),
        ({"scaling_factor": 1.5305, "shift_factor": 0.0609}, X / 1.5305 + 0.0609),  # as Stable Diffusion 3's
        (
            {"scaling_factor": 0.5, "latents_mean": MEAN, "latents_std": STD},
            X / 0.5 * per_channel(STD) + per_channel(MEAN),
        ),
    ],
)
def test_what_the_autoencoder_is_given(options: dict, expected: np.ndarray) -> None:
    space = LatentSpace.of(AutoencoderKLConfig(latent_channels=2, norm_num_groups=32, **options))
    np.testing.assert_allclose(space.unscaled(X, per_channel), expected, rtol=1e-6)


def test_the_shape_of_a_pictures_latents() -> None:
    config = AutoencoderKLConfig(
        block_out_channels=(32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    )
    assert LatentSpace.of(config).shape(64, 96) == (4, 16, 24)


def test_a_shift_reaches_the_decoder() -> None:
    """Decoding z + shift by hand equals what the backend decodes of x, bit for bit."""
    import torch

    from components.torch_models.autoencoder_kl import AutoencoderKL
    from runner.backends.torch import TorchBackend

    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, scaling_factor=2.0, shift_factor=0.25).eval()
    x = torch.randn(1, 4, 4, 4)
    drawn = TorchBackend("cpu", "float32", threads=None).decode(vae, x, LatentSpace.of(vae.config))
    with torch.no_grad():
        by_hand = vae.decode(x / 2.0 + 0.25).sample
    assert torch.allclose(drawn, (by_hand * 0.5 + 0.5).clamp(0, 1), atol=1e-6)
