"""The folder of a preparation under way: finished shards are kept over a kill, half-done ones are not trusted."""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from rollingq.data.prepare.shards import refuse_foreign, swap, unwritable, write_durably, write_manifest, write_shard
from rollingq.data.shards import Arrays, sha256_of
from rollingq.errors import DataError


class WorkFolder:
    """``.OUT.partial`` beside the folder to make; one process at a time. Use as a context.

    A shard counts as done when its record is there, says the same key and that nothing of it should be tried again,
    and the shard's bytes have the recorded sha-256. The record is written after the shard, and both appear under their
    names only when they are whole.

    Args:
        out: Folder to make in the end.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.parent / f".{out.name}.partial"
        self._shards, self._records = self.path / "shards", self.path / "records"
        self._earlier = self.path / "earlier"
        self._lock = FileLock(out.parent / f".{out.name}.lock", blocking=False)

    def __enter__(self) -> "WorkFolder":
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            for folder in (self._shards, self._records):
                folder.mkdir(parents=True, exist_ok=True)
            if self._earlier.exists() and not self.out.exists():
                self._earlier.rename(self.out)  # A call was killed between the two renames of its end.
        except Timeout as error:
            raise DataError(
                f"Expected to be alone in preparing {self.out}, but another process is at it. Wait for it, or give "
                "another --out."
            ) from error
        except OSError as error:
            self._unlock()
            raise unwritable(self.out, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unlock()

    def _unlock(self) -> None:
        """Remove the lock's file while it is held, then let go: who waits for it then looks for a new file."""
        if self._lock.is_locked:
            with suppress(OSError):  # Where a file in use cannot be removed, it stays and does no harm.
                Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()

    def record(self, name: str, key: str) -> dict[str, Any] | None:
        """Return the record of a shard that is done, or None."""
        try:
            stored = json.loads((self._records / f"{name}.json").read_bytes())
            if stored["sha256"] != sha256_of(stored["record"].encode()):
                return None
            record: dict[str, Any] = json.loads(stored["record"])
            if (record["key"], record["is_final"]) != (key, True):
                return None
            shard = record["shard"]
            is_whole = not shard or sha256_of((self._shards / f"{name}.safetensors").read_bytes()) == shard["sha256"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return record if is_whole else None

    def keep(self, name: str, key: str, arrays: Arrays, record: Mapping[str, Any]) -> dict[str, Any]:
        """Write one shard and then its record; return the record. A shard without samples has a record alone."""
        try:
            shard = write_shard(self._shards, name, arrays) if record["names"] else None
            full = {"key": key, "shard": shard, **record}
            text = json.dumps(full)
            stored = {"sha256": sha256_of(text.encode()), "record": text}
            write_durably(self._records / f"{name}.json", json.dumps(stored).encode())
        except OSError as error:
            raise unwritable(self.out, error) from error
        return full

    def finish(self, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Write manifest and other files beside the shards, and rename the folder to what the user asked for."""
        wanted = {*manifest["shards"], *files}
        try:
            for path in self._shards.iterdir():
                if path.name not in wanted:
                    path.unlink()
            for name, data in files.items():
                write_durably(self._shards / name, data)
            write_manifest(self._shards, manifest)
            refuse_foreign(self.out, str(manifest["dataset"]))  # Hours may have passed since the start.
            swap(self._shards, self.out, self._earlier)
        except OSError as error:
            raise unwritable(self.out, error) from error
        shutil.rmtree(self.path, ignore_errors=True)

    def drop(self) -> None:
        """Forget everything that is done."""
        shutil.rmtree(self.path, ignore_errors=True)
