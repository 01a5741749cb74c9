"""The network as the torch engine calls it: prompts, further conditions and guidance around a U-Net.

It knows what a network is given beside latents and timestep, and nothing of tables or noise.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from components.torch_models.base import Model
from components.torch_models.layers import Context
from components.torch_models.unet_2d_condition import UNet2DConditionModel
from runner.backends.base import Guidance
from runner.backends.network_call import arguments
from runner.conditions import Array, Conditions


class GuidedNetwork:
    """`network(x, timestep)`: float32 in and out, (B, C, h, w), the U-Net in its own dtype between."""

    def __init__(
        self,
        unet: Any,
        conditions: Conditions,
        guidance: Guidance,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.unet, self.dtype, self.device = unet, dtype, device
        # what others have put around a network expects to see each latent with each of its conditions
        self._wrapped = isinstance(unet, torch.nn.Module) and not isinstance(unet, Model)
        self.conditions, self.guidance = conditions, guidance
        self._ready: dict[int, tuple[list[Any], dict[str, Any]]] = {}

    def steer(self, conditions: Conditions | None, guidance: Guidance | None) -> None:
        """Other conditions, another guidance; None leaves them as they are."""
        self.conditions = conditions or self.conditions
        self.guidance = guidance or self.guidance
        self._ready.clear()

    def __call__(self, x: Tensor, timestep: Tensor) -> Tensor:
        context, named = self._arguments(len(x))
        x = x.to(self.dtype, memory_format=layout(self.device))
        twice = self.guidance.twice(self.conditions)
        if twice and self._wrapped:
            x = torch.cat([x, x])
        out = self.unet(x, timestep, *context, **named).sample.float()  # as many rows as the context
        if not twice:
            return out
        without, with_prompt = out.chunk(2)
        return guide(without, with_prompt, self.guidance)

    def _arguments(self, count: int) -> tuple[list[Any], dict[str, Any]]:
        """Positional and named arguments of the network for a batch of `count`, of every call that guidance takes."""
        if count not in self._ready:
            calls = self.conditions.calls(self.guidance.twice(self.conditions))
            given = {name: self._rows(halves, count) for name, halves in calls.items()}
            context, named = arguments(given)
            if context:
                named["timestep_cond"] = self._told_guidance(count)
                if isinstance(self.unet, UNet2DConditionModel):
                    context = [Context(states) for states in context]
            self._ready[count] = context, named
        return self._ready[count]

    def _rows(self, halves: list[Array], count: int) -> Tensor:
        """Rows for a batch, those without the prompt first; a single row is repeated before the two are joined."""
        tensors = (torch.as_tensor(half, device=self.device) for half in halves)
        return torch.cat([tensor.expand(count, *tensor.shape[1:]) for tensor in tensors])

    def _told_guidance(self, count: int) -> Tensor | None:
        if not self.guidance.embedded:
            return None
        network = next(module for module in self.unet.modules() if isinstance(module, UNet2DConditionModel))
        width = network.config.time_cond_proj_dim
        told = [guidance_embedding(one - 1.0, width or 0) for one in _each(self.guidance.scale)]
        return torch.cat(told).to(self.device, self.dtype).expand(count, -1)


def layout(device: torch.device) -> torch.memory_format:
    """How images lie in memory: channels innermost, which convolutions want (UNets gain 3 to 10 %, VAEs 3 to 25 %)."""
    return torch.preserve_format if device.type == "mps" else torch.channels_last


def guide(without: Tensor, with_prompt: Tensor, guidance: Guidance) -> Tensor:
    """Outputs without and with the prompt, (B, C, h, w) each, to the guided one; rescaled per image where asked."""
    out = without + _per_image(guidance.scale, like=without) * (with_prompt - without)
    if max(_each(guidance.rescale)) > 0.0:
        rescale = _per_image(guidance.rescale, like=without)
        dims = tuple(range(1, out.ndim))
        rescaled = out * (with_prompt.std(dims, keepdim=True) / out.std(dims, keepdim=True))
        out = rescale * rescaled + (1.0 - rescale) * out
    return out


def _each(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _per_image(value: float | tuple[float, ...], like: Tensor) -> float | Tensor:
    """A number for all images as it is; one for each as (B, 1, 1, 1)."""
    if not isinstance(value, tuple):
        return value
    return torch.tensor(value, dtype=like.dtype, device=like.device).view(-1, *[1] * (like.ndim - 1))


def guidance_embedding(weight: float, dim: int) -> Tensor:
    """(1, dim) sinusoids [sin, cos] of 1000 · weight: the guidance scale as distilled networks are told it."""
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000.0) / (half - 1)))
    angles = weight * 1000.0 * frequencies
    embedding = torch.cat([angles.sin(), angles.cos()])
    return torch.nn.functional.pad(embedding, (0, dim % 2))[None]
