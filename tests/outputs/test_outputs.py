"""Files are whole or absent, and a picture carries all that is needed to make it again."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runner.outputs import (
    EXTENSIONS,
    ImageRecord,
    ImageRecordError,
    encode_image,
    image_name,
    new_run_folder,
    pixel_sha256,
    read_pixels,
    read_record,
    to_json,
    why_not_writable,
    write_atomically,
    write_together,
)
from runner.pictures import PictureError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
RECORD = ImageRecord(
    recipe='format: 1\nprompt: "Ein Häschen, 兎 (at home) = fun 🐇"\n' + "# long\n" * 500,
    seed=2**63 - 1,
    index=5,
    batch=(4, 5, 6),
    threads=2,
    device="cpu",
    dtype="float32",
    sha256=pixel_sha256(PIXELS),
    versions={"torch": "2.13"},
)


@pytest.mark.parametrize("file_format", EXTENSIONS)
def test_a_picture_carries_its_record(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / image_name(5, RECORD.seed, file_format)
    write_atomically(path, encode_image(PIXELS, file_format, RECORD))
    assert read_record(path) == RECORD


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_these_formats_keep_every_pixel(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / f"a{EXTENSIONS[file_format]}"
    path.write_bytes(encode_image(PIXELS, file_format, RECORD))
    assert np.array_equal(read_pixels(path), PIXELS)


def test_recipe_and_seed_are_text_chunks_that_any_tool_can_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode_image(PIXELS, "png", RECORD))
    with Image.open(path) as image:
        text = image.text  # type: ignore[attr-defined]
    assert text["recipe"] == RECORD.recipe
    assert text["seed"] == str(RECORD.seed)
    assert json.loads(text["run"])["batch"] == [4, 5, 6]


@pytest.mark.parametrize("file_format", EXTENSIONS)
def test_a_foreign_picture_is_refused_with_a_reason(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / f"a{EXTENSIONS[file_format]}"
    Image.fromarray(PIXELS).save(path)
    with pytest.raises(ImageRecordError, match="carries no recipe"):
        read_record(path)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode_image(PIXELS, "png", RECORD)[:200])
    for read in (read_record, read_pixels):
        with pytest.raises(PictureError, match=r"a\.png: not a picture"):
            read(path)


def test_the_sha256_is_of_the_bytes_row_by_row() -> None:
    assert pixel_sha256(PIXELS) == hashlib.sha256(PIXELS.tobytes()).hexdigest()
    assert pixel_sha256(PIXELS[::-1]) == hashlib.sha256(PIXELS[::-1].tobytes()).hexdigest() != pixel_sha256(PIXELS)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def files():
        yield "a", b"new"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_together(tmp_path, files())
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_files_of_a_batch_appear_only_when_all_are_written(tmp_path: Path) -> None:
    seen = []

    def files():
        for name in "abc":
            yield name, b"x"
            seen.append([p.name for p in tmp_path.iterdir() if not p.name.startswith(".")])

    assert [p.name for p in write_together(tmp_path, files())] == ["a", "b", "c"]
    assert seen == [[], [], []]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_process_killed_in_the_middle_of_a_write_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from runner.outputs import write_together
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_together(Path(sys.argv[1]), [("a.png", b"x" * 100_000), ("b.png", b"y")])
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env={**os.environ, "PYTHONPATH": root})
    assert done.returncode == -signal.SIGKILL
    left = [p.name for p in tmp_path.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".a.png.")
    assert left[0].endswith(".part")


def test_runs_in_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    now = datetime(2026, 3, 4, 5, 6, 7)
    names = [new_run_folder(tmp_path, "shapes", now).relative_to(tmp_path).as_posix() for _ in range(3)]
    assert names == ["shapes/2026-03-04_05-06-07", "shapes/2026-03-04_05-06-07_2", "shapes/2026-03-04_05-06-07_3"]


def test_where_nothing_can_be_written_is_known_beforehand(tmp_path: Path) -> None:
    assert why_not_writable(tmp_path / "new" / "deep") is None
    (tmp_path / "file").write_text("")
    assert why_not_writable(tmp_path / "file" / "deep") == f"{tmp_path / 'file'} is a file, not a folder"


def test_json_is_strict_and_readable() -> None:
    value = {"a": [1.5, 2], "b": [{"c": "é"}], "d": {}, "e": None}
    text = to_json(value).decode()
    assert json.loads(text) == value
    assert '"a": [1.5, 2]' in text
    with pytest.raises(ValueError, match="Out of range float"):
        to_json({"a": float("nan")})
