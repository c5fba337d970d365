"""Read clips in worker processes: in order, in bounded memory, and alive after a reader that died or hangs."""

import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType

import numpy as np

from rollingq.data.prepare.samples import Outcome, PassingTrouble, files_of, read_clip
from rollingq.data.prepare.source import Clip, Source
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError

SECONDS_A_CLIP = 300.0
"""After this long a reader counts as hung."""
DIED = "the process that read it died: a crash in a decoder, or no memory left"
HUNG = "reading it took too long"
AHEAD = 2
"""Batches that each worker may be ahead of what was asked for."""

Read = Callable[[Clip], Outcome]


class Readers:
    """Worker processes that read clips. Use as a context; with one worker the clips are read in this process.

    Each worker has a pipe of its own, so that none can block another, and its end is seen at once. The worker ends when
    this process does, however that came.

    Args:
        source: What reads a clip.
        root: Folder of the raw files.
        modalities: What a sample has to hold.
        workers: Processes.
    """

    def __init__(self, source: Source, root: Path, modalities: dict[str, ModalitySpec], workers: int) -> None:
        self._read: Read = partial(read_clip, source=source, root=root, modalities=modalities)
        self._num_workers = 1 if source.in_process else workers
        sizes = (int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in modalities.values())
        self._batch = int(np.clip(2**20 // max(1, sum(sizes)), 1, 64))
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Readers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._workers:
            self._workers.pop().stop()

    def read(self, clips: Sequence[Clip]) -> Iterator[Outcome]:
        """Yield what became of each clip, in their order; at most a few batches are read ahead.

        Raises:
            DataError: If worker processes cannot start or cannot import the source.
        """
        if self._num_workers == 1 or not clips:
            yield from map(self._read, clips)
            return
        todo = deque(range(0, len(clips), self._batch))
        done: dict[int, list[Outcome]] = {}
        for _ in range(self._num_workers):
            self._workers.append(_Worker(self._read, clips))
        for worker in self._workers:
            worker.expect_ready()
        for start in range(0, len(clips), self._batch):
            while start not in done:
                self._hand_out(todo, start, clips)
                done.update(self._receive(clips))
            yield from done.pop(start)

    def _hand_out(self, todo: deque[int], wanted: int, clips: Sequence[Clip]) -> None:
        """Give every worker something to do, but nothing that lies too far ahead of the batch that is wanted."""
        limit = wanted + AHEAD * self._num_workers * self._batch
        for worker in sorted(self._workers, key=lambda worker: len(worker.starts)):
            if todo and todo[0] <= limit and len(worker.starts) < AHEAD:
                start = todo.popleft()
                worker.ask(start, min(start + self._batch, len(clips)))

    def _receive(self, clips: Sequence[Clip]) -> dict[int, list[Outcome]]:
        """Return the batches that are finished now; wait for one."""
        wait([worker.pipe for worker in self._workers if worker.starts], timeout=SECONDS_A_CLIP / 10)
        found: dict[int, list[Outcome]] = {}
        for number, worker in enumerate(self._workers):
            try:
                found.update(worker.answers())
                if worker.is_hung():
                    raise TimeoutError
            except (EOFError, OSError):  # TimeoutError is one, and so is a pipe that broke.
                worker.stop()
                self._workers[number] = _Worker(self._read, clips)
                self._workers[number].expect_ready()
                found.update(self._again(worker.starts, clips))
        return found

    def _again(self, starts: Sequence[int], clips: Sequence[Clip]) -> dict[int, list[Outcome]]:
        """Read the batches of a worker that died or hung, each clip by itself, to find the one that did it."""
        return {
            start: [self._alone(number, clips) for number in range(start, min(start + self._batch, len(clips)))]
            for start in starts
        }

    def _alone(self, number: int, clips: Sequence[Clip]) -> Outcome:
        worker = _Worker(self._read, clips[number : number + 1])
        try:
            worker.expect_ready()
            worker.ask(0, 1)
            if not worker.pipe.poll(SECONDS_A_CLIP):
                return PassingTrouble(clips[number].name, files_of(clips[number]), HUNG)
            return worker.answers()[0][0]
        except (EOFError, OSError):
            return PassingTrouble(clips[number].name, files_of(clips[number]), DIED)
        finally:
            worker.stop()


class _Worker:
    """One process, what it was asked for, and when it last said something."""

    def __init__(self, read: Read, clips: Sequence[Clip]) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, read, clips), daemon=True)
        self.starts: deque[int] = deque()
        self._since = time.monotonic()
        try:
            self.process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise _no_worker() from error
        finally:
            theirs.close()

    def expect_ready(self) -> None:
        """Wait until it has started and imported the source.

        Raises:
            DataError: If it cannot.
        """
        try:
            if not self.pipe.poll(SECONDS_A_CLIP):
                raise TimeoutError
            self.pipe.recv()
        except (EOFError, OSError) as error:
            raise _no_worker() from error

    def ask(self, start: int, stop: int) -> None:
        """Ask for clips ``start`` to ``stop``; what it is told is small, so that this never waits."""
        if not self.starts:
            self._since = time.monotonic()
        self.starts.append(start)
        with suppress(OSError):  # It has died: the next answer says so.
            self.pipe.send((start, stop))

    def answers(self) -> dict[int, list[Outcome]]:
        """Return what it has sent, without waiting.

        Raises:
            EOFError: If it has died.
            Exception: What the source raised, if it was no BadFileError.
        """
        found: dict[int, list[Outcome]] = {}
        while self.starts and self.pipe.poll():
            answer = self.pipe.recv()
            if isinstance(answer, Exception):
                raise answer
            found[self.starts.popleft()] = answer
            self._since = time.monotonic()
        return found

    def is_hung(self) -> bool:
        """Return whether it has said nothing for too long."""
        return bool(self.starts) and time.monotonic() - self._since > SECONDS_A_CLIP

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.pipe.close()
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()


def _no_worker() -> DataError:
    return DataError(
        "Expected worker processes that can import the source, but got none: put its class into a module and the call "
        "below if __name__ == '__main__', or use 1 worker."
    )


def _serve(pipe: Connection, read: Read, clips: Sequence[Clip]) -> None:
    """Answer with samples until the other end is closed, as it is when the other process ends."""
    with suppress(EOFError, OSError, KeyboardInterrupt):
        pipe.send(None)
        while True:
            start, stop = pipe.recv()
            try:
                pipe.send([read(clip) for clip in clips[start:stop]])
            except Exception as error:
                pipe.send(_sendable(error))


def _sendable(error: Exception) -> Exception:
    """Return the error, or one that says the same if it cannot be sent, or could be taken for the pipe's own."""
    try:
        if isinstance(error, (EOFError, OSError)):
            raise TypeError
        pickle.loads(pickle.dumps(error))  # noqa: S301  # Our own bytes.
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
