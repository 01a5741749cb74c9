"""Tiny checkpoints with random weights in the layouts of the public ones, written by the reference library."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

START, END = "<|startoftext|>", "<|endoftext|>"
SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def write_words(folder: Path, pad: str = END) -> Any:
    """A byte-level CLIP tokenizer of 514 words."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), START, END]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77, pad_token=pad)


def text_encoder(width: int, projection: int | None = None, act: str = "quick_gelu", gain: float = 3.0) -> Any:
    """A CLIP text encoder; with a projection where asked for. Its weights are made large, by `gain`,
    for prompts to differ; too large, and rounding errors grow."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        hidden_act=act,
        projection_dim=projection or width,
        bos_token_id=512,
        eos_token_id=513,
    )
    model = CLIPTextModel(config) if projection is None else CLIPTextModelWithProjection(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(gain)
    return model


def unet(**options: Any) -> Any:
    """A conditional UNet of two levels for 8×8 latents, with some contrast in what it says."""
    from diffusers import UNet2DConditionModel

    small: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return _contrasted(UNet2DConditionModel(**small | options), "conv_out")


def vae(**options: Any) -> Any:
    """An autoencoder with factor 4."""
    from diffusers import AutoencoderKL

    model = AutoencoderKL(
        block_out_channels=(16, 16, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8,
        sample_size=32,
        **options,
    )
    _contrasted(model.decoder, "conv_out")
    return model


def _contrasted(model: Any, layer: str) -> Any:
    with torch.no_grad():
        getattr(model, layer).weight.mul_(4.0)
    return model


def write_stable_diffusion(folder: Path, network: Any, scheduler: Any, **encoder: Any) -> None:
    """All of a Stable Diffusion checkpoint around a UNet and a scheduler."""
    from diffusers import StableDiffusionPipeline

    StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text_encoder(32, **encoder),
        tokenizer=write_words(folder / "words"),
        unet=network,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def write_sd15(folder: Path) -> None:
    """Stable Diffusion 1.5: PNDM, eps."""
    from diffusers import PNDMScheduler

    write_stable_diffusion(folder, unet(), PNDMScheduler(**SD_BETAS, skip_prk_steps=True, set_alpha_to_one=False))


def write_sd21(folder: Path) -> None:
    """Stable Diffusion 2.1: v-prediction, heads per block, linear projections, another activation."""
    from diffusers import DDIMScheduler

    network = unet(attention_head_dim=(2, 4), use_linear_projection=True, upcast_attention=True)
    scheduler = DDIMScheduler(**SD_BETAS, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False)
    write_stable_diffusion(folder, network, scheduler, act="gelu")


def write_lcm(folder: Path) -> None:
    """A network that is told the guidance scale, as latent consistency models are."""
    from diffusers import DDIMScheduler

    network = unet(time_cond_proj_dim=32)
    write_stable_diffusion(folder, network, DDIMScheduler(**SD_BETAS, clip_sample=False, set_alpha_to_one=False))


def _write_xl(folder: Path, scheduler: Any, force_zeros: bool = True, **autoencoder: Any) -> None:
    from diffusers import StableDiffusionXLPipeline

    network = unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24 + 6 * 8,
        cross_attention_dim=32 + 16,
    )
    StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025, **autoencoder),
        text_encoder=text_encoder(32, gain=2.0),
        text_encoder_2=text_encoder(16, projection=24, act="gelu", gain=2.0),
        tokenizer=write_words(folder / "words"),
        tokenizer_2=write_words(folder / "words", pad="!"),
        unet=network,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=force_zeros,
        add_watermarker=False,
    ).save_pretrained(folder)


def write_sdxl(folder: Path) -> None:
    """Stable Diffusion XL: Euler with leading steps."""
    from diffusers import EulerDiscreteScheduler

    _write_xl(folder, EulerDiscreteScheduler(**SD_BETAS, timestep_spacing="leading"))


def write_sdxl_no_zeros(folder: Path) -> None:
    """The same where an absent negative prompt is encoded, and latents that the autoencoder standardises."""
    from diffusers import EulerDiscreteScheduler

    statistics = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.5, 0.5, 1.0, 2.0]}
    scheduler = EulerDiscreteScheduler(**SD_BETAS, timestep_spacing="leading")
    _write_xl(folder, scheduler, force_zeros=False, **statistics)


def write_turbo(folder: Path) -> None:
    """SDXL turbo: Euler ancestral with trailing steps."""
    from diffusers import EulerAncestralDiscreteScheduler

    _write_xl(folder, EulerAncestralDiscreteScheduler(**SD_BETAS, timestep_spacing="trailing"))


def _pixel_unet() -> Any:
    from diffusers import UNet2DModel

    network = UNet2DModel(
        sample_size=16,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=None,
        norm_num_groups=8,
        norm_eps=1e-6,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )
    return _contrasted(network, "conv_out")


def write_ddpm(folder: Path) -> None:
    """ddpm-cifar10-32: everything in the root, old names of the attention layers."""
    from diffusers import DDPMPipeline, DDPMScheduler
    from safetensors.torch import load_file, save_file

    DDPMPipeline(_pixel_unet(), DDPMScheduler(variance_type="fixed_large")).save_pretrained(folder)
    for file in (*(folder / "unet").iterdir(), *(folder / "scheduler").iterdir()):
        shutil.move(file, folder)
    (folder / "unet").rmdir()
    (folder / "scheduler").rmdir()
    weights = folder / "diffusion_pytorch_model.safetensors"
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    state = load_file(weights)
    for new, former in old.items():
        state = {name.replace(new, former): tensor for name, tensor in state.items()}
    save_file(state, weights, metadata={"format": "pt"})


def write_ddim(folder: Path) -> None:
    """A DDIMPipeline with its components in folders."""
    from diffusers import DDIMPipeline, DDIMScheduler

    DDIMPipeline(_pixel_unet(), DDIMScheduler(clip_sample=True)).save_pretrained(folder)


WRITERS: dict[str, Callable[[Path], None]] = {
    "sd15": write_sd15,
    "sd21": write_sd21,
    "lcm": write_lcm,
    "sdxl": write_sdxl,
    "sdxl_no_zeros": write_sdxl_no_zeros,
    "turbo": write_turbo,
    "ddpm": write_ddpm,
    "ddim": write_ddim,
}


def write(name: str, folder: Path) -> Path:
    """A checkpoint of that kind in a folder of its name; equal weights every time."""
    torch.manual_seed(0)
    WRITERS[name](folder / name)
    return folder / name
