"""What a Flax call is given, brought into the form that the JAX backend takes: with or without an axis of devices in
front, old keys or new ones, parameters in one copy or in one for each device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from runner.backends.jax_devices import IMAGES, Layout
from runner.backends.jax_noise import DeviceNoise, HostNoise
from runner.errors import Problem, RecipeError

if TYPE_CHECKING:
    from components.schedulers import Tableau


@dataclass(frozen=True)
class Call:
    """What a call is about, without an axis of devices: token ids (B, …) of prompts and of negative prompts, keys of
    jax.random (one, one for each of `groups` devices, or B), latents (B, C, h, w) if given, and the guidance scale, a
    number or one for each image."""

    ids: Array
    groups: int | None
    negative: Array | None
    keys: Array
    latents: Array | None
    guidance_scale: float | tuple[float, ...]

    @classmethod
    def of(
        cls,
        prompt_ids: Any,
        neg_prompt_ids: Any,
        prng_seed: Any,
        latents: Any,
        guidance_scale: Any,
        axes: int,
        shape: tuple[int, ...],
        layout: Layout,
    ) -> Call:
        """From arguments as they come; ids of a batch have so many `axes`, its latents this shape each. Raises
        RecipeError with everything that does not fit."""
        ids, groups = flat("prompt_ids", prompt_ids, axes, layout.count)
        negative = None if neg_prompt_ids is None else flat("neg_prompt_ids", neg_prompt_ids, axes, layout.count)[0]
        latents = None if latents is None else flat("latents", latents, 4, layout.count)[0]
        scale, keys, count = np.asarray(guidance_scale, np.float32).reshape(-1), keys_of(prng_seed), len(ids)
        problems = [
            Problem(name, f"the shape is {list(given.shape)}, but this call takes {list(wanted)}")
            for name, given, wanted in (
                ("latents", latents, (count, *shape)),
                ("neg_prompt_ids", negative, ids.shape),
                ("guidance_scale", scale, (count if len(scale) > 1 else 1,)),
            )
            if given is not None and given.shape != wanted
        ]
        if len(keys) not in (groups or 1, count):
            what = f"{len(keys)} keys are given, but this call takes {groups or 1}, or one for each of {count} pictures"
            problems.append(Problem("prng_seed", what, hint="jax.random.split makes several of one"))
        if problems:
            raise RecipeError(problems)
        of_all = float(scale[0]) if len(scale) == 1 else tuple(map(float, scale))
        return cls(ids, groups, negative, keys, latents, of_all)

    def noise(self, shape: tuple[int, ...], table: Tableau, layout: Layout) -> DeviceNoise | HostNoise:
        """The latents to begin with, drawn in one go from each key, and each picture's own draws for the rows after."""
        keys, each, latents = self.keys, len(self.ids) // len(self.keys), self.latents
        if latents is None:
            latents = jax.vmap(lambda key: jax.random.normal(key, (each, *shape), jnp.float32))(keys)
            latents = latents.reshape(-1, *shape)
        own = jax.vmap(lambda key: jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(each)))(keys).reshape(-1)
        if table.brownian is None:
            return DeviceNoise(own, shape, layout, latents)
        # a Brownian path is followed on the host, by torch: its seed is made of the picture's key
        import torch

        from runner.backends.torch_noise import BrownianNoise

        seeds = [int(high) << 31 | int(low) >> 1 for high, low in np.asarray(jax.random.key_data(own))]
        source = BrownianNoise(table, seeds, shape)
        source.first = torch.from_numpy(np.array(latents))
        return HostNoise(source, layout)


def flat(name: str, array: Any, axes: int, devices: int) -> tuple[Array, int | None]:
    """(B, …) and None, or from (devices, b, …) the same and the number of devices. Raises RecipeError."""
    array = jnp.asarray(array)
    if array.ndim == axes:
        return array, None
    if array.ndim == axes + 1 and len(array) == devices:
        return array.reshape(-1, *array.shape[2:]), devices
    what = f"the shape is {list(array.shape)}; expected {axes} axes, or in front of them one more, of {devices} devices"
    raise RecipeError([Problem(name, what)])


def keys_of(prng_seed: Any) -> Array:
    """Keys of jax.random (n,) from one or several; old ones are pairs of numbers."""
    seed = jnp.asarray(prng_seed)
    if not jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
        seed = jax.random.wrap_key_data(seed)
    return seed.reshape(-1)


def one_copy(name: str, params: Mapping[str, Any], expected: Any, layout: Layout) -> Any:
    """The parameters of a network as programs take them. Where they have a leading axis of devices, each of which has a
    copy of its own, they come back without it. Raises RecipeError for parameters that are not the network's."""
    if name not in params:
        raise RecipeError([Problem("params", f"lack those of the {name}", tuple(params))])
    wanted, found = ([leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (expected, params[name]))
    if found == wanted:
        return params[name]
    if found != [(layout.count, *shape) for shape in wanted]:
        what = f"those of the {name} are neither what from_pretrained gave, nor {layout.count} copies of it"
        raise RecipeError([Problem("params", what, hint="flax.jax_utils.replicate makes one for each device")])
    return _without_copies(layout, jax.device_put(params[name], NamedSharding(layout.mesh, PartitionSpec(IMAGES))))


@partial(jax.jit, static_argnames=("layout",))
def _without_copies(layout: Layout, tree: Any) -> Any:
    """Takes the first axis away where it lies, so that nothing travels between devices."""

    def squeeze(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[0], tree)

    over = {"in_specs": PartitionSpec(IMAGES), "out_specs": PartitionSpec(), "check_vma": False}
    return jax.shard_map(squeeze, mesh=layout.mesh, **over)(tree)
