"""How often the demo checkpoint draws what the prompt says: random prompts through the whole program, read by checker.

Uses the public way from recipe to picture and nothing of the training. Prints percentages and every miss.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runner.demo.checker import Reading, Verdict, check, compare
from runner.demo.shapes_data import parse_prompt, random_prompt

PARTS = ("shape", "color", "background", "size")


@dataclass(frozen=True)
class Drawn:
    """One prompt, how it was drawn and what came of it."""

    prompt: str
    seed: int
    guidance_scale: float
    verdict: Verdict
    reading: Reading
    file: Path


def evaluate(
    prompts: int, seed: int, guidance: tuple[float, float], words: Sequence[str], out: Path
) -> Iterator[Drawn]:
    """Draw random prompts one by one, the guidance scale rising from the first to the last, and judge each.

    ``words`` are further ``key=value`` words of the command line (``scheduler=euler``); ``out`` gets a folder a prompt.
    """
    from runner.compose import compose
    from runner.execute import Session, execute
    from runner.outputs import read_pixels

    rng, session = np.random.default_rng(seed), Session()
    for number, scale in enumerate(np.linspace(*guidance, prompts).round(2)):
        prompt = random_prompt(rng)
        own = [f"prompt={prompt}", f"seed={seed + number}", "num_images=1", f"guidance_scale={scale}"]
        (job,) = compose(["recipe=shapes", *own, *words]).jobs
        result = execute(job.recipe, folder=out / f"{number:04d}", progress=False, session=session)
        reading = check(read_pixels(result.images[0]))
        verdict = compare(parse_prompt(prompt), reading)
        yield Drawn(prompt, seed + number, float(scale), verdict, reading, result.images[0])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Draw random prompts with the demo checkpoint and count how many pictures show what was asked for.",
        epilog="example: python -m runner.demo.evaluate --prompts 200 scheduler=dpmpp_2m steps=20",
    )
    parser.add_argument("words", nargs="*", metavar="key=value", help="what else to set, as for `run`")
    parser.add_argument("--prompts", type=int, default=200, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts and the pictures (%(default)s)")
    parser.add_argument(
        "--guidance", type=float, nargs=2, default=(3.0, 7.5), metavar=("FROM", "TO"), help="%(default)s"
    )
    parser.add_argument("--out", type=Path, help="keep the pictures here; otherwise they are thrown away")
    parser.add_argument("--least", type=float, default=97.0, help="percent right for exit code 0 (%(default)s)")
    chosen = parser.parse_args(arguments)
    from tqdm import tqdm

    with tempfile.TemporaryDirectory() as scratch:
        runs = evaluate(chosen.prompts, chosen.seed, tuple(chosen.guidance), chosen.words, chosen.out or Path(scratch))
        drawn = list(tqdm(runs, total=chosen.prompts, desc="pictures", mininterval=2))
    for one in drawn:
        if not one.verdict.right:
            print(f"asked, guidance {one.guidance_scale}, seed {one.seed}: {one.prompt}\n     drawn: {one.reading}")
    percent = {part: 100 * float(np.mean([getattr(one.verdict, part) for one in drawn])) for part in (*PARTS, "right")}
    print(", ".join(f"{part} {percent[part]:.1f} %" for part in PARTS))
    print(f"shape, colour and background all right: {percent['right']:.1f} % of {len(drawn)} prompts")
    return 0 if percent["right"] >= chosen.least else 1


if __name__ == "__main__":
    sys.exit(main())
