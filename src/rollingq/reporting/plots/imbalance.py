"""The attention imbalance rate (Eq. 9) over training, with every rotation."""

from typing import TYPE_CHECKING

from rollingq.evaluation.results import Comparison, EpochRecord, RunResult
from rollingq.reporting.lookup import ROTATED_SUFFIX, runs_of
from rollingq.reporting.plots.style import DASHES, METHOD_COLORS, MUTED, RING, Row, label, new_figure, styled
from rollingq.reporting.text import clean, count, is_defined, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Imbalance over training"
READING = (
    "AIR is how much closer the query is to one modality's average key than to another's: far from 0 is lopsided. "
    "Thin lines are seeds, the thick line is their mean, and a ring marks an epoch after which the query was rotated."
)


@styled
def imbalance_figure(comparison: Comparison) -> "Figure":
    """Draw AIR against the epoch: a line a method, its name at the end of the line."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(7.2, 3.5)
    axes = figure.subplots()
    axes.axhline(0, color=MUTED, linewidth=1)
    for index, method in enumerate(methods_with_air(comparison)):
        color, dash = METHOD_COLORS[index % len(METHOD_COLORS)], DASHES[(index + 1) % 2 if index < 2 else index % 4]
        _draw_method(axes, comparison, method, color, dash)
    axes.grid(axis="y")
    axes.set_xlabel("epoch")
    axes.set_ylabel("AIR")
    axes.margins(x=0.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.plot([], [], marker="o", label="rotation", **RING)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, handlelength=3.2)
    _say_sides(axes, comparison)
    return figure


def _with_air(run: RunResult) -> list[EpochRecord]:
    return [record for record in run.history if is_defined(record.air)]


def methods_with_air(comparison: Comparison) -> list[str]:
    """Return the methods whose runs recorded AIR, in the order of the summaries."""
    found = {run.method for run in comparison.runs if _with_air(run)}
    return [s.method for s in comparison.summaries if s.method in found]


def mean_air(comparison: Comparison, method: str) -> dict[int, float]:
    """Return epoch -> mean AIR over the seeds that recorded it."""
    values: dict[int, list[float]] = {}
    for run in runs_of(comparison, method):
        for record in _with_air(run):
            values.setdefault(record.epoch, []).append(record.air or 0.0)
    return {epoch: sum(airs) / len(airs) for epoch, airs in sorted(values.items())}


def _draw_method(axes: "Axes", comparison: Comparison, method: str, color: str, dash: str) -> None:
    for run in runs_of(comparison, method):
        records = _with_air(run)
        axes.plot(
            [r.epoch for r in records], [r.air or 0.0 for r in records], dash, color=color, linewidth=0.8, alpha=0.5
        )
        turned = [r for r in records if r.rotated]
        axes.plot([r.epoch for r in turned], [r.air or 0.0 for r in turned], marker="o", zorder=4, **RING)
    mean = mean_air(comparison, method)
    marker = "." if len(mean) == 1 else ""
    axes.plot(list(mean), list(mean.values()), dash, color=color, linewidth=2.6, marker=marker, label=label(method))


def _say_sides(axes: "Axes", comparison: Comparison) -> None:
    if len(comparison.modalities) != 2:
        axes.set_title("largest minus smallest cosine", color=MUTED, fontsize=9, fontweight="normal")
        return
    first, second = (label(m) for m in comparison.modalities)
    text = f"above 0: {first} favoured;  below 0: {second} favoured"
    axes.set_title(text, color=MUTED, fontsize=9, fontweight="normal")


def imbalance_numbers(comparison: Comparison) -> list[Row]:
    """Return one line a method, seed and epoch."""
    return [
        {
            "method": run.method,
            "seed": run.seed,
            "epoch": record.epoch,
            "air": record.air,
            "rotated": int(record.rotated),
            "angle_degrees": record.angle,
        }
        for method in methods_with_air(comparison)
        for run in runs_of(comparison, method)
        for record in _with_air(run)
    ]


def imbalance_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    told = []
    for method in methods_with_air(comparison):
        mean = list(mean_air(comparison, method).values())
        turns = sum(record.rotated for run in runs_of(comparison, method) for record in run.history)
        ends = f"{number(mean[0], is_signed=True)} at first, {number(mean[-1], is_signed=True)} at the end"
        note = f", {count(turns, 'rotation')} over all seeds" if turns or method.endswith(ROTATED_SUFFIX) else ""
        told.append(f"{clean(method)}: {ends}{note}")
    return f"Lines of the attention imbalance rate over epochs, mean over seeds. {'; '.join(told)}."
