"""Several processes share the folder of a grid: no run is done twice, and none is lost with a process that dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any

import grid_process
import pytest
from grid_process import JOBS, fake_run, started

from rollingq.errors import RunError
from rollingq.training import grid
from rollingq.training.folder import locked

Start = Callable[..., "subprocess.Popen[str]"]


def wait_for(is_so: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a process that runs all four jobs in ``tmp_path/out``; what is still alive in the end is killed."""
    monkeypatch.setenv("GRID_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("GRID_PROCESSES", "1")
    monkeypatch.setattr(grid, "run_method", fake_run)
    monkeypatch.setattr(grid, "POLL_SECONDS", 0.05)
    processes: list[subprocess.Popen[str]] = []

    def started_process(workers: int, wait_for_processes: int) -> "subprocess.Popen[str]":
        command = [sys.executable, grid_process.__file__, str(tmp_path / "out"), str(workers)]
        environment = {**os.environ, "GRID_PROCESSES": str(wait_for_processes), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
        processes.append(process)
        return process

    yield started_process
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_two_processes_run_every_job_once(start: Start, tmp_path: Path) -> None:
    processes = [start(workers, 2) for workers in (0, 1)]  # The first run goes on when the other process is there.
    found = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    done = started(tmp_path / "log")
    assert sorted(seed for seed, _ in done) == [0, 1, 2, 3]
    assert len({pid for _, pid in done}) == 2
    assert found[0]["pids"] == found[1]["pids"] == [pid for _, pid in sorted(done)]
    assert found[0]["kept"] + found[1]["kept"] == 4
    assert 0 < found[0]["kept"] < 4


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_whose_process_is_killed_is_taken_over(start: Start, tmp_path: Path, workers: int) -> None:
    killed = start(workers, 9)  # Which never come: its run has no end.
    wait_for(lambda: started(tmp_path / "log"))
    ((first, pid),) = started(tmp_path / "log")
    assert (first, pid == killed.pid) == (0, workers == 0)
    seeds: list[int] = []

    def on_done(job: grid.Job, result: Any, is_kept: bool) -> None:
        assert not is_kept
        seeds.append(job.seed)
        if len(seeds) == 3:  # All but the one that is locked.
            killed.kill()

    results = grid_process.run(tmp_path / "out", JOBS, 0, on_done)
    assert seeds == [1, 2, 3, 0]
    assert [result.seed for result in results] == [0, 1, 2, 3]
    assert started(tmp_path / "log")[1:] == [(seed, os.getpid()) for seed in seeds]
    killed.wait(10)
    wait_for(lambda: not is_alive(pid), 10)


def test_a_result_that_appears_elsewhere_is_read(start: Start, tmp_path: Path) -> None:
    def nothing(*_: Any) -> None:
        pass

    grid_process.run(tmp_path / "elsewhere", JOBS[:1], 0, nothing)
    folder = tmp_path / "out" / "runs" / JOBS[0].folder
    folder.mkdir(parents=True)
    kept: list[tuple[int, bool]] = []

    def on_done(job: grid.Job, result: Any, is_kept: bool) -> None:
        kept.append((job.seed, is_kept))
        if job.seed == 1:
            shutil.copy(tmp_path / "elsewhere" / "runs" / JOBS[0].folder / "result.json", folder)

    with locked(folder) as is_ours:
        assert is_ours
        results = grid_process.run(tmp_path / "out", JOBS[:2], 0, on_done)
    assert kept == [(1, False), (0, True)]
    assert [result.seed for result in results] == [0, 1]
    assert [seed for seed, _ in started(tmp_path / "log")] == [0, 1]


def test_a_run_that_failed_elsewhere_is_tried_again(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(method: Any, seed: int, *rest: Any) -> Any:
        if seed == 0:
            raise RuntimeError("no memory left")
        return fake_run(method, seed, *rest)

    kept: list[bool] = []

    def on_done(job: grid.Job, result: Any, is_kept: bool) -> None:
        kept.append(is_kept)

    monkeypatch.setattr(grid, "run_method", fails)
    with pytest.raises(RunError, match=r"1 of 2 runs failed; .*unimodal-audio-seed0: RuntimeError: no memory left"):
        grid_process.run(tmp_path / "out", JOBS[:2], 0, on_done)
    monkeypatch.setattr(grid, "run_method", fake_run)
    assert len(grid_process.run(tmp_path / "out", JOBS[:2], 0, on_done)) == 2
    assert kept == [False, True, False]


def test_a_folder_that_cannot_be_locked_is_a_failure_that_says_so(start: Start, tmp_path: Path) -> None:
    (tmp_path / "out" / "runs").mkdir(parents=True)
    (tmp_path / "out" / "runs" / JOBS[0].folder).write_text("a file")
    with pytest.raises(RunError, match=r"unimodal-audio-seed0: FileExistsError: .*File exists"):
        grid_process.run(tmp_path / "out", JOBS[:1], 0, lambda *_: None)


def test_only_one_holds_a_lock(tmp_path: Path) -> None:
    with locked(tmp_path) as first, locked(tmp_path) as second:
        assert (first, second) == (True, False)
    with locked(tmp_path) as again:
        assert again


def test_a_pool_that_is_broken_gives_the_reason() -> None:
    class Broken:
        def submit(self, *_: Any) -> Future[Any]:
            raise BrokenProcessPool("a worker died")

    assert str(grid._submit(Broken(), None).exception()) == "a worker died"  # type: ignore[arg-type]
