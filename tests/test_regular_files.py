"""Only regular files are read, none beyond the limit of its kind, whatever lies in a file's place and whoever asks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.checkpoint import open_checkpoint
from components.clip_files import load_tokenizer
from components.errors import CheckpointError
from components.hub import HubRepo
from components.regular_files import MAX_DEPTH, IrregularError, JsonError, Kind, parse_json, read_bytes
from components.schedulers import EulerDiscreteScheduler
from components.tensor_headers import read_header
from runner.bundled import DEMO_FOLDER
from runner.provenance import FileSums
from runner.sweep.speed import FILE, Meter

SHAPES = DEMO_FOLDER / "shapes"
SMALL = Kind("a test", 100)


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    """A pipe that nobody writes to is waited for without end by whoever opens it: here, for a minute."""

    def late(*_: object) -> None:
        raise TimeoutError("waited for a file that is none")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def disk_image(path: Path) -> None:
    """A terabyte, of which the disk holds nothing."""
    with path.open("wb") as file:
        file.truncate(2**40)


IRREGULAR: dict[Callable[[Path], None], str] = {
    pipe: "is a pipe, not a file",
    zeros: "is a device, not a file",
    folder: "is a folder, not a file",
    disk_image: "is larger than",
}
whatever_it_is = pytest.mark.parametrize(
    ("put", "told"), IRREGULAR.items(), ids=lambda case: getattr(case, "__name__", "")
)


@whatever_it_is
def test_only_a_regular_file_is_read(tmp_path: Path, put, told) -> None:
    path = tmp_path / "file"
    put(path)
    with pytest.raises(IrregularError, match=rf"{path} {told}"):
        read_bytes(path, SMALL)


def test_a_socket_and_a_name_that_no_file_has(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "s"))
        with pytest.raises(IrregularError, match="is a socket, not a file"):
            read_bytes(tmp_path / "s", SMALL)
    with pytest.raises(IrregularError, match="cannot be the name of a file"):
        read_bytes(tmp_path / "a\0b", SMALL)


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="Linux alone has such files")
def test_a_file_that_has_nothing_to_read_yet(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/proc/kmsg")
    with pytest.raises(OSError):
        read_bytes(path, SMALL)


def test_a_file_is_read_whole_up_to_its_kinds_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_bytes(path, SMALL) == b"x" * 100
    path.write_bytes(b"x" * 101)
    with pytest.raises(IrregularError, match="is larger than 100 bytes, which a test never is"):
        read_bytes(path, SMALL)


def test_what_does_not_tell_its_size_is_read_to_the_limit_and_no_further() -> None:
    """Files of /proc say that they are empty."""
    path = Path("/proc/self/environ")
    assert read_bytes(path, Kind("a test", 2**20)) == path.read_bytes()
    with pytest.raises(IrregularError, match="is larger than"):
        read_bytes(path, Kind("a test", 8))


def test_a_file_that_becomes_a_pipe_once_it_was_looked_at_is_not_waited_for(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "file"
    pipe(path)
    monkeypatch.setattr("components.regular_files.check_regular", lambda path: None)
    with pytest.raises(IrregularError, match="is a pipe"):
        read_bytes(path, SMALL)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "nested more than"),
        ('{"a":' * 100_000, "nested more than"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"nested more than {MAX_DEPTH} deep"),
        ("1" * 5000, "is not usable JSON"),
        ("{", r"is not valid JSON \(line 1, column 2"),
    ],
)
def test_json_that_cannot_be_meant_is_told_with_its_file(text: str, told: str) -> None:
    with pytest.raises(JsonError, match=rf"^some\.json .*{told}"):
        parse_json(text, "some.json")
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(deepest, "some.json")) == deepest


# ---- a checkpoint ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A copy of the bundled checkpoint; weights are links."""
    return Path(shutil.copytree(SHAPES, tmp_path / "shapes", copy_function=os.symlink, symlinks=True))


def use(checkpoint: Path) -> None:
    """Reads everything of a checkpoint that is not the tensors themselves."""
    found = open_checkpoint(checkpoint)
    for name in found.component_names:
        files = found.component(name)
        files.tensors()
        files.sha256()
        if name == "tokenizer":
            load_tokenizer(files)


OPTIONAL = "tokenizer/special_tokens_map.json"
JSONS = sorted(str(path.relative_to(SHAPES)) for path in SHAPES.rglob("*.json"))


def test_the_copy_of_the_checkpoint_can_be_used(shapes: Path) -> None:
    use(shapes)
    assert len(JSONS) >= 8


PLACES = [
    (name, put, told)
    for name in [*JSONS, "tokenizer/merges.txt"]
    for put, told in IRREGULAR.items()
    if (name, put) != (OPTIONAL, folder)  # which is as if it were not there
]


@pytest.mark.parametrize(("name", "put", "told"), PLACES)
def test_each_file_of_a_checkpoint_must_be_one(shapes: Path, name: str, put, told) -> None:
    (shapes / name).unlink()
    put(shapes / name)
    with pytest.raises(CheckpointError) as caught:
        use(shapes)
    absent = put is folder and name != "model_index.json"  # a folder of that name is no candidate for the file
    assert ("has no" if absent else f"{shapes / name} {told}") in str(caught.value)


@pytest.mark.parametrize("put", [pipe, zeros])
def test_what_a_tokenizers_library_might_open_by_itself_is_looked_at_too(shapes: Path, put) -> None:
    put(shapes / "tokenizer" / "chat_template.jinja")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja is a (pipe|device), not a file"):
        use(shapes)


@pytest.mark.parametrize("put", [pipe, zeros, folder])
def test_weights_must_be_a_file(tmp_path: Path, put) -> None:
    put(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is a (pipe|device|folder), not a file"):
        read_header(tmp_path / "model.safetensors")


@whatever_it_is
def test_a_schedulers_file_named_from_python(tmp_path: Path, put, told) -> None:
    put(tmp_path / "scheduler_config.json")
    with pytest.raises(CheckpointError, match=rf"scheduler_config\.json {told}"):
        EulerDiscreteScheduler.from_pretrained(tmp_path)
    if put is not folder:
        with pytest.raises(CheckpointError, match=rf"scheduler_config\.json {told}"):
            EulerDiscreteScheduler.from_pretrained(tmp_path / "scheduler_config.json")


@whatever_it_is
def test_the_name_of_a_commit_in_the_hubs_cache(tmp_path: Path, put, told) -> None:
    refs = tmp_path / "models--a--b" / "refs"
    refs.mkdir(parents=True)
    put(refs / "main")
    assert HubRepo("a/b", "main", tmp_path).cached_commit() is None


# ---- recipes ---------------------------------------------------------------------------------------------------------


@whatever_it_is
@pytest.mark.parametrize("words", [["run", "--cfg", "job"], ["check", "shapes"], ["cat", "shapes"], ["plan", "shapes"]])
def test_nothing_runs_and_nothing_hangs_where_a_file_would_be_in_charge(here, put, told, words) -> None:
    (here.folder / "recipes").mkdir()
    put(here.folder / "recipes" / "config.yaml")
    code, _, err = here.run(*words[1:]) if words[0] == "run" else here.recipe_command(*words)
    out = "" if words[0] != "check" else "recipes/config.yaml"
    assert code == 2
    assert out or "recipes/config.yaml: this file would be in charge of every run" in err


@whatever_it_is
@pytest.mark.parametrize("verb", ["run", "cat", "check", "plan", "cp"])
def test_a_recipe_must_be_a_file(here, put, told, verb) -> None:
    (here.folder / "recipes" / "recipe").mkdir(parents=True)
    put(here.folder / "recipes" / "recipe" / "mine.yaml")
    put(here.folder / "mine.yaml")
    for name in ("mine", "mine.yaml"):
        if verb == "run":
            code, out, err = here.run(f"recipe={name}" if name == "mine" else name)
        elif verb == "cp":
            if name == "mine.yaml":
                continue
            code, out, err = here.recipe_command("cp", name, "copy.yaml")
        else:
            code, out, err = here.recipe_command(verb, name)
        assert code == 2
        assert f"mine.yaml: this {told}" in out + err
    assert not (here.folder / "copy.yaml").exists()


def itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("put", [pipe, zeros, itself])
def test_a_copy_is_not_written_into_what_is_no_file(here, put) -> None:
    put(here.folder / "copy.yaml")
    code, _, err = here.recipe_command("cp", "--force", "shapes", "copy.yaml")
    assert (code, "copy.yaml: there is something here that is not a file" in err) == (2, True)


# ---- what runs leave -------------------------------------------------------------------------------------------------

SWEEP = {"format": 1, "name": "x", "axes": {}, "wanted": [], "batches": [], "order": [], "items": {}}


@whatever_it_is
@pytest.mark.parametrize("name", ["manifest.json", "plan.json", "batches/b.json", "failures/f.json"])
def test_what_a_run_left_must_be_a_file(here, put, told, name) -> None:
    left = here.folder / "left"
    for inner in ("batches", "failures"):
        (left / inner).mkdir(parents=True)
    if "/" in name:
        here.put("left/plan.json", json.dumps(SWEEP))
    put(left / name)
    verb = "replay" if name == "manifest.json" else "report"
    code, _, err = here.recipe_command(verb, "left")
    assert (code, f"left/{name}: {told}" in err) == (2, True), err


@whatever_it_is
def test_a_cache_that_is_no_file_is_a_cache_that_is_not_there(tmp_path: Path, monkeypatch, put, told) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "diffusion-recipes"
    cache.mkdir()
    for name in ("sha256.json", FILE):
        put(cache / name)
    assert FileSums().known == {}
    Meter().keep()


@pytest.mark.parametrize("text", ["[]", "null", '{"a": 1, "b": ["x"]}', '{"a": [1, 2, 3]}'])
def test_a_cache_that_holds_something_else_is_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "sha256.json").write_text(text)
    assert FileSums(tmp_path / "sha256.json").known == {}
