"""How attention and the encoders' gradients develop over training (paper, Fig. 4c, 7, 8, 9)."""

from typing import TYPE_CHECKING, Any

from rollingq.evaluation.results import Comparison, EpochRecord, RunResult
from rollingq.reporting.diagnosis_lookup import mean_of
from rollingq.reporting.lookup import fusion_summaries, runs_of
from rollingq.reporting.plots.style import (
    DASHES,
    RING,
    Row,
    label,
    legend_below,
    looks,
    new_figure,
    styled,
)
from rollingq.reporting.text import clean, is_defined, number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Attention and gradients over training"
READING = (
    "The self-reinforcing cycle in one picture: a modality that draws attention (left) also feeds its encoder with "
    "larger gradients (right). Lines that part are the lock forming; a ring marks a rotation, after which they should "
    "close in. Thin lines are seeds."
)
MEASURES = (("attention_score", "attention mass, %", 100.0), ("gradient_norm", "gradient norm", 1.0))


def values_of(record: EpochRecord, measure: str) -> dict[str, float]:
    """Return modality -> the defined values of "attention_score" or "gradient_norm" in one epoch."""
    found: dict[str, float] = getattr(record, measure) or {}
    return {m: value for m, value in found.items() if is_defined(value)}


def dynamic_methods(comparison: Comparison) -> list[str]:
    """Return the fusions whose runs recorded attention or gradient norms."""
    return [
        s.method for s in fusion_summaries(comparison) if any(_is_dynamic(r) for r in runs_of(comparison, s.method))
    ]


def _is_dynamic(run: RunResult) -> bool:
    return any(values_of(record, measure) for record in run.history for measure, _, _ in MEASURES)


def mean_line(comparison: Comparison, method: str, measure: str, modality: str) -> dict[int, float]:
    """Return epoch -> the mean over the seeds that recorded it."""
    found: dict[int, list[float]] = {}
    for run in runs_of(comparison, method):
        for record in run.history:
            if modality in values_of(record, measure):
                found.setdefault(record.epoch, []).append(values_of(record, measure)[modality])
    return {epoch: mean_of(values) for epoch, values in sorted(found.items())}


@styled
def dynamics_figure(comparison: Comparison) -> "Figure":
    """Draw attention mass and gradient norm against the epoch: a row a method, a line a modality."""
    methods = dynamic_methods(comparison)
    figure = new_figure(7.2, 0.8 + 2.2 * max(1, len(methods)))
    rows = figure.subplots(max(1, len(methods)), 2, squeeze=False, sharex=True, sharey="col")
    for pair, method in zip(rows, methods, strict=False):
        for axes, (measure, title, scale) in zip(pair, MEASURES, strict=True):
            _draw_panel(axes, comparison, method, measure, scale)
            axes.set_ylabel(title)
        pair[0].set_title(label(method))
    for axes in rows[-1]:
        axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch")
    legend_below(figure, _handles(comparison) if methods else [], num_columns=4)
    return figure


def _draw_panel(axes: "Axes", comparison: Comparison, method: str, measure: str, scale: float) -> None:
    from matplotlib.ticker import MaxNLocator

    runs = runs_of(comparison, method)
    for place, (modality, look) in enumerate(looks(comparison).items()):
        mean = {e: scale * v for e, v in mean_line(comparison, method, measure, modality).items()}
        for run in runs if len(runs) > 1 else []:
            seen = [
                (r.epoch, values_of(r, measure)[modality]) for r in run.history if modality in values_of(r, measure)
            ]
            axes.plot([e for e, _ in seen], [scale * v for _, v in seen], color=look.color, linewidth=0.7, alpha=0.45)
        marker = look.marker if len(mean) == 1 else ""
        axes.plot(list(mean), list(mean.values()), DASHES[place % 4], color=look.color, linewidth=2.2, marker=marker)
        turned = [e for e in mean if any(r.rotated and r.epoch == e for run in runs for r in run.history)]
        axes.plot(turned, [mean[e] for e in turned], marker="o", zorder=4, **RING)
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not any(mean_line(comparison, method, measure, modality) for modality in comparison.modalities):
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center")


def _handles(comparison: Comparison) -> list[Any]:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=look.color, linestyle=DASHES[place % 4], linewidth=2.2, label=label(m))
        for place, (m, look) in enumerate(looks(comparison).items())
    ]
    return [*lines, Line2D([], [], marker="o", label="rotation", **RING)]


def dynamics_numbers(comparison: Comparison) -> list[Row]:
    """Return one line a method, seed, epoch and modality."""
    return [
        {
            "method": method,
            "seed": run.seed,
            "epoch": record.epoch,
            "modality": m,
            "attention_score": values_of(record, "attention_score").get(m),
            "gradient_norm": values_of(record, "gradient_norm").get(m),
            "rotated": int(record.rotated),
        }
        for method in dynamic_methods(comparison)
        for run in runs_of(comparison, method)
        for record in run.history
        for m in comparison.modalities
    ]


def dynamics_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    told = [_told(comparison, method) for method in dynamic_methods(comparison)]
    return f"Lines of attention mass and encoder gradient norm over epochs, mean over seeds. {'; '.join(told)}."


def _told(comparison: Comparison, method: str) -> str:
    parts = []
    for m in comparison.modalities:
        mass = list(mean_line(comparison, method, "attention_score", m).values())
        norm = list(mean_line(comparison, method, "gradient_norm", m).values())
        parts += [f"attention on {clean(m)} from {percent(mass[0], 0)} to {percent(mass[-1], 0)}"] if mass else []
        parts += [f"gradient of {clean(m)} from {number(norm[0])} to {number(norm[-1])}"] if norm else []
    return f"{clean(method)}: {', '.join(parts)}"
