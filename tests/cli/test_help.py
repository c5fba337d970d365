"""The command line starts quickly and without torch."""

import subprocess
import sys
import time

import pytest

from rollingq.cli.__main__ import COMMANDS


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "rollingq.cli", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["data", "list"], ["data", "--help"]])
def test_light_commands_import_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from rollingq.cli.__main__ import main; code = main(sys.argv[1:]);"
        "sys.exit(code or ('torch' in sys.modules and 'torch was imported'))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    from rollingq.cli.__main__ import main

    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in COMMANDS)


@pytest.mark.parametrize("command", ["compare", "train", "report"])
def test_commands_share_their_flags(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rollingq.cli.__main__ import main

    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    flags = ("--data", "--dir", "--modalities", "--methods", "--seeds", "--epochs", "--out", "--config", "--json")
    assert all(flag in out for flag in flags)


@pytest.mark.parametrize("arguments", [["--methods", "mtt"], ["--data", "av_digit"], ["--rollingq.rho", "0"]])
def test_a_wrong_name_does_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from rollingq.cli.__main__ import main; code = main(['compare', *sys.argv[1:]]);"
        "sys.exit('torch was imported' if 'torch' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
