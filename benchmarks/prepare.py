"""How long preparing takes, how much memory it needs, and how fast training reads what was prepared.

Run: python prepare.py [FOLDER WITH utd_mhad, mnist AND fsdd]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from paired import write_result

from rollingq.data.registry import load
from rollingq.data.samplers import make_loader

ROUNDS, BATCH_SIZE = 9, 256
PAIRS = (2_000, 8_000, 32_000)
"""Training pairs of AV-MNIST for which memory is measured: it must not grow with them."""


def resident(group: int) -> float:
    """Return the resident memory of a process group, in MiB; what processes share counts in each of them."""
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                total += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        except OSError:
            continue
    return total


def prepare(*arguments: str) -> dict[str, float]:
    """Run the command as a user does; return its seconds and the peak memory of it and its workers in MiB."""
    command = [sys.executable, "-m", "rollingq.cli", "data", "prepare", *arguments]
    start, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)  # noqa: S603  # Our own.
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)
    assert process.returncode == 0, "prepare failed"
    return {"seconds": time.perf_counter() - start, "peak_mib": peak}


def samples_a_second(folder: Path) -> dict[str, float]:
    """Return how many shuffled training samples of AV-MNIST a loader gives each second, over several epochs."""
    train = load("av_mnist", dir=folder).splits["train"]
    loader = make_loader(train, BATCH_SIZE)
    rates = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        number = sum(len(batch["label"]) for batch in loader)
        rates.append(number / (time.perf_counter() - start))
    return {"samples": len(train), "samples_per_second": median(rates), "slowest": min(rates), "fastest": max(rates)}


def main(data: Path) -> None:
    """Measure and write the result."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        utd = [prepare("utd_mhad", "--root", str(data / "utd_mhad"), "--out", str(out / "utd")) for _ in range(3)]
        mnist = prepare("av_mnist", "--root", str(data), "--out", str(out / "mnist"))
        few = [
            {"pairs": n, **prepare("av_mnist", "--root", str(data), "--out", str(out / "few"), "--num_train", str(n))}
            for n in PAIRS
        ]
        result: dict[str, Any] = {
            "what": "rollingq data prepare, 2 workers; peak memory counts command and workers together",
            "utd_mhad": {"recordings": 861, "seconds": [r["seconds"] for r in utd], "peak_mib": utd[0]["peak_mib"]},
            "av_mnist": {"pairs": 70_000, **mnist},
            "av_mnist_by_size": few,
            "reading_av_mnist": samples_a_second(out / "mnist"),
        }
    write_result("prepare", result)


if __name__ == "__main__":
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    main(Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("ROLLINGQ_DATA", beside)))
