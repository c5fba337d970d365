"""rollingq reproduce as a user runs it: every entry in miniature, what is missing, labels, nothing computed twice."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollingq.reproduce.entries import ENTRIES

TINY = ["--epochs", "1", "--seeds", "1", "--encoder.dim", "8", "--encoder.num_layers", "1", "--encoder.num_heads", "2"]
FAST = [*TINY, "--train.batch_size", "512", "--rollingq.beta", "0", "--workers", "0"]
DIGITS = [*FAST, "--data", "av_digits"]
OF_IMAGES = "table7"
"""ResNet18 takes images; AV-Digits has tokens."""
LABEL = "same procedure on av_digits, not the paper's data"


def unwritten(comparison: Any, path: Path) -> Path:
    """Stand in for the report, whose figures cost more than all the runs; tests below write real ones."""
    assert LABEL in comparison.title
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every entry that AV-Digits can take, in one folder."""
    from rollingq.cli.__main__ import main

    out = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        patch.setattr("rollingq.reporting.html.write_report", unwritten)
        names = [name for name in ENTRIES if name != OF_IMAGES]
        assert main(["reproduce", *names, *DIGITS, "--out", str(out)]) == 0
    return {"out": out, **{name: json.loads((out / f"{name}.json").read_text()) for name in names}}


@pytest.mark.parametrize("name", [name for name in ENTRIES if name != OF_IMAGES])
def test_every_entry_runs_in_miniature(made: dict[str, Any], name: str) -> None:
    found = made[name]
    assert (found["entry"], found["label"], found["is_papers_setting"]) == (name, LABEL, False)
    assert found["deviations"][0].startswith("the data is av_digits in place of ")
    assert found["cells"]
    for cell in found["cells"]:
        assert (cell["ours"] is None) <= bool(cell["reason"]), cell
    measured = [cell for cell in found["cells"] if cell["ours"]]
    assert measured
    assert all(np.isfinite(cell["ours"]["mean"]) for cell in measured)
    assert all(
        0 <= cell["ours"]["mean"] <= 100
        for cell in measured
        if name.startswith("table") and cell["unit"] == "%" and "Change" not in cell["row"]
    )
    assert {change["verdict"] for change in found["changes"]} <= {"cannot be told"}  # One seed has no sign.
    assert all(Path(run).is_dir() for run in found["runs"])


def cells(found: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(cell["row"], cell["column"]): cell["ours"] and cell["ours"]["mean"] for cell in found["cells"]}


def test_entries_share_their_runs(made: dict[str, Any]) -> None:
    one, three, five = (cells(made[name]) for name in ("table1", "table3", "table5"))
    assert one["Vanilla MT", "av_digits"] == three["0.00", "Vanilla MT"]
    assert five["64", "Vanilla MT"] != five["16", "Vanilla MT"]
    shared = ("table2", "table3", "table4", "figure1", "figure5")
    assert all(set(made[name]["runs"]) <= set(made["table1"]["runs"]) | set(made["table3"]["runs"]) for name in shared)
    assert set(made["figure8"]["runs"]) <= set(made["table11"]["runs"])
    folders = {Path(run).parent.parent.name for name in ENTRIES if name in made for run in made[name]["runs"]}
    # The recipe; batches of 16, 64 and 256; 2, 4 and 6 layers (Tables 11, 6 and Figures 8, 9); half of the classes.
    assert len(folders) == 8


def test_what_cannot_be_measured_says_why(made: dict[str, Any]) -> None:
    far = [cell for cell in made["table10"]["cells"] if "far" in cell["column"]]
    assert len(far) == 6
    assert all("far OOD needs HMDB51" in cell["reason"] for cell in far)
    (after,) = {cell["reason"] for cell in made["figure3"]["cells"] if "later" in cell["row"]}
    assert after == "the first rotation came after the last epoch"
    assert any("biased modality, as measured" in note for note in made["table3"]["notes"])


def test_nothing_is_computed_twice(
    made: dict[str, Any], main_in: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("rollingq.training.grid.run_method", None)  # Training again would fail.
    monkeypatch.setattr("rollingq.training.stored.StoredRun.rebuild", None)  # So would diagnosing.
    assert main_in("reproduce", "table3", *DIGITS, "--out", str(made["out"]), "--json") == 0
    out, err = capsys.readouterr()
    assert err.count("kept from before") == 2
    (again,) = json.loads(out)
    assert cells(again) == cells(made["table3"])
    page = (made["out"] / "table3.html").read_text()
    assert LABEL.replace("'", "&#39;") in page
    assert again["reports"] == [str(made["out"] / "table3.html")]


def test_terminal(made: dict[str, Any], main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert main_in("reproduce", "figure3", *DIGITS, "--out", str(made["out"])) == 0
    out = capsys.readouterr().out
    assert f"({LABEL})" in " ".join(out.split())
    assert "Paper: An illustration: the paper measures nothing in it." in out
    assert f"Report: {made['out'] / 'figure3.html'}" in out
    assert max(map(len, (line for line in out.splitlines() if not line.startswith("Report: ")))) <= 100


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A prepared dataset of two small images a sample."""
    from rollingq.data.registry import prepare

    raw = tmp_path / "raw"
    raw.mkdir()
    lines = ["name,split,label,audio,visual"]
    for number, split in enumerate(["train"] * 8 + ["val"] * 4 + ["test"] * 4):
        for name in ("audio", "visual"):
            array = np.random.default_rng(number).normal(number % 2, 1, (1, 32, 32)).astype(np.float32)
            np.save(raw / f"{number}.{name}.npy", array)
        lines.append(f"clip{number},{split},{number % 2},{number}.audio.npy,{number}.visual.npy")
    (raw / "samples.csv").write_text("\n".join(lines) + "\n")
    prepare("custom", root=raw, out=tmp_path / "prepared", workers=1)
    return tmp_path / "prepared"


def test_resnet18_on_what_calls_itself_crema_d(
    images: Path, main_in: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The label follows from the name of the data and the settings alone."""
    from rollingq.data.locations import remember

    manifest = images / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "dataset": "crema_d"}))
    remember("crema_d", images)
    monkeypatch.setattr("rollingq.reporting.html.write_report", lambda comparison, path: path)
    assert main_in("reproduce", OF_IMAGES, "--workers", "0", "--epochs", "1", "--seeds", "1", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["label"] == "the paper's data, other settings"
    assert found["deviations"] == ["train.epochs is 1, the recipe says 30"]
    assert found["data"] == ["crema_d"]
    assert [(cell["row"], cell["paper"]) for cell in found["cells"]][:2] == [
        ("Unimodal audio", 60.1),
        ("Unimodal visual", 40.1),
    ]
    assert all(cell["ours"] for cell in found["cells"])


def test_table4_needs_no_data(main_in: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main_in("reproduce", "table4", "--json") == 0
    out, err = capsys.readouterr()
    (found,) = json.loads(out)
    values = {(cell["row"], cell["column"]): (cell["paper"], cell["ours"]) for cell in found["cells"]}
    paper, ours = values["Vanilla MT", "Parameters"]
    assert round(ours["mean"], 2) == paper == 59.87
    paper, ours = values["Vanilla MT + RollingQ", "GMACs of 128"]
    assert round(ours["mean"], 2) == paper == 1489.20
    assert values["MBT", "Accuracy"] == (51.5, None)
    assert "crema_d is not prepared (needed by table4)" in err
    assert (tmp_path / "runs" / "reproduce" / "table4.json").is_file()


def test_missing_data(main_in: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main_in("reproduce", "table1", "figure1") == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 4
    for line, data, names in zip(
        lines, ("crema_d", "kinetics_sound", "cmu_mosei"), ("table1", "table1, figure1", "table1"), strict=False
    ):
        assert line.startswith(f"rollingq: {data} is not prepared (needed by {names}). Raw files: ")
        assert line.endswith(f"Then: rollingq data prepare {data} --root RAW --out DIR.")
    assert lines[3] == "rollingq: The same procedure on other data: add --data av_digits."
    assert list(tmp_path.iterdir()) == []


CASES = {
    "unknown entry": (["tabel5"], "Did you mean 'table5'"),
    "name after options": (["--seeds", "1", "table5"], "names of entries before options"),
    "stray word": (["table5", "--data", "av_digits", "table6"], "table6"),
    "unknown flag": (["table5", "--epcohs", "1"], "Did you mean '--epochs'"),
    "unknown dataset": (["table5", "--data", "av_digit"], "Did you mean 'av_digits'"),
    "methods": (["table5", "--methods", "mt"], "no --methods"),
    "classes": (["table10", "--inside=3"], "no --inside"),
    "directory of several": (["table1", "--dir", "x"], "--data beside --dir"),
    "one modality": (["table5", "--data", "av_digits", "--modalities", "audio"], "two modalities"),
    "modalities of the paper": (["table5", "--data", "crema_d", "--modalities", "audio,visual"], "no --modalities"),
    "not prepared": (["table5", "--data", "utd_mhad"], "rollingq data prepare utd_mhad"),
    "paper's, not prepared": (["table5", "--data", "crema_d"], "rollingq data prepare crema_d"),
    "no seeds": (["table5", "--seeds", "0"], "at least 1"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, main_in: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected = CASES[name]
    assert main_in("reproduce", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollingq: Expected")
    assert err.count("\n") == 1
    assert expected in err
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_does_not_fit_the_data(main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert main_in("reproduce", OF_IMAGES, *DIGITS) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollingq: table7: Expected an image")
    assert err.count("\n") == 1


def test_list_imports_no_torch() -> None:
    code = (
        "import sys; from rollingq.cli.__main__ import main; code = main(sys.argv[1:]);"
        "sys.exit(code or ('torch' in sys.modules and 'torch was imported'))"
    )
    done = subprocess.run([sys.executable, "-c", code, "reproduce"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith((" ", "rollingq")) and line] == list(ENTRIES)


def test_list_for_machines(main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert main_in("reproduce", "table10", "--list", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["entry"], found["data"], found["diagnoses"]) == ("table10", {"hmdb51": False}, ["ood"])
