"""What a sweep leaves beside its pictures: the table, the contact sheets and, last, the page."""

from __future__ import annotations

from pathlib import Path

from runner.sweep.contact_sheet import write_contact_sheets
from runner.sweep.report import write_report
from runner.sweep.results import SweepResults
from runner.sweep.table import write_table


def leave(
    results: SweepResults, *, rows: str | None = None, columns: str | None = None, sheets: bool = True
) -> list[Path]:
    """Write all of it into the sweep's folder; returns the files. Raises RecipeError for a key that does not vary.

    sheets: false while the sweep goes on, as they read every picture again; the page reads none twice.
    """
    return [
        *(write_contact_sheets(results, rows=rows, columns=columns) if sheets else ()),
        write_table(results),
        write_report(results, rows=rows, columns=columns),
    ]
