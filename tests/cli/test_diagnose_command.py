"""rollingq diagnose on finished runs: what it reads, writes, keeps and refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollingq.cli.__main__ import main

TINY = ["--epochs", "1", "--seeds", "2", "--encoder.dim", "16", "--encoder.num_layers", "1", "--workers", "0"]
FEW = ["--kinds", "mix", "--levels", "0.5,1", "--noise_seeds", "1"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("diagnosed") / "compared"
    methods = "unimodal:audio,concat,mt,mt_star+rollingq"
    assert main(["compare", "--methods", methods, *TINY, "--rollingq.beta", "0", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def diagnosed(compared: Path) -> tuple[Path, dict[str, Any]]:
    assert main(["diagnose", str(compared), *FEW]) == 0
    return compared, json.loads((compared / "comparison.json").read_text())


def test_comparison_folder_stands_for_its_multimodal_runs_of_the_first_seed(diagnosed: Any) -> None:
    _, comparison = diagnosed
    assert [(d["method"], d["seed"]) for d in comparison["diagnoses"]] == [
        ("concat", 0),
        ("mt", 0),
        ("mt_star+rollingq", 0),
    ]
    assert len(comparison["runs"]) == 8


def test_everything_is_measured(diagnosed: Any) -> None:
    _, comparison = diagnosed
    runs = {(run["method"], run["seed"]): run for run in comparison["runs"]}
    for found in comparison["diagnoses"]:
        run = runs[found["method"], found["seed"]]
        assert found["num_samples"] == 500
        assert found["accuracy"] == run["test_accuracy"]
        for curve in found["curves"]:
            assert curve["points"][-1]["accuracy"] == [run["accuracy_under_noise"][curve["modality"]]]
        assert {c["absent"] for c in found["contributions"]} == {"zero", "mean", "noise"}
        assert len(found["samples"]) == 500
        assert sum(bool(sample["pictures"]) for sample in found["samples"]) == 96
    edits = {d["method"]: [i["name"] for i in d["interventions"]] for d in comparison["diagnoses"]}
    assert edits["concat"] == []
    assert "quag:unimodal" not in edits["mt"]
    assert "quag:unimodal" in edits["mt_star+rollingq"]


def test_report_shows_it_and_stays_small(diagnosed: Any) -> None:
    out, _ = diagnosed
    page = (out / "report.html").read_text()
    assert "QUAG" in page
    assert (out / "report.html").stat().st_size < 5_000_000
    for name in ("robustness", "interventions", "contributions", "calibration", "dynamics"):
        for form in ("svg", "png", "csv"):
            assert (out / "figures" / f"{name}.{form}").stat().st_size > 100


def test_finished_diagnosis_is_not_measured_again(diagnosed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out, comparison = diagnosed
    monkeypatch.setattr("rollingq.training.run.Run.diagnose", lambda *_, **__: pytest.fail("measured again"))
    assert main(["diagnose", str(out), *FEW]) == 0
    again = json.loads((out / "comparison.json").read_text())
    assert again["diagnoses"] == comparison["diagnoses"]


def test_one_run_gets_a_report_of_its_own(diagnosed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = diagnosed
    run = tmp_path / "alone"
    shutil.copytree(out / "runs" / "mt-seed1", run)
    assert main(["diagnose", str(run), "--measures", "interventions", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [(r["method"], r["seed"]) for r in printed["runs"]] == [("mt", 1)]
    assert printed["diagnoses"][0]["curves"] == []
    assert (run / "report.html").is_file()


def test_classes_left_out_are_detected(tmp_path: Path) -> None:
    out = tmp_path / "inside"
    assert main(["train", "--methods", "mt", *TINY, "--seeds", "1", "--inside", "7", "--out", str(out)]) == 0
    assert main(["diagnose", str(out), "--measures", "ood", "--json"]) == 0
    (found,) = json.loads((out / "comparison.json").read_text())["diagnoses"]
    (outside,) = found["ood"]
    assert (outside["name"], outside["kind"]) == ("left-out classes", "near")
    assert outside["num_inside"] + outside["num_outside"] == 500
    assert [d["score"] for d in outside["detections"]] == [
        "msp",
        "energy",
        "max_logit",
        "gen",
        "mahalanobis",
        "knn",
    ]
    assert all(0 <= d["auroc"] <= 1 for d in outside["detections"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "nowhere"),
        (["."], "run"),
        (["RUN", "--measures", "nois"], "noise"),
        (["RUN", "--levels", "a,b"], "--levels"),
        (["RUN", "--levels", "1,0.5"], "levels"),
        (["RUN", "--kinds", "pink"], "kinds"),
        (["RUN", "--data", "av_digitz"], "av_digits"),
        (["RUN", "--outside", "nowhere"], "nowhere"),
        (["RUN", "--mesures", "noise"], "--measures"),
        ([], "runs"),
    ],
)
def test_bad_input_is_one_line(
    compared: Path, main_in: Callable[..., int], capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    given = [str(compared / "runs" / "mt-seed0") if argument == "RUN" else argument for argument in arguments]
    assert main_in("diagnose", *given) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("rollingq: ")
    assert captured.err.count("\n") == 1
    assert text in captured.err
    assert captured.out == ""
