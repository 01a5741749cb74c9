"""A tiny Stable Diffusion checkpoint with random weights, written by the reference library, for the tests here."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from runner.execute import RunResult
from runner.outputs import read_pixels


def write_tiny_checkpoint(folder: Path, **scheduler: Any) -> Path:
    """unet, vae (factor 4), text encoder, byte tokenizer and scheduler in the diffusers layout, about 1 MB."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    source = folder / "words"
    source.mkdir(parents=True)
    (source / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (source / "merges.txt").write_text("#version: 0.2\n")
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8,
        sample_size=32,
    )
    with torch.no_grad():  # enough contrast that pictures differ when they should
        for parameter in text_encoder.parameters():
            parameter.mul_(3.0)
        for layer in (unet.conv_out, vae.decoder.conv_out):
            layer.weight.mul_(4.0)
    options = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    options |= {"set_alpha_to_one": False, "skip_prk_steps": True, "clip_sample": False}
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(source, model_max_length=77),
        unet=unet,
        scheduler=PNDMScheduler.from_config(options | scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "checkpoint")
    return folder / "checkpoint"


def altered(checkpoint: Path, folder: Path, file: str, **values: Any) -> Path:
    """A copy of a checkpoint with some values of one JSON file replaced; None removes a key."""
    copy = folder / "altered"
    shutil.copytree(checkpoint, copy)
    content = json.loads((copy / file).read_text()) | values
    (copy / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return copy


def pixels(result: RunResult) -> np.ndarray:
    """All pictures of a run, (B, H, W, 3), as signed numbers to subtract."""
    return np.stack([read_pixels(path) for path in result.images]).astype(int)
