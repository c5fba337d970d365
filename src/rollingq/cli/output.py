"""What commands do with a comparison: write it, and print tables or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rollingq.evaluation.results import Comparison


def write_results(comparison: Comparison, out: Path, *, is_json: bool) -> None:
    """Write comparison.json, figures and report.html to a folder, and print tables or JSON."""
    from rollingq.reporting.report import Report
    from rollingq.reporting.terminal import print_comparison

    report = Report(comparison)
    page = report.save(out)
    if is_json:
        print(report.to_json())
        return
    print_comparison(comparison)
    print(f"\nReport: {page}")
