"""What a sweep leaves beside its pictures: the table, the contact sheets and, last, the page."""

from __future__ import annotations

from pathlib import Path

from runner.sweep.contact_sheet import write_contact_sheets
from runner.sweep.report import write_report
from runner.sweep.results import SweepResults
from runner.sweep.table import write_table


def leave(results: SweepResults, *, rows: str | None = None, columns: str | None = None) -> list[Path]:
    """Write all of it into the sweep's folder; returns the files. Raises RecipeError for a key that does not vary."""
    return [
        *write_contact_sheets(results, rows=rows, columns=columns),
        write_table(results),
        write_report(results, rows=rows, columns=columns),
    ]
