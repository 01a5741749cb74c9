"""Fixtures: pipelines of the reference library and of ours, loaded once, around the same tiny checkpoints."""

import socket
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from runner import DiffusionPipeline

Family = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """One thread, and nothing said by the reference library."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def pair(family: Family) -> Callable[[str], tuple[Any, Any]]:
    """(ours, theirs) of a kind of checkpoint; both get their own schedulers back before each use."""

    @cache
    def loaded(kind: str) -> tuple[Any, Any, Any, Any]:
        ours = DiffusionPipeline.from_pretrained(family(kind))
        theirs = diffusers.DiffusionPipeline.from_pretrained(family(kind), torch_dtype=torch.float32)
        theirs.set_progress_bar_config(disable=True)
        return ours, theirs, ours.scheduler, theirs.scheduler

    def fresh(kind: str) -> tuple[Any, Any]:
        ours, theirs, our_scheduler, their_scheduler = loaded(kind)
        ours.scheduler, theirs.scheduler = our_scheduler, their_scheduler
        return ours, theirs

    return fresh


@pytest.fixture
def only_the_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's hub cache (its fixture `cache`), an empty working directory, and every connection refused."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was attempted")

    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
