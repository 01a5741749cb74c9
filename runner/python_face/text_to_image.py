"""What the calls of both prompt-reading pipelines share: batches of prompts, given embeddings, the loop."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from inspect import signature
from types import MappingProxyType
from typing import Any

from torch import Tensor

from components.schedulers import SchedulerConfigError
from runner.backends.base import Guidance
from runner.backends.network_call import CONTEXT
from runner.conditions import Conditions, join
from runner.errors import Problem, RecipeError
from runner.families import Wish
from runner.families.stable_diffusion_xl import FORCE_ZEROS
from runner.pictures import MAX_SIDE
from runner.plan import size_problems
from runner.python_face.arguments import (
    Call,
    Texts,
    batch_of,
    count_problems,
    latents_problems,
    problems_of,
    prompt_problems,
)
from runner.python_face.base import DiffusionPipeline
from runner.python_face.callbacks import Calling
from runner.python_face.images import StableDiffusionPipelineOutput, as_output
from runner.python_face.old_names import PromptOldNames
from runner.python_face.wrapped import unwrapped

logger = logging.getLogger(__name__)


class PromptPipeline(PromptOldNames, DiffusionPipeline):
    """Base of the pipelines that read prompts.

    Of the call under way, or the last one: `guidance_scale`, `guidance_rescale`, `clip_skip`, `num_timesteps`,
    `interrupt`, `cross_attention_kwargs`, `do_classifier_free_guidance`. A callback may set `_guidance_scale` and
    `_interrupt`.
    """

    CALLBACK_INPUTS: tuple[str, ...] = ("latents", "prompt_embeds", "negative_prompt_embeds")
    _guidance_scale: float = 0.0
    _guidance_rescale: float = 0.0
    _clip_skip: int | None = None
    _interrupt: bool = False
    _num_timesteps: int = 0
    cross_attention_kwargs: None = None

    @property
    def guidance_scale(self) -> float:
        """A callback may set `_guidance_scale` for the steps that follow."""
        return self._guidance_scale

    @property
    def guidance_rescale(self) -> float:
        return self._guidance_rescale

    @property
    def clip_skip(self) -> int | None:
        return self._clip_skip

    @property
    def num_timesteps(self) -> int:
        """Network evaluations of the call."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether a callback has asked to stop."""
        return self._interrupt

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether each row evaluates the network with and without the prompt."""
        return self._guidance_scale > 1 and unwrapped(self.unet).config.time_cond_proj_dim is None

    def _draw(self, call: Call) -> Any:
        """Images of the wanted kind, or latents. Raises RecipeError with everything that is wrong with the call."""
        configs, backend = self._configs(), self._backend()
        table = self._checked_table(call, configs)
        self._guidance_scale, self._guidance_rescale = call.guidance_scale, call.guidance_rescale
        self._clip_skip, self._interrupt, self._num_timesteps = call.wish.clip_skip, False, table.rows
        guidance = self.family.guidance(call.guidance_scale, call.guidance_rescale, configs)
        height, width = self._size(call, configs)
        wish = replace(call.wish, height=height, width=width)
        conditions = self._encoded(call.prompts, wish, guidance, call.count, call.embeds)
        channels, rows, columns = self.family.latents(configs).shape(height, width)
        if call.latents is not None:
            rows, columns = call.latents.shape[2:]
        batch = len(conditions.positive[CONTEXT])
        old, every = call.older.get("callback"), call.older.get("callback_steps") or 1
        called: dict[str, Any] = {}
        if call.callback is not None or old is not None:
            calling = Calling(self, table, conditions, guidance, call.callback, call.callback_inputs, old, every)
            called["after_row"] = calling
        shape = (batch, channels, rows, columns)
        drawn = self._sample(backend, table, shape, conditions, guidance, call.generator, call.latents, **called)
        if call.output_type == "latent":
            return drawn.latents.clone()
        return as_output(drawn.images.clone(), call.output_type)

    def _size(self, call: Call, configs: Mapping[str, Any]) -> tuple[int, int]:
        usual = self.family.size(configs)
        return call.height or usual[0], call.width or usual[1]

    def _checked_table(self, call: Call, configs: Mapping[str, Any]) -> Any:
        """The table of a call in which nothing is wrong. Raises RecipeError, SchedulerConfigError."""
        problems = list(self._problems(call, configs))
        try:
            if not any(problem.where in ("num_inference_steps", "timesteps", "sigmas") for problem in problems):
                table = self._table(call.steps, call.timesteps, call.sigmas, eta=call.eta)
        except SchedulerConfigError as error:
            if not problems:
                raise
            problems += [Problem(p.option, p.what, p.allowed, p.nearest, p.hint) for p in error.problems]
        if problems:
            raise RecipeError(problems)
        return table  # pyright: ignore[reportPossiblyUnbound] - where there is none, there are problems

    def _problems(self, call: Call, configs: Mapping[str, Any]) -> Iterator[Problem]:
        arguments = [name for name in signature(type(self).__call__).parameters if name not in ("self", "older")]
        wrong = list(problems_of(call, self.CALLBACK_INPUTS, arguments))
        factor = self.family.latents(configs).factor
        asked = {"height": call.height, "width": call.width}
        sizes = {name: value for name, value in asked.items() if value is not None}
        for name, value in sizes.items():
            wrong += count_problems(name, f"the {name} in pixels", value, most=MAX_SIDE)
        if any(problem.where in sizes for problem in wrong):
            sizes = {}
        wrong += size_problems(sizes, factor)
        if not any(problem.where in ("clip_skip", "height", "width") for problem in wrong):
            wrong += self.family.misfits(call.wish.clip_skip, configs)
        if not any(problem.where.endswith(("prompt", "embeds", "images_per_prompt")) for problem in wrong):
            count = call.batch * call.count
            height, width = self._size(call, configs)
            size = (height // factor, width // factor) if sizes else None
            wrong += self._generator_problems(call.generator, count)
            wrong += latents_problems(call.latents, count, self.family.latents(configs).channels, size)
            wrong += self._seed_problems(count)
            sound = not any(problem.where == "guidance_scale" for problem in wrong)
            guided = sound and self.family.guidance(call.guidance_scale, 0.0, configs).doubles
            wrong += self._unread(call.prompts, call.embeds, guided)
        return iter(wrong)

    def _finish(self, images: Any, return_dict: bool) -> Any:
        return StableDiffusionPipelineOutput(images) if return_dict else (images, None)

    def _encoded_alone(
        self, prompts: Mapping[str, Texts], wish: Wish, guided: bool, count: int, embeds: Mapping[str, Tensor | None]
    ) -> Conditions:
        """As `encode_prompt` gives it. Raises RecipeError."""
        wrong = list(prompt_problems(prompts, {name: value for name, value in embeds.items() if value is not None}))
        wrong += count_problems("num_images_per_prompt", "the number of images", count)
        wrong += self._unread(prompts, embeds, guided)
        if wrong:
            raise RecipeError(wrong)
        return self._encoded(prompts, wish, Guidance(2.0 if guided else 1.0), count, embeds)

    def _unread(
        self, prompts: Mapping[str, Texts], embeds: Mapping[str, Tensor | None], guided: bool
    ) -> Iterator[Problem]:
        """Texts that nobody can read here, as text encoders were taken out to save memory."""
        absent = [name for name in self.family.encoders if self._components.get(name) is None]
        absent = [name for name in absent if name not in self.family.optional]
        zeros = prompts["negative_prompt"] is None and self.flags.get(FORCE_ZEROS)
        for sign in ("", "negative_") if guided and not zeros else ("",):
            if absent and embeds.get(f"{sign}prompt_embeds") is None:
                what = f"cannot be read, as this pipeline is without {' and '.join(absent)}"
                yield Problem(f"{sign}prompt", what, hint=f"give {sign}prompt_embeds")

    # ---- prompts ---------------------------------------------------------------------------------------------------

    def _encoded(
        self,
        prompts: Mapping[str, Texts],
        wish: Wish,
        guidance: Guidance,
        count: int,
        embeds: Mapping[str, Tensor | None] = MappingProxyType({}),
    ) -> Conditions:
        """Rows for every image: those of the first prompt, then those of the second … `embeds` take texts' places."""
        given = {name: tensor for name, tensor in embeds.items() if tensor is not None}
        batch = batch_of(prompts["prompt"], given.get("prompt_embeds"))
        texts = {name: _spread(value, batch) for name, value in prompts.items()}
        if "prompt_embeds" in given:
            texts["prompt"] = [""] * batch
        given = {name: tensor.to(self.device, self.dtype) for name, tensor in given.items()}
        backend = self._backend()
        rows = []
        for i in range(batch):
            brought = {name: tensor[i : i + 1] for name, tensor in given.items()}
            one = replace(wish, flags=self.flags, brought=brought, **{name: line[i] for name, line in texts.items()})
            rows.append(self.family.encode(backend, self._components, one, guidance, logger.warning))
        conditions = join(rows, backend.join)
        shapes = [list(half.shape) for half in conditions.calls(conditions.negative is not None)[CONTEXT]]
        if shapes[0] != shapes[-1]:
            what = f"the embeddings' shape is {shapes[0]}, but that of the prompt's is {shapes[1]}"
            raise RecipeError([Problem("negative_prompt", what, hint="give negative_prompt_embeds of the same shape")])
        return conditions.repeat(count)


def _spread(texts: Texts, batch: int) -> list[str | None]:
    """A text for each prompt."""
    return [texts] * batch if texts is None or isinstance(texts, str) else list(texts)
