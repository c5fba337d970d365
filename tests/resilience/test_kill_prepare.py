"""Preparing is killed at many moments: what is done is kept, nothing half-done is trusted, nothing is left over."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "data"))
from made_source import Made, contents, names_of, reads, say, write_raw

from rollingq.data.prepare.engine import prepare_source
from rollingq.data.shards import check_folder

COUNTS = {"train": 30, "val": 4, "test": 10}
SHARDS = [f"{split}-{number:05d}" for split, many in (("train", 8), ("val", 1), ("test", 3)) for number in range(many)]
SIDE = 15_000
"""Images of a quarter of a MiB: so a worker is sent three clips at once."""
SECONDS_A_CLIP = 0.005
NUM_KILLS = 20


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_raw(tmp_path_factory.mktemp("kill") / "raw", COUNTS)


@pytest.fixture(scope="module")
def wanted(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("kill") / "out"
    prepare_source(Made(side=SIDE), root=raw, out=out, workers=1)
    return contents(out)


def start(raw, out, wait=SECONDS_A_CLIP):
    """Start preparing in a process group of its own; it logs what it reads."""
    args = [str(raw), str(out), str(out.parent / "log"), str(SIDE), str(wait), "2"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "unit" / "data")}
    return subprocess.Popen(
        [sys.executable, "-m", "made_source", *args], start_new_session=True, env=env, stderr=subprocess.PIPE
    )


def wait_for(process, is_reached):
    """Wait until something is so, or the process has ended."""
    while process.poll() is None and not is_reached():
        time.sleep(0.0005)


def kill_all(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def clips_of(shard):
    split, number = shard.split("-")
    return names_of(split, COUNTS)[4 * int(number) : 4 * int(number) + 4]


def kept(out):
    """Return the shards that count as done: after the last rename there are records alone."""
    folder = out.parent / f".{out.name}.partial"
    files = {name: (f"records/{name}.json", f"shards/{name}.safetensors") for name in SHARDS}
    return [name for name, pair in files.items() if all((folder / file).exists() for file in pair)]


def moment_of(chance, number, out):
    """Return when to kill: soon after the start, after some clips, or in one of the steps of the end."""
    folder, log = out.parent / f".{out.name}.partial", out.parent / "log"
    many = chance.randint(1, 9)
    ends = (
        lambda: len(kept(out)) == len(SHARDS),
        lambda: (folder / "shards" / "samples.csv").exists(),
        lambda: (folder / "shards" / "manifest.json").exists(),
        lambda: (folder / "earlier").exists() or out.exists(),
    )
    return {
        0: (lambda: True, chance.uniform(0, 0.6)),
        1: (lambda: len(reads(log)) >= many, chance.uniform(0, 0.02)),
        2: (lambda: len(reads(log)) >= 3 * many, chance.uniform(0, 0.02)),
        3: (chance.choice(ends), chance.uniform(0, 0.004)),
    }[number % 4]


def test_killing_again_and_again_ends_with_the_same_bytes(raw, wanted, tmp_path):
    out, chance = tmp_path / "out", random.Random(7)  # noqa: S311
    num_whole = 0
    for number in range(NUM_KILLS):
        (tmp_path / "log").unlink(missing_ok=True)
        before, was_whole = kept(out), out.exists()
        is_reached, later = moment_of(chance, number, out)
        process = start(raw, out)
        wait_for(process, is_reached)
        time.sleep(later)
        kill_all(process)
        assert process.returncode in (0, -signal.SIGKILL)
        again = {name for shard in before for name in clips_of(shard)} & set(reads(tmp_path / "log"))
        assert not again, f"read again after kill {number}, though it was done"
        earlier = tmp_path / ".out.partial" / "earlier"
        for folder in (out, earlier) if was_whole else (out,):
            if folder.exists() and (folder == out or not out.exists()):
                assert contents(folder) == wanted
        assert out.exists() or earlier.exists() or not was_whole
        num_whole += out.exists()
        if out.exists() and not was_whole:
            assert check_folder(out, "made").problems == ()
    _, errors = (process := start(raw, out, 0)).communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    assert contents(out) == wanted
    (tmp_path / "log").unlink(missing_ok=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert num_whole, "no kill came in the last steps: the moments are not what they should be"


def test_progress_is_kept_over_kills(raw, wanted, tmp_path):
    """Each call lives for a third of the work; so it must be done after a few."""
    out, done = tmp_path / "out", []
    for _ in range(8):
        if out.exists():
            break
        process, aim = start(raw, out), min(len(kept(out)) + 4, len(SHARDS))
        wait_for(process, lambda aim=aim: len(kept(out)) >= aim or out.exists())
        if aim < len(SHARDS):
            kill_all(process)
        assert process.wait(60) in (0, -signal.SIGKILL)
        process.communicate()
        done.append(len(kept(out)))
    assert contents(out) == wanted
    assert len(done) <= 4
    assert len(reads(tmp_path / "log")) < sum(COUNTS.values()) + len(done) * (4 + 5 * 3 + 4)


def children_of(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_a_killed_parent(raw, wanted, tmp_path, how):
    out = tmp_path / "out"
    process = start(raw, out, 0.05)
    try:
        wait_for(process, lambda: len(reads(tmp_path / "log")) >= 8)
        children = children_of(process.pid)
        assert len(children) >= 2
        os.kill(process.pid, how)
        process.wait(20)
        end = time.monotonic() + 10
        while any(map(is_alive, children)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not [pid for pid in children if is_alive(pid)], "a worker lives on without its parent"
        assert not out.exists()
    finally:
        kill_all(process)
    _, errors = (process := start(raw, out, 0)).communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    assert contents(out) == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "out"]


@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="needs /proc")
def test_a_hanging_worker_ends_with_a_killed_parent(tmp_path):
    raw = write_raw(tmp_path / "raw", COUNTS)
    say(raw, train0000="hang", train0003="hang")
    process = start(raw, tmp_path / "out")
    try:
        wait_for(process, lambda: {"train0000", "train0003"} <= set(reads(tmp_path / "log")))
        children = children_of(process.pid)
        process.kill()
        process.wait(20)
        end = time.monotonic() + 10
        while any(map(is_alive, children)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not [pid for pid in children if is_alive(pid)], "a worker lives on without its parent"
    finally:
        kill_all(process)


def test_a_second_call_is_refused_while_the_first_one_works(raw, wanted, tmp_path):
    out = tmp_path / "out"
    first = start(raw, out, 0.02)
    wait_for(first, lambda: len(reads(tmp_path / "log")) >= 1)
    second = start(raw, out)
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 1
    assert (
        errors.decode()
        .splitlines()[-1]
        .startswith(f"rollingq.errors.DataError: Expected to be alone in preparing {out}")
    )
    assert first.wait(60) == 0
    first.communicate()
    assert contents(out) == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "out"]
    assert json.loads((out / "manifest.json").read_text())["dataset"] == "made"
