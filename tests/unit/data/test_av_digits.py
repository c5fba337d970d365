import builtins
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rollingq.data import av_digits
from rollingq.data.shards import read_manifest, read_shard
from rollingq.errors import DataError, MissingExtraError

SCRIPT = Path(__file__).parents[3] / "scripts" / "make_av_digits.py"


@pytest.fixture(scope="module")
def data():
    return av_digits.load()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(av_digits.FOLDER, tmp_path / "av_digits"))


def test_forms_and_counts(data):
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 1024, "val": 350, "test": 500}
    assert data.shapes == {
        "audio": (12, 80),
        "image": (16, 4),
    }
    for split in data.splits.values():
        for name, spec in data.modalities.items():
            assert split.inputs[name].shape == (len(split), *spec.shape)
            assert split.inputs[name].dtype == torch.float32
            assert split.inputs[name].isfinite().all()
        assert len(split.names) == len(set(split.names)) == len(split)
        assert split.labels.dtype == torch.int64
        assert split.labels.bincount(minlength=10).min() > 20


def test_normalised_by_training_data_alone(data):
    for tensor in data.splits["train"].inputs.values():
        torch.testing.assert_close(tensor.mean((0, 1)), torch.zeros(tensor.shape[2]), atol=1e-4, rtol=0)
        torch.testing.assert_close(tensor.std((0, 1), correction=0), torch.ones(tensor.shape[2]), atol=1e-4, rtol=0)
    assert data.splits["val"].inputs["audio"].mean().abs() > 1e-4


def test_images_and_voices_are_disjoint_between_splits():
    manifest = read_manifest(av_digits.FOLDER, "av_digits")
    shards = {split: read_shard(av_digits.FOLDER, manifest, f"{split}.safetensors") for split in av_digits.SPLITS}
    images = [set(shard["image"].tolist()) for shard in shards.values()]
    voices = [{manifest["recipe"]["voices"][split][i] for i in shard["voice"]} for split, shard in shards.items()]
    for groups in (images, voices):
        assert len(set.union(*groups)) == sum(map(len, groups))
    assert len(set.union(*images)) == 1797


def test_labels_are_those_of_the_images():
    from sklearn.datasets import load_digits

    targets = load_digits().target
    manifest = read_manifest(av_digits.FOLDER, "av_digits")
    for split in av_digits.SPLITS:
        shard = read_shard(av_digits.FOLDER, manifest, f"{split}.safetensors")
        assert (targets[shard["image"]] == shard["label"]).all()


def test_loading_twice_gives_the_same_numbers(data):
    again = av_digits.load()
    for split in av_digits.SPLITS:
        for name in data.modalities:
            assert torch.equal(data.splits[split].inputs[name], again.splits[split].inputs[name])


def test_the_package_holds_at_most_3_megabytes():
    assert sum(path.stat().st_size for path in av_digits.FOLDER.iterdir()) <= 3_000_000


def test_one_changed_bit_is_found_and_the_file_named(copy):
    path = copy / "test.safetensors"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(DataError, match=r"test\.safetensors to have sha-256"):
        av_digits.load(dir=copy)


def test_a_missing_shard_is_named(copy):
    (copy / "val.safetensors").unlink()
    with pytest.raises(DataError, match=r"Expected the shard .*val\.safetensors"):
        av_digits.load(dir=copy)


def test_other_images_are_refused(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "image_sha256": "0"}))
    with pytest.raises(DataError, match="1797 images"):
        av_digits.load(dir=copy)
    assert av_digits.load(dir=copy, modalities=["audio"]).splits["val"].inputs.keys() == {"audio"}


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtraError, match=r"rollingq\[lab\]"):
        av_digits.load()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the program espeak-ng")
def test_the_script_speaks_the_committed_numbers():
    spec = importlib.util.spec_from_file_location("make_av_digits", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    manifest = read_manifest(av_digits.FOLDER, "av_digits")
    if script.describe(script.Recipe(), {}, np.zeros(1))["versions"]["espeak-ng"] != manifest["versions"]["espeak-ng"]:
        pytest.skip("needs the espeak-ng that made the data")
    shard = read_shard(av_digits.FOLDER, manifest, "val.safetensors")
    targets = np.zeros(1797, np.int64)
    targets[shard["image"]] = shard["label"]
    made = script.make_split(script.Recipe(), "val", shard["image"].astype(np.int64), targets)
    for name, array in shard.items():
        # Another processor may round a level differently.
        assert np.abs(made[name].astype(int) - array).max() <= (name == "audio"), name
