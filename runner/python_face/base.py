"""DiffusionPipeline: components that belong together, loaded, moved, exchanged, saved, and asked for pictures.

What the components do is said in runner/pipelines, how it is computed in runner/backends; here is the object around
them. Each class of this folder adds the arguments that its kind of call takes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from components.schedulers.base import Scheduler
from components.torch_models.offload import Kind, Offload
from runner.backends.base import Change, Conditioning, Guidance
from runner.backends.torch import TorchBackend, pick_device
from runner.backends.torch_noise import GeneratorNoise
from runner.errors import Problem, RecipeError, nearest
from runner.pipelines.base import at_home
from runner.plan import index_flags
from runner.progress import Progress
from runner.python_face.loading import load_components, open_pipeline, save_components

logger = logging.getLogger(__name__)

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
Generators = torch.Generator | Sequence[torch.Generator] | None


class DiffusionPipeline:
    """Base of the pipelines; `DiffusionPipeline.from_pretrained` finds the class that a checkpoint asks for.

    Components are attributes: `pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)`.
    """

    kind: ClassVar[ModuleType]
    """The module of runner.pipelines that says which component does what."""
    FLAGS: ClassVar[Mapping[str, Any]] = {}
    """Settings that model_index.json keeps beside the components, with their defaults."""

    def __init__(self, **components: Any) -> None:
        """All components by keyword; those that can be absent may be None or left out. Raises TypeError."""
        cls = type(self)
        if cls is DiffusionPipeline:
            raise TypeError("DiffusionPipeline stands for any pipeline: use from_pretrained, or a pipeline's own class")
        known = (*cls.kind.COMPONENTS, "scheduler", *UNUSED, *cls.FLAGS)
        for name in components:
            if name not in known:
                meant = nearest(name, known)
                hint = f" Did you mean {meant!r}?" if meant else ""
                raise TypeError(f"{cls.__name__} has no component {name!r}.{hint} It has: {', '.join(known)}.")
        for name in UNUSED:
            if components.pop(name, None) is not None:
                logger.warning("%s does not run the %s it was given.", cls.__name__, name)
        self._offload: Offload | None = None
        self.flags = {name: components.pop(name, default) for name, default in cls.FLAGS.items()}
        self._components: dict[str, Any] = {}
        needed = (*cls.kind.COMPONENTS, "scheduler")
        absent = [name for name in needed if components.get(name) is None and name not in cls.kind.OPTIONAL]
        if absent:
            raise TypeError(f"{cls.__name__} needs {', '.join(absent)} as well.")
        for name in needed:
            setattr(self, name, components.get(name))
        self.scheduler = self._at_home(self.scheduler)
        self._show_progress = True

    def _at_home(self, scheduler: Scheduler) -> Scheduler:
        """The scheduler with what this family expects of one, whatever its file says."""
        return at_home(self.kind, scheduler)

    @classmethod
    def from_pretrained(
        cls,
        repo: str | Path,
        *,
        torch_dtype: torch.dtype | str | Mapping[str, Any] | None = None,
        dtype: torch.dtype | str | Mapping[str, Any] | None = None,
        variant: str | None = None,
        revision: str | None = None,
        use_safetensors: bool | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        low_cpu_mem_usage: bool = True,
        **components: Any,
    ) -> Self:
        """A checkpoint's pipeline, on the CPU.

        Args:
            repo: folder, hub id `org/name`, or `demo:shapes`, which ships with the program.
            torch_dtype: of the networks (also `dtype`), or one for each component by name, with a "default"; float32
                where nothing is said, whatever the files have.
            variant: such as "fp16"; components that lack it do without, but one at least must have it.
            use_safetensors: False also accepts pickle files, read with torch's weights-only loader.
            low_cpu_mem_usage: loading is always frugal; accepted so that old scripts run.
            components: made elsewhere, taken instead of the checkpoint's: `scheduler=…`, `unet=…`.

        Raises:
            CheckpointError, RecipeError (both ValueErrors): something is absent or does not fit; no such pipeline.
        """
        checkpoint, own = open_pipeline(
            repo,
            revision=revision,
            variant=variant,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            allow_pickle=use_safetensors is False,
        )
        made = own if cls is DiffusionPipeline else cls
        given = {name: made._checked(name, value) for name, value in components.items() if value is not None}
        flags = {name: value for name, value in index_flags(checkpoint).items() if name in made.FLAGS}
        absent = [name for name, value in components.items() if value is None]
        wanted = [name for name in (*made.kind.COMPONENTS, "scheduler") if name not in components]
        loaded = load_components(made.kind, checkpoint, wanted, dtype or torch_dtype)
        return made(**flags | loaded | given | dict.fromkeys(absent))  # type: ignore[return-value]

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        variant: str | None = None,
        max_shard_size: int | str = "10GB",
        safe_serialization: bool = True,
    ) -> None:
        """Write model_index.json and a folder for each component, in the layout of the public checkpoints."""
        if not safe_serialization:
            raise ValueError("only safetensors are written: leave safe_serialization out")
        save_components(
            Path(folder), type(self).__name__, self._components, self._extra_index(), variant, max_shard_size
        )

    def _extra_index(self) -> dict[str, Any]:
        """What model_index.json has beside the components."""
        return {}

    # ---- components ------------------------------------------------------------------------------------------------

    @property
    def components(self) -> dict[str, Any]:
        """The components by name, for another pipeline around the same ones: `Pipeline(**pipe.components)`."""
        return dict(self._components)

    def __getattr__(self, name: str) -> Any:
        components = self.__dict__.get("_components", {})
        if name in components:
            return components[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in (*self.kind.COMPONENTS, "scheduler"):
            self._components[name] = self._checked(name, value)
            offload: Offload | None = self.__dict__.get("_offload")
            if offload and isinstance(value, nn.Module):
                offload.add(value.to("cpu"))
        else:
            super().__setattr__(name, value)

    @classmethod
    def _checked(cls, name: str, component: Any) -> Any:
        """A component of the kind its name promises. Raises TypeError."""
        expected = {model: class_name for model, (class_name, _) in cls.kind.MODELS.items()}.get(name)
        is_what = type(component).__name__
        if name == "scheduler" and not isinstance(component, Scheduler):
            raise TypeError(f"scheduler is a {is_what}; expected a scheduler of this library: from runner import …")
        if expected and type(component).__module__.partition(".")[0] == "diffusers":
            raise TypeError(
                f"{name} is of the diffusers library; expected a {expected} of this one: from runner import …"
            )
        if expected and is_what != expected:
            raise TypeError(f"{name} is a {is_what}; expected a {expected}")
        return component

    def to(self, *where: Any, device: Any = None, dtype: torch.dtype | None = None) -> Self:
        """Move the networks to a device, or a dtype, or both; the pipeline itself is returned."""
        for argument in where:
            if isinstance(argument, torch.dtype):
                dtype = argument
            else:
                device = argument
        if device is not None and self._offload:
            raise ValueError("the networks are moved by themselves since enable_…_cpu_offload: leave the device out")
        given: dict[str, Any] = {"device": device, "dtype": dtype}
        for component in self._components.values():
            if isinstance(component, nn.Module):
                component.to(**given)
                if component.__class__.__module__.startswith("components.") and self.device.type == "cuda":
                    component.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch declares it for parameters only
        return self

    @property
    def device(self) -> torch.device:
        """Where the networks work, though they may wait elsewhere."""
        return self._offload.device if self._offload else self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def enable_model_cpu_offload(self, device: torch.device | str = "auto") -> None:
        """Networks wait in main memory; the one at work is on the device. Raises RecipeError for a device not here."""
        self._take_turns(device, "model")

    def enable_sequential_cpu_offload(self, device: torch.device | str = "auto") -> None:
        """The same layer by layer: slow, and next to no memory on the device."""
        self._take_turns(device, "sequential")

    def _take_turns(self, device: torch.device | str, kind: Kind) -> None:
        if self._offload:
            raise ValueError(f"{type(self).__name__}: offloading is on already")
        target = pick_device("auto" if str(device) == "auto" else str(torch.device(device)))
        self.to("cpu")
        self._offload = Offload(target, kind)
        for component in self._components.values():
            if isinstance(component, nn.Module):
                self._offload.add(component)

    def enable_vae_tiling(self) -> None:
        """Decode large pictures in tiles: less memory, faint seams."""
        self.vae.enable_tiling()

    def disable_vae_tiling(self) -> None:
        self.vae.enable_tiling(False)

    def enable_vae_slicing(self) -> None:
        """Decode the pictures of a batch one by one: less memory, no other effect."""
        self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        self.vae.enable_slicing(False)

    def set_progress_bar_config(self, *, disable: bool = False, **_: Any) -> None:
        """Whether a bar is drawn while it works (on a terminal only)."""
        self._show_progress = not disable

    def __repr__(self) -> str:
        shown = {name: type(part).__name__ for name, part in self._components.items() if part is not None}
        return f"{type(self).__name__} {json.dumps(shown | self._extra_index(), indent=2, sort_keys=True)}"

    # ---- what every call does --------------------------------------------------------------------------------------

    def _backend(self) -> TorchBackend:
        dtype = str(self.dtype).removeprefix("torch.")
        return TorchBackend(str(self.device), dtype, threads=None, offload=self._offload)

    def _configs(self) -> dict[str, Any]:
        """Component name → configuration, as the modules of runner.pipelines read them."""
        configs = {name: part.config for name, part in self._components.items() if hasattr(part, "config")}
        return {name: c if isinstance(c, Mapping) else c.to_dict() for name, c in configs.items()}

    def _table(self, steps: int | None, timesteps: Any, sigmas: Any, eta: float | None) -> Any:
        """The table of this call. Raises SchedulerConfigError (a ValueError) for a schedule that cannot be run."""
        scheduler: Scheduler = self.scheduler
        run = scheduler.run
        if eta is not None and "eta" in scheduler.options():
            run = scheduler.with_run(eta=float(eta))
        lists = {
            name: None if values is None else [float(value) for value in values]
            for name, values in (("timesteps", timesteps), ("sigmas", sigmas))
        }
        listed = timesteps is not None or sigmas is not None
        return scheduler.tableau(None if listed else steps, run=run, **lists)  # type: ignore[arg-type]

    def _denoise(
        self,
        backend: TorchBackend,
        table: Any,
        shape: tuple[int, int, int, int],
        conditioning: Conditioning,
        guidance: Guidance,
        generator: Generators,
        latents: Tensor | None = None,
        after_row: Callable[[int, Tensor], Change | None] | None = None,
    ) -> Tensor:
        """Latents after the last row, (B, C, h, w) float32."""
        on_device = isinstance(_first(generator), torch.Generator) and _first(generator).device.type != "cpu"
        if generator is None:
            on_device = self.device.type != "cpu"
        row_dtype = getattr(self.scheduler, "noise_dtype", None)
        noise = GeneratorNoise(
            self._generators(generator, shape[0]),
            shape,
            device=self.device,
            # on a CPU a half-precision draw is the float32 draw rounded; elsewhere it is another stream
            draw_dtype=self.dtype if on_device else torch.float32,
            row_dtype=getattr(torch, row_dtype) if row_dtype and on_device else None,
            first=self._given_latents(latents, shape),
        )
        bar = Progress(batches=1, rows=table.rows, steps=table.steps, speak=self._show_progress)

        def after(row: int, x: Tensor) -> Change | None:
            bar.row_done(0, row, int(table.step[row]))
            return after_row(row, x) if after_row else None

        try:
            return backend.denoise(self.unet, table, noise, conditioning, guidance, after).clone()
        except StoppedByCallback as stopped:
            return stopped.latents.clone()
        finally:
            bar.close()

    def _generators(self, generator: Generators, count: int) -> Generators:
        for one in (generator,) if isinstance(generator, torch.Generator) else generator or ():
            if one.device.type not in ("cpu", self.device.type):
                what = f"a generator on {one.device} cannot draw for a pipeline on {self.device}"
                raise RecipeError([Problem("generator", what, hint="a generator on the CPU serves every device")])
        if generator is None or isinstance(generator, torch.Generator):
            return generator
        if len(generator) == 1:
            return generator[0]
        if len(generator) != count:
            what = f"{len(generator)} generators are given for {count} images"
            raise RecipeError([Problem("generator", what, hint="one for all, or one for each")])
        return generator

    def _given_latents(self, latents: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
        if latents is None:
            return None
        if tuple(latents.shape) != shape:
            what = f"the shape is {list(latents.shape)}, but this call takes {list(shape)}"
            raise RecipeError([Problem("latents", what)])
        return latents


class StoppedByCallback(Exception):
    """A callback asked to stop here."""

    def __init__(self, latents: Tensor) -> None:
        super().__init__()
        self.latents = latents


def _first(generator: Generators) -> Any:
    return generator[0] if isinstance(generator, Sequence) else generator
