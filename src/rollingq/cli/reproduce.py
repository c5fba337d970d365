"""``rollingq reproduce``: the paper's tables and figures, ours beside the paper's."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rollingq.cli.options import Options, parse_options
from rollingq.cli.reproduce_entry import SUMMARY, Request, outside_kind, reproduce_entry
from rollingq.data.entries import DATASETS
from rollingq.data.locations import recall
from rollingq.data.registry import modalities_of
from rollingq.errors import ConfigError
from rollingq.reproduce.entries import ENTRIES, entries_of
from rollingq.reproduce.entry import COUNTED, Entry
from rollingq.reproduce.scope import missing_lines, on_other_data, on_papers_data, with_outside
from rollingq.reproduce.table import list_lines, plain_title, reproduction_lines, reproduction_table, title_line

if TYPE_CHECKING:
    from rollingq.reproduce.results import Reproduction

OWN = {"--methods": "its own methods", "--inside": "its own classes"}
"""Options of other commands that an entry decides itself."""


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code: 2 if an entry that was named could not be run."""
    names, flags = _split(arguments)
    if "--list" in flags or not (names or {"-h", "--help"} & set(flags)):
        return _list(names, [flag for flag in flags if flag != "--list"])
    outside, flags = _taken(flags, "--outside")
    options = parse_options("reproduce", SUMMARY, flags)
    request = replace(_request(options, flags), outside=outside)
    scoped = [_scoped(entry, options, request.data) for entry in _asked(names, request)]
    ready = [entry for entry in scoped if _can_run(entry)]
    for line in _missing(entries_of(names), options, request.data):
        print(f"rollingq: {line}", file=sys.stderr)
    found = [one for entry in ready if (one := _reproduced(entry, request, is_printed=not options.json))]
    if options.json:
        from rollingq.evaluation.results import to_json

        print(json.dumps([json.loads(to_json(one)) for one in found], indent=1))
    return 2 if len(found) < len(scoped) else 0


def _asked(names: list[str], request: Request) -> list[Entry]:
    """Return the entries, with outside samples of their own if the user gave some."""
    entries = entries_of(names)
    if request.outside is None:
        return entries
    return [with_outside(e, outside_kind(request.data or e.datasets[0], request.outside)) for e in entries]


def _taken(flags: Sequence[str], name: str) -> tuple[str | None, list[str]]:
    """Return the value of an option that this command alone has, and the flags without it."""
    for place, flag in enumerate(flags):
        if flag.startswith(f"{name}="):
            return flag.partition("=")[2], [*flags[:place], *flags[place + 1 :]]
        if flag == name:
            if place + 1 == len(flags):
                raise ConfigError(f"Expected a folder after {name}, but got nothing.")
            return flags[place + 1], [*flags[:place], *flags[place + 2 :]]
    return None, list(flags)


def _reproduced(entry: Entry, request: Request, *, is_printed: bool) -> Reproduction | None:
    """Run an entry, write and print it; say why and return None where it does not fit its data."""
    data = None if request.data in ENTRIES[entry.name].datasets else request.data
    try:
        found = _written(reproduce_entry(entry, replace(request, data=data)), request.out)
    except ConfigError as error:
        print(f"rollingq: {entry.name}: {error}", file=sys.stderr)
        return None
    if is_printed:
        _print(found)
    return found


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the names, which come first, and the options behind them."""
    number = next((place for place, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    return arguments[:number], arguments[number:]


def _list(names: list[str], flags: list[str]) -> int:
    """Print the entries, what each needs, and whether its data is here."""
    if flags not in ([], ["--json"]):
        raise ConfigError(f"Expected names of entries before options, but got {flags[0]} first or beside --list.")
    entries = entries_of(names or ["all"])
    here = {data for entry in entries for data in entry.datasets if _is_here(data)}
    if flags:
        facts = [
            {
                "entry": entry.name,
                "title": plain_title(entry),
                "data": {data: data in here for data in entry.datasets},
                "methods": entry.methods,
                "diagnoses": entry.measures,
            }
            for entry in entries
        ]
        print(json.dumps(facts, indent=1))
        return 0
    print("\n".join(list_lines(entries, here)))
    print("\nrollingq reproduce table5 --data av_digits runs the same procedure on other data, and says so.")
    return 0


def _is_here(data: str) -> bool:
    return DATASETS[data].embedded or recall(data) is not None


def _request(options: Options, flags: list[str]) -> Request:
    """Return what was asked for beside the names; raise ConfigError for what an entry decides itself."""
    given = {flag.partition("=")[0] for flag in flags}
    for flag, what in OWN.items():
        if flag in given:
            raise ConfigError(f"Expected no {flag}, as an entry has {what}; rollingq compare takes it.")
    is_named = "--data" in given or options.data != "av_digits"
    return Request(
        flags=tuple(flag for flag in _taken(flags, "--data")[1] if flag != "--json"),
        out=Path("runs/reproduce") if options.out == Path("runs") / options.data else options.out,
        data=options.data if is_named else None,
        seeds=options.seeds if "--seeds" in given else None,
    )


def _scoped(entry: Entry, options: Options, data: str | None) -> Entry:
    """Return what of an entry is run, with what is missing marked."""
    if data is None:
        if options.dir is not None and len(entry.datasets) > 1:
            raise ConfigError(
                f"Expected --data beside --dir, as {entry.name} is on {', '.join(entry.datasets)}, but got --dir alone."
            )
        here = [name for name in entry.datasets if options.dir is not None or _is_here(name)]
        return on_papers_data(entry, {name: modalities_of(name, dir=options.dir) for name in here})
    if data in entry.datasets:
        if options.modalities is not None:
            raise ConfigError(f"Expected no --modalities for {entry.name} on {data}, which has those of the paper.")
        return on_papers_data(entry, {data: modalities_of(data, dir=options.dir)})
    return on_other_data(entry, data, options.modalities or modalities_of(data, dir=options.dir)[:2])


def _can_run(entry: Entry) -> bool:
    return bool(entry.trainings) or any(cell.measure in COUNTED for cell in entry.cells)


def _missing(entries: list[Entry], options: Options, data: str | None) -> list[str]:
    """Return one line a dataset that is not here."""
    if data is not None or options.dir is not None:
        return []
    lines = missing_lines(entries, [d for entry in entries for d in entry.datasets if not _is_here(d)])
    return [*lines, "The same procedure on other data: add --data av_digits."] if lines else []


def _written(found: Reproduction, out: Path) -> Reproduction:
    """Write the result beside its reports and return it."""
    from rollingq.evaluation.results import to_json
    from rollingq.files import write_text

    write_text(out / f"{found.entry}.json", to_json(found) + "\n")
    return found


def _print(found: Reproduction) -> None:
    from rich.console import Console

    is_terminal = Console().is_terminal
    console = Console(highlight=False, width=None if is_terminal else 100)
    console.print(title_line(found), style="bold", markup=False)
    console.print(reproduction_table(found))
    for line in (*reproduction_lines(found), *(f"Report: {report}" for report in found.reports)):
        console.print(line, markup=False, soft_wrap=line.startswith("Report: "))
    console.print()
