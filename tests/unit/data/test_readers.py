import multiprocessing
import os
import signal
import subprocess
import sys
import time
import types
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from made_source import DIED, Made, MadeInProcess, reads, sample, say, specs, write_raw

from rollingq.data.prepare import readers
from rollingq.data.prepare.readers import PassingTrouble, Readers, read_clip
from rollingq.data.prepare.source import Clip, Skipped
from rollingq.errors import DataError, MissingExtraError

COUNTS = {"train": 30, "val": 0, "test": 0}
SIDE = 29_000
"""Rows of an image of half a MiB: so a process is sent two clips at once."""


@pytest.fixture
def raw(tmp_path):
    return write_raw(tmp_path / "raw", COUNTS)


def outcomes_of(source, raw, workers):
    plan = source.plan(raw)
    with Readers(source, raw, dict(plan.modalities), workers) as found:
        return list(found.read(plan.clips))


def facts(skipped):
    assert isinstance(skipped, Skipped)
    return skipped.name, skipped.file, skipped.reason


@contextmanager
def hard_limit(seconds):
    """Raise TimeoutError where something waits for ever."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def assert_is_sample(outcome, seed, side):
    wanted = sample(seed, side=side)
    np.testing.assert_array_equal(outcome["image"], wanted["image"], strict=True)
    np.testing.assert_array_equal(outcome["audio"], wanted.get("audio", np.zeros((4, 3), np.float32)), strict=True)
    np.testing.assert_array_equal(outcome["audio/mask"], wanted.get("audio/mask", np.zeros(4, bool)), strict=True)
    assert list(outcome) == ["audio", "audio/mask", "image"]


@pytest.mark.parametrize(("workers", "side"), [(1, SIDE), (2, SIDE), (2, 4)])
def test_samples_come_whole_and_in_order(raw, workers, side):
    outcomes = outcomes_of(Made(side=side), raw, workers)
    assert len(outcomes) == COUNTS["train"]
    for seed, outcome in enumerate(outcomes):
        assert_is_sample(outcome, seed, side)
    assert multiprocessing.active_children() == []


def test_a_few_clips_are_read_ahead_and_no_more(raw, tmp_path):
    source = Made(side=SIDE, log=str(tmp_path / "log"))
    plan = source.plan(raw)
    with Readers(source, raw, dict(plan.modalities), 2) as found:
        outcomes = found.read(plan.clips)
        for taken in (1, 7):
            while taken:
                next(outcomes)
                taken -= 1
            time.sleep(0.7)
        assert 8 < len(reads(tmp_path / "log")) <= 8 + 12
        rest = list(outcomes)
    assert len(rest) == 22
    assert sorted(reads(tmp_path / "log")) == [clip.name for clip in plan.clips]


def test_one_worker_reads_nothing_ahead(raw, tmp_path):
    source = Made(log=str(tmp_path / "log"))
    plan = source.plan(raw)
    with Readers(source, raw, dict(plan.modalities), 1) as found:
        next(found.read(plan.clips))
    assert reads(tmp_path / "log") == ["train0000"]


def test_a_source_of_one_process_has_no_workers(raw, monkeypatch):
    monkeypatch.setattr(readers, "_Worker", None)
    assert len(outcomes_of(MadeInProcess(), raw, 8)) == COUNTS["train"]


@pytest.mark.parametrize(
    ("side", "killers"),
    [
        (SIDE, {"train0008": "exit", "train0011": "segv"}),
        (4, {"train0000": "exit", "train0007": "segv", "train0008": "kill", "train0029": "exit"}),
    ],
)
def test_exactly_the_clips_that_kill_their_reader_are_left_out(raw, side, killers):
    say(raw, **killers)
    outcomes = outcomes_of(Made(side=side), raw, 2)
    assert len(outcomes) == COUNTS["train"]
    for seed, outcome in enumerate(outcomes):
        if (name := f"train{seed:04d}") in killers:
            assert facts(outcome) == (name, f"{name}.txt", DIED)
        else:
            assert_is_sample(outcome, seed, side)
    assert multiprocessing.active_children() == []


def test_what_a_worker_sent_before_it_died_is_not_lost(tmp_path):
    """While the shard before is written, a worker answers, and then dies of its next clips: both are seen at once."""
    raw = write_raw(tmp_path / "raw", {"train": 6 * 64, "val": 0, "test": 0})
    say(raw, train0000="slow 0.8 0", train0064="slow 1.2 64", train0320="exit")
    plan, outcomes = Made().plan(raw), []
    with Readers(Made(), raw, dict(plan.modalities), 3) as found, hard_limit(60):
        for outcome in found.read(plan.clips):
            time.sleep(0 if outcomes else 1.5)
            outcomes.append(outcome)
    assert [facts(outcome)[0] for outcome in outcomes if isinstance(outcome, Skipped)] == ["train0320"]
    for seed, outcome in enumerate(outcomes):
        if seed != 320:
            assert_is_sample(outcome, seed, 4)


def test_a_clip_that_hangs_is_left_out_and_the_others_are_not(raw, monkeypatch):
    monkeypatch.setattr(readers, "SECONDS_A_CLIP", 3.0)
    say(raw, train0003="hang")
    start = time.monotonic()
    outcomes = outcomes_of(Made(side=2 * SIDE), raw, 2)
    assert time.monotonic() - start < 30
    hung = [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    assert [(skip.name, skip.file) for skip in hung] == [("train0003", "train0003.txt")]
    assert "too long" in hung[0].reason
    assert_is_sample(outcomes[29], 29, 2 * SIDE)
    assert multiprocessing.active_children() == []


REASONS = {
    "bad": ("train0001.txt", "expected sound, got noise"),
    "bad file": ("other/file.mp4", "expected a moov box"),
    "io": ("train0001.txt", "Input/output error"),
    "timeout": ("train0001.txt", "TimeoutError"),
    "memory": ("train0001.txt", "no memory left to read it"),
    "shape": ("train0001.txt", "expected image as uint8 of shape [3, 4, 6], got uint8 of shape [3, 4, 5]"),
    "dtype": ("train0001.txt", "expected audio as float32 of shape [4, 3], got float64 of shape [4, 3]"),
    "nan": ("train0001.txt", "12 numbers of audio are NaN or infinite"),
    "infinite": ("train0001.txt", "12 numbers of audio are NaN or infinite"),
    "no image": ("train0001.txt", "no image was read"),
}


@pytest.mark.parametrize("word", REASONS)
def test_what_is_wrong_with_a_clip_is_said_in_one_line(raw, word):
    say(raw, train0001=word)
    outcomes = outcomes_of(Made(), raw, 1)
    assert facts(outcomes[1]) == ("train0001", *REASONS[word])
    assert isinstance(outcomes[1], PassingTrouble) == (word in ("io", "timeout", "memory"))
    assert not any(isinstance(outcome, Skipped) for outcome in outcomes[:1] + outcomes[2:])


def test_worker_processes_say_the_same(raw):
    say(raw, **{f"train{number:04d}": word for number, word in enumerate(REASONS)})
    assert [repr(o) for o in outcomes_of(Made(), raw, 2)] == [repr(o) for o in outcomes_of(Made(), raw, 1)]


def test_a_missing_file_is_named(raw):
    plan = Made().plan(raw)
    (raw / "train0001.txt").unlink()
    found = read_clip(plan.clips[1], source=Made(), root=raw, modalities=dict(plan.modalities))
    assert facts(found) == ("train0001", "train0001.txt", "No such file or directory")


def test_the_first_file_of_every_modality_is_named_once(raw):
    files = {"audio": ("a.wav", "b.wav"), "image": ("a.jpg",), "flow": ("a.wav",), "text": ()}
    clip = Clip("x", "train", 0, files)
    found = read_clip(clip, source=MissingFirst(), root=raw, modalities=specs())
    assert facts(found) == ("x", "a.wav, a.jpg", "gone")


class MissingFirst(Made):
    def read(self, clip, root):
        raise OSError(2, "gone")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_of_the_source_is_not_taken_for_a_bad_file(raw, workers):
    say(raw, train0005="bug")
    with pytest.raises(KeyError, match="bug"):
        outcomes_of(Made(), raw, workers)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("word", ["typing error", "mask of none", "mask alone", "short mask"])
def test_arrays_that_no_spec_knows_are_not_dropped_in_silence(raw, word):
    say(raw, train0005=word)
    try:
        outcome = outcomes_of(Made(), raw, 1)[5]
    except Exception:  # A mistake of the source may end everything.
        return
    assert isinstance(outcome, Skipped)


def test_an_error_that_cannot_be_sent_between_processes_is_still_an_error(raw):
    say(raw, train0005="no package")
    with pytest.raises(MissingExtraError, match="the package 'av', which is not installed"):
        outcomes_of(Made(), raw, 2)


def test_a_source_that_workers_cannot_import_is_said_once_and_at_once(raw):
    @dataclass(frozen=True)
    class Local(Made):
        """Defined where no other process finds it, as in a notebook."""

    Local.__module__, Local.__qualname__ = "module_of_another_world", "Local"
    module = sys.modules["module_of_another_world"] = types.ModuleType("module_of_another_world")
    module.Local = Local
    clips = [Clip(f"clip{number:04d}", "train", 0, {"audio": (f"{number}.wav",)}) for number in range(2000)]
    start = time.monotonic()
    try:
        with pytest.raises(DataError, match="Expected"), Readers(Local(), raw, specs(), 2) as found, hard_limit(20):
            list(found.read(clips))
    finally:
        del sys.modules["module_of_another_world"]
    assert time.monotonic() - start < 8


def test_leaving_early_ends_the_workers(raw):
    source = Made(side=SIDE, wait=0.05)
    plan = source.plan(raw)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Readers(source, raw, dict(plan.modalities), 2) as found:  # noqa: PT012
        next(found.read(plan.clips))
        raise KeyboardInterrupt
    assert time.monotonic() - start < 10
    assert multiprocessing.active_children() == []


SENDING = """
import random
import sys
import time
from pathlib import Path
from made_source import Zeros
from rollingq.data.prepare.readers import Readers

if __name__ == "__main__":
    root, source, chance = Path(sys.argv[1]), Zeros(side=1_000_000), random.Random(0)
    plan = source.plan(root)
    for _ in range(8):
        try:
            with Readers(source, root, dict(plan.modalities), 2) as found:
                outcomes = found.read(plan.clips)
                next(outcomes)
                time.sleep(chance.uniform(0, 0.05))
                raise OSError(28, "No space left on device")
        except OSError:
            print("stopped", flush=True)
"""


def test_workers_can_be_stopped_while_they_send(raw):
    """A message that a kill cuts off must not be waited for."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    run = subprocess.Popen(
        [sys.executable, "-c", SENDING, str(raw)], env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said, _ = run.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        said, _ = run.communicate()
    assert said.count("stopped") == 8
