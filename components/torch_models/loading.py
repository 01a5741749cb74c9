"""Tensors from files into a model that was made on the meta device: checked by their headers first, then memory-mapped,
cast while they are read, and never held twice."""

import math
from collections.abc import Iterator
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from components.component_files import ComponentFiles, load_pickle
from components.errors import CheckpointError
from components.flax_files import SUFFIX
from components.tensor_fit import Rename, fit


def load_state(
    model: nn.Module,
    files: ComponentFiles,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | str | None = None,
    rename: Rename | None = None,
) -> None:
    """Fill a model on the meta device with the tensors of a component.

    On the CPU, tensors whose dtype needs no cast stay memory-mapped: the file's pages are their memory.

    Args:
        dtype: of the filled model, or its name; None means float32, "auto" what most of the file's numbers are in.
        rename: see `fit`.

    Raises:
        CheckpointError: tensors are missing, unexpected or misshaped (all are listed), or a file is damaged.
    """
    dtype = _held(files) if dtype == "auto" else as_dtype(dtype)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    names = fit(files, type(model).__name__, shapes, rename)
    state = {}
    for name, tensor in _read(files):
        if name in names:
            target = names[name]
            state[target] = tensor.reshape(shapes[target]).to(device=device, dtype=dtype)
    model.load_state_dict(state, strict=True, assign=True)


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """A floating-point dtype of torch, from itself or its name; None means float32.

    Raises:
        ValueError: it is neither.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype={dtype!r} is not a floating-point dtype; expected one such as float32, bfloat16.")
    return found


def _held(files: ComponentFiles) -> torch.dtype:
    """The dtype that holds most of a component's numbers; float32 where none is a floating-point one."""
    numbers: dict[str, int] = {}
    for info in files.tensors().values():
        if info.dtype.startswith(("float", "bfloat")):
            numbers[info.dtype] = numbers.get(info.dtype, 0) + math.prod(info.shape)
    return getattr(torch, max(numbers, key=lambda name: numbers[name], default="float32"))


def _read(files: ComponentFiles) -> Iterator[tuple[str, Tensor]]:
    with ExitStack() as stack:
        for path in files.weights:
            if path.suffix == ".bin":
                yield from load_pickle(path).items()
                continue
            if path.suffix == SUFFIX:
                raise CheckpointError(f"{path} was saved by Flax, which only the JAX backend reads: backend=jax.")
            from safetensors import SafetensorError, safe_open

            try:
                file = stack.enter_context(safe_open(path, framework="pt"))
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    yield name, file.get_tensor(name)
            except SafetensorError as error:
                raise CheckpointError(f"{path} cannot be read: {error}.") from None
