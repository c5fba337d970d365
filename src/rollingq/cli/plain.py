"""What the commands without settings share: a parser that raises our errors, and a progress bar."""

import argparse
import sys
from typing import NoReturn

from rollingq.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """Says what is wrong as one of our errors instead of printing usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        raise ConfigError(f"Expected options of '{self.prog}', but {message}; see {self.prog} --help.")


class Bar:
    """A progress bar on standard error, where there is a terminal; use as a context.

    Args:
        what: Two words on what is going on.
    """

    def __init__(self, what: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Left

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        is_silent = not sys.stderr.isatty()
        self._progress = Progress(*columns, TextColumn("left"), Left(), console=Console(stderr=True), disable=is_silent)
        self._task = self._progress.add_task(what, total=None)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def update(self, done: int, total: int) -> None:
        """Move to ``done`` of ``total``."""
        self._progress.update(self._task, completed=done, total=total)
