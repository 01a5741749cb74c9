"""Which argument of a network's call each of its conditions is, in either library."""

from __future__ import annotations

from typing import Any

from runner.conditions import Named

CONTEXT = "encoder_hidden_states"
"""What U-Nets take behind the timestep, by its place: what people have put around them may call it otherwise."""
ADDED = ("text_embeds", "time_ids")
"""What U-Nets take together, as one argument."""


def arguments(given: Named) -> tuple[list[Any], dict[str, Any]]:
    """Positional arguments behind sample and timestep, and named ones: a condition's own name, unless said above."""
    context = [given[CONTEXT]] if CONTEXT in given else []
    named: dict[str, Any] = {name: array for name, array in given.items() if name not in (CONTEXT, *ADDED)}
    if added := {name: given[name] for name in ADDED if name in given}:
        named["added_cond_kwargs"] = added
    return context, named
