import numpy as np
import pytest
from made_source import Made, sample, write_raw

from rollingq.data import prepared
from rollingq.data.prepare.engine import prepare_source
from rollingq.data.prepared import load_folder
from rollingq.data.view import view_sample
from rollingq.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("view")
    prepare_source(Made(), root=write_raw(base / "raw", {"train": 9, "val": 2, "test": 6}), out=base / "out", workers=1)
    return base / "out"


@pytest.mark.parametrize(("split", "index", "seed"), [("train", 7, 7), ("test", 0, 11), ("test", 5, 16)])
def test_a_large_sample_is_shown_as_it_is_stored(folder, monkeypatch, split, index, seed):
    monkeypatch.setattr(prepared, "IN_MEMORY", 0)
    view = view_sample(load_folder(folder), split, index)
    made = sample(seed)
    assert (view.dataset, view.split, view.index, view.name) == ("made", split, index, f"{split}{index:04d}")
    assert view.label == "abc"[index % 3]
    image, audio = view.panels["image"], view.panels["audio"]
    np.testing.assert_array_equal(image.array, made["image"], strict=True)
    assert (image.kind, image.mask, audio.kind) == ("image", None, "tokens")
    np.testing.assert_array_equal(audio.array, made["audio"], strict=True)
    np.testing.assert_array_equal(audio.mask, made["audio/mask"], strict=True)


def test_a_small_sample_is_shown_normalised(folder):
    data = load_folder(folder)
    view = view_sample(data, "test", 1)
    np.testing.assert_array_equal(view.panels["image"].array, data.splits["test"].inputs["image"][1].numpy())


@pytest.mark.parametrize("index", [-1, 6])
def test_a_sample_that_is_not_there_is_refused(folder, index):
    with pytest.raises(DataError, match=f"test of made.*got {index}"):
        view_sample(load_folder(folder), "test", index)


def test_a_split_that_is_not_there_is_refused(folder):
    with pytest.raises(DataError, match="train, val, test, but got 'dev'"):
        view_sample(load_folder(folder), "dev", 0)
