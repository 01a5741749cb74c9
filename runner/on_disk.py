"""What small configuration files of a checkpoint say, where this machine already has them. Never asks the network.

A recipe is checked against them when they are here; when they are not, the plan does so after fetching them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.regular_files import CONFIGURATION, read_json
from runner.bundled import checkpoint_source
from runner.errors import Problem, RecipeError


def source_problem(checkpoint: Any, where: str) -> Problem | None:
    """A source (repo, revision) that cannot be found: no such folder or bundled name, or nothing a hub could have."""
    from components.errors import CheckpointError
    from components.hub import find_repo

    repo = checkpoint.get("repo") if isinstance(checkpoint, Mapping) else None
    if not isinstance(repo, str) or not repo:
        return None
    try:
        if isinstance(checkpoint_source(repo), Path) or Path(repo).expanduser().is_dir():
            return None
        if repo.startswith((".", "/", "~")):
            return Problem(where, f"{repo} is not an existing folder", missing=not Path(repo).expanduser().exists())
        find_repo(repo, checkpoint.get("revision"), None, None, True)
    except RecipeError as error:
        found = error.problems[0]
        if not found.allowed:
            return None  # nothing is bundled at all, as before the first training: the plan says so
        return Problem(where, found.what, found.allowed, found.nearest, found.hint)
    except (CheckpointError, TypeError) as error:
        return Problem(where, " ".join(str(error).split()).removesuffix("."))
    return None


def vae_factor(checkpoint: Any) -> int | None:
    """How many pixels of a picture's side make one latent: 2^(levels - 1). None when the configuration is not here."""
    levels = _config(checkpoint, "vae", "config.json").get("block_out_channels")
    return 2 ** (len(levels) - 1) if isinstance(levels, list) and levels else None


def scheduler_config(checkpoint: Any) -> dict[str, Any]:
    """The checkpoint's scheduler configuration; empty when it is not here."""
    return _config(checkpoint, "scheduler", "scheduler_config.json")


def _config(checkpoint: Any, component: str, name: str) -> dict[str, Any]:
    if not isinstance(checkpoint, Mapping):
        return {}
    choices = checkpoint.get("components") or {}
    own = choices.get(component) if isinstance(choices, Mapping) else None
    own = {key: value for key, value in own.items() if value is not None} if isinstance(own, Mapping) else {}
    repo = own.get("repo", checkpoint.get("repo"))
    revision = own.get("revision", None if "repo" in own else checkpoint.get("revision"))
    subfolder = own.get("subfolder", component)
    if not isinstance(repo, str) or not isinstance(subfolder, str) or not isinstance(revision, str | None):
        return {}
    if Path(subfolder).is_absolute() or ".." in Path(subfolder).parts:
        return {}  # leads out of the checkpoint, which the plan tells
    folder = _folder(repo, revision)
    try:
        found = read_json(folder / subfolder / name, CONFIGURATION) if folder else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _folder(repo: str, revision: str | None) -> Path | None:
    from components.errors import CheckpointError
    from components.hub import find_repo

    try:
        source = checkpoint_source(repo)
        local = Path(source).expanduser()
        if local.is_dir():
            return local
        hub = find_repo(str(source), revision, None, None, True)
        commit = hub.cached_commit()
        return hub.snapshot(commit) if commit else None
    except (RecipeError, CheckpointError, OSError):
        return None
