#!/usr/bin/env python
"""Tries the configuration files of real checkpoints on the project and says what it makes of each, one line a file:

ok; ok-no (not served, or of no use to the reference library either, and refused by name); REFUSED (the reference reads
it); UNCLEAR (a refusal that does not name it); DIFFERS (from what the reference reads); CRASH. Whole checkpoints are
planned too, with empty files for weights. The files are no part of the project, nor CLIP's vocab.json and merges.txt:

    python tests/real_files.py FOLDER --vocab FOLDER [scheduler network text_encoder tokenizer model_index]
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

import components
from components.checkpoint import open_checkpoint
from components.clip_files import TEXT_ENCODERS, TOKENIZERS, load_tokenizer
from components.component_files import ComponentFiles
from components.config_values import class_named
from components.schedulers import find_scheduler, scheduler_classes
from components.torch_models import text_encoder as clip
from runner.errors import RecipeError
from runner.families.serving import find_family
from runner.families.stable_diffusion import tokens
from runner.plan import make_plan
from runner.schema import Recipe

KINDS = ("scheduler", "network", "text_encoder", "tokenizer", "model_index")
NETWORKS = {name: getattr(components, name) for name in ("UNet2DConditionModel", "UNet2DModel", "AutoencoderKL")}
STEPS, A_CAT = 20, [49406, 320, 2368, 49407]
# Parts of networks that no family here uses: a network that has them is refused by the option's or the block's name.
ELSEWHERE = (
    "addition_embed_type",
    "attn_norm_num_groups",
    "class_embed_type",
    "cross_attention_norm",
    "encoder_hid_dim",
    "num_class_embeds",
    "resnet",
    "SimpleCrossAttn",
    "ResnetDownsampleBlock2D",
    "ResnetUpsampleBlock2D",
)


class Verdict(Exception):
    """What is to be said of a file, unless it is ok."""


def attempt(call: Callable[[], Any], served: Any) -> Any:
    """The result; a refusal is a verdict, REFUSED where the file ought to be `served`."""
    try:
        return call()
    except (ValueError, RecipeError) as error:  # what the project raises on purpose
        raise Verdict("REFUSED" if served else "no", " ".join(str(error).split())) from error


def peer(name: str, config: dict[str, Any], steps: int = 0) -> Any:
    """What the reference makes of a file; None where it has no such class, or cannot use the file either."""
    try:
        made = getattr(diffusers, name).from_config(config)
        if steps:
            made.set_timesteps(steps)
            made.step(torch.zeros(1, 3, 8, 8), made.timesteps[0], torch.zeros(1, 3, 8, 8))
        return made
    except Exception:
        return None


def scheduler(name: str, config: dict[str, Any], path: Path) -> None:
    """Timesteps, and what other classes and a copy on disk make of it."""
    cls = attempt(lambda: find_scheduler(name or "DDIMScheduler"), False)
    theirs, wrong = peer(name, config, STEPS), []
    own = attempt(lambda: cls.from_config(config), theirs is not None)
    table = attempt(lambda: own.tableau(STEPS), theirs is not None)
    with tempfile.TemporaryDirectory() as folder:
        own.save_pretrained(folder)
        again = cls.from_pretrained(folder)
    if not np.array_equal(again.tableau(STEPS).update, table.update):
        wrong.append("another table after saving")
    wrong += [f"{k} is lost in saving" for k, v in config.items() if k[0] != "_" and again.config.get(k, v) != v]
    if theirs is not None:
        timesteps = theirs.timesteps.numpy()
        if len(timesteps) != table.nfe or np.abs(timesteps - table.timestep).max() > 1:
            wrong.append(f"timesteps {table.timestep}, the reference's {timesteps}")
    for other in sorted({c.__name__ for c in theirs.compatibles} & set(scheduler_classes()) if theirs else ()):
        try:
            find_scheduler(other).from_config(config).tableau(STEPS)
        except Exception as error:
            if peer(other, config, STEPS):
                wrong.append(f"as {error}")
    if wrong:
        raise Verdict("DIFFERS", "; ".join(wrong))


def network(name: str, config: dict[str, Any], path: Path) -> None:
    """Names and shapes of the parameters, and every option as the file says it, nulls included."""
    with torch.device("meta"):
        theirs = peer(name, config)
        ours = NETWORKS.get(name, components.UNet2DConditionModel).from_config
        try:
            mine = attempt(lambda: ours(config), theirs and name in NETWORKS)
        except Verdict as error:
            told = error.args[1]
            if error.args[0] == "REFUSED" and any(part in told for part in ELSEWHERE):
                raise Verdict("no", f"{told} ({name})") from error
            raise
    if name not in NETWORKS or theirs is None:
        raise Verdict("DIFFERS", f"{name or 'a file without a class'} is read, though the reference does not read it")
    a, b = ({(k, *v.shape) for k, v in made.state_dict().items()} for made in (mine, theirs))
    wrong = [k for k, v in config.items() if k != "_class_name" and mine.config.to_dict().get(k, "absent") != v]
    if found := wrong + sorted(map(str, a ^ b)):
        raise Verdict("DIFFERS", f"{len(found)} parameters or options, such as {found[:3]}")


def text_encoder(name: str, config: dict[str, Any], path: Path) -> None:
    """That it is read, or refused by the name of its class."""
    files = ComponentFiles("text_encoder", "transformers", name, path.parent, path, config)
    attempt(lambda: clip.load_text_encoder(files), name in TEXT_ENCODERS)


def tokenizer(name: str, config: dict[str, Any], path: Path) -> None:
    """The ids of a text, with what it is padded by."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(path.parent, Path(folder, "tokenizer"))
        shutil.copytree(ARGUMENTS.vocab, Path(folder, "tokenizer"), dirs_exist_ok=True)
        found = attempt(lambda: load_tokenizer(open_checkpoint(folder).component("tokenizer")), name in TOKENIZERS)
    if name not in (*TOKENIZERS, ""):
        raise Verdict("DIFFERS", f"{name} is read as CLIPTokenizer without a word")
    extra = path.with_name("special_tokens_map.json")
    pad = (json.loads(extra.read_bytes()) if extra.exists() else config).get("pad_token") or "<|endoftext|>"
    pad = found.convert_tokens_to_ids(pad if isinstance(pad, str) else pad["content"])
    ids = tokens(found, "a cat", "prompt", print)[0][0].tolist()
    if ids != A_CAT + [pad] * (config.get("model_max_length", 77) - len(A_CAT)):
        raise Verdict("DIFFERS", f"'a cat' is {len(ids)} tokens: {ids[:6]}")


def model_index(name: str, config: dict[str, Any], path: Path) -> str:
    """A plan of the whole checkpoint, where the folder has the configurations of all its components."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copy(path, root)
        attempt(lambda: find_family(open_checkpoint(root)), False)
        unread = ("safety", "feature", "image")
        parts = [part for part in open_checkpoint(root).component_names if not part.startswith(unread)]
        if not all(list((path.parent / part).glob("*.json")) for part in parts):
            return "a pipeline; the folder is not whole, so nothing was planned"
        for part in parts:
            shutil.copytree(path.parent / part, root / part)
            shutil.copytree(ARGUMENTS.vocab, root / part, dirs_exist_ok=True)
            (root / part / f"{'model' if 'encoder' in part else 'diffusion_pytorch_model'}.safetensors").touch()
        own = {"name": config["scheduler"][1].removeprefix("Flax") if "scheduler" in parts else "ddim"}
        recipe = Recipe.model_validate({"name": "real", "checkpoint": {"repo": folder}, "scheduler": own})
        plan = attempt(lambda: make_plan(recipe), True)
        return f"planned: {plan.width}×{plan.height}, {plan.tableau.nfe} evaluations"


def kind_of(path: Path, config: Any) -> Callable[[str, dict[str, Any], Path], str | None] | None:
    """How a file is tried; None for one of no interest here."""
    by_name = {"tokenizer_config.json": tokenizer, "model_index.json": model_index, "scheduler_config.json": scheduler}
    if not isinstance(config, dict) or path.name in by_name:
        return by_name.get(path.name) if isinstance(config, dict) else None
    if path.parent.name.startswith("text_encoder") and path.name == "config.json":
        return text_encoder
    return network if "_class_name" in config else None


def class_of(config: dict[str, Any], kind: str) -> str:
    """The class that a file names, "" where it names none."""
    named = config.get("architectures" if kind == "text_encoder" else "tokenizer_class") or ""
    return class_named(config) or str(named[0] if isinstance(named, list) else named).removeprefix("Flax")


def main() -> int:
    counts: Counter[tuple[str, str]] = Counter()
    seen: set[bytes] = set()
    for path in sorted(ARGUMENTS.folder.rglob("*.json")):
        config = json.loads(content := path.read_bytes())
        check = kind_of(path, config)
        if check is None or check.__name__ not in (ARGUMENTS.kinds or KINDS):
            continue
        if content in seen and check is not model_index:
            continue
        seen.add(content)
        name = class_of(config, check.__name__)
        try:
            verdict, message = "ok", check(name, config, path) or ""
        except Verdict as error:
            verdict, message = error.args
            verdict = verdict if verdict != "no" else "ok-no" if name in message else "UNCLEAR"
        except Exception as error:
            verdict, message = "CRASH", f"{type(error).__name__}: {error}"
        counts[check.__name__, verdict] += 1
        print(f"{verdict:8} {check.__name__:13} {path.relative_to(ARGUMENTS.folder)}  {message[:1000]}", flush=True)
    print("\n".join(f"{kind:14}{verdict:9}{count:5}" for (kind, verdict), count in sorted(counts.items())))
    return any(verdict not in ("ok", "ok-no") for _, verdict in counts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder with the files, any number of levels deep")
    parser.add_argument("--vocab", type=Path, required=True, help="folder with CLIP's vocab.json and merges.txt")
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"only these, of {', '.join(KINDS)}")
    ARGUMENTS = parser.parse_intermixed_args()
    if unknown := set(ARGUMENTS.kinds) - set(KINDS):
        parser.error(f"no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    clip.load_state = lambda *a, **k: None  # there are no weights here
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.exit(main())
