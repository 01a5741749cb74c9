"""Methods of old scripts that change nothing here: taken, and where that needs saying, said once."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

QUICK = "attention here is torch's own kernel, which is as quick and needs as little memory: nothing to do"


class WithoutEffect:
    """Method name → why it changes nothing; `quiet` ones undo what is never done, which need not be said."""

    def __init__(self, why: Mapping[str, str], quiet: Iterable[str], logger: logging.Logger) -> None:
        self.why, self.quiet = dict(why), tuple(quiet)
        self.said: set[str] = set()
        self._logger = logger

    def __contains__(self, name: str) -> bool:
        return name in self.why or name in self.quiet

    def __iter__(self) -> Any:
        return iter((*self.why, *self.quiet))

    def method(self, name: str) -> Callable[..., None]:
        """What stands for the method: it takes anything and does nothing."""

        def take(*_: Any, **__: Any) -> None:
            if name in self.why and name not in self.said:
                self.said.add(name)
                self._logger.warning("%s: %s.", name, self.why[name])

        return take
