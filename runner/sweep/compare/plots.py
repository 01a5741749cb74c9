"""Plots of a comparison, as SVG text for the report and as files: error and fidelity over evaluations of the network.

A plot has one panel for each schedule and one colour and marker for each method, named at the end of its line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.schedulers.equation import Kind
from runner.outputs import write_together
from runner.schema import Compare
from runner.sweep.compare.analysis import ABOVE_FLOOR
from runner.sweep.compare.series import Curve, front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart, without their yellow; then three darker ones.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7a4900", "#5b2a86", "#666666")
MARKERS = "osD^vPX*<>"
GREY = "#8a8a8a"
PANELS = 4  # schedules beside each other; more share one panel
EQUATIONS: Mapping[Kind, str] = {"ode": "ODE samplers", "sde": "SDE samplers (eta 1), on shared Brownian paths"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(curves: Sequence[Curve], settings: Compare) -> dict[str, Figure]:
    """Title → figure, for each setting: errors of the ODE's samplers, of the SDE's, and fidelity where it is known."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        return _figures(curves, settings)


def _figures(curves: Sequence[Curve], settings: Compare) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    styles = _styles(curves)
    for setting in dict.fromkeys(curve.setting for curve in curves):
        mine = [curve for curve in curves if curve.setting == setting]
        after = f", {setting}" if setting else ""
        for kind, words in EQUATIONS.items():
            measured = [curve for curve in mine if curve.kind == kind and curve.errors]
            if measured:
                title = f"Error of {words}{after}"
                figures[title] = _error_figure(measured, styles, title, settings)
        if any(point.fidelity is not None for curve in mine for point in curve.points):
            title = f"Pictures that show what the prompt says{after}"
            figures[title] = _fidelity_figure(mine, styles, title)
    return figures


def save(figures: Mapping[str, Figure], folder: Path) -> dict[str, str]:
    """Writes each figure as SVG and PNG; title → SVG text, fit to stand in a page beside others."""
    import matplotlib

    texts, files = {}, []
    for title, figure in figures.items():
        name = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:80]
        vector, pixels = io.StringIO(), io.BytesIO()
        # ids are made from the salt: two plots in one page must not share them
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):
            figure.savefig(vector, format="svg", metadata={"Date": None})
            figure.savefig(pixels, format="png", dpi=160)
        texts[title] = vector.getvalue()
        files += [(f"{name}.svg", texts[title].encode("utf-8")), (f"{name}.png", pixels.getvalue())]
    write_together(folder, files)
    return texts


def _styles(curves: Sequence[Curve]) -> dict[str, dict[str, Any]]:
    """Method → how its lines look, the same in all plots."""
    methods = dict.fromkeys(curve.method for curve in curves)
    return {
        method: {
            "color": COLORS[i % len(COLORS)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": ("-", "--", ":")[i // len(COLORS) % 3],
        }
        for i, method in enumerate(methods)
    }


def _panels(curves: Sequence[Curve], title: str) -> tuple[Figure, list[tuple[Axes, str | None]]]:
    """A figure with its axes, and the schedule that each is for; None: for all of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    schedules: list[str | None] = [*dict.fromkeys(curve.schedule for curve in curves)]
    if len(schedules) > PANELS:
        schedules = [None]
    width = 4.2 * len(schedules) if len(schedules) > 1 else 6.4
    figure = Figure(figsize=(width, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    axes = figure.subplots(1, len(schedules), sharex=True, sharey=True, squeeze=False)[0]
    for place, schedule in zip(axes, schedules, strict=True):
        if schedule:
            place.set_title(f"schedule: {schedule}", loc="left")
        place.set_xscale("log")
        place.set_xlabel("network evaluations a picture")
        place.grid(which="major", color="#dddddd", linewidth=0.7)
        place.grid(which="minor", color="#f0f0f0", linewidth=0.5)
        place.set_axisbelow(True)
    return figure, list(zip(axes, schedules, strict=True))


def _error_figure(
    curves: Sequence[Curve], styles: Mapping[str, Mapping[str, Any]], title: str, settings: Compare
) -> Figure:
    figure, panels = _panels(curves, title)
    best = front(curves)
    floor = max(curve.floor for curve in curves)
    lowest, highest = (end(error for curve in curves for error in curve.errors) for end in (min, max))
    for axes, schedule in panels:
        axes.set_yscale("log")
        axes.set_ylim((0.6 * min(lowest, floor or lowest), 1.4 * highest))
        axes.plot(
            [nfe for _, nfe, _ in best],
            [error for *_, error in best],
            color="#d9d9d9",
            linewidth=7,
            solid_capstyle="round",
            zorder=1,
            label="the best of all methods and schedules",
        )
        ends = []
        for curve in _on(curves, schedule):
            label = curve.method if schedule is not None else curve.name
            order = f" (order {curve.fit.order:.1f})" if curve.fit else ""
            _line(axes, curve.nfe, curve.errors, styles[curve.method])
            ends.append((curve.nfe[-1], curve.errors[-1], label + order, styles[curve.method]["color"]))
        _name_ends(axes, ends)
        for below in settings.below:
            axes.axhline(below, color=GREY, linewidth=0.6, linestyle=(0, (1, 3)), zorder=0)
        if floor > 0:
            axes.axhline(floor, color=GREY, linewidth=1, linestyle="--", zorder=1)
            axes.axhspan(0.1 * floor, ABOVE_FLOOR * floor, color="#f4f4f4", zorder=0)
    _evaluations(panels, curves)
    first = panels[0][0]
    first.set_ylabel("relative L2 of the final latents")
    if floor > 0:
        words = f"floor of the references, {floor:.1e}; nothing in the shade is fitted"
        place = {"xy": (0.02, floor), "xycoords": ("axes fraction", "data"), "xytext": (0, 2)}
        first.annotate(words, textcoords="offset points", fontsize=7.5, color="#666666", **place)
    first.legend(loc="upper right", fontsize=7.5, frameon=False)
    return figure


def _fidelity_figure(curves: Sequence[Curve], styles: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    figure, panels = _panels(curves, title)
    for axes, schedule in panels:
        ends = []
        for curve in _on(curves, schedule):
            points = [(point.nfe, point.fidelity) for point in curve.points if point.fidelity is not None]
            if points:
                nfe, share = zip(*points, strict=True)
                _line(axes, nfe, share, styles[curve.method])
                label = curve.method if schedule is not None else curve.name
                ends.append((nfe[-1], share[-1], label, styles[curve.method]["color"]))
        axes.set_ylim(-0.03, 1.03)
        _name_ends(axes, ends)
    _evaluations(panels, curves)
    panels[0][0].set_ylabel("share of pictures, by the demo's checker")
    return figure


def _on(curves: Sequence[Curve], schedule: str | None) -> list[Curve]:
    return [curve for curve in curves if schedule is None or curve.schedule == schedule]


def _line(axes: Axes, nfe: Sequence[float], values: Sequence[float], style: Mapping[str, Any]) -> None:
    axes.plot(nfe, values, linewidth=1.4, markersize=4, markeredgewidth=0, zorder=3, **style)


def _evaluations(panels: Sequence[tuple[Axes, str | None]], curves: Sequence[Curve]) -> None:
    """Ticks at the numbers that were tried, and room for the names at the ends."""
    tried = sorted({point.nfe for curve in curves for point in curve.points})
    ticks = [n for i, n in enumerate(tried) if i == 0 or n / tried[i - 1] > 1.2]
    for axes, _ in panels:
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(tried[0] * 0.92, tried[-1] * (tried[-1] / tried[0]) ** 0.62 * 1.02)


def _name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names at the right ends of lines, moved apart where they would overlap; a thin line leads to the moved ones."""
    if not ends:
        return
    figure_height = axes.get_figure().get_size_inches()[1] * 72  # type: ignore[union-attr]
    gap = 9.5 / (figure_height * 0.78)
    ordered = sorted(ends, key=lambda end: end[1])
    log = axes.get_yscale() == "log"
    low, high = (np.log10(value) if log else value for value in axes.get_ylim())
    wanted = [((np.log10(value) if log else value) - low) / (high - low) for _, value, *_ in ordered]
    right = max(nfe for nfe, *_ in ends)
    for (nfe, value, text, color), place in zip(ordered, _apart(wanted, gap), strict=True):
        axes.annotate(
            text,
            (nfe, value),
            xytext=(right * 1.12, 10 ** (low + place * (high - low)) if log else low + place * (high - low)),
            textcoords="data",
            fontsize=7.5,
            color=color,
            va="center",
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Rising places at least `gap` apart, within [0, 1], each as near to where it was as the others leave it."""
    groups: list[list[float]] = []  # of places that touch: spread evenly around their mean
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _bottom(groups[-1], gap) - _top(groups[-2], gap) < gap:
            last = groups.pop()
            groups[-1] += last
    return [_bottom(group, gap) + gap * i for group in groups for i in range(len(group))]


def _bottom(group: Sequence[float], gap: float) -> float:
    extent = gap * (len(group) - 1)
    return min(max(float(np.mean(group)) - extent / 2, 0.01), 0.99 - extent)


def _top(group: Sequence[float], gap: float) -> float:
    return _bottom(group, gap) + gap * (len(group) - 1)
