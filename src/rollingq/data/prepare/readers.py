"""Read clips in worker processes: in order, in bounded memory, and alive after a reader that died or hangs."""

import os
import pickle
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
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

Read = Callable[[Clip], Outcome]


class Readers:
    """Worker processes that read clips. Use as a context; with one worker the clips are read in this process.

    Each worker has a pipe of its own and answers clip by clip: none can block another, and of one that dies or hangs it
    is known which clip it was at.

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
        self._deaths: Counter[int] = Counter()

    def __enter__(self) -> "Readers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._workers:
            self._workers.pop().stop()

    def read(self, clips: Sequence[Clip]) -> Iterator[Outcome]:
        """Yield what became of each clip, in their order; a few batches are read ahead, of about 1 MiB each.

        Raises:
            DataError: If worker processes cannot start or cannot import the source.
        """
        if self._num_workers == 1 or not clips:
            yield from map(self._read, clips)
            return
        for _ in range(self._num_workers):
            self._workers.append(_Worker(self._read))
        for worker in self._workers:
            worker.expect_ready()
        waiting, done = deque(range(len(clips))), dict[int, Outcome]()
        for wanted in range(len(clips)):
            while wanted not in done:
                self._hand_out(waiting, wanted, clips)
                self._receive(waiting, done, clips)
            yield done.pop(wanted)

    def _hand_out(self, waiting: deque[int], wanted: int, clips: Sequence[Clip]) -> None:
        """Give every worker enough to do, but nothing that lies too far ahead of the clip that is wanted."""
        limit = wanted + 2 * self._num_workers * self._batch
        for worker in sorted(self._workers, key=lambda worker: len(worker.asked)):
            if len(worker.asked) <= self._batch // 2:
                numbers = [waiting.popleft() for _ in range(self._batch) if waiting and waiting[0] <= limit]
                worker.ask(numbers, clips)

    def _receive(self, waiting: deque[int], done: dict[int, Outcome], clips: Sequence[Clip]) -> None:
        """Take what the workers have sent; wait until there is something."""
        wait([worker.pipe for worker in self._workers if worker.asked], timeout=SECONDS_A_CLIP / 10)
        for place, worker in enumerate(self._workers):
            try:
                done.update(worker.answers())
                reason = HUNG if worker.is_hung() else ""
            except (EOFError, OSError):
                reason = DIED
            if reason:
                self._replace(place, reason, waiting, done, clips)

    def _replace(
        self, place: int, reason: str, waiting: deque[int], done: dict[int, Outcome], clips: Sequence[Clip]
    ) -> None:
        """Start another worker; the clip that the old one was at is left out, if it did not merely die for once."""
        old = self._workers[place]
        old.stop()
        if old.asked:
            first = old.asked[0]
            self._deaths[first] += 1
            if reason == HUNG or self._deaths[first] > 1:
                old.asked.popleft()
                done[first] = PassingTrouble(clips[first].name, files_of(clips[first]), reason)
        waiting.extendleft(reversed(old.asked))
        self._workers[place] = _Worker(self._read)
        self._workers[place].expect_ready()


class _Worker:
    """One process, what it was asked for, and when it last said something.

    Raises:
        DataError: If it cannot start.
    """

    def __init__(self, read: Read) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, read), daemon=True)
        self.asked: deque[int] = deque()
        self._since = time.monotonic()
        try:
            self.process.start()
        except (pickle.PicklingError, AttributeError, TypeError, OSError) as error:
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

    def ask(self, numbers: Sequence[int], clips: Sequence[Clip]) -> None:
        """Ask for clips; it listens while it reads, so that this does not wait."""
        if not self.asked:
            self._since = time.monotonic()
        self.asked.extend(numbers)
        with suppress(OSError):  # It has died: the next look at its answers says so.
            self.pipe.send([clips[number] for number in numbers])

    def answers(self) -> dict[int, Outcome]:
        """Return what it has sent, without waiting.

        Raises:
            EOFError: If it has died and nothing more is to come.
            Exception: What the source raised, if it was no BadFileError.
        """
        found: dict[int, Outcome] = {}
        try:
            while self.asked and self.pipe.poll():
                answer = self.pipe.recv()
                if isinstance(answer, Exception):
                    raise answer
                found[self.asked.popleft()] = answer
                self._since = time.monotonic()
        except (EOFError, OSError):
            if not found:  # Else its end shows again at the next look.
                raise
        return found

    def is_hung(self) -> bool:
        """Return whether it has said nothing for too long."""
        return bool(self.asked) and time.monotonic() - self._since > SECONDS_A_CLIP

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


def _serve(pipe: Connection, read: Read) -> None:
    """Answer with samples until the other end is closed, as it is when the other process ends."""
    requests: SimpleQueue[list[Clip]] = SimpleQueue()
    Thread(target=_listen, args=(pipe, requests), daemon=True).start()
    with suppress(OSError, KeyboardInterrupt):
        pipe.send(None)
        while True:
            for clip in requests.get():
                try:
                    answer: Outcome | Exception = read(clip)
                except Exception as error:
                    answer = _sendable(error)
                pipe.send(answer)


def _listen(pipe: Connection, requests: SimpleQueue[list[Clip]]) -> None:
    """Take requests as they come; end this process at once when there is nobody left to ask, even in a clip."""
    try:
        while True:
            requests.put(pipe.recv())
    except (EOFError, OSError):
        os._exit(0)


def _sendable(error: Exception) -> Exception:
    """Return the error, or one that says the same if it cannot be sent, or could be taken for the pipe's own."""
    try:
        if isinstance(error, EOFError | OSError):
            raise TypeError
        pickle.loads(pickle.dumps(error))  # noqa: S301  # Our own bytes.
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
