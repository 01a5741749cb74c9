"""Arguments of `from_pretrained` that scripts pass out of habit: which change nothing here, and which cannot be served.

Shared by networks and pipelines. Knows no file; imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from components.errors import did_you_mean

NOTHING_TO_DO = (
    "low_cpu_mem_usage",  # loading is always frugal
    "offload_folder",
    "offload_state_dict",
    "max_memory",
    "resume_download",
    "disable_mmap",
    "trust_remote_code",  # nothing remote is run
)
"""Taken with any value."""

ONLY_ABSENT = {
    "custom_pipeline": "pipelines of the community are code from elsewhere, which is not run",
    "custom_revision": "it belongs to custom_pipeline, which is not run",
    "force_download": "delete the repository from the hub's cache, and it is fetched again",
    "proxies": "set HTTPS_PROXY, which downloads obey",
    "mirror": "set HF_ENDPOINT, which downloads obey",
    "local_dir": "give the folder in the repository's place",
    "quantization_config": "quantised weights are not served: torch_dtype=torch.float16 halves the memory",
    "from_flax": "files that Flax saved are read by FlaxDiffusionPipeline",
    "from_tf": "weights of TensorFlow are not read",
    "use_onnx": "ONNX files are not read",
    "provider": "ONNX files are not read",
    "sess_options": "ONNX files are not read",
    "dduf_file": "DDUF files are not read: unpack it, it is a zip file, and give the folder",
    "use_flashpack": "flashpack files are not read",
    "load_connected_pipeline": "load the other pipeline by its own repository",
    "ignore_mismatched_sizes": "weights must fit: one that does not would be random",
    "parallel_config": "a network is whole on one device",
    "use_auth_token": "give it as token=…",
}
"""Taken only where they ask for nothing (None or False), with what to do instead."""
LOGGED_IN = "use_auth_token", True  # the token of `hf auth login`, which is used anyhow

SPREAD = ("auto", "balanced", "balanced_low_0", "sequential")


def check_loading(who: str, options: Mapping[str, Any], known: Iterable[str], what: str = "argument") -> None:
    """Refuse what cannot be served, all at once; `known` are the names to suggest. Raises TypeError."""
    wrong = []
    for name, value in options.items():
        nothing = value is None or value is False or (name, value) == LOGGED_IN
        if name in NOTHING_TO_DO or (name in ONLY_ABSENT and nothing):
            continue
        if name in ONLY_ABSENT:
            wrong.append(f"{name}={value!r} cannot be served: {ONLY_ABSENT[name]}.")
        else:
            hint = did_you_mean(name, known) or f" There are: {', '.join(known)}."
            wrong.append(f"there is no {what} {name!r}.{hint}")
    if wrong:
        raise TypeError(f"{who}.from_pretrained: {' '.join(wrong)}")


def mapped_device(device_map: Any) -> Any:
    """The one device that a `device_map` names; None where it names none. Raises ValueError for one that spreads."""
    if isinstance(device_map, Mapping) and list(device_map) == [""]:
        return device_map[""]
    if isinstance(device_map, Mapping) or device_map in SPREAD:
        raise ValueError(
            f"device_map={device_map!r} spreads a network over devices, and here one is whole on one: "
            "name it (device_map='cuda'), or save memory with enable_model_cpu_offload()."
        )
    return device_map
