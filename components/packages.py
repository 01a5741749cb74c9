"""Packages that are not on this machine: told by one sentence, with the command that installs them here.

Looks for packages and imports none of them. `EXTRAS` says which extra of this program brings a package that a plain
installation does not; pyproject.toml has the same names.
"""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "diffusion-recipes"
EXTRAS = {
    "jax": "jax",
    "flax": "jax",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "ray": "ray",
    "submitit": "slurm",
    "lpips": "lpips",
}
ROOT = Path(__file__).resolve().parents[1]


def absent(packages: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed."""
    return [name for name in packages if not _is_here(name)]


def lacking(who: str, packages: Iterable[str]) -> str:
    """ "WHO needs jax and flax, which are not installed": what is missing, without a full stop."""
    names = " and ".join(packages)
    return f"{who} needs {names}, which {'are' if ' and ' in names else 'is'} not installed"


def how_to_install(packages: Iterable[str]) -> str:
    """ "install it with: COMMAND", as it is to be typed here: for a clone, or for an installed package."""
    extras = sorted({EXTRAS[name] for name in packages if name in EXTRAS})
    folder, editable = _installed_from()
    what = DISTRIBUTION if folder is None else "." if folder == Path.cwd() else str(folder)
    what = shlex.quote(what + (f"[{','.join(extras)}]" if extras else ""))
    return f"install it with: {program('pip')} install {'-e ' if editable else ''}{what}"


def refuse_absent(who: str, packages: Iterable[str]) -> None:
    """Raises ImportError with both sentences where one of the packages is not installed."""
    if missing := absent(packages):
        raise ImportError(f"{lacking(who, missing)}; {how_to_install(missing)}")


def _is_here(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ValueError:  # it was put in place by hand, without a spec
        return True


def _installed_from() -> tuple[Path | None, bool]:
    """The folder that this program was installed from, and whether it runs from there; None: from a package index."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT, True
    try:
        said = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
        url = urlsplit(said.get("url", ""))
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return None, False
    folder = Path(unquote(url.path))
    return (folder, False) if url.scheme == "file" and (folder / "pyproject.toml").is_file() else (None, False)


def program(name: str) -> str:
    """A program that was installed beside the Python that runs, as the first word of a command typed here."""
    path = Path(sys.executable).with_name(f"{name}.exe" if os.name == "nt" else name)
    if not path.exists():
        return f"{shlex.quote(sys.executable)} -m pip" if name == "pip" else name
    if (found := shutil.which(name)) and Path(found) == path:
        return name
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
