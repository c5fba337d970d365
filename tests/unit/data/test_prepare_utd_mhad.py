import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from rollingq.data import registry
from rollingq.data.prepare.engine import prepare_source
from rollingq.data.prepare.source import BadFileError
from rollingq.data.prepared import load_folder
from rollingq.data.raw.matlab import read_modality
from rollingq.data.shards import read_manifest, read_samples
from rollingq.data.sources.utd_mhad import CLASSES, SUBJECTS, UTDMHAD, find_recordings, published
from rollingq.errors import DataError

INERTIAL = "Inertial/a1_s1_t1_inertial.mat"
DEPTH = "Depth/a1_s1_t1_depth.mat"
SKELETON = "Skeleton/a1_s1_t1_skeleton.mat"


prepare = partial(prepare_source, UTDMHAD())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 16
    path.write_bytes(data)


def with_nan(path: Path) -> None:
    array = loadmat(path)["d_iner"]
    array[3, 2] = np.nan
    savemat(path, {"d_iner": array})


DAMAGES = {
    "truncated": (INERTIAL, truncate, "unreadable MATLAB file"),
    "truncated depth": (DEPTH, truncate, "unreadable MATLAB file"),
    "one flipped bit": (DEPTH, flip_bit, "unreadable MATLAB file"),
    "no bytes": (SKELETON, lambda path: path.write_bytes(b""), "the file is empty"),
    "no MATLAB": (INERTIAL, lambda path: path.write_text("<html>not found</html>" * 20), "unreadable MATLAB file"),
    "missing modality": (DEPTH, Path.unlink, "the file is missing"),
    "NaN": (INERTIAL, with_nan, "1 of 120 numbers are NaN or infinite"),
    "wrong shape": (
        INERTIAL,
        lambda path: savemat(path, {"d_iner": np.ones((20, 5))}),
        "expected d_iner of shape anyx6, got 20x5",
    ),
    "wrong variable": (
        INERTIAL,
        lambda path: savemat(path, {"x": np.ones((20, 6))}),
        "numeric variable d_iner, got none",
    ),
    "text": (INERTIAL, lambda path: savemat(path, {"d_iner": "text"}), "numeric variable d_iner, got none"),
    "one step": (SKELETON, lambda path: savemat(path, {"d_skel": np.ones((20, 3, 1))}), "got 20x3"),
    "all zero": (
        DEPTH,
        lambda path: savemat(path, {"d_depth": np.zeros((8, 8, 4), np.uint16)}),
        "nothing was recorded",
    ),
    "out of range": (INERTIAL, lambda path: savemat(path, {"d_iner": np.eye(6) * 1e30}), "expected numbers from -2001"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_recording_is_named_counted_and_left_out(raw, tmp_path, damage):
    file, spoil, reason = DAMAGES[damage]
    spoil(raw / file)
    summary = prepare(root=raw, out=tmp_path / "out", workers=1)
    assert [(skip.name, skip.file) for skip in summary.skipped] == [("a1_s1_t1", file)]
    assert reason in summary.skipped[0].reason
    assert "\n" not in summary.skipped[0].reason
    assert summary.total == 5
    manifest = read_manifest(tmp_path / "out", "utd_mhad")
    assert [skip["file"] for skip in manifest["skipped"]] == [file]
    assert read_samples(tmp_path / "out", manifest)["train"] == ["a2_s1_t1"]
    assert registry.check("utd_mhad", dir=tmp_path / "out").problems == ()


def test_on_error_raise_makes_no_folder_and_lists_every_file(raw, tmp_path):
    truncate(raw / INERTIAL)
    (raw / "Depth/a2_s7_t1_depth.mat").unlink()
    with pytest.raises(DataError, match=r"2 damaged \(Inertial/a1_s1_t1.*Depth/a2_s7_t1") as caught:
        prepare(root=raw, out=tmp_path / "out", workers=1, on_error="raise")
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.partial", "raw"]


def test_counts_splits_and_absent_recordings(raw, tmp_path):
    summary = prepare(root=raw, out=tmp_path / "out", workers=1)
    assert {split: sum(counts.values()) for split, counts in summary.counts.items()} == dict.fromkeys(SUBJECTS, 2)
    assert summary.counts["val"]["swipe_left"] == 1
    assert (len(summary.absent), len(published()), summary.skipped) == (855, 861, ())


def test_same_input_gives_the_same_bytes_for_any_number_of_workers(raw, tmp_path):
    prepare(root=raw, out=tmp_path / "one", workers=1)
    prepare(root=raw, out=tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_an_earlier_prepared_folder_is_replaced_and_no_temporary_stays(raw, tmp_path, replica):
    prepare(root=raw, out=tmp_path / "out", workers=1)
    replica(raw, "a3_s1_t1", seed=9)
    assert prepare(root=raw, out=tmp_path / "out", workers=1).total == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_a_folder_with_other_content_is_left_alone(raw, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="nothing was written"):
        prepare(root=raw, out=out, workers=1)
    assert contents(out) == {"thesis.txt": b"mine"}


def test_a_failed_write_leaves_the_earlier_folder(raw, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare(root=raw, out=out, workers=1)
    before = contents(out)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rollingq.data.prepare.shards.os.fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        prepare(root=raw, out=out, workers=1)
    assert contents(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.partial", "out", "raw"]


def test_a_missing_or_empty_root_says_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    for root, text in (("nowhere", "which is no folder"), ("empty", "but got no recording")):
        with pytest.raises(DataError, match=text) as caught:
            prepare(root=tmp_path / root, out=tmp_path / "out", workers=1)
        assert "--root" in str(caught.value)


def test_an_unreadable_root_is_a_data_error(raw, monkeypatch):
    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(DataError, match="Permission denied"):
        find_recordings(raw)


def test_without_a_sound_training_recording_there_is_nothing_to_write(tmp_path, replica):
    replica(tmp_path / "raw", "a1_s2_t1")
    with pytest.raises(DataError, match="Expected the root to hold training clips of utd_mhad"):
        prepare(root=tmp_path / "raw", out=tmp_path / "out", workers=1)


def test_loaded_splits_are_normalised_by_training_data(raw, tmp_path):
    prepare(root=raw, out=tmp_path / "out", workers=1)
    data = load_folder(tmp_path / "out")
    assert data.classes == CLASSES
    assert data.shapes == {
        "inertial": (12, 24),
        "depth": (8, 600),
        "skeleton": (12, 120),
    }
    train = data.splits["train"].inputs
    torch.testing.assert_close(train["inertial"].mean((0, 1)), torch.zeros(24), atol=1e-5, rtol=0)
    torch.testing.assert_close(train["depth"].std(correction=0), torch.tensor(1.0), atol=1e-4, rtol=0)
    assert data.splits["test"].labels.tolist() == [0, 1]
    assert data.splits["test"].names == ["a1_s2_t1", "a2_s2_t1"]


def change_manifest(folder: Path, change) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


SPOILS = {
    "changed byte": (
        lambda folder: flip_bit(folder / "val-00000.safetensors"),
        r"val-00000\.safetensors to have sha-256",
    ),
    "missing shard": (
        lambda folder: (folder / "test-00000.safetensors").unlink(),
        r"the shard .*test-00000\.safetensors",
    ),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "no readable"),
    "damaged manifest": (lambda folder: (folder / "manifest.json").write_text("{"), "to be JSON"),
    "other dataset": (lambda folder: change_manifest(folder, lambda m: m.update(dataset="x")), "but got 'x'"),
    "other format": (lambda folder: change_manifest(folder, lambda m: m.update(format=9)), "of format 2"),
    "no statistics": (lambda folder: change_manifest(folder, lambda m: m.pop("statistics")), "damaged one"),
    "short statistics": (
        lambda folder: change_manifest(folder, lambda m: m["statistics"]["inertial"].update(mean=[0.0, 1.0])),
        "damaged one",
    ),
    "statistics of NaN": (
        lambda folder: change_manifest(folder, lambda m: m["statistics"]["depth"].update(std=[float("nan")])),
        "statistics are not finite",
    ),
    "path outside": (
        lambda folder: change_manifest(folder, lambda m: m["shards"].update({"../x": {}})),
        "of format 2",
    ),
    "wrong shape": (
        lambda folder: change_manifest(
            folder, lambda m: m["shards"]["train-00000.safetensors"]["tensors"].update(inertial=[2, 12, 25])
        ),
        r"'inertial': \[2, 12, 25\]",
    ),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_spoilt_prepared_folder_is_refused_in_one_line(raw, tmp_path, spoil):
    out = tmp_path / "out"
    prepare(root=raw, out=out, workers=1)
    SPOILS[spoil][0](out)
    with pytest.raises(DataError, match=SPOILS[spoil][1]) as caught:
        load_folder(out, name="utd_mhad")
    assert "\n" not in str(caught.value)


def test_time_comes_first_and_upstream_sizes_are_read(tmp_path):
    savemat(tmp_path / "big.mat", {"d_depth": np.arange(240 * 320 * 3, dtype=np.uint16).reshape(240, 320, 3) % 4000})
    assert read_modality(tmp_path / "big.mat", "depth").shape == (3, 240, 320)
    with pytest.raises(BadFileError, match="expected a file, got a folder"):
        read_modality(tmp_path, "depth")


@pytest.fixture(scope="session")
def prepared(utd_mhad_root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("utd_mhad") / "prepared"
    summary = prepare(root=utd_mhad_root, out=out)
    assert (summary.total, summary.skipped, summary.absent) == (861, (), ())
    return out


def test_the_real_recordings_fill_every_class_of_every_split(prepared):
    data = registry.load("utd_mhad", dir=prepared)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 323, "val": 108, "test": 430}
    assert all(split.labels.bincount(minlength=27).min() >= 3 for split in data.splits.values())
    assert registry.check("utd_mhad", dir=prepared).problems == ()


def test_a_linear_read_out_of_the_real_recordings_is_far_above_chance(prepared):
    data = registry.load("utd_mhad", dir=prepared)
    one_hot = torch.eye(27)[data.splits["train"].labels]
    for name in data.modalities:
        train, val = (data.splits[split].inputs[name].flatten(1) for split in ("train", "val"))
        kernel = train @ train.T + 0.1 * train.shape[1] * torch.eye(len(train))
        predicted = (val @ train.T @ torch.linalg.solve(kernel, one_hot)).argmax(-1)
        assert (predicted == data.splits["val"].labels).float().mean() > 5 / 27
