"""Where attention goes: clean samples against each modality replaced by noise, with the share of the tokens."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rollingq.evaluation.results import AttentionResult, Comparison, MethodSummary
from rollingq.reporting.lookup import attention_runs, attention_summaries
from rollingq.reporting.plots.style import INK, MUTED, PAPER, Look, Row, label, looks, name_rows, new_figure, styled
from rollingq.reporting.text import clean, is_defined, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE = "Where attention goes"
READING = (
    "The part of a modality should shrink in the row where that modality is noise; rows that look alike mean that "
    "attention ignores the data. The thin bar and the dashed lines are what indifference would give; a tick is a seed."
)
BASELINE = "share of tokens"


@styled
def attention_figure(comparison: Comparison) -> "Figure":
    """Draw mean attention mass as bars of 100 %, a panel a method (the class token holds the unlabelled rest)."""
    summaries = attention_summaries(comparison)
    num_rows = 2 + len(comparison.modalities)
    figure = new_figure(7.2, max(1, len(summaries)) * (0.75 + 0.38 * num_rows))
    panels = figure.subplots(max(1, len(summaries)), 1, squeeze=False, sharex=True)[:, 0]
    for axes, summary in zip(panels, summaries, strict=False):
        _draw_panel(axes, comparison, summary)
    panels[-1].set_xlabel("attention mass, %")
    return figure


def passes(comparison: Comparison, summary: MethodSummary) -> dict[str, Mapping[str, float]]:
    """Return row name -> modality -> mass: the share of the tokens, clean samples, every modality under noise."""
    noisy = summary.score_under_noise or {}
    rows: dict[str, Mapping[str, float]] = {BASELINE: summary.token_share} if summary.token_share else {}
    rows["clean"] = summary.attention_score or {}
    return rows | {f"{clean(m, max_length=12)} is noise": noisy[m] for m in comparison.modalities if m in noisy}


def _draw_panel(axes: "Axes", comparison: Comparison, summary: MethodSummary) -> None:
    rows, styles = passes(comparison, summary), looks(comparison)
    for index, (name, masses) in enumerate(rows.items()):
        _draw_bar(axes, styles, masses, index, is_baseline=name == BASELINE)
    for _, attention in attention_runs(comparison, summary.method):
        _tick_seeds(axes, comparison, attention, list(rows))
    _draw_baseline(axes, comparison, summary, len(rows))
    name_rows(axes, list(rows))
    axes.set_xlim(0, 100)
    axes.set_title(f"{label(summary.method)}: attention on {_named(comparison)}")


def _named(comparison: Comparison) -> str:
    return " | ".join(label(m) for m in comparison.modalities)


def _draw_bar(
    axes: "Axes", styles: Mapping[str, Look], masses: Mapping[str, float], row: int, *, is_baseline: bool
) -> None:
    left, height = 0.0, 0.3 if is_baseline else 0.74
    for modality, look in styles.items():
        mass = 100 * masses.get(modality, 0.0)
        if not is_defined(mass):
            continue
        alpha = 0.55 if is_baseline else 1.0
        axes.barh(
            row, mass, height, left, color=look.color, hatch=look.hatch, edgecolor=PAPER, linewidth=1, alpha=alpha
        )
        if not is_baseline:
            _write(axes, look, modality, mass, left + mass / 2, row)
        left += mass


def _write(axes: "Axes", look: Look, modality: str, mass: float, x: float, row: int) -> None:
    text = f"{label(modality)} {mass:.0f}" if mass >= 22 else f"{mass:.0f}"
    if mass >= 5:
        box = {"boxstyle": "round,pad=0.2", "facecolor": look.color, "edgecolor": "none"}
        axes.text(
            x,
            row,
            text,
            ha="center",
            va="center",
            color=look.on_color,
            fontsize=9,
            fontweight="bold",
            bbox=box,
            zorder=5,
        )


def _edges(comparison: Comparison, masses: Mapping[str, float]) -> list[float]:
    sums, total = [], 0.0
    for modality in comparison.modalities[:-1]:
        total += 100 * masses.get(modality, 0.0)
        sums.append(total)
    return [x for x in sums if is_defined(x)]


def _tick_seeds(axes: "Axes", comparison: Comparison, attention: AttentionResult, rows: list[str]) -> None:
    noisy = [attention.score_under_noise[m] for m in comparison.modalities if m in attention.score_under_noise]
    for row, masses in enumerate([attention.score, *noisy], start=rows.index("clean")):
        edges = _edges(comparison, masses)
        axes.plot(edges, [row + 0.37] * len(edges), "|", color=INK, markersize=7, markeredgewidth=1.3, clip_on=False)


def _draw_baseline(axes: "Axes", comparison: Comparison, summary: MethodSummary, num_rows: int) -> None:
    for x in _edges(comparison, summary.token_share or {}):
        axes.plot([x, x], [-0.3, num_rows - 0.5], color=PAPER, linewidth=2.2, alpha=0.8)
        axes.plot([x, x], [-0.3, num_rows - 0.5], color=MUTED, linewidth=1.3, linestyle=(0, (3, 2)))


def attention_numbers(comparison: Comparison) -> list[Row]:
    """Return one line a method, pass and modality: the mean mass over seeds."""
    return [
        {"method": s.method, "samples": name, "modality": m, "attention_score": mass}
        for s in attention_summaries(comparison)
        for name, masses in passes(comparison, s).items()
        for m, mass in masses.items()
    ]


def attention_alt(comparison: Comparison) -> str:
    """Return the figure in words."""
    told = []
    for s in attention_summaries(comparison):
        rows = [
            f"{name}: {', '.join(f'{clean(m)} {percent(mass, 0)}' for m, mass in masses.items())}"
            for name, masses in passes(comparison, s).items()
        ]
        told.append(f"{clean(s.method)}: {'; '.join(rows)}.")
    return f"Stacked bars of mean attention mass. {' '.join(told)}"
