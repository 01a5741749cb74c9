"""DiffusionPipeline: components that belong together, loaded, moved, exchanged, saved, and asked for pictures.

What the components do is said in runner/families, how it is computed in runner/backends; here is the object around
them. Each class of this folder adds the arguments that its kind of call takes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from components.loading_arguments import check_loading, mapped_device
from components.schedulers.base import Scheduler
from components.torch_models.offload import Offload
from runner.errors import nearest
from runner.families import Family
from runner.plan import index_flags
from runner.python_face.denoising import Denoising
from runner.python_face.loading import UNUSED, load_components, open_pipeline, save_components
from runner.python_face.old_names import WITHOUT_EFFECT, OldNames
from runner.python_face.placement import Placement
from runner.python_face.wrapped import unwrapped

logger = logging.getLogger(__name__)

ARGUMENTS = ("torch_dtype", "variant", "revision", "use_safetensors", "cache_dir", "local_files_only", "device_map")
Dtype = torch.dtype | str | Mapping[str, Any] | None


class DiffusionPipeline(Denoising, Placement, OldNames):
    """Base of the pipelines; `DiffusionPipeline.from_pretrained` finds the class that a checkpoint asks for.

    Components are attributes: `pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)`.
    """

    family: ClassVar[Family]
    """Which component does what."""
    FLAGS: ClassVar[Mapping[str, Any]] = {}
    """Settings that model_index.json keeps beside the components, with their defaults."""
    ORDER: ClassVar[tuple[str, ...]] = ()
    """Components and settings as the reference library's constructor takes them by position."""

    def __init__(self, *positional: Any, **components: Any) -> None:
        """All components, best by keyword; those that can be absent may be None or left out. Raises TypeError.

        Text encoders and tokenizers may be None: then calls take embeddings instead of prompts.
        """
        cls = type(self)
        components |= dict(zip(cls.ORDER, positional, strict=False))
        if cls is DiffusionPipeline:
            raise TypeError("DiffusionPipeline stands for any pipeline: use from_pretrained, or a pipeline's own class")
        known = (*cls.family.components, "scheduler", *UNUSED, *cls.FLAGS)
        for name in components:
            if name not in known:
                meant = nearest(name, known)
                hint = f" Did you mean {meant!r}?" if meant else ""
                raise TypeError(f"{cls.__name__} has no component {name!r}.{hint} It has: {', '.join(known)}.")
        for name in UNUSED:
            setattr(self, name, components.pop(name, None))
        self._offload: Offload | None = None
        self.flags = {name: components.pop(name, default) for name, default in cls.FLAGS.items()}
        self._components: dict[str, Any] = {}
        needed = (*cls.family.components, "scheduler")
        may_be_none = {*cls.family.optional, *(name for name in cls.family.encoders if name in components)}
        absent = [name for name in needed if components.get(name) is None and name not in may_be_none]
        if absent:
            raise TypeError(f"{cls.__name__} needs {', '.join(absent)} as well.")
        for name in needed:
            setattr(self, name, components.get(name))
        self.scheduler = self._at_home(self.scheduler)
        self._bar_options: dict[str, Any] = {}

    def _at_home(self, scheduler: Scheduler) -> Scheduler:
        """The scheduler with what this family expects of one, whatever its file says."""
        return self.family.at_home(scheduler)

    @classmethod
    def from_pretrained(
        cls,
        repo: str | Path,
        *,
        torch_dtype: Dtype = None,
        dtype: Dtype = None,
        variant: str | None = None,
        revision: str | None = None,
        use_safetensors: bool | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        device_map: Any = None,
        output_loading_info: bool = False,
        **components: Any,
    ) -> Self:
        """A checkpoint's pipeline, on the CPU.

        Args:
            repo: folder, hub id `org/name`, or `demo:shapes`, which ships with the program.
            torch_dtype: of the networks (also `dtype`), or one for each component by name, with a "default"; float32
                where nothing is said, whatever the files have; "auto" is what they have.
            variant: such as "fp16"; components that lack it do without, but one at least must have it.
            use_safetensors: False also accepts pickle files, read with torch's weights-only loader.
            device_map: one device for all networks, instead of `.to(…)` afterwards.
            output_loading_info: taken so that old scripts run, as are others (components/loading_arguments.py).
            components: made elsewhere, taken instead of the checkpoint's: `scheduler=…`, `unet=…`.

        Raises:
            TypeError: an argument that there is not, or that asks for what is not served.
            CheckpointError, RecipeError (both ValueErrors): something is absent or does not fit; no such pipeline.
        """
        place = mapped_device(device_map)
        checkpoint, own = open_pipeline(
            repo,
            components,
            revision=revision,
            variant=variant,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            allow_pickle=use_safetensors is False,
        )
        made = own if cls is DiffusionPipeline else cls
        known = (*made.family.components, "scheduler", *UNUSED, *made.FLAGS)
        others = {name: value for name, value in components.items() if name not in known}
        check_loading(made.__name__, others, (*known, *ARGUMENTS), "component")
        components = {name: value for name, value in components.items() if name in known}
        given = {name: made._checked(name, value) for name, value in components.items() if value is not None}
        flags = {name: value for name, value in index_flags(checkpoint).items() if name in made.FLAGS}
        absent = [name for name, value in components.items() if value is None]
        wanted = [name for name in (*made.family.components, "scheduler") if name not in components]
        loaded = load_components(made.family, checkpoint, wanted, dtype or torch_dtype)
        pipe = made(**flags | loaded | given | dict.fromkeys(absent))
        pipe.name_or_path = str(repo)
        return pipe if place is None else pipe.to(place)  # type: ignore[return-value]

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        safe_serialization: bool = True,
        push_to_hub: bool = False,
        use_flashpack: bool = False,
    ) -> None:
        """Write model_index.json and a folder for each component, in the layout of the public checkpoints."""
        for name, asked in (("safe_serialization", not safe_serialization), ("use_flashpack", use_flashpack)):
            if asked:
                raise ValueError(f"only safetensors are written: leave {name} out")
        if push_to_hub:
            raise ValueError("nothing is uploaded: leave push_to_hub out, and take huggingface_hub.upload_folder")
        parts = {name: unwrapped(part) for name, part in self._components.items()}
        save_components(
            Path(folder), type(self).__name__, parts, self._extra_index(), variant, max_shard_size or "10GB"
        )

    def _extra_index(self) -> dict[str, Any]:
        """What model_index.json has beside the components."""
        return {name: [None, None] for name in self.ORDER if name in UNUSED}

    # ---- components ------------------------------------------------------------------------------------------------

    @property
    def components(self) -> dict[str, Any]:
        """The components by name, for another pipeline around the same ones: `Pipeline(**pipe.components)`."""
        return {name: getattr(self, name) for name in self.ORDER if name not in self.FLAGS}

    def __getattr__(self, name: str) -> Any:
        components = self.__dict__.get("_components", {})
        if name in components:
            return components[name]
        return self._old_name(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._components, *WITHOUT_EFFECT})

    def __setattr__(self, name: str, value: Any) -> None:
        if name in (*self.family.components, "scheduler"):
            self._components[name] = self._checked(name, value)
            offload: Offload | None = self.__dict__.get("_offload")
            if offload and isinstance(value, nn.Module):
                offload.add(value.to("cpu"))
            return
        if name in UNUSED and value is not None:
            logger.warning("%s does not run the %s it was given.", type(self).__name__, name)
        super().__setattr__(name, value)

    @classmethod
    def _checked(cls, name: str, component: Any) -> Any:
        """A component of the kind its name promises. Raises TypeError."""
        expected = {model: class_name for model, (class_name, _) in cls.family.models.items()}.get(name)
        network = unwrapped(component)
        is_what = type(network).__name__
        if name == "scheduler" and not isinstance(component, Scheduler):
            raise TypeError(f"scheduler is a {is_what}; expected a scheduler of this library: from runner import …")
        if expected and type(network).__module__.partition(".")[0] == "diffusers":
            raise TypeError(
                f"{name} is of the diffusers library; expected a {expected} of this one: from runner import …"
            )
        if expected and is_what != expected:
            raise TypeError(f"{name} is a {is_what}; expected a {expected}")
        return component

    def __repr__(self) -> str:
        shown = {name: type(part).__name__ for name, part in self._components.items() if part is not None}
        return f"{type(self).__name__} {json.dumps(shown | self._extra_index(), indent=2, sort_keys=True)}"
