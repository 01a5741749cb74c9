"""Which family serves a checkpoint, by its index alone; and where none does, what the checkpoint is called.

The names of classes tell a family: of the pipeline where the index names it, of a component where a checkpoint of
another family borrows a pipeline that is served. The tables promise nothing: a class that they lack is refused as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import TYPE_CHECKING

from components.checkpoint import INDEX, is_component
from components.clip_files import TEXT_ENCODERS, TOKENIZERS
from components.config_values import class_named, shown
from runner.errors import Problem, RecipeError, nearest
from runner.families import families

if TYPE_CHECKING:
    from components.checkpoint import Checkpoint
    from runner.families import Family

# What a pipeline's class begins with → its family, the longer beginnings first where one holds the other.
FAMILIES = {
    "AltDiffusion": "AltDiffusion",
    "AnimateDiff": "AnimateDiff",
    "AudioLDM": "AudioLDM",
    "AuraFlow": "AuraFlow",
    "Chroma": "Chroma",
    "CogVideoX": "CogVideoX",
    "CogView": "CogView",
    "Consistency": "consistency models",
    "Cosmos": "Cosmos",
    "DiT": "DiT",
    "EasyAnimate": "EasyAnimate",
    "Flux": "Flux",
    "HiDream": "HiDream",
    "Hunyuan": "Hunyuan",
    "IF": "DeepFloyd IF",
    "I2VGen": "I2VGen-XL",
    "Kandinsky": "Kandinsky",
    "Kolors": "Kolors",
    "LDM": "latent diffusion before Stable Diffusion",
    "LTX": "LTX-Video",
    "Latte": "Latte",
    "Lumina": "Lumina",
    "Mochi": "Mochi",
    "MusicLDM": "MusicLDM",
    "OmniGen": "OmniGen",
    "PixArt": "PixArt",
    "QwenImage": "Qwen-Image",
    "Sana": "Sana",
    "ScoreSde": "score-based models",
    "StableAudio": "Stable Audio",
    "StableCascade": "Stable Cascade",
    "StableDiffusion3": "Stable Diffusion 3",
    "StableUnCLIP": "Stable unCLIP",
    "StableVideoDiffusion": "Stable Video Diffusion",
    "TextToVideo": "text to video",
    "UnCLIP": "unCLIP",
    "VersatileDiffusion": "Versatile Diffusion",
    "Wan": "Wan",
    "Wuerstchen": "Würstchen",
    "ZImage": "Z-Image",
}
# What a component's class begins with → the family that brings it under the name of a pipeline that is served.
COMPONENTS = {
    "ChatGLM": "Kolors",
    "Onnx": "checkpoints exported to ONNX",
    "OV": "checkpoints exported to OpenVINO",
    "RobertaSeries": "AltDiffusion",
    "T5": "checkpoints with a T5 text encoder",
    "Gemma": "checkpoints with a Gemma text encoder",
    "Qwen": "checkpoints with a Qwen text encoder",
    "AutoencoderTiny": "checkpoints with a tiny autoencoder",
    "ConsistencyDecoder": "checkpoints with a consistency decoder",
}
# Words in the name of a pipeline that is served, or of its relatives → what such a checkpoint does instead.
TASKS = {
    "Onnx": "a checkpoint exported to ONNX",
    "Inpaint": "inpainting",
    "Img2Img": "picture to picture",
    "InstructPix2Pix": "editing by instruction",
    "ControlNet": "ControlNet",
    "Upscale": "upscaling",
    "Depth2Img": "depth to picture",
    "ImageVariation": "variations of a picture",
    "Adapter": "T2I-Adapter",
}


def find_family(checkpoint: Checkpoint, replaced: Collection[str] = ()) -> Family:
    """The family that this checkpoint's class belongs to; `replaced` components come from elsewhere.

    Raises RecipeError with the classes there are, or with components that are of another family.
    """
    known, name = families(), class_named(checkpoint.index)
    if not name:
        what = f"{checkpoint.source} has no {INDEX} that names a pipeline, so it is no whole checkpoint"
        hint = "a single network can be named under checkpoint.components"
        raise RecipeError([Problem("checkpoint.repo", what, hint=hint)])
    if isinstance(checkpoint.index["_class_name"], list):
        what = f"{checkpoint.source} is a {name} that brings code of its own, which is not run here"
        raise RecipeError([Problem("checkpoint.repo", what, tuple(known))])
    if name not in known:
        meant = _misspelt(name, known)
        what = f"{checkpoint.source} is a {name}, {'which cannot be run here' if meant else _unserved(name)}"
        raise RecipeError([Problem("checkpoint.repo", what, tuple(known), meant)])
    if problems := list(_foreign(checkpoint, name, known[name], replaced)):
        raise RecipeError(problems)
    return known[name]


def _foreign(checkpoint: Checkpoint, name: str, family: Family, replaced: Collection[str]) -> Iterable[Problem]:
    """Components that the index gives another class than the pipeline's, or no class that can be read."""
    for part in (*family.components, "scheduler"):
        entry = checkpoint.index.get(part)
        if entry is None or part in replaced:
            continue
        if not is_component(entry):
            what = (
                f"{checkpoint.source} is a {name} whose {INDEX} has {part}: {shown(entry)}; expected [library, class]"
            )
            yield Problem("checkpoint", what)
            continue
        expected = _expected(part, family)
        if entry[1] and expected and entry[1] not in expected:
            what = f"its {part} is a {entry[1]}, but that of a {name} must be a {' or '.join(expected)}"
            borrowing = _beginning(entry[1], COMPONENTS)
            yield Problem("checkpoint", what, hint=borrowing and f"not served here: {borrowing}")


def _expected(part: str, family: Family) -> tuple[str, ...]:
    """The classes that a component may have; () where its own reader decides."""
    if part in family.models:
        return (family.models[part][0],)
    return TOKENIZERS if part.startswith("tokenizer") else TEXT_ENCODERS if part.startswith("text_encoder") else ()


def _unserved(name: str) -> str:
    """What a pipeline's class that is not served stands for, as the end of a sentence about it."""
    if family := _beginning(name, FAMILIES):
        return f"of a family that is not served here: {family}"
    if task := next((told for word, told in TASKS.items() if word in name), None):
        return f"of a kind that is not served here: {task}"
    return "of a kind that is not served here"


def _misspelt(name: str, known: Iterable[str]) -> str | None:
    """The served class that `name` is a few letters off; where a whole word is another one, so is the kind."""
    meant = nearest(name, known)
    if meant is None or meant.lower() == name.lower():
        return meant
    pairs = list(zip_longest(_words(name), _words(meant), fillvalue=""))
    return meant if all(SequenceMatcher(None, a, b).ratio() > 0.7 for a, b in pairs) else None


def _beginning(name: str, table: Mapping[str, str]) -> str | None:
    found = [start for start in table if re.match(rf"{start}(?![a-z])", name)]
    return table[max(found, key=len)] if found else None


def _words(name: str) -> list[str]:
    """The words of a name in camel case, in small letters."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
