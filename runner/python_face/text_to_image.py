"""What the calls of both prompt-reading pipelines share: batches of prompts, given embeddings, callbacks, the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from runner.backends.base import Change, Conditioning, Guidance
from runner.errors import Problem, RecipeError, nearest
from runner.pipelines.base import Wish
from runner.plan import size_problems
from runner.python_face.base import DiffusionPipeline, Generators, StoppedByCallback
from runner.python_face.images import StableDiffusionPipelineOutput, as_output, check_output_type

logger = logging.getLogger(__name__)

Callback = Callable[[Any, int, Any, dict[str, Any]], Mapping[str, Any] | None]
Texts = str | Sequence[str] | None


@dataclass
class Call:
    """The arguments that every prompt-reading pipeline takes; `wish` has the rest, with the prompts left empty."""

    prompts: dict[str, Texts]
    wish: Wish
    steps: int | None
    timesteps: Any
    sigmas: Any
    guidance_scale: float
    guidance_rescale: float
    eta: float | None
    count: int
    generator: Generators
    latents: Tensor | None
    output_type: str
    callback: Callback | None
    callback_inputs: Sequence[str]
    embeds: Mapping[str, Tensor | None] = field(default_factory=dict)


class PromptPipeline(DiffusionPipeline):
    """Base of the pipelines that read prompts."""

    CALLBACK_INPUTS = ("latents", "prompt_embeds", "negative_prompt_embeds")
    _guidance_scale: float = 0.0
    _interrupt: bool = False

    @property
    def guidance_scale(self) -> float:
        """Of the call under way; a callback may set `_guidance_scale` for the steps that follow."""
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """Network evaluations of the call under way."""
        return self._num_timesteps

    def _size(self, height: int | None, width: int | None) -> tuple[int, int]:
        configs = self._configs()
        usual = self.kind.default_size(configs)
        size = {"height": height or usual[0], "width": width or usual[1]}
        if problems := size_problems(size, self.kind.vae_factor(configs)):
            raise RecipeError(problems)
        return size["height"], size["width"]

    def _draw(self, call: Call) -> Any:
        """Images of the wanted kind, or latents."""
        check_output_type(call.output_type)
        self._check_callback(call)
        configs, backend = self._configs(), self._backend()
        if problems := self.kind.fit_problems(call.wish.clip_skip, configs):
            raise RecipeError(problems)
        self._guidance_scale, self._interrupt = call.guidance_scale, False
        guidance = self.kind.guidance(call.guidance_scale, call.guidance_rescale, configs)
        table = self._table(call.steps, call.timesteps, call.sigmas, call.eta)
        self._num_timesteps = table.rows
        conditioning = self._encoded(call.prompts, call.wish, guidance, call.count, call.embeds)
        factor = self.kind.vae_factor(configs)
        batch = len(conditioning.positive)  # type: ignore[arg-type]
        size = (call.wish.height // factor, call.wish.width // factor)
        latents = self._denoise(
            backend,
            table,
            (batch, self.kind.latent_channels(configs), *size),
            conditioning,
            guidance,
            call.generator,
            call.latents,
            self._calling_back(call, table, conditioning, guidance),
        )
        if call.output_type == "latent":
            return latents
        return as_output(self.kind.decode(backend, self._components, latents).clone(), call.output_type)

    def _finish(self, images: Any, return_dict: bool) -> Any:
        return StableDiffusionPipelineOutput(images) if return_dict else (images, None)

    # ---- prompts ---------------------------------------------------------------------------------------------------

    def _encoded(
        self,
        prompts: Mapping[str, Texts],
        wish: Wish,
        guidance: Guidance,
        count: int,
        embeds: Mapping[str, Tensor | None] = MappingProxyType({}),
    ) -> Conditioning:
        """Rows for every image: those of the first prompt, then those of the second … `embeds` take texts' places."""
        given = {name: tensor for name, tensor in embeds.items() if tensor is not None}
        self._check_prompts(prompts, given)
        batch = _length(prompts["prompt"], given.get("prompt_embeds"))
        texts = {name: _spread(name, value, batch) for name, value in prompts.items()}
        if "prompt_embeds" in given:
            texts["prompt"] = [""] * batch
        backend = self._backend()
        rows = []
        for i in range(batch):
            one = replace(wish, flags=self.flags, **{name: values[i] for name, values in texts.items()})
            rows.append(self.kind.encode(backend, self._components, one, guidance, logger.warning))
        conditioning = _replace_given(_stack(rows), given, self.device, self.dtype)
        if conditioning.negative is not None and conditioning.negative.shape != conditioning.positive.shape:  # type: ignore
            shapes = [list(tensor.shape) for tensor in (conditioning.negative, conditioning.positive)]  # type: ignore
            what = f"the embeddings' shape is {shapes[0]}, but that of the prompt's is {shapes[1]}"
            raise RecipeError([Problem("negative_prompt", what, hint="give negative_prompt_embeds of the same shape")])
        return _repeat(conditioning, count)

    def _check_prompts(self, prompts: Mapping[str, Texts], given: Mapping[str, Tensor]) -> None:
        problems = []
        for sign in ("", "negative_"):
            name, embeds = f"{sign}prompt", f"{sign}prompt_embeds"
            if prompts[name] is not None and embeds in given:
                problems.append(Problem(name, f"cannot be given together with {embeds}"))
        if prompts["prompt"] is None and "prompt_embeds" not in given:
            problems.append(Problem("prompt", "there is neither a prompt nor prompt_embeds"))
        for name, value in prompts.items():
            texts = [value] if isinstance(value, str) else value
            if texts is not None and not (isinstance(texts, list | tuple) and all(isinstance(t, str) for t in texts)):
                problems.append(Problem(name, f"must be text or a list of texts, but is {value!r}"))
        a, b = given.get("prompt_embeds"), given.get("negative_prompt_embeds")
        if a is not None and b is not None and a.shape != b.shape:
            what = f"the shape is {list(b.shape)}, but that of prompt_embeds is {list(a.shape)}"
            problems.append(Problem("negative_prompt_embeds", what))
        if problems:
            raise RecipeError(problems)

    # ---- callbacks -------------------------------------------------------------------------------------------------

    def _check_callback(self, call: Call) -> None:
        for name in call.callback_inputs:
            if name not in self.CALLBACK_INPUTS:
                what = f"{name!r} cannot be given to a callback"
                close = nearest(name, self.CALLBACK_INPUTS)
                raise RecipeError([Problem("callback_on_step_end_tensor_inputs", what, self.CALLBACK_INPUTS, close)])

    def _calling_back(
        self, call: Call, table: Any, conditioning: Conditioning, guidance: Guidance
    ) -> Callable[[int, Tensor], Change | None] | None:
        """What runs after each row; the callback sees and may replace latents and embeddings."""
        callback = call.callback
        if callback is None:
            return None
        now = {"conditioning": conditioning, "guidance": guidance}

        def after_row(row: int, x: Tensor) -> Change | None:
            shown = {name: self._shown(name, x, now["conditioning"], now["guidance"]) for name in call.callback_inputs}
            returned = callback(self, row, _clock(table.timestep[row]), dict(shown)) or {}
            latents = returned.get("latents", x)
            if self._interrupt:
                raise StoppedByCallback(latents)
            changed = {k: value for k, value in returned.items() if k != "latents" and value is not shown.get(k)}
            scaled = self._guidance_scale != now["guidance"].scale
            if changed:
                now["conditioning"] = _changed(now["conditioning"], changed)
            if scaled:
                now["guidance"] = replace(now["guidance"], scale=self._guidance_scale)
            return Change(latents, now["conditioning"] if changed else None, now["guidance"] if scaled else None)

        return after_row

    def _shown(self, name: str, x: Tensor, conditioning: Conditioning, guidance: Guidance) -> Any:
        if name == "latents":
            return x.clone()
        if name == "negative_prompt_embeds":
            return conditioning.negative
        doubled = guidance.doubles and conditioning.negative is not None
        return torch.cat([conditioning.negative, conditioning.positive]) if doubled else conditioning.positive  # type: ignore


def _clock(timestep: float) -> Tensor:
    """A timestep as callbacks expect it: a whole number as an integer."""
    return torch.tensor(int(timestep) if timestep == int(timestep) else float(timestep))


def _length(prompt: Texts, embeds: Tensor | None) -> int:
    if prompt is None:
        return 1 if embeds is None else len(embeds)
    return 1 if isinstance(prompt, str) else len(prompt)


def _spread(name: str, texts: Texts, batch: int) -> list[str | None]:
    """A text for each prompt. Raises RecipeError where there are more or fewer."""
    if texts is None or isinstance(texts, str):
        return [texts] * batch
    if len(texts) != batch:
        raise RecipeError([Problem(name, f"{len(texts)} texts are given for {batch} prompts")])
    return list(texts)


def _stack(rows: Sequence[Conditioning]) -> Conditioning:
    """Conditions of several prompts as one."""

    def joined(values: Sequence[Any]) -> Any:
        return torch.cat([torch.as_tensor(value) for value in values])

    first = rows[0]
    return Conditioning(
        joined([row.positive for row in rows]),
        None if first.negative is None else joined([row.negative for row in rows]),
        {name: joined([row.added[name] for row in rows]) for name in first.added},
        {name: joined([row.negative_added[name] for row in rows]) for name in first.negative_added},
    )


def _repeat(conditioning: Conditioning, count: int) -> Conditioning:
    """Each row `count` times, side by side."""
    if conditioning.negative is not None:
        conditioning = replace(conditioning, negative=conditioning.negative.repeat_interleave(count, 0))
    return replace(
        conditioning,
        positive=conditioning.positive.repeat_interleave(count, 0),  # type: ignore[union-attr]
        added={name: value.repeat_interleave(count, 0) for name, value in conditioning.added.items()},
        negative_added={name: value.repeat_interleave(count, 0) for name, value in conditioning.negative_added.items()},
    )


def _replace_given(
    conditioning: Conditioning, given: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
) -> Conditioning:
    """Conditions with the embeddings that the caller brought."""
    given = {name: tensor.to(device, dtype) for name, tensor in given.items()}
    doubled = conditioning.negative is not None
    if "prompt_embeds" in given:
        conditioning = replace(conditioning, positive=given["prompt_embeds"])
    if "negative_prompt_embeds" in given and doubled:
        conditioning = replace(conditioning, negative=given["negative_prompt_embeds"])
    if "pooled_prompt_embeds" in given:
        conditioning = replace(conditioning, added={**conditioning.added, "text_embeds": given["pooled_prompt_embeds"]})
    if "negative_pooled_prompt_embeds" in given and doubled:
        pooled = {**conditioning.negative_added, "text_embeds": given["negative_pooled_prompt_embeds"]}
        conditioning = replace(conditioning, negative_added=pooled)
    return conditioning


def _changed(conditioning: Conditioning, returned: Mapping[str, Any]) -> Conditioning:
    """Conditions after a callback: `prompt_embeds` with both halves, or the half with the prompt alone."""
    if returned.get("negative_prompt_embeds") is not None:
        conditioning = replace(conditioning, negative=returned["negative_prompt_embeds"])
    embeds = returned.get("prompt_embeds")
    if embeds is None:
        return conditioning
    if len(embeds) == 2 * len(conditioning.positive):  # type: ignore[arg-type]
        negative, positive = embeds.chunk(2)
        return replace(conditioning, negative=negative, positive=positive)
    return replace(conditioning, positive=embeds)
