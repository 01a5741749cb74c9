"""What a sampler costs beside the network: our engine's row and the reference library's step, in one run.

    python benchmarks/scheduler_overhead.py [--steps 50] [--size 64] [--batch 1] [--repeats 20]

Network and noise are taken away on both sides (both answer with a tensor made beforehand), so what is left is the
arithmetic of the update and the Python around it. Runs alternate, the ratio is of medians, one thread. Also the time to
build a table, which is paid once a run. No figure here says anything of pictures.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import diffusers
import torch
from torch import Tensor

from components.schedulers import scheduler_classes
from runner.backends.torch_engine import compile_table, run, start

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
CONFIGS: dict[str, dict[str, Any]] = {
    "PNDMScheduler": {"skip_prk_steps": True},
    "CMStochasticIterativeScheduler": {"num_train_timesteps": 201},
}


def config(name: str) -> dict[str, Any]:
    """Stable Diffusion's betas where a scheduler takes them, and its own settings."""
    takes_betas = SD.keys() <= scheduler_classes()[name].options().keys()
    return {**(SD if takes_betas else {}), **CONFIGS.get(name, {})}


class Still:
    """Noise that is one tensor, drawn once."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def draw(self, wanted: object = None) -> Tensor:
        return self.tensor


@dataclass(frozen=True)
class Side:
    """One run without its network: `prepare` is not timed, `go` is; `rows` network calls."""

    prepare: Callable[[], object]
    go: Callable[[], object]
    rows: int

    def microseconds(self) -> float:
        """Of one row."""
        self.prepare()
        return seconds(self.go) * 1e6 / self.rows


def ours(name: str, steps: int, x: Tensor) -> Side:
    table = scheduler_classes()[name](**config(name)).tableau(steps)
    program, noise, answer = compile_table(table), Still(x), x.flip(-1) * 0.5
    return Side(lambda: None, lambda: run(program, start(program, noise), lambda _x, _t: answer, noise), table.rows)


def peers(name: str, steps: int, x: Tensor) -> Side:
    """With its module's noise function answering `x`; setting the timesteps again resets the step counter."""
    peer: Any = getattr(diffusers, name)(**config(name))
    module: Any = sys.modules[type(peer).__module__]
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = lambda *_, **__: x
    answer, options, scales = x.flip(-1) * 0.5, {}, hasattr(peer, "scale_model_input")
    peer.set_timesteps(steps)
    if "generator" in inspect.signature(peer.step).parameters:
        options["generator"] = torch.Generator()

    def go() -> None:
        latents = x * getattr(peer, "init_noise_sigma", 1.0)  # flows have neither
        for t in peer.timesteps:
            if scales:
                peer.scale_model_input(latents, t)
            latents = peer.step(answer, t, latents, return_dict=False, **options)[0]

    return Side(lambda: peer.set_timesteps(steps), go, len(peer.timesteps))


def seconds(call: Callable[[], object]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for option, default in (("steps", 50), ("size", 64), ("batch", 1), ("repeats", 20)):
        parser.add_argument(f"--{option}", type=int, default=default)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    diffusers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    x = torch.randn(arguments.batch, 4, arguments.size, arguments.size, generator=torch.Generator().manual_seed(0))
    print(f"{arguments.steps} steps, latents {tuple(x.shape)} float32, one thread, torch {torch.__version__}")
    print(f"{'scheduler':34} {'row µs':>8} {'peer µs':>8} {'ratio':>6} {'table ms':>9} {'compile ms':>10}")
    ratios, builds = [], []
    with torch.inference_mode():
        for name, cls in scheduler_classes().items():
            both = [side(name, arguments.steps, x) for side in (ours, peers)]
            times = [[side.microseconds() for side in both] for _ in range(arguments.repeats + 2)][2:]
            row, step = (median(side) for side in zip(*times, strict=True))
            scheduler = cls(**config(name))
            build = median(seconds(lambda s=scheduler: s.tableau(arguments.steps)) for _ in range(arguments.repeats))
            table = scheduler.tableau(arguments.steps)
            ready = median(seconds(lambda t=table: compile_table(t)) for _ in range(arguments.repeats))
            ratios.append(row / step)
            builds.append(build * 1e3)
            print(f"{name:34} {row:8.1f} {step:8.1f} {row / step:6.3f} {build * 1e3:9.2f} {ready * 1e3:10.2f}")
    print(f"median ratio {median(ratios):.2f}, largest {max(ratios):.2f}")
    print(f"median table {median(builds):.2f} ms, slowest {max(builds):.2f} ms")


if __name__ == "__main__":
    main()
