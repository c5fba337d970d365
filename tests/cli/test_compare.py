"""A whole comparison in miniature: train, compare, report, resume, repeat."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = ["--epochs", "2", "--seeds", "2", "--encoder.dim", "16", "--encoder.num_layers", "1", "--rollingq.beta", "0"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Any:  # the comparison and its folder
    from rollingq.cli.__main__ import main

    out = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        assert main(["compare", *TINY, "--workers", "0", "--out", str(out)]) == 0
    return json.loads((out / "comparison.json").read_text()), out


def test_everything_is_found(compared: Any) -> None:
    comparison, out = compared
    methods = [row["method"] for row in comparison["summaries"]]
    assert methods == ["unimodal:audio", "unimodal:image", "concat", "mt", "mt+rollingq"]
    assert len(comparison["runs"]) == 10
    assert comparison["num_samples"] == {"train": 1024, "val": 350, "test": 500}
    assert (out / "report.html").stat().st_size > 10_000
    assert len(list((out / "figures").glob("*.svg"))) >= 4
    for run in comparison["runs"]:
        folder = out / "runs" / f"{run['method'].replace(':', '-')}-seed{run['seed']}"
        assert (folder / "best.ckpt").is_file()
        assert (folder / "csv" / "metrics.csv").is_file()
        assert list((folder / "tensorboard").glob("events.*"))


def test_values_hang_together(compared: Any) -> None:
    comparison, _ = compared
    for run in comparison["runs"]:
        best = run["history"][run["best_epoch"]]
        assert best["val_accuracy"] == max(record["val_accuracy"] for record in run["history"])
        assert run["val_accuracy"] == best["val_accuracy"]
        assert len(run["history"]) == 2
        assert 0 <= run["test_accuracy"] <= 1
        if run["attention"] is None:
            assert not run["method"].startswith("mt")
            continue
        assert 0.5 < sum(run["attention"]["score"].values()) <= 1.0 + 1e-6
        assert -2 <= run["attention"]["air"] <= 2
        assert set(run["attention"]["correlation"]) == {"audio", "image"}


def test_rotation_is_counted_and_pairing_holds(compared: Any) -> None:
    runs = {(run["method"], run["seed"]): run for run in compared[0]["runs"]}
    for seed in (0, 1):
        plain, rotated = runs["mt", seed], runs["mt+rollingq", seed]
        assert plain["num_rotations"] == 0
        assert rotated["history"][0]["rotated"]
        # The same weights and batches until the first rotation: the first epoch's training is the same.
        assert plain["history"][0]["train_loss"] == rotated["history"][0]["train_loss"]
        assert plain["history"][0]["air"] == rotated["history"][0]["air"]
        assert plain["history"][1]["train_loss"] != rotated["history"][1]["train_loss"]


def test_finished_runs_are_kept(compared: Any, main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    comparison, out = compared
    (out / "runs" / "concat-seed1" / "result.json").write_text('{"key": "cut off')
    assert main_in("compare", *TINY, "--workers", "0", "--out", str(out), "--json") == 0
    stdout, stderr = capsys.readouterr()
    assert stderr.count("kept from before") == 9
    again = json.loads(stdout)
    assert _without_seconds(again["runs"]) == _without_seconds(comparison["runs"])


def test_report_is_written_again(compared: Any, main_in: Callable[..., int]) -> None:
    _, out = compared
    before = (out / "report.html").read_text()
    (out / "report.html").unlink()
    assert main_in("report", "--out", str(out)) == 0
    assert len((out / "report.html").read_text()) == pytest.approx(len(before), rel=0.05)


def test_worker_processes_find_the_same(rollingq: Callable[..., Any], tmp_path: Path) -> None:
    tiny = ["train", *TINY[:2], *TINY[4:], "--seeds", "1", "--methods", "mt+rollingq", "--json"]
    first, second = (rollingq(*tiny, "--workers", n, "--out", f"out{n}") for n in ("1", "0"))
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    assert _without_seconds(json.loads(first.stdout)) == _without_seconds(json.loads(second.stdout))


def test_paper_selection_is_marked(main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--epochs", "1", "--seeds", "1", "--methods", "mt,mt+rollingq", "--encoder.dim", "16"]
    assert main_in("compare", *options, "--selection", "paper", "--workers", "0", "--out", "out") == 0
    assert "chosen on test" in " ".join(capsys.readouterr().out.split())


def _without_seconds(runs: list[dict[str, Any]]) -> str:
    return json.dumps([{key: value for key, value in run.items() if key != "seconds"} for run in runs])
