"""What a comparison leaves in a sweep's folder, and reading it.

scores.json   metrics by picture, the plots as SVG, and the sentences that go with them: what the report shows
latents/      what pictures were decoded from, where the recipe compares
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.regular_files import RECORD, read_json

NAME, LATENTS = "scores.json", "latents"


def read_scores(root: Path) -> dict[str, Any]:
    """What a comparison left in this folder: metrics by picture, plots, notes; empty where nothing was compared."""
    try:
        found = read_json(root / NAME, RECORD)
        return {"metrics": found["metrics"], "plots": found["plots"], "notes": found["notes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"metrics": {}, "plots": {}, "notes": []}
