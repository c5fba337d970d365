"""The example of a dataset of one's own runs in worker processes, names a short file, and is what the docs show."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from rollingq.data.prepared import load_folder

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "own_source.py"


def test_prepares_what_it_plans(tmp_path: Path) -> None:
    raw, random = tmp_path / "raw", np.random.default_rng(0)
    raw.mkdir()
    for person in ("anna", "berta", "carl", "dora"):
        for number, state in enumerate(("healthy", "ill")):
            np.save(raw / f"{state}_{person}_{number}.npy", random.normal(size=(24, 8)))
    np.save(raw / "ill_dora_9.npy", random.normal(size=(5, 8)))
    command = [sys.executable, str(EXAMPLE), str(raw), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    data = load_folder(tmp_path / "out")
    assert data.shapes == {"mat": (20, 8), "speed": (20, 1)}
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "val": 2, "test": 2}
    assert data.manifest["skipped"][0]["reason"] == "expected 20 steps or more, got 5"


def test_the_docs_show_it() -> None:
    assert f"```python\n{EXAMPLE.read_text()}```" in (ROOT / "docs" / "datasets.md").read_text()
