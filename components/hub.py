"""Repositories on the Hugging Face hub: the cache on disk, read without the network, and downloads into it.

The cache's layout (`models--org--name/{blobs,refs,snapshots/<commit>}`) is read with plain Python; huggingface_hub is
imported only when something has to be fetched. This module knows nothing of components, variants or weights.
"""

import logging
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import AbsentError, CheckpointError
from components.packages import program
from components.regular_files import REFERENCE, read_bytes

logger = logging.getLogger(__name__)

ANSWER = 10.0  # seconds without a byte after which the hub is given up
REPO_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
MOVED = {
    **{
        f"stabilityai/stable-diffusion-{name}": f"sd2-community/stable-diffusion-{name}"
        for name in ("2", "2-base", "2-1", "2-1-base", "2-depth", "2-inpainting")
    },
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
}


def cache_folder() -> Path:
    """Where the hub's cache is, from the environment variables huggingface_hub honours."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    home = os.environ.get("HF_HOME")
    if not home:
        home = str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(home).expanduser() / "hub"


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids the network."""
    return any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def is_repo(repo: str) -> bool:
    """Whether a source of a checkpoint means a repository on the hub, being no folder and spelt like one."""
    return not Path(repo).is_dir() and bool(REPO_ID.fullmatch(repo)) and ".." not in repo and "--" not in repo


def download_command(repo: str, revision: str | None, patterns: Iterable[str]) -> str:
    """The command that fetches files of a repository into the cache, by patterns."""
    words = [program("hf"), "download", shlex.quote(MOVED.get(repo, repo))]
    words += ["--revision", shlex.quote(revision)] if revision else []
    return " ".join([*words, *(f"--include {shlex.quote(pattern)}" for pattern in patterns)])


@dataclass(frozen=True)
class HubRepo:
    """One repository at one revision, as the cache has it and as the hub offers it."""

    repo: str
    revision: str
    cache_dir: Path
    token: str | bool | None = None
    local_only: bool = False

    @property
    def folder(self) -> Path:
        return self.cache_dir / f"models--{self.repo.replace('/', '--')}"

    def cached_commit(self) -> str | None:
        """The commit the cache knows for the revision, if it has a snapshot of it."""
        commit = self.revision
        if not COMMIT.fullmatch(commit):
            ref = self.folder / "refs" / self.revision
            try:
                commit = read_bytes(ref, REFERENCE).decode("ascii").strip()
            except (OSError, ValueError):
                return None
        return commit if commit and (self.folder / "snapshots" / commit).is_dir() else None

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def listing(self, commit: str) -> frozenset[str]:
        """Every file of the repository at a commit. Asks the hub.

        Raises:
            CheckpointError: the hub cannot be reached or refuses.
        """
        with self._explained():
            from huggingface_hub import HfApi

            return frozenset(HfApi(token=self.token).list_repo_files(self.repo, revision=commit))

    def fetch(self, names: Iterable[str], commit: str | None = None) -> Path:
        """Download files into the cache and return the snapshot's folder; names the repository lacks are left out.

        Raises:
            CheckpointError: the hub cannot be reached or refuses.
        """
        with self._explained():
            from huggingface_hub import snapshot_download

            return Path(
                snapshot_download(
                    self.repo,
                    revision=commit or self.revision,
                    cache_dir=self.cache_dir,
                    token=self.token,
                    allow_patterns=sorted(names),
                )
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn whatever goes wrong between us and the hub into a CheckpointError that says what to do."""
        if self.local_only:
            raise AbsentError(
                f"{self._name()} is not (wholly) in the cache {self.cache_dir}, and the network is switched off "
                "(local_files_only, HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE). Run once online, or name a local folder."
            )
        try:
            from huggingface_hub import errors
        except ImportError:
            raise CheckpointError(f"{self._name()} has to be downloaded, which needs huggingface_hub.") from None
        login = "log in with `hf auth login` or set HF_TOKEN to a token that may read it"
        _answer_in_time()
        try:
            yield
        except errors.GatedRepoError:
            raise AbsentError(
                f"{self._name()} is gated: accept its conditions at https://huggingface.co/{self.repo}, then {login}."
            ) from None
        except errors.RepositoryNotFoundError:
            raise CheckpointError(
                f"{self.repo!r} is neither a local folder nor a repository on the hub that you may read. "
                f"Check the spelling; if it is private, {login}."
            ) from None
        except errors.RevisionNotFoundError:
            raise CheckpointError(
                f"{self.repo} has no revision {self.revision!r}: give a branch, a tag or a commit it has "
                f"(https://huggingface.co/{self.repo}/tree/main)."
            ) from None
        except Exception as error:  # connection libraries have no common base class
            cause = error.__cause__ or error
            raise AbsentError(
                f"{self._name()} is not (wholly) in the cache {self.cache_dir}, and the hub could not be asked for it "
                f"({type(cause).__name__}: {' '.join(str(cause).split())[:200]}). "
                "Check the connection, or name a local folder."
            ) from error

    def _name(self) -> str:
        return self.repo if self.revision == "main" else f"{self.repo} (revision {self.revision})"


def _answer_in_time() -> None:
    """Has huggingface_hub give up a hub that takes a call and says nothing, for which it would wait for ever.

    Its client is httpx's, which tells of every request before it is sent; the client of releases before 1.0 does not.
    """
    from huggingface_hub import get_session

    hooks = getattr(get_session(), "event_hooks", None)
    if hooks is not None and _limit not in hooks["request"]:
        hooks["request"].append(_limit)


def _limit(request: Any) -> None:
    asked = request.extensions.get("timeout") or {}
    kinds = ("connect", "read", "write", "pool")
    request.extensions["timeout"] = {kind: asked.get(kind) or ANSWER for kind in kinds}


def find_repo(
    repo: str, revision: str | None, cache_dir: Path | None, token: str | bool | None, local_only: bool
) -> HubRepo:
    """The repository meant by an id, following those known to have moved unless the cache has the old name.

    Raises:
        CheckpointError: not a repository id, or a revision that is no name.
    """
    if not REPO_ID.fullmatch(repo) or ".." in repo or "--" in repo:
        raise CheckpointError(f"{repo!r} is neither an existing folder nor a hub repository id of the form org/name.")
    revision = revision or "main"
    if not re.fullmatch(r"[\w][\w./+-]*", revision) or ".." in revision:
        raise CheckpointError(f"{revision!r} is not a revision: give a branch, a tag or a commit.")
    found = HubRepo(repo, revision, cache_dir or cache_folder(), token, local_only or is_offline())
    if repo in MOVED and found.cached_commit() is None:
        logger.warning("%s has moved: using %s.", repo, MOVED[repo])
        return HubRepo(MOVED[repo], revision, found.cache_dir, token, found.local_only)
    return found
