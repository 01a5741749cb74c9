"""`run`: make the pictures of a recipe, or of every job of a sweep.

It reads the command, prints, and gives the exit code: 0 done, 1 the work failed, 2 the input was wrong, 130 Ctrl-C.
Composing is runner.compose's, the work runner.execute's; neither is imported before it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.words import RunWords, read_run_words
from runner.errors import RecipeError

if TYPE_CHECKING:
    from runner.compose import Composition

HELP = """\
run: make pictures from a recipe.

  run                                              the default recipe, shapes: a few seconds on any CPU
  run 'prompt=a small blue ring on a black background' seed=3
  run recipe=ays_sdxl                              another recipe (`recipe ls` shows what there is)
  run recipe=ays_sdxl scheduler=euler steps=20     with another scheduler and number of steps
  run recipe=sd15 scheduler=euler scheduler.use_karras_sigmas=true checkpoint.repo=./my_checkpoint
  run -m scheduler=euler,lms,dpmpp_2m seed=1,2,3   a sweep: every combination, in one folder
  run -m 'prompt=["a red star", "a blue ring"]'    a sweep over prompts
  run mine.yaml seed=7                             a recipe file of your own (recipe cp shapes mine.yaml)
  run outputs/shapes/2026-01-31_12-00-00/recipe.yaml    a saved recipe: the same pictures again

What can be set
  recipe=  checkpoint=  scheduler=  schedule=  backend=    one of the choices that `recipe ls` lists; schedulers and
                         schedules also as A1111, ComfyUI and diffusers name them: scheduler="DPM++ 2M Karras"
  key=value              any key that `run --cfg job` shows: steps=20 height=512 schedule.spacing=karras
  scheduler.OPTION=value any option of the chosen scheduler's class
A prompt is taken as typed, commas and all; only the shell wants quotes around it. Recipes of your own go into
./recipes/recipe/NAME.yaml and are then run as recipe=NAME; ./recipes is searched before the packaged recipes.

Options
  -m, --multirun   run every combination of the values given: a,b,c or range(1,4)
  -c, --cfg job    print the composed and checked recipe, run nothing
  -h, --help       this page
  --version        the version of this program

Pictures, recipe.yaml and manifest.json go to outputs/RECIPE/TIME/, a sweep's pictures, table and report to
outputs/RECIPE/sweep/, where the same command goes on; the last line printed is that folder.
Exit code: 0 done, 1 the work failed, 2 the input was wrong (nothing was started), 130 stopped by Ctrl-C.
HYDRA_FULL_ERROR=1 shows the full traceback of an error.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The `run` command. Returns its exit code."""
    from runner.cli.guard import guarded

    return guarded("run", lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(argv: list[str]) -> int:
    words = read_run_words(argv)
    if words.help:
        print(HELP, end="")
        return 0
    if words.version:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"diffusion-recipes {version('diffusion-recipes')}")
        except PackageNotFoundError:
            print("diffusion-recipes, not installed")
        return 0
    composition = _compose(words)
    if words.show:
        print(_shown(composition), end="")
        return 0
    from runner.cli.jobs import run_jobs

    return run_jobs(composition)


def _compose(words: RunWords) -> Composition:
    """Composes; what is wrong with the flags is told together with what is wrong with the rest."""
    from runner.compose import compose, load_file

    try:
        if words.file is not None:
            composition = load_file(Path(words.file), words.assignments, multirun=words.multirun)
        else:
            composition = compose(words.assignments, multirun=words.multirun)
    except RecipeError as error:
        raise RecipeError([*words.problems, *error.problems]) from error
    if words.problems:
        raise RecipeError(words.problems)
    return composition


def _shown(composition: Composition) -> str:
    from runner.compose import to_yaml

    text = to_yaml(composition.base, whole=True)
    if composition.is_sweep:
        text += f"# {len(composition.jobs)} jobs in {composition.folder}\n"
        text += "".join(f"#   {job.label}\n" for job in composition.jobs)
    return text


if __name__ == "__main__":
    raise SystemExit(main())
