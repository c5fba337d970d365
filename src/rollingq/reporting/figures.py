"""The figures of a report, saved as SVG, PNG and the CSV of their numbers."""

import csv
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollingq.errors import unknown_name
from rollingq.evaluation.results import Comparison
from rollingq.files import write_bytes, write_text
from rollingq.reporting.lookup import drawn_part
from rollingq.reporting.plots import (
    accuracy,
    attention,
    calibration,
    contributions,
    detection,
    dynamics,
    imbalance,
    interventions,
    keys,
    probes,
    robustness,
)
from rollingq.reporting.plots.accuracy import accuracy_figure
from rollingq.reporting.plots.attention import attention_figure
from rollingq.reporting.plots.calibration import calibration_figure
from rollingq.reporting.plots.contributions import contributions_figure
from rollingq.reporting.plots.detection import detection_figure
from rollingq.reporting.plots.dynamics import dynamics_figure
from rollingq.reporting.plots.imbalance import imbalance_figure
from rollingq.reporting.plots.interventions import interventions_figure
from rollingq.reporting.plots.keys import keys_figure
from rollingq.reporting.plots.probes import probes_figure
from rollingq.reporting.plots.robustness import robustness_figure
from rollingq.reporting.plots.style import Row, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FIGURES",
    "FigureKind",
    "accuracy_figure",
    "alt_text",
    "attention_figure",
    "available_figures",
    "calibration_figure",
    "contributions_figure",
    "detection_figure",
    "dynamics_figure",
    "figure_bytes",
    "imbalance_figure",
    "interventions_figure",
    "keys_figure",
    "numbers_csv",
    "probes_figure",
    "robustness_figure",
    "save_figures",
]


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure: how it is drawn, what its numbers are and how it is read."""

    name: str
    title: str
    reading: str
    """One sentence or two on how to read it."""
    draw_all: "Callable[[Comparison], Figure]"
    numbers: Callable[[Comparison], list[Row]]
    tell_all: Callable[[Comparison], str]

    def draw(self, comparison: Comparison) -> "Figure":
        """Draw it, of at most ``lookup.MAX_DRAWN`` methods of several modalities."""
        return self.draw_all(drawn_part(comparison)[0])

    def alt(self, comparison: Comparison) -> str:
        """Return it in words, of the methods that are drawn."""
        part, note = drawn_part(comparison)
        return self.tell_all(part) + note

    def reading_of(self, comparison: Comparison) -> str:
        """Return how it is read, and what it leaves out."""
        return self.reading + drawn_part(comparison)[1]


def _kind(name: str, module: Any) -> FigureKind:  # noqa: ANN401
    parts = (getattr(module, f"{name}_{part}") for part in ("figure", "numbers", "alt"))
    return FigureKind(name, module.TITLE, module.READING, *parts)


FIGURES: dict[str, FigureKind] = {
    "accuracy": _kind("accuracy", accuracy),
    "attention": _kind("attention", attention),
    "robustness": _kind("robustness", robustness),
    "imbalance": _kind("imbalance", imbalance),
    "dynamics": _kind("dynamics", dynamics),
    "keys": _kind("keys", keys),
    "probes": _kind("probes", probes),
    "interventions": _kind("interventions", interventions),
    "contributions": _kind("contributions", contributions),
    "calibration": _kind("calibration", calibration),
    "detection": _kind("detection", detection),
}
"""Every figure by its name, in the order of a report."""


def available_figures(comparison: Comparison) -> list[FigureKind]:
    """Return the figures that the comparison holds numbers for."""
    return [kind for kind in FIGURES.values() if kind.numbers(comparison)]


def alt_text(name: str, comparison: Comparison) -> str:
    """Return a figure in words, for those who do not see it.

    Args:
        name: One of :data:`FIGURES`.
        comparison: What was compared.

    Raises:
        ValueError: If no figure has this name.
    """
    if name not in FIGURES:
        raise ValueError(unknown_name("the figure", name, FIGURES))
    return FIGURES[name].alt(comparison)


@styled
def figure_bytes(figure: "Figure", kind: str) -> bytes:
    """Return a figure as the bytes of an "svg" or "png" file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": "rollingq"} if kind == "svg" else {"Software": "rollingq"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()


def numbers_csv(rows: list[Row]) -> str:
    """Return numbers as CSV; text that a spreadsheet would run as a formula is quoted with an apostrophe."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _inert(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def _inert(value: str | float | int | None) -> str | float | int | None:
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and value else value


def save_figures(comparison: Comparison, out_dir: str | Path) -> list[Path]:
    """Write every available figure as SVG, PNG and the CSV of its numbers.

    Args:
        comparison: What was compared.
        out_dir: Folder to write to; made if missing.

    Returns:
        The files written, in order.

    Raises:
        MissingExtraError: Without the package matplotlib.
    """
    written = []
    for kind in available_figures(comparison):
        figure, stem = kind.draw(comparison), Path(out_dir) / kind.name
        written += [write_bytes(stem.with_suffix(f".{form}"), figure_bytes(figure, form)) for form in ("svg", "png")]
        written.append(write_text(stem.with_suffix(".csv"), numbers_csv(kind.numbers(comparison))))
    return written
