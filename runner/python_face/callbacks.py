"""What a caller's callbacks see of a run between its rows, and what they change of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from runner.backends.base import Change, Guidance
from runner.backends.network_call import CONTEXT
from runner.conditions import Conditions
from runner.errors import nearest
from runner.python_face.denoising import StoppedByCallback
from runner.sampling import Landed

logger = logging.getLogger(__name__)

Callback = Callable[[Any, int, Any, dict[str, Any]], Mapping[str, Any] | None]
EveryFewSteps = Callable[[int, Any, Tensor], Any]
"""The older kind: called with a step's number, its timestep and the latents, which it may change in place."""

SHOWN = {
    "prompt_embeds": (CONTEXT, True),
    "negative_prompt_embeds": (CONTEXT, False),
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
        conditions: Conditions,
        guidance: Guidance,
        callback: Callback | None,
        names: Sequence[str],
        old: EveryFewSteps | None,
        every: int,
    ) -> None:
        self.pipe, self.table, self.conditions, self.guidance = pipe, table, conditions, guidance
        self.callback, self.names, self.old, self.every = callback, names, old, every
        self.timesteps = pipe.scheduler.timesteps
        self.shown = {name: shown(name, conditions, guidance) for name in names if name != "latents"}

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(self, landed: Landed) -> Change:
        """The callbacks see ordinary tensors, which they may keep, and those of the run are never written to."""
        row, latents, conditions, guidance = landed.row, landed.x.clone(), None, None
        if self.callback is not None:
            latents, conditions = self._called(self.callback, row, latents)
            if self.pipe._interrupt:
                raise StoppedByCallback(latents)
            if self.pipe._guidance_scale != self.guidance.scale:
                guidance = self.guidance = replace(self.guidance, scale=self.pipe._guidance_scale)
        if self.old is not None and self._ends_a_step(row):
            step = row // self.pipe.scheduler.order
            if step % self.every == 0:
                self.old(step, self.timesteps[row], latents)
        return Change(latents, conditions, guidance)

    def _called(self, callback: Callback, row: int, latents: Tensor) -> tuple[Tensor, Conditions | None]:
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
        for name in {*self.shown, *returned} & SHOWN.keys() & {*self.pipe.CALLBACK_INPUTS}:
            value = returned.get(name, self.shown.get(name))
            if isinstance(value, Tensor) and not _same(value, before.get(name)):
                changed[name] = self._fitting(name, value)
        if not changed:
            return after, None
        self.shown |= {name: value for name, value in changed.items() if name in self.shown}
        self.conditions = replaced(self.conditions, changed)
        return after, self.conditions

    def _fitting(self, name: str, value: Tensor) -> Tensor:
        """A condition with a row for each image, or two where it holds both halves. Raises ValueError."""
        whole, (key, both) = shown(name, self.conditions, self.guidance), SHOWN[name]
        count = len(self.conditions.positive[key])
        if whole is None or (value.ndim == whole.ndim and len(value) in ((count, 2 * count) if both else (count,))):
            return value
        what = f"callback_on_step_end returned {name} of shape {list(value.shape)}; expected {list(whole.shape)}"
        raise ValueError(what)

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


def shown(name: str, conditions: Conditions, guidance: Guidance) -> Any:
    """A condition as a callback sees it: under guidance, that without the prompt above that with it."""
    key, both = SHOWN[name]
    positive, negative = conditions.positive.get(key), (conditions.negative or {}).get(key)
    with torch.inference_mode(False):
        if not both:
            return None if negative is None else torch.as_tensor(negative).clone()
        if not guidance.twice(conditions):
            return None if positive is None else torch.as_tensor(positive).clone()
        return torch.cat([torch.as_tensor(half).clone() for half in (negative, positive)])


def replaced(conditions: Conditions, values: Mapping[str, Tensor]) -> Conditions:
    """Conditions with some replaced: by both halves, or by the half with the prompt alone."""
    positive: dict[str, Tensor] = {}
    negative: dict[str, Tensor] = {}
    for name in (name for name in reversed(SHOWN) if name in values):  # what shows both halves has the last word
        (key, both), value = SHOWN[name], values[name]
        if not both:
            negative[key] = value
        elif len(value) == 2 * len(conditions.positive[key]):
            negative[key], positive[key] = value.chunk(2)
        else:
            positive[key] = value
    return conditions.replaced(positive, negative)


def _same(value: Tensor, other: Tensor | None) -> bool:
    return other is not None and value.shape == other.shape and torch.equal(value, other)
