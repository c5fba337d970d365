"""What the commands without settings share: a parser that raises our errors, and a progress bar."""

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from rollingq.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress


class Parser(argparse.ArgumentParser):
    """Says what is wrong as one of our errors instead of printing usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        raise ConfigError(f"Expected options of '{self.prog}', but {message}; see {self.prog} --help.")


class Bar:
    """A progress bar on standard error, where there are a terminal and rich; use as a context.

    Args:
        what: Two words on what is going on.
    """

    def __init__(self, what: str) -> None:
        self._progress = _progress() if sys.stderr.isatty() else None
        if self._progress is not None:
            self._task = self._progress.add_task(what, total=None)

    def __enter__(self) -> "Bar":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, done: int, total: int) -> None:
        """Move to ``done`` of ``total``."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total)


def _progress() -> "Progress | None":
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Left
    except ImportError:  # The work goes on without a bar.
        return None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), Left(), console=Console(stderr=True))
