"""Time two functions in turn, round by round, so that a drifting machine slows both alike."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def paired_ratio(
    first: Callable[[], Any], second: Callable[[], Any], *, rounds: int, warmup: int = 3
) -> dict[str, Any]:
    """Return median seconds of both and the quartiles of the ratio ``first / second`` over the rounds.

    The order within a round alternates, so that neither always runs behind the other.
    """
    for _ in range(warmup):
        first()
        second()
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        order = ((0, first), (1, second)) if turn % 2 == 0 else ((1, second), (0, first))
        for index, function in order:
            start = time.perf_counter()
            function()
            seconds[index].append(time.perf_counter() - start)
    ratios = sorted(a / b for a, b in zip(*seconds, strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "rounds": rounds,
        "first_ms": 1e3 * statistics.median(seconds[0]),
        "second_ms": 1e3 * statistics.median(seconds[1]),
        "ratio_median": middle,
        "ratio_quartiles": [low, high],
    }


def write_result(name: str, result: dict[str, Any]) -> None:
    """Print a result and write it, with what it was measured on, to ``results/<name>.json``."""
    machine = {
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
    }
    text = json.dumps({"machine": machine, **result}, indent=1)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
