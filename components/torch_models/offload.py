"""Weights that wait in main memory while another part of a pipeline works on the device.

`model`: one network at a time is on the device, whole. `sequential`: one layer at a time, which is slow and takes
next to no memory there. Weights never change while a pipeline draws, so nothing is copied back: what went to the
device is a copy, and leaving is forgetting it.
"""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

Kind = Literal["model", "sequential"]
Place = tuple[dict[str, Any], str, Tensor]
"""A layer's table of parameters or of buffers, the name of one, and what belongs there."""


class Offload:
    """The networks of one pipeline and the device they take turns on. They stay in main memory when not at work."""

    def __init__(self, device: torch.device | str, kind: Kind = "model") -> None:
        self.device, self.kind = torch.device(device), kind
        self._here: nn.Module | None = None
        self._waiting: list[Place] = []

    def add(self, module: nn.Module) -> None:
        """Take charge of a network, which must be in main memory. One that is in charge already stays as it is."""
        if self.kind == "sequential" and not getattr(module, "offloaded", False):
            module.offloaded = True  # type: ignore[assignment]
            for layer in module.modules():
                if _own(layer):
                    layer.register_forward_pre_hook(self._enter)
                    layer.register_forward_hook(self._leave, always_call=True)

    def ready(self, module: nn.Module) -> None:
        """Called before a network works: brings it to the device, and sends the one that was there away."""
        if self.kind == "sequential" or module is self._here:
            return
        self.release()
        self._here = module
        for layer in module.modules():
            self._waiting += _bring(layer, self.device)

    def release(self) -> None:
        """Empties the device."""
        _restore(self._waiting)
        self._waiting, self._here = [], None

    def _enter(self, layer: nn.Module, _: Any) -> None:
        layer.__dict__["waiting"] = _bring(layer, self.device)

    def _leave(self, layer: nn.Module, *_: Any) -> None:
        _restore(layer.__dict__.pop("waiting", ()))


def _own(layer: nn.Module) -> list[Place]:
    """Parameters and buffers of the layer itself, not of what is inside it."""
    stores: tuple[dict[str, Any], ...] = layer._parameters, layer._buffers
    return [(store, name, tensor) for store in stores for name, tensor in store.items() if tensor is not None]


def _bring(layer: nn.Module, device: torch.device) -> list[Place]:
    """Puts copies on the device in the places of a layer's tensors, which are returned."""
    places = _own(layer)
    with torch.inference_mode(False):  # they stay ordinary tensors, whoever calls
        for store, name, tensor in places:
            copy = tensor.detach().to(device)
            store[name] = nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy
    return places


def _restore(places: Iterable[Place]) -> None:
    for store, name, tensor in places:
        store[name] = tensor
