"""The pictures and captions the demo checkpoint learns from."""

import numpy as np
import pytest

from runner.demo.shapes_data import (
    COLORS,
    MAX_ANGLE,
    SHAPES,
    SIZES,
    Description,
    coverage,
    draw,
    draw_random,
    parse_prompt,
    random_description,
    random_prompt,
    vocabulary,
)


def test_every_caption_of_the_grammar_is_read_back_as_what_it_describes():
    for shape in SHAPES:
        for color in COLORS:
            for size in (*SIZES, None):
                for background in (*COLORS, None):
                    description = Description(shape, color, size, background)
                    assert parse_prompt(description.caption()) == description


def test_captions_read_as_english():
    assert Description("star", "red", "large", "white").caption() == "a large red star on a white background"
    assert Description("ring", "orange", None, "orange").caption() == "an orange ring on an orange background"


def test_capitals_spaces_and_a_full_stop_do_not_matter():
    assert parse_prompt("  A Large red  STAR on a white background.") == Description("star", "red", "large", "white")


def test_a_prompt_outside_the_grammar_is_refused_with_the_words_there_are():
    with pytest.raises(ValueError, match=r"a large red cat.*sizes: small.*colours: red.*shapes: circle"):
        parse_prompt("a large red cat on a white background")


def test_random_prompts_use_every_word_and_never_hide_a_shape_in_its_own_colour():
    rng = np.random.default_rng(0)
    descriptions = [random_description(rng) for _ in range(600)]
    assert all(d.color != d.background for d in descriptions)
    used = {word for d in descriptions for word in d.caption().split()}
    assert used == set(vocabulary())


def test_the_seed_decides_prompt_and_picture():
    assert random_prompt(np.random.default_rng(7)) == random_prompt(np.random.default_rng(7))
    first, second = (draw_random(4, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    assert not np.array_equal(first.images, draw_random(4, np.random.default_rng(8)).images)


def test_a_picture_holds_its_two_colours_and_mixtures_of_them_at_the_edges():
    image = draw([Description("circle", "red", "large", "blue")], np.random.default_rng(1)).images[0].reshape(-1, 3)
    pure = (image == COLORS["red"]).all(1) | (image == COLORS["blue"]).all(1)
    assert 0.02 < 1 - pure.mean() < 0.10  # a circle of radius 22 has an outline of about 140 of the 4096 pixels
    low, high = np.array(COLORS["blue"], float), np.array(COLORS["red"], float)
    share = (image - low) @ (high - low) / np.square(high - low).sum()
    assert np.abs(low + share[:, None] * (high - low) - image).max() <= 1  # rounding of three channels


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("circle", np.pi * 0.95**2),
        ("square", 1.44**2),
        ("triangle", 0.75 * np.sqrt(3)),  # equilateral, circumradius 1
        ("star", 5 * 0.42 * np.sin(np.pi / 5)),  # ten triangles with sides 1 and 0.42 about an angle of 36 degrees
        ("ring", np.pi * (0.96**2 - 0.52**2)),
        ("cross", 2 * 1.84 * 0.58 - 0.58**2),
        ("heart", 1.12**2 + np.pi * 0.56**2),  # a square and two half discs on its sides
        ("diamond", 2 * 0.62 * 0.98),
    ],
)
@pytest.mark.parametrize("angle", [0.0, -MAX_ANGLE])
def test_antialiased_coverage_adds_up_to_the_area_of_the_shape(shape, area, angle):
    radius = 20.0
    mask = coverage(shape, np.array([[32.3, 31.6]]), np.array([radius]), np.array([angle]), 64, 64)
    assert mask.sum() / radius**2 == pytest.approx(area, rel=0.01)


def test_shapes_stay_inside_the_picture_whatever_its_format():
    batch = draw_random(200, np.random.default_rng(3), height=48, width=96)
    for image, description in zip(batch.images, batch.descriptions, strict=True):
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (border == COLORS[description.background]).all()


def test_a_description_with_a_part_left_open_is_not_drawn():
    with pytest.raises(ValueError, match="which size to draw in 'a red star on a white background'"):
        draw([Description("star", "red", None, "white")], np.random.default_rng(0))
