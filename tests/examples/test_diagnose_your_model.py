"""The example trains, diagnoses in five lines, and is what the docs show."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "diagnose_your_model.py"


def test_prints_a_verdict_and_writes_the_report(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "of the mass on clean samples" in done.stdout
    assert (tmp_path / "out" / "report.html").stat().st_size < 5_000_000
    assert "Attention" in (tmp_path / "out" / "report.html").read_text()


def test_docs_show_its_five_lines() -> None:
    lines = [line.removeprefix("    ") for line in EXAMPLE.read_text().splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("tokens = "))
    assert "\n".join(lines[start : start + 4]) in (ROOT / "docs" / "diagnose.md").read_text()
