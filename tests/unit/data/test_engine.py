import csv
import dataclasses
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_source import COUNTS, DIED, Made, contents, names_of, reads, sample, say, write_raw
from safetensors.numpy import load_file

from rollingq.data.prepare import engine, shards
from rollingq.data.prepare.engine import prepare_source
from rollingq.data.prepare.source import Skipped
from rollingq.data.prepare.work import WorkFolder
from rollingq.data.shards import check_folder, read_manifest, sha256_of
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError

NUM_SHARDS = 5 + 1 + 3
"""Of 20, 3 and 9 clips, 4 a shard."""


@pytest.fixture
def raw(tmp_path):
    return write_raw(tmp_path / "raw")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def prepare(raw, tmp_path, log):
    """The engine on the made files, in this process, with a log of what was read."""
    return partial(prepare_source, Made(log=str(log)), root=raw, out=tmp_path / "out", workers=1)


@pytest.fixture
def wanted(raw, tmp_path):
    """What a call that nothing interrupts writes."""
    prepare_source(Made(), root=raw, out=tmp_path / "other" / "out", workers=1)
    return contents(tmp_path / "other" / "out")


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith((".", out.name)))


def expect_refusal(text: str, call, **options) -> DataError:
    with pytest.raises(DataError, match=text) as caught:
        call(**options)
    assert "\n" not in str(caught.value)
    return caught.value


# What is written


def test_shards_hold_the_samples_in_their_order(prepare, tmp_path):
    summary = prepare()
    seed = 0
    for split, number in COUNTS.items():
        files = sorted((tmp_path / "out").glob(f"{split}-*.safetensors"))
        shards = [load_file(file) for file in files]
        assert [len(shard["label"]) for shard in shards] == [4] * (number // 4) + [number % 4] * (number % 4 > 0)
        for place in range(number):
            found = {key: array[place % 4] for key, array in shards[place // 4].items()}
            made = sample(seed)
            np.testing.assert_array_equal(found["image"], made["image"], strict=True)
            np.testing.assert_array_equal(found["audio"], made.get("audio", np.zeros((4, 3), np.float32)), strict=True)
            np.testing.assert_array_equal(found["audio/mask"], made.get("audio/mask", np.zeros(4, bool)), strict=True)
            assert (found["label"], found["label"].dtype) == (place % 3, np.int64)
            seed += 1
    assert (summary.total, summary.num_kept, summary.skipped, summary.absent) == (32, 0, (), ("lost",))
    assert summary.counts["train"] == {"a": 7, "b": 7, "c": 6}


def test_the_manifest_says_everything(prepare, raw, tmp_path):
    say(raw, train0002="bad file", test0000="nan")
    prepare()
    manifest = read_manifest(tmp_path / "out", "made")
    assert manifest["recipe"] == {"scale": 1, "side": 4}
    assert manifest["classes"] == ["a", "b", "c"]
    assert ModalitySpec.from_json(manifest["modalities"]["audio"]) == Made().plan(raw).modalities["audio"]
    assert manifest["splits"]["train"] == {"count": 19, "per_class": {"a": 7, "b": 7, "c": 5}}
    assert manifest["splits"]["test"]["count"] == 8
    assert manifest["absent"] == ["lost"]
    assert manifest["notes"] == {"files": 32}
    assert manifest["lacking"] == {"train": {"audio": 7}, "val": {"audio": 1}, "test": {"audio": 3}}
    assert manifest["skipped"] == [
        {"name": "train0002", "file": "other/file.mp4", "reason": "expected a moov box"},
        {"name": "test0000", "file": "test0000.txt", "reason": "12 numbers of audio are NaN or infinite"},
    ]
    assert len(manifest["shards"]) == NUM_SHARDS
    for file, entry in manifest["shards"].items():
        data = (tmp_path / "out" / file).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (sha256_of(data), len(data))
        assert entry["tensors"] == {key: list(a.shape) for key, a in load_file(tmp_path / "out" / file).items()}
    assert {"numpy", "rollingq", "safetensors"} <= manifest["versions"].keys()
    assert str(tmp_path) not in json.dumps(manifest)
    assert check_folder(tmp_path / "out", "made").problems == ()


def test_statistics_are_those_of_the_real_training_numbers(prepare, raw, tmp_path):
    say(raw, train0001="bad")
    prepare()
    made = [sample(seed) for seed in range(COUNTS["train"]) if seed != 1]
    audio = np.concatenate([arrays["audio"][arrays["audio/mask"]] for arrays in made if "audio" in arrays], 0)
    image = np.stack([arrays["image"] for arrays in made]).astype(np.float64)
    found = read_manifest(tmp_path / "out")["statistics"]
    np.testing.assert_allclose(found["audio"]["mean"], audio.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(found["audio"]["std"], audio.astype(np.float64).std(0), rtol=1e-12)
    np.testing.assert_allclose(found["image"]["mean"], image.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found["image"]["std"], image.std((0, 2, 3)), rtol=1e-12)


def test_the_table_of_samples_names_every_row(prepare, raw, tmp_path):
    say(raw, train0002="bad", val0000="bad", val0001="bad")
    prepare()
    text = (tmp_path / "out" / "samples.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    sound = [name for split in COUNTS for name in names_of(split)]
    sound = [name for name in sound if name not in ("train0002", "val0000", "val0001")]
    assert [row["name"] for row in rows] == sound
    assert [row["shard"] for row in rows[:4]] == ["train-00000"] * 3 + ["train-00001"]
    assert [row["row"] for row in rows[:4]] == ["0", "1", "2", "0"]
    assert rows[2] == {"shard": "train-00000", "row": "2", "name": "train0003", "class": "a", "group": "g3"}


def test_a_shard_without_sound_clips_is_no_file(prepare, raw, tmp_path):
    say(raw, **dict.fromkeys(names_of("train")[4:8], "bad"))
    prepare()
    assert "train-00001.safetensors" not in contents(tmp_path / "out")
    assert len(read_manifest(tmp_path / "out")["shards"]) == NUM_SHARDS - 1
    assert check_folder(tmp_path / "out", "made").problems == ()


@dataclass(frozen=True)
class Planned(Made):
    """A source whose plan a test decides."""

    change: object = dataclasses.field(default=None, metadata={"is_place": True})

    def plan(self, root):
        return self.change(super().plan(root))


@pytest.mark.parametrize("name", ["a,b", 'a "b"', "a\nb", "a\rb", "a\u2028b", "a\x85b", "\udcff\udcfe", "été", " "])
def test_any_file_name_is_kept_as_it_is(prepare, raw, tmp_path, name):
    from rollingq.data.prepared import load_folder

    def change(plan):
        clips = [dataclasses.replace(c, name=name if c.name == "train0001" else c.name) for c in plan.clips]
        return dataclasses.replace(plan, clips=clips)

    summary = prepare_source(Planned(change=change), root=raw, out=tmp_path / "out", workers=1)
    assert summary.total == 32
    names = load_folder(tmp_path / "out").splits["train"].names
    assert names == ["train0000", name, *names_of("train")[2:]]


# The same bytes


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_writes_the_same_bytes(prepare, raw, tmp_path, workers):
    say(raw, train0005="bad", test0003="io")
    prepare(out=tmp_path / "one")
    prepare(out=tmp_path / "many", workers=workers)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert beside(tmp_path / "many") == ["many"]


def test_dying_readers_leave_only_their_clips_out(prepare, raw, tmp_path):
    say(raw, train0005="exit", test0008="segv")
    summary = prepare(workers=2)
    assert [(skip.name, skip.reason) for skip in summary.skipped] == [("train0005", DIED), ("test0008", DIED)]
    assert summary.total == 30
    say(raw, train0005="bad", test0008="bad")
    prepare(out=tmp_path / "sound")
    differing = {
        name for name, data in contents(tmp_path / "sound").items() if (tmp_path / "out" / name).read_bytes() != data
    }
    assert differing == {"manifest.json"}


def interrupt(monkeypatch, attribute, at, error):
    """Let the ``at``-th call of a method of the work folder raise, before or after it did its work."""
    original, calls = getattr(WorkFolder, attribute), []

    def raising(self, *args):
        calls.append(args)
        if len(calls) == abs(at):
            if at < 0:
                original(self, *args)
            raise error
        return original(self, *args)

    monkeypatch.setattr(WorkFolder, attribute, raising)


@pytest.mark.parametrize("at", [*range(1, NUM_SHARDS + 1), -1, -4, -NUM_SHARDS])
def test_an_interruption_at_any_shard_costs_that_shard_alone(prepare, wanted, tmp_path, log, monkeypatch, at):
    with monkeypatch.context() as patch:
        interrupt(patch, "keep", at, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            prepare()
    assert beside(tmp_path / "out") == [".out.partial"]
    done = abs(at) - (at > 0)
    kept = sum([4, 4, 4, 4, 4, 3, 4, 4, 1][:done])
    log.unlink()
    progress = []
    summary = prepare(on_progress=lambda *pair: progress.append(pair))
    names = [name for split in COUNTS for name in names_of(split)]
    assert reads(log) == names[kept:]
    assert summary.num_kept == kept
    assert progress == [(number, 32) for number in range(kept + 1, 33)]
    assert contents(tmp_path / "out") == wanted
    assert beside(tmp_path / "out") == ["out"]


def test_interruptions_again_and_again_come_to_an_end(prepare, wanted, tmp_path, log, monkeypatch):
    for _ in range(NUM_SHARDS):
        with monkeypatch.context() as patch:
            interrupt(patch, "keep", -1, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                prepare()
    prepare(workers=2)
    assert sorted(reads(log)) == sorted(name for split in COUNTS for name in names_of(split))
    assert contents(tmp_path / "out") == wanted


def test_an_interruption_at_the_end_reads_nothing_again(prepare, wanted, tmp_path, log, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, "finish", 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            prepare()
    log.unlink()
    assert prepare().num_kept == 32
    assert reads(log) == []
    assert contents(tmp_path / "out") == wanted


def interrupted(prepare, monkeypatch, at=-NUM_SHARDS):
    with monkeypatch.context() as patch:
        interrupt(patch, "keep", at, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            prepare()


CHANGES = {
    "size": lambda path: path.write_text("00007"),
    "time": lambda path: os.utime(path, (1, 1)),
    "permissions": lambda path: path.chmod(0o640),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_raw_file_redoes_its_shard_alone(prepare, raw, log, tmp_path, monkeypatch, change):
    interrupted(prepare, monkeypatch)
    log.unlink()
    CHANGES[change](raw / "train0006.txt")
    assert prepare().num_kept == 28
    assert reads(log) == names_of("train")[4:8]
    prepare_source(Made(), root=raw, out=tmp_path / "fresh", workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_deleted_or_a_new_raw_file_is_noticed(prepare, raw, tmp_path, monkeypatch):
    interrupted(prepare, monkeypatch)
    (raw / "train0000.txt").unlink()
    (raw / "val0009.txt").write_text("77")
    prepare()
    prepare_source(Made(), root=raw, out=tmp_path / "fresh", workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert "val0009" in (tmp_path / "out" / "samples.csv").read_text()


def test_another_option_redoes_everything(prepare, raw, log, tmp_path, monkeypatch):
    interrupted(prepare, monkeypatch)
    log.unlink()
    summary = prepare_source(Made(log=str(log), scale=2), root=raw, out=tmp_path / "out", workers=1)
    assert (summary.num_kept, len(reads(log))) == (0, 32)
    prepare_source(Made(scale=2), root=raw, out=tmp_path / "fresh", workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_where_files_lie_is_no_option(prepare, raw, tmp_path, monkeypatch):
    interrupted(prepare, monkeypatch)
    assert prepare_source(Made(log=str(tmp_path / "b")), root=raw, out=tmp_path / "out", workers=1).num_kept == 32


@pytest.mark.parametrize("what", ["versions", "classes"])
def test_other_versions_or_classes_redo_everything(prepare, raw, tmp_path, monkeypatch, what):
    interrupted(prepare, monkeypatch)
    source = Made()
    if what == "versions":
        monkeypatch.setattr(engine, "versions_of_packages", lambda: {"numpy": "0.1"})
    else:
        source = Planned(change=lambda plan: dataclasses.replace(plan, classes=("x", "y", "z")))
    assert prepare_source(source, root=raw, out=tmp_path / "out", workers=1).num_kept == 0


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


SPOILS = {
    "truncated": ("shards/train-00001.safetensors", cut),
    "flipped byte": ("shards/train-00001.safetensors", flip),
    "record without shard": ("shards/train-00001.safetensors", os.unlink),
    "shard without record": ("records/train-00001.json", os.unlink),
    "half a record": ("records/train-00001.json", cut),
    "garbage record": ("records/train-00001.json", lambda path: path.write_bytes(b"\x00\xff{")),
    "other record": (
        "records/train-00001.json",
        lambda path: path.write_bytes((path.parent / "train-00002.json").read_bytes()),
    ),
    "other shard": (
        "shards/train-00001.safetensors",
        lambda path: path.write_bytes((path.parent / "train-00002.safetensors").read_bytes()),
    ),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_half_written_shard_is_written_again(prepare, wanted, log, tmp_path, monkeypatch, spoil):
    interrupted(prepare, monkeypatch)
    file, change = SPOILS[spoil]
    change(tmp_path / ".out.partial" / file)
    log.unlink()
    assert prepare().num_kept == 28
    assert reads(log) == names_of("train")[4:8]
    assert contents(tmp_path / "out") == wanted


def test_left_over_files_are_not_in_the_folder(prepare, wanted, tmp_path, monkeypatch):
    interrupted(prepare, monkeypatch)
    for name in ("train-00000.safetensors.tmp", "train-00099.safetensors", "samples.csv", "manifest.json"):
        (tmp_path / ".out.partial" / "shards" / name).write_text("old")
    prepare()
    assert contents(tmp_path / "out") == wanted


# A full disk


def fail_at(monkeypatch, at):
    """Let the ``at``-th flush to the disk fail."""
    calls, fsync = [], os.fsync

    def failing(file):
        calls.append(file)
        if len(calls) >= at:
            raise OSError(28, "No space left on device")
        fsync(file)

    monkeypatch.setattr(shards.os, "fsync", failing)


@pytest.mark.parametrize("at", [1, 2, 7, 18, 19, 20])
def test_a_full_disk_is_one_line_and_the_next_call_goes_on(prepare, wanted, tmp_path, monkeypatch, at):
    with monkeypatch.context() as patch:
        fail_at(patch, at)
        error = expect_refusal("No space left on device", prepare)
    assert str(tmp_path / "out") in str(error)
    assert not (tmp_path / "out").exists()
    summary = prepare()
    assert summary.num_kept == sum([4, 4, 4, 4, 4, 3, 4, 4, 1][: (at - 1) // 2])
    assert contents(tmp_path / "out") == wanted
    assert beside(tmp_path / "out") == ["out"]


def test_a_disk_that_is_full_at_once_is_one_line(prepare, tmp_path):
    code = (
        "import resource, signal, sys; from pathlib import Path; from made_source import Made;"
        "from rollingq.data.prepare.engine import prepare_source;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600));"
        "prepare_source(Made(), root=Path(sys.argv[1]), out=Path(sys.argv[2]), workers=1)"
    )
    found = run_python(code, str(tmp_path / "raw"), str(tmp_path / "out"))
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith("rollingq.errors.DataError: Expected to write")
    assert "File too large" in found.stderr.splitlines()[-1]


def run_python(code, *args):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=120, env=env)


# Damaged clips


def test_report_and_skip_write_the_sound_clips(prepare, raw, tmp_path):
    say(raw, train0001="bad")
    prepare(out=tmp_path / "report", on_error="report")
    summary = prepare(out=tmp_path / "skip", on_error="skip")
    assert summary.skipped == (Skipped("train0001", "train0001.txt", "expected sound, got noise"),)
    assert contents(tmp_path / "report") == contents(tmp_path / "skip")


def test_raise_makes_no_folder_and_keeps_what_is_sound(prepare, raw, wanted, log, tmp_path):
    say(raw, train0001="bad", test0002="nan")
    error = expect_refusal("Expected 32 sound clips, but got 2 damaged", prepare, on_error="raise")
    assert "train0001.txt: expected sound, got noise; test0002.txt: 12 numbers" in str(error)
    assert beside(tmp_path / "out") == [".out.partial"]
    log.unlink()
    say(raw, train0001=str(1), test0002=str(25))
    assert prepare(on_error="raise").num_kept == 24
    assert sorted(reads(log)) == sorted([*names_of("train")[:4], *names_of("test")[:4]])
    assert contents(tmp_path / "out") == wanted


@pytest.mark.parametrize("word", ["io", "memory", "exit"])
def test_passing_trouble_is_tried_again(prepare, raw, wanted, tmp_path, word):
    """Nothing of the raw files changes: no memory is left, a network disk is away, and later they are back."""
    stamp = (raw / "train0001.txt").stat()
    say(raw, train0001=word)
    pretend = {"size": len("1"), "mtime": stamp.st_mtime_ns}

    def same(path):
        return (pretend["size"], pretend["mtime"]) if path.name == "train0001.txt" else (1, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_stamp", same)
        expect_refusal("1 damaged", prepare, on_error="raise", workers=2)
        say(raw, train0001="1")
        assert prepare(on_error="raise").num_kept == 28
    assert contents(tmp_path / "out") == wanted


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_a_sound_clip_is_refused_and_nothing_stays(prepare, raw, tmp_path, split):
    say(raw, **dict.fromkeys(names_of(split), "bad"))
    expect_refusal(f"in the .*{split}.*, but got none .{split}0000.txt: expected sound, got noise", prepare)
    assert beside(tmp_path / "out") == []


def test_what_was_unusable_while_listing_is_reported_first(raw, tmp_path):
    unusable = Skipped("x", "x.mp4", "no video")
    source = Planned(change=lambda plan: dataclasses.replace(plan, skipped=[unusable]))
    say(raw, train0001="bad")
    summary = prepare_source(source, root=raw, out=tmp_path / "out", workers=1)
    assert [skip.name for skip in summary.skipped] == ["x", "train0001"]
    assert read_manifest(tmp_path / "out")["skipped"][0] == dataclasses.asdict(unusable)
    expect_refusal(
        "x.mp4: no video", prepare_source, source=source, root=raw, out=tmp_path / "b", workers=1, on_error="raise"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_in_the_source_ends_the_call_and_keeps_what_is_done(prepare, raw, tmp_path, workers):
    say(raw, train0009="bug")
    with pytest.raises(KeyError, match="bug"):
        prepare(workers=workers)
    say(raw, train0009="9")
    if workers == 1:
        assert prepare().num_kept == 8
    assert beside(tmp_path / "out") in (["out"], [".out.partial"])


# Where it is written


def test_an_earlier_folder_is_replaced_as_a_whole(prepare, raw, wanted, tmp_path):
    prepare_source(Made(scale=3), root=write_raw(tmp_path / "more", {**COUNTS, "train": 40}), out=tmp_path / "out")
    assert "train-00009.safetensors" in contents(tmp_path / "out")
    prepare()
    assert contents(tmp_path / "out") == wanted
    assert beside(tmp_path / "out") == ["out"]


def test_an_earlier_folder_of_an_older_format_is_replaced(prepare, wanted, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text('{"format": 1, "dataset": "made"}')
    (tmp_path / "out" / "train.safetensors").write_bytes(b"old")
    prepare()
    assert contents(tmp_path / "out") == wanted


def test_an_earlier_folder_stays_until_the_new_one_is_whole(prepare, raw, tmp_path, monkeypatch):
    prepare()
    before = contents(tmp_path / "out")
    say(raw, train0000="99")
    interrupted(prepare, monkeypatch)
    with monkeypatch.context() as patch:
        fail_at(patch, 1)
        expect_refusal("No space left", prepare)
    assert contents(tmp_path / "out") == before
    prepare()
    assert contents(tmp_path / "out") != before


FOREIGN = {
    "text": {"thesis.txt": "mine"},
    "hidden": {".git": "mine"},
    "other dataset": {"manifest.json": '{"format": 2, "dataset": "ucf101"}'},
    "web extension": {"manifest.json": '{"name": "made", "version": "1"}'},
    "no format": {"manifest.json": '{"dataset": "made"}'},
    "number": {"manifest.json": "5"},
    "null": {"manifest.json": "null"},
    "list": {"manifest.json": '["format"]'},
    "string": {"manifest.json": '"format"'},
    "bytes": {"manifest.json": "\x00"},
}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_folder_of_other_content_is_left_alone(prepare, tmp_path, log, foreign):
    (tmp_path / "out").mkdir()
    for name, text in FOREIGN[foreign].items():
        (tmp_path / "out" / name).write_text(text)
    expect_refusal("nothing was written", prepare)
    assert contents(tmp_path / "out") == {name: text.encode() for name, text in FOREIGN[foreign].items()}
    assert reads(log) == []
    assert beside(tmp_path / "out") == ["out"]


def test_a_file_is_no_folder(prepare, tmp_path):
    (tmp_path / "out").write_text("mine")
    expect_refusal("nothing was written", prepare)
    expect_refusal("Expected", prepare, out=tmp_path / "out" / "below")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_that_became_foreign_meanwhile_is_left_alone(raw, tmp_path):
    out = tmp_path / "out"

    def meanwhile(done, _):
        if done == 20:
            out.mkdir()
            (out / "thesis.txt").write_text("mine")

    with pytest.raises(DataError, match="other content"):
        prepare_source(Made(), root=raw, out=out, workers=1, on_progress=meanwhile)
    assert contents(out) == {"thesis.txt": b"mine"}


def test_an_empty_folder_and_one_far_below_are_made(prepare, wanted, tmp_path):
    (tmp_path / "out").mkdir()
    prepare()
    prepare(out=tmp_path / "a" / "b" / "c")
    assert contents(tmp_path / "out") == contents(tmp_path / "a" / "b" / "c") == wanted


def test_relative_folders_and_the_current_one_can_be_given(prepare, wanted, tmp_path, monkeypatch):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "x")
    prepare(out=Path("."))
    assert contents(tmp_path / "x") == wanted
    monkeypatch.chdir(tmp_path / "y")
    prepare(out=Path("made"))
    prepare(out=Path("../z/"))
    assert contents(tmp_path / "y" / "made") == contents(tmp_path / "z") == wanted
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "other", "raw", "x", "y", "z"]


def test_a_link_stays_a_link(prepare, wanted, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    prepare()
    prepare()
    assert (tmp_path / "out").is_symlink()
    assert contents(tmp_path / "real") == wanted


def test_another_process_at_the_same_folder_is_refused_at_once(prepare, tmp_path, log):
    with WorkFolder(tmp_path / "out"):
        expect_refusal("another process is at it", prepare)
        assert reads(log) == []
        prepare(out=tmp_path / "elsewhere")
    prepare()
    assert beside(tmp_path / "out") == ["out"]


# What is asked for


@pytest.mark.parametrize("workers", [0, -1])
def test_workers_are_at_least_one(prepare, workers):
    expect_refusal(f"at least 1 worker, but got {workers}", prepare, workers=workers)


def replaced(**fields):
    return lambda plan: dataclasses.replace(
        plan, clips=[*plan.clips[:-1], dataclasses.replace(plan.clips[-1], **fields)]
    )


MISTAKES = {
    "double name": (replaced(name="train0000"), "different names, but got train0000"),
    "split": (replaced(split="dev"), "the splits train, val and test, but got dev"),
    "label": (replaced(label=3), "labels from 0 to 2, but got test0008"),
    "negative label": (replaced(label=-1), "labels from 0 to 2"),
    "no clips": (lambda plan: dataclasses.replace(plan, clips=[]), "to hold clips of made, but got none"),
    "label as modality": (lambda plan: dataclasses.replace(plan, modalities={"label": ModalitySpec((2, 2))}), "label"),
    "slash": (lambda plan: dataclasses.replace(plan, modalities={"audio/mask": ModalitySpec((2, 2))}), "slashes"),
    "no training": (
        lambda plan: dataclasses.replace(plan, clips=[clip for clip in plan.clips if clip.split != "train"]),
        "training clips",
    ),
    "numbers of numpy": (replaced(label=np.int64(1)), "JSON"),
    "notes": (lambda plan: dataclasses.replace(plan, notes={"at": Path()}), "Expected"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_plan_is_refused_before_anything_is_read(raw, log, tmp_path, mistake):
    change, text = MISTAKES[mistake]
    with pytest.raises(DataError, match=text) as caught:
        prepare_source(Planned(log=str(log), change=change), root=raw, out=tmp_path / "out", workers=1)
    assert "\n" not in str(caught.value)
    assert reads(log) == []
    assert beside(tmp_path / "out") == []


def test_an_error_of_the_plan_leaves_nothing(tmp_path):
    @dataclass(frozen=True)
    class Empty(Made):
        def plan(self, root):
            raise DataError("Expected files, but got none.")

    with pytest.raises(DataError, match="Expected files"):
        prepare_source(Empty(), root=tmp_path, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_clip_once(prepare):
    progress = []
    prepare(on_progress=lambda *pair: progress.append(pair))
    assert progress == [(number, 32) for number in range(1, 33)]


def test_large_samples_make_small_shards(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SHARD_BYTES", 2 * (4 * 3 * 4 + 3 * 4 * 6) + 1)
    prepare_source(Made(), root=raw, out=tmp_path / "two", workers=1)
    assert len(list((tmp_path / "two").glob("train-*.safetensors"))) == 10
    monkeypatch.setattr(engine, "SHARD_BYTES", 1)
    prepare_source(Made(), root=raw, out=tmp_path / "one", workers=1)
    assert len(list((tmp_path / "one").glob("train-*.safetensors"))) == 20


PEAK = """
import resource, sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from rollingq.data.prepare import engine
from rollingq.data.prepare.source import Clip, Plan, Source
from rollingq.data.spec import ModalitySpec
engine.SHARD_BYTES = 2**22

@dataclass(frozen=True)
class Large(Source):
    name = "large"
    size: int = 1

    def plan(self, root):
        clips = [Clip(f"{i:05d}", "train", 0, {}) for i in range(self.size)]
        return Plan(("a",), {"image": ModalitySpec((1, 512, 512), "image", "uint8", "all")}, clips)

    def read(self, clip, root):
        return {"image": np.full((1, 512, 512), int(clip.name) % 256, np.uint8)}

engine.prepare_source(Large(int(sys.argv[1])), root=Path(), out=Path(sys.argv[2]), workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_clips(tmp_path):
    peaks = [int(run_python(PEAK, str(size), str(tmp_path / "out")).stdout) for size in (200, 2000)]
    assert peaks[1] - peaks[0] < 8 * 1024, "in KiB; the clips more are 450 MiB"
