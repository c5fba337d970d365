"""The report: one self-contained page that needs no network, with the verdict on top."""

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rollingq.evaluation.results import Comparison
from rollingq.reporting.extras import lab_extra
from rollingq.reporting.figures import FigureKind, available_figures, figure_bytes, numbers_csv
from rollingq.reporting.files import write_text
from rollingq.reporting.page import page

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment


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
        figures=[_embedded(kind, comparison) for kind in available_figures(comparison)],
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
    return environment


def _together(text: str) -> str:
    """Keep numbers and their units on one line."""
    for unit in ("%", "points", "±"):
        text = text.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    text = re.sub(r"\[[^\]]{1,40}\]", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    for sign in ("=", "<"):
        text = text.replace(f" {sign} ", f"\N{NO-BREAK SPACE}{sign}\N{NO-BREAK SPACE}")
    return text


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _embedded(kind: FigureKind, comparison: Comparison) -> dict[str, str]:
    numbers = numbers_csv(kind.numbers(comparison)).encode("utf-8", errors="replace")
    return {
        "name": kind.name,
        "title": kind.title,
        "reading": kind.reading,
        "alt": kind.alt(comparison),
        "source": _data_uri("image/svg+xml", figure_bytes(kind.draw(comparison), "svg")),
        "numbers": _data_uri("text/csv", numbers),
    }
