"""Where a pipeline's networks are and in which dtype, and what saves memory at the price of time."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import nn

from components.torch_models.offload import Kind, Offload
from runner.backends.torch import pick_device
from runner.python_face.wrapped import unwrapped


class Placement:
    """The part of a pipeline that moves its components."""

    unet: Any
    vae: Any
    _components: dict[str, Any]
    _offload: Offload | None

    def to(
        self,
        *where: Any,
        device: Any = None,
        dtype: torch.dtype | None = None,
        torch_device: Any = None,
        torch_dtype: torch.dtype | None = None,
        silence_dtype_warnings: bool = False,
    ) -> Self:
        """Move the networks to a device, or a dtype, or both; the pipeline itself is returned.

        `torch_device` and `torch_dtype` are older names; `silence_dtype_warnings` is taken so that old scripts run.
        """
        device = torch_device if device is None else device
        dtype = dtype or torch_dtype
        for argument in where:
            if isinstance(argument, torch.dtype):
                dtype = argument
            elif argument is not None:
                device = argument
        if device is not None and self._offload:
            raise ValueError("the networks are moved by themselves since enable_…_cpu_offload: leave the device out")
        given: dict[str, Any] = {"device": device, "dtype": dtype}
        for component in self._components.values():
            if isinstance(component, nn.Module):
                component.to(**given)
                ours = type(unwrapped(component)).__module__.startswith("components.")
                if ours and self.device.type == "cuda":
                    component.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - torch declares it for parameters only
        return self

    @property
    def device(self) -> torch.device:
        """Where the networks work, though they may wait elsewhere."""
        return self._offload.device if self._offload else unwrapped(self.unet).device

    @property
    def dtype(self) -> torch.dtype:
        return unwrapped(self.unet).dtype

    def enable_model_cpu_offload(self, gpu_id: Any = None, device: torch.device | str | None = None) -> None:
        """Networks wait in main memory; the one at work is on the device: number `gpu_id` of the GPUs, or by name.

        Raises RecipeError for a device that is not here.
        """
        self._take_turns(gpu_id, device, "model")

    def enable_sequential_cpu_offload(self, gpu_id: Any = None, device: torch.device | str | None = None) -> None:
        """The same layer by layer: slow, and next to no memory on the device."""
        self._take_turns(gpu_id, device, "sequential")

    def _take_turns(self, gpu_id: Any, device: torch.device | str | None, kind: Kind) -> None:
        if self._offload:
            raise ValueError(f"{type(self).__name__}: offloading is on already")
        if isinstance(gpu_id, int):
            device = f"cuda:{gpu_id}"
        named = gpu_id if device is None else device
        target = pick_device("auto" if named is None or str(named) == "auto" else str(torch.device(named)))
        self.to("cpu")
        self._offload = Offload(target, kind)
        for component in self._components.values():
            if isinstance(component, nn.Module):
                self._offload.add(component)

    def maybe_free_model_hooks(self) -> None:
        """Empties the device where networks take turns on it."""
        if self._offload:
            self._offload.release()

    def enable_vae_tiling(self) -> None:
        """Decode large pictures in tiles: less memory, faint seams."""
        self.vae.enable_tiling()

    def disable_vae_tiling(self) -> None:
        self.vae.disable_tiling()

    def enable_vae_slicing(self) -> None:
        """Decode the pictures of a batch one by one: less memory, no other effect."""
        self.vae.enable_slicing()

    def disable_vae_slicing(self) -> None:
        self.vae.disable_slicing()
