"""How near each sampler comes to the converged picture for its cost, and how often it draws what was asked for.

    python benchmarks/choosing_a_sampler.py [--prompts 24] [--costs 5 8 12 20 40] [--out docs/choosing.png]

On the demo checkpoint, through the same plan, backend and engine as `run`. Every sampler starts from the same noise,
visits the same kind of levels (Karras', from the clock's end to its beginning, then zero) and is compared, in latents,
with a converged run: the ODE's for deterministic samplers, the SDE's along the same Brownian path for the others. The
error is the root mean square distance over that of the converged latents, all prompts together. Fidelity is the share
of pictures in which `runner.demo.checker` reads the shape, colour, size and background of the prompt. Draws the
picture of docs/choosing.md and writes the tables into it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from runner.backends.base import Conditioning, NoiseSpec, make_backend
from runner.compose import compose
from runner.demo.checker import check, compare
from runner.demo.shapes_data import parse_prompt, random_prompt
from runner.plan import make_plan

ODE = ("ddim", "euler", "lms", "plms", "deis", "dpmpp_2s", "dpmpp_2m", "unipc", "heun", "dpm2")
SDE = ("euler_a", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde", "sa_solver")
EXACT = {"ode": "unipc", "sde": "dpmpp_2m_sde"}
"""What a converged run is made with."""
TWO_CALLS = {"heun", "dpm2", "dpmpp_sde"}
"""Samplers of two network evaluations a step: they take half as many steps for the same cost."""
OPTIONS = {"sa_solver": ("scheduler.tau={start: 0, end: 1000, value: 1.0}",)}
BEGIN, END = "<!-- measured -->", "<!-- end -->"
SPACINGS = ("karras", "exponential", "linspace", "trailing", "beta_timesteps", "kl_optimal")


@dataclass(frozen=True)
class Bench:
    """The demo checkpoint loaded, and a batch of prompts, each with its own noise."""

    prompts: tuple[str, ...]
    seed: int
    guidance_scale: float
    threads: int | None = None

    def __post_init__(self) -> None:
        plan = make_plan(self._recipe("dpmpp_2m", 20, "karras"))
        backend = make_backend("torch", "cpu", "float32", self.threads or plan.threads, False)
        parts = {name: backend.load(name, files) for name, files in plan.components.items() if name != "scheduler"}
        each = [
            plan.pipeline.encode(backend, parts, replace(plan.wish, prompt=prompt), plan.guidance, lambda _: None)
            for prompt in self.prompts
        ]
        positive, negative = (torch.cat([getattr(c, side) for c in each]) for side in ("positive", "negative"))
        self.__dict__.update(backend=backend, parts=parts, conditioning=Conditioning(positive, negative))

    def _recipe(self, sampler: str, steps: int, spacing: str):
        words = [f"scheduler={sampler}", f"schedule={spacing}", "schedule.final_sigma=zero", f"steps={steps}"]
        words += [f"guidance_scale={self.guidance_scale}", "noise.path=brownian", *OPTIONS.get(sampler, ())]
        return compose(["recipe=shapes", *words]).base

    def latents(self, sampler: str, steps: int, spacing: str = "karras") -> tuple[torch.Tensor, int]:
        """(B, C, h, w) after the last step, and how many network evaluations that took."""
        plan = make_plan(self._recipe(sampler, steps, spacing))
        noise = NoiseSpec(tuple(range(self.seed, self.seed + len(self.prompts))), plan.latent_shape)
        found = self.backend.denoise(  # type: ignore[attr-defined]
            self.parts["unet"],  # type: ignore[attr-defined]
            plan.tableau,
            noise,
            self.conditioning,  # type: ignore[attr-defined]
            plan.guidance,
            lambda row, latents: None,
        )
        return found, plan.tableau.nfe

    def fidelity(self, latents: torch.Tensor) -> float:
        """Share of pictures that show what their prompt says."""
        plan = make_plan(self._recipe("dpmpp_2m", 20, "karras"))
        images = plan.pipeline.decode(self.backend, self.parts, latents)  # type: ignore[attr-defined]
        pictures = self.backend.to_pixels(images)  # type: ignore[attr-defined]
        pairs = zip(self.prompts, pictures, strict=True)
        return float(np.mean([compare(parse_prompt(prompt), check(picture)).right for prompt, picture in pairs]))


@dataclass(frozen=True)
class Point:
    """One run: network evaluations, error against the converged latents, and share of prompts drawn right."""

    cost: int
    error: float
    right: float


def measure(
    bench: Bench, costs: Sequence[int], sampler: str, exact: torch.Tensor, spacing: str = "karras"
) -> list[Point]:
    """One point a cost, printed as it is found."""
    points = []
    for cost in costs:
        latents, nfe = bench.latents(sampler, -(-cost // 2) if sampler in TWO_CALLS else cost, spacing)
        error = float((latents - exact).norm() / exact.norm())
        points.append(Point(nfe, error, bench.fidelity(latents)))
        print(f"  {sampler:14} {spacing:15} {nfe:3} {error:8.4f} {points[-1].right:6.1%}", flush=True)
    return points


def practical_order(points: Sequence[Point]) -> float:
    """The slope of the error over the two largest costs."""
    few, many = points[-2:]
    return float(np.log(few.error / many.error) / np.log(many.cost / few.cost))


def table(kind: str, costs: Sequence[int], measured: dict[str, list[Point]]) -> str:
    """The best at the largest cost first; error and share of prompts drawn right at each cost."""
    lines = [f"| {kind} | " + " | ".join(f"{cost} calls" for cost in costs) + " | order seen |"]
    lines.append("|---|" + "---:|" * (len(costs) + 1))
    for name, points in sorted(measured.items(), key=lambda item: item[1][-1].error):
        cells = " | ".join(f"{point.error:.3f} ({100 * point.right:.0f} %)" for point in points)
        lines.append(f"| `{name}` | {cells} | {practical_order(points):.1f} |")
    return "\n".join(lines)


def draw(panels: dict[str, dict[str, list[Point]]], path: Path) -> None:
    """Error against cost, one panel each, and fidelity against cost for all of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, len(panels) + 1)
    for (title, measured), axis in zip(panels.items(), axes, strict=False):
        for name, points in measured.items():
            axis.loglog([p.cost for p in points], [p.error for p in points], marker="o", markersize=3, label=name)
        axis.set(title=title, xlabel="network evaluations", ylabel="relative error of the latents")
    for name in ("euler", "dpmpp_2m", "unipc", "heun", "euler_a", "dpmpp_2m_sde"):
        points = next(measured[name] for measured in panels.values() if name in measured)
        axes[-1].plot([p.cost for p in points], [100 * p.right for p in points], marker="o", markersize=3, label=name)
    axes[-1].set(title="prompts drawn right", xlabel="network evaluations", ylabel="%", ylim=(0, 102), xscale="log")
    for axis in axes:
        axis.set_xticks((5, 10, 20, 40), labels=("5", "10", "20", "40"))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prompts", type=int, default=24, help="how many, each with noise of its own (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts and of the noise (%(default)s)")
    parser.add_argument("--guidance", type=float, default=5.0, help="guidance scale (%(default)s)")
    parser.add_argument("--costs", type=int, nargs="+", default=[5, 8, 12, 20, 40], help="network evaluations")
    parser.add_argument("--converged", type=int, default=300, help="steps of the converged runs (%(default)s)")
    parser.add_argument("--threads", type=int, help="of the CPU; otherwise one for each core")
    parser.add_argument("--out", type=Path, default=Path("docs/choosing.png"), help="the picture (%(default)s)")
    parser.add_argument("--page", type=Path, default=Path("docs/choosing.md"), help="gets the tables (%(default)s)")
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    prompts = tuple(random_prompt(rng) for _ in range(chosen.prompts))
    bench = Bench(prompts, chosen.seed, chosen.guidance, chosen.threads)
    exact = {kind: bench.latents(sampler, chosen.converged)[0] for kind, sampler in EXACT.items()}
    shares = ", ".join(f"{100 * bench.fidelity(latents):.0f} % of the {kind}'s" for kind, latents in exact.items())
    print(f"{chosen.prompts} prompts, guidance {chosen.guidance}", flush=True)
    print(f"right after {chosen.converged} steps: {shares}", flush=True)
    ode = {name: measure(bench, chosen.costs, name, exact["ode"]) for name in ODE}
    sde = {name: measure(bench, chosen.costs, name, exact["sde"]) for name in SDE}
    spaced = {kind: measure(bench, chosen.costs, "dpmpp_2m", exact["ode"], kind) for kind in SPACINGS}
    draw({"deterministic": ode, "stochastic, one Brownian path": sde, "schedules, with dpmpp_2m": spaced}, chosen.out)
    tables = (("deterministic", ode), ("stochastic", sde), ("`dpmpp_2m` on", spaced))
    head = f"{chosen.prompts} prompts, guidance {chosen.guidance:g}; after {chosen.converged} steps right: {shares}."
    text = "\n\n".join([head, *(table(kind, chosen.costs, measured) for kind, measured in tables)])
    print("\n" + text)
    before, rest = chosen.page.read_text("utf-8").split(BEGIN)
    chosen.page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
