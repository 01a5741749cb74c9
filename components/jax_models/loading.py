"""Weights that torch or Flax saved into a JAX model, without torch: checked by the files' headers first, then read one
by one, cast on the host and put on the device.

A parameter's place in the model is the name torch has for it, but for the last word; a kernel's axes are in another
order. `flax_files` has that map.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401 (teaches numpy the name bfloat16, which safetensors asks it for)
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from components.component_files import ComponentFiles, load_pickle
from components.errors import CheckpointError
from components.flax_files import SUFFIX, from_torch, read_tensors, torch_name, torch_shape
from components.tensor_fit import Rename, fit

Device = Any
"""A jax.Device, which JAX exports as a value only; a sharding over several; or a function of a parameter's shape that
says which sharding it gets."""


def load_state(
    model: nnx.Module,
    files: ComponentFiles,
    *,
    device: Device | None = None,
    dtype: DTypeLike | None = None,
    rename: Rename | None = None,
) -> None:
    """Fill a model with the tensors of a component; dtype None means float32, device None JAX's default.

    Raises:
        CheckpointError: tensors are missing, unexpected or misshaped (all are listed), or a file is damaged.
    """
    flat = [(tuple(map(str, path)), leaf) for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))]
    parameters = {torch_name(path): (path[-1], leaf) for path, leaf in flat}
    shapes = {name: torch_shape(word, leaf.shape) for name, (word, leaf) in parameters.items()}
    names = fit(files, type(model).__name__, shapes, rename)
    for name, tensor in _read(files):
        if name in names:
            word, leaf = parameters[names[name]]
            array = from_torch(word, tensor.reshape(shapes[names[name]]))
            where = device(array.shape) if callable(device) else device
            leaf.set_value(jax.device_put(np.ascontiguousarray(array, dtype=jnp.dtype(dtype or jnp.float32)), where))


def _read(files: ComponentFiles) -> Iterator[tuple[str, np.ndarray]]:
    with ExitStack() as stack:
        for path in files.weights:
            if path.suffix == ".bin":  # allowed by the caller, and only torch can read it
                yield from ((name, tensor.float().numpy()) for name, tensor in load_pickle(path).items())
                continue
            if path.suffix == SUFFIX:
                yield from read_tensors(path)
                continue
            from safetensors import SafetensorError, safe_open

            try:
                file = stack.enter_context(safe_open(path, framework="np"))
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    yield name, file.get_tensor(name)
            except SafetensorError as error:
                raise CheckpointError(f"{path} cannot be read: {error}.") from None
