"""The autoencoder in JAX encodes and decodes as the torch one from the same file does, in float32."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("jax", reason="the JAX models need jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the JAX models need flax: pip install '.[jax]'")

from twin import call, relative_error, twin

from components.jax_models.autoencoder_kl import AutoencoderKL
from components.torch_models.autoencoder_kl import AutoencoderKL as TorchAutoencoder

TWO_LEVELS: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
}
BARE = {"use_quant_conv": False, "use_post_quant_conv": False, "mid_block_add_attention": False}


@pytest.mark.parametrize("options", [{}, BARE], ids=["as in Stable Diffusion", "bare"])
def test_both_ways_equal_torch(options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = TorchAutoencoder(**TWO_LEVELS, **options).eval()
    image, latents = torch.rand(2, 3, 12, 8) * 2 - 1, torch.randn(2, 4, 6, 4)
    with torch.no_grad():
        posterior, expected = reference.encode(image).latent_dist, reference.decode(latents).sample

    def both_ways(vae: AutoencoderKL, image: Any, latents: Any) -> Any:
        found = vae.encode(image).latent_dist
        return found.mean, found.logvar, found.kl(), vae.decode(latents).sample

    model = twin(AutoencoderKL, reference, tmp_path)
    mean, logvar, kl, decoded = call(both_ways, model, image, latents)
    assert relative_error(mean, posterior.mean) <= 1e-5
    assert relative_error(logvar, posterior.logvar) <= 1e-5
    assert relative_error(kl, posterior.kl()) <= 1e-5
    assert relative_error(decoded, expected) <= 1e-5
