"""``rollingq data``: list, prepare and check datasets."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from rollingq.errors import ConfigError, unknown_name


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as one of our errors instead of printing usage and leaving."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"Expected options of '{self.prog}', but {message}; see {self.prog} --help.")


def run(arguments: list[str]) -> int:
    """Run ``rollingq data ACTION`` and return the exit code."""
    parser = _Parser(prog="rollingq data", description="List, prepare and check datasets.")
    parser.add_argument("action", help=f"one of {', '.join(ACTIONS)}")
    if not arguments or arguments[0] in ("-h", "--help"):
        parser.print_help()
        return 0
    if arguments[0] not in ACTIONS:
        raise ConfigError(unknown_name("the action of rollingq data", arguments[0], ACTIONS))
    return ACTIONS[arguments[0]](arguments[1:])


def _list(arguments: Sequence[str]) -> int:
    from rollingq.data.registry import DATASETS

    parser = _Parser(prog="rollingq data list", description="Show the datasets.")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    if parser.parse_args(arguments).json:
        print(json.dumps([asdict(entry) for entry in DATASETS.values()], indent=1))
        return 0
    for entry in DATASETS.values():
        state = "in the package" if entry.embedded else _prepared(entry.name)
        print(f"{entry.name}: {entry.title}, {entry.num_classes} classes, {', '.join(entry.modalities)} ({state})")
        print(f"  {entry.summary}\n  licence: {entry.licence}\n  source: {entry.source}")
    return 0


def _prepared(name: str) -> str:
    from rollingq.data.locations import recall

    folder = recall(name)
    return f"prepared in {folder}" if folder else f"to prepare: rollingq data prepare {name}"


def _prepare(arguments: Sequence[str]) -> int:
    from rollingq.data.registry import prepare

    parser = _Parser(prog="rollingq data prepare", description="Turn raw files into a folder that --dir takes.")
    parser.add_argument("name", help="name of the dataset")
    parser.add_argument("--root", required=True, help="folder of the raw files, as published")
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--workers", type=int, default=None, help="processes; as many as cores if not given")
    parser.add_argument(
        "--on-error",
        choices=("skip", "raise"),
        default="skip",
        help="damaged recordings: write the others, name them and exit with 1, or write nothing",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = parser.parse_args(arguments)
    with _Bar() as bar:
        summary = prepare(
            given.name,
            root=given.root,
            out=given.out,
            workers=given.workers,
            on_error=given.on_error,
            on_progress=bar.update,
        )
    if given.json:
        print(json.dumps(asdict(summary), indent=1))
    else:
        _print_summary(summary)
    return 1 if summary.skipped else 0


def _print_summary(summary: Any) -> None:  # noqa: ANN401
    counts = ", ".join(f"{split} {sum(by_class.values())}" for split, by_class in summary.counts.items())
    print(f"{summary.dataset}: {summary.total} recordings ({counts}) -> {summary.folder}")
    if summary.absent:
        print(f"{len(summary.absent)} published recordings are absent: {', '.join(summary.absent[:5])} ...")
    if summary.skipped:
        print(f"{len(summary.skipped)} damaged recordings are left out:", file=sys.stderr)
        for skipped in summary.skipped:
            print(f"  {skipped.file}: {skipped.reason}", file=sys.stderr)


def _check(arguments: Sequence[str]) -> int:
    from rollingq.data.registry import check

    parser = _Parser(prog="rollingq data check", description="Verify every shard of a prepared folder.")
    parser.add_argument("name", help="name of the dataset")
    parser.add_argument("--dir", default=None, help="prepared folder")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args(arguments)
    report = check(given.name, dir=given.dir)
    if given.json:
        print(json.dumps(asdict(report), indent=1))
    else:
        for shard in report.shards:
            shapes = ", ".join(f"{name} {list(shape)}" for name, shape in shard.shapes.items())
            print(f"{shard.file}: {shard.problem or 'sound'} ({shapes})")
    return 1 if report.problems else 0


class _Bar:
    """A progress bar on standard error, where there is a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._progress = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._task = self._progress.add_task("reading")

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def update(self, done: int, total: int) -> None:
        """Move to ``done`` of ``total``."""
        self._progress.update(self._task, completed=done, total=total)


ACTIONS: dict[str, Callable[[Sequence[str]], int]] = {"list": _list, "prepare": _prepare, "check": _check}
