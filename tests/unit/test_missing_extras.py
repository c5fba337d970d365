"""Without an extra, the error names the package and the extra that holds it; nothing else breaks."""

import subprocess
import sys

import pytest


def run_without(package: str, code: str) -> subprocess.CompletedProcess[str]:
    blocked = f"import sys; sys.modules[{package!r}] = None; {code}"
    return subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)


def test_the_callback_names_the_extra_of_lightning() -> None:
    done = run_without("lightning.pytorch", "import rollingq.integrations.lightning")
    assert done.returncode == 1
    assert "MissingExtraError: Expected the package 'lightning'" in done.stderr
    assert "pip install 'rollingq[lab]'" in done.stderr


def command(*arguments: str) -> str:
    return f"from rollingq.cli.__main__ import main; sys.exit(main({list(arguments)!r}))"


@pytest.mark.parametrize(("package", "name"), [("jsonargparse", "compare"), ("sklearn", "train")])
def test_a_command_says_it_in_one_line(package: str, name: str) -> None:
    done = run_without(package, command(name))
    assert done.returncode == 2
    assert done.stderr.startswith("rollingq: Expected the package")
    assert done.stderr.count("\n") == 1
    assert "rollingq[lab]" in done.stderr


def test_checking_draws_no_bar_and_needs_no_rich() -> None:
    done = run_without("rich", command("data", "check", "av_digits"))
    assert done.returncode == 0, done.stderr
