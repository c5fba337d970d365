"""A grid of runs: methods x seeds, cached by what decides them, and shared with other processes and machines."""

import hashlib
import multiprocessing
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import nn

import rollingq
from rollingq.data.base import MultimodalData
from rollingq.data.classes import keep_classes
from rollingq.data.entries import DATASETS
from rollingq.data.registry import folder_of, load
from rollingq.errors import RunError
from rollingq.evaluation.results import EpochRecord, RunResult
from rollingq.nn.registry import build_model
from rollingq.training.folder import RUNS, clear, hash_of, locked, read_finished, write_finished
from rollingq.training.methods import Method
from rollingq.training.run import run_method
from rollingq.training.settings import Settings

POLL_SECONDS = 0.5
"""How long a worker waits before it looks again at a run that another process is at."""


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
    """Where the data comes from: what :func:`rollingq.data.registry.load` takes, and how many classes are kept."""

    name: str
    dir: str | None
    modalities: tuple[str, ...] | None
    inside: int | None = None
    """Train on the first so many classes only; None = all."""

    def load(self) -> MultimodalData:
        """Load the dataset."""
        data = load(self.name, dir=self.dir, modalities=self.modalities)
        return data if self.inside is None else keep_classes(data, self.inside)

    def located(self) -> "Source":
        """Return the same with the folder that it means now, as an absolute path (None: in the package)."""
        if self.dir is not None:
            folder = Path(self.dir)
        elif self.name in DATASETS and not DATASETS[self.name].embedded:
            folder = folder_of(DATASETS[self.name], None)
        else:
            return self
        return replace(self, dir=str(folder.resolve()))


OnEpoch = Callable[[Job, EpochRecord], None]
OnDone = Callable[[Job, RunResult, bool], None]
"""Called with a finished run and whether it was read: from an earlier call, or from another process."""
Outcome = tuple[RunResult, bool]
"""A finished run, and whether it was read."""


@dataclass(frozen=True)
class _Task:
    """A job, the hash of everything that decides it, and the facts that rebuild it."""

    job: Job
    key: str
    facts: dict[str, Any]


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
    method, seed, settings, data and the package version are the same. Several processes, also of several machines, may
    work in the same ``out``: each run is done by one of them, and all return all results. A run whose process dies
    is taken over by another.

    Args:
        jobs: What to run.
        source: The dataset, for the workers.
        data: The same, loaded.
        settings: Settings of every run.
        out: Folder of the comparison.
        workers: Processes, one core each; 0 runs in this process.
        on_epoch: Called with each epoch that is finished here.
        on_done: Called with each finished run.

    Raises:
        RunError: If runs failed; the others are finished and kept.
    """
    common = _facts(source, data, settings)
    tasks = [_task(job, common) for job in jobs]
    results: dict[Job, RunResult] = {}
    for task in tasks:
        cached = read_finished(out / RUNS / task.job.folder, task.key)
        if cached is not None:
            results[task.job] = cached
            on_done(task.job, cached, True)
    failures: list[str] = []
    pending = [task for task in tasks if task.job not in results]
    for job, outcome in _run_all(pending, source, data, settings, out, workers, on_epoch):
        if isinstance(outcome, BaseException):
            failures.append(f"{job.folder}: {type(outcome).__name__}: {outcome}")
            continue
        results[job] = outcome[0]
        on_done(job, *outcome)
    if failures:
        raise RunError(f"{len(failures)} of {len(jobs)} runs failed; the others are kept. {' | '.join(failures)}")
    return [results[job] for job in jobs]


def _run_all(
    tasks: Sequence[_Task],
    source: Source,
    data: MultimodalData,
    settings: Settings,
    out: Path,
    workers: int,
    on_epoch: OnEpoch,
) -> Iterator[tuple[Job, Outcome | BaseException]]:
    if workers and tasks:
        yield from _in_processes(tasks, source, settings, out, min(workers, len(tasks)), on_epoch)
        return
    waiting = deque(tasks)
    while waiting:
        task = waiting.popleft()
        try:
            outcome = _attempt(task, data, settings, out, partial(on_epoch, task.job))
        except Exception as error:  # A failed run is counted and the others go on, as in processes.
            yield task.job, error
            continue
        if outcome is None:
            waiting.append(task)
        else:
            yield task.job, outcome


def _in_processes(
    tasks: Sequence[_Task], source: Source, settings: Settings, out: Path, workers: int, on_epoch: OnEpoch
) -> Iterator[tuple[Job, Outcome | BaseException]]:
    context = _context()
    news: SimpleQueue[tuple[Job, EpochRecord] | None] = context.SimpleQueue()
    reader = Thread(target=_relay, args=(news, on_epoch), daemon=True)
    reader.start()
    with ProcessPoolExecutor(workers, context, _start_worker, (source, settings, str(out), news)) as pool:
        futures = {_submit(pool, task): task for task in tasks}
        while futures:
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                task = futures.pop(future)
                error = future.exception()
                outcome = future.result() if error is None else error
                if outcome is None:
                    futures[_submit(pool, task)] = task
                else:
                    yield task.job, outcome
    news.put(None)
    reader.join()


def _submit(pool: ProcessPoolExecutor, task: _Task) -> "Future[Outcome | None]":
    try:
        return pool.submit(_work, task)
    except BrokenProcessPool as error:
        broken: Future[Outcome | None] = Future()
        broken.set_exception(error)
        return broken


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
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)  # One core each: the same numbers, however many workers there are.
    _worker.update(data=source.load(), settings=settings, out=Path(out), news=news)


def _end_with_parent() -> None:
    """End this process, and let go of its lock, when the one that wants its results is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(task: _Task) -> Outcome | None:
    def tell(record: EpochRecord) -> None:
        _worker["news"].put((task.job, record))

    return _attempt(task, _worker["data"], _worker["settings"], _worker["out"], tell)


def _attempt(
    task: _Task, data: MultimodalData, settings: Settings, out: Path, on_epoch: Callable[[EpochRecord], None]
) -> Outcome | None:
    """Do a run, or read it if it is finished; return None, after a while, if another process is at it."""
    job, folder = task.job, out / RUNS / task.job.folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) as is_ours:
        found = read_finished(folder, task.key)
        if found is not None:
            return found, True
        if is_ours:
            facts = {**task.facts, "norm_eps": _norm_eps(job.method, data, settings)}
            clear(folder)
            result = run_method(job.method, job.seed, data, settings, folder, on_epoch)
            write_finished(folder, task.key, facts, result)
            return result, False
    time.sleep(POLL_SECONDS)
    return None


def _facts(source: Source, data: MultimodalData, settings: Settings) -> dict[str, Any]:
    """Return what all runs have in common and what, beside method and seed, decides and rebuilds each of them."""
    return {
        "version": rollingq.__version__,
        "settings": asdict(settings),
        "pretrained": _digest(settings.encoder.pretrained),
        "source": asdict(replace(source.located(), modalities=tuple(data.modalities))),
        "data": fingerprint(data),
    }


def _task(job: Job, common: dict[str, Any]) -> _Task:
    """Return a job with its facts and its key; where the data lies and the order of its modalities decide nothing."""
    facts = {"method": asdict(job.method), "seed": job.seed, **common}
    source = common["source"]
    return _Task(job, hash_of({**facts, "source": [sorted(source["modalities"]), source["inside"]]}), facts)


def fingerprint(data: MultimodalData) -> str:
    """Return the hash of a dataset's name and manifest: the same wherever its folder lies."""
    return hash_of([data.name, data.manifest])


def _digest(source: str | None) -> str | None:
    """Return the hash of a file of pretrained weights: another file at the same path is another start."""
    if source is None or not Path(source).is_file():
        return None
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _norm_eps(method: Method, data: MultimodalData, settings: Settings) -> dict[str, float]:
    """Return the LayerNorms whose eps comes from pretrained weights: a checkpoint does not hold it."""
    if settings.encoder.pretrained is None:
        return {}
    shapes = {name: data.shapes[name] for name in method.modalities}
    build = partial(build_model, method.fusion, shapes, len(data.classes), config=settings.fusion)
    with torch.device("meta"):
        plain = build(encoder=replace(settings.encoder, pretrained=None))
    if not plain.fusion.continuing_blocks():
        return {}
    eps = {name: m.eps for name, m in plain.named_modules() if isinstance(m, nn.LayerNorm)}
    given = build(encoder=settings.encoder)
    return {name: m.eps for name, m in given.named_modules() if isinstance(m, nn.LayerNorm) and m.eps != eps[name]}
