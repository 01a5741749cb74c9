"""Names of the reference library's pipelines that old scripts use, beside loading, moving and calling.

Three kinds: served here or by the other parts of a pipeline; taken without effect; and refused by name, with what to do
instead. A test holds the three to be all of the reference library's public names.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from components.checkpoint import open_checkpoint
from components.schedulers.base import Scheduler
from components.schedulers.config import Config
from components.torch_models.saving import FORMAT_VERSION
from components.without_effect import QUICK, WithoutEffect
from runner.backends.torch_guidance import guidance_embedding
from runner.bundled import checkpoint_source
from runner.families import Family
from runner.python_face.images import ImageProcessor, picture
from runner.python_face.wrapped import unwrapped

WITHOUT_EFFECT = WithoutEffect(
    dict.fromkeys(
        (
            "enable_attention_slicing",
            "enable_xformers_memory_efficient_attention",
            "set_attention_slice",
            "set_use_memory_efficient_attention_xformers",
            "fuse_qkv_projections",
        ),
        QUICK,
    ),
    (
        "disable_attention_slicing",
        "disable_freeu",
        "disable_lora",
        "disable_xformers_memory_efficient_attention",
        "remove_all_hooks",
        "reset_device_map",
        "unfuse_lora",
        "unfuse_qkv_projections",
        "unload_ip_adapter",
        "unload_lora_weights",
        "unload_textual_inversion",
    ),
    logging.getLogger(__name__),
)

LORA = "LoRA weights are not served: merge them into the checkpoint's weights first, and load what comes of it"
IP_ADAPTER = "image prompts (IP-Adapter) are not served"
REFUSED = {
    **dict.fromkeys(
        (
            "delete_adapters",
            "enable_lora",
            "enable_lora_hotswap",
            "fuse_lora",
            "get_active_adapters",
            "get_list_adapters",
            "load_lora_into_text_encoder",
            "load_lora_into_unet",
            "load_lora_weights",
            "lora_scale",
            "lora_state_dict",
            "pack_weights",
            "save_lora_weights",
            "set_adapters",
            "set_lora_device",
            "write_lora_layers",
        ),
        LORA,
    ),
    **dict.fromkeys(
        ("encode_image", "load_ip_adapter", "prepare_ip_adapter_image_embeds", "set_ip_adapter_scale"), IP_ADAPTER
    ),
    "load_textual_inversion": "learned words (textual inversion) are not served",
    "enable_freeu": "FreeU is not served",
    "enable_group_offload": "take enable_sequential_cpu_offload(), which moves layer by layer",
    "run_safety_checker": "no safety checker is run",
    "check_inputs": "a call checks its arguments itself, before it computes anything",
    "from_pipe": "make it of the parts: StableDiffusionPipeline(**pipe.components)",
    "from_config": "a pipeline is made by from_pretrained, or of its components by keyword",
    "from_single_file": "a checkpoint in one file is not read: convert it to the layout with model_index.json first",
    "download": "take huggingface_hub.snapshot_download, and give the folder to from_pretrained",
    "push_to_hub": "nothing is uploaded: save_pretrained(folder), then huggingface_hub.upload_folder",
    "register_for_auto_class": "code of the community is not run",
    "extract_init_dict": "pipe.config is the configuration, pipe.components are the components",
    "get_config_dict": "load_config reads a checkpoint's model_index.json",
}
"""Names that cannot be served, and what to do instead."""


class NotServed(AttributeError, NotImplementedError):
    """A name of the reference library that this one does not serve; the message says what to do instead."""


class OldNames:
    """The part of a pipeline that old scripts find by name."""

    scheduler: Scheduler
    unet: Any
    vae: Any
    device: torch.device
    dtype: torch.dtype
    flags: dict[str, Any]
    family: ClassVar[Family]
    components: Any
    _bar_options: dict[str, Any]
    _configs: Callable[[], Mapping[str, Any]]
    _extra_index: Callable[[], dict[str, Any]]

    config_name = "model_index.json"
    unet_name = "unet"
    text_encoder_name = "text_encoder"
    model_cpu_offload_seq = "text_encoder->text_encoder_2->unet->vae"
    has_compatibles = False
    ignore_for_config: ClassVar[tuple[str, ...]] = ()
    hf_device_map = None
    name_or_path: str | None = None
    num_fused_loras = 0
    fused_loras: ClassVar[frozenset[str]] = frozenset()

    def _old_name(self, name: str) -> Any:
        """What an attribute that is nothing else stands for. Raises NotServed, AttributeError."""
        if name in WITHOUT_EFFECT:
            return WITHOUT_EFFECT.method(name)
        if name in REFUSED:
            raise NotServed(f"{type(self).__name__}.{name}: {REFUSED[name]}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def from_single_file(cls, *_: Any, **__: Any) -> Any:
        """Refused."""
        raise NotServed(f"{cls.__name__}.from_single_file: {REFUSED['from_single_file']}")

    @classmethod
    def from_config(cls, *_: Any, **__: Any) -> Any:
        """Refused."""
        raise NotServed(f"{cls.__name__}.from_config: {REFUSED['from_config']}")

    @classmethod
    def download(cls, *_: Any, **__: Any) -> Any:
        """Refused."""
        raise NotServed(f"{cls.__name__}.download: {REFUSED['download']}")

    # ---- configuration ---------------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """What model_index.json would say: (library, class) of each component, and the settings beside them."""
        return Config(self._index() | {"_name_or_path": self.name_or_path})

    def _index(self) -> dict[str, Any]:
        parts = {name: _library_and_class(name, unwrapped(part)) for name, part in self.components.items()}
        return self.parameters | self._extra_index() | parts

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings beside the components."""
        return {name: value for name, value in self.flags.items() if value is not None}

    @classmethod
    def load_config(cls, repo: str | Path, **where: Any) -> dict[str, Any]:
        """The content of a checkpoint's model_index.json. Raises CheckpointError."""
        return dict(open_checkpoint(checkpoint_source(str(repo)), **where).index)

    def to_json_string(self) -> str:
        index = {"_class_name": type(self).__name__, "_diffusers_version": FORMAT_VERSION, **self._index()}
        return json.dumps(index, indent=2, sort_keys=True) + "\n"

    def to_json_file(self, path: str | Path) -> None:
        Path(path).write_text(self.to_json_string(), encoding="utf-8")

    def save_config(self, folder: str | Path, **_: Any) -> None:
        """Write model_index.json alone."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.to_json_file(Path(folder) / self.config_name)

    def register_modules(self, **components: Any) -> None:
        """Set components by name."""
        for name, part in components.items():
            setattr(self, name, part)

    def register_to_config(self, **settings: Any) -> None:
        """Set what model_index.json keeps beside the components."""
        self.flags |= settings

    # ---- pictures --------------------------------------------------------------------------------------------------

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent, along each side."""
        return self.family.latents(self._configs()).factor

    @property
    def image_processor(self) -> ImageProcessor:
        """Between the autoencoder's images in [-1, 1] and pictures."""
        return ImageProcessor(self.vae_scale_factor)

    @staticmethod
    def numpy_to_pil(images: np.ndarray) -> list[Any]:
        """Images (B, H, W, C) or (H, W, C) in [0, 1] to PIL pictures."""
        images = np.asarray(images, np.float32)
        return [picture(image) for image in (images if images.ndim == 4 else images[None])]

    def progress_bar(self, iterable: Iterable[Any] | None = None, total: int | None = None) -> Any:
        """A bar around an iterable, or one of `total` steps that the caller moves on. Raises ValueError for neither."""
        from tqdm.auto import tqdm

        if iterable is None and total is None:
            raise ValueError("progress_bar takes an iterable or a total")
        return tqdm(iterable, total=total, **self._bar_options)

    def set_progress_bar_config(self, **options: Any) -> None:
        """`disable`: whether a bar is drawn while it works (on a terminal only). The rest is for `progress_bar`."""
        self._bar_options = options


class PromptOldNames(OldNames):
    """The same of the pipelines that read prompts."""

    def maybe_convert_prompt(self, prompt: Any, tokenizer: Any) -> Any:
        """The prompt as it is: there are no learned words."""
        return prompt

    def prepare_extra_step_kwargs(self, generator: Any, eta: float) -> dict[str, Any]:
        """What `scheduler.step` of a loop of one's own takes besides output, timestep and sample."""
        takes_eta = {"eta": eta} if "eta" in self.scheduler.options() else {}
        return takes_eta | {"generator": generator}

    def prepare_latents(
        self,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        dtype: torch.dtype,
        device: torch.device | str,
        generator: Any,
        latents: Tensor | None = None,
    ) -> Tensor:
        """Latents to start a loop of one's own from: drawn, or as given, times the scheduler's first sigma."""
        if latents is None:
            factor = self.vae_scale_factor
            shape = (num_channels_latents, int(height) // factor, int(width) // factor)
            if isinstance(generator, list | tuple):
                if len(generator) != batch_size:
                    raise ValueError(f"{len(generator)} generators are given for {batch_size} images")
                latents = torch.cat([_drawn((1, *shape), one, dtype, device) for one in generator])
            else:
                latents = _drawn((batch_size, *shape), generator, dtype, device)
        return latents.to(device) * self.scheduler.init_noise_sigma

    def get_guidance_scale_embedding(
        self, w: Tensor, embedding_dim: int = 512, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """(B, embedding_dim): how distilled networks are told the guidance scales w + 1, (B,)."""
        return torch.cat([guidance_embedding(float(one), embedding_dim) for one in w]).to(dtype)

    def decode_latents(self, latents: Tensor) -> np.ndarray:
        """Pictures (B, H, W, 3) in [0, 1] of latents as the network has them."""
        with torch.no_grad():
            images = self.vae.decode(latents.to(self.dtype) / self.vae.config.scaling_factor).sample
        return (images.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()

    def upcast_vae(self) -> None:
        """The autoencoder in float32."""
        self.vae.to(torch.float32)


def _drawn(shape: tuple[int, ...], generator: Any, dtype: torch.dtype, device: Any) -> Tensor:
    place = device if generator is None else generator.device
    return torch.randn(shape, generator=generator, dtype=dtype, device=place).to(device)


def _library_and_class(name: str, part: Any) -> tuple[str | None, str | None]:
    if part is None:
        return None, None
    return "transformers" if name.startswith(("text_encoder", "tokenizer")) else "diffusers", type(part).__name__
