"""What a caller's callbacks see of a run between its rows, and what they change of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from runner.backends.base import Change, Conditioning, Guidance
from runner.errors import nearest
from runner.python_face.denoising import StoppedByCallback

logger = logging.getLogger(__name__)

Callback = Callable[[Any, int, Any, dict[str, Any]], Mapping[str, Any] | None]
EveryFewSteps = Callable[[int, Any, Tensor], Any]
"""The older kind: called with a step's number, its timestep and the latents, which it may change in place."""

ADDED = {
    "add_text_embeds": ("text_embeds", True),
    "add_time_ids": ("time_ids", True),
    "negative_pooled_prompt_embeds": ("text_embeds", False),
    "negative_add_time_ids": ("time_ids", False),
}
"""Name for a callback → the network's name for it, and whether both halves are shown or the negative one alone."""


class Calling:
    """Called after each row. Tensors that a callback changes in place count as if it had returned them."""

    def __init__(
        self,
        pipe: Any,
        table: Any,
        conditioning: Conditioning,
        guidance: Guidance,
        callback: Callback | None,
        names: Sequence[str],
        old: EveryFewSteps | None,
        every: int,
    ) -> None:
        self.pipe, self.table, self.conditioning, self.guidance = pipe, table, conditioning, guidance
        self.callback, self.names, self.old, self.every = callback, names, old, every
        self.timesteps = pipe.scheduler.timesteps
        self.shown = {name: shown(name, conditioning, guidance) for name in names if name != "latents"}

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(self, row: int, x: Tensor) -> Change:
        """The callbacks see ordinary tensors, which they may keep, and those of the run are never written to."""
        latents, conditioning, guidance = x.clone(), None, None
        if self.callback is not None:
            latents, conditioning = self._called(self.callback, row, latents)
            if self.pipe._interrupt:
                raise StoppedByCallback(latents)
            if self.pipe._guidance_scale != self.guidance.scale:
                guidance = self.guidance = replace(self.guidance, scale=self.pipe._guidance_scale)
        if self.old is not None and self._ends_a_step(row):
            step = row // self.pipe.scheduler.order
            if step % self.every == 0:
                self.old(step, self.timesteps[row], latents)
        return Change(latents, conditioning, guidance)

    def _called(self, callback: Callback, row: int, latents: Tensor) -> tuple[Tensor, Conditioning | None]:
        """The latents after a callback, and the conditions where it changed them."""
        given = {name: latents if name == "latents" else self.shown[name] for name in self.names}
        before = {name: value.clone() for name, value in self.shown.items() if value is not None}
        returned = callback(self.pipe, row, self.timesteps[row], dict(given))
        if not isinstance(returned, Mapping | None):
            what = f"callback_on_step_end returned a {type(returned).__name__}; expected a dict of tensors or None"
            raise TypeError(what)
        returned = returned or {}
        self._warn_of(name for name in returned if name not in self.pipe.CALLBACK_INPUTS)
        after = returned.get("latents", latents)
        if not isinstance(after, Tensor) or after.shape != latents.shape:
            is_what = f"of shape {list(after.shape)}" if isinstance(after, Tensor) else f"a {type(after).__name__}"
            raise ValueError(f"callback_on_step_end returned latents {is_what}; expected {list(latents.shape)}")
        changed = {}
        for name in {*self.shown, *returned} - {"latents"}:
            value = returned.get(name, self.shown.get(name))
            if isinstance(value, Tensor) and not _same(value, before.get(name)):
                changed[name] = value
        if not changed:
            return after, None
        self.shown |= {name: value for name, value in changed.items() if name in self.shown}
        self.conditioning = replaced(self.conditioning, changed)
        return after, self.conditioning

    def _warn_of(self, unknown: Any) -> None:
        for name in unknown:
            known = self.pipe.CALLBACK_INPUTS
            hint = f" Did you mean {nearest(name, known)!r}?" if nearest(str(name), known) else ""
            logger.warning("callback_on_step_end returned %r, which is nothing of this run.%s", name, hint)

    def _ends_a_step(self, row: int) -> bool:
        """As the reference library counts: warm-up rows are none, and a step of two rows ends with its second."""
        order, rows = self.pipe.scheduler.order, self.table.rows
        warm_up = rows - self.table.steps * order
        return row == rows - 1 or (row + 1 > warm_up and (row + 1) % order == 0)


def shown(name: str, conditioning: Conditioning, guidance: Guidance) -> Any:
    """A condition as a callback sees it: under guidance, that without the prompt above that with it."""
    doubled = guidance.doubles and conditioning.negative is not None
    if name in ADDED:
        key, both = ADDED[name]
        positive, negative = conditioning.added.get(key), conditioning.negative_added.get(key)
    else:
        both = name == "prompt_embeds"
        positive, negative = conditioning.positive, conditioning.negative
    with torch.inference_mode(False):
        if not both:
            return None if negative is None else torch.as_tensor(negative).clone()
        if not doubled:
            return None if positive is None else torch.as_tensor(positive).clone()
        return torch.cat([torch.as_tensor(half).clone() for half in (negative, positive)])


def replaced(conditioning: Conditioning, values: Mapping[str, Tensor]) -> Conditioning:
    """Conditions with some replaced: by both halves, or by the half with the prompt alone."""
    count = len(conditioning.positive)  # type: ignore[arg-type]

    def halves(value: Tensor) -> tuple[Tensor | None, Tensor]:
        return tuple(value.chunk(2)) if len(value) == 2 * count else (None, value)  # type: ignore[return-value]

    added, negative_added = dict(conditioning.added), dict(conditioning.negative_added)
    negative, positive = conditioning.negative, conditioning.positive
    negative = values.get("negative_prompt_embeds", negative)
    if "prompt_embeds" in values:
        without, positive = halves(values["prompt_embeds"])
        negative = negative if without is None else without
    for name in (name for name in reversed(ADDED) if name in values):  # what shows both halves has the last word
        key, both = ADDED[name]
        without, with_prompt = halves(values[name]) if both else (values[name], None)
        if without is not None:
            negative_added[key] = without
        if with_prompt is not None:
            added[key] = with_prompt
    return replace(conditioning, positive=positive, negative=negative, added=added, negative_added=negative_added)


def _same(value: Tensor, other: Tensor | None) -> bool:
    return other is not None and value.shape == other.shape and torch.equal(value, other)
