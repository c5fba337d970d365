"""How well scores tell samples from outside of the distribution (paper, Table 10)."""

import math
from typing import TYPE_CHECKING

from rollingq.evaluation.diagnosis import Detection
from rollingq.evaluation.results import Comparison
from rollingq.reporting.diagnosis_lookup import diagnosed_methods, mean_detections, ood_sets
from rollingq.reporting.plots.style import (
    MUTED,
    Row,
    label,
    legend_below,
    method_looks,
    name_rows,
    new_figure,
    spread_out,
    styled,
)
from rollingq.reporting.text import clean, is_defined, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Does the model notice what it has never seen?"
READING = (
    "AUROC: further right is better, the dotted line is guessing. FPR95: further left is better, the paper's counts "
    "inside samples that are flagged when 95 % of outside ones are, ODIN's counts outside samples that pass when 95 % "
    "of inside ones do."
)
MEASURES = (("auroc", "AUROC, %"), ("fpr95", "FPR95 (paper), %"), ("fpr95_inside", "FPR95 (ODIN), %"))


def detections(comparison: Comparison) -> dict[tuple[str, str], dict[str, dict[str, Detection]]]:
    """Return outside set ``(name, kind)`` -> score -> method -> detection; scores that are not defined are left out."""
    found: dict[tuple[str, str], dict[str, dict[str, Detection]]] = {}
    for name, kind in ood_sets(comparison):
        for method in diagnosed_methods(comparison):
            for d in mean_detections(comparison, method, name):
                if is_defined(d.auroc):
                    found.setdefault((name, kind), {}).setdefault(d.score, {})[method] = d
    return found


@styled
def detection_figure(comparison: Comparison) -> "Figure":
    """Draw AUROC and both FPR95: a row of panels an outside set, a line a score, a mark a method."""
    from matplotlib.lines import Line2D

    found = detections(comparison)
    methods = [m for m in diagnosed_methods(comparison) if any(m in r for s in found.values() for r in s.values())]
    num_scores = max([len(scores) for scores in found.values()], default=1)
    figure = new_figure(7.2, 0.8 + max(1, len(found)) * (0.8 + num_scores * (0.2 + 0.06 * len(methods))))
    rows = figure.subplots(max(1, len(found)), len(MEASURES), squeeze=False, sharey="row")
    for panels, ((name, kind), scores) in zip(rows, found.items(), strict=False):
        for axes, (measure, title) in zip(panels, MEASURES, strict=True):
            _draw_panel(axes, scores, methods, measure)
            axes.set_xlabel(title)
        panels[0].set_title(f"{label(name, max_length=40)} ({label(kind)})")
    styles = method_looks(methods)
    handles = [
        Line2D([], [], linestyle="", color=styles[m].color, marker=styles[m].marker, label=label(m)) for m in methods
    ]
    legend_below(figure, handles)
    return figure


def _draw_panel(axes: "Axes", scores: dict[str, dict[str, Detection]], methods: list[str], measure: str) -> None:
    styles = method_looks(methods)
    for row, found in enumerate(scores.values()):
        for method, offset in zip(methods, spread_out(len(methods), 0.4), strict=True):
            value: float = getattr(found[method], measure) if method in found else math.nan
            if is_defined(value):
                look = styles[method]
                axes.plot(
                    100 * value, row + offset, look.marker, color=look.color, markersize=6, markeredgecolor="white"
                )
    if measure == "auroc":
        axes.axvline(50, color=MUTED, linestyle=":", linewidth=1.4)
        name_rows(axes, list(scores))
    axes.set_xlim(0, 100)
    axes.grid(axis="both")
    axes.tick_params(axis="y", length=0)


def detection_numbers(comparison: Comparison) -> list[Row]:
    """Return one line an outside set, score and method."""
    return [
        {
            "outside": name,
            "kind": kind,
            "score": score,
            "method": method,
            "auroc": d.auroc,
            "fpr95_paper": d.fpr95,
            "fpr95_odin": d.fpr95_inside,
        }
        for (name, kind), scores in detections(comparison).items()
        for score, row in scores.items()
        for method, d in row.items()
    ]


def detection_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    told = [
        f"{clean(name)} ({clean(kind)}), {clean(score)}: "
        + ", ".join(f"{clean(m)} AUROC {percent(d.auroc)}, FPR95 {percent(d.fpr95)}" for m, d in row.items())
        for (name, kind), scores in detections(comparison).items()
        for score, row in scores.items()
    ]
    return f"Marks of AUROC and FPR95 for every score and outside set. {'; '.join(told)}."
