"""How weight files are named: variants, shards in both spellings, pickle; and which files a request means.

Works on the names in one folder, wherever the folder is (disk, cache, hub listing). Reads nothing.

    diffusion_pytorch_model[.V].safetensors                  one file
    diffusion_pytorch_model[.V]-00001-of-00003.safetensors   a shard, listed in ...safetensors.index[.V].json
    diffusion_pytorch_model-00001-of-00003.V.safetensors     the old spelling, listed in ...safetensors.V.index.json
    model..., pytorch_model...                               the same of transformers (safetensors, pickle)
    diffusion_flax_model.msgpack, flax_model.msgpack         the same of Flax, in repositories from before 2024
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from components.errors import AbsentError

_SHARD = r"-\d{5}-of-\d{5}"
_WEIGHTS = re.compile(
    rf"(?P<base>diffusion_pytorch_model|pytorch_model|model)"
    rf"(?:\.(?P<v1>[^.]+?))?(?:{_SHARD})?(?:\.(?P<v2>[^.]+))?\.(?P<kind>safetensors|bin)"
    rf"(?:\.index\.json|\.index\.(?P<v3>[^.]+)\.json|\.(?P<v4>[^.]+)\.index\.json)?"
)
PLAIN = "none"
FLAX = ("diffusion_flax_model.msgpack", "flax_model.msgpack")


@dataclass(frozen=True)
class WeightChoice:
    """One weight file, or a shard index to be read for the names of several."""

    name: str
    is_index: bool
    is_pickle: bool
    variant: str | None


def variant_of(name: str) -> str | None:
    """The variant a weight file's name carries, `PLAIN` for none; None if it is no weight file."""
    match = _WEIGHTS.fullmatch(name)
    if match is None:
        return None
    return next((v for v in match.group("v1", "v2", "v3", "v4") if v), PLAIN)


def variants(names: Collection[str]) -> list[str]:
    """The variants there are among the file names of a folder, `PLAIN` first."""
    found = {v for v in map(variant_of, names) if v}
    return sorted(found, key=lambda v: (v != PLAIN, v))


def choose(
    names: Collection[str], *, variant: str | None, library: str, allow_pickle: bool, where: str
) -> list[WeightChoice]:
    """What a request may mean among the file names of a folder, best first; empty if the folder has no weights at all.

    Order: a shard index, a single file; safetensors always before pickle, then Flax's own files. `where` is what
    messages call the folder.

    Raises:
        AbsentError: no file of that variant (those there are get listed); only pickle files, and not allowed.
    """
    bases = ("model", "diffusion_pytorch_model") if library == "transformers" else ("diffusion_pytorch_model", "model")
    safe = [c for base in bases for c in _spellings(base, "safetensors", variant) if c.name in names]
    pickles = [c for base in (*bases, "pytorch_model") for c in _spellings(base, "bin", variant) if c.name in names]
    if safe or (pickles and allow_pickle):
        return safe or pickles
    if variant is None and (flax := [WeightChoice(name, False, False, None) for name in FLAX if name in names]):
        return flax
    if pickles:
        raise AbsentError(
            f"{where} has its weights only as pickle ({pickles[0].name}), which can run code when loaded. "
            "Use a repository with safetensors, or allow it, to be read by torch's weights-only loader: "
            "checkpoint.allow_pickle=true in a recipe, use_safetensors=False in Python."
        )
    there = variants(names)
    if there:
        asked = "without a variant" if variant is None else f"of variant {variant!r}"
        raise AbsentError(f"{where} has no weights {asked}; variants there: {', '.join(there)}.")
    return []


def _spellings(base: str, kind: str, variant: str | None) -> list[WeightChoice]:
    def choice(name: str) -> WeightChoice:
        return WeightChoice(name, name.endswith(".json"), kind == "bin", variant)

    if variant is None:
        return [choice(f"{base}.{kind}.index.json"), choice(f"{base}.{kind}")]
    return [
        choice(f"{base}.{kind}.index.{variant}.json"),
        choice(f"{base}.{kind}.{variant}.index.json"),
        choice(f"{base}.{variant}.{kind}"),
    ]


def flat_patterns(component: str, variant: str | None) -> list[str]:
    """The same of a repository that holds this one component, in its root."""
    stem = "model" if component.startswith("text_encoder") else "diffusion_pytorch_model"
    if component == "scheduler":
        return ["scheduler_config.json"]
    if component.startswith("tokenizer"):
        return ["tokenizer*.json", "special_tokens_map.json", "vocab.json", "merges.txt"]
    own = f"{stem}.{variant}" if variant else stem
    return ["config.json", f"{stem}.safetensors.index*.json", f"{own}.safetensors", f"{own}-*.safetensors"]


def patterns(component: str, variant: str | None) -> list[str]:
    """Which files of a repository a component of this name is read from, where its listing is not known."""
    configuration = f"{component}/*.json"
    if component == "scheduler":
        return [configuration]
    if component.startswith("tokenizer"):
        return [configuration, f"{component}/*.txt"]
    stem = f"{component}/*model.{variant}" if variant else f"{component}/*model"
    return [configuration, f"{stem}.safetensors", f"{stem}-*.safetensors"]
