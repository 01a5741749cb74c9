"""What to say of a key that recipes do not have: other tools' word for one of ours, something that is not served, or a
slip of the keyboard. Only keys of the section it stands in, or would stand in, are suggested.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from components.schedulers.names import folded
from runner.errors import Problem, nearest
from runner.keys import FREE, NAMES, is_name, joined
from runner.registry import GROUPS, PACKAGED, Library, scheduler_options
from runner.schema import COMPONENTS, children, find_key, key_paths

ELSEWHERE: dict[str, tuple[str, ...]] = {
    "scheduler": ("sampler", "sampler_name", "sampler_index", "sampling_method", "scheduler_name"),
    "schedule": ("schedule_type", "noise_schedule", "sampler_sigma"),
    "guidance_scale": ("cfg", "cfg_scale", "guidance", "scale"),
    "guidance_rescale": ("cfg_rescale", "cfg_rescale_multiplier"),
    "checkpoint.repo": (
        *("model", "model_path", "model_name", "model_id", "ckpt", "ckpt_name", "ckpt_path", "base_model", "repo_id"),
        *("path", "checkpoint_path", "checkpoint_name", "pretrained_model_name_or_path", "sd_model_checkpoint"),
    ),
    "num_images": ("n_iter", "batch_count", "num_images_per_prompt", "n_images", "n_samples", "images"),
    "batch_size": ("batch",),
    "steps": ("num_inference_steps", "inference_steps", "sampling_steps", "num_steps", "n_steps", "ddim_steps"),
    "prompt": ("positive", "positive_prompt", "text"),
    "negative_prompt": ("negative", "neg", "neg_prompt", "uc"),
    "seed": ("noise_seed", "manual_seed"),
    "width": ("w",),
    "height": ("h",),
    "backend.dtype": ("precision", "torch_dtype", "weight_dtype"),
    "backend.offload": ("enable_model_cpu_offload", "cpu_offload", "lowvram", "medvram"),
    "output.dir": ("outdir", "output_dir", "output_path", "out"),
    "noise.device": ("rng", "rand_device"),
    "checkpoint.components.vae.repo": ("vae_name", "vae_path", "sd_vae"),
    **{f"checkpoint.components.{name}.repo": (name,) for name in COMPONENTS if name != "scheduler"},
}
"""Our key → what A1111, ComfyUI, diffusers and others call it."""

INSIDE: dict[str, tuple[str, ...]] = {
    "repo": ("path", "folder", "model", "name", "repo_id", "pretrained_model_name_or_path"),
    "dir": ("path", "folder"),
    "dtype": ("precision", "torch_dtype"),
    "spacing": ("name", "type", "kind"),
}
"""The same of keys inside a section."""

_FROM_A_PICTURE = "starting from a picture (image to image) is not served yet: a run starts from noise"
_SECOND_PASS = (
    "a second pass at a larger size and upscaling are not served yet: width and height are the picture's size"
)
NOT_SERVED: dict[str, tuple[str, ...]] = {
    "LoRAs are not served yet": ("lora", "loras", "lora_name", "lora_weights", "lora_scale", "lycoris"),
    _FROM_A_PICTURE: ("strength", "denoise", "denoising_strength", "image", "init_image", "img2img", "init_images"),
    "painting into a picture (inpainting) is not served yet": ("mask", "mask_image", "mask_blur", "inpaint"),
    "ControlNet and its kin are not served yet": (
        *("controlnet", "control", "control_image", "controlnet_conditioning_scale", "t2i_adapter"),
    ),
    "pictures as prompts (IP-Adapter) are not served yet": ("ip_adapter", "ip_adapter_image", "ip_adapter_scale"),
    _SECOND_PASS: (
        *("hires", "hires_fix", "enable_hr", "hr_scale", "hires_upscale", "hires_upscaler", "hires_steps"),
        *("upscale", "upscaler", "highres"),
    ),
    "a refiner, a second network for the last steps, is not served yet": ("refiner", "refiner_switch_at"),
    "embeddings of textual inversion are not served yet": ("embedding", "embeddings", "textual_inversion"),
    "hypernetworks are not served": ("hypernetwork", "hypernet"),
    "noise mixed of two seeds is not served": (
        *("subseed", "subseed_strength", "variation_seed", "variation_seed_strength", "variation_strength"),
    ),
    "another seed for a sampler's own noise is not served": ("ensd", "eta_noise_seed_delta"),
    "styles are text: write them into the prompt": ("style", "styles"),
    "mending faces is not served": ("restore_faces", "face_restoration"),
    "pictures that tile are not served": ("tiling", "seamless"),
    "changes to the network's inner workings are not served": ("freeu", "pag_scale", "token_merging_ratio", "tome"),
    "a checkpoint's safety checker is never run, so there is nothing to switch off": ("safety_checker", "nsfw"),
}
"""What there is no key for → what others call it."""

_SIZE = ("size", "resolution", "width x height", "dimensions")
_CLIP_SKIP = ("clip_skip", "clip_stop_at_last_layers")
_PIXELS = re.compile(r"^\s*[\[(]?\s*(\d{1,5})\s*[x×,*]\s*(\d{1,5})\s*[\])]?\s*$", re.IGNORECASE)


def unknown_key(
    where: str, keys: Sequence[str], value: Any, library: Library | None = None, *, to: str = ""
) -> Problem:
    """The problem of a key that does not exist (`to` do what), with the key that was meant and how it is written."""
    library = library or Library((PACKAGED,))
    what, typed = f"there is no key '{'.'.join(keys)}'{to}", where.startswith("command line")
    if hint := _known_elsewhere(keys, value, library, typed=typed):
        return Problem(where, what, hint=hint)
    if len(keys) > 1 and keys[0] == "scheduler":
        return Problem(where, what, hint="options of the scheduler are set as scheduler.OPTION=value")
    if bad := next((part for at, part in enumerate(keys) if _is_no_name(keys[:at], part)), None):
        return Problem(where, f"'{bad}' cannot be a name", hint=f"a name here is {NAMES}")
    section = _section(keys[:-1])
    if section is None:
        return Problem(where, what, _children(""))
    name, names = keys[-1], _children(section)
    if section and not names:
        return Problem(where, f"{what}: '{section}' is one value")
    inside = next((ours for ours in names if folded(name) in map(folded, (ours, *INSIDE.get(ours, ())))), None)
    close = inside or nearest(name, names)
    if close and section and (typed or section != ".".join(keys[:-1])):
        close = f"{section}.{close}"
    return Problem(where, what, names, close)


def without_dashes(where: str, option: str, value: str) -> str | None:
    """What to type for `--steps 20` and `--cfg-scale 7`; None where no such key is known, here or elsewhere."""
    key, value = option.strip("-").replace("-", "_"), value or "VALUE"
    if key in (*GROUPS, *key_paths()):
        return f"keys have no dashes: {shlex.quote(f'{key}={value}')}"
    return unknown_key(where, [key], value).hint


def size_hint(text: str, *, typed: bool) -> str | None:
    """How '512x768' is written; None where the text is no size."""
    found = _PIXELS.match(text)
    if found is None:
        return None
    width, height = found.groups()
    return f"write: width={width} height={height}" if typed else f"write: width: {width} and height: {height}"


def _known_elsewhere(keys: Sequence[str], value: Any, library: Library, *, typed: bool) -> str | None:
    """What to write instead, where the key is another tool's, or stands outside its section."""
    if len(keys) > 1:
        return None
    key, name = keys[0], folded(keys[0])
    if name in map(folded, _SIZE):
        return size_hint(str(value), typed=typed) or "a size is two keys: width and height"
    if name in map(folded, _CLIP_SKIP):
        skipped = value - 1 if isinstance(value, int) and value > 0 else "LAYERS"
        return f"{_written('clip_skip', skipped, typed)}, the layers to leave out: A1111 and ComfyUI count one more"
    for sentence, names in NOT_SERVED.items():
        if name in map(folded, names):
            return sentence
    for ours, names in ELSEWHERE.items():
        if name in map(folded, names):
            return _written(ours, value, typed, library)
    top = {folded(path): path for path in (*GROUPS, *key_paths()) if "." not in path}
    if name in top:
        return _written(top[name], value, typed, library)
    leaves = [path for path in key_paths() if path.count(".") == 1 and FREE not in path]
    leaves = [path for path in leaves if folded(path.partition(".")[2]) == name]
    if leaves:
        written = _written(leaves[0], value, typed).removeprefix("write: ")
        return f"the key is {' or '.join(leaves)}: {written}"
    if key in scheduler_options():
        written = _written(f"scheduler.{key}", value, typed).removeprefix("write: ")
        return f"'{key}' is an option of schedulers: {written}"
    if groups := [group for group in GROUPS if key in library.choices(group)]:
        return f"'{key}' is a {groups[0]}: {groups[0]}={key}"
    return None


def _written(key: str, value: Any, typed: bool, library: Library | None = None) -> str:
    """'write: …', as it is typed or as it stands in a file; choices by their own names."""
    group = "checkpoint" if key == "checkpoint.repo" else key
    if library and group in GROUPS:
        if chosen := _choices(group, value, library):
            entries = ", ".join(f"override /{one}: {choice}" for one, choice in chosen.items())
            words = " ".join(f"{one}={choice}" for one, choice in chosen.items())
            return f"write: {words}" if typed else f"write: defaults: [{entries}]"
        if key in GROUPS:
            said = library.names.sentence(key, str(value))
            return f"the key is {key}; {said}" if said else f"the key is {key}; `recipe ls` lists what there is"
    if isinstance(value, dict | list) and not typed:
        return f"the key is {key}"
    if typed:
        return "write: " + shlex.quote(f"{key}={value}")
    *sections, leaf = key.split(".")
    return "write: " + "".join(f"{part}: {{" for part in sections) + f"{leaf}: {value}" + "}" * len(sections)


def _choices(group: str, value: Any, library: Library) -> dict[str, str] | None:
    """Group → choice of what was named; what others call a scheduler may be a schedule."""
    swapped = {"scheduler": "schedule", "schedule": "scheduler"}.get(group, group)
    name = str(value)
    return library.meaning(group, name) or library.meaning(swapped, name)


def _section(parts: Sequence[str]) -> str | None:
    """The section that these words lead to, slips and a missing beginning forgiven; None where there is no such."""
    sections = {path.rpartition(".")[0] for path in key_paths()}
    typed = ".".join(parts)
    if not typed or find_key(typed):
        return typed
    if ends := [section for section in sections if section.endswith(f".{typed}") and FREE not in section]:
        return min(ends, key=len)
    found = ""
    for part in parts:
        exact = joined(found, part)
        if find_key(exact) not in sections:
            close = nearest(part, [child for child in _children(found) if find_key(joined(found, child)) in sections])
            if close is None:
                return None
            exact = joined(found, close)
        found = exact
    return found


def _is_no_name(section: Sequence[str], part: str) -> bool:
    """Whether the names in a section are the user's, and this cannot be one."""
    return bool(section) and not is_name(part) and (find_key(".".join([*section, "a"])) or "").endswith(f".{FREE}")


def _children(section: str) -> tuple[str, ...]:
    own = children(section)
    return own if section else (*GROUPS, *(name for name in own if name not in GROUPS))
