"""The errors that everything about a checkpoint raises, and the nearest name their messages end with."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from components.regular_files import IrregularError, JsonError


class CheckpointError(ValueError):
    """A checkpoint cannot be used as asked. The message says what was wrong, in which file, and what to do."""


class AbsentError(CheckpointError):
    """Something asked for is not there. In a partly cached repository it may still be on the hub."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What goes wrong in reading a file of a checkpoint, as a CheckpointError that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise AbsentError(f"{path} does not exist.") from None
    except (IrregularError, JsonError) as error:
        raise CheckpointError(f"{error}.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """ " Did you mean 'x'?" for the nearest of the names, with a leading space; empty if none is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {prefix + near[0]!r}?" if near else ""
