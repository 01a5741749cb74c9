"""A tiny Stable Diffusion checkpoint with random weights, written by the reference library, for the tests here."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_family import SD_BETAS, unet, write_stable_diffusion

from runner.execute import RunResult
from runner.outputs import read_pixels


def write_tiny_checkpoint(folder: Path, **scheduler: Any) -> Path:
    """unet, vae (factor 4), text encoder, byte tokenizer and scheduler in the diffusers layout, about 1 MB."""
    from diffusers import PNDMScheduler

    torch.manual_seed(0)
    options = {**SD_BETAS, "set_alpha_to_one": False, "skip_prk_steps": True, "clip_sample": False}
    write_stable_diffusion(folder / "checkpoint", unet(), PNDMScheduler.from_config(options | scheduler))
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
