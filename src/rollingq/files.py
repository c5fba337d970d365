"""Writing whole files: a reader sees the old file or the new one, never half of one."""

import os
import secrets
from pathlib import Path


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write a file by way of a temporary one in the same folder, which then takes its name.

    Args:
        path: Where to write; missing folders are made.
        content: The whole file.

    Returns:
        The path written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def write_text(path: str | Path, content: str) -> Path:
    """Write a text file as UTF-8, whole or not at all."""
    return write_bytes(path, content.encode("utf-8", errors="replace"))
