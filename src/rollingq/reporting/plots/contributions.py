"""What every modality adds to accuracy: Shapley values, with zeros, means or noise for what is absent."""

from typing import TYPE_CHECKING

from rollingq.evaluation.diagnosis import Contribution
from rollingq.evaluation.results import Comparison
from rollingq.reporting.diagnosis_lookup import diagnosed_methods, full_minus_none, mean_contributions
from rollingq.reporting.plots.style import (
    INK,
    MUTED,
    PAPER,
    Row,
    label,
    legend_below,
    looks,
    name_rows,
    new_figure,
    spread_out,
    styled,
)
from rollingq.reporting.text import clean, is_defined, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "What each modality adds"
READING = (
    "A bar is a modality's Shapley value: its fair share of the accuracy that the model gains from all inputs over "
    "none. The diamond is that whole gain, the sum of the bars; a bar at 0 is a modality that the model does not use."
)


def contributions(comparison: Comparison) -> dict[str, list[Contribution]]:
    """Return method -> its Shapley values, an entry a stand-in for what is absent."""
    found = {method: mean_contributions(comparison, method) for method in diagnosed_methods(comparison)}
    return {method: parts for method, parts in found.items() if parts}


@styled
def contributions_figure(comparison: Comparison) -> "Figure":
    """Draw Shapley values: a panel a method, a row a stand-in, a bar a modality."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    found = contributions(comparison)
    num_rows = max([len(parts) for parts in found.values()], default=1)
    height = 0.7 + num_rows * (0.2 + 0.16 * len(comparison.modalities))
    figure = new_figure(7.2, 0.6 + max(1, len(found)) * height)
    panels = figure.subplots(max(1, len(found)), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (method, parts) in zip(panels, found.items(), strict=False):
        for row, part in enumerate(parts):
            _draw_row(axes, comparison, part, row)
        name_rows(axes, [f"{label(part.absent)} if absent" for part in parts])
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.grid(axis="x")
        axes.set_title(label(method))
    panels[-1].set_xlabel("Shapley value, points of accuracy")
    bars = [
        Patch(facecolor=k.color, hatch=k.hatch, edgecolor=PAPER, label=label(m)) for m, k in looks(comparison).items()
    ]
    whole = Line2D([], [], linestyle="", marker="D", color=INK, label="all minus none")
    legend_below(figure, [*bars, whole] if found else [], num_columns=4)
    return figure


def _draw_row(axes: "Axes", comparison: Comparison, part: Contribution, row: int) -> None:
    styles = looks(comparison)
    shown = [m for m in comparison.modalities if is_defined(part.values.get(m))]
    height = 0.74 / max(1, len(shown))
    for m, offset in zip(shown, spread_out(len(shown), 0.74 - height), strict=True):
        look, value = styles[m], 100 * part.values[m]
        axes.barh(row + offset, value, height, color=look.color, hatch=look.hatch, edgecolor=PAPER, linewidth=0.8)
    whole = full_minus_none(part)
    if is_defined(whole):
        axes.plot(100 * whole, row, "D", color=INK, markersize=6.5, markeredgecolor="white", zorder=5)


def contributions_numbers(comparison: Comparison) -> list[Row]:
    """Return one line a method, stand-in and modality."""
    return [
        {
            "method": method,
            "absent": part.absent,
            "modality": modality,
            "shapley": value,
            "full_minus_none": full_minus_none(part),
        }
        for method, parts in contributions(comparison).items()
        for part in parts
        for modality, value in part.values.items()
    ]


def contributions_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    told = []
    for method, parts in contributions(comparison).items():
        for part in parts:
            values = ", ".join(f"{clean(m)} {points(value)}" for m, value in part.values.items())
            whole = points(full_minus_none(part))
            told.append(f"{clean(method)}, {clean(part.absent)} if absent: {values} of {whole}")
    return f"Bars of Shapley values in points of accuracy. {'; '.join(told)}."
