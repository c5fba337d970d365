"""``rollingq compare``: train methods over seeds, compare them pairwise, write a report."""

from __future__ import annotations

from rollingq.cli.experiment import build_comparison, run_experiment
from rollingq.cli.options import parse_options
from rollingq.cli.output import write_results

SUMMARY = "Train methods over seeds, compare them pairwise, and write a self-contained HTML report."


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parse_options("compare", SUMMARY, arguments)
    data, runs = run_experiment(options)
    comparison = build_comparison(options, data, runs)
    write_results(comparison, options.out, is_json=options.json)
    if not options.json:
        print(f"Noise curves, interventions and single samples: rollingq diagnose {options.out}")
    return 0
