"""Fixtures: the tiny checkpoint, recipes on it, and their runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from runner.execute import RunResult, Session, execute
from runner.schema import Recipe


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny checkpoint."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def session() -> Session:
    """Loaded components, shared by the tests that do not look at loading."""
    return Session()


@pytest.fixture
def recipe(tiny: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe on the tiny checkpoint in float32 on one thread of the CPU, with any key replaced."""

    def make(**keys: Any) -> Recipe:
        values: dict[str, Any] = {
            "name": "tiny",
            "checkpoint": {"repo": str(tiny)},
            "scheduler": {"name": "DDIMScheduler"},
            "backend": {"device": "cpu", "dtype": "float32", "threads": 1},
            "output": {"dir": str(tmp_path / "outputs")},
            "prompt": "a large red star",
            "steps": 4,
            "seed": 11,
        }
        return Recipe.model_validate(values | keys)

    return make


@pytest.fixture
def run(recipe: Callable[..., Recipe], session: Session) -> Callable[..., RunResult]:
    """Runs a recipe with these keys."""

    def go(**keys: Any) -> RunResult:
        return execute(recipe(**keys), progress=False, session=session)

    return go
