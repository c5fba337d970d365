"""The folder of a run: its lock, its result, which is written last, and its weights. No torch in here."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rollingq.errors import MissingExtraError
from rollingq.evaluation.rebuilding import rebuilt
from rollingq.evaluation.results import RunResult, to_json
from rollingq.files import write_text

try:
    from filelock import FileLock, Timeout
except ImportError as error:
    raise MissingExtraError("filelock", "lab") from error

T = TypeVar("T")
RUNS, RESULT, CHECKPOINT, LOCK = "runs", "result.json", "best.ckpt", "lock"
"""Names in the folder of a comparison, and in that of a run."""


def hash_of(facts: Any) -> str:  # noqa: ANN401
    """Return the hash of plain facts.

    Example:
        >>> hash_of({"a": 1, "b": (2,)}) == hash_of({"b": [2], "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a run's folder, or say at once that another process has it.

    The system releases it when the process dies, so that no killed run stands in the way of another.

    Args:
        folder: The run's folder; it has to exist.

    Yields:
        Whether the lock is ours.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def read_finished(folder: Path, key: str) -> RunResult | None:
    """Return the result of a finished run, or None if there is none, it is damaged, or its key is another one."""
    return read_keyed(folder / RESULT, key, "result", RunResult)


def read_keyed(path: Path, key: str, name: str, kind: type[T]) -> T | None:
    """Return what stands beside a key in a file, or None if there is none, it is damaged, or its key is another one.

    Args:
        path: The file, with "key" and ``name``.
        key: Hash of everything that decides it.
        name: Name of what is wanted.
        kind: What it is.
    """
    try:
        stored = json.loads(path.read_text())
        return rebuilt(kind, stored[name], is_strict=False) if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def clear(folder: Path) -> None:
    """Forget another run's result and then its weights; beside them Lightning would choose another name for ours."""
    (folder / RESULT).unlink(missing_ok=True)
    for path in folder.glob(f"{Path(CHECKPOINT).stem}*.ckpt"):
        path.unlink()


def write_finished(folder: Path, key: str, facts: dict[str, Any], result: RunResult) -> None:
    """Write the result of a run in one go, beside its key and the facts that rebuild it.

    Args:
        folder: The run's folder.
        key: Hash of everything that decides the run.
        facts: What :func:`rollingq.training.stored.read_run` reads.
        result: What the run found.
    """
    stored = {"key": key, "facts": facts, "result": json.loads(to_json(result))}
    write_text(folder / RESULT, json.dumps(stored, indent=1))
