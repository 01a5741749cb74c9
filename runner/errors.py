"""What is told to a user whose input cannot work: a list of problems, each with its place and its way out.

It holds no rule about recipes and prints nothing: who finds a problem describes it, the command line shows it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches

LISTED = 40  # more names than this help nobody; the list is cut and says so


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    where: a file with line and key path ("recipes/recipe/mine.yaml:7 stepz"), or "command line: stepz=30".
    what: what is wrong there, one sentence without a full stop. missing: it is not wrong, but not on this machine.
    allowed: the names or values that would do; nearest: the one that was probably meant; hint: what to do instead.
    """

    where: str
    what: str
    allowed: tuple[str, ...] = ()
    nearest: str | None = None
    hint: str | None = None
    missing: bool = False

    def __str__(self) -> str:
        meant = f" Did you mean '{self.nearest}'?" if self.nearest else ""
        stop = "" if self.what.endswith(("?", "…")) else "."
        lines = [_visible(f"{self.where}: {self.what}{stop}{meant}")]
        if self.allowed:
            rest = len(self.allowed) - LISTED
            names = ", ".join(self.allowed[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
            lines.append(_indented(f"allowed: {names}"))
        if self.hint:
            lines.append(_indented(self.hint))
        return "\n".join(lines)


class RecipeError(ValueError):
    """Input that cannot become a picture, found before any work started. `.problems` has them all."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        told = [f"{len(self.problems)} problems:"]
        for number, problem in enumerate(self.problems, 1):
            told.append(textwrap.indent(str(problem), "   ").replace("  ", f"{number}.", 1))
        return "\n".join(told)


def typed(word: str) -> str:
    """The place of a problem in what was typed."""
    return f"command line: {word if len(word) <= 200 else word[:200] + ' ...'}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that `name` was probably meant to be, compared without case; None when nothing is close."""
    by_lower = {known.lower(): known for known in names}
    low = name.lower()
    close = get_close_matches(low, by_lower, n=1, cutoff=0.6)
    # below 0.7 chance letters are enough (lora, format), unless two neighbours changed places or one letter another
    if not close or by_lower[close[0]] == name or (not _one_slip(low, close[0]) and _ratio(low, close[0]) < 0.7):
        return None
    return by_lower[close[0]]


def _ratio(a: str, b: str) -> float:
    return SequenceMatcher(None, b, a).ratio()  # the order in which get_close_matches compares


def _one_slip(a: str, b: str) -> bool:
    """Whether words of one length differ in one letter, or in two neighbours that changed places."""
    differ = [i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y]
    swapped = len(differ) == 2 and differ[1] == differ[0] + 1 and a[differ[0]] == b[differ[1]]
    return len(a) == len(b) and (len(differ) == 1 or (swapped and a[differ[1]] == b[differ[0]]))


def _visible(text: str) -> str:
    """Control characters as escapes: what is quoted from a file must not steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _indented(line: str) -> str:
    return textwrap.fill(_visible(line), 118, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False)
