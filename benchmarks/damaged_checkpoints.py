"""What is said of a checkpoint that is damaged, or not what the recipe says it is: docs/damaged_checkpoints.md.

    python benchmarks/damaged_checkpoints.py > docs/damaged_checkpoints.md

Each case takes a copy of the bundled checkpoint, does one thing to it, and runs a recipe on it. A test runs the cases
too: every message must name what it should, nothing may have been drawn, and the file in docs must be this table.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from components.tensor_headers import read_header
from runner.bundled import DEMO_FOLDER
from runner.errors import RecipeError
from runner.execute import execute
from runner.schema import Recipe

WEIGHTS = "diffusion_pytorch_model.safetensors"
ONE, TWO = (f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2))
UNET, VAE, VAE_CONFIG = f"unet/{WEIGHTS}", f"vae/{WEIGHTS}", "vae/config.json"
BIAS = "decoder.conv_in.bias"
Keys = dict[str, Any]
Damage = Callable[[Path], Keys | None]


@dataclass(frozen=True)
class Case:
    """`damage` changes a checkpoint's folder and may return `checkpoint` keys; `names` must be in the message."""

    what: str
    damage: Damage
    names: tuple[str, ...]


def write(path: Path, content: bytes | str) -> None:
    """A new file in the place of the old one, which is shared with other copies."""
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("latin-1"))


def edit(file: str, change: Callable[[bytes], bytes | str]) -> Damage:
    return lambda folder: write(folder / file, change((folder / file).read_bytes()))


def put(file: str, content: bytes | str) -> Damage:
    return lambda folder: write(folder / file, content)


def remove(*names: str) -> Damage:
    def damage(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def _move(path: Path, new: str) -> None:
    path.rename(path.with_name(new))


def values(file: str, **changes: Any) -> Damage:
    """Other values in a JSON file."""
    return edit(file, lambda old: json.dumps(json.loads(old) | changes))


def keys(**asked: Any) -> Damage:
    """Nothing is done to the folder, but the recipe asks for what is not there."""
    return lambda folder: asked


def both(*damages: Damage) -> Damage:
    def damage(folder: Path) -> Keys:
        found: Keys = {}
        for each in damages:
            found |= each(folder) or {}
        return found

    return damage


def tensors(file: str, change: Callable[[dict[str, Any]], None]) -> Damage:
    """Tensors of a safetensors file added, removed or exchanged by name: (dtype, shape, bytes)."""

    def damage(folder: Path) -> None:
        path = folder / file
        state = read_tensors(path)
        change(state)
        write(path, safetensors(state))

    return damage


def read_tensors(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    data = raw[8 + length :]
    found = {}
    for name in read_header(path):
        begin, end = header[name]["data_offsets"]
        found[name] = header[name]["dtype"], header[name]["shape"], data[begin:end]
    return found


def safetensors(state: dict[str, Any]) -> bytes:
    header, position = {}, 0
    for name, (dtype, shape, data) in state.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + len(data)]}
        position += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in state.values())


def shards(*names: str, index: Callable[[str], str], both_have: str | None = None) -> Damage:
    """The VAE's file cut in two, those of `names` kept; `index` says which shard each tensor is in."""

    def damage(folder: Path) -> None:
        state = read_tensors(folder / VAE)
        (folder / VAE).unlink()
        for shard in names:
            part = {n: t for n, t in state.items() if half(n) == shard or n == both_have}
            write(folder / "vae" / shard, safetensors(part))
        weight_map = {name: index(name) for name in state}
        write(folder / "vae" / f"{WEIGHTS}.index.json", json.dumps({"weight_map": weight_map}))

    return damage


def half(name: str) -> str:
    return ONE if name.startswith("encoder") else TWO


def as_pickle(evil: bool) -> Damage:
    def damage(folder: Path) -> Keys:
        import torch

        (folder / VAE).unlink()
        torch.save({"x": _Evil()} if evil else {"x": torch.zeros(1)}, folder / "vae/diffusion_pytorch_model.bin")
        return {"allow_pickle": True} if evil else {}

    return damage


class _Evil:
    """What would run a command if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.pop(name)


def replaced(name: str, dtype: str, shape: list[int], size: int) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.update({name: (dtype, shape, bytes(size))})


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 335000000\n"
PAGE = "<!DOCTYPE html><html><head><title>404</title></head></html>"
FP16 = "diffusion_pytorch_model.fp16.safetensors"

CASES = (
    Case("the weights are cut short", edit(VAE, lambda old: old[:-5000]), (VAE, "truncated", "tensor")),
    Case("the weights' header is cut short", edit(VAE, lambda old: old[:20]), (VAE, "truncated", "header")),
    Case("the weights are an empty file", put(VAE, b""), (VAE, "not a safetensors file")),
    Case("the weights are a Git LFS pointer", put(VAE, LFS), (VAE, "git lfs pull")),
    Case("the weights are a web page", put(VAE, PAGE), (VAE, "not a safetensors file")),
    Case("the header is not JSON", edit(VAE, lambda old: old.replace(b'{"', b"{!", 1)), (VAE, "corrupt", "JSON")),
    Case(
        "the header contradicts itself",
        edit(VAE, lambda old: old.replace(b'"shape":[3,', b'"shape":[4,', 1)),
        (VAE, "corrupt", "tensor 'decoder.conv_out.weight'"),
    ),
    Case("bytes behind the last tensor", edit(VAE, lambda old: old + b"more"), (VAE, "corrupt", "4 bytes")),
    Case("a tensor is missing", tensors(VAE, drop(BIAS)), (VAE, "missing", BIAS)),
    Case("a tensor too many", tensors(VAE, replaced("x.bias", "F32", [2], 8)), (VAE, "unexpected", "x.bias")),
    Case("a tensor has another shape", tensors(VAE, replaced(BIAS, "F32", [7], 28)), (VAE, f"{BIAS} is [7], expected")),
    Case("a tensor of whole numbers", tensors(VAE, replaced(BIAS, "I64", [96], 768)), (VAE, f"{BIAS} is int64")),
    Case(
        "the weights are another network's",
        lambda folder: write(folder / UNET, (folder / VAE).read_bytes()),
        (UNET, "UNet2DConditionModel", "conv_in.weight"),
    ),
    Case("a shard is missing", shards(ONE, index=half), (TWO, f"{WEIGHTS}.index.json")),
    Case(
        "the index promises what a shard has not",
        shards(ONE, TWO, index=lambda name: ONE),
        (f"{WEIGHTS}.index.json", "promises tensor", ONE),
    ),
    Case("a tensor is in two shards", shards(ONE, TWO, index=half, both_have=BIAS), (BIAS, ONE, TWO)),
    Case(
        "the index leads out of the folder",
        shards(ONE, TWO, index=lambda name: "../../secret.safetensors"),
        ("../../secret.safetensors", f"{WEIGHTS}.index.json"),
    ),
    Case("there is only a pickle", as_pickle(evil=False), ("diffusion_pytorch_model.bin", "allow_pickle")),
    Case("an allowed pickle would run code", as_pickle(evil=True), ("diffusion_pytorch_model.bin", "weights-only")),
    Case("the variant asked for is not there", keys(variant="fp61"), ("'fp61'", "unet: none", "vae: none")),
    Case(
        "the variant is misspelt",
        both(lambda folder: _move(folder / UNET, FP16), keys(variant="fp61")),
        ("'fp61'", "unet: fp16", "Did you mean 'fp16'?"),
    ),
    Case("there is only a variant", lambda folder: _move(folder / VAE, FP16), ("without a variant", "fp16")),
    Case(
        "a component's variant is not there",
        keys(components={"vae": {"variant": "fp16"}}),
        ("checkpoint.components.vae", "'fp16'", "variants there: none"),
    ),
    Case("there are no weights", remove(VAE), ("vae has no weights", "config.json")),
    Case("model_index.json is not JSON", put("model_index.json", "{"), ("model_index.json", "line 1, column 2")),
    Case("there is no model_index.json", remove("model_index.json"), ("no model_index.json",)),
    Case("a configuration is not JSON", put(VAE_CONFIG, '{"act_fn": silu}'), (VAE_CONFIG, "line 1, column 12")),
    Case("a configuration is a list", put(VAE_CONFIG, "[1]"), (VAE_CONFIG, "expected an object")),
    Case("a component's folder is missing", remove("vae"), ("no folder 'vae'",)),
    Case("a component is null in the index", values("model_index.json", vae=[None, None]), ("'vae'", "null")),
    Case(
        "a configuration's value is not supported",
        values("unet/config.json", class_embed_type="timestep"),
        ("unet/config.json", "class_embed_type='timestep'"),
    ),
    Case(
        "a configuration's value is of the wrong type",
        values(VAE_CONFIG, layers_per_block="two"),
        (VAE_CONFIG, "layers_per_block='two'", "int"),
    ),
    Case(
        "a component is of another class",
        values("model_index.json", unet=["diffusers", "Transformer2DModel"]),
        ("unet", "Transformer2DModel", "UNet2DConditionModel"),
    ),
    Case(
        "the text encoder is of another class",
        values("model_index.json", text_encoder=["transformers", "T5EncoderModel"]),
        ("text_encoder", "T5EncoderModel", "CLIPTextModel"),
    ),
    Case(
        "components do not fit one another",
        values("text_encoder/config.json", hidden_size=96),
        ("the UNet attends to", "96"),
    ),
    Case("the tokenizer has no vocabulary", remove("tokenizer/vocab.json"), ("tokenizer", "vocab.json")),
    Case("the vocabulary is not JSON", put("tokenizer/vocab.json", "{"), ("tokenizer/vocab.json",)),
    Case(
        "the pipeline is of a class not known here",
        values("model_index.json", _class_name="StableDiffusionPipelin"),
        ("StableDiffusionPipelin", "Did you mean 'StableDiffusionPipeline'?"),
    ),
    Case("subfolder leads out of the checkpoint", keys(components={"vae": {"subfolder": "../vae"}}), ("'../vae'",)),
    Case("subfolder is misspelt", keys(components={"vae": {"subfolder": "vea"}}), ("'vea'", "Did you mean 'vae'?")),
    Case("the folder is misspelt", keys(repo="chekpoint"), ("chekpoint", "Did you mean '")),
    Case("the path is a file", keys(repo="model_index.json"), ("is a file", "a checkpoint is a folder")),
    Case("a folder has no revisions", keys(revision="main"), ("revision='main'",)),
)


def message(case: Case, place: Path) -> str:
    """What a run says of a damaged copy in `place`, with the copy's own path written as ./checkpoint."""
    folder = place / "checkpoint"
    shutil.copytree(DEMO_FOLDER / "shapes", folder, copy_function=_linked)
    asked = case.damage(folder) or {}
    if repo := asked.get("repo"):
        beside = place if (place / repo).exists() or "." not in repo else folder
        asked = asked | {"repo": str(beside / repo)}
    recipe = Recipe.model_validate(
        {
            "name": "damaged",
            "checkpoint": {"repo": str(folder)} | asked,
            "scheduler": {"name": "DDIMScheduler"},
            "backend": {"device": "cpu", "threads": 1},
            "output": {"dir": str(place / "outputs")},
            "steps": 1,
        }
    )
    try:
        execute(recipe, progress=False)
    except RecipeError as error:
        return str(error).replace(f"{place}/", "./")
    return "(nothing: it ran)"


def _linked(source: str, target: str) -> None:
    """The same file, or a copy where the two places are on different disks."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def document(said: dict[str, str]) -> str:
    """The table of the messages by case."""
    lines = [
        "# Damaged checkpoints",
        "",
        "What `run` says of a checkpoint that is damaged, or not what the recipe says it is. Nothing is drawn, and of",
        "a file nothing is loaded before its whole header has been checked. Made by",
        "`python benchmarks/damaged_checkpoints.py` from copies of the bundled checkpoint in `./checkpoint`;",
        "`pytest tests/test_damaged_checkpoints.py` keeps it true.",
        "",
        "| | what is wrong | what is said |",
        "|--:|---|---|",
    ]
    for number, case in enumerate(CASES, 1):
        text = " ".join(said[case.what].split()).replace("|", "\\|")
        lines.append(f"| {number} | {case.what} | {text} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    said = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as place:
            said[case.what] = message(case, Path(place))
    print(document(said), end="")


if __name__ == "__main__":
    main()
