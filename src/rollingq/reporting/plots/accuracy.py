"""Accuracy per method: every seed a dot, the mean and its 95 % interval."""

from typing import TYPE_CHECKING

from rollingq.evaluation.results import Comparison, MethodSummary
from rollingq.reporting.lookup import CHOSEN_ON_TEST, is_chosen_on_test, runs_of, unimodal_methods
from rollingq.reporting.plots.style import INK, MUTED, Row, label, looks, name_rows, new_figure, spread_out, styled
from rollingq.reporting.text import DASH, bounds, clean, has_spread, is_defined, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Accuracy by method"
READING = (
    "Each dot is one seed, the diamond is their mean and the bar its 95 % interval; where two bars overlap widely, "
    "look at the paired differences before calling one method better."
)


@styled
def accuracy_figure(comparison: Comparison) -> "Figure":
    """Draw test accuracy: a row a method, unimodal models in the colour of their modality."""
    figure = new_figure(7.2, 1.3 + 0.46 * len(comparison.summaries))
    axes = figure.subplots()
    for row, summary in enumerate(comparison.summaries):
        _draw_row(axes, comparison, summary, row)
    name_rows(axes, [_name(comparison, s.method) for s in comparison.summaries])
    axes.grid(axis="x")
    axes.set_xlabel("accuracy on test, %")
    _mark_chance(axes, comparison)
    return figure


def _name(comparison: Comparison, method: str) -> str:
    return clean(method, max_length=22) + (" *" if is_chosen_on_test(comparison, method) else "")


def _color(comparison: Comparison, method: str) -> str:
    modality = next((m for m, name in unimodal_methods(comparison).items() if name == method), None)
    return looks(comparison)[modality].color if modality in comparison.modalities else INK


def _draw_row(axes: "Axes", comparison: Comparison, summary: MethodSummary, row: int) -> None:
    color, interval = _color(comparison, summary.method), summary.accuracy
    values = [100 * run.test_accuracy for run in runs_of(comparison, summary.method)]
    if has_spread(interval):
        ends = [100 * interval.low, 100 * interval.high]
        axes.plot(ends, [row - 0.12] * 2, color=color, linewidth=7, alpha=0.22, solid_capstyle="round")
    ys = [row + 0.2 + y for y in spread_out(len(values), 0.12)]
    axes.scatter(values, ys, s=22, color=color, alpha=0.7, edgecolors="white", linewidths=0.6)
    if is_defined(interval.mean):
        mean = 100 * interval.mean
        axes.plot(mean, row - 0.12, marker="D", markersize=7, color=color, markeredgecolor="white")
        axes.annotate(percent(interval.mean), (1.01, row), xycoords=("axes fraction", "data"), va="center", color=INK)


def _mark_chance(axes: "Axes", comparison: Comparison) -> None:
    left, right = axes.get_xlim()
    chance = 100 * comparison.chance
    marks = [CHOSEN_ON_TEST] if any(is_chosen_on_test(comparison, s.method) for s in comparison.summaries) else []
    if chance >= left - 1.5 * (right - left):
        axes.axvline(chance, color=MUTED, linestyle=":", linewidth=1.5)
        text = f"dotted: most frequent class, {percent(comparison.chance)}"
    else:
        text = f"most frequent class, {percent(comparison.chance)}, is left of this axis"
    axes.set_title(";  ".join([text, *(f"* {mark}" for mark in marks)]), color=MUTED, fontsize=9, fontweight="normal")


def accuracy_numbers(comparison: Comparison) -> list[Row]:
    """Return one line a method and seed."""
    return [
        {
            "method": run.method,
            "seed": run.seed,
            "selection": run.selection,
            "val_accuracy": run.val_accuracy if is_defined(run.val_accuracy) else None,
            "test_accuracy": run.test_accuracy,
        }
        for run in comparison.runs
    ]


def accuracy_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    rows = [
        f"{label(s.method)} {percent(s.accuracy.mean)}"
        + (f" {bounds(s.accuracy)}" if bounds(s.accuracy) != DASH else "")
        for s in comparison.summaries
    ]
    return f"Dot chart of test accuracy. Mean over seeds with 95 % interval: {'; '.join(rows)}."
