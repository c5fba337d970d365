"""--inside N: the first classes train, the report says so, and the runs are not those of all classes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rollingq.cli.options import parse_options
from rollingq.errors import ConfigError
from rollingq.training.grid import Source
from rollingq.training.stored import find_runs, read_run

TINY = ["--methods", "concat", "--epochs", "1", "--seeds", "1", "--encoder.dim", "8", "--encoder.num_heads", "2"]


def test_the_first_classes_are_trained_on(main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert main_in("compare", *TINY, "--inside", "4", "--workers", "0", "--out", "out", "--json") == 0
    comparison = json.loads(capsys.readouterr().out)
    assert comparison["title"] == "av_digits (4 of 10 classes): audio + image"
    assert comparison["classes"] == ["zero", "one", "two", "three"]
    assert comparison["config"]["inside"] == 4
    assert comparison["manifest"]["classes_outside"] == ["four", "five", "six", "seven", "eight", "nine"]
    (folder,) = find_runs(Path("out"))
    stored = read_run(folder)
    assert stored.source == Source("av_digits", None, ("audio", "image"), 4)
    assert stored.rebuild(stored.source.load()).model.num_classes == 4


def test_other_classes_are_another_run(main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    kept = []
    for more in (["--inside", "4"], ["--inside", "4"], ["--inside", "5"], [], []):
        assert main_in("train", *TINY, *more, "--workers", "0", "--out", "out") == 0
        kept.append("kept from before" in capsys.readouterr().err)
    assert kept == [False, True, False, False, True]
    assert read_run(Path("out/runs/concat-seed0")).source.inside is None


def test_workers_train_on_the_same_classes(main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert main_in("train", *TINY, "--inside", "3", "--workers", "1", "--out", "out", "--json") == 0
    (run,) = json.loads(capsys.readouterr().out)
    stored = read_run(Path("out/runs/concat-seed0"))
    assert stored.result.test_accuracy == run["test_accuracy"]
    assert stored.rebuild(stored.source.load()).model.num_classes == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "Expected --inside to be at least 1, but got 0."),
        ("-3", "Expected --inside to be at least 1, but got -3."),
        (
            "10",
            "Expected to keep from 1 to 9 classes of av_digits, which has 10, but got 10; some have to be left out.",
        ),
        ("few", "Expected --inside to be a int, but got few."),
    ],
)
def test_a_wrong_number_is_one_line(
    main_in: Callable[..., int], capsys: pytest.CaptureFixture[str], value: str, text: str
) -> None:
    assert main_in("train", *TINY, "--inside", value, "--out", "out") == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith(f"rollingq: {text}")
    assert stderr.count("\n") == 1
    assert not Path("out").exists()


def test_a_configuration_file_can_say_it(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("inside: 20\n")
    assert parse_options("train", "", ["--data", "utd_mhad"]).inside is None
    assert parse_options("train", "", ["--data", "utd_mhad", "--config", str(mine)]).inside == 20
    mine.write_text("inside: 1.5\n")
    with pytest.raises(ConfigError, match="--inside"):
        parse_options("train", "", ["--config", str(mine)])
