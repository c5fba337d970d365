"""Calibration while one modality turns to noise: the expected calibration error, level by level."""

from typing import TYPE_CHECKING

from rollingq.evaluation.diagnosis import NoiseCurve
from rollingq.evaluation.results import Comparison
from rollingq.reporting.diagnosis_lookup import diagnosed_methods, main_curves, mean_of, spread_of
from rollingq.reporting.plots.style import (
    DASHES,
    INK,
    Look,
    Row,
    label,
    legend_below,
    looks,
    name_axes,
    new_figure,
    panel_grid,
    styled,
)
from rollingq.reporting.text import clean, is_defined, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Does the model know when it guesses?"
READING = (
    "The expected calibration error is how far stated probabilities are from the share of right answers: a line that "
    "climbs means that the model stays sure of itself although its input is noise. Flat and low is good."
)
MAX_COLUMNS = 3


def curves_of(comparison: Comparison) -> dict[str, list[NoiseCurve]]:
    """Return method -> one curve a noised modality, those with a calibration error alone."""
    found = {method: main_curves(comparison, method) for method in diagnosed_methods(comparison)}
    kept = {method: [c for c in curves if any(_has_ece(c))] for method, curves in found.items()}
    return {method: curves for method, curves in kept.items() if curves}


def _has_ece(curve: NoiseCurve) -> list[bool]:
    return [is_defined(value) for point in curve.points for value in point.ece]


@styled
def calibration_figure(comparison: Comparison) -> "Figure":
    """Draw the calibration error against the level of noise: a panel a method, a line a noised modality."""
    from matplotlib.lines import Line2D

    found, styles = curves_of(comparison), looks(comparison)
    num_columns = min(MAX_COLUMNS, max(1, len(found)))
    figure = new_figure(7.2, 0.9 + 2.6 * max(1, -(-len(found) // num_columns)))
    panels = panel_grid(figure, len(found), num_columns)
    for axes, (method, curves) in zip(panels, found.items(), strict=True):
        for curve in curves:
            _draw_curve(axes, comparison, styles.get(curve.modality), curve)
        axes.set_title(label(method))
    name_axes(panels, num_columns, "noise level", "calibration error, points")
    for axes in panels[:1]:
        axes.set_ylim(bottom=0)
    names = [m for m in comparison.modalities if any(c.modality == m for curves in found.values() for c in curves)]
    dash = {m: DASHES[comparison.modalities.index(m) % 4] for m in names}
    handles = [
        Line2D([], [], color=styles[m].color, marker=styles[m].marker, linestyle=dash[m], label=f"{label(m)} noised")
        for m in names
    ]
    legend_below(figure, handles)
    return figure


def _draw_curve(axes: "Axes", comparison: Comparison, look: Look | None, curve: NoiseCurve) -> None:
    levels, means = [p.level for p in curve.points], [100 * mean_of(p.ece) for p in curve.points]
    spreads = [100 * spread_of(p.ece) for p in curve.points]
    bars = [s if is_defined(s) else 0.0 for s in spreads]
    place = comparison.modalities.index(curve.modality) if curve.modality in comparison.modalities else 0
    color, marker = (look.color, look.marker) if look else (INK, "o")
    axes.errorbar(
        levels, means, yerr=bars, color=color, marker=marker, markersize=5, linestyle=DASHES[place % 4], capsize=2
    )
    axes.grid(axis="y")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])


def calibration_numbers(comparison: Comparison) -> list[Row]:
    """Return one line a method, noised modality and level."""
    return [
        {
            "method": method,
            "noised": curve.modality,
            "kind": curve.kind,
            "level": point.level,
            "ece": mean_of(point.ece),
            "spread": spread_of(point.ece),
        }
        for method, curves in curves_of(comparison).items()
        for curve in curves
        for point in curve.points
    ]


def calibration_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    told = [
        f"{clean(method)}, {clean(curve.modality)} noised: {percent(mean_of(curve.points[0].ece))} clean, "
        f"{percent(mean_of(curve.points[-1].ece))} at level {curve.points[-1].level:g}"
        for method, curves in curves_of(comparison).items()
        for curve in curves
    ]
    return f"Lines of the expected calibration error against the level of noise. {'; '.join(told)}."
