import struct
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_clips import LEVELS, tone, write_video, write_wav

from rollingq.data.prepare.engine import prepare_source
from rollingq.data.prepare.readers import read_clip
from rollingq.data.prepare.source import BadFileError, Skipped
from rollingq.data.raw.images import check_image, read_image
from rollingq.data.raw.spectrogram import spectrogram
from rollingq.data.sources.custom import Custom, forms_of
from rollingq.data.sources.custom_files import fit, read_table
from rollingq.data.sources.custom_layout import is_inside, read_layout, sorted_labels
from rollingq.data.sources.splits import hash_order
from rollingq.errors import DataError

SMALL = {"size": 16, "seconds": 1.0}


def table(root: Path, text: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "samples.csv").write_text(text)
    return root


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8)


@pytest.fixture(scope="module")
def every_type(tmp_path_factory) -> Path:
    """Two samples with a file of every type."""
    root = tmp_path_factory.mktemp("every")
    for number in range(2):
        write_wav(root / f"{number}.wav", tone(1.0))
        write_video(root / f"{number}.mp4", 4)
        cv2.imwrite(str(root / f"{number}.png"), picture(number))
        np.save(root / f"{number}.npy", np.arange(12.0).reshape(4, 3) + number)
        (root / f"{number}.csv").write_text("x,y\n1,2\n3,4.5\n")
    columns = {"sound": "wav", "audio": "mp4", "visual": "mp4", "image": "png", "text": "npy", "sensor": "csv"}
    rows = [",".join([f"clip{n}", "train", f"{n}", *(f"{n}.{s}" for s in columns.values())]) for n in range(2)]
    return table(root, "\n".join([",".join(["name", "split", "label", *columns]), *rows]) + "\n")


def test_every_type_of_file_has_its_form(every_type):
    specs = Custom(**SMALL).plan(every_type).modalities
    assert {name: (spec.kind, spec.shape, spec.dtype, spec.statistics) for name, spec in specs.items()} == {
        "sound": ("spectrogram", (1, 257, 98), "float16", "all"),
        "audio": ("spectrogram", (1, 257, 98), "float16", "all"),
        "visual": ("frames", (3, 3, 16, 16), "uint8", "channel"),
        "image": ("image", (3, 16, 16), "uint8", "channel"),
        "text": ("tokens", (4, 3), "float32", "feature"),
        "sensor": ("tokens", (2, 2), "float32", "feature"),
    }
    assert {name for name, spec in specs.items() if spec.is_augmented} == {"visual", "image"}
    assert not any(spec.has_mask for spec in specs.values())


def test_every_type_of_file_is_read(every_type):
    source = Custom(**SMALL)
    clip = source.plan(every_type).clips[1]
    arrays = source.read(clip, every_type)
    np.testing.assert_allclose(arrays["sound"][0], spectrogram(tone(1.0), "paper", 1.0), atol=0.05)
    np.testing.assert_allclose(arrays["visual"].mean((1, 2, 3)), [LEVELS[n] for n in (0, 2, 3)], atol=6)
    np.testing.assert_array_equal(arrays["text"], np.arange(12.0).reshape(4, 3) + 1)
    np.testing.assert_array_equal(arrays["sensor"], [[1, 2], [3, 4.5]])
    exact = picture(1).astype(float)[..., ::-1].mean((0, 1))
    np.testing.assert_allclose(arrays["image"].mean((1, 2)), exact, atol=2)
    assert not np.array_equal(arrays["audio"], arrays["sound"])


@pytest.mark.parametrize("option", ["recipe", "seconds", "num_frames", "size", "length"])
def test_options_change_the_form_as_they_say(every_type, option):
    values = {"recipe": "code", "seconds": 2.0, "num_frames": 1, "size": 24, "length": 3}
    expected = {
        "recipe": ("sound", (1, 257, 63)),
        "seconds": ("sound", (1, 257, 199)),
        "num_frames": ("visual", (3, 16, 16)),
        "size": ("visual", (3, 3, 24, 24)),
        "length": ("text", (3, 3)),
    }
    source = Custom(**{**SMALL, option: values[option]})
    plan = source.plan(every_type)
    modality, shape = expected[option]
    assert plan.modalities[modality].shape == source.read(plan.clips[0], every_type)[modality].shape == shape
    if option == "length":
        assert plan.notes["files longer than length"] == {"text": 2}


def test_the_table_says_splits_labels_groups_and_times(tmp_path):
    write_video(tmp_path / "long.mp4", 9)
    text = "name,split,label,visual,group,start,end\n"
    text += "b,test,10,long.mp4,anna,4,7\na,train,9,./long.mp4,anna,0,\nc,val,9,long.mp4,,,\n"
    source = Custom(size=16)
    plan = source.plan(table(tmp_path, text))
    assert plan.classes == ("9", "10")
    assert [(c.name, c.split, c.label, c.group, c.start, c.end) for c in plan.clips] == [
        ("a", "train", 0, "anna", 0.0, 0.0),
        ("b", "test", 1, "anna", 4.0, 7.0),
        ("c", "val", 0, "", 0.0, 0.0),
    ]
    assert plan.notes["overlap"] == {"train-val": 0, "train-test": 1, "val-test": 0}
    frames = source.read(plan.clips[1], tmp_path)["visual"]
    np.testing.assert_allclose(frames.mean((1, 2, 3)), LEVELS[4:7], atol=6)


def test_without_splits_every_class_is_divided(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(3))
    rows = "".join(f"clip{n},{'cat' if n % 3 else 'dog'},x.npy\n" for n in range(90))
    plan = Custom().plan(table(tmp_path, "name,label,text\n" + rows))
    order = hash_order(f"clip{n}" for n in range(0, 90, 3))
    dogs = {clip.name: clip.split for clip in plan.clips if clip.label == plan.classes.index("dog")}
    assert dogs == {name: "test" if n < 3 else "val" if n < 6 else "train" for n, name in enumerate(order)}
    assert Counter(clip.split for clip in plan.clips) == {"train": 72, "val": 9, "test": 9}


def test_without_splits_groups_stay_whole(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(3))
    rows = "".join(f"clip{n},{n % 3},x.npy,person{n % 20}\n" for n in range(80))
    plan = Custom().plan(table(tmp_path, "name,label,text,group\n" + rows))
    assert sum(plan.notes["overlap"].values()) == 0
    assert {clip.split for clip in plan.clips} == {"train", "val", "test"}


def test_a_sample_without_a_modality_is_masked_and_a_listed_file_that_is_missing_is_named(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    (tmp_path / "y.csv").write_text("1\n2\n")
    text = "name,label,text,sensor\nboth,a,x.npy,y.csv\nhalf,a,x.npy,\nlost,b,x.npy,no.csv\ngone,b,no.npy,no.csv\n"
    source = Custom()
    plan = source.plan(table(tmp_path, text))
    assert {name: spec.has_mask for name, spec in plan.modalities.items()} == {"text": False, "sensor": True}
    assert (plan.absent, plan.notes["samples without it"], plan.classes) == (["gone"], {"sensor": 1}, ("a", "b"))
    read = {c.name: read_clip(c, source=source, root=tmp_path, modalities=dict(plan.modalities)) for c in plan.clips}
    assert set(read) == {"both", "half", "lost"}
    assert read["both"]["sensor/mask"].tolist() == [True, True]
    assert read["half"]["sensor/mask"].tolist() == [False, False]
    assert isinstance(read["lost"], Skipped)
    assert (read["lost"].file, read["lost"].reason) == ("no.csv", "the file is missing")


def test_unequal_lengths_are_padded_to_the_longest_file_of_the_width(tmp_path):
    for name, shape in (("a", (2, 3)), ("b", (5, 3)), ("c", (9, 4))):
        np.save(tmp_path / f"{name}.npy", np.ones(shape, np.float64))
    (tmp_path / "d.npy").write_bytes(b"\x93NUMPY broken")
    rows = "".join(f"{name},{name},{name}.npy\n" for name in "abcd")
    source = Custom()
    plan = source.plan(table(tmp_path, "name,label,text\n" + rows))
    assert (plan.modalities["text"].shape, plan.modalities["text"].has_mask) == ((5, 3), True)
    arrays = source.read(next(clip for clip in plan.clips if clip.name == "a"), tmp_path)
    assert arrays["text"].tolist() == [[1.0] * 3] * 2 + [[0.0] * 3] * 3
    assert arrays["text/mask"].tolist() == [True, True, False, False, False]
    for name, reason in (("c", "float32 tokens of shape anyx3 as in the first file, got .*anyx4"), ("d", r"\w")):
        with pytest.raises(BadFileError, match=reason) as caught:
            source.read(next(clip for clip in plan.clips if clip.name == name), tmp_path)
        assert (caught.value.file, "\n" in str(caught.value)) == (f"{name}.npy", False)


def test_the_form_is_found_in_a_process_that_did_not_plan(tmp_path):
    for name, length in (("a", 2), ("b", 6)):
        np.save(tmp_path / f"{name}.npy", np.ones((length, 3)))
    source = Custom()
    plan = source.plan(table(tmp_path, "name,label,text\na,0,a.npy\nb,1,b.npy\n"))
    forms_of.cache_clear()
    assert source.read(plan.clips[0], tmp_path)["text"].shape == (6, 3)
    np.save(tmp_path / "b.npy", np.ones((9, 3)))
    assert source.plan(tmp_path).modalities["text"].shape == (9, 3)


ARRAYS = {
    "one token": (np.ones(7, np.int32), ("tokens", (1, 7), "float32")),
    "image": (np.full((3, 8, 6), 7, np.uint8), ("image", (3, 8, 6), "uint8")),
    "real image": (np.full((3, 8, 6), 0.5), ("image", (3, 8, 6), "float32")),
    "spectrogram": (np.full((1, 8, 6), 0.5, np.float16), ("spectrogram", (1, 8, 6), "float32")),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_several_shapes(tmp_path, kind):
    array, form = ARRAYS[kind]
    np.save(tmp_path / "a.npy", array)
    source = Custom()
    plan = source.plan(table(tmp_path, "name,label,x\na,0,a.npy\n"))
    spec = plan.modalities["x"]
    assert (spec.kind, spec.shape, spec.dtype) == form
    read = source.read(plan.clips[0], tmp_path)["x"]
    assert (read.dtype, read.shape) == (spec.dtype, spec.shape)
    np.testing.assert_array_equal(read.reshape(array.shape), array)


BAD_ARRAYS = {
    "objects": np.array([{"a": 1}, None]),
    "no number": np.array([1.0, np.nan, np.inf, 0.0]).reshape(2, 2),
    "complex": np.ones((2, 2), complex),
    "text": np.array([["a", "b"]]),
    "no tokens": np.ones((0, 2)),
    "four axes": np.ones((2, 3, 4, 5)),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_other_arrays_are_refused(tmp_path, kind):
    np.save(tmp_path / "good.npy", np.ones((3, 2)))
    np.save(tmp_path / "bad.npy", BAD_ARRAYS[kind], allow_pickle=True)
    source = Custom()
    plan = source.plan(table(tmp_path, "name,label,x\na,0,bad.npy\nb,0,good.npy\n"))
    bad, good = plan.clips
    assert source.read(good, tmp_path)["x"].shape == (3, 2)
    with pytest.raises(BadFileError) as caught:
        source.read(bad, tmp_path)
    assert (caught.value.file, "\n" in str(caught.value)) == ("bad.npy", False)
    if kind == "no number":
        assert str(caught.value) == "2 of 4 numbers are NaN or infinite"
    only = table(tmp_path, "name,label,x\na,0,bad.npy\n")
    if kind in ("objects", "no tokens", "four axes"):
        with pytest.raises(DataError, match=r"sound files of x, but got none \(bad\.npy"):
            source.plan(only)


def test_tables_of_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeff"x","y"\r\n1, 2e1\r\n\r\n-3,0.5\r\n')
    np.testing.assert_array_equal(read_table(path), [[1, 20], [-3, 0.5]])
    path.write_text("5\n6\n")
    np.testing.assert_array_equal(read_table(path), [[5], [6]])
    bad = {"x,y\n": "at least one line", "1,2\n3\n": "got 1 in line 2", "1,2\n3,b\n": "other text in line 2"}
    for text, reason in {**bad, "1,b\n": "other text in line 1"}.items():
        path.write_text(text)
        with pytest.raises(BadFileError, match=reason):
            read_table(path)
    path.write_bytes(b"\xff\xfe1")
    with pytest.raises(BadFileError, match="got no text"):
        read_table(path)


def test_fit_cuts_and_pads():
    tokens = np.arange(6, dtype=np.float32).reshape(3, 2)
    cut, mask = fit(tokens, 2)
    assert (cut.tolist(), mask.tolist()) == ([[0, 1], [2, 3]], [True, True])


def test_images_are_rgb_and_cut_ones_are_named(tmp_path):
    image = np.zeros((20, 20, 3), np.uint8)
    image[..., 2] = 250
    for name in ("a.png", "a.jpg"):
        path = tmp_path / name
        cv2.imwrite(str(path), image)
        channels = read_image(path, height=8, width=8).mean((1, 2))
        np.testing.assert_allclose(channels, [250, 0, 0], atol=6)
        data = path.read_bytes()
        for share in (0.3, 0.6, 0.99):
            path.write_bytes(data[: int(len(data) * share)])
            with pytest.raises(BadFileError, match=r"expected a whole (PNG|JPEG) image, got one that is cut off"):
                read_image(path, height=8, width=8)
        path.write_bytes(data + b"\0\0")
        assert read_image(path, height=8, width=8).shape == (3, 8, 8)
    path.write_bytes(b"<html>")
    with pytest.raises(BadFileError, match="got other bytes"):
        read_image(path, height=8, width=8)


def test_an_end_marker_of_a_preview_does_not_hide_that_a_jpeg_is_cut():
    preview = b"\xff\xd8\xff\xe1..\xff\xda..\xff\xd9"
    with pytest.raises(BadFileError, match="damaged JPEG"):  # Whole as to its marks, and past the first look.
        check_image(preview + b"\xff\xda....\xff\xd9")
    with pytest.raises(BadFileError, match="cut off"):
        check_image(preview + b"\xff\xda....")


def test_a_changed_png_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(BadFileError, match="wrong checksum"):
        read_image(tmp_path / "a.png", height=8, width=8)
    chunk = b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 0) + chunk)
    with pytest.raises(BadFileError, match="cannot be decoded"):
        read_image(tmp_path / "a.png", height=8, width=8)


def test_folders_of_splits_and_classes(tmp_path):
    for split in ("train", "val", "test"):
        for label in ("dog", "cat"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            np.save(folder / "clip.1.text.npy", np.ones((2, 3)))
            write_wav(folder / "clip.1.audio.wav", tone(0.2))
    (tmp_path / "train/dog/clip2.audio.wav").write_bytes((tmp_path / "train/dog/clip.1.audio.wav").read_bytes())
    for file in ("train/dog/readme.txt", "train/dog/a.text.txt", "train/odd.text.npy", "train/dog/.hidden"):
        (tmp_path / file).touch()
    source = Custom(seconds=0.2)
    plan = source.plan(tmp_path)
    assert (len(plan.clips), plan.classes) == (7, ("cat", "dog"))
    first = plan.clips[0]
    assert (first.name, first.split, first.label) == ("test/cat/clip.1", "test", 0)
    assert first.files == {"audio": ("test/cat/clip.1.audio.wav",), "text": ("test/cat/clip.1.text.npy",)}
    assert plan.modalities["text"].has_mask
    assert not plan.modalities["audio"].has_mask
    assert {skip.file for skip in plan.skipped} == {
        "train/dog/readme.txt",
        "train/dog/a.text.txt",
        "train/odd.text.npy",
    }
    assert set(source.read(first, tmp_path)) == {"audio", "text", "text/mask"}
    np.save(tmp_path / "train/dog/clip2.audio.npy", np.ones(3))
    with pytest.raises(DataError, match=r"one file of each modality, but got train/dog/clip2\.audio\.npy and"):
        source.plan(tmp_path)


def test_silence_is_a_sample_here(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(16000))
    source = Custom(seconds=1.0)
    plan = source.plan(table(tmp_path, "name,label,audio\na,0,a.wav\n"))
    assert not source.read(plan.clips[0], tmp_path)["audio"].any()


HEAD = "name,split,label,audio,start,end\n"
BAD_TABLES = {
    "unknown split": (HEAD + "a,train,0,a.wav,,\nb,tain,0,a.wav,,\nc,,0,a.wav,,\n", "a split of train.*lines 3, 4"),
    "same name": (HEAD + "a,train,0,a.wav,,\na,val,0,a.wav,,\n", "every name once .* line 3"),
    "no name": (HEAD + ",train,0,a.wav,,\n", "a name and a label .* line 2"),
    "no label": (HEAD + "\na,train,,a.wav,,\n", "a name and a label .* line 3"),
    "many": (HEAD + "".join(f"{n},x,0,a.wav,,\n" for n in range(9)), "lines 2, 3, 4 and 6 more"),
    "parent": (HEAD + "a,train,0,b/../../a.wav,,\n", "paths below the root .* line 2"),
    "absolute": (HEAD + "a,train,0,/etc/a.wav,,\n", "paths below the root .* line 2"),
    "drive": (HEAD + "a,train,0,C:\\a.wav,,\n", "paths below the root .* line 2"),
    "no file": (HEAD + "a,train,0,,,\n", "a file of at least one modality .* line 2"),
    "type": (HEAD + "a,train,0,a.ogx,,\n", r"files of the types \.wav.* line 2"),
    "cells": (HEAD + "a,train,0,a.wav,,\nb,train,0,a.wav\n", "6 cells as in the header .* line 3"),
    "time": (HEAD + "a,train,0,a.wav,x,\n", "start and end in seconds.* line 2"),
    "backwards": (HEAD + "a,train,0,a.wav,3,2\n", "start and end in seconds.* line 2"),
    "negative": (HEAD + "a,train,0,a.wav,-1,2\n", "start and end in seconds.* line 2"),
    "no number": (HEAD + "a,train,0,a.wav,nan,2\n", "start and end in seconds.* line 2"),
    "no label column": ("name,audio\na,a.wav\n", "columns name, label and one .* but got name, audio in line 1"),
    "no modality": ("name,label\na,0\n", "columns name, label and one"),
    "double column": ("name,label,audio,audio\na,0,a.wav,a.wav\n", "each once"),
    "odd column": ("name,label,audio/mask\na,0,a.wav\n", "letters and digits"),
    "empty": ("", "but got an empty file"),
    "header alone": (HEAD, "but got the header alone"),
    "no text": ("name,label,audio\n\0", "NUL"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_mistakes_in_the_table_are_named_by_line(tmp_path, kind):
    text, message = BAD_TABLES[kind]
    with pytest.raises(DataError, match=message) as caught:
        Custom().plan(table(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("Expected ")


def test_a_modality_of_two_kinds_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    (tmp_path / "a.csv").write_text("1,2,3\n")
    with pytest.raises(DataError, match=r"files of text to be of one kind, but got a\.npy and a\.csv"):
        Custom().plan(table(tmp_path, "name,label,text\na,0,a.npy\nb,0,a.csv\n"))


def test_an_empty_root_says_what_is_expected(tmp_path):
    for folder in ("nowhere", "."):
        with pytest.raises(DataError, match=r"the table samples\.csv with the columns") as caught:
            Custom().plan(tmp_path / folder)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="but got no file of them"):
        Custom().plan(table(tmp_path, "name,label,text\na,0,a.npy\n"))


@pytest.mark.parametrize("options", [{"length": -1}, {"seconds": 0.0}, {"num_frames": 0}, {"recipe": "mel"}])
def test_options_are_checked(options):
    with pytest.raises(DataError, match=r"Expected .* but got"):
        Custom(**options)


def test_names_and_labels():
    assert sorted_labels(["b", "10", "9"]) == ("10", "9", "b")
    assert sorted_labels(["1.5", "-2", "10"]) == ("-2", "1.5", "10")
    assert [is_inside(file) for file in ("a..b/c.wav", "..", "a\\..\\b", "\\\\host\\a")] == [True, False, False, False]


def test_a_whole_folder_is_prepared_by_any_number_of_workers(every_type, tmp_path):
    text = (every_type / "samples.csv").read_text()
    root = tmp_path / "root"
    root.mkdir()
    for path in every_type.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    rest = "1.mp4,0.mp4,1.png,0.npy,\n"
    table(root, f"{text}clip2,test,1,0.wav,{rest}clip3,val,1,no.wav,{rest}clip4,val,0,1.wav,{rest}")
    one = prepare_source(Custom(**SMALL), root=root, out=tmp_path / "one", workers=1)
    two = prepare_source(Custom(**SMALL), root=root, out=tmp_path / "two", workers=2)
    assert (one.total, [skip.name for skip in one.skipped]) == (4, ["clip3"])
    assert one.skipped == two.skipped
    made = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert read_layout(root)[0][3].name == "clip3"
