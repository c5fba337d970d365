"""Accuracy while one modality turns to noise, level by level (paper, Table 3)."""

from typing import TYPE_CHECKING, Any

from rollingq.evaluation.diagnosis import NoiseCurve
from rollingq.evaluation.results import Comparison
from rollingq.reporting.diagnosis_lookup import best_other, diagnosed_methods, mean_of, noise_curves, spread_of
from rollingq.reporting.plots.style import (
    DASHES,
    INK,
    MUTED,
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

TITLE = "When one modality turns to noise"
READING = (
    "The further the noised modality fades (to the right), the more a model must live on the rest: a curve that ends "
    "far below the dashed line, what the best other modality can do, has not switched. The band is the spread over "
    "noise seeds."
)
MAX_COLUMNS = 3

Panel = tuple[str, str, list[NoiseCurve]]


def panels(comparison: Comparison) -> list[Panel]:
    """Return ``(modality, method, curves)``, a row of methods for every noised modality."""
    by_method = {method: noise_curves(comparison, method) for method in diagnosed_methods(comparison)}
    names = dict.fromkeys([*comparison.modalities, *(c.modality for found in by_method.values() for c in found)])
    made = [(m, method, [c for c in found if c.modality == m]) for m in names for method, found in by_method.items()]
    return [panel for panel in made if panel[2]]


@styled
def robustness_figure(comparison: Comparison) -> "Figure":
    """Draw accuracy against the level of noise: a panel a noised modality and method, a line a kind of noise."""
    shown, styles = panels(comparison), looks(comparison)
    kinds = list(dict.fromkeys(curve.kind for _, _, curves in shown for curve in curves))
    num_columns = min(MAX_COLUMNS, max(1, len({method for _, method, _ in shown})))
    figure = new_figure(7.2, 0.9 + 2.5 * max(1, -(-len(shown) // num_columns)))
    places = panel_grid(figure, len(shown), num_columns)
    for axes, (modality, method, curves) in zip(places, shown, strict=True):
        for curve in curves:
            _draw_curve(axes, styles.get(modality), curve, kinds.index(curve.kind))
        _draw_references(axes, comparison, method, curves[0])
        axes.set_title(f"{label(method, max_length=22)}\n{label(modality, max_length=14)} noised")
    name_axes(places, num_columns, "noise level", "accuracy, %")
    legend_below(figure, _handles(comparison, kinds))
    return figure


def _draw_curve(axes: "Axes", look: Look | None, curve: NoiseCurve, place: int) -> None:
    levels = [point.level for point in curve.points]
    means = [100 * mean_of(point.accuracy) for point in curve.points]
    color, width = (look.color if look else INK), (2.6 if place == 0 else 1.2)
    marker = look.marker if look and place == 0 else None
    axes.plot(levels, means, DASHES[place % 4], color=color, linewidth=width, marker=marker, markersize=4.5)
    if place == 0:
        spreads = [100 * spread_of(point.accuracy) for point in curve.points]
        around = [(m, s if is_defined(s) else 0.0) for m, s in zip(means, spreads, strict=True)]
        axes.fill_between(levels, [m - s for m, s in around], [m + s for m, s in around], color=color, alpha=0.2, lw=0)


def _draw_references(axes: "Axes", comparison: Comparison, method: str, curve: NoiseCurve) -> None:
    other = best_other(comparison, method, curve.modality)
    if other is not None:
        axes.axhline(100 * other.accuracy, color=INK, linestyle=(0, (5, 2)), linewidth=1.1)
        is_below = mean_of(curve.points[0].accuracy) > other.accuracy
        place: dict[str, Any] = {"xytext": (0, -3 if is_below else 3), "va": "top" if is_below else "bottom"}
        where, words = (0.0, 100 * other.accuracy), label(other.words, max_length=28)
        axes.annotate(words, where, textcoords="offset points", fontsize=8.5, color=INK, **place)
    if is_defined(comparison.chance):
        axes.axhline(100 * comparison.chance, color=MUTED, linestyle=":", linewidth=1.3)
    axes.margins(y=0.12)
    axes.grid(axis="y")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])


def _handles(comparison: Comparison, kinds: list[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    widths = [2.6 if place == 0 else 1.2 for place in range(len(kinds))]
    made = [
        Line2D([], [], color=INK, linestyle=DASHES[place % 4], linewidth=width, label=f"noise: {label(kind)}")
        for place, (kind, width) in enumerate(zip(kinds, widths, strict=True))
    ]
    chance = f"most frequent class, {percent(comparison.chance)}"
    return [*made, Line2D([], [], color=MUTED, linestyle=":", label=chance)] if made else []


def robustness_numbers(comparison: Comparison) -> list[Row]:
    """Return one line a method, noised modality, kind of noise and level."""
    return [
        {
            "method": method,
            "noised": modality,
            "kind": curve.kind,
            "level": point.level,
            "accuracy": mean_of(point.accuracy),
            "spread": spread_of(point.accuracy),
            "num_values": len(point.accuracy),
            "attention_score": mean_of(point.attention_score) if point.attention_score else None,
        }
        for modality, method, curves in panels(comparison)
        for curve in curves
        for point in curve.points
    ]


def robustness_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    told = []
    for modality, method, curves in panels(comparison):
        steps = ", ".join(f"{percent(mean_of(p.accuracy))} at {p.level:g}" for p in curves[0].points)
        told.append(f"{clean(method)}, {clean(modality)} noised ({clean(curves[0].kind)}): {steps}")
    return f"Lines of accuracy against the level of noise, a panel a noised modality and method. {'; '.join(told)}."
