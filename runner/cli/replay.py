"""`recipe replay`: make pictures again from what was saved with them, and say whether they are identical."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.cli.guard import FAILED
from runner.cli.recipe import read_words, usage_error

HELP = """\
recipe replay [--check] FOLDER|IMAGE: make it again from what was saved; say identical, or how it differs
  recipe replay outputs/shapes/2026-01-31_12-00-00               all its pictures, into a new folder
  recipe replay --check outputs/shapes/2026-01-31_12-00-00       compare only, write nothing
  recipe replay --check outputs/shapes/sweep                     every picture of a sweep
  recipe replay --check some_picture.png                         from the recipe inside the picture
"""


def main(argv: Sequence[str]) -> int:
    flags, words = read_words(argv, ("--check",), verb="replay")
    if len(words) != 1:
        raise usage_error("replay")
    from runner.replay import replay

    result = replay(Path(words[0]), check="--check" in flags)
    print("\n".join(result.lines))
    if result.folder is not None:
        print(result.folder)
    return 0 if result.identical else FAILED
