"""The unconditional UNet in JAX gives the numbers that the torch one gives from the same file, in float32."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("jax", reason="the JAX models need jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the JAX models need flax: pip install '.[jax]'")

from twin import call, relative_error, twin

from components.jax_models.unet_2d import UNet2DModel
from components.torch_models.unet_2d import UNet2DModel as TorchUNet

TWO_LEVELS: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
DDPM = {
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "mid_block_scale_factor": 1.7,
}


BARE = {"mid_block_type": None, "flip_sin_to_cos": None, "upsample_type": None}


@pytest.mark.parametrize("options", [{}, DDPM, BARE], ids=["defaults", "ddpm-cifar10-32", "no middle, nulls"])
def test_output_equals_torch(options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = TorchUNet(**TWO_LEVELS, **options).eval()
    sample, timestep = torch.randn(2, 3, 9, 6), torch.tensor([321.25, 7.0])
    with torch.no_grad():
        expected = reference(sample, timestep).sample
    found = call(lambda unet, x, t: unet(x, t).sample, twin(UNet2DModel, reference, tmp_path), sample, timestep)
    assert relative_error(found, expected) <= 1e-5
