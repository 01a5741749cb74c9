"""What each backend needs and can do, as plain values: read by planning, without importing any library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Abilities:
    """Of one backend.

    libraries: packages it imports. offload, vae_tiling, shard_parameters: whether it knows the recipe's keys of these
    names. many_devices: whether it shares a batch out over all devices there are. For the memory estimate: own_bytes,
    of a process that has imported everything, with the workspace of one large layer; whole_scores, whether attention
    holds all scores of a picture at once; keeps_context, whether the prompt's keys and values stay over a run.
    """

    libraries: tuple[str, ...]
    offload: bool
    vae_tiling: bool
    shard_parameters: bool
    many_devices: bool
    own_bytes: int
    whole_scores: bool
    keeps_context: bool


ABILITIES: Mapping[str, Abilities] = {
    "torch": Abilities(
        libraries=("torch",),
        offload=True,
        vae_tiling=True,
        shard_parameters=False,
        many_devices=False,
        own_bytes=500_000_000,
        whole_scores=False,
        keeps_context=True,
    ),
    "jax": Abilities(
        libraries=("jax", "flax"),
        offload=False,
        vae_tiling=False,
        shard_parameters=True,
        many_devices=True,
        own_bytes=600_000_000,
        whole_scores=True,
        keeps_context=False,
    ),
}


def able(key: str) -> str:
    """The backends that know this key of a recipe's backend, as a list in words."""
    return " or ".join(name for name, abilities in ABILITIES.items() if getattr(abilities, key))
