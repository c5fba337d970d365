"""The report: one self-contained page that needs no network, with the verdict on top."""

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rollingq.evaluation.results import Comparison
from rollingq.extras import lab_extra
from rollingq.files import write_text
from rollingq.reporting.figures import FigureKind, available_figures, figure_bytes, numbers_csv
from rollingq.reporting.grids import Grid
from rollingq.reporting.page import page
from rollingq.reporting.thumbnails import with_fewer_colors

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

TOPICS = {
    "Accuracy": ("accuracy", "probes", "contributions"),
    "Attention": ("attention", "keys", "interventions"),
    "Noise": ("robustness", "calibration", "detection"),
    "Training": ("imbalance", "dynamics"),
}
"""Tab -> the figures in it."""
MAX_SVG_BYTES = 250_000
"""Largest SVG on the page where a PNG of the figure would be smaller."""


def render_report(comparison: Comparison) -> str:
    """Return the report as one HTML page: inline style, script and figures, no network.

    Everything that comes from the comparison is escaped, and the page's own policy lets no script run but the one
    it was written with.

    Args:
        comparison: What was compared.

    Raises:
        MissingExtraError: Without the packages jinja2 and matplotlib.
    """
    environment = _environment()
    style, script = (environment.get_template(name).render() for name in ("report.css", "report.js"))
    return environment.get_template("report.html.j2").render(
        page(comparison),
        topics=_by_topic(comparison),
        style_hash=_digest(style),
        script_hash=_digest(script),
    )


def write_report(comparison: Comparison, path: str | Path) -> Path:
    """Write the report to a file, whole or not at all.

    Args:
        comparison: What was compared.
        path: The HTML file; missing folders are made.

    Returns:
        The path written.
    """
    return write_text(path, render_report(comparison))


def _environment() -> "SandboxedEnvironment":
    with lab_extra("jinja2"):
        from jinja2 import PackageLoader, StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        loader=PackageLoader("rollingq.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["together"] = _together
    environment.filters["before_comma"] = _before_comma
    environment.filters["word_columns"] = _word_columns
    return environment


def _together(text: str) -> str:
    """Keep numbers and their units on one line."""
    for unit in ("%", "points", "±"):
        text = text.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    text = re.sub(r"\[[^\]]{1,40}\]", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    for sign in ("=", "<"):
        text = text.replace(f" {sign} ", f"\N{NO-BREAK SPACE}{sign}\N{NO-BREAK SPACE}")
    return text


def _before_comma(title: str) -> str:
    """Return a table's title without its unit, short enough for a tab."""
    return title.partition(",")[0]


def _word_columns(grid: Grid) -> set[int]:
    """Return the columns, after the first, that hold words alone: they are read from the left."""
    columns = list(zip(*grid.rows, strict=True))
    return {i for i, cells in enumerate(columns) if i and all(c.value is None and c.text[:1].isalpha() for c in cells)}


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _by_topic(comparison: Comparison) -> dict[str, list[dict[str, str]]]:
    """Return topic -> its figures; topics without any are left out, a figure without a topic comes last."""
    topic_of = {name: topic for topic, names in TOPICS.items() for name in names}
    found: dict[str, list[dict[str, str]]] = {topic: [] for topic in TOPICS}
    for kind in available_figures(comparison):
        found.setdefault(topic_of.get(kind.name, "More"), []).append(_embedded(kind, comparison))
    return {topic: shown for topic, shown in found.items() if shown}


def _drawn(kind: FigureKind, comparison: Comparison) -> str:
    """Return a figure as SVG, or as PNG where so much is drawn that the SVG is large and the PNG smaller."""
    figure = kind.draw(comparison)
    svg = figure_bytes(figure, "svg")
    if len(svg) > MAX_SVG_BYTES:
        png = with_fewer_colors(figure_bytes(figure, "png"))
        if len(png) < len(svg):
            return _data_uri("image/png", png)
    return _data_uri("image/svg+xml", svg)


def _embedded(kind: FigureKind, comparison: Comparison) -> dict[str, str]:
    numbers = numbers_csv(kind.numbers(comparison)).encode("utf-8", errors="replace")
    return {
        "name": kind.name,
        "title": kind.title,
        "reading": kind.reading_of(comparison),
        "alt": kind.alt(comparison),
        "source": _drawn(kind, comparison),
        "numbers": _data_uri("text/csv", numbers),
    }
