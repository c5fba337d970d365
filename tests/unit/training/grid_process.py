"""A grid in a process of its own whose runs train nothing: they write down who started them, and when."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rollingq.config import EncoderConfig
from rollingq.evaluation.results import EpochRecord, RunResult
from rollingq.training import grid
from rollingq.training.methods import parse_methods
from rollingq.training.settings import Settings

SOURCE = grid.Source("av_digits", None, ("audio",))
SETTINGS = Settings(encoder=EncoderConfig(dim=8, num_heads=2))
JOBS = [grid.Job(method, seed) for seed in range(4) for method in parse_methods(["unimodal"], ["audio"])]


def fake_run(method: Any, seed: int, data: Any, settings: Any, folder: Path, on_epoch: Any) -> RunResult:
    """Log a line, wait for so many processes as the environment says, and return a result that names this one."""
    log = Path(os.environ["GRID_LOG"])
    with log.open("a") as file:
        file.write(f"{seed} {os.getpid()}\n")
    on_epoch(EpochRecord(0, 1.0, 1.0, 0.5))
    while len({pid for _, pid in started(log)}) < int(os.environ["GRID_PROCESSES"]):
        time.sleep(0.01)
    (folder / "best.ckpt").write_bytes(b"")
    return RunResult(method.name, seed, ["audio"], "validation", 0, 0.5, 0.5, {}, {}, os.getpid(), 0.0)


def started(log: Path) -> list[tuple[int, int]]:
    """Return seed and process of every run that was started, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(seed), int(pid)) for seed, pid in map(str.split, lines)]


def run(out: Path, jobs: list[grid.Job], workers: int, on_done: Any) -> list[RunResult]:
    """Run jobs on the embedded data."""
    return grid.run_grid(
        jobs, SOURCE, SOURCE.load(), SETTINGS, out, workers=workers, on_epoch=lambda *_: None, on_done=on_done
    )


if __name__ in ("__main__", "__mp_main__"):  # Workers import this file too, under the second name.
    grid.run_method = fake_run

if __name__ == "__main__":
    kept: list[bool] = []
    results = run(Path(sys.argv[1]), JOBS, int(sys.argv[2]), lambda job, result, is_kept: kept.append(is_kept))
    print(json.dumps({"pids": [result.num_parameters for result in results], "kept": sum(kept)}))
