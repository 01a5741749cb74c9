"""Names of schedulers as people write them: case, spaces, underscores and the plus signs of DPM++ make no difference.

What a name means beside a class of this folder (a schedule with it, another tool's options) is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping


def folded(name: str) -> str:
    """What is left of a name when its spelling is forgiven: 'DPM++ 2M' and 'dpmpp_2m' are both 'dpmpp2m'."""
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "p"))


def class_names(classes: Mapping[str, type]) -> dict[str, str]:
    """Folded name → class name, of every class by its name, with and without 'Scheduler', and by its short names."""
    found = {folded(alias): name for name, cls in classes.items() for alias in getattr(cls, "aliases", ())}
    for name in classes:
        found[folded(name)] = found[folded(name.removesuffix("Scheduler"))] = name
    return found
