"""Where each dataset was last prepared, so that ``--dir`` need not be repeated."""

import json
import os
from pathlib import Path


def memory_file() -> Path:
    """Return the file that remembers, in the user's cache folder (``$XDG_CACHE_HOME``, else ``~/.cache``)."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return Path(cache if cache else Path.home() / ".cache") / "rollingq" / "prepared.json"


def remember(name: str, folder: Path) -> None:
    """Remember where a dataset was prepared; a convenience, so a cache that cannot be written is no error."""
    path = memory_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({**_read(), name: str(folder.resolve())}, indent=1))
        os.replace(temporary, path)
    except OSError:
        return


def recall(name: str) -> Path | None:
    """Return where a dataset was last prepared, if the folder is still there."""
    folder = _read().get(name)
    return Path(folder) if isinstance(folder, str) and Path(folder).is_dir() else None


def _read() -> dict[str, object]:
    try:
        loaded = json.loads(memory_file().read_text())
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
