import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_pickles import python2

from rollingq.data.prepare.engine import prepare_source
from rollingq.data.prepare.source import BadFileError, Clip
from rollingq.data.shards import read_manifest
from rollingq.data.sources.cmu_mosei import CLASSES, CMUMOSEI, label_of
from rollingq.errors import DataError

KEYS = {"text": "text", "audio": "audio", "visual": "vision"}
WIDTHS = {"text": 5, "audio": 4, "visual": 3}
SIZES = {"train": 6, "valid": 2, "test": 3}
Table = dict[str, dict[str, Any]]


def made(steps: dict[str, int], seed: int = 0, *, is_front_padded: bool = True) -> Table:
    """Return a made pickle's content: random features, padded with zeros before (or after) as the published ones."""
    rng = np.random.default_rng(seed)
    table: Table = {}
    for split, size in SIZES.items():
        arrays = {}
        for modality, key in KEYS.items():
            array = rng.normal(size=(size, steps[modality], WIDTHS[modality]))
            for number in range(size):
                padding = slice(0, 1 + number) if is_front_padded else slice(-1 - number, None)
                array[number, padding] = 0
            arrays[key] = array
        labels = rng.uniform(-3, 3, (size, 1, 1))
        ids = np.array([[f"video{split}{n // 2}".encode(), b"1.5", b"2.5"] for n in range(size)], object)
        table[split] = {**arrays, "labels": labels, "id": ids}
    return table


ALIGNED = {"text": 9, "audio": 9, "visual": 9}
UNALIGNED = {"text": 9, "audio": 14, "visual": 12}


def write(root: Path, table: object, name: str = "mosei_senti_data.pkl", protocol: int = 4) -> Path:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(pickle.dumps(table, protocol))
    return root


def clip_of(source: CMUMOSEI, root: Path, split: str, number: int) -> Clip:
    [clip] = [c for c in source.plan(root).clips if c.name.startswith(f"{split}_{number:05d}")]
    return clip


def has_numbers(step: np.ndarray) -> bool:
    return any(math.isfinite(value) and value != 0 for value in step.tolist())


def expected(entry: dict[str, np.ndarray], length: int, *, is_aligned: bool) -> dict[str, np.ndarray]:
    """Return what one entry has to become, number by number."""
    arrays = {}
    last_of_all = max(t for array in entry.values() for t, step in enumerate(array) if has_numbers(step))
    for modality, array in entry.items():
        leading = entry["text"] if is_aligned else array
        first = next(t for t, step in enumerate(leading) if has_numbers(step))
        last = last_of_all if is_aligned else max(t for t, step in enumerate(array) if has_numbers(step))
        out, mask = np.zeros((length, array.shape[1]), np.float32), np.zeros(length, bool)
        for at in range(length):
            if first + at > last:
                continue
            mask[at] = True
            for feature in range(array.shape[1]):
                value = array[first + at, feature]
                out[at, feature] = value if math.isfinite(value) else 0
        arrays[modality], arrays[f"{modality}/mask"] = out, mask
    return arrays


def entry_of(table: Table, split: str, number: int) -> dict[str, np.ndarray]:
    return {modality: table[split][key][number] for modality, key in KEYS.items()}


@pytest.mark.parametrize("length", [4, 7, 20])
@pytest.mark.parametrize("is_front_padded", [True, False])
@pytest.mark.parametrize("steps", [ALIGNED, UNALIGNED], ids=["aligned", "unaligned"])
def test_samples_are_trimmed_cut_and_padded_as_a_plain_loop_does(tmp_path, steps, is_front_padded, length):
    table = made(steps, is_front_padded=is_front_padded)
    table["train"]["audio"][2, 7, 1] = -np.inf
    table["train"]["audio"][3, 8, :] = -np.inf
    table["train"]["vision"][1, 6, 2] = np.nan
    table["test"]["text"][0, 5] = 0  # A word without a vector, in the middle.
    source = CMUMOSEI(length=length)
    root = write(tmp_path / "raw", table)
    plan = source.plan(root)
    assert len(plan.clips) == 11
    assert plan.notes["is_aligned"] == (steps is ALIGNED)
    for clip in plan.clips:
        split, number = clip.name.split("_")[:2]
        entry = entry_of(table, {"val": "valid"}.get(split, split), int(number))
        sample = source.read(clip, root)
        wanted = expected(entry, length, is_aligned=steps is ALIGNED)
        assert list(sample) == list(wanted)
        for name, array in wanted.items():
            assert sample[name].dtype == array.dtype
            np.testing.assert_array_equal(sample[name], array, err_msg=f"{clip.name} {name}")


def test_aligned_modalities_start_with_the_text_and_share_one_mask(tmp_path):
    table = made(ALIGNED)
    table["train"]["text"][0, :4] = 0
    table["train"]["vision"][0, 6:] = 0
    source = CMUMOSEI(length=6)
    root = write(tmp_path / "raw", table)
    sample = source.read(clip_of(source, root, "train", 0), root)
    for modality, key in KEYS.items():
        np.testing.assert_array_equal(sample[modality][:5], table["train"][key][0, 4:].astype(np.float32))
        assert sample[f"{modality}/mask"].tolist() == [True] * 5 + [False]


def test_an_unaligned_modality_that_is_all_zero_is_absent(tmp_path):
    table = made(UNALIGNED)
    table["train"]["audio"][0] = 0
    source = CMUMOSEI()
    root = write(tmp_path / "raw", table)
    sample = source.read(clip_of(source, root, "train", 0), root)
    assert not sample["audio/mask"].any()
    assert sample["visual/mask"].sum() == 11


def test_numbers_that_are_not_finite_become_zero_and_are_counted(tmp_path):
    table = made(ALIGNED)
    table["train"]["audio"][0, 5, :3] = -np.inf
    table["test"]["audio"][1, 5, 0] = np.nan
    table["valid"]["vision"][1, 5, 0] = np.inf
    table["valid"]["vision"][1, 5, 1] = 1e300  # Beyond single precision.
    plan = CMUMOSEI().plan(write(tmp_path / "raw", table))
    assert plan.notes["not_finite"] == {
        "text": {"numbers": 0, "entries": 0},
        "audio": {"numbers": 4, "entries": 2},
        "visual": {"numbers": 2, "entries": 1},
    }
    assert len(plan.clips) == 11


def test_what_is_not_finite_is_counted_again_when_planned_again(tmp_path):
    table = made(ALIGNED)
    table["train"]["audio"] = table["train"]["audio"].astype(np.float32)
    table["train"]["audio"][0, 5] = -np.inf
    root = write(tmp_path / "raw", table, protocol=5)
    counts = [CMUMOSEI().plan(root).notes["not_finite"]["audio"] for _ in range(2)]
    assert counts == [{"numbers": 4, "entries": 1}] * 2


def test_entries_without_text_are_dropped_and_named_and_the_others_keep_their_order_and_labels(tmp_path):
    table = made(ALIGNED)
    table["train"]["text"][1] = 0
    table["train"]["text"][4] = np.nan
    table["test"]["text"][2] = -0.0
    for split, size in SIZES.items():
        table[split]["labels"] = np.linspace(-3, 3, size).reshape(size, 1)
    plan = CMUMOSEI(labels="acc7").plan(write(tmp_path / "raw", table))
    assert [clip.name for clip in plan.clips] == [
        "train_00000_videotrain0_1.5_2.5",
        "train_00002_videotrain1_1.5_2.5",
        "train_00003_videotrain1_1.5_2.5",
        "train_00005_videotrain2_1.5_2.5",
        "val_00000_videovalid0_1.5_2.5",
        "val_00001_videovalid0_1.5_2.5",
        "test_00000_videotest0_1.5_2.5",
        "test_00001_videotest0_1.5_2.5",
    ]
    assert [clip.label for clip in plan.clips] == [0, 2, 4, 6, 0, 6, 0, 3]
    assert [clip.split for clip in plan.clips] == ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    assert plan.clips[1].group == "videotrain1"
    ids = ["videotrain0_1.5_2.5", "videotrain2_1.5_2.5"]
    assert plan.notes["without_text"] == {
        "train": {"count": 2, "numbers": [1, 4], "ids": ids},
        "val": {"count": 0, "numbers": [], "ids": []},
        "test": {"count": 1, "numbers": [2], "ids": ["videotest1_1.5_2.5"]},
    }
    assert plan.skipped == []


def test_what_length_cuts_is_counted(tmp_path):
    plan = CMUMOSEI(length=8).plan(write(tmp_path / "raw", made(UNALIGNED)))
    audio = sum(14 - (1 + number) > 8 for size in SIZES.values() for number in range(size))
    visual = sum(12 - (1 + number) > 8 for size in SIZES.values() for number in range(size))
    assert plan.notes["cut"] == {"text": 0, "audio": audio, "visual": visual}
    assert (audio, visual) == (10, 8)


def test_modalities_have_our_names_and_the_pickles_widths(tmp_path):
    plan = CMUMOSEI().plan(write(tmp_path / "raw", made(ALIGNED)))
    assert {name: spec.shape for name, spec in plan.modalities.items()} == {
        "text": (50, 5),
        "audio": (50, 4),
        "visual": (50, 3),
    }
    for spec in plan.modalities.values():
        assert (spec.kind, spec.dtype, spec.statistics, spec.has_mask) == ("tokens", "float32", "feature", True)


LABELS = {
    # Sentiment: classes by acc2, acc2_nonneg, acc3, acc7.
    -3.0: (0, 0, 0, 0),
    -2.6: (0, 0, 0, 0),
    -2.5: (0, 0, 0, 1),
    -1.5: (0, 0, 0, 1),
    -1.4: (0, 0, 0, 2),
    -0.6: (0, 0, 0, 2),
    np.nextafter(-0.5, -1): (0, 0, 0, 2),
    -0.5: (0, 0, 1, 3),
    -1e-9: (0, 0, 1, 3),
    0.0: (0, 1, 1, 3),
    1e-9: (1, 1, 1, 3),
    0.5: (1, 1, 1, 3),
    np.nextafter(0.5, 1): (1, 1, 2, 4),
    1 / 3: (1, 1, 1, 3),
    2 / 3: (1, 1, 2, 4),
    1.5: (1, 1, 2, 5),
    2.5: (1, 1, 2, 5),
    2.6: (1, 1, 2, 6),
    3.0: (1, 1, 2, 6),
    7.0: (1, 1, 2, 6),
    -7.0: (0, 0, 0, 0),
}


@pytest.mark.parametrize("sentiment", LABELS)
def test_each_rule_of_labels_at_its_boundaries(sentiment):
    assert tuple(label_of(sentiment, rule) for rule in ("acc2", "acc2_nonneg", "acc3", "acc7")) == LABELS[sentiment]
    assert label_of(sentiment, "acc7") == int(np.clip(np.round(sentiment), -3, 3)) + 3


def test_minus_zero_counts_as_zero_and_every_class_has_a_name():
    assert [label_of(-0.0, rule) for rule in CLASSES] == [0, 1, 1, 3]
    assert [len(names) for names in CLASSES.values()] == [2, 2, 3, 7]
    assert CMUMOSEI().classes == ("negative", "neutral", "positive")


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 1, 1)])
def test_labels_of_any_published_shape_and_type(tmp_path, shape):
    table = made(ALIGNED)
    for split in table.values():
        split["labels"] = np.arange(len(split["labels"])).astype(np.float32).reshape(shape)
    plan = CMUMOSEI(labels="acc7").plan(write(tmp_path / "raw", table))
    assert [clip.label for clip in plan.clips] == [3, 4, 5, 6, 6, 6, 3, 4, 3, 4, 5]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_entry_whose_label_is_no_number_is_skipped_and_named(tmp_path, value):
    table = made(ALIGNED)
    table["valid"]["labels"][1] = value
    plan = CMUMOSEI().plan(write(tmp_path / "raw", table))
    assert [clip.name[:9] for clip in plan.clips if clip.split == "val"] == ["val_00000"]
    [skip] = plan.skipped
    assert (skip.name, skip.file) == ("val_00001_videovalid0_1.5_2.5", "mosei_senti_data.pkl")
    assert skip.reason == f"expected a finite number as label, got {value}"


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_pickle_of_python_2_gives_the_same_samples(tmp_path, protocol):
    table = made(ALIGNED)
    new, old = write(tmp_path / "new", table), tmp_path / "old"
    old.mkdir()
    (old / "mosei_senti_data.pkl").write_bytes(python2(table, protocol))
    source = CMUMOSEI(length=6)
    assert source.plan(old) == source.plan(new)
    for clip in source.plan(new).clips:
        for name, array in source.read(clip, new).items():
            np.testing.assert_array_equal(source.read(clip, old)[name], array)


@pytest.mark.parametrize(
    ("ids", "name", "group"),
    [
        (["abc[0]", "abc[1]", "d?e f[2]"], "test_00002_d?e?f[2]", "d?e?f"),
        ([["abc", 1.5, 2.5]] * 3, "test_00002_abc_1.5_2.5", "abc"),
        (np.array(["a", "b", "c"]), "test_00002_c", "c"),
        (np.array([b"a", b"b", b"\xff"]), "test_00002_\ufffd", "\ufffd"),
        (np.arange(3), "test_00002_2", "2"),
        ([[], [], []], "test_00002", ""),
        (None, "test_00002", ""),
    ],
)
def test_ids_of_every_form_name_the_entries_and_their_videos(tmp_path, ids, name, group):
    table = made(ALIGNED)
    table["test"]["id"] = ids
    clip = CMUMOSEI().plan(write(tmp_path / "raw", table)).clips[-1]
    assert (clip.name, clip.group) == (name, group)


def test_videos_in_two_splits_are_counted(tmp_path):
    table = made(ALIGNED)
    table["test"]["id"][0, 0] = b"videotrain1"
    notes = CMUMOSEI().plan(write(tmp_path / "raw", table)).notes
    assert notes["overlap"] == {"train-val": 0, "train-test": 1, "val-test": 0}


@pytest.mark.parametrize("steps", [ALIGNED, UNALIGNED], ids=["aligned", "unaligned"])
def test_each_feature_is_standardised_over_the_real_steps_before_any_is_cut(tmp_path, steps):
    table = made(steps)
    table["train"]["audio"][1, 2:, 3] = 0.1  # Constant.
    source = CMUMOSEI(length=5, per_sample_norm=True)
    root = write(tmp_path / "raw", table)
    sample = source.read(clip_of(source, root, "train", 1), root)
    for modality, key in KEYS.items():
        real = table["train"][key][1, 2:].astype(np.float32).astype(np.float64)
        for feature in range(real.shape[1]):
            values = real[:, feature].tolist()
            mean = math.fsum(values) / len(values)
            spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
            wanted = [0.0] * 5 if spread < 1e-9 else [(value - mean) / spread for value in values[:5]]
            np.testing.assert_allclose(sample[modality][:, feature], wanted, rtol=1e-6, atol=1e-7)


def test_a_single_real_step_is_standardised_to_zero(tmp_path):
    table = made(ALIGNED)
    table["train"]["text"][0, :8] = 0
    source = CMUMOSEI(per_sample_norm=True)
    root = write(tmp_path / "raw", table)
    sample = source.read(clip_of(source, root, "train", 0), root)
    assert sample["text/mask"].sum() == 1
    assert not sample["text"].any()


def test_reading_leaves_the_loaded_pickle_as_it_is_and_loads_it_once(tmp_path, monkeypatch):
    root = write(tmp_path / "raw", made(ALIGNED))
    source = CMUMOSEI()
    clip = source.plan(root).clips[0]
    first = source.read(clip, root)
    monkeypatch.setattr("rollingq.data.sources.cmu_mosei_pickle.load_arrays", None)
    first["text"][:] = 7
    assert not (source.read(clip, root)["text"] == 7).any()


def test_a_pickle_of_the_same_size_that_changed_is_read_anew(tmp_path):
    table = made(ALIGNED)
    root = write(tmp_path / "raw", table)
    assert len(CMUMOSEI().plan(root).clips) == 11
    table["train"]["text"][0] = 0
    write(root, table)
    os.utime(root / "mosei_senti_data.pkl", ns=(1, 1))
    assert len(CMUMOSEI().plan(root).clips) == 10


def test_a_pickle_that_changed_is_read_anew_and_a_missing_entry_is_a_bad_file(tmp_path):
    table = made(ALIGNED)
    root = write(tmp_path / "raw", table)
    source = CMUMOSEI()
    last = source.plan(root).clips[-1]
    table["test"] = {key: array[:1] for key, array in table["test"].items()}
    write(root, table)
    os.utime(root / "mosei_senti_data.pkl", ns=(1, 1))
    with pytest.raises(BadFileError, match="the pickle changed"):
        source.read(last, root)
    (root / "mosei_senti_data.pkl").write_bytes(b"\x80")
    with pytest.raises(BadFileError, match="truncated or damaged"):
        source.read(last, root)
    (root / "mosei_senti_data.pkl").unlink()
    with pytest.raises(BadFileError, match="No such file") as caught:
        source.read(last, root)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("name", ["mosei_senti_data.pkl", "mosei_senti_data_noalign.pkl", "mosei_raw.pkl"])
def test_the_published_names_are_found_in_the_folder(tmp_path, name):
    plan = CMUMOSEI().plan(write(tmp_path / "raw", made(ALIGNED), name))
    assert plan.notes["pickle"] == name
    assert plan.clips[0].files == dict.fromkeys(("text", "audio", "visual"), (name,))


def test_root_may_be_the_pickle_and_file_chooses_one(tmp_path):
    root = write(tmp_path / "raw", made(ALIGNED), "mine.pkl")
    write(root, made(UNALIGNED))
    write(root, made(UNALIGNED), "mosei_raw.pkl")
    with pytest.raises(DataError, match=r"got mosei_senti_data.pkl and mosei_raw.pkl. Choose one with file"):
        CMUMOSEI().plan(root)
    chosen = CMUMOSEI(file="mine.pkl")
    assert chosen.plan(root).notes["is_aligned"]
    alone = CMUMOSEI().plan(root / "mine.pkl")
    assert alone.notes["pickle"] == "mine.pkl"
    sample = CMUMOSEI().read(alone.clips[0], root / "mine.pkl")
    np.testing.assert_array_equal(sample["text"], chosen.read(chosen.plan(root).clips[0], root)["text"])


def without(split: str, key: str) -> Table:
    table = made(ALIGNED)
    del table[split][key]
    return table


def changed(split: str, key: str, value: object) -> Table:
    table = made(ALIGNED)
    table[split][key] = value
    return table


BAD = {
    "no split": ({"train": {}, "test": {}}, "no valid in the pickle"),
    "no dict": ([1, 2], "the pickle as list, not as a dict"),
    "split of a list": ({**made(ALIGNED), "test": []}, "test as list, not as a dict"),
    "no vision": (without("train", "vision"), "no vision in train"),
    "no labels": (without("valid", "labels"), "no labels in valid"),
    "fewer of one": (changed("train", "audio", np.ones((5, 9, 4))), "train with 6 text, 5 audio, 6 vision, 6 labels"),
    "fewer labels": (changed("test", "labels", np.ones((2, 1, 1))), "3 vision, 2 labels, 3 id"),
    "fewer ids": (changed("test", "id", ["a"]), "3 labels, 1 id"),
    "flat features": (changed("train", "text", np.ones((6, 9))), r"train/text of shape \[6, 9\]"),
    "no features": (changed("train", "text", np.ones((6, 9, 0))), r"train/text of shape \[6, 9, 0\]"),
    "features of text": (changed("train", "text", np.full((6, 9, 5), "x")), "no array of numbers as train/text"),
    "features in a list": (changed("train", "text", [1.0] * 6), "no array of numbers as train/text"),
    "another width": (changed("test", "text", np.ones((3, 9, 6))), "text of 5 and 6 features in different splits"),
    "labels of text": (changed("train", "labels", np.full((6, 1), "good")), "no array of numbers as train/labels"),
    "labels in objects": (changed("train", "labels", np.full(6, None)), "no array of numbers as train/labels"),
    "seven labels": (changed("train", "labels", np.ones((6, 7))), r"train/labels of shape \[6, 7\]"),
    "one label for all": (changed("train", "labels", np.array(1.0)), r"train/labels of shape \[\]"),
    "ids of one text": (changed("train", "id", "abcdef"), "train/id as str, not as a list"),
    "ids of dicts": (changed("train", "id", [{}] * 6), "train/id with dict, not with texts and numbers"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_pickle_of_another_form_is_refused_in_one_line(tmp_path, bad):
    table, reason = BAD[bad]
    with pytest.raises(
        DataError, match=f"Expected mosei_senti_data.pkl to be CMU-MOSEI, but got: .*{reason}"
    ) as caught:
        CMUMOSEI().plan(write(tmp_path / "raw", table))
    assert "\n" not in str(caught.value)


DAMAGED = {
    "cut": (pickle.dumps(made(ALIGNED))[:-9], "truncated or damaged"),
    "no bytes": (b"", "empty"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
    "web page": (b"<html>Quota exceeded</html>", "got HTML or XML"),
    "command": (b"cos\nsystem\n(S'true'\ntR.", "refused os.system: only NumPy arrays are unpickled"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_pickle_is_a_data_error_with_the_reason(tmp_path, damage):
    data, reason = DAMAGED[damage]
    (tmp_path / "mosei_raw.pkl").write_bytes(data)
    with pytest.raises(DataError, match=f"got mosei_raw.pkl: .*{reason}") as caught:
        CMUMOSEI().plan(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["", "other.pkl"])
def test_a_root_without_pickle_says_what_to_give(tmp_path, file):
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match=file or "one of mosei_senti_data.pkl"):
            CMUMOSEI(file=file).plan(root)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"labels": "acc5"}, "Expected labels to be one of acc2, acc2_nonneg, acc3, acc7, but got 'acc5'"),
        ({"length": 0}, "Expected length to be at least 1, but got 0"),
        ({"file": "/data/mosei.pkl"}, "below --root"),
        ({"file": "../mosei.pkl"}, "below --root"),
    ],
)
def test_options_are_checked(options, text):
    with pytest.raises(DataError, match=text):
        CMUMOSEI(**options)


def test_the_engine_writes_all_splits_and_the_notes(tmp_path):
    table = made(UNALIGNED)
    table["train"]["text"][1] = 0
    table["train"]["audio"][0] = 0
    table["test"]["labels"][0] = np.nan
    summary = prepare_source(CMUMOSEI(length=6), root=write(tmp_path / "raw", table), out=tmp_path / "out", workers=2)
    assert {split: sum(counts.values()) for split, counts in summary.counts.items()} == {
        "train": 5,
        "val": 2,
        "test": 2,
    }
    assert [skip.name for skip in summary.skipped] == ["test_00000_videotest0_1.5_2.5"]
    manifest = read_manifest(tmp_path / "out", "cmu_mosei")
    assert manifest["recipe"] == {"file": "", "labels": "acc3", "length": 6, "per_sample_norm": False}
    assert manifest["notes"]["without_text"]["train"]["numbers"] == [1]
