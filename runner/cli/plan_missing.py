"""What `recipe plan` tells of a recipe whose files are not here: what needs none of them, and how to get them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.hub import download_command, is_repo
from components.weight_files import flat_patterns, patterns
from runner.cli.levels import level_lines
from runner.errors import RecipeError
from runner.schema import COMPONENTS

if TYPE_CHECKING:
    from runner.schema import Recipe


def lines(recipe: Recipe) -> Iterator[str]:
    """What is known of a recipe by itself, then the commands that fetch what it needs, then its noise levels."""
    from runner.plan import table_alone

    choice = recipe.checkpoint
    size = f"{recipe.width}×{recipe.height}" if recipe.width and recipe.height else "the checkpoint's own size"
    yield f"recipe      {recipe.name}"
    yield f"checkpoint  {choice.repo}" + (f" at {choice.revision}" if choice.revision else "")
    yield f"pictures    {recipe.num_images} of {size}"
    try:
        scheduler, table, by_file = table_alone(recipe)
    except RecipeError:
        scheduler, table, by_file = recipe.scheduler.name, None, False
        yield f"scheduler   {scheduler}: what it does cannot be told without the checkpoint's configuration of it"
    else:
        name, which = type(scheduler).__name__, "the checkpoint's configuration" if by_file else "its own defaults"
        yield f"scheduler   {name}: {table.steps} steps, {table.nfe} network evaluations, by {which}"
    yield ""
    yield from fetching([recipe])
    if table is not None:
        yield ""
        if not by_file:
            yield "noise levels by its own defaults; the checkpoint's scheduler_config.json, not here, may change them"
        yield from level_lines(table)


def fetching(recipes: Iterable[Recipe]) -> Iterator[str]:
    """What is to be fetched and by which commands, each once; what is a folder has to be put there."""
    commands: dict[str, None] = {}
    folders: dict[str, None] = {}
    for recipe in recipes:
        choice = recipe.checkpoint
        own = {str(name): one for name, one in choice.components.items() if one.repo or one.revision}
        sources = [(choice.repo, choice.revision, choice.variant, [n for n in COMPONENTS if n not in own], True)]
        sources += [
            (one.repo or choice.repo, one.revision, one.variant or choice.variant, [one.subfolder or name], False)
            for name, one in own.items()
        ]
        for repo, revision, variant, names, whole in sources:
            if not is_repo(repo):
                if not repo.startswith("demo:") and not Path(repo).expanduser().is_dir():
                    folders[repo] = None
                continue
            files = [file for name in names for file in patterns(name, variant)]
            if not whole and names[0] in COMPONENTS:  # nobody said a folder: a repository may be that component
                files += flat_patterns(names[0], variant)
            commands[download_command(repo, revision, (["model_index.json"] if whole else []) + files)] = None
    for folder in folders:
        yield f"missing     the folder {folder}, a checkpoint in the diffusers layout"
    if commands:
        yield "missing     files of the hub. With a network, run and recipe plan fetch them; this fetches them too:"
        yield from (f"  {command}" for command in commands)


def without_hint(error: RecipeError) -> RecipeError:
    """The error without the advice to ask for a plan, which this is."""
    return RecipeError([replace(problem, hint=None) if problem.missing else problem for problem in error.problems])
