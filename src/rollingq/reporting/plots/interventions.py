"""What it costs to edit attention at test time: masks, averages and QUAG (paper, Tables 8, 9)."""

from typing import TYPE_CHECKING

from rollingq.evaluation.diagnosis import Intervention
from rollingq.evaluation.results import Comparison
from rollingq.reporting.diagnosis_lookup import (
    clean_accuracy,
    diagnosed_methods,
    diagnoses_of,
    mean_interventions,
    num_diagnosed,
)
from rollingq.reporting.diagnosis_words import edit_words, standard_error
from rollingq.reporting.plots.style import (
    INK,
    MUTED,
    Row,
    label,
    legend_below,
    looks,
    method_looks,
    name_rows,
    new_figure,
    spread_out,
    styled,
)
from rollingq.reporting.text import clean, is_defined, percent, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "What attention is worth"
READING = (
    "Each mark is how many points of accuracy an edit of the attention weights costs: near 0 (the grey band is two "
    "standard errors), what was removed carried nothing; left of it, the model does better without."
)


def edits(comparison: Comparison) -> dict[str, dict[str, Intervention]]:
    """Return edit -> method -> what it does, in the order of the diagnosis."""
    found: dict[str, dict[str, Intervention]] = {}
    for method in diagnosed_methods(comparison):
        for edit in mean_interventions(comparison, method):
            if is_defined(edit.drop):
                found.setdefault(edit.name, {})[method] = edit
    return found


@styled
def interventions_figure(comparison: Comparison) -> "Figure":
    """Draw the drop in accuracy: a row an edit, a mark a method (coloured where the edit is of one modality)."""
    from matplotlib.lines import Line2D

    found = edits(comparison)
    methods = list(dict.fromkeys(method for row in found.values() for method in row))
    figure = new_figure(7.2, 1.5 + max(1, len(found)) * (0.26 + 0.1 * len(methods)))
    axes = figure.subplots()
    for row, name in enumerate(found):
        _draw_row(axes, comparison, found[name], methods, row)
    name_rows(axes, [edit_words(name) for name in found], max_length=40)
    _draw_band(axes, comparison, methods)
    styles = method_looks(methods)
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            color=INK,
            marker=styles[m].marker,
            label=f"{label(m)} (clean {_clean(comparison, m)})",
        )
        for m in methods
    ]
    legend_below(figure, handles, num_columns=2)
    return figure


def _clean(comparison: Comparison, method: str) -> str:
    return percent(clean_accuracy(comparison, method))


def _draw_row(
    axes: "Axes", comparison: Comparison, found: dict[str, Intervention], methods: list[str], row: int
) -> None:
    styles, colors = method_looks(methods), looks(comparison)
    width = 0.0 if len(methods) == 1 else 0.5
    for method, offset in zip(methods, spread_out(len(methods), width), strict=True):
        if method not in found:
            continue
        edit = found[method]
        look = colors.get(edit.name.rpartition(":")[2])
        color, drop = look.color if look else INK, 100 * edit.drop
        axes.plot([0, drop], [row + offset] * 2, color=color, linewidth=1.6, alpha=0.6)
        axes.plot(drop, row + offset, styles[method].marker, color=color, markersize=6.5, markeredgecolor="white")


def _draw_band(axes: "Axes", comparison: Comparison, methods: list[str]) -> None:
    errors = [standard_error(clean_accuracy(comparison, m), num_diagnosed(comparison, m)) for m in methods]
    known = [200 * error for error in errors if is_defined(error)]
    if known:
        axes.axvspan(-max(known), max(known), color=MUTED, alpha=0.15, linewidth=0)
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.grid(axis="x")
    axes.set_xlabel("drop in accuracy, points")


def interventions_numbers(comparison: Comparison) -> list[Row]:
    """Return one line an edit and method, means over seeds."""
    return [
        {
            "edit": name,
            "method": method,
            "clean_accuracy": clean_accuracy(comparison, method),
            "accuracy": edit.accuracy,
            "drop": edit.drop,
            "num_seeds": len(diagnoses_of(comparison, method)),
        }
        for name, row in edits(comparison).items()
        for method, edit in row.items()
    ]


def interventions_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    told = [
        f"{edit_words(name)}: {', '.join(f'{clean(method)} {points(edit.drop)}' for method, edit in row.items())}"
        for name, row in edits(comparison).items()
    ]
    return f"Marks of the drop in accuracy, in points, for every edit of attention. {'; '.join(told)}."
