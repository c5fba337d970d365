"""A grid of runs: methods x seeds, in worker processes, cached by what decides them, resumable after a kill."""

import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from threading import Thread
from typing import Any

import torch

import rollingq
from rollingq.data.base import MultimodalData
from rollingq.data.registry import load
from rollingq.errors import RunError
from rollingq.evaluation.results import EpochRecord, RunResult, from_json, to_json
from rollingq.training.methods import Method
from rollingq.training.run import run_method
from rollingq.training.settings import Settings


@dataclass(frozen=True)
class Job:
    """One run to do."""

    method: Method
    seed: int

    @property
    def folder(self) -> str:
        """Name of its folder, safe on every file system."""
        return f"{re.sub(r'[^A-Za-z0-9+_.-]', '-', self.method.name)}-seed{self.seed}"


@dataclass(frozen=True)
class Source:
    """Where the data comes from: what :func:`rollingq.data.registry.load` takes."""

    name: str
    dir: str | None
    modalities: tuple[str, ...] | None

    def load(self) -> MultimodalData:
        """Load the dataset."""
        return load(self.name, dir=self.dir, modalities=self.modalities)


OnEpoch = Callable[[Job, EpochRecord], None]
OnDone = Callable[[Job, RunResult, bool], None]
"""Called with a finished run and whether it was read from an earlier call."""


def run_grid(
    jobs: Sequence[Job],
    source: Source,
    data: MultimodalData,
    settings: Settings,
    out: Path,
    *,
    workers: int,
    on_epoch: OnEpoch,
    on_done: OnDone,
) -> list[RunResult]:
    """Run all jobs and return their results in the order of the jobs.

    A finished run is written at once to ``out/runs/<job>/result.json`` and is not run again while its
    method, seed, settings, data and the package version are the same.

    Args:
        jobs: What to run.
        source: The dataset, for the workers.
        data: The same, loaded.
        settings: Settings of every run.
        out: Folder of the comparison.
        workers: Processes, one core each; 0 runs in this process.
        on_epoch: Called with each finished epoch.
        on_done: Called with each finished run.

    Raises:
        RunError: If runs failed; the others are finished and kept.
    """
    digest = _digest(settings.encoder.pretrained)
    keys = {job: _key(job, data, settings, digest) for job in jobs}
    results: dict[Job, RunResult] = {}
    for job in jobs:
        cached = _read(out, job, keys[job])
        if cached is not None:
            results[job] = cached
            on_done(job, cached, True)
    pending = [job for job in jobs if job not in results]
    failures: list[str] = []
    for job, outcome in _run_all(pending, source, data, settings, out, workers, on_epoch):
        if isinstance(outcome, BaseException):
            failures.append(f"{job.folder}: {type(outcome).__name__}: {outcome}")
            continue
        _write(out, job, keys[job], outcome)
        results[job] = outcome
        on_done(job, outcome, False)
    if failures:
        raise RunError(f"{len(failures)} of {len(jobs)} runs failed; the others are kept. {' | '.join(failures)}")
    return [results[job] for job in jobs]


def _run_all(
    jobs: Sequence[Job],
    source: Source,
    data: MultimodalData,
    settings: Settings,
    out: Path,
    workers: int,
    on_epoch: OnEpoch,
) -> Iterator[tuple[Job, RunResult | BaseException]]:
    if workers and jobs:
        yield from _in_processes(jobs, source, settings, out, min(workers, len(jobs)), on_epoch)
        return
    for job in jobs:
        try:
            yield (
                job,
                run_method(job.method, job.seed, data, settings, out / "runs" / job.folder, partial(on_epoch, job)),
            )
        except Exception as error:  # A failed run is counted and the others go on, as in processes.
            yield job, error


def _in_processes(
    jobs: Sequence[Job], source: Source, settings: Settings, out: Path, workers: int, on_epoch: OnEpoch
) -> Iterator[tuple[Job, RunResult | BaseException]]:
    context = _context()
    news: SimpleQueue[tuple[Job, EpochRecord] | None] = context.SimpleQueue()
    reader = Thread(target=_relay, args=(news, on_epoch), daemon=True)
    reader.start()
    with ProcessPoolExecutor(workers, context, _start_worker, (source, settings, str(out), news)) as pool:
        futures: dict[Future[RunResult], Job] = {pool.submit(_work, job): job for job in jobs}
        for future in as_completed(futures):
            error = future.exception()
            yield futures[future], error if error is not None else future.result()
    news.put(None)
    reader.join()


def _context() -> Any:  # noqa: ANN401
    """Return how workers start: forked from a server that has imported torch once, or spawned where there is none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _relay(news: "SimpleQueue[tuple[Job, EpochRecord] | None]", on_epoch: OnEpoch) -> None:
    while (item := news.get()) is not None:
        on_epoch(*item)


_worker: dict[str, Any] = {}
"""What a worker process holds for its lifetime."""


def _start_worker(source: Source, settings: Settings, out: str, news: Any) -> None:  # noqa: ANN401
    torch.set_num_threads(1)  # One core each: the same numbers, however many workers there are.
    _worker.update(data=source.load(), settings=settings, out=Path(out), news=news)


def _work(job: Job) -> RunResult:
    folder = _worker["out"] / "runs" / job.folder
    return run_method(
        job.method,
        job.seed,
        _worker["data"],
        _worker["settings"],
        folder,
        lambda record: _worker["news"].put((job, record)),
    )


def _key(job: Job, data: MultimodalData, settings: Settings, pretrained: str | None) -> str:
    """Return the hash of everything that decides a run."""
    facts = {
        "version": rollingq.__version__,
        "method": asdict(job.method),
        "seed": job.seed,
        "settings": asdict(settings),
        "pretrained": pretrained,
        "data": [data.name, sorted(data.modalities), data.manifest],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _digest(source: str | None) -> str | None:
    """Return the hash of a file of pretrained weights: another file at the same path is another start."""
    if source is None or not Path(source).is_file():
        return None
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(out: Path, job: Job, key: str) -> RunResult | None:
    path = out / "runs" / job.folder / "result.json"
    try:
        stored = json.loads(path.read_text())
        return from_json(RunResult, json.dumps(stored["result"])) if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(out: Path, job: Job, key: str, result: RunResult) -> None:
    path = out / "runs" / job.folder / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"key": key, "result": json.loads(to_json(result))}, indent=1))
    os.replace(temporary, path)
