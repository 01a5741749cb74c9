"""What is told of a network's tensors from its configuration is what torch holds while the network runs."""

import json
from pathlib import Path

import pytest
import torch
from live_tensors import peak_bytes

from components import AutoencoderKL, UNet2DConditionModel, UNet2DModel
from components.activation_size import context_elements, decoder_elements, unet_elements
from components.torch_models.layers import Context

REAL = json.loads((Path(__file__).parent / "torch_models/real_configs.json").read_text())
NEAR = (0.9, 1.2)


def narrow(config: dict, **changes: object) -> dict:
    """A real configuration with an eighth of the channels, or nearly."""
    widths = [width // 8 for width in config["block_out_channels"]]
    return config | {"block_out_channels": widths, "norm_num_groups": 8} | changes


def ready(network: torch.nn.Module) -> torch.nn.Module:
    """As a backend has it."""
    return network.eval().to(memory_format=torch.channels_last)


def near(told: int, found: int) -> None:
    assert NEAR[0] * found < told < NEAR[1] * found, told / found


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)], ids=str)
@pytest.mark.parametrize("name", ["stable-diffusion-v1-5", "stable-diffusion-xl-base-1.0"])
def test_conditional_unets(name: str, size: tuple[int, int], count: int) -> None:
    xl = "xl" in name
    changes = {"attention_head_dim": 5, "cross_attention_dim": 32, "transformer_layers_per_block": 1}
    if xl:
        changes |= {"addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 32}
    unet = ready(UNet2DConditionModel.from_config(narrow(REAL[name]["unet"], **changes)))
    x, words = torch.randn(count, 4, *size), torch.randn(count, 7, 32)
    added = {"text_embeds": torch.randn(count, 8), "time_ids": torch.randn(count, 6)} if xl else None
    near(
        4 * unet_elements(unet.config, size, count=count),
        peak_bytes(lambda: unet(x, 5, words, added_cond_kwargs=added)),
    )


@pytest.mark.parametrize("name", [name for name in REAL if "cross_attention_dim" in REAL[name]["unet"]])
def test_what_a_run_keeps_of_its_prompts(name: str) -> None:
    """Keys and values, to the element; and the second step finds them there."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(narrow(REAL[name]["unet"]))
        channels = unet.config.projection_class_embeddings_input_dim
        ids = 5 if "refiner" in name else 6
        text = (channels or 0) - ids * (unet.config.addition_time_embed_dim or 0)
        added = {"text_embeds": torch.randn(3, text), "time_ids": torch.randn(3, ids)} if channels else None
        wide = unet.config.cross_attention_dim
        context = Context(torch.randn(3, 7, wide[0] if isinstance(wide, tuple) else wide))
        unet(torch.randn(3, 4, 16, 16), 5, context, added_cond_kwargs=added)
        kept = dict(context._made)
        unet(torch.randn(3, 4, 16, 16), 5, context, added_cond_kwargs=added)
    assert context._made == kept
    assert sum(k.numel() + v.numel() for k, v in kept.values()) == context_elements(unet.config, 7, count=3)


SSD_1B = {
    "layers_per_block": 1,
    "transformer_layers_per_block": [0, [1], [2]],
    "reverse_transformer_layers_per_block": [[3, 1], [2, 1], 0],
}


@pytest.mark.parametrize("middle", [None, "UNetMidBlock2D", "UNetMidBlock2DCrossAttn"])
def test_networks_without_a_middle_or_of_several_depths(middle: str | None) -> None:
    real = REAL["stable-diffusion-xl-base-1.0"]["unet"]
    changes = {"attention_head_dim": 5, "cross_attention_dim": 32, "addition_embed_type": None}
    unet = ready(UNet2DConditionModel.from_config(narrow(real, **changes, **SSD_1B, mid_block_type=middle)))
    x, context = torch.randn(2, 4, 24, 24), Context(torch.randn(2, 7, 32))
    near(4 * unet_elements(unet.config, (24, 24), count=2), peak_bytes(lambda: unet(x, 5, context.states)))
    unet(x, 5, context)
    assert sum(k.numel() + v.numel() for k, v in context._made.values()) == context_elements(unet.config, 7, count=2)


@pytest.mark.parametrize("name", ["ddpm-cifar10-32", "ddpm-celebahq-256"])
def test_unconditional_unets(name: str) -> None:
    unet = ready(UNet2DModel.from_config(narrow(REAL[name]["unet"])))
    x = torch.randn(2, 3, 64, 64)
    near(4 * unet_elements(unet.config, (64, 64), count=2), peak_bytes(lambda: unet(x, 5)))


@pytest.mark.parametrize("size", [(16, 16), (32, 24)], ids=str)
def test_decoders(size: tuple[int, int]) -> None:
    vae = ready(AutoencoderKL.from_config(narrow(REAL["stable-diffusion-v1-5"]["vae"])))
    z = torch.randn(2, 4, *size)
    near(4 * decoder_elements(vae.config, size, count=2), peak_bytes(lambda: vae.decode(z)))
