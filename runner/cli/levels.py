"""How the verbs print a table's rows: what the network is told, and at which noise level, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from components.schedulers import Tableau


def ratios(table: Tableau) -> np.ndarray:
    """(N + 1,) noise-to-signal ratio sigma / alpha where each row reads, and where the last one lands."""
    levels = np.vstack([table.read, table.land[-1:]])
    with np.errstate(divide="ignore"):
        return levels[:, 1] / levels[:, 0]


def level_lines(table: Tableau) -> list[str]:
    """A header, a line for every row, and one for the end."""
    sigma = ratios(table)
    with np.errstate(divide="ignore"):
        log_snr = -2 * np.log(sigma)
    lines = ["row  step   timestep      sigma    log SNR"]
    for row, (t, step) in enumerate(zip(table.timestep, table.step, strict=True)):
        noise = "   + noise" if table.takes_noise[row] else ""
        lines.append(f"{row:>3}  {step:>4}  {t:>9.3f}  {sigma[row]:>9.4f}  {log_snr[row]:>9.3f}{noise}")
    return [*lines, f"end                    {sigma[-1]:>9.4f}  {log_snr[-1]:>9.3f}"]
