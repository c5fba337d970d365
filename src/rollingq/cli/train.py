"""``rollingq train``: train methods over seeds and keep their checkpoints."""

from __future__ import annotations

import json

from rollingq.cli.experiment import run_experiment
from rollingq.cli.options import parse_options

SUMMARY = "Train methods over seeds; every run keeps its best checkpoint, its logs and its result."


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parse_options("train", SUMMARY, arguments)
    _, runs = run_experiment(options)
    if options.json:
        from rollingq.evaluation.results import to_json

        print(json.dumps([json.loads(to_json(run)) for run in runs], indent=1))
        return 0
    for run in runs:
        print(
            f"{run.method:<20} seed {run.seed}  validation {100 * run.val_accuracy:5.1f} %  "
            f"test {100 * run.test_accuracy:5.1f} %  (best epoch {run.best_epoch}, by {run.selection})"
        )
    print(f"\nCheckpoints and logs: {options.out / 'runs'}")
    return 0
