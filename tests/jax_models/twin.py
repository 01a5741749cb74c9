"""A JAX network with the weights of a torch one, by way of the files that torch saves; and how far outputs differ."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx


def twin(cls: Any, reference: Any, folder: Path, **options: Any) -> Any:
    """`reference` saved to the folder and loaded as the JAX class."""
    reference.save_pretrained(folder)
    return cls.from_pretrained(folder, **options)


def call(function: Callable[..., Any], model: nnx.Module, *args: Any) -> Any:
    """function(model, *args) as one program; torch tensors become arrays."""
    structure, parameters = nnx.split(model)
    return jax.jit(lambda p, a: function(nnx.merge(structure, p), *a))(parameters, as_jax(args))


def as_jax(value: Any) -> Any:
    """Tensors to arrays, in mappings and tuples too."""
    if isinstance(value, torch.Tensor):
        return jnp.asarray(value.numpy())
    if isinstance(value, Mapping):
        return {name: as_jax(item) for name, item in value.items()}
    return tuple(map(as_jax, value)) if isinstance(value, tuple) else value


def relative_error(found: jax.Array, expected: torch.Tensor) -> float:
    """The largest difference, in units of the largest number expected."""
    assert found.shape == tuple(expected.shape)
    wanted = expected.float().numpy()
    return float(np.abs(np.asarray(found, np.float32) - wanted).max() / np.abs(wanted).max())
