"""The same recipe on both backends: equal pictures by default, and no torch at all where the device draws the noise."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_checkpoint import pixels

pytest.importorskip("jax", reason="the JAX backend needs jax: pip install '.[jax]'")
pytest.importorskip("flax", reason="the JAX backend needs flax: pip install '.[jax]'")

from components.schedulers import find_scheduler, scheduler_classes
from runner.execute import RunResult, Session, execute
from runner.replay import replay
from runner.schema import Recipe

ROOT = Path(__file__).parents[2]
JAX: dict[str, Any] = {"name": "jax", "device": "cpu", "dtype": "float32", "threads": 1}
DEMO: dict[str, Any] = {
    "checkpoint": {"repo": "demo:shapes"},
    "prompt": "a large red star on a white background",
    "negative_prompt": "a small blue ring",
    "num_images": 2,
    "steps": 10,
}
SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
)


@pytest.fixture(scope="module")
def jax_session() -> Session:
    return Session()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_same_picture_as_torch(
    run: Callable[..., RunResult], recipe: Callable[..., Recipe], jax_session: Session, scheduler: str
) -> None:
    keys = DEMO | {"scheduler": {"name": scheduler}}
    expected = pixels(run(**keys))
    found = pixels(execute(recipe(**keys, backend=JAX), progress=False, session=jax_session))
    assert np.abs(found - expected).max() <= 2


KINDS = {"sd15": "training clock", "sdxl": "training clock", "ddim": "training clock"}
OWNERS = {
    "edm": "EDMEulerScheduler",
    "flow": "FlowMatchEulerDiscreteScheduler",
    "consistency": "CMStochasticIterativeScheduler",
    "v-diffusion": "IPNDMScheduler",
}
"""Kinds of network that have a clock of their own, and the scheduler that a tiny checkpoint of the kind comes with."""
OPTIONS = {"UnCLIPScheduler": {"beta_schedule": "squaredcos_cap_v2"}}  # it takes no other
CELLS = [
    (kind, name)
    for kind in (*KINDS, *OWNERS)
    for name, cls in scheduler_classes().items()
    if KINDS.get(kind, kind) in cls.kinds()
]


def test_every_scheduler_is_among_those_compared() -> None:
    assert {name for _, name in CELLS} == set(scheduler_classes())
    assert len(CELLS) > 3 * 20


@pytest.fixture(scope="module")
def of_kind(family: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny checkpoint of a kind; one with a clock of its own is unconditional, its scheduler file says the kind."""

    @cache
    def folder(kind: str) -> Path:
        if kind in KINDS:
            return family(kind)
        copy = shutil.copytree(family("ddim"), tmp_path_factory.mktemp("kind") / kind)
        find_scheduler(OWNERS[kind])().save_pretrained(copy / "scheduler")
        index = json.loads((copy / "model_index.json").read_text())
        index["scheduler"][1] = OWNERS[kind]
        (copy / "model_index.json").write_text(json.dumps(index))
        return copy

    return folder


@pytest.mark.parametrize(("kind", "scheduler"), CELLS)
def test_every_scheduler_that_fits_a_kind(
    of_kind: Callable[[str], Path],
    run: Callable[..., RunResult],
    recipe: Callable[..., Recipe],
    jax_session: Session,
    kind: str,
    scheduler: str,
) -> None:
    flow = kind == "flow" and "use_flow_sigmas" in find_scheduler(scheduler).options()
    keys = {
        "checkpoint": {"repo": str(of_kind(kind))},
        "scheduler": {"name": scheduler} | ({"use_flow_sigmas": True} if flow else OPTIONS.get(scheduler, {})),
        "steps": 6,
        "prompt": "a red star" if kind.startswith("sd") else "",
    }
    expected = pixels(run(**keys))
    found = pixels(execute(recipe(**keys, backend=JAX), progress=False, session=jax_session))
    assert expected.std() > 5
    assert np.abs(found - expected).max() <= 2


PROMPTED = {"guidance_scale": 5.0, "guidance_rescale": 0.7, "negative_prompt": "small, blurry", "clip_skip": 1}
FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "sd21": ("DDIMScheduler", {"guidance_scale": 1.0}),
    "lcm": ("DDIMScheduler", {"guidance_scale": 8.0}),
    "sdxl_no_zeros": ("EulerDiscreteScheduler", PROMPTED),
    "ddim": ("DDPMScheduler", {"prompt": ""}),
}


@pytest.mark.parametrize("kind", FAMILY)
def test_other_kinds_of_checkpoints(
    family: Callable[[str], Path], run: Callable[..., RunResult], recipe: Callable[..., Recipe], kind: str
) -> None:
    """v-prediction without guidance, guidance told to the network, two encoders and sizes, no prompt at all."""
    scheduler, call = FAMILY[kind]
    keys = {"checkpoint": {"repo": str(family(kind))}, "scheduler": {"name": scheduler}, "num_images": 2} | call
    expected = pixels(run(**keys))
    found = pixels(execute(recipe(**keys, backend=JAX), progress=False))
    assert expected.std() > 10
    assert np.abs(found - expected).max() <= 2


def test_one_compilation_for_a_sweep(recipe: Callable[..., Recipe], jax_session: Session) -> None:
    """Counted by JAX's own event log: 3 schedulers, 2 guidance scales, 2 numbers of steps, each its prompt and seed."""
    import jax

    compiled: list[str] = []

    def listen(event: str, seconds: float, **details: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(str(details.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jobs = itertools.product(("euler", "lms", "euler_a"), (3.0, 7.5), (5, 34))
        for seed, (scheduler, scale, steps) in enumerate(jobs):
            keys = {"scheduler": {"name": scheduler}, "guidance_scale": scale, "steps": steps, "seed": seed}
            job = recipe(**DEMO | keys | {"num_images": 1, "prompt": f"{seed} stars"}, backend=JAX)
            execute(job, progress=False, session=jax_session)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled.count("jit(denoise_rows)") == 1


def test_a_session_keeps_the_backends_apart(recipe: Callable[..., Recipe]) -> None:
    session = Session()
    pictures = [
        pixels(execute(recipe(steps=2, backend=JAX | {"name": name}), progress=False, session=session))
        for name in ("torch", "jax", "torch")
    ]
    assert np.abs(pictures[1] - pictures[0]).max() <= 2
    np.testing.assert_array_equal(pictures[2], pictures[0])


def test_a_replay_is_identical(recipe: Callable[..., Recipe]) -> None:
    made = execute(recipe(steps=2, num_images=2, backend=JAX, scheduler={"name": "euler_a"}), progress=False)
    assert made.manifest["versions"]["jax"] and made.manifest["threads"] == 1
    assert replay(made.folder, check=True, progress=False).identical


def test_no_torch_where_the_device_draws_the_noise(tiny: Path, tmp_path: Path) -> None:
    words = [
        f"checkpoint.repo={tiny}",
        "backend=jax",
        "noise.device=device",
        "scheduler=euler_a",
        "steps=2",
        "num_images=1",
    ]
    program = (
        "import sys\n"
        "from runner.cli.run import main\n"
        f"code = main({words!r})\n"
        "print([name for name in ('torch', 'diffusers') if name in sys.modules])\n"
        "sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    folder, imported = done.stdout.strip().splitlines()
    assert imported == "[]"
    assert len(list((tmp_path / folder).glob("*.png"))) == 1
