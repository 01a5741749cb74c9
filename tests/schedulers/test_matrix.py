"""The parity matrix: all pairs of every scheduler's options, and every cell of it where slow tests are asked for."""

from collections.abc import Iterator

import pytest
from family import FAMILY, Member, label
from matrix import WRONG, all_pairs, cells, covering, factors, judge
from peer_differs import Cell
from reference_loop import smooth_path
from wider import WIDER, Wider

members = pytest.mark.parametrize(
    "member", (*FAMILY, *WIDER), ids=lambda m: m.name + ("-flow" if isinstance(m, Wider) and "SD" in m.base else "")
)


@pytest.fixture(autouse=True)
def _smooth() -> Iterator[None]:
    with smooth_path():
        yield


def wrong(judged: Iterator[Cell]) -> list[str]:
    verdicts = ((cell, judge(cell)) for cell in judged)
    return [f"{label(cell.config)} {cell.steps} steps: {v.why}" for cell, v in verdicts if v.kind == WRONG]


@members
def test_all_pairs_of_options_at_three_steps(member: Member) -> None:
    assert wrong(Cell(member, config, 3) for config in all_pairs(member)) == []


@pytest.mark.slow
@members
def test_every_cell(member: Member) -> None:
    assert wrong(cells(member)) == []


@members
def test_a_list_of_pairs_has_every_pair(member: Member) -> None:
    sizes = [len(factor) for factor in factors(member)]
    rows = covering(sizes)
    for i in range(len(sizes)):
        for j in range(i):
            assert {(row[i], row[j]) for row in rows} == {(a, b) for a in range(sizes[i]) for b in range(sizes[j])}


def test_a_wrong_coefficient_is_a_wrong_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    member = FAMILY[0]
    cell = Cell(member, {}, 3)
    assert judge(cell).kind != WRONG
    cell.table().update[1, 0] *= 1.001
    assert judge(cell).kind == WRONG
