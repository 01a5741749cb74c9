"""What a sweep costs: drawn together, beside one by one and beside plain diffusers scripts; and the planning of it.

    python benchmarks/sweep.py speed              12 schedulers x 4 prompts x 4 seeds x 20 steps, four ways, in one run
    python benchmarks/sweep.py speed --seeds 1    a quarter of it
    python benchmarks/sweep.py overhead           1,000 jobs: planning, overhead per job, memory over the sweep

`speed` compares (fused) this tool's sweep; (a) the same jobs one by one through this tool, the model kept loaded;
(b) a diffusers script, its pipeline kept loaded and the scheduler swapped, batch 1; (c) that script with the seeds of a
prompt as one batch. All of them write their PNG files. Each is a process of its own, timed from its start: imports,
loading, and the fused one's planning and report are included. They take turns of a few seconds, all others being
stopped meanwhile, so that a machine which is slower for a minute is so for all.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SCHEDULERS = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpm_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "euler_karras": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
}
PROMPTS = (
    "a large red star on a white background",
    "a small blue ring on a black background",
    "a medium green heart on a yellow background",
    "a large purple cross on an orange background",
)


def words(options: argparse.Namespace) -> list[str]:
    """The sweep as it is typed."""
    prompts = "[" + ",".join(f'"{prompt}"' for prompt in PROMPTS[: options.prompts]) + "]"
    return [
        f"scheduler={','.join(options.schedulers)}",
        f"prompt={prompts}",
        f"seed=range(0,{options.seeds})" if options.seeds > 1 else "seed=0",
        f"steps={options.steps}",
        "schedule=default",
        "num_images=1",
        f"backend.threads={options.threads}",
    ]


def fused(options: argparse.Namespace, folder: Path) -> None:
    from runner.compose import compose
    from runner.sweep.launch import run_sweep

    outcome = run_sweep(compose([*words(options), f"output.dir={folder}"], multirun=True), progress=False)
    assert not outcome.failures


def one_by_one(options: argparse.Namespace, folder: Path) -> None:
    from runner.compose import compose
    from runner.execute import execute
    from runner.session import Session

    session = Session()
    for number, job in enumerate(compose(words(options), multirun=True).jobs):
        execute(job.recipe, folder=folder / str(number), progress=False, session=session)


def diffusers_script(options: argparse.Namespace, folder: Path, together: bool) -> None:
    import diffusers
    import torch

    from runner.bundled import DEMO_FOLDER

    diffusers.logging.set_verbosity_error()
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(DEMO_FOLDER / "shapes", safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    own = pipe.scheduler.config
    folder.mkdir(parents=True)
    for name in options.schedulers:
        cls, extra = SCHEDULERS[name]
        pipe.scheduler = getattr(diffusers, cls).from_config(own, **extra)
        for number, prompt in enumerate(PROMPTS[: options.prompts]):
            seeds = list(range(options.seeds))
            for batch in [seeds] if together else [[seed] for seed in seeds]:
                generators = [torch.Generator().manual_seed(seed) for seed in batch]
                images = pipe(
                    prompt,
                    num_inference_steps=options.steps,
                    guidance_scale=5.0,
                    num_images_per_prompt=len(batch),
                    generator=generators,
                ).images
                for seed, image in zip(batch, images, strict=True):
                    image.save(folder / f"{name}_{number}_{seed}.png")


WAYS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "fused": fused,
    "a: one by one": one_by_one,
    "b: diffusers, batch 1": lambda options, folder: diffusers_script(options, folder, together=False),
    "c: diffusers, seeds together": lambda options, folder: diffusers_script(options, folder, together=True),
}
TURN = 5.0  # seconds


def speed(options: argparse.Namespace) -> None:
    count = len(options.schedulers) * options.prompts * options.seeds
    print(f"{count} pictures, {options.steps} steps, {options.threads} threads", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / name[0] for name in WAYS}
        running = {name: child(name, folders[name]) for name in WAYS}
        seconds = dict.fromkeys(WAYS, 0.0)
        while running:
            for name, process in list(running.items()):
                process.send_signal(signal.SIGCONT)
                begun = time.perf_counter()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(TURN)
                    del running[name]
                process.send_signal(signal.SIGSTOP)
                seconds[name] += time.perf_counter() - begun
                assert not process.returncode, name
        for name in WAYS:
            pictures = len([path for path in folders[name].rglob("*.png") if "sheet" not in path.name])
            assert pictures == count, (name, pictures)
            print(f"{name:30} {seconds[name]:7.1f} s, {1000 * seconds[name] / count:6.0f} ms a picture")
    for name in list(WAYS)[1:]:
        print(f"fused / {name:30} {seconds['fused'] / seconds[name]:.2f}")


def child(name: str, folder: Path) -> subprocess.Popen[bytes]:
    """One of WAYS in a process of its own, with this one's options, stopped before it has done anything."""
    process = subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--way", name, "--folder", str(folder)])
    process.send_signal(signal.SIGSTOP)
    return process


def overhead(options: argparse.Namespace) -> None:
    from runner.compose import compose
    from runner.session import Session
    from runner.sweep import launch
    from runner.sweep.planning import settle

    jobs = [
        f"scheduler={','.join(SCHEDULERS)}",
        "guidance_scale=range(2,7)",
        f"seed=range(0,{-(-options.jobs // 60)})",
        "steps=1",
        "num_images=1",
    ]
    begun = time.perf_counter()
    composition = compose(jobs, multirun=True)
    items = settle(composition)
    print(f"planning {len(items)} jobs: {time.perf_counter() - begun:.2f} s")
    drawing, memory = [0.0], []
    draw = Session.draw

    def timed(self, shots, *rest, **named):
        begun = time.perf_counter()
        drawn = draw(self, shots, *rest, **named)
        drawing[0] += time.perf_counter() - begun
        memory.append(_resident())
        return drawn

    Session.draw = timed
    with tempfile.TemporaryDirectory() as scratch:
        composition = compose([*jobs, f"output.dir={scratch}"], multirun=True)
        begun = time.perf_counter()
        launch.run_sweep(composition, progress=False)
        total = time.perf_counter() - begun
    each = 1000 * (total - drawing[0]) / len(items)
    print(
        f"the sweep: {total:.1f} s, of which drawing {drawing[0]:.1f} s: {each:.1f} ms a job for all else, "
        "the report included"
    )
    quarter = memory[len(memory) // 4]
    print(f"resident after a quarter {quarter / 1e6:.0f} MB, at the end {memory[-1] / 1e6:.0f} MB")


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "overhead"])
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--schedulers", type=lambda text: text.split(","), default=list(SCHEDULERS))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        WAYS[options.way](options, options.folder)
        return 0
    os.chdir(tempfile.mkdtemp())
    try:
        (speed if options.what == "speed" else overhead)(options)
    finally:
        shutil.rmtree(Path.cwd(), ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
