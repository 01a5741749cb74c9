"""Writes trained networks as a Stable Diffusion checkpoint folder in the diffusers layout, float16 safetensors.

Plain file names (no variant), no safety checker. Does not train and does not load: components/checkpoint.py does.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

FORMAT_VERSION = "0.42.1"  # the release of the diffusers format these files follow

SCHEDULER: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": FORMAT_VERSION,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
    "trained_betas": None,
}
INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": FORMAT_VERSION,
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def write_bundle(
    folder: Path, modules: Mapping[str, Any], configurations: Mapping[str, Mapping[str, Any]], tokenizer: Path
) -> int:
    """Write ``vae``, ``unet`` and ``text_encoder`` of ``modules`` and the tokenizer's folder; return the bytes in all.

    ``configurations`` are those of the autoencoder and the network; the text encoder carries its own.
    """
    for name in ("vae", "unet"):
        configuration = {"_class_name": INDEX[name][1], "_diffusers_version": FORMAT_VERSION, **configurations[name]}
        _write_json(folder / name / "config.json", configuration)
        _write_weights(folder / name / "diffusion_pytorch_model.safetensors", modules[name], prefix="")
    encoder = modules["text_encoder"]
    # float32 is what a reader computes in unless told otherwise, as it does for the other two; the file stays float16.
    stated = {**encoder.config.to_diff_dict(), "architectures": ["CLIPTextModel"], "dtype": "float32"}
    _write_json(folder / "text_encoder" / "config.json", stated)
    _write_weights(folder / "text_encoder" / "model.safetensors", encoder, prefix="text_model.")
    _write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    shutil.copytree(tokenizer, folder / "tokenizer", dirs_exist_ok=True)
    _write_json(folder / "model_index.json", INDEX)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_weights(file: Path, module: nn.Module, prefix: str) -> None:
    """Every tensor as float16, under the names older readers of the format expect (``prefix`` put before, once)."""
    tensors = {}
    for name, value in module.state_dict().items():
        if not name.endswith("position_ids"):
            tensors[name if name.startswith(prefix) else prefix + name] = value.detach().half().contiguous()
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file, metadata={"format": "pt"})
