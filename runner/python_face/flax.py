"""FlaxStableDiffusionPipeline and its XL twin: the calls that Flax guides make, on the JAX backend that recipes use.

A pipeline here keeps structure, (pipeline, params) = from_pretrained(…), and a call is given the parameters. Arguments
may have a leading axis of devices, as `replicate` and `shard` of flax make it, or none: pictures are shared out over
all devices either way, and everything is compiled whether or not `jit` is asked for. Imports no torch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import components.jax_models  # noqa: F401 (says what to install where JAX is not)

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from components.checkpoint import open_checkpoint
from components.errors import CheckpointError
from components.flax_schedulers import FlaxScheduler, SchedulerState, flax_scheduler
from runner.backends.jax import Component, JaxBackend
from runner.backends.network_call import CONTEXT
from runner.bundled import checkpoint_source
from runner.conditions import Conditions
from runner.errors import Problem, RecipeError
from runner.families import Family
from runner.families.serving import find_family
from runner.families.stable_diffusion import SD, tokens
from runner.families.stable_diffusion_xl import SDXL, read_by_two
from runner.plan import size_problems
from runner.python_face.flax_arguments import Call, one_copy
from runner.python_face.images import ImagePipelineOutput, StableDiffusionPipelineOutput, check_output_type, picture
from runner.sampling import Request, sample

logger = logging.getLogger(__name__)


class FlaxDiffusionPipeline:
    """Base of the two; `FlaxDiffusionPipeline.from_pretrained` finds the class that a checkpoint asks for.

    `scheduler` may be replaced; params["scheduler"], where there is one, says whose table is run.
    """

    family: ClassVar[Family]
    """Which component does what."""

    def __init__(
        self, backend: JaxBackend, parts: Mapping[str, Any], scheduler: FlaxScheduler, flags: Mapping[str, Any]
    ) -> None:
        """`parts`: tokenizers, and networks with the shapes of parameters in their places. See `from_pretrained`."""
        self._backend, self._parts, self._flags = backend, dict(parts), flags
        self.scheduler = scheduler

    @classmethod
    def from_pretrained(
        cls,
        repo: str | Path,
        *,
        scheduler: FlaxScheduler | None = None,
        dtype: Any = None,
        revision: str | None = None,
        variant: str | None = None,
        from_pt: bool = False,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        safety_checker: None = None,
        use_memory_efficient_attention: bool = False,
        split_head_dim: bool = False,
    ) -> tuple[Self, dict[str, Any]]:
        """(pipeline, params): the checkpoint's networks, and their parameters on every device.

        Args:
            repo: folder, hub id `org/name`, or `demo:shapes`, which ships with the program.
            scheduler: of a Flax class, in place of the checkpoint's.
            dtype: of the parameters, and so of the computation; float32 where nothing is said.
            revision: such as "bf16", whose files Flax saved; torch's files are read as well, and come first.
            from_pt: also accept torch's pickle files, for which torch is imported.
            safety_checker, use_memory_efficient_attention, split_head_dim: taken so that old scripts run.

        Raises:
            CheckpointError, RecipeError (both ValueErrors): something is absent or does not fit.
        """
        checkpoint = open_checkpoint(
            checkpoint_source(str(repo)),
            revision=revision,
            variant=variant,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            allow_pickle=from_pt,
        )
        made = _class_for(checkpoint, cls)
        if not isinstance(scheduler, FlaxScheduler | None):
            raise TypeError(
                f"scheduler is a {type(scheduler).__name__}; expected a Flax one, such as FlaxDDIMScheduler"
            )
        backend = JaxBackend("auto", jnp.dtype(dtype or jnp.float32).name, threads=None)
        if scheduler is None:
            files = checkpoint.component("scheduler")
            scheduler, _ = flax_scheduler(f"Flax{files.class_name}").from_config(files.config)
        loaded = {
            name: backend.load(made.family.role(name), checkpoint.component(name))
            for name in made.family.components
            if name not in made.family.optional or name in checkpoint.component_names
        }
        flags = {name: value for name, value in checkpoint.index.items() if isinstance(value, bool)}
        params = {name: part.parameters for name, part in loaded.items() if isinstance(part, Component)}
        pipeline = made(backend, {name: _emptied(part) for name, part in loaded.items()}, scheduler, flags)
        return pipeline, params | {"scheduler": scheduler.create_state()}  # type: ignore[return-value]

    def numpy_to_pil(self, images: np.ndarray) -> list[Any]:
        """Images (B, H, W, C) or (H, W, C) in [0, 1] to PIL pictures."""
        images = np.asarray(images, np.float32)
        return [picture(image) for image in (images if images.ndim == 4 else images[None])]

    def _read(self, prompt: str | Sequence[str], tokenizer: str) -> np.ndarray:
        """Token ids (B, L) of a text or several; says what did not fit."""
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not texts or not all(isinstance(text, str) for text in texts):
            raise RecipeError([Problem("prompt", f"must be text or a list of texts, but is {prompt!r}")])
        rows = [tokens(self._parts[tokenizer], text, "prompt", logger.warning)[0] for text in texts]
        return np.concatenate(rows).astype(np.int32)

    # ---- a call ----------------------------------------------------------------------------------------------------

    def _conditions(
        self, parts: Mapping[str, Any], ids: Array, negative: Array | None, size: tuple[int, int]
    ) -> Conditions:
        """What the token ids (B, …) of prompts and negative prompts say to the network."""
        raise NotImplementedError

    def _draw(
        self,
        prompt_ids: Any,
        params: Mapping[str, Any],
        prng_seed: Array,
        steps: int,
        size: tuple[int | None, int | None],
        guidance_scale: Any,
        latents: Array | None,
        neg_prompt_ids: Any,
        latent: bool = False,
    ) -> Array:
        """Images (B, H, W, C) in [0, 1], or latents (B, C, h, w); with an axis of devices in front if ids have it."""
        backend, layout = self._backend, self._backend.layout
        configs = {name: part.config for name, part in self._parts.items() if isinstance(part, Component)}
        height, width = (asked or usual for asked, usual in zip(size, self.family.size(configs), strict=True))
        factor = self.family.latents(configs).factor
        shape = (self.family.latents(configs).channels, height // factor, width // factor)
        if problems := [
            *size_problems({"height": height, "width": width}, factor),
            *self.family.misfits(None, configs),
        ]:
            raise RecipeError(problems)
        call = Call.of(prompt_ids, neg_prompt_ids, prng_seed, latents, guidance_scale, self._ids_axes, shape, layout)
        table = self.family.at_home(self._plain_scheduler(params)).tableau(steps)  # type: ignore[arg-type]
        parts = {name: self._filled(name, params) for name in self._parts}
        conditions = self._conditions(parts, call.ids, call.negative, (height, width))
        guidance = self.family.guidance(call.guidance_scale, 0.0, configs)
        noise = call.noise(shape, table, layout)
        done = sample(backend, self.family, parts, Request(table, conditions, guidance, noise))
        drawn = done.latents if latent else done.images.transpose(0, 2, 3, 1)
        return drawn if call.groups is None else drawn.reshape(call.groups, -1, *drawn.shape[1:])

    def _filled(self, name: str, params: Mapping[str, Any]) -> Any:
        """A network with the parameters that a call brings; a tokenizer as it is."""
        part = self._parts[name]
        if not isinstance(part, Component):
            return part
        return replace(part, parameters=one_copy(name, params, part.parameters, self._backend.layout))

    _ids_axes: ClassVar[int]
    """Axes of the token ids of a batch."""

    def _plain_scheduler(self, params: Mapping[str, Any]) -> Any:
        state = params.get("scheduler")
        return state.scheduler.plain if isinstance(state, SchedulerState) else self.scheduler.plain


class FlaxStableDiffusionPipeline(FlaxDiffusionPipeline):
    """Stable Diffusion 1.x and 2.x, and latent consistency. No safety checker is run."""

    family = SD
    _ids_axes = 2

    def prepare_inputs(self, prompt: str | Sequence[str]) -> np.ndarray:
        """Token ids (B, 77), to be given to a call."""
        return self._read(prompt, "tokenizer")

    def __call__(
        self,
        prompt_ids: Any,
        params: Mapping[str, Any],
        prng_seed: Array,
        num_inference_steps: int = 50,
        height: int | None = None,
        width: int | None = None,
        guidance_scale: Any = 7.5,
        latents: Array | None = None,
        neg_prompt_ids: Any = None,
        return_dict: bool = True,
        jit: bool = False,
    ) -> Any:
        """Pictures: `.images` (B, H, W, 3) in [0, 1], or (devices, b, H, W, 3) where the ids have an axis of devices.

        Args:
            prompt_ids: (B, L) or (devices, b, L), of `prepare_inputs`.
            params: of `from_pretrained`, with or without a leading axis of devices.
            prng_seed: a key of jax.random, or one for each device, or one for each picture.
            guidance_scale: one number, or one for each picture.
            latents: (B, C, h, w) of unit variance, to start from instead of a draw.
            neg_prompt_ids: of what the pictures shall not show; None: of the empty text.

        Raises:
            ValueError: arguments that cannot work, told before anything is computed.
        """
        size = (height, width)
        images = self._draw(
            prompt_ids, params, prng_seed, num_inference_steps, size, guidance_scale, latents, neg_prompt_ids
        )
        return StableDiffusionPipelineOutput(images) if return_dict else (images, None)

    def _conditions(
        self, parts: Mapping[str, Any], ids: Array, negative: Array | None, size: tuple[int, int]
    ) -> Conditions:
        absent = self._read("", "tokenizer") if negative is None else negative
        positive, without = (
            self._backend.encode_text(parts["text_encoder"], np.asarray(i), None, None) for i in (ids, absent)
        )
        return Conditions({CONTEXT: positive}, {CONTEXT: without})


class FlaxStableDiffusionXLPipeline(FlaxDiffusionPipeline):
    """Stable Diffusion XL."""

    family = SDXL
    _ids_axes = 3

    def prepare_inputs(self, prompt: str | Sequence[str]) -> np.ndarray:
        """Token ids (B, 2, 77) as each text encoder reads them, to be given to a call."""
        return np.stack([self._read(prompt, name) for name in ("tokenizer", "tokenizer_2")], axis=1)

    def __call__(
        self,
        prompt_ids: Any,
        params: Mapping[str, Any],
        prng_seed: Array,
        num_inference_steps: int = 50,
        guidance_scale: Any = 7.5,
        height: int | None = None,
        width: int | None = None,
        latents: Array | None = None,
        neg_prompt_ids: Any = None,
        return_dict: bool = True,
        output_type: str | None = None,
        jit: bool = False,
    ) -> Any:
        """As `FlaxStableDiffusionPipeline`'s, with ids (B, 2, L) or (devices, b, 2, L).

        Args:
            neg_prompt_ids: None stands for zeros.
            output_type: "latent" returns latents (B, C, h, w) instead of pictures.
        """
        if output_type is not None:
            check_output_type(output_type, ("np", "latent"))
        images = self._draw(
            prompt_ids,
            params,
            prng_seed,
            num_inference_steps,
            (height, width),
            guidance_scale,
            latents,
            neg_prompt_ids,
            latent=output_type == "latent",
        )
        return ImagePipelineOutput(images) if return_dict else (images,)

    def _conditions(
        self, parts: Mapping[str, Any], ids: Array, negative: Array | None, size: tuple[int, int]
    ) -> Conditions:
        encoders = [parts["text_encoder"], parts["text_encoder_2"]]

        def read(ids: Array) -> dict[str, Any]:
            both = np.asarray(ids)
            return read_by_two(self._backend, encoders, [both[:, 0], both[:, 1]], None)

        positive = read(ids)
        without = {name: array * 0 for name, array in positive.items()} if negative is None else read(negative)
        positive["time_ids"] = np.asarray([[*size, 0, 0, *size]], np.float32)
        return Conditions(positive, without)


def _emptied(part: Any) -> Any:
    """A network with shapes in the places of its parameters, which calls bring; anything else as it is."""
    if not isinstance(part, Component):
        return part
    return replace(
        part, parameters=jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), part.parameters)
    )


def _class_for(checkpoint: Any, asked: type[FlaxDiffusionPipeline]) -> type[FlaxDiffusionPipeline]:
    """The class here that serves a checkpoint's pipeline. Raises CheckpointError, RecipeError."""
    family = find_family(checkpoint)
    known: list[type[FlaxDiffusionPipeline]] = [FlaxStableDiffusionPipeline, FlaxStableDiffusionXLPipeline]
    found = next((cls for cls in known if cls.family is family), None)
    if found is None or not issubclass(found, asked):
        wanted = " or ".join(cls.__name__ for cls in known if issubclass(cls, asked))
        raise CheckpointError(f"{checkpoint.source} is a {checkpoint.index['_class_name']}, which {wanted} cannot run.")
    return found
