"""How a command ends: its exit code, and a plain message instead of a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from components.packages import absent, how_to_install, lacking
from runner.errors import RecipeError

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def guarded(name: str, work: Callable[[], int]) -> int:
    """Run a command; 2 for bad input, 1 for failed work, 130 for Ctrl-C. HYDRA_FULL_ERROR=1 lets errors through."""
    try:
        return work()
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: nothing more to say
        return FAILED
    except Exception as error:
        if wants_traceback():
            raise
        print(f"{name}: {told(error)}", file=sys.stderr)
        return BAD_INPUT if isinstance(error, RecipeError) else FAILED


def told(error: Exception) -> str:
    """An error in words. One of our own says all there is; another one is named, with the way to its traceback."""
    if isinstance(error, RecipeError) or type(error).__module__.split(".")[0] in ("runner", "components"):
        return str(error)
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package and absent([package]):
        return f"{lacking('this program', [package])}; {how_to_install([package])}"
    return f"{type(error).__name__}: {error}\n(HYDRA_FULL_ERROR=1 shows where)"


def wants_traceback() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR", "") not in ("", "0")
