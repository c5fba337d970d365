"""Report: what a diagnosis gives back: a verdict in words, tables, and one page to keep."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from rollingq.errors import DataError
from rollingq.evaluation.results import Comparison, to_json
from rollingq.files import write_text
from rollingq.reporting.figures import save_figures
from rollingq.reporting.html import render_report, write_report
from rollingq.reporting.terminal import comparison_text
from rollingq.reporting.verdict import verdict_lines


@dataclass(frozen=True)
class Report:
    """A comparison of runs, or the diagnosis of one model, for people and for machines.

    Attributes:
        comparison: All numbers.
    """

    comparison: Comparison

    @property
    def verdict(self) -> str:
        """What the numbers say, in words, one finding a line."""
        return "\n".join(verdict_lines(self.comparison))

    def to_json(self) -> str:
        """Return all numbers as JSON."""
        return to_json(self.comparison)

    def save(self, out: str | Path) -> Path:
        """Write report.html, comparison.json and the figures (SVG, PNG, CSV) to a folder.

        Args:
            out: The folder; made if missing.

        Returns:
            The page.

        Raises:
            DataError: If the folder cannot be written to.
        """
        try:
            write_text(Path(out) / "comparison.json", self.to_json() + "\n")
            save_figures(self.comparison, Path(out) / "figures")
            return write_report(self.comparison, Path(out) / "report.html")
        except OSError as error:
            raise DataError(
                f"Expected to write the report to the folder {str(out)!r}, but {error.strerror or error}; give another."
            ) from error

    def __str__(self) -> str:
        """Return verdict and tables as they stand in a terminal."""
        return comparison_text(self.comparison)

    def _repr_html_(self) -> str:
        """Return the page for notebooks, in a frame of its own."""
        page = escape(render_report(self.comparison), quote=True)
        return f'<iframe srcdoc="{page}" title="rollingq report" style="width:100%;height:48rem;border:0"></iframe>'
