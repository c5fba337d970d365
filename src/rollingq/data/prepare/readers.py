"""Read clips in worker processes: in order, in bounded memory, and alive after a reader that died or hangs."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from pickle import PicklingError
from threading import Thread
from types import TracebackType

import numpy as np

from rollingq.data.prepare.source import Arrays, BadFileError, Clip, Skipped, Source
from rollingq.data.spec import MASK, ModalitySpec
from rollingq.errors import DataError

SECONDS_A_CLIP = 300.0
"""After this long a reader counts as hung."""
DIED = "the process that read it died: a crash in a decoder, or no memory left"
HUNG = "reading it took too long"


@dataclass(frozen=True)
class PassingTrouble(Skipped):
    """A clip that could not be read now, though it may be sound: the next call tries it again."""


Outcome = Arrays | Skipped


def read_clip(clip: Clip, *, source: Source, root: Path, modalities: dict[str, ModalitySpec]) -> Outcome:
    """Return one sample with everything that its specs promise, or why the clip has to be left out."""
    try:
        return _complete(source.read(clip, root), modalities)
    except BadFileError as error:
        return Skipped(clip.name, error.file or _file(clip), " ".join(str(error).split()))
    except OSError as error:
        return PassingTrouble(clip.name, _file(clip), error.strerror or type(error).__name__)
    except MemoryError:
        return PassingTrouble(clip.name, _file(clip), "no memory left to read it")


def _file(clip: Clip) -> str:
    return ", ".join(dict.fromkeys(path for paths in clip.files.values() for path in paths[:1]))


def _complete(arrays: Arrays, modalities: dict[str, ModalitySpec]) -> Arrays:
    """Return exactly the planned arrays; what a sample misses is zero and masked.

    Raises:
        DataError: If the source gives what it did not plan.
        BadFileError: If an array has another form than planned, or holds NaN.
    """
    known = {*modalities, *(n + MASK for n, spec in modalities.items() if spec.has_mask and n in arrays)}
    if unplanned := sorted(arrays.keys() - known):
        raise DataError(f"Expected a source to read what it planned, but got {', '.join(unplanned)}; mend its read().")
    full: Arrays = {}
    for name, spec in modalities.items():
        array = arrays.get(name)
        if array is None and not spec.has_mask:
            raise BadFileError(f"no {name} was read")
        full[name] = np.zeros(spec.shape, spec.dtype) if array is None else _checked(name, array, spec)
        if spec.has_mask:
            mask = arrays.get(name + MASK, np.full(spec.mask_shape, array is not None))
            if mask.shape != spec.mask_shape or mask.dtype != bool:
                raise BadFileError(f"expected a mask {list(spec.mask_shape)} of {name}, got {list(mask.shape)}")
            full[name + MASK] = mask
    return full


def _checked(name: str, array: np.ndarray, spec: ModalitySpec) -> np.ndarray:
    if array.shape != spec.shape or array.dtype != spec.dtype:
        expected = f"{spec.dtype} of shape {list(spec.shape)}"
        raise BadFileError(f"expected {name} as {expected}, got {array.dtype} of shape {list(array.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadFileError(f"{int((~np.isfinite(array)).sum())} numbers of {name} are NaN or infinite")
    return array


class Readers:
    """Worker processes that read clips. Use as a context; with one worker the clips are read in this process.

    Args:
        source: What reads a clip.
        root: Folder of the raw files.
        modalities: What a sample has to hold.
        workers: Processes.
    """

    def __init__(self, source: Source, root: Path, modalities: dict[str, ModalitySpec], workers: int) -> None:
        self._read = partial(read_clip, source=source, root=root, modalities=modalities)
        self._workers = 1 if source.in_process else workers
        sizes = (int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in modalities.values())
        self._batch = int(np.clip(2**20 // max(1, sum(sizes)), 1, 64))
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Readers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(kill=error is not None)

    def read(self, clips: Sequence[Clip]) -> Iterator[Outcome]:
        """Yield what became of each clip, in their order; at most a few batches are read ahead.

        Raises:
            DataError: If worker processes cannot start or cannot import the source.
        """
        if self._workers == 1:
            yield from map(self._read, clips)
            return
        self._expect_workers()
        batches = (clips[start : start + self._batch] for start in range(0, len(clips), self._batch))
        yield from self._in_order(batches)

    def _in_order(self, batches: Iterable[Sequence[Clip]]) -> Iterator[Outcome]:
        waiting: deque[tuple[Sequence[Clip], Future[list[Outcome]]]] = deque()
        for batch in batches:
            waiting.append((batch, self._submit(batch)))
            if len(waiting) > 2 * self._workers:
                yield from self._next(waiting)
        while waiting:
            yield from self._next(waiting)

    def _next(self, waiting: deque[tuple[Sequence[Clip], Future[list[Outcome]]]]) -> list[Outcome]:
        batch, future = waiting.popleft()
        try:
            return future.result(SECONDS_A_CLIP * (1 + len(batch) / 30))
        except (BrokenExecutor, TimeoutError):
            self._stop(kill=True)
            outcomes = [self._alone(clip) for clip in batch]
            later = [clips for clips, _ in waiting]
            waiting.clear()
            waiting.extend((clips, self._submit(clips)) for clips in later)
            return outcomes

    def _alone(self, clip: Clip) -> Outcome:
        """Read one clip in a process of its own, to find the one that breaks its reader."""
        try:
            [outcome] = self._submit([clip]).result(SECONDS_A_CLIP)
        except BrokenExecutor:
            outcome = PassingTrouble(clip.name, _file(clip), DIED)
        except TimeoutError:
            outcome = PassingTrouble(clip.name, _file(clip), HUNG)
        else:
            return outcome
        self._stop(kill=True)
        return outcome

    def _expect_workers(self) -> None:
        """Let one worker start and receive the source, before clips are blamed for what is not their fault."""
        try:
            self._submit([]).result(SECONDS_A_CLIP)
        except (BrokenExecutor, PicklingError, AttributeError, ImportError, TimeoutError) as error:
            raise DataError(
                "Expected worker processes that can import the source, but got none: put its class into a module and "
                "the call below if __name__ == '__main__', or use 1 worker."
            ) from error

    def _submit(self, clips: Sequence[Clip]) -> Future[list[Outcome]]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), _end_with_parent)
        try:
            return self._pool.submit(_read_all, self._read, clips)
        except BrokenExecutor as error:
            broken: Future[list[Outcome]] = Future()
            broken.set_exception(error)
            return broken

    def _stop(self, *, kill: bool) -> None:
        if self._pool is None:
            return
        for process in list((self._pool._processes or {}).values()) if kill else ():
            process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None


def _read_all(read: "partial[Outcome]", clips: Sequence[Clip]) -> list[Outcome]:
    return [read(clip) for clip in clips]


def _end_with_parent() -> None:
    """Let this worker end when the process that it reads for has ended, however that came."""
    parent = parent_process()
    assert parent is not None, "only worker processes end with their parent"
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()
