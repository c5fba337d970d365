"""``rollingq compare``: train methods over seeds, compare them pairwise, write a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollingq.cli.experiment import build_comparison, run_experiment
from rollingq.cli.options import Options, parse_options

if TYPE_CHECKING:
    from rollingq.evaluation.results import Comparison

SUMMARY = "Train methods over seeds, compare them pairwise, and write a self-contained HTML report."


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parse_options("compare", SUMMARY, arguments)
    data, runs = run_experiment(options)
    comparison = build_comparison(options, data, runs)
    write_results(options, comparison)
    return 0


def write_results(options: Options, comparison: Comparison) -> None:
    """Write comparison.json, figures and report.html, and print tables or JSON."""
    from rollingq.evaluation.results import to_json
    from rollingq.reporting.figures import save_figures
    from rollingq.reporting.files import write_json
    from rollingq.reporting.html import write_report

    write_json(comparison, options.out / "comparison.json")
    save_figures(comparison, options.out / "figures")
    report = write_report(comparison, options.out / "report.html")
    if options.json:
        print(to_json(comparison))
        return
    print_comparison(comparison)
    print(f"\nReport: {report}")


def print_comparison(comparison: Comparison) -> None:
    """Print the verdict, the tables and the paired differences."""
    from rich.console import Console

    from rollingq.reporting.tables import comparison_table, difference_lines
    from rollingq.reporting.verdict import verdict_lines

    is_terminal = Console().is_terminal
    console = Console(highlight=False, width=None if is_terminal else 100)
    console.print(f"\n[bold]{comparison.title}[/bold]\n")
    for sentence in verdict_lines(comparison):
        console.print(sentence, markup=False)
    console.print()
    console.print(comparison_table(comparison))
    console.print()
    for line in difference_lines(comparison):
        console.print(line, markup=False)
