"""Real recordings from raw MATLAB files to a comparison, if the data is there."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rollingq.training.methods import parse_methods

DATA = Path(os.environ.get("ROLLINGQ_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "utd_mhad"
TINY = ["--epochs", "1", "--encoder.dim", "16", "--encoder.num_layers", "2", "--workers", "0", "--rollingq.beta", "0"]


@pytest.mark.skipif(not DATA.is_dir(), reason="UTD-MHAD is neither in $ROLLINGQ_DATA nor in ../shared/data")
@pytest.mark.parametrize("modalities", ["inertial,depth", "skeleton,depth,inertial"])
def test_prepare_then_compare(
    modalities: str, main_in: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_in("data", "prepare", "utd_mhad", "--root", str(DATA), "--out", "prepared", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert {split: sum(by.values()) for split, by in summary["counts"].items()} == {
        "train": 323,
        "val": 108,
        "test": 430,
    }
    assert main_in("data", "check", "utd_mhad", "--dir", "prepared") == 0
    capsys.readouterr()
    arguments = ["--data", "utd_mhad", "--modalities", modalities, "--methods", "unimodal,concat,mt,mt+rollingq"]
    assert main_in("compare", *arguments, "--seeds", "1", *TINY, "--rollingq.first_epoch", "0", "--json") == 0
    comparison = json.loads(capsys.readouterr().out)
    names = modalities.split(",")
    assert comparison["modalities"] == names
    assert len(comparison["runs"]) == len(names) + 3
    rotated = comparison["runs"][-1]
    assert rotated["num_rotations"] == 1
    assert set(rotated["attention"]["score"]) == set(names)
    assert (tmp_path / "runs" / "utd_mhad" / "report.html").is_file()


@pytest.mark.skipif(not DATA.is_dir(), reason="UTD-MHAD is neither in $ROLLINGQ_DATA nor in ../shared/data")
def test_every_system_goes_through(
    main_in: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_in("data", "prepare", "utd_mhad", "--root", str(DATA), "--out", "prepared", "--json") == 0
    capsys.readouterr()
    arguments = ["--data", "utd_mhad", "--methods", "all", "--seeds", "1", "--train.batch_size", "256", *TINY, "--json"]
    assert main_in("compare", *arguments) == 0
    out, err = capsys.readouterr()
    left = (
        "film needs exactly two modalities",
        "gated needs exactly two modalities",
        "mmml needs exactly two modalities",
    )
    assert all(f"Left out: {reason}." in err for reason in left)
    found = [run["method"] for run in json.loads(out)["runs"]]
    assert found == [m.name for m in parse_methods(["all"], ["inertial", "depth", "skeleton"])]
    assert (tmp_path / "runs" / "utd_mhad" / "report.html").is_file()


def test_damaged_recordings_are_named_and_exit_with_1(
    main_in: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not DATA.is_dir():
        pytest.skip("UTD-MHAD is neither in $ROLLINGQ_DATA nor in ../shared/data")
    for name in ("Inertial", "Depth", "Skeleton"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for subject in (1, 2, 4, 7):
            file = f"a1_s{subject}_t1_{name.lower()}.mat"
            (tmp_path / "raw" / name / file).write_bytes((DATA / name / file).read_bytes())
    damaged = tmp_path / "raw" / "Depth" / "a1_s2_t1_depth.mat"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    code = main_in("data", "prepare", "utd_mhad", "--root", "raw", "--out", "out")
    err = capsys.readouterr().err
    assert "Depth/a1_s2_t1_depth.mat" in err
    assert code == 1
    assert main_in("data", "check", "utd_mhad", "--dir", "out") == 0
    assert main_in("data", "prepare", "utd_mhad", "--root", "raw", "--out", "other", "--on-error", "raise") == 2
    assert not (tmp_path / "other").exists()
