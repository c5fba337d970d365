"""Run a comparison as a user does, and keep its tables, wall time and peak memory.

Run: python benchmarks/demo.py [NAME] [options of rollingq compare]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from paired import write_result

from rollingq.evaluation.results import Comparison, from_json
from rollingq.reporting.verdict import verdict_lines

INTERVAL = 0.25
"""Seconds between two looks at the memory."""


def tree_memory(root: int) -> int:
    """Return the memory of a process and its descendants in bytes, shared pages counted once (Linux)."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(entry.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
    family = {root}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(map(proportional_memory, family))


def proportional_memory(pid: int) -> int:
    """Return the proportional set size of a process in bytes, 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def run(options: list[str]) -> tuple[dict[str, Any], float, int]:
    """Return the comparison, the wall time in seconds and the peak memory in bytes."""
    command = [sys.executable, "-m", "rollingq.cli", "compare", "--json", *options]
    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output) as process:  # noqa: S603
        while process.poll() is None:
            peak = max(peak, tree_memory(process.pid))
            time.sleep(INTERVAL)
        output.seek(0)
        text = output.read()
    if process.returncode:
        sys.exit(process.returncode)
    return json.loads(text), time.perf_counter() - start, peak


def main() -> None:
    """Run and write the tables; what a figure needs for single samples stays in the run's own folder."""
    name, *options = sys.argv[1:] or ["demo"]
    comparison, seconds, peak = run(options)
    kept = ("title", "data", "modalities", "num_samples", "chance", "summaries", "differences", "config", "versions")
    write_result(
        name,
        {
            "what": f"rollingq compare {' '.join(options)}".strip(),
            "seconds": seconds,
            "peak_memory_bytes": peak,
            "verdict": verdict_lines(from_json(Comparison, json.dumps(comparison))),
            "seconds_a_run": [run["seconds"] for run in comparison["runs"]],
            **{key: comparison[key] for key in kept},
        },
    )


if __name__ == "__main__":
    main()
