"""What the manifest says about versions, repositories and weight files is true."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
import torch

from runner.provenance import FileSums, git_state, physical_cores, versions


def test_versions_are_those_in_use() -> None:
    assert versions()["torch"] == torch.__version__
    assert "python" in versions()


def test_cores_are_those_this_process_may_use() -> None:
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "cores"), [("50000 100000", 1), ("max 100000", None), ("", None)])
def test_a_containers_quota_counts(tmp_path: Path, quota: str, cores: int | None) -> None:
    """The form is that of cgroup v2's cpu.max: microseconds allowed in each period."""
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert physical_cores(file) == (cores or physical_cores(tmp_path / "absent"))


def test_a_repository_is_dirty_when_a_tracked_file_differs(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    (tmp_path / "untracked").write_text("1")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "a").write_text("2")
    state = git_state(tmp_path)
    assert state is not None
    assert state["dirty"]


def test_sums_follow_the_content_and_are_remembered(tmp_path: Path) -> None:
    memory, file = tmp_path / "cache" / "sums.json", tmp_path / "weights"
    file.write_bytes(b"one")
    assert FileSums(memory).sums([file]) == {file: hashlib.sha256(b"one").hexdigest()}
    # the second time it is taken from memory: a false entry planted there comes back
    memory.write_text(memory.read_text().replace(hashlib.sha256(b"one").hexdigest(), "planted"))
    assert FileSums(memory).sums([file]) == {file: "planted"}
    file.write_bytes(b"three")
    assert FileSums(memory).sums([file]) == {file: hashlib.sha256(b"three").hexdigest()}


def test_a_hub_blob_is_named_by_its_sum(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"x")
    link = tmp_path / "model.safetensors"
    link.symlink_to(blob)
    assert FileSums(tmp_path / "m.json").sums([link]) == {link: "ab" * 32}


def test_a_damaged_memory_costs_time_only(tmp_path: Path) -> None:
    memory = tmp_path / "sums.json"
    memory.write_text("{half")
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    assert FileSums(memory).sums([file]) == {file: hashlib.sha256(b"one").hexdigest()}
