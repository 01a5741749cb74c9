"""`recipe replay`: make pictures again from what was saved with them, and say whether they are identical."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.cli.guard import FAILED
from runner.cli.recipe import read_options, usage_error

HELP = """\
recipe replay [--check] FOLDER|IMAGE [key=PATH]: make it again from what was saved; say identical, or how it differs
  recipe replay outputs/shapes/2026-01-31_12-00-00               all its pictures, into a new folder
  recipe replay --check outputs/shapes/2026-01-31_12-00-00       compare only, write nothing
  recipe replay --check outputs/shapes/sweep                     every picture of a sweep
  recipe replay --check some_picture.png                         from the recipe inside the picture
A picture says of a checkpoint that was a folder its name alone, and opens no file here but those that you name:
  recipe replay some_picture.png checkpoint.repo=./my_checkpoint       this folder
  recipe replay some_picture.png --look-in ~/models                    the one in there that has the same files
"""


def main(argv: Sequence[str]) -> int:
    options, words = read_options(argv, ("--look-in",), ("--check",), verb="replay")
    settings = [word for word in words if "=" in word and not Path(word).exists()]
    targets = [word for word in words if word not in settings]
    if len(targets) != 1:
        raise usage_error("replay")
    from runner.replay import replay

    where: dict[str, Any] = {"words": settings} if settings else {}
    if "--look-in" in options:
        where["look_in"] = Path(options["--look-in"]).expanduser()
    result = replay(Path(targets[0]), check="--check" in options, **where)
    print("\n".join(result.lines))
    if result.folder is not None:
        print(result.folder)
    return 0 if result.identical else FAILED
