"""A picture is data from a stranger: three formats are opened, told by content, and nothing in one can cost much."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from runner.outputs import MAX_TOGETHER, ImageRecord, ImageRecordError, encode_image, pack, pixel_sha256, read_record
from runner.outputs import unpack as unpacked
from runner.pictures import PictureError, open_picture
from runner.sweep.results import ImageResult, SweepResults
from runner.sweep.thumbnails import thumbnails

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
RUN: dict[str, Any] = {
    "index": 0,
    "batch": [0],
    "threads": 1,
    "device": "cpu",
    "dtype": "float32",
    "sha256": pixel_sha256(PIXELS),
    "versions": {},
    "together": "",
    "position": 0,
}


def picture(path: Path, run: Any, recipe: str = "format: 1\n", seed: str = "1", form: str = "png") -> Path:
    """A picture with this record, however senseless."""
    text = run if isinstance(run, str) else json.dumps(run)
    image = Image.fromarray(PIXELS)
    if form == "png":
        chunks = PngImagePlugin.PngInfo()
        for key, value in {"recipe": recipe, "seed": seed, "run": text}.items():
            chunks.add_itxt(key, value)
        image.save(path, "PNG", pnginfo=chunks)
        return path
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + text.encode()
    image.save(path, form, exif=exif)
    return path


def replay(here, *words: str) -> str:
    code, out, err = here.recipe_command("replay", *words)
    assert code == 2, out + err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "PPM", "ICO", "PDF", "EPS", "JPEG2000"])
def test_other_formats_are_refused_whatever_their_names_say(here, monkeypatch, form: str) -> None:
    path = here.folder / "x.png"
    Image.fromarray(PIXELS).save(path, form)
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **more: pytest.fail(f"started {words}"))  # Ghostscript
    assert "x.png: not a picture that can be read (PNG, JPEG and WebP can)" in replay(here, "x.png")
    result = ImageResult("a", {}, 1, 0, path, "", 1, 1, 0.0, "0" * 64, 8, 8, {})
    assert thumbnails(SweepResults("x", here.folder, {}, [result], [], 1), [result]) == [b""]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_known_by_its_content(tmp_path: Path, form: str) -> None:
    path = tmp_path / "picture.eps"
    Image.fromarray(PIXELS).save(path, form)
    with open_picture(path) as found:
        assert (found.format, found.size) == (form, (8, 8))


@pytest.mark.parametrize(("width", "height"), [(2**31 - 1, 2**31 - 1), (1, 16385), (100_000, 100_000)])
def test_a_picture_of_giant_dimensions_is_refused_before_it_is_decoded(here, width: int, height: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    (here.folder / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert f"x.png: {width} × {height} pixels are more than 16384 × 16384" in replay(here, "x.png")


def test_a_text_that_inflates_is_bounded(here) -> None:
    """Two gigabytes of nothing are two megabytes compressed; 20 MB of it, above the limit of 1 MiB, will do here."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("recipe", "a" * 20_000_000, zip=True)
    Image.fromarray(PIXELS).save(here.folder / "x.png", pnginfo=chunks)
    assert "x.png: not a picture that can be read (Decompressed data too large" in replay(here, "x.png")


def bomb(size: int) -> str:
    """So many bytes of blanks between brackets, packed."""
    packing = zlib.compressobj(9)
    parts = [packing.compress(b"[")] + [packing.compress(b" " * 2**20) for _ in range(size >> 20)]
    return base64.b64encode(b"".join([*parts, packing.compress(b"]"), packing.flush()])).decode()


def test_the_recipes_of_a_batch_are_unpacked_up_to_a_limit(here) -> None:
    limit = f"more than {MAX_TOGETHER >> 20} MiB unpacked"
    picture(here.folder / "x.png", {**RUN, "together": bomb(MAX_TOGETHER + 2**20)})
    err = replay(here, "x.png")
    assert "x.png: the record in this picture is damaged" in err
    assert limit in err
    texts = [f"prompt: number {n}\n" for n in range(4096)]
    assert unpacked(pack(texts)) == texts


DAMAGED = {
    "a list": (["a"], "it is no JSON object"),
    "a number": ("7", "it is no JSON object"),
    "deep": ("[" * 50_000, "it has lists or objects nested more than"),
    "a long number": ('{"index": ' + "1" * 5000 + "}", "it is not usable JSON"),
    "cut off": ('{"recipe": "a', "it is not valid JSON"),
    "no batch": ({k: v for k, v in RUN.items() if k != "batch"}, "batch: field required"),
    "a word as batch": ({**RUN, "batch": "a"}, "batch: "),
    "words in the batch": ({**RUN, "batch": ["a"]}, "batch.0: "),
    "an empty batch": ({**RUN, "batch": []}, "batch: "),
    "another batch": ({**RUN, "batch": [1, 2]}, "index: is not one of its batch"),
    "no index": ({**RUN, "index": None}, "index: "),
    "threads": ({**RUN, "threads": 10**9}, "threads: "),
    "threads as text": ({**RUN, "threads": "2"}, "threads: "),
    "device": ({**RUN, "device": "cpu; rm"}, "device: "),
    "dtype": ({**RUN, "dtype": "float8"}, "dtype: "),
    "sha256": ({**RUN, "sha256": "../../x"}, "sha256: "),
    "versions": ({**RUN, "versions": ["a"]}, "versions: "),
    "another key": ({**RUN, "__class__": "x"}, "__class__: "),
    "no base64": ({**RUN, "together": "é$"}, "not a packed list of recipes"),
    "no zlib": ({**RUN, "together": "aGFsbG8="}, "not a packed list of recipes"),
    "numbers together": ({**RUN, "together": pack([1, 2])}, "not a packed list of recipes"),  # type: ignore[list-item]
    "past the batch": ({**RUN, "together": pack(["a", "b"]), "position": 2}, "position: 2 of a batch of 2"),
    "a negative position": ({**RUN, "together": pack(["a", "b"]), "position": -1}, "position: "),
}


CASES = [(case, "png") for case in DAMAGED] + [
    (case, form) for case, (run, _) in DAMAGED.items() for form in ("jpeg", "webp") if isinstance(run, dict)
]


@pytest.mark.parametrize(("case", "form"), CASES)
def test_a_damaged_record_is_told_with_the_pictures_name(here, case: str, form: str) -> None:
    run, told = DAMAGED[case]
    if form != "png":  # where the recipe and the seed are in the comment
        run = {**run, "recipe": "format: 1\n", "seed": 1}
    err = replay(here, str(picture(here.folder / f"x.{form}", run, form=form)))
    assert f"x.{form}" in err
    assert told in err


@pytest.mark.parametrize("seed", ["-1", "x", "1" * 5000, str(2**63), "1.5"])
def test_a_seed_that_is_none(here, seed: str) -> None:
    assert "the record in this picture is damaged: seed: " in replay(
        here, str(picture(here.folder / "x.png", RUN, seed=seed))
    )


def test_anothers_comment_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(ImageRecordError, match="carries no recipe of this program"):
        read_record(picture(tmp_path / "x.jpg", "taken with a camera", form="jpeg"))


def test_a_sound_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = ImageRecord("format: 1\n", 7, 4, (3, 4), 2, "cuda:1", "bfloat16", "0" * 64, {"torch": "2"}, pack(["a"]), 0)
    for form in ("png", "jpg", "webp"):
        (tmp_path / "x").write_bytes(encode_image(PIXELS, form, record))
        assert read_record(tmp_path / "x") == record


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batches": [["a"]]}, "batches.0.0: "),
        ({"batches": "a"}, "batches: "),
        ({"threads": "x"}, "threads: "),
        ({"device": 3}, "device: "),
        ({"images": [{"file": "../../etc/x.png", "index": 0, "sha256": "0" * 64}]}, "images.0.file: "),
        ({"images": {"a": 1}}, "images: "),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_told_with_its_file(here, change: dict, told: str) -> None:
    image = {"file": "0000_1.png", "index": 0, "seed": 1, "sha256": "0" * 64}
    made = {"images": [image], "batches": [[0]], "threads": 1, "device": "cpu", "dtype": "float32", **change}
    here.put("run/manifest.json", json.dumps(made))
    err = replay(here, "run")
    assert "run/manifest.json: is damaged: " in err
    assert told in err


def test_every_picture_is_opened_in_one_place() -> None:
    import runner

    root = Path(runner.__file__).parent
    opening = {
        path.name
        for path in root.rglob("*.py")
        if "Image.open(" in path.read_text() or "pillow.open(" in path.read_text()
    }
    assert opening == set()


def test_too_little_memory_is_no_traceback(tmp_path: Path) -> None:
    path = picture(tmp_path / "x.png", RUN)
    with pytest.raises(PictureError, match=r"x\.png: there is not enough memory"), open_picture(path):
        raise MemoryError
