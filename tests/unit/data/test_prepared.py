import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_source import Made, names_of, sample, say, write_raw

from rollingq.data import prepared
from rollingq.data.prepare.engine import prepare_source
from rollingq.data.prepared import load_folder
from rollingq.data.rows import MappedRows
from rollingq.data.shards import check_folder, read_manifest
from rollingq.errors import DataError

COUNTS = {"train": 11, "val": 2, "test": 7}


@pytest.fixture
def folder(tmp_path):
    prepare_source(Made(), root=write_raw(tmp_path / "raw", COUNTS), out=tmp_path / "out", workers=1)
    return tmp_path / "out"


@pytest.fixture
def large(monkeypatch):
    """Let every folder and every modality count as large."""
    monkeypatch.setattr(prepared, "VERIFIED", 0)
    monkeypatch.setattr(prepared, "IN_MEMORY", 0)


def wanted_inputs(split):
    """Return what the splits should hold, from the made numbers alone."""
    seeds = np.arange(sum(COUNTS.values()))
    ends = np.cumsum([0, *COUNTS.values()])
    made = [sample(seed) for seed in seeds]
    masks = np.stack([arrays.get("audio/mask", np.zeros(4, bool)) for arrays in made])
    audio = np.stack([arrays.get("audio", np.zeros((4, 3))) for arrays in made]).astype(np.float64)
    image = np.stack([arrays["image"] for arrays in made]).astype(np.float64)
    train, number = slice(0, COUNTS["train"]), list(COUNTS).index(split)
    real = audio[train][masks[train]]
    audio = np.where(masks[..., None], (audio - real.mean(0)) / real.std(0), 0)
    over = image[train]
    image = (image - over.mean((0, 2, 3))[:, None, None]) / over.std((0, 2, 3))[:, None, None]
    part = slice(ends[number], ends[number + 1])
    return audio[part], image[part], masks[part]


def assert_holds_what_was_made(data):
    for split, number in COUNTS.items():
        audio, image, mask = wanted_inputs(split)
        found = data.splits[split]
        assert len(found) == number
        np.testing.assert_allclose(found.inputs["audio"][:].numpy(), audio, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.inputs["image"][:].numpy(), image, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(found.masks["audio"].numpy(), mask, strict=True)
        assert list(found.masks) == ["audio"]
        assert found.labels.tolist() == [place % 3 for place in range(number)]
        assert found.names == names_of(split, COUNTS)
        assert found.inputs["audio"].shape == (number, 4, 3)


def test_samples_in_memory_are_the_normalised_ones(folder):
    data = load_folder(folder)
    assert all(isinstance(rows, torch.Tensor) for split in data.splits.values() for rows in split.inputs.values())
    assert_holds_what_was_made(data)
    assert (data.name, data.classes) == ("made", ("a", "b", "c"))
    assert data.shapes == {"audio": (4, 3), "image": (3, 4, 6)}


@pytest.mark.usefixtures("large")
def test_mapped_samples_are_the_same(folder):
    data = load_folder(folder)
    assert all(isinstance(rows, MappedRows) for split in data.splits.values() for rows in split.inputs.values())
    assert_holds_what_was_made(data)


def test_mapped_and_held_batches_are_equal_to_the_bit(folder, monkeypatch):
    held = load_folder(folder).splits["train"]
    monkeypatch.setattr(prepared, "IN_MEMORY", 0)
    mapped = load_folder(folder).splits["train"]
    for index in (torch.tensor([10, 0, 4, 3, 4]), torch.tensor([], dtype=torch.int64), slice(2, 9), slice(None)):
        one, other = held.batch(index), mapped.batch(index)
        assert torch.equal(one["audio"], other["audio"])
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])
        assert torch.equal(one["mask"]["audio"], other["mask"]["audio"])


@pytest.mark.parametrize("in_memory", [0, 2**28])
def test_a_split_without_samples_is_empty(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(prepared, "IN_MEMORY", in_memory)
    root = write_raw(tmp_path / "raw", {"train": 3, "val": 0, "test": 1})
    prepare_source(Made(), root=root, out=tmp_path / "out", workers=1)
    split = load_folder(tmp_path / "out").splits["val"]
    assert (len(split), split.names, split.labels.tolist()) == (0, [], [])
    assert split.inputs["image"][:].shape == split.inputs["image"].shape == (0, 3, 4, 6)
    assert split.masks["audio"].shape == (0, 4)
    assert split.batch(slice(None))["audio"].shape == (0, 4, 3)


def test_modalities_are_chosen_and_ordered(folder):
    data = load_folder(folder, modalities=["image", "audio"])
    assert list(data.modalities) == list(data.splits["val"].inputs) == ["image", "audio"]
    alone = load_folder(folder, modalities=["image"]).splits["train"]
    assert list(alone.inputs) == ["image"]
    assert alone.masks == {}


def test_an_unknown_modality_is_not_a_damaged_manifest(folder):
    with pytest.raises(DataError, match="'imge'") as caught:
        load_folder(folder, modalities=["imge"])
    assert "damaged" not in str(caught.value)


def test_another_dataset_is_refused(folder):
    with pytest.raises(DataError, match="to describe 'ucf101', but got 'made'"):
        load_folder(folder, name="ucf101")


def test_clips_left_out_shift_nothing(tmp_path):
    root = write_raw(tmp_path / "raw", COUNTS)
    say(root, train0004="bad", test0000="bad")
    prepare_source(Made(), root=root, out=tmp_path / "out", workers=1)
    train, test = (load_folder(tmp_path / "out").splits[split] for split in ("train", "test"))
    assert train.names[3:5] == ["train0003", "train0005"]
    assert train.labels.tolist() == [0, 1, 2, 0, 2, 0, 1, 2, 0, 1]
    assert (test.names[0], test.labels[0].item()) == ("test0001", 1)


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def grow(path):
    path.write_bytes(path.read_bytes() + b"\0")


def clear(path):
    path.write_bytes(b"")


DAMAGES = {"changed": flip, "short": cut, "long": grow, "empty": clear, "missing": os.unlink}


@pytest.mark.parametrize("file", ["train-00001.safetensors", "test-00000.safetensors", "samples.csv"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(folder, file, damage):
    DAMAGES[damage](folder / file)
    with pytest.raises(DataError, match=file) as caught:
        load_folder(folder)
    assert "\n" not in str(caught.value)
    assert len(check_folder(folder, "made").problems) == 1


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage != "changed"])
def test_a_large_folder_is_refused_if_a_file_has_another_size(folder, damage):
    DAMAGES[damage](folder / "train-00001.safetensors")
    with pytest.raises(DataError, match=r"train-00001\.safetensors") as caught:
        load_folder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("large")
def test_swapped_shards_of_a_large_folder_are_refused(folder):
    first, last = folder / "train-00000.safetensors", folder / "train-00002.safetensors"
    data = first.read_bytes()
    first.write_bytes(last.read_bytes())
    last.write_bytes(data)
    with pytest.raises(DataError, match=r"train-00000\.safetensors"):
        load_folder(folder)


def test_a_changed_byte_of_a_large_folder_is_found_by_check(folder, monkeypatch):
    monkeypatch.setattr(prepared, "VERIFIED", 0)
    flip(folder / "train-00001.safetensors")
    load_folder(folder)
    [problem] = check_folder(folder, "made").problems
    assert "train-00001.safetensors" in problem
    assert "sha-256" in problem


CHANGES = {
    "no statistics": lambda m: m["statistics"].pop("audio"),
    "statistics of text": lambda m: m["statistics"]["audio"].update(mean=["a", "b", "c"]),
    "statistics of a table": lambda m: m.update(statistics=[1]),
    "no modalities": lambda m: m.update(modalities=None),
    "a modality more": lambda m: m["modalities"].update(text=m["modalities"]["audio"]),
    "unknown field": lambda m: m["modalities"]["audio"].update(colour=1),
    "other shape": lambda m: m["modalities"]["image"].update(shape=[3, 4, 7]),
    "other mask": lambda m: m["modalities"]["image"].update(has_mask=True),
    "no bytes": lambda m: m["shards"]["val-00000.safetensors"].pop("bytes"),
    "no samples": lambda m: m.pop("samples"),
    "entry of another": lambda m: m["shards"].update({"val-00000.safetensors": m["shards"]["train-00000.safetensors"]}),
}


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_manifest_is_refused_in_one_line(folder, monkeypatch, change, size):
    if size == "large":
        monkeypatch.setattr(prepared, "VERIFIED", 0)
        monkeypatch.setattr(prepared, "IN_MEMORY", 0)
    manifest = json.loads((folder / "manifest.json").read_text())
    CHANGES[change](manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError) as caught:
        load_folder(folder)
    assert "\n" not in str(caught.value)


def test_another_dataset_can_give_the_statistics(folder, tmp_path):
    root = write_raw(tmp_path / "other" / "raw", {"train": 0, "val": 0, "test": 5})
    prepare_source(Made(needs_training=False), root=root, out=tmp_path / "other" / "out", workers=1)
    with pytest.raises(DataError, match="training split"):
        load_folder(tmp_path / "other" / "out")
    data = load_folder(folder)
    like = load_folder(tmp_path / "other" / "out", like=data)
    assert torch.equal(like.splits["test"].inputs["image"], data.splits["train"].inputs["image"][:5])


MAPPED = """
import sys
from pathlib import Path
import torch
from rollingq.data import prepared

def private():
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) * 1024

prepared.VERIFIED = prepared.IN_MEMORY = 0
prepared.load_folder(sys.argv[1]).splits["train"].inputs["image"].raw(torch.tensor([0]))
before = private()
rows = prepared.load_folder(sys.argv[1]).splits["train"].inputs["image"]
loaded = private()
numbers = [int(rows.raw(torch.tensor([at, 59 - at])).numpy().sum(dtype="int64")) for at in range(60)]
print(loaded - before, private() - loaded, sum(numbers))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_loading_maps_files_and_holds_one_batch(tmp_path):
    """60 samples of 1 MiB: neither loading nor reading all of them may hold more than a few."""
    side = 2**20 // 18
    root = write_raw(tmp_path / "raw", {"train": 60, "val": 0, "test": 0})
    prepare_source(Made(side=side), root=root, out=tmp_path / "out", workers=1)
    assert sum(shard["bytes"] for shard in read_manifest(tmp_path / "out")["shards"].values()) > 60 * 10**6
    run = subprocess.run(
        [sys.executable, "-c", MAPPED, str(tmp_path / "out")], capture_output=True, text=True, timeout=120, check=True
    )
    loading, reading, total = map(int, run.stdout.split())
    assert loading < 4 * 2**20
    assert reading < 16 * 2**20
    assert total == 2 * sum(int(sample(seed, side=side)["image"].sum(dtype=np.int64)) for seed in range(60))
