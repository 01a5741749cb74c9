"""`recipe cat`: a recipe, composed: every key with the value it has in the end."""

from __future__ import annotations

from collections.abc import Sequence

from runner.cli.named import composed
from runner.cli.recipe import usage_error
from runner.compose import to_yaml

HELP = """\
recipe cat NAME|FILE [key=value ...]: print a recipe, composed
  recipe cat ays_sdxl
  recipe cat ays_sdxl scheduler=euler steps=20
  recipe cat ays_sdxl > mine.yaml      a complete recipe: run mine.yaml
The file as it was written, to start your own from: recipe cp.
"""


def main(argv: Sequence[str]) -> int:
    if not argv:
        raise usage_error("cat")
    print(to_yaml(composed(argv[0], argv[1:]).base, whole=True), end="")
    return 0
