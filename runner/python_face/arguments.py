"""What a call is given, and everything that is wrong with it, told at once and before anything is computed."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from runner.errors import Problem, nearest
from runner.families import Wish
from runner.python_face.callbacks import Callback
from runner.python_face.denoising import Generators
from runner.python_face.images import output_problems

Texts = str | Sequence[str] | None


@dataclass
class Call:
    """The arguments that every prompt-reading pipeline takes; `wish` has the rest, with prompts and size left empty.

    `older` are the arguments by the names of earlier versions; `refused` those that are not served unless None.
    """

    prompts: dict[str, Texts]
    wish: Wish
    height: int | None
    width: int | None
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
    older: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A callback that says itself what it reads, as those of the reference library do, is given that."""
        self.callback_inputs = getattr(self.callback, "tensor_inputs", self.callback_inputs)
        if self.callback_inputs is None:
            self.callback_inputs = ()

    @property
    def given(self) -> dict[str, Tensor]:
        """The embeddings that there are."""
        return {name: tensor for name, tensor in self.embeds.items() if tensor is not None}

    @property
    def batch(self) -> int:
        """How many prompts there are."""
        return batch_of(self.prompts["prompt"], self.embeds.get("prompt_embeds"))


def batch_of(prompt: Texts, embeds: Any) -> int:
    """How many prompts there are, whatever is wrong with them."""
    counted = embeds if prompt is None else prompt
    return 1 if isinstance(counted, str) or not hasattr(counted, "__len__") else len(counted)


OLDER = ("callback", "callback_steps")
NOT_SERVED = {
    "ip_adapter_image": "image prompts (IP-Adapter) are not served",
    "ip_adapter_image_embeds": "image prompts (IP-Adapter) are not served",
    "cross_attention_kwargs": "attention here takes no arguments, and LoRA weights are not served",
    "denoising_end": "a run goes to its end",
}


def problems_of(call: Call, callback_inputs: Sequence[str], names: Sequence[str]) -> Iterator[Problem]:
    """Everything but the fit of the call to the pipeline's components; `names` are the arguments there are."""
    if call.timesteps is None and call.sigmas is None:
        yield from count_problems("num_inference_steps", "the number of steps", call.steps)
    yield from listed_problems("timesteps", call.timesteps)
    yield from listed_problems("sigmas", call.sigmas)
    yield from count_problems("num_images_per_prompt", "the number of images", call.count)
    yield from number_problems("guidance_scale", call.guidance_scale)
    yield from number_problems("guidance_rescale", call.guidance_rescale, 0.0, 1.0)
    if call.eta is not None:
        yield from number_problems("eta", call.eta)
    if call.wish.clip_skip is not None:
        yield from count_problems("clip_skip", "the number of layers", call.wish.clip_skip, least=0)
    yield from output_problems(call.output_type)
    yield from prompt_problems(call.prompts, call.given)
    yield from _callback_problems(call, callback_inputs)
    for name, value in call.refused.items():
        if value is not None and value != {}:
            yield Problem(name, NOT_SERVED[name], hint=f"leave {name} out")
    for name in call.older:
        if name not in OLDER:
            yield Problem(name, "is no argument of this call", (), nearest(name, names))


def count_problems(name: str, what: str, value: Any, least: int = 1, most: int = sys.maxsize) -> Iterator[Problem]:
    """Not a whole number, or one outside its range."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= most:
        bounds = f"{least} or more" if most == sys.maxsize else f"from {least} to {most}"
        yield Problem(name, f"{what} is {value!r}, but must be a whole number, {bounds}")


def listed_problems(name: str, values: Any) -> Iterator[Problem]:
    """Not a list of numbers, nor an array of them."""
    if values is None:
        return
    try:
        array = np.asarray(values.tolist() if isinstance(values, Tensor) else values, np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None or array.ndim != 1:
        yield Problem(name, f"must be a list of numbers, but is {values!r}")


def number_problems(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> Iterator[Problem]:
    """Not a number, or one outside its range."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not abs(value) <= sys.float_info.max:  # a nan compares as false
        yield Problem(name, f"is {value!r}, but must be a number")
    elif not least <= value <= most:
        yield Problem(name, f"is {value!r}, but must be between {least:g} and {most:g}")


def prompt_problems(prompts: Mapping[str, Texts], given: Mapping[str, Any]) -> Iterator[Problem]:
    """Texts and embeddings that are absent, of another kind or number, or that contradict each other."""
    batch = batch_of(prompts["prompt"], given.get("prompt_embeds"))
    for sign in ("", "negative_"):
        name, embeds = f"{sign}prompt", f"{sign}prompt_embeds"
        if prompts[name] is not None and embeds in given:
            yield Problem(name, f"cannot be given together with {embeds}")
    if prompts["prompt"] is None and "prompt_embeds" not in given:
        yield Problem("prompt", "there is neither a prompt nor prompt_embeds")
    for name, value in prompts.items():
        texts = [value] if isinstance(value, str) else value
        if texts is not None and not (isinstance(texts, list | tuple) and all(isinstance(t, str) for t in texts)):
            yield Problem(name, f"must be text or a list of texts, but is {value!r}")
        elif texts is not None and any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
            yield Problem(name, f"{value!r} has half a character (a surrogate), which no text can hold")
        elif name == "prompt" and texts is not None and not texts:
            yield Problem(name, "the list is empty, so there is nothing to draw")
        elif isinstance(value, list | tuple) and name != "prompt" and len(value) != batch:
            yield Problem(name, f"{len(value)} texts are given for {batch} prompts")
    for name, value in given.items():
        axes = 2 if "pooled" in name else 3
        if not isinstance(value, Tensor) or value.ndim != axes or 0 in value.shape:
            is_what = f"of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            yield Problem(name, f"must be a tensor ({'B, P' if axes == 2 else 'B, L, D'}), but is {is_what}")
            continue
        if len(value) != batch:
            yield Problem(name, f"{len(value)} rows are given for {batch} prompts")
        other = name.removeprefix("negative_")
        if other != name and isinstance(given.get(other), Tensor) and given[other].shape != value.shape:
            yield Problem(name, f"the shape is {list(value.shape)}, but that of {other} is {list(given[other].shape)}")


def _callback_problems(call: Call, known: Sequence[str]) -> Iterator[Problem]:
    for name, value in (("callback_on_step_end", call.callback), ("callback", call.older.get("callback"))):
        if value is not None and not callable(value):
            yield Problem(name, f"must be something to call, but is {value!r}")
    if call.older.get("callback_steps") is not None:
        yield from count_problems("callback_steps", "the number of steps", call.older["callback_steps"])
    if isinstance(call.callback_inputs, str) or not isinstance(call.callback_inputs, Iterable):
        what = f"must be a list of names, but is {call.callback_inputs!r}"
        yield Problem("callback_on_step_end_tensor_inputs", what, tuple(known))
        return
    for name in call.callback_inputs:
        if name not in known:
            what = f"{name!r} cannot be given to a callback"
            yield Problem("callback_on_step_end_tensor_inputs", what, tuple(known), nearest(str(name), known))


def latents_problems(latents: Any, count: int, channels: int, size: tuple[int, int] | None) -> Iterator[Problem]:
    """Given latents that are not (count, channels, h, w); `size` (h, w) is what the call asks for, if it does."""
    if latents is None:
        return
    wanted = f"[{count}, {channels}, {'h, w' if size is None else f'{size[0]}, {size[1]}'}]"
    if not isinstance(latents, Tensor):
        yield Problem("latents", f"must be a tensor {wanted}, but is a {type(latents).__name__}")
        return
    shape = tuple(latents.shape)
    fits = len(shape) == 4 and shape[:2] == (count, channels) and 0 not in shape and size in (None, shape[2:])
    if not fits:
        yield Problem("latents", f"the shape is {list(shape)}, but this call takes {wanted}")
