"""How long diagnosing takes: the whole command on the 430 test samples of UTD-MHAD, report and figures included.

Run: python diagnose.py PREPARED_UTD_MHAD
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from paired import write_result

ROUNDS = 5


def rollingq(*arguments: str) -> str:
    """Run a command as a user does and return what it printed."""
    command = [sys.executable, "-m", "rollingq.cli", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)  # noqa: S603
    return done.stdout


def measure(data: str, folder: Path, *options: str) -> dict[str, Any]:
    """Train a model briefly, diagnose it several times, and return seconds and what was read."""
    out = folder / "-".join(("run", *options))
    given = ["--data", "utd_mhad", "--dir", data, "--modalities", "inertial,depth", "--methods", "mt", "--seeds", "1"]
    rollingq("train", *given, "--epochs", "3", *options, "--out", str(out))
    seconds, run = [], out / "runs" / "mt-seed0"
    for _ in range(ROUNDS):
        (run / "diagnosis.json").unlink(missing_ok=True)
        start = time.perf_counter()
        found = json.loads(rollingq("diagnose", str(run), "--json"))["diagnoses"][0]
        seconds.append(time.perf_counter() - start)
    outside = sum(part["num_outside"] for part in found["ood"])
    return {
        "seconds": seconds,
        "seconds_median": median(seconds),
        "num_samples": found["num_samples"],
        "num_outside": outside,
        "num_passes": found["num_passes"],
        "page_bytes": (run / "report.html").stat().st_size,
    }


def main() -> None:
    """Measure with all classes known, and with 20 known and 7 to detect."""
    with tempfile.TemporaryDirectory() as folder:
        all_known = measure(sys.argv[1], Path(folder))
        some_left_out = measure(sys.argv[1], Path(folder), "--inside", "20")
    write_result("diagnose", {"what": __doc__, "all_known": all_known, "left_out": some_left_out})


if __name__ == "__main__":
    main()
