"""The layers of the package, and what may import what."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_import_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "6 kept, 0 broken" in done.stdout


def test_core_needs_no_extra() -> None:
    code = (
        "import sys, rollingq; [getattr(rollingq, name) for name in rollingq.__all__];"
        "extras = {'lightning', 'sklearn', 'scipy', 'matplotlib', 'jinja2', 'rich', 'jsonargparse'} & set(sys.modules);"
        "sys.exit(', '.join(extras) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
