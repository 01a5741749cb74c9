"""`recipe plan` where weights, configurations or the network are missing: what is known, then what is needed."""

from __future__ import annotations

import fnmatch
import shlex
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from components.hub import cache_folder
from runner.bundled import DEMO_FOLDER

SHAPES = DEMO_FOLDER / "shapes"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def command(out: str) -> list[str]:
    """The words of the one command that fetches."""
    (line,) = (line for line in out.splitlines() if " download " in line)
    return shlex.split(line)


def test_a_plan_of_what_is_not_here_tells_what_it_knows_and_how_to_fetch_the_rest(here, offline) -> None:
    code, out, err = here.recipe_command("plan", "sdxl", "steps=7", "height=1024", "width=768")
    assert code == 2, "as `run` would end"
    assert f"checkpoint  {SDXL}\n" in out
    assert "pictures    1 of 768×1024\n" in out
    assert "7 steps, 7 network evaluations, by its own defaults" in out
    assert len([line for line in out.splitlines() if "  " in line and line.split()[0].isdigit()]) == 7
    assert err.startswith(f"recipe: checkpoint: {SDXL} is not (wholly) in the cache {cache_folder()}")
    assert "Traceback" not in err
    words = command(out)
    assert words[0].endswith("hf") and words[1:3] == ["download", SDXL]
    assert here.run("recipe=sdxl")[0] == 2


# Of the real repository (main): what the pipeline reads with variant fp16, and what it has no use for.
READ = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "text_encoder_2/model.fp16.safetensors",
    "tokenizer/merges.txt",
    "tokenizer_2/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
]
UNREAD = [
    "sd_xl_base_1.0.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/model.onnx",
    "unet/openvino_model.bin",
    "vae_1_0/diffusion_pytorch_model.safetensors",
    "vae_decoder/model.onnx",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.safetensors",
]


def test_the_command_fetches_what_is_read_and_nothing_else(here, offline) -> None:
    words = command(here.recipe_command("plan", "sdxl", "checkpoint.variant=fp16")[1])
    patterns = [pattern for option, pattern in pairwise(words) if option == "--include"]
    assert all(any(fnmatch.fnmatch(name, pattern) for pattern in patterns) for name in READ)
    assert not [name for name in UNREAD if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def test_a_revision_and_a_component_from_elsewhere_have_commands_of_their_own(here, offline) -> None:
    words = ["checkpoint.repo=a/b", "checkpoint.revision=v2", "checkpoint.components.vae.repo=c/d"]
    code, out, _ = here.recipe_command("plan", "sd15", *words)
    first, second = (shlex.split(line) for line in out.splitlines() if " download " in line)
    assert code == 2
    assert first[2:5] == ["a/b", "--revision", "v2"] and "vae/*.json" not in first
    assert second[2] == "c/d" and [word for word in second[3:] if word != "--include"] == [
        "vae/*.json",
        "vae/*model.safetensors",
        "vae/*model-*.safetensors",
        "config.json",
        "diffusion_pytorch_model.safetensors.index*.json",
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model-*.safetensors",
    ]


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_repository_that_is_one_component_is_fetched_and_found(here, offline, variant) -> None:
    """The autoencoders that are published alone have their files in the root."""
    suffix = f".{variant}" if variant else ""
    there = ["config.json", f"diffusion_pytorch_model{suffix}.safetensors", "README.md", "diffusion_pytorch_model.bin"]
    words = ["checkpoint.components.vae.repo=c/d", *([f"checkpoint.variant={variant}"] if variant else [])]
    _, out, _ = here.recipe_command("plan", "sd15", *words)
    (line,) = (line for line in out.splitlines() if " download c/d " in line)
    patterns = [pattern for option, pattern in pairwise(shlex.split(line)) if option == "--include"]
    assert [name for name in there if any(fnmatch.fnmatch(name, one) for one in patterns)] == there[:2]
    assert not [name for name in UNREAD if any(fnmatch.fnmatch(name, one) for one in patterns if "/" not in one)]


def test_a_folder_that_is_not_there_is_named(here) -> None:
    here.put("mine.yaml", "defaults: [shapes]\ncheckpoint: {repo: ./nowhere}\nsteps: 3\n")
    code, out, err = here.recipe_command("plan", "mine.yaml")
    assert code == 2
    assert "missing     the folder ./nowhere, a checkpoint in the diffusers layout" in out
    assert "3 steps, 3 network evaluations, by its own defaults" in out
    assert err == "recipe: checkpoint: nowhere is not an existing folder.\n"
    for verb in ("run", "check"):
        code, out, err = here.run("mine.yaml") if verb == "run" else here.recipe_command("check", "mine.yaml")
        assert (code, "./nowhere is not an existing folder" in out + err) == (2, True)


def test_what_else_is_wrong_is_told_instead(here, offline) -> None:
    here.put("mine.yaml", "defaults: [shapes]\ncheckpoint: {repo: ./nowhere}\nsteps: 0\n")
    code, out, err = here.recipe_command("plan", "mine.yaml")
    assert (code, out) == (2, "")
    assert "steps" in err


def cached(tmp_path: Path, *names: str) -> None:
    """The hub's cache with these files of a repository a/b."""
    repo, commit = cache_folder() / "models--a--b", "0" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    for name in names:
        target = repo / "snapshots" / commit / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHAPES / name, target)


def test_the_schedulers_file_is_used_where_it_is_here(here, offline, tmp_path: Path) -> None:
    cached(tmp_path, "model_index.json", "scheduler/scheduler_config.json")
    code, out, _ = here.recipe_command("plan", "shapes", "checkpoint.repo=a/b", "steps=5")
    levels = here.recipe_command("schedule", "shapes", "steps=5")[1].splitlines()[1:]
    assert code == 2
    assert "by the checkpoint's configuration" in out
    assert out.splitlines()[-len(levels) :] == levels, "the same levels as with all of its files"


def test_a_sweep_says_what_to_fetch_once(here, offline) -> None:
    code, out, err = here.recipe_command("plan", "-m", "sd15", "seed=1,2,3")
    assert code == 2
    assert "sweep       sd15: 3 jobs" in out
    assert len(command(out)) > 3
    assert "so do 2 more jobs" in err
    assert "so does 1 more job." in here.recipe_command("plan", "-m", "sd15", "seed=1,2")[2]


def test_weights_whose_header_is_damaged_are_bad_input(here, tmp_path: Path) -> None:
    shutil.copytree(SHAPES, tmp_path / "mine")
    (tmp_path / "mine" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 64)
    code, out, err = here.recipe_command("plan", "shapes", f"checkpoint.repo={tmp_path / 'mine'}")
    assert (code, out) == (2, "")
    assert "checkpoint: " in err and "diffusion_pytorch_model.safetensors is corrupt" in err


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that takes a call and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []
        server.settimeout(0.2)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    kept.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield
        over.set()
        thread.join()
        for one in kept:
            one.close()


def test_a_hub_that_never_answers_is_given_up(here, silent_hub, monkeypatch) -> None:
    monkeypatch.setattr("components.hub.ANSWER", 0.3)
    begun = time.monotonic()
    code, out, err = here.recipe_command("plan", "sdxl")
    assert (code, " download " in out) == (2, True), err
    assert "the hub could not be asked for it (ReadTimeout" in err
    assert time.monotonic() - begun < 30
