"""What belongs to one run of a scheduler and not to its configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """Each method reads the ones it lists in its options."""

    eta: float = 0.0
    use_clipped_model_output: bool = False
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = float("inf")
    s_noise: float = 1.0
    order: int = 4
    strength: float = 1.0
    mu: float | None = None
    shared_path: bool = False  # draws are increments of one Brownian path for all samplers and any number of steps
    unshifted: tuple[float, ...] | None = None  # levels of a flow in place of even ones, before any shift
    same_rows: bool = False  # begun late, a method has the rows of the whole run, and not those by which it starts
