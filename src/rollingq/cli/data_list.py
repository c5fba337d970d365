"""``rollingq data list``: what there is, and where it comes from."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rollingq.cli.plain import Parser
from rollingq.data.entries import DATASETS, DatasetEntry
from rollingq.data.locations import recall


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    parser = Parser(prog="rollingq data list", description="Show the datasets.")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    is_json = parser.parse_args(arguments).json
    prepared = {entry.name: None if entry.embedded else recall(entry.name) for entry in DATASETS.values()}
    if is_json:
        print(json.dumps([_facts(entry, prepared[entry.name]) for entry in DATASETS.values()], indent=1))
        return 0
    for entry in DATASETS.values():
        print("\n".join(_lines(entry, prepared[entry.name])))
    return 0


def _facts(entry: DatasetEntry, prepared: Path | None) -> dict[str, object]:
    folder = None if prepared is None else str(prepared)
    return {**asdict(entry), "embedded": entry.embedded, "prepared": folder}


def _lines(entry: DatasetEntry, prepared: Path | None) -> Iterator[str]:
    what = ", ".join(entry.modalities) or "any modalities"
    classes = "any classes" if entry.num_classes is None else f"{entry.num_classes} classes"
    yield f"{entry.name}: {entry.title}; {what}; {classes}; {entry.size}"
    yield f"  {entry.summary}"
    yield f"  licence: {entry.licence}"
    yield f"  raw files: {entry.where}"
    if entry.embedded:
        yield "  in the package: nothing to prepare"
    elif prepared is not None:
        yield f"  prepared: {prepared}"
    else:
        yield f"  not prepared: rollingq data prepare {entry.name} --root RAW --out DIR"
