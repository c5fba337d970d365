"""``rollingq data prepare``: raw files to shards, with every dataset's own options."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rollingq.cli.plain import Bar
from rollingq.data.entries import DATASETS
from rollingq.errors import ConfigError

if TYPE_CHECKING:
    from rollingq.data.prepare.engine import PrepareSummary

SHOWN = 20
"""Most damaged clips that are listed on the screen; the manifest lists all."""
USAGE = (
    "usage: rollingq data prepare NAME --root RAW --out DIR [options]\n\n"
    "Turn raw files, as published, into a folder that training reads. It can be stopped and started again.\n\n"
    "NAME is one of {names}; rollingq data prepare NAME --help shows the options of each."
)


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code: 1 if clips are damaged, unless --on-error skip."""
    names = [name for name, entry in DATASETS.items() if not entry.embedded]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE.format(names=", ".join(names)))
        return 0
    name, *others = arguments
    if name.startswith("-"):
        raise ConfigError(f"Expected the name of a dataset before options, but got {name}: {', '.join(names)}.")
    given = _parsed(name, others)
    summary = _prepared(name, given)
    if given["json"]:
        print(json.dumps({**asdict(summary), "total": summary.total}, indent=1))
    else:
        _print(summary)
    return 1 if summary.skipped and given["on_error"] != "skip" else 0


def _parsed(name: str, arguments: list[str]) -> dict[str, Any]:
    from rollingq.cli.options import new_parser, parse
    from rollingq.data.registry import source_of

    kind = source_of(name)
    parser = new_parser(f"data prepare {name}", f"Prepare {DATASETS[name].title}: {DATASETS[name].where}.")
    parser.add_argument("--root", type=str, default=None, help="folder of the raw files, as published (required)")
    parser.add_argument("--out", type=str, default=None, help="folder to make (required)")
    parser.add_argument("--workers", type=int | None, default=None, help="processes; as many as cores if not given")
    parser.add_argument(
        "--on-error",
        choices=("report", "skip", "raise"),
        default="report",
        help="damaged clips: write the others, name these and exit with 1; the same but exit with 0; or make no folder",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_class_arguments(kind, nested_key=None, as_group=False)
    given: dict[str, Any] = vars(parse(parser, arguments))
    missing = [f"--{flag}" for flag in ("root", "out") if given[flag] is None]
    if missing:
        raise ConfigError(f"Expected {' and '.join(missing)}, but got none; see rollingq data prepare {name} --help.")
    return given


def _prepared(name: str, given: dict[str, Any]) -> PrepareSummary:
    from rollingq.data.registry import prepare, source_of

    known = source_of(name).options()
    with Bar("reading") as bar:
        return prepare(
            name,
            root=given["root"],
            out=given["out"],
            workers=given["workers"],
            on_error=given["on_error"],
            on_progress=bar.update,
            options={option: given[option] for option in known},
        )


def _print(summary: PrepareSummary) -> None:
    counts = ", ".join(f"{split} {sum(by_class.values())}" for split, by_class in summary.counts.items())
    print(f"{summary.dataset}: {summary.total} samples ({counts}) -> {summary.folder}")
    if summary.num_kept:
        print(f"{summary.num_kept} clips were kept from the call before")
    classes = list(next(iter(summary.counts.values())))
    if len(classes) <= 12:
        for name in classes:
            print(f"  {name}: " + ", ".join(f"{split} {by[name]}" for split, by in summary.counts.items()))
    for key, note in summary.notes.items():
        print(f"{key}: {_short(note)}")
    for modality in {name: None for lacking in summary.lacking.values() for name in lacking}:
        numbers = {split: lacking.get(modality, 0) for split, lacking in summary.lacking.items()}
        if any(numbers.values()):
            print(f"samples that lack {modality} (it is masked): {_short(numbers)}")
    if summary.absent:
        print(f"{len(summary.absent)} clips have no file below the root: {_short(list(summary.absent))}")
    if summary.skipped:
        _print_skipped(summary)


def _print_skipped(summary: PrepareSummary) -> None:
    print(f"{len(summary.skipped)} damaged or incomplete clips are left out:", file=sys.stderr)
    for skipped in summary.skipped[:SHOWN]:
        print(f"  {skipped.file or skipped.name}: {skipped.reason}", file=sys.stderr)
    if len(summary.skipped) > SHOWN:
        print(f"  and {len(summary.skipped) - SHOWN} more: {summary.folder}/manifest.json", file=sys.stderr)


def _short(note: Any) -> str:  # noqa: ANN401
    if isinstance(note, dict):
        return ", ".join(f"{key} {_short(value)}" for key, value in note.items())
    if isinstance(note, (list, tuple)):
        return ", ".join(map(str, note[:5])) + (f" ... ({len(note)})" if len(note) > 5 else "")
    return str(note)
