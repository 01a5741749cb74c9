"""JAX beside torch, in one run: start-up cold and warm, seconds per step, and a sweep that compiles its denoiser once.

    python benchmarks/jax_speed.py speed [--steps 10] [--repeats 3] [--threads 2] [--device auto] [--full]
    python benchmarks/jax_speed.py sweep [--schedulers 12] [--threads 2]

speed: every line is a process of its own. `first` is from the process's start to the first picture's file, JAX cold
with no compiled program kept and warm with those that the cold process left; `a step` is the median of further pictures
in the same process, the network called twice a step. The checkpoint is the bundled one; with --full also a Stable
Diffusion 1.5 of full size with random weights, at 256×256, made in a temporary folder (2 GB of disk, 6 GB of memory).

sweep: schedulers × 3 guidance scales × 20, 25 and 30 steps on the bundled checkpoint, in one process. The denoiser's
compilations are counted by JAX's own event log. Beside it the time of the same jobs where each scheduler's first one
compiles anew, which is what a program with the scheduler in it would do. Nothing is kept on disk between the two.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "a large red star on a white background"
GUIDANCE, STEPS = (3.0, 5.0, 7.5), (20, 25, 30)
SCHEDULERS = (
    "ddim",
    "ddpm",
    "pndm",
    "lms",
    "euler",
    "euler_a",
    "heun",
    "dpm2",
    "dpmpp_2m",
    "dpmpp_2s",
    "unipc",
    "deis",
)


def recipe(folder: str, asked: argparse.Namespace, **keys: Any) -> Any:
    from runner.registry import find_scheduler
    from runner.schema import Recipe

    keys["scheduler"] = {"name": find_scheduler(keys.pop("scheduler", "dpmpp_2m")).__name__}
    backend = {"name": asked.backend, "device": asked.device, "dtype": asked.dtype, "threads": asked.threads}
    fixed = {"name": "speed", "prompt": PROMPT, "backend": backend, "output": {"dir": folder}}
    return Recipe.model_validate(fixed | {"checkpoint": {"repo": asked.checkpoint}} | keys)


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """What one process sees: seconds to its first picture since it was started, and seconds a step of later ones."""
    from runner.execute import Session, execute

    session = Session()
    with tempfile.TemporaryDirectory() as folder:
        size = {"height": asked.size, "width": asked.size} if asked.size else {}
        runs = []
        for seed in range(1 + asked.repeats):
            job = recipe(folder, asked, steps=asked.steps, seed=seed, **size)
            done = execute(job, progress=False, session=session)
            runs.append(done.manifest)
            if seed == 0:
                first = time.time() - asked.started
    steps = [run["seconds"]["denoise"] / asked.steps for run in runs[1:]]
    return {"first": first, "step": median(steps), "device": runs[0]["device"], "dtype": runs[0]["dtype"]}


def speed(asked: argparse.Namespace) -> None:
    """The table of start-up and steps."""
    with tempfile.TemporaryDirectory() as temporary:
        checkpoints = [("bundled", "demo:shapes", 0)]
        if asked.full:
            checkpoints.append(("SD 1.5, 256×256", str(write_full_size(Path(temporary) / "sd15")), 256))
        print(f"{'checkpoint':<18}{'backend':<14}{'first, s':>10}{'a step, s':>12}  on")
        for name, checkpoint, size in checkpoints:
            programs = Path(temporary) / f"programs-{size}"
            for backend, label in (("torch", "torch"), ("jax", "jax, cold"), ("jax", "jax, warm")):
                words = ["--backend", backend, "--checkpoint", checkpoint, "--size", str(size)]
                found = in_a_process(asked, words, programs)
                on = f"{found['device']}, {found['dtype']}"
                print(f"{name:<18}{label:<14}{found['first']:>10.1f}{found['step']:>12.3f}  {on}", flush=True)


def in_a_process(asked: argparse.Namespace, words: list[str], programs: Path) -> dict[str, Any]:
    same = ("steps", "repeats", "threads", "device", "dtype")
    words += [word for name in same for word in (f"--{name}", str(getattr(asked, name)))]
    command = [sys.executable, __file__, "one", *words, "--started", str(time.time())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(programs)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def sweep(asked: argparse.Namespace) -> None:
    """Compilations and seconds of a sweep, and of the same where each scheduler compiles a program of its own."""
    import jax

    from runner.backends.jax_programs import denoise_rows
    from runner.execute import Session, execute

    compiled: list[str] = []

    def listen(event: str, seconds: float, **details: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(str(details.get("fun_name")))

    jax.config.update("jax_enable_compilation_cache", False)
    jax.monitoring.register_event_duration_secs_listener(listen)
    names = SCHEDULERS[: asked.schedulers]
    asked.backend = "jax"
    for label, anew in (("one program for all", False), ("one for each scheduler", True)):
        denoise_rows.clear_cache()
        compiled.clear()
        session, begun = Session(), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                if anew:
                    denoise_rows.clear_cache()
                for scale, steps in itertools.product(GUIDANCE, STEPS):
                    job = recipe(folder, asked, scheduler=name, guidance_scale=scale, steps=steps)
                    execute(job, progress=False, session=session)
        took, count = time.perf_counter() - begun, compiled.count("jit(denoise_rows)")
        jobs = len(names) * len(GUIDANCE) * len(STEPS)
        print(f"{label:<24}{jobs} jobs, {count} compilations of the denoiser, {took:.1f} s", flush=True)


def write_full_size(folder: Path) -> Path:
    """Stable Diffusion 1.5 in its own sizes, with random weights in float16."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    from components.torch_models.autoencoder_kl import AutoencoderKL
    from components.torch_models.unet_2d_condition import UNet2DConditionModel
    from runner.bundled import DEMO_FOLDER

    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    widths = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    torch.manual_seed(0)
    for name, make in (
        ("unet", lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)),
        ("vae", lambda: AutoencoderKL(**widths, down_block_types=down, up_block_types=up, sample_size=512)),
        ("text_encoder", lambda: CLIPTextModel(CLIPTextConfig(vocab_size=49408, **sizes))),
    ):
        make().half().save_pretrained(folder / name)
    for name in ("tokenizer", "scheduler"):
        shutil.copytree(DEMO_FOLDER / "shapes" / name, folder / name)
    index = json.loads((DEMO_FOLDER / "shapes" / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "sweep", "one"), help="one: what `speed` starts for each line")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--schedulers", type=int, default=len(SCHEDULERS))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--checkpoint", default="demo:shapes")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--started", type=float, default=0.0)
    asked = parser.parse_args()
    if asked.what == "one":
        print(json.dumps(measured(asked)))
    else:
        {"speed": speed, "sweep": sweep}[asked.what](asked)


if __name__ == "__main__":
    main()
