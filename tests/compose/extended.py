"""A recipe with keys as they may come: mappings whose names are the user's, one in another, values that later have keys
of their own, and changes to the recipe by name. No such key is the product's; the machinery that serves them is."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import FiniteFloat

from runner import schema
from runner.compose import values
from runner.keys import Named, key
from runner.schema import Checkpoint, Part, Recipe, Schedule, SchedulerChoice, Text
from runner.sweep import folder


class Charm(Part):
    """What may be hung onto a network."""

    file: Text = key("where it is", min_length=1)
    scale: FiniteFloat = key("how strongly", default=1.0)
    blocks: Named[float] = key("how strongly, by block", later=True, default_factory=dict)
    tone: Text | None = key("a key that came later still", later=True, default=None)
    note: Text = key("for people", picture=False, later=True, default="")


class Stage(Part):
    """What is otherwise in a further pass: a change of the recipe."""

    steps: int | None = key("denoising steps", default=None)
    prompt: Text | None = key("what the pass shall show", default=None)
    checkpoint: Checkpoint | None = key("another network", default=None)
    scheduler: SchedulerChoice | None = key("another method", default=None)
    schedule: Schedule | None = key("other noise levels", default=None)


class Inlay(Part):
    """A section that came later as a whole."""

    resize: Text = key("how", default="stretch")
    blur: int = key("how much", default=0)


class Extended(Recipe):
    """A recipe as it may be one day."""

    charms: Named[Charm] = key("what is hung onto the network, by name", later=True, default_factory=dict)
    shelves: Named[Named[Charm]] = key("charms by shelf and name", later=True, default_factory=dict)
    stages: Named[Stage] = key("further passes, by name", later=True, default_factory=dict)
    inlay: Inlay = key("a section that came later", later=True, default_factory=Inlay)


@pytest.fixture
def extended(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Composing makes `Extended` recipes for the length of a test."""
    for module in (schema, values, folder):
        monkeypatch.setattr(module, "Recipe", Extended)
    return Extended
