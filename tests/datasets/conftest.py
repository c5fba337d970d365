"""The command line in this process, the replicas (written once), and the real data where it is."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import replicas

sys.path.append(str(Path(__file__).parents[1] / "unit" / "data"))  # For made_pickles.


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The raw folder of a dataset's replica; tests leave it as it is."""
    base = tmp_path_factory.mktemp("raw")

    def folder(name: str) -> Path:
        root = base / name
        return root if root.exists() else replicas.write(name, root)

    return folder


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs ``rollingq ...`` with --json, checks the exit code, and returns what it prints."""
    from rollingq.cli.__main__ import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> Any:
        capsys.readouterr()
        found = main([*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        assert found == code, err
        return json.loads(out)

    return run


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """A folder or file of the real data, if this machine has it."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    base = Path(os.environ.get("ROLLINGQ_DATA", beside))

    def place(name: str) -> Path:
        if not (base / name).exists():
            pytest.skip(f"needs the real data: set ROLLINGQ_DATA (looked for {base / name})")
        return base / name

    return place
