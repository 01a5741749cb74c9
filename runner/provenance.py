"""Where a picture comes from, for the manifest: versions, the user's repository, the sha256 of every weight file."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from components.regular_files import CACHE, open_regular, read_json
from runner.outputs import write_atomically

NUMERICS = 1
"""Raised when a change of this program moves last bits of pictures; what is saved without the number has 1."""
INITIAL = "(initial)"  # what git calls the commit of a repository that has none yet
PACKAGES = ("diffusion-recipes", "torch", "transformers", "tokenizers", "numpy", "safetensors", "Pillow")
_LFS_BLOB = re.compile(r"[0-9a-f]{64}")


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages that can change a picture, read without importing them."""
    found = {"python": platform.python_version()}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> str:
    """Operating system and processor in words."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return f"{platform.system()} {platform.machine()}, {processor}"


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and dirtiness of the repository around `folder`; None outside one, before its first commit, without git.

    Dirty means that a tracked file differs from the commit: outputs that git was never told of do not count.
    """
    words = ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    commit = next((line.split()[-1] for line in told if line.startswith("# branch.oid")), INITIAL)
    if commit == INITIAL:
        return None
    return {"commit": commit, "dirty": any(not line.startswith("#") for line in told)}


def physical_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Physical cores this process may use: its CPU affinity, hyper-threads counted once, a container's quota kept."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text(encoding="ascii").strip())
        except OSError:
            cores.add(str(cpu))
    count = len(cores)
    with suppress(OSError, ValueError):  # "200000 100000": two CPUs' worth of time in each period; "max": no limit
        allowed, period = map(int, quota.read_text(encoding="ascii").split())
        count = min(count, -(-allowed // period))
    return max(1, count)


class FileSums:
    """sha256 of large files, remembered between runs by path, size and time of change.

    A blob of the hub's cache is named by its sha256, which is taken as it stands.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self.memory = memory or cache_folder() / "sha256.json"
        try:
            found = read_json(self.memory, CACHE)
        except (OSError, ValueError):
            found = {}
        entries = found.items() if isinstance(found, dict) else ()
        self.known: dict[str, list[Any]] = {file: entry for file, entry in entries if _is_sum(entry)}

    def sums(self, files: Iterable[Path]) -> dict[Path, str]:
        """The sha256 of each file."""
        result, learned = {}, False
        for file in files:
            real = file.resolve()
            if real.parent.name == "blobs" and _LFS_BLOB.fullmatch(real.name):
                result[file] = real.name
                continue
            status = real.stat()
            stamp = [status.st_size, status.st_mtime_ns]
            entry = self.known.get(str(real))
            if entry is None or entry[:2] != stamp:
                with open_regular(real) as handle:
                    entry = [*stamp, hashlib.file_digest(handle, "sha256").hexdigest()]
                self.known[str(real)] = entry
                learned = True
            result[file] = entry[2]
        if learned:
            with suppress(OSError):  # a read-only home costs time, not correctness
                self.memory.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.memory, json.dumps(self.known).encode())
        return result


def _is_sum(entry: Any) -> bool:
    """[size, time of change, sha256], as it is remembered."""
    return isinstance(entry, list) and len(entry) == 3 and isinstance(entry[2], str)


def cache_folder() -> Path:
    """Where this program keeps what it can make again."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", base)
    return Path(base) / "diffusion-recipes"
