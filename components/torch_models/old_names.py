"""Names of the reference library's networks that old scripts use and that compute nothing: sizes, switches, options."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from components.torch_models.saving import FORMAT_VERSION, save_config
from components.without_effect import QUICK, WithoutEffect

WITHOUT_EFFECT = WithoutEffect(
    {
        "enable_gradient_checkpointing": "activations are kept: training takes more memory, its gradients are the same",
        **dict.fromkeys(
            (
                "enable_xformers_memory_efficient_attention",
                "set_use_memory_efficient_attention_xformers",
                "set_attention_slice",
                "set_attention_backend",
                "set_attn_processor",
                "fuse_qkv_projections",
            ),
            QUICK,
        ),
    },
    (
        "disable_gradient_checkpointing",
        "disable_xformers_memory_efficient_attention",
        "disable_freeu",
        "reset_attention_backend",
        "set_default_attn_processor",
        "unfuse_qkv_projections",
    ),
    logging.getLogger(__name__),
)


class OldNames(nn.Module):
    """An option of the configuration reads as an attribute too: `unet.in_channels`."""

    config: Any
    config_name = "config.json"
    is_gradient_checkpointing = False

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            config: Mapping[str, Any] = self.__dict__.get("config") or {}
            if name in WITHOUT_EFFECT:
                return WITHOUT_EFFECT.method(name)
            if not name.startswith("_") and name in config:
                return config[name]
            raise

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers are learned; `exclude_embeddings` leaves out those of nn.Embedding."""
        left_out = {
            id(weight)
            for module in self.modules()
            if exclude_embeddings and isinstance(module, nn.Embedding)
            for weight in module.parameters()
        }
        kept = (weight for weight in self.parameters() if id(weight) not in left_out)
        return sum(weight.numel() for weight in kept if weight.requires_grad or not only_trainable)

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """Bytes of the parameters, and of the buffers."""
        tensors: list[Tensor] = [*self.parameters(), *(self.buffers() if return_buffers else ())]
        return sum(tensor.nbytes for tensor in tensors)

    def to_json_string(self) -> str:
        content = {"_class_name": type(self).__name__, "_diffusers_version": FORMAT_VERSION, **self.config.to_dict()}
        return json.dumps(content, indent=2, sort_keys=True) + "\n"

    def to_json_file(self, path: str | Path) -> None:
        Path(path).write_text(self.to_json_string(), encoding="utf-8")

    def save_config(self, folder: str | Path, **_: Any) -> None:
        """Write `config.json` alone."""
        save_config(Path(folder), type(self).__name__, self.config.to_dict())


def refuse(who: str, arguments: Mapping[str, Any]) -> None:
    """Arguments of a call that are not served must be absent, or empty. Raises ValueError, naming all that are not."""
    given = [name for name, value in arguments.items() if value is not None and value != {}]
    if given:
        raise ValueError(f"{who}: {', '.join(given)}: not served here; leave them out.")
