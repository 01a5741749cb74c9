"""The checker against pictures of which the truth is known, and pictures that show nothing it knows."""

import numpy as np
import pytest
from PIL import Image

from runner.demo.checker import check, judge, main
from runner.demo.shapes_data import COLORS, Description, draw, draw_random

PARTS = ("shape", "color", "size", "background")


def agreement(images, descriptions) -> dict[str, float]:
    """Share of pictures of which the checker reads each part as it was drawn."""
    readings = [check(image) for image in images]
    return {
        part: float(
            np.mean([getattr(r, part) == getattr(d, part) for r, d in zip(readings, descriptions, strict=True)])
        )
        for part in PARTS
    }


def test_freshly_drawn_pictures_are_read_as_they_were_drawn():
    batch = draw_random(400, np.random.default_rng(11))
    assert all(share >= 0.995 for share in agreement(batch.images, batch.descriptions).values())


def test_soft_and_noisy_pictures_are_still_read_right():
    """Half a pixel of blur and a grain of 6/255 is worse than the bundled autoencoder does."""
    rng = np.random.default_rng(12)
    batch = draw_random(200, rng)
    soft = batch.images.astype(np.float32)
    for axis in (1, 2):
        soft = (np.roll(soft, 1, axis) + 2 * soft + np.roll(soft, -1, axis)) / 4
    noisy = np.clip(soft + rng.normal(0, 6, soft.shape), 0, 255).astype(np.uint8)
    shares = agreement(noisy, batch.descriptions)
    assert min(shares[part] for part in ("shape", "color", "background")) >= 0.98


def test_each_wrong_part_is_noticed_and_only_that():
    image = draw([Description("star", "red", "large", "white")], np.random.default_rng(2)).images[0]
    assert judge("a large red star on a white background", image).right
    for prompt, part in [
        ("a large red heart on a white background", "shape"),
        ("a large blue star on a white background", "color"),
        ("a small red star on a white background", "size"),
        ("a large red star on a yellow background", "background"),
    ]:
        verdict = judge(prompt, image)
        assert [name for name, right in vars(verdict).items() if not right] == [part]
        assert verdict.right == (part == "size")


def test_parts_a_prompt_leaves_open_count_as_right():
    image = draw([Description("star", "red", "large", "white")], np.random.default_rng(2)).images[0]
    assert all(vars(judge("a red star", image)).values())


@pytest.mark.parametrize("color", ["red", "blue"])
def test_two_shapes_are_not_taken_for_one(color):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        pair = draw([Description("star", "red", "large", "white"), Description("ring", color, "small", "white")], rng)
        assert check(np.concatenate(list(pair.images), axis=1)).shape is None


def test_a_picture_on_two_backgrounds_has_none():
    halves = [np.full((64, 32, 3), COLORS[name], np.uint8) for name in ("red", "green")]
    assert check(np.concatenate(halves, axis=1)).background is None


def test_pictures_of_nothing_have_no_shape():
    plain = np.full((64, 64, 3), COLORS["green"], np.uint8)
    assert (check(plain).shape, check(plain).background) == (None, "green")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert check(noise).shape is None


def test_something_that_is_no_picture_is_refused():
    with pytest.raises(ValueError, match=r"\(height, width, 3\) uint8, got \(64, 64\) float64"):
        check(np.zeros((64, 64)))  # pyright: ignore[reportArgumentType]


def test_the_command_says_what_it_sees_and_fails_on_a_wrong_picture(tmp_path, capsys):
    file = tmp_path / "star.png"
    Image.fromarray(draw([Description("star", "red", "large", "white")], np.random.default_rng(2)).images[0]).save(file)
    assert main(["--prompt", "a large red star on a white background", str(file)]) == 0
    assert "a large red star on a white background (fit" in capsys.readouterr().out
    assert main(["--prompt", "a large red ring on a white background", str(file)]) == 1
    assert "not as asked: shape" in capsys.readouterr().out
    assert main(["--prompt", "a cat", str(file)]) == 2
    assert "not of the form" in capsys.readouterr().err
