"""Files as the old Flax classes saved them, written by flax itself from the weights of torch models.

The map is that of the old library's own conversion, told here once more and from the other side: list indices joined
with an underscore, kernels with the output axis last, and names of their own for an autoencoder's attention.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import torch
from flax import serialization

VAE_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out_0": "proj_attn"}


def flax_tree(state: Mapping[str, torch.Tensor], *, text: bool = False, vae: bool = False, dtype: Any) -> Any:
    """Nested dictionaries of JAX arrays; a text encoder's layers are entries of a dictionary instead of `layers_0`."""
    tree: dict[str, Any] = {}
    for name, tensor in state.items():
        *parents, last = (name if text else re.sub(r"\.(\d+)", r"_\1", name)).split(".")
        if vae and parents[-1] in VAE_ATTENTION:
            parents[-1] = VAE_ATTENTION[parents[-1]]
        array = jnp.asarray(tensor.float().numpy())
        if last == "weight" and parents[-1].endswith("embedding") and tensor.ndim == 2:
            last = "embedding"
        elif last == "weight":
            last = "scale" if tensor.ndim == 1 else "kernel"
        if last == "kernel":
            array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = array.astype(dtype)
    return tree


def write_flax(tree: Any, file: Path) -> None:
    file.write_bytes(serialization.to_bytes(tree))


def to_flax(checkpoint: Path, dtype: Any = jnp.bfloat16) -> None:
    """Turn a Stable Diffusion checkpoint that torch saved into one that Flax saved, in its folder."""
    from safetensors.torch import load_file

    for name, old, new in (
        ("unet", "diffusion_pytorch_model.safetensors", "diffusion_flax_model.msgpack"),
        ("vae", "diffusion_pytorch_model.safetensors", "diffusion_flax_model.msgpack"),
        ("text_encoder", "model.safetensors", "flax_model.msgpack"),
        ("text_encoder_2", "model.safetensors", "flax_model.msgpack"),
    ):
        if not (checkpoint / name).is_dir():
            continue
        state = load_file(checkpoint / name / old)
        kinds = {"text": name.startswith("text_encoder"), "vae": name == "vae"}
        write_flax(flax_tree(state, dtype=dtype, **kinds), checkpoint / name / new)
        (checkpoint / name / old).unlink()
    index_file = checkpoint / "model_index.json"
    index = json.loads(index_file.read_text())
    for name in ("unet", "vae", "text_encoder", "text_encoder_2", "scheduler"):
        if index.get(name):
            index[name][1] = f"Flax{index[name][1]}"
    index["_class_name"] = f"Flax{index['_class_name']}"
    index_file.write_text(json.dumps(index))
    for file in (checkpoint / "unet/config.json", checkpoint / "vae/config.json"):
        config = json.loads(file.read_text())
        file.write_text(json.dumps(config | {"_class_name": f"Flax{config['_class_name']}"}))
