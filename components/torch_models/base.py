"""What every torch network here has in common: a recorded configuration, loading and saving."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch

from components.checkpoint import open_checkpoint
from components.component_files import ComponentFiles
from components.config_values import ModelConfig
from components.errors import CheckpointError
from components.loading_arguments import check_loading, mapped_device
from components.torch_models.loading import load_state
from components.torch_models.old_names import OldNames
from components.torch_models.saving import save_config, save_weights

M = TypeVar("M", bound="Model")


class Model(OldNames):
    """A network built from a `ModelConfig`, given whole or as keyword options. `config` is that configuration."""

    config_class: ClassVar[type[ModelConfig]]
    config: Any

    def __init__(self, config: ModelConfig | None = None, /, **options: Any) -> None:
        super().__init__()
        self.config = self.config_class.from_options(**options) if config is None else config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A randomly initialised network; equal torch seeds give equal weights.

        Raises:
            ValueError: the configuration is of another class, or has a value that is not supported.
        """
        if isinstance(config, cls.config_class):
            return cls(config)
        return cls(cls.config_class.from_dict(config))

    @classmethod
    def from_pretrained(
        cls,
        repo: str | Path,
        *,
        subfolder: str | None = None,
        variant: str | None = None,
        revision: str | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device: str | torch.device = "cpu",
        use_safetensors: bool | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        device_map: Any = None,
        output_loading_info: bool = False,
        **older: Any,
    ) -> Self:
        """The network of a folder or hub repository, in eval mode.

        Args:
            repo: folder, or hub id `org/name`; in the cache it is used without the network.
            subfolder: folder of the network inside it, such as "unet".
            variant: such as "fp16"; it must be there.
            dtype: of the loaded weights, float32 by default whatever the file has (`torch_dtype`: its older name);
                "auto" is what the file has.
            use_safetensors: False also accepts pickle files, read with torch's weights-only loader.
            device_map: one device, as `device`.
            output_loading_info: also return what did not fit, which is nothing: what does not fit is an error.
            older: what changes nothing here (components/loading_arguments.py); anything else is refused.

        Raises:
            TypeError: an argument that there is not, or that asks for what is not served.
            CheckpointError: something is absent, damaged or does not fit; the message names the file and the tensors.
        """
        check_loading(cls.__name__, older, ("subfolder", "variant", "torch_dtype", "use_safetensors", "device_map"))
        place = mapped_device(device_map)
        checkpoint = open_checkpoint(
            repo,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            allow_pickle=use_safetensors is False,
            need_index=False,
        )
        files = checkpoint.component(None, subfolder=subfolder or "", variant=variant)
        model = load_model(cls, files, device=device if place is None else place, dtype=dtype or torch_dtype)
        if not output_loading_info:
            return model
        nothing = {name: [] for name in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")}
        return model, nothing  # type: ignore[return-value] - only those who ask for a pair get one

    def save_pretrained(
        self,
        folder: str | Path,
        is_main_process: bool = True,
        *,
        variant: str | None = None,
        max_shard_size: int | str = "10GB",
        safe_serialization: bool = True,
        push_to_hub: bool = False,
    ) -> None:
        """Write `config.json` and safetensors, each to a temporary name first and then renamed.

        `is_main_process` False writes nothing: another process does.

        Files of an earlier save of the same variant are replaced, whatever their number of shards; other variants stay.

        Raises:
            CheckpointError: `folder` is a file.
        """
        if not safe_serialization or push_to_hub:
            raise ValueError("only safetensors are written, and nothing is uploaded: leave those arguments out")
        if not is_main_process:
            return
        folder = Path(folder)
        save_config(folder, type(self).__name__, self.config.to_dict())
        save_weights(folder, self.state_dict(), variant=variant, max_shard_size=max_shard_size)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def load_model(
    model: type[M] | M,
    files: ComponentFiles,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
) -> M:
    """A model class, or a model on the meta device, filled with a component's weights, in eval mode.

    Raises:
        CheckpointError: the configuration is not supported or of another class, or the weights do not fit it.
    """
    if isinstance(model, type):
        try:
            with torch.device("meta"):
                model = model.from_config(files.config)
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{files.config_path}: {error}") from None
    load_state(model, files, device=device, dtype=dtype)
    return model.eval()
