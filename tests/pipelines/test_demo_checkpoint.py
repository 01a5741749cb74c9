"""The whole way on the checkpoint that ships: pictures equal to the reference library's, and replays byte by byte."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_text_to_image_parity import expected_pixels
from tiny_checkpoint import pixels

from runner.bundled import checkpoint_source
from runner.execute import RunResult
from runner.replay import replay

DEMO: dict[str, Any] = {"checkpoint": {"repo": "demo:shapes"}, "steps": 10, "seed": 3}
PROMPT = "a large red star on a white background"
SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
)
CALLS: dict[str, dict[str, Any]] = {
    "without guidance": {"guidance_scale": 1.0},
    "with guidance, a negative prompt and two images": {
        "guidance_scale": 5.0,
        "negative_prompt": "a small blue ring",
        "num_images": 2,
    },
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_same_picture_as_the_reference_library(run: Callable[..., RunResult], scheduler: str, call: str) -> None:
    keys = {"prompt": PROMPT, "steps": DEMO["steps"], "seed": DEMO["seed"], **CALLS[call]}
    expected = expected_pixels(Path(checkpoint_source("demo:shapes")), scheduler, {}, **keys)
    found = pixels(run(**DEMO | keys, scheduler={"name": scheduler}))
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("threads", [1, 2])
def test_replays_are_identical_for_one_image_and_a_batch(run: Callable[..., RunResult], threads: int) -> None:
    backend = {"device": "cpu", "dtype": "float32", "threads": threads}
    made = run(
        **DEMO | {"steps": 4}, prompt=PROMPT, num_images=3, batch_size=2, backend=backend, scheduler={"name": "euler_a"}
    )
    for target in (made.folder, made.images[1], made.images[2]):
        assert replay(target, check=True, progress=False).identical
