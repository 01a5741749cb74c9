"""Every damaged checkpoint of docs/damaged_checkpoints.md is refused by a message that names what it should."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from damaged_checkpoints import CASES, Case, document, message  # noqa: E402

SAID: dict[str, str] = {}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_damaged_checkpoint_is_refused_and_nothing_is_left(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = SAID[case.what] = message(case, tmp_path)
    for name in case.names:
        assert name in said
    assert not (tmp_path / "outputs").exists()
    assert not (tmp_path / "ran").exists()
    assert "Traceback" not in said and str(tmp_path) not in said


def test_the_document_is_what_is_said() -> None:
    if set(SAID) != {case.what for case in CASES}:
        pytest.skip("needs the other tests of this file in the same process")
    written = (ROOT / "docs/damaged_checkpoints.md").read_text(encoding="utf-8")
    assert written == document(SAID), "python benchmarks/damaged_checkpoints.py > docs/damaged_checkpoints.md"


def test_there_are_at_least_25() -> None:
    assert len({case.what for case in CASES}) == len(CASES) >= 25
