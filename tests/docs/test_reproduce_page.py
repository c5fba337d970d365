"""The page on reproducing names every entry with the command that runs it."""

import re
from pathlib import Path

from rollingq.cli.options import parse_options
from rollingq.cli.reproduce import SUMMARY
from rollingq.data.entries import DATASETS
from rollingq.reproduce.entries import ENTRIES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reproduce.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| .* \| (.*) \| `rollingq reproduce (\w+)(.*)` \|$", re.MULTILINE)


def test_every_entry_has_its_row_and_command() -> None:
    rows = ROW.findall(PAGE)
    assert [name for name, _, _, _ in rows] == list(ENTRIES)
    for name, data, command, flags in rows:
        assert command == name
        parse_options("reproduce", SUMMARY, flags.split())
        titles = [DATASETS[dataset].title for dataset in ENTRIES[name].datasets]
        assert data.split(", ") == titles or "the five above" in data


def test_commands_of_the_console_parse() -> None:
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines():
        words = line.partition("#")[0].split()[2:]
        flags = words[len([word for word in words if word in (*ENTRIES, "all")]) :]
        assert parse_options("reproduce", SUMMARY, flags).data in DATASETS
