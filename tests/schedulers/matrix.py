"""The parity matrix: every scheduler, every option on its own and all pairs of options, every number of steps.

    python tests/schedulers/matrix.py [--fast] [--steps N ...] [SCHEDULER ...]

Each cell is a whole trajectory against the reference library's, in float64, with a nonlinear stand-in for the network
and equal noise. It is *equal* (1e-5 of the norm), equal once the peer's *float32* numbers are float64, or *listed* with
the reason why the peer is not the measure there (`peer_differs`, `wider_differs`, `matrix_differs`); any other cell is
printed and makes the exit code 1. `--fast` leaves out the product with spacings and prediction types, and tries three
numbers of steps. All 39,356 cells take twenty minutes of one core; `--steps 1 2 3 5 9 10 27 50` leaves out a thousand.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass

import numpy as np
import torch
from family import FAMILY, NEEDS, OF_FLOWS, SD, TRAINING_SPACINGS, Config, Member, alternatives, label, ours_alone
from matrix_differs import MATRIX_DIFFERS
from peer_differs import DIFFERS, NAN, PEER_DIFFERS, RAISES, Cell, Difference
from reference_loop import distance, peer_in_float64, smooth_path
from wider import KEPT_ALONE, WIDER, Wider
from wider_differs import WIDER_DIFFERS

TOLERANCE = 1e-5
STEPS = (1, 2, 3, 5, 9, 10, 27, 50)
FEW = (1, 3, 10)
MANY = 1000
EQUAL, FLOAT32, LISTED, WRONG = "equal", "float32", "listed", "wrong"

Factor = tuple[Config, ...]
"""The settings one may choose between, the first of them being the default."""

GROUPS: tuple[tuple[str, ...], ...] = (
    ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "sigma_min", "sigma_max"),
    ("clip_sample", "clip_sample_range", "thresholding", "dynamic_thresholding_ratio", "sample_max_value"),
    ("eta", "use_clipped_model_output", "s_churn", "s_tmin", "s_tmax", "s_noise"),
)
"""Options that exclude one another, or do nothing alone: each such group is one factor."""


def factors(member: Member) -> list[Factor]:
    """Spacing, prediction type, and then every other option of the class, alone or in its group."""
    options, base, only = member.cls.options(), base_of(member), getattr(member, "only", None)
    clock = {"num_train_timesteps", "trained_betas"}
    left_out = {"timestep_spacing", "steps_offset", "prediction_type", "variance_type", *OF_FLOWS}
    left_out |= ours_alone(member.name)
    if isinstance(member, Wider):  # what a pipeline reads and no scheduler does, or has tests of its own
        left_out |= {*KEPT_ALONE, *base} - clock
    if "beta_schedule" not in options:
        left_out |= clock
    tried = [name for name in options if (name in only if only else name not in left_out)]

    def settings(names: Iterable[str]) -> Factor:
        needs = {name: {k: v for k, v in NEEDS.get(name, {}).items() if k in options} for name in names}
        return {}, *(needs[name] | {name: value} for name in names for value in alternatives(name, options[name]))

    grouped = [[name for name in group if name in tried] for group in GROUPS]
    alone = [[name] for name in tried if not any(name in group for group in GROUPS)]
    spacings = TRAINING_SPACINGS if "timestep_spacing" in options and not only else ({},)
    known = options["prediction_type"].choices if "prediction_type" in options and not only else ()
    predictions = tuple({"prediction_type": choice} for choice in known if choice != "flow_prediction")
    return [spacings, predictions or ({},), *(settings(names) for names in (*grouped, *alone) if names)]


def base_of(member: Member) -> Config:
    return member.base if isinstance(member, Wider) else SD


def each_on_its_own(member: Member, *, product: bool) -> Iterator[Config]:
    """Every setting of every factor with the others left alone; `product`: at every spacing and prediction type."""
    spacings, predictions, *others = factors(member)
    around = list(itertools.product(spacings, predictions)) if product else [({}, {})]
    if not product:
        yield from (base_of(member) | s | p for s, p in itertools.product(spacings, predictions))
    for (spacing, prediction), setting in itertools.product(around, [{}, *(s for f in others for s in f[1:])]):
        yield base_of(member) | spacing | prediction | setting


def all_pairs(member: Member) -> Iterator[Config]:
    """As few configurations as a greedy search finds, in which any two settings of different factors meet."""
    for chosen in covering([len(factor) for factor in factors(member)]):
        config = dict(base_of(member))
        for factor, setting in zip(factors(member), chosen, strict=True):
            config |= factor[setting]
        yield config


def covering(sizes: list[int]) -> list[list[int]]:
    """Rows of one choice per factor such that every pair of choices of two factors is in some row."""
    choices = [[(i, a) for a in range(size)] for i, size in enumerate(sizes)]
    met = (itertools.product(*two) for two in itertools.combinations(choices, 2))
    missing, rows = dict.fromkeys((*one, *other) for pairs in met for one, other in pairs), []
    while missing:
        i, a, j, b = next(iter(missing))
        row = {i: a, j: b}
        for k in range(len(sizes)):
            if k not in row:
                row[k] = max(range(sizes[k]), key=lambda c, k=k: sum(_pair(k, c, m, row[m]) in missing for m in row))
        rows.append([row[k] for k in range(len(sizes))])
        for m, n in itertools.combinations(range(len(sizes)), 2):
            missing.pop((m, row[m], n, row[n]), None)
    return rows


def _pair(k: int, c: int, m: int, d: int) -> tuple[int, int, int, int]:
    return (k, c, m, d) if k < m else (m, d, k, c)


def cells(member: Member, *, fast: bool = False, only: Sequence[int] = ()) -> Iterator[Cell]:
    """All cells of a scheduler, each once; `only` those of these numbers of steps, where any are given."""
    spacings, predictions, *_ = factors(member)
    plain, pairs = list(each_on_its_own(member, product=False)), list(all_pairs(member))
    every = [] if fast else each_on_its_own(member, product=True)
    plan = [(config, n) for config in (*plain, *pairs, *every) for n in (FEW if fast else STEPS)]
    longest = (*plain[: len(spacings) * len(predictions)], *pairs)
    plan += [] if fast else [(config, most_steps(member, config)) for config in longest]
    seen = set()
    for config, steps in plan:
        if steps > most_steps(member, config) or (only and steps not in only):
            continue
        if (key := (label(config), repr(sorted(config.items(), key=str)), steps)) not in seen:
            seen.add(key)
            yield Cell(member, config, steps)


def most_steps(member: Member, config: Config) -> int:
    """MANY, or as many as there are timesteps; the consistency schedule of its tests has forty."""
    return 40 if member.name.startswith("CM") else min(MANY, config.get("num_train_timesteps", MANY))


@dataclass(frozen=True)
class Verdict:
    """What a cell is, and why; `off` is the distance from the peer, nan where there is none."""

    kind: str
    why: str
    off: float


def judge(cell: Cell) -> Verdict:
    """Raises nothing: what goes wrong on our side is a verdict too."""
    try:
        ours = cell.run()
        if not torch.isfinite(ours).all() or cell.table().steps != cell.steps:
            return Verdict(WRONG, "ours is not finite, or not of that many steps", float("nan"))
    except Exception as error:
        return Verdict(WRONG, f"ours raises {error!r}", float("nan"))
    off, found = float("nan"), DIFFERS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            off = _distance_in_float64(cell) if cell.steps > 50 else distance(ours, cell.run_peer())
            if off <= TOLERANCE:
                return Verdict(EQUAL, "", off)
            if np.isnan(off):
                found = NAN
            elif cell.steps <= 50 and (exact := _distance_in_float64(cell)) <= TOLERANCE:
                return Verdict(FLOAT32, "its numbers are float32", exact)
    except Exception as raised:
        found = f"{RAISES}: {type(raised).__name__}: {raised}"
    return _as_listed(cell, found, off)


def _as_listed(cell: Cell, found: str, off: float) -> Verdict:
    """Of a cell that differs: LISTED where an entry says what was found and, if it is alone, its remedy works."""
    entries = [entry for entry in listing(cell.member) if entry.covers(cell)]
    said = [entry for entry in entries if found.startswith(entry.peer)]
    if not said:
        return Verdict(WRONG, f"the peer {found}"[:110], off)
    remedy = said[0].remedy if found == DIFFERS and len(entries) == 1 else None
    if remedy is not None and not (left := _at_best(remedy, cell)) <= TOLERANCE:
        return Verdict(WRONG, f"still {left:.1e} apart where {remedy.__name__}", off)
    return Verdict(LISTED, said[0].why, off)


def _at_best(remedy: Callable[[Cell], float], cell: Cell) -> float:
    """What a remedy leaves, the peer's numbers being float64 if float32 ones are not enough."""
    left = float("inf")
    for setting in (nullcontext, peer_in_float64):
        # A remedy may have a condition of its own, of which this cell is no case.
        with setting(), suppress(AssertionError, TypeError, ValueError):
            left = min(left, remedy(cell))
        if left <= TOLERANCE:
            break
    return left


def _distance_in_float64(cell: Cell) -> float:
    with peer_in_float64():
        return distance(cell.run(), cell.run_peer())


def listing(member: Member) -> tuple[Difference, ...]:
    return (*(WIDER_DIFFERS if isinstance(member, Wider) else PEER_DIFFERS), *MATRIX_DIFFERS)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("schedulers", nargs="*", help="class names, or parts of them; all where none is given")
    parser.add_argument("--fast", action="store_true", help="few numbers of steps, no product with spacings")
    parser.add_argument("--steps", nargs="+", type=int, default=(), help="only these numbers of steps")
    arguments = parser.parse_args()
    asked = arguments.schedulers or [""]
    members = [member for member in (*FAMILY, *WIDER) if any(part in member.name for part in asked)]
    total, reasons, began = Counter(), Counter(), time.perf_counter()
    print(f"{'scheduler':40} {'cells':>7} {'equal':>7} {'float32':>7} {'listed':>7} {'wrong':>6}  largest")
    with smooth_path():
        for member in members:
            counts, largest = Counter(), 0.0
            for cell in cells(member, fast=arguments.fast, only=arguments.steps):
                verdict = judge(cell)
                counts[verdict.kind] += 1
                if verdict.kind in (EQUAL, FLOAT32):
                    largest = max(largest, verdict.off)
                elif verdict.kind == LISTED:
                    reasons[f"{member.name}: {verdict.why}"] += 1
                else:
                    where = f"{member.name} {label(cell.config)} {cell.steps} steps"
                    print(f"  {where}: {verdict.off:.1e}, {verdict.why}", flush=True)
            name = member.name + (" (flow)" if base_of(member).get("use_flow_sigmas") else "")
            shown = " ".join(f"{counts[kind]:>7}" for kind in (EQUAL, FLOAT32, LISTED))
            print(f"{name:40} {counts.total():>7} {shown} {counts[WRONG]:>6}  {largest:.1e}", flush=True)
            total += counts
    kinds = ", ".join(f"{n} {kind}" for kind, n in total.items())
    print(f"\n{total.total()} cells in {time.perf_counter() - began:.0f} s: {kinds}")
    print("\n".join(["listed:", *(f"{n:>6}  {why}" for why, n in sorted(reasons.items()))]))
    return 1 if total[WRONG] else 0


if __name__ == "__main__":
    sys.exit(main())
