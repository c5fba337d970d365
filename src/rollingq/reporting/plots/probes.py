"""Starvation: what every encoder is worth alone and inside each fusion."""

from typing import TYPE_CHECKING

from rollingq.evaluation.results import Comparison
from rollingq.reporting.lookup import fusion_summaries, runs_of, unimodal_methods
from rollingq.reporting.plots.style import (
    MUTED,
    PAPER,
    Look,
    Row,
    label,
    looks,
    name_rows,
    new_figure,
    spread_out,
    styled,
)
from rollingq.reporting.text import clean, is_defined, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "What each encoder learned"
READING = (
    "The dashed line is the modality trained alone, the bars are linear probes on the same encoder inside a fusion: "
    "a bar that ends far left of the line is a starved encoder. Dots are seeds."
)
ALONE = "alone"


@styled
def probes_figure(comparison: Comparison) -> "Figure":
    """Draw probe accuracy: a panel a modality, a row a fusion, against the modality trained alone."""
    values, styles = probe_values(comparison), looks(comparison)
    shown = [m for m in comparison.modalities if m in values] or comparison.modalities[:1]
    num_rows = max([len(values.get(m, {})) for m in shown], default=1)
    figure = new_figure(7.2, len(shown) * (0.6 + 0.36 * num_rows) + 0.4)
    panels = figure.subplots(len(shown), 1, squeeze=False, sharex=True)[:, 0]
    for axes, modality in zip(panels, shown, strict=True):
        _draw_panel(axes, modality, styles[modality], values.get(modality, {}))
        axes.axvline(100 * comparison.chance, color=MUTED, linestyle=":", linewidth=1.3)
    panels[-1].set_xlim(0, 100)
    panels[-1].set_xlabel("accuracy on test, %  (dotted: most frequent class)")
    return figure


def probe_values(comparison: Comparison) -> dict[str, dict[str, list[float]]]:
    """Return modality -> "alone" or fusion -> accuracy of every seed; modalities without probes are left out."""
    alone, found = unimodal_methods(comparison), {}
    for modality in comparison.modalities:
        rows = {ALONE: [r.test_accuracy for r in runs_of(comparison, alone[modality])]} if modality in alone else {}
        for s in fusion_summaries(comparison):
            rows[s.method] = [r.probes[modality] for r in runs_of(comparison, s.method) if modality in r.probes]
        rows = {name: [v for v in values if is_defined(v)] for name, values in rows.items()}
        found[modality] = {name: values for name, values in rows.items() if values}
    return {m: rows for m, rows in found.items() if rows}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _draw_panel(axes: "Axes", modality: str, look: Look, rows: dict[str, list[float]]) -> None:
    for row, (name, values) in enumerate(rows.items()):
        mean, is_alone = 100 * _mean(values), name == ALONE
        face, edge = (PAPER, look.color) if is_alone else (look.color, PAPER)
        hatch = "" if is_alone else look.hatch
        axes.barh(row, mean, 0.62, color=face, edgecolor=edge, hatch=hatch, linewidth=1.2)
        ys = [row + y for y in spread_out(len(values), 0.3)]
        axes.plot([100 * v for v in values], ys, "o", color="black", markersize=3.5, markeredgecolor="white", zorder=5)
        axes.annotate(percent(_mean(values)), (1.01, row), xycoords=("axes fraction", "data"), va="center")
    if ALONE in rows:
        axes.axvline(100 * _mean(rows[ALONE]), color=look.color, linestyle="--", linewidth=1.6)
    name_rows(axes, list(rows))
    axes.grid(axis="x")
    axes.set_title(f"{label(modality)} encoder")


def probes_numbers(comparison: Comparison) -> list[Row]:
    """Return one line a modality, method and seed."""
    return [
        {"modality": modality, "inside": name, "run": index, "accuracy": value}
        for modality, rows in probe_values(comparison).items()
        for name, values in rows.items()
        for index, value in enumerate(values)
    ]


def probes_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    told = [
        f"{clean(m)}: {', '.join(f'{clean(name)} {percent(_mean(values))}' for name, values in rows.items())}"
        for m, rows in probe_values(comparison).items()
    ]
    return f"Bars of encoder accuracy, alone and by linear probe inside each fusion. {'; '.join(told)}."
