"""Writing results."""

from pathlib import Path

from rollingq.evaluation.results import Comparison, to_json
from rollingq.files import write_bytes, write_text

__all__ = ["write_bytes", "write_json", "write_text"]


def write_json(comparison: Comparison, path: str | Path) -> Path:
    """Write a comparison as JSON, to be read again by ``evaluation.results.from_json``."""
    return write_text(path, to_json(comparison) + "\n")
