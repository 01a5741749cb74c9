"""The conditional UNet in JAX gives the numbers that the torch one gives from the same file, in float32."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("jax", reason="the JAX models need jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the JAX models need flax: pip install '.[jax]'")

from twin import call, relative_error, twin

from components.jax_models.unet_2d_condition import UNet2DConditionModel
from components.torch_models.unet_2d_condition import UNet2DConditionModel as TorchUNet

SD1: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "attention_head_dim": 4,
}
XL = {
    "use_linear_projection": True,
    "attention_head_dim": (2, 8),
    "transformer_layers_per_block": (1, 2),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 6,
    "projection_class_embeddings_input_dim": 10 + 6 * 6,
}
LCM = {
    "time_cond_proj_dim": 20,
    "resnet_time_scale_shift": "scale_shift",
    "mid_block_scale_factor": 1.5,
    "downsample_padding": 0,
    "center_input_sample": True,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "act_fn": "gelu",
}
DEPTHS = {
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2,
    "transformer_layers_per_block": [1, [3, 0]],
    "reverse_transformer_layers_per_block": [[1, 0, 2], 1],
}
CONFIGS: dict[str, dict[str, Any]] = {
    "convolutional projection": SD1,
    "linear projection, text_time": SD1 | XL,
    "guidance embedding, scale_shift": SD1 | LCM,
    "no middle, nulls": SD1 | {"mid_block_type": None, "flip_sin_to_cos": None, "use_linear_projection": None},
    "middle without text": SD1 | {"mid_block_type": "UNetMidBlock2D"},
    "depth by attention": SD1 | DEPTHS,
}


def made(config: dict[str, Any]) -> TorchUNet:
    torch.manual_seed(0)
    return TorchUNet(**config).eval()


def conditions(config: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {"encoder_hidden_states": torch.randn(2, 5, 12)}
    if "time_cond_proj_dim" in config:
        given["timestep_cond"] = torch.randn(2, config["time_cond_proj_dim"])
    if "addition_embed_type" in config:
        sizes = torch.tensor([[1024.0, 768, 0, 16, 1024, 768], [512, 512, 3, 0, 640, 640]])
        given["added_cond_kwargs"] = {"text_embeds": torch.randn(2, 10), "time_ids": sizes}
    return given


# 9 by 6 latents: the way up has to meet a skip of odd size
@pytest.mark.parametrize("name", CONFIGS)
def test_output_equals_torch(name: str, tmp_path: Path) -> None:
    reference = made(CONFIGS[name])
    given = conditions(CONFIGS[name])
    sample, timestep = torch.randn(2, 4, 9, 6), torch.tensor([321.25, 7.0])
    with torch.no_grad():
        expected = reference(sample, timestep, **given).sample
    model = twin(UNet2DConditionModel, reference, tmp_path)
    found = call(lambda unet, x, t, extra: unet(x, t, **extra).sample, model, sample, timestep, given)
    assert relative_error(found, expected) <= 1e-5


def test_a_condition_that_is_missing_or_has_no_place_is_named() -> None:
    sample, states = torch.zeros(1, 4, 8, 8).numpy(), torch.zeros(1, 5, 12).numpy()
    with pytest.raises(ValueError, match="time_cond_proj_dim"):
        UNet2DConditionModel(**SD1)(sample, 1.0, states, timestep_cond=states)
