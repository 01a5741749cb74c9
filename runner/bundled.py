"""The checkpoints that ship with the program, and what recipes call them."""

from __future__ import annotations

from pathlib import Path

from runner.errors import Problem, RecipeError, nearest

DEMO = "demo:"
DEMO_FOLDER = Path(__file__).parent / "demo"


def demo_checkpoints() -> list[str]:
    """The checkpoints that ship with the program, as recipes call them."""
    return sorted(DEMO + folder.parent.name for folder in DEMO_FOLDER.glob("*/model_index.json"))


def checkpoint_source(repo: str) -> str | Path:
    """The folder of a bundled checkpoint (`demo:shapes`); anything else as it is. Raises RecipeError."""
    if not repo.startswith(DEMO):
        return repo
    known = demo_checkpoints()
    if repo not in known:
        problem = Problem(
            "checkpoint.repo", f"{repo!r} does not ship with the program", tuple(known), nearest(repo, known)
        )
        raise RecipeError([problem])
    return DEMO_FOLDER / repo.removeprefix(DEMO)
