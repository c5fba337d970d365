"""Table 10 with outside samples that were prepared on their own, near and far."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rollingq.data.registry import prepare

TINY = ["--workers", "0", "--epochs", "1", "--seeds", "1", "--encoder.dim", "8", "--encoder.num_layers", "1"]


def prepared(folder: Path, name: str, splits: list[str]) -> Path:
    raw = folder / f"raw-{name}"
    raw.mkdir()
    lines = ["name,split,label,audio,visual"]
    for number, split in enumerate(splits):
        for modality in ("audio", "visual"):
            array = np.random.default_rng(number).normal(number % 2, 1, (4, 6)).astype(np.float32)
            np.save(raw / f"{number}.{modality}.npy", array)
        lines.append(f"clip{number},{split},{number % 2},{number}.audio.npy,{number}.visual.npy")
    (raw / "samples.csv").write_text("\n".join(lines) + "\n")
    prepare("custom", root=raw, out=folder / name, workers=1)
    return folder / name


def named(folder: Path, dataset: str) -> Path:
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "dataset": dataset}))
    return folder


@pytest.mark.parametrize(("dataset", "kind"), [("custom", "near"), ("ucf101", "far")])
def test_outside_samples_of_their_own(
    dataset: str,
    kind: str,
    tmp_path: Path,
    main_in: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rollingq.reporting.html.write_report", lambda comparison, path: path)
    inside = prepared(tmp_path, "inside", ["train"] * 12 + ["val"] * 4 + ["test"] * 6)
    outside = named(prepared(tmp_path, "outside", ["train"] * 4 + ["val"] * 4 + ["test"] * 5), dataset)
    capsys.readouterr()
    given = ["table10", *TINY, "--data", "custom", "--dir", str(inside), "--outside", str(outside), "--json"]
    assert main_in("reproduce", *given) == 0
    (found,) = json.loads(capsys.readouterr().out)
    ours = {cell["column"]: cell["ours"] for cell in found["cells"] if cell["row"] == "Vanilla MT"}
    reasons = {cell["reason"] for cell in found["cells"] if cell["ours"] is None}
    assert len([value for value in ours.values() if value is not None]) == 3
    assert all(("near" in column) == (kind == "near") for column, value in ours.items() if value is not None)
    assert reasons == {f"the samples of --outside are {kind}"}
    (run,) = [folder for folder in found["runs"] if folder.endswith("mt-seed0")]
    diagnosis = json.loads((tmp_path / run / "diagnosis.json").read_text())["diagnosis"]
    (result,) = diagnosis["ood"]
    assert (result["kind"], result["num_inside"], result["num_outside"]) == (kind, 6, 5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["table5", "--outside", "x"], "x"),
        (["table10", "--outside"], "Expected a folder after --outside"),
        (["table10", "--data", "av_digits", "--outside", "nowhere"], "nowhere"),
    ],
)
def test_bad_outside_is_one_line(
    arguments: list[str], text: str, main_in: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_in("reproduce", *arguments) == 2
    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1
