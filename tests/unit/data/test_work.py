import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_source import contents
from safetensors.numpy import load_file

from rollingq.data.prepare import shards
from rollingq.data.prepare.work import WorkFolder
from rollingq.errors import DataError

ARRAYS = {"label": np.arange(3), "audio": np.arange(12, dtype=np.float32).reshape(3, 4)}
RECORD = {
    "names": ["a", "b", "c"],
    "skipped": [],
    "moments": {"audio": {"count": 12.0, "mean": [5.5]}},
    "is_final": True,
}
MANIFEST = {"dataset": "made", "shards": {"train-00000.safetensors": {}}}


def keep(work, name="train-00000", key="key"):
    return work.keep(name, key, ARRAYS, RECORD)


def partial_of(out):
    return out.parent / f".{out.name}.partial"


def test_a_kept_shard_is_there_in_the_next_call(tmp_path):
    with WorkFolder(tmp_path / "out") as work:
        assert work.record("train-00000", "key") is None
        kept = keep(work)
    with WorkFolder(tmp_path / "out") as work:
        found = work.record("train-00000", "key")
        assert found == kept
        assert work.record("train-00000", "other key") is None
        assert work.record("train-00001", "key") is None
    assert found["names"] == RECORD["names"]
    assert found["moments"] == RECORD["moments"]
    assert found["shard"]["tensors"] == {"label": [3], "audio": [3, 4]}
    loaded = load_file(partial_of(tmp_path / "out") / "shards" / "train-00000.safetensors")
    np.testing.assert_array_equal(loaded["audio"], ARRAYS["audio"], strict=True)


def test_a_shard_without_samples_is_a_record_alone(tmp_path):
    empty = {
        "names": [],
        "skipped": [{"name": "a", "file": "a.wav", "reason": "noise"}],
        "moments": {},
        "is_final": True,
    }
    with WorkFolder(tmp_path / "out") as work:
        work.keep("val-00000", "key", {}, empty)
        assert work.record("val-00000", "key")["skipped"] == empty["skipped"]
    assert list(contents(partial_of(tmp_path / "out"))) == ["records/val-00000.json"]


def test_a_shard_to_try_again_is_not_done(tmp_path):
    with WorkFolder(tmp_path / "out") as work:
        work.keep("train-00000", "key", ARRAYS, {**RECORD, "is_final": False})
        assert work.record("train-00000", "key") is None


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


SPOILS = {
    "no shard": ("shards/train-00000.safetensors", os.unlink),
    "short shard": ("shards/train-00000.safetensors", cut),
    "flipped bit": ("shards/train-00000.safetensors", flip),
    "empty shard": ("shards/train-00000.safetensors", lambda path: path.write_bytes(b"")),
    "no record": ("records/train-00000.json", os.unlink),
    "short record": ("records/train-00000.json", cut),
    "empty record": ("records/train-00000.json", lambda path: path.write_bytes(b"")),
    "bytes": ("records/train-00000.json", lambda path: path.write_bytes(bytes(range(256)))),
    "list": ("records/train-00000.json", lambda path: path.write_text("[1, 2]")),
    "number": ("records/train-00000.json", lambda path: path.write_text("5")),
    "null": ("records/train-00000.json", lambda path: path.write_text("null")),
    "key alone": ("records/train-00000.json", lambda path: path.write_text('{"key": "key"}')),
    "names alone": ("records/train-00000.json", lambda path: path.write_text('{"key": "key", "names": []}')),
    "no entry": (
        "records/train-00000.json",
        lambda path: path.write_text('{"key": "key", "names": ["a"], "shard": null}'),
    ),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_half_of_a_shard_is_not_trusted(tmp_path, spoil):
    file, change = SPOILS[spoil]
    with WorkFolder(tmp_path / "out") as work:
        keep(work)
    change(partial_of(tmp_path / "out") / file)
    with WorkFolder(tmp_path / "out") as work:
        assert work.record("train-00000", "key") is None
        keep(work)
        assert work.record("train-00000", "key") is not None


@settings(max_examples=150)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_record_with_a_changed_byte_is_not_trusted(tmp_path_factory, place, bit):
    out = tmp_path_factory.mktemp("work") / "out"
    with WorkFolder(out) as work:
        kept = keep(work)
        path = partial_of(out) / "records" / "train-00000.json"
        data = bytearray(path.read_bytes())
        data[place % len(data)] ^= 1 << bit
        path.write_bytes(data)
        assert work.record("train-00000", "key") in (None, kept)


def test_what_was_half_written_is_not_in_the_finished_folder(tmp_path):
    with WorkFolder(tmp_path / "out") as work:
        keep(work)
        keep(work, "train-00001")
        (partial_of(tmp_path / "out") / "shards" / "train-00002.safetensors.tmp").write_text("half")
        work.finish(MANIFEST, {"samples.csv": b"shard,row\n"})
    assert sorted(contents(tmp_path / "out")) == ["manifest.json", "samples.csv", "train-00000.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == {"format": 2, **MANIFEST}


OTHER = """
import sys
from pathlib import Path
from rollingq.data.prepare.work import WorkFolder
from rollingq.errors import DataError
try:
    with WorkFolder(Path(sys.argv[1])):
        print("alone")
except DataError as error:
    print(error)
"""


def other_process(out):
    return subprocess.run(
        [sys.executable, "-c", OTHER, str(out)], capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


def test_two_at_once_are_refused_in_one_line(tmp_path):
    with WorkFolder(tmp_path / "out"):
        said = other_process(tmp_path / "out")
        assert said.startswith("Expected to be alone in preparing")
        assert "\n" not in said
        with pytest.raises(DataError, match="another process is at it"), WorkFolder(tmp_path / "out"):
            pass
        assert other_process(tmp_path / "out2") == "alone"
    assert other_process(tmp_path / "out") == "alone"


def test_the_lock_is_free_after_an_error_inside(tmp_path):
    with pytest.raises(KeyError), WorkFolder(tmp_path / "out"):
        raise KeyError
    assert other_process(tmp_path / "out") == "alone"


def test_the_lock_is_free_after_a_failed_start(tmp_path):
    partial_of(tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match=r"Not a directory|File exists") as caught, WorkFolder(tmp_path / "out"):
        pass
    partial_of(tmp_path / "out").unlink()
    with WorkFolder(tmp_path / "out") as work:
        keep(work)
    assert "\n" not in str(caught.value)  # And so the error, with all that it holds, lives until here.


def test_a_lock_file_that_a_kill_left_behind_does_not_matter(tmp_path):
    (tmp_path / ".out.lock").write_text("")
    with WorkFolder(tmp_path / "out") as work:
        keep(work)
        work.finish(MANIFEST, {})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_who_waited_on_the_file_of_a_released_lock_does_not_share_it(tmp_path, monkeypatch):
    """The one who opened the lock file before its release gets it after; a third one must then be refused."""
    second, third, path = WorkFolder(tmp_path / "out"), WorkFolder(tmp_path / "out"), tmp_path / ".out.lock"
    unlink = type(path).unlink

    def unlink_late(self, missing_ok=False):
        if self == path and not second._lock.is_locked:
            second.__enter__()
        unlink(self, missing_ok=missing_ok)

    first = WorkFolder(tmp_path / "out").__enter__()
    with monkeypatch.context() as patch:
        patch.setattr(type(path), "unlink", unlink_late)
        try:
            first.__exit__(None, None, None)
        except DataError:
            return  # The file was unlinked while it was locked: nobody could slip in.
    try:
        with pytest.raises(DataError, match="another process is at it"):
            third.__enter__()
    finally:
        second.__exit__(None, None, None)


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_leaves_no_half_shard(tmp_path, monkeypatch, call):
    with WorkFolder(tmp_path / "out") as work:
        with monkeypatch.context() as patch:
            patch.setattr(shards.os, call, full)
            with pytest.raises(DataError, match="No space left on device") as caught:
                keep(work)
        assert work.record("train-00000", "key") is None
        assert "\n" not in str(caught.value)
    assert not list(partial_of(tmp_path / "out").rglob("*.safetensors"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="Permission denied"), WorkFolder(tmp_path / "out"):
        pass
    tmp_path.chmod(0o700)


def test_a_failed_rename_brings_the_earlier_folder_back(tmp_path, monkeypatch):
    old = b'{"format": 1, "dataset": "made"}'
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_bytes(old)
    rename, path = type(tmp_path).rename, partial_of(tmp_path / "out") / "shards"

    def fail_once(self, target):
        return full() if self == path else rename(self, target)

    with WorkFolder(tmp_path / "out") as work:
        keep(work)
        with monkeypatch.context() as patch:
            patch.setattr(type(tmp_path), "rename", fail_once)
            with pytest.raises(DataError, match="No space left on device"):
                work.finish(MANIFEST, {})
        assert contents(tmp_path / "out") == {"manifest.json": old}
        assert work.record("train-00000", "key") is not None
        work.finish(MANIFEST, {})
    assert sorted(contents(tmp_path / "out")) == ["manifest.json", "train-00000.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_earlier_folder_comes_back_after_a_kill_between_the_renames(tmp_path):
    earlier = partial_of(tmp_path / "out") / "earlier"
    earlier.mkdir(parents=True)
    (earlier / "old").write_text("old")
    with WorkFolder(tmp_path / "out") as work:
        work.drop()
    assert contents(tmp_path / "out") == {"old": b"old"}
