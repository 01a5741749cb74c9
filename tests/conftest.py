"""Fixtures: `here`, an empty working directory in which commands run as a user would; `family`, tiny checkpoints."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runner.compose import Composition
    from runner.schema import Recipe

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core for each of the processes that share the tests


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that the tests remember goes into the user's cache, and nothing comes from it.

    One for all processes that share the tests, as compiled programs are in it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        if "MPLCONFIGDIR" not in os.environ:  # its list of fonts takes seconds to make
            patch.setenv("MPLCONFIGDIR", str(usual / "matplotlib"))
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield


@dataclass
class Here:
    """The user's working directory."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def put(self, path: str, text: str) -> Path:
        """Write a file; the text is dedented."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return file

    def compose(self, *words: str, multirun: bool = False) -> Composition:
        from runner.compose import compose

        return compose(words, multirun=multirun)

    def recipe(self, *words: str) -> Recipe:
        """The only recipe that these words make."""
        (job,) = self.compose(*words).jobs
        return job.recipe

    def error(self, *words: str, multirun: bool = False) -> str:
        """What is said about words that cannot work."""
        from runner.errors import RecipeError

        with pytest.raises(RecipeError) as caught:
            self.compose(*words, multirun=multirun)
        return str(caught.value)

    def run(self, *argv: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of the `run` command."""
        from runner.cli.run import main

        return self._called(main, argv)

    def recipe_command(self, *argv: str) -> tuple[int, str, str]:
        """The same of the `recipe` command."""
        from runner.cli.recipe import main

        return self._called(main, argv)

    def _called(self, main: Callable[[tuple[str, ...]], int], argv: tuple[str, ...]) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = main(argv)
        out, err = self.capsys.readouterr()
        return code, out, err


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny checkpoint of a kind (tiny_family.WRITERS), written when it is first asked for."""

    @cache
    def folder(name: str) -> Path:
        from tiny_family import write

        return write(name, tmp_path_factory.mktemp("family"))

    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no_hub_cache"))
    return Here(folder, capsys)
