"""Run the command line as a user does, in a process of its own, or in this one for speed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Result = subprocess.CompletedProcess[str]


@pytest.fixture
def rollingq(tmp_path: Path) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "rollingq.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=280)

    return run


@pytest.fixture
def main_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    from rollingq.cli.__main__ import main

    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(arguments)
