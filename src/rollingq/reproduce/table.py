"""An entry for the terminal: ours beside the paper's, the changes in words, and the list of all entries."""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from rollingq.evaluation.results import Interval
from rollingq.extras import lab_extra
from rollingq.reporting.text import DASH, clean, is_defined, number
from rollingq.reproduce.entry import Entry
from rollingq.reproduce.results import Cell, Change, Reproduction

if TYPE_CHECKING:
    from rich.table import Table

MAX_WIDTH = 38
"""Most characters of a heading in one line."""


def reproduction_table(found: Reproduction) -> "Table":
    """Return the cells for a terminal: "paper" and "ours" under every column of the paper.

    Args:
        found: What came out.

    Raises:
        MissingExtraError: Without the package rich.
    """
    with lab_extra("rich"):
        from rich import box
        from rich.table import Table
        from rich.text import Text

    cells = _places(found.cells)
    rows, columns = (list(dict.fromkeys(place[i] for place in cells)) for i in (0, 1))
    sides_of = {name: _sides(cell for (_, column), cell in cells.items() if column == name) for name in columns}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold", max_width=MAX_WIDTH)
    for column, sides in sides_of.items():
        for place, side in enumerate(sides):
            head = f"{'' if place else clean(column)}\n{side}"
            table.add_column(Text(head), justify="right", overflow="fold")
    for row in rows:
        texts = [_text(cells.get((row, column)), side) for column, sides in sides_of.items() for side in sides]
        table.add_row(Text(clean(row)), *(Text(text) for text in texts))
    return table


def _sides(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Return what stands below a heading: no "paper" where it prints nothing."""
    return ("paper", "ours") if any(cell.printed for cell in cells) else ("ours",)


def _places(cells: Sequence[Cell]) -> dict[tuple[str, str], Cell]:
    """Return (row, column) as shown -> cell: wide tables are turned, units stand where they are the same."""
    is_wide = len({cell.column for cell in cells}) > len({cell.row for cell in cells})
    places = [(cell.column, cell.row) if is_wide else (cell.row, cell.column) for cell in cells]
    units: dict[str, set[str]] = {}
    for (_, column), cell in zip(places, cells, strict=True):
        units.setdefault(column, set()).add(cell.unit)
    is_by_column = all(len(found) == 1 for found in units.values())
    return {
        (row, _with_unit(column, cell)) if is_by_column else (_with_unit(row, cell), column): cell
        for (row, column), cell in zip(places, cells, strict=True)
    }


def _with_unit(heading: str, cell: Cell) -> str:
    return f"{heading}, {cell.unit}" if cell.unit else heading


def title_line(found: Reproduction) -> str:
    """Return what stands above the table: the entry, its title and what was run."""
    return clean(f"{found.entry}: {found.title} ({found.label})")


def _text(cell: Cell | None, side: str) -> str:
    if cell is None:
        return ""
    if side == "paper":
        return cell.printed.replace("<", "< ") or DASH
    return DASH if cell.ours is None else interval_text(cell.ours, cell.unit)


def interval_text(found: Interval, unit: str, *, is_signed: bool = False) -> str:
    """Return ``"71.2 ± 1.4"``, the mean alone where the spread is not known.

    Example:
        >>> interval_text(Interval(71.2, 1.42, 69.0, 73.4, 3), "%")
        '71.2 ± 1.4'
    """
    digits = 1 if unit == "%" else 2
    mean = number(found.mean, digits, is_signed=is_signed)
    return f"{mean} ± {number(found.std, digits)}" if found.num_seeds >= 2 else mean


def reproduction_lines(found: Reproduction) -> list[str]:
    """Return what stands below the table: how it differs, the paper's words, changes by RollingQ, gaps, notes."""
    lines = [f"Paper: {found.statement}"] if found.statement else []
    lines += [f"Not the paper's setting: {'; '.join(found.deviations)}."] if found.deviations else []
    lines += [change_line(change) for change in found.changes]
    lines += _reason_lines(found.cells)
    lines += [f"Note: {note}" for note in found.notes]
    return [clean(line, max_length=1000) for line in lines]


def change_line(change: Change) -> str:
    """Return a change by RollingQ in words.

    Example:
        >>> change_line(Change(row="Vanilla MT + RollingQ", column="av_digits", unit="%", paper=3.1, direction=1,
        ...     ours=Interval(1.0, 2.0, -4.0, 6.0, 3), verdict="cannot be told"))
        'RollingQ on Vanilla MT, av_digits: paper +3.1, ours +1.0 [-4.0, +6.0]: inconclusive, the sign cannot be told'
    """
    digits = 1 if change.unit == "%" else 2
    words = {1: "up", -1: "down", 0: "no change"}[change.direction]
    paper = words if change.paper is None else number(change.paper, digits, is_signed=True)
    low, high = (number(value, digits, is_signed=True) for value in (change.ours.low, change.ours.high))
    ours = f"{number(change.ours.mean, digits, is_signed=True)}"
    if is_defined(change.ours.low):
        ours += f" [{low}, {high}]"
    labels = [text.replace(" + RollingQ", "") for text in (change.row, change.column)]
    name, place = labels if "RollingQ" in change.row else reversed(labels)
    return f"RollingQ on {name}, {place}: paper {paper}, ours {ours}: {_verdict(change)}"


def _verdict(change: Change) -> str:
    if change.verdict != "cannot be told":
        return change.verdict
    return "one seed: the sign cannot be told" if change.ours.num_seeds < 2 else "inconclusive, the sign cannot be told"


def _reason_lines(cells: Iterable[Cell]) -> list[str]:
    """Return one line a reason, with the cells that it is for."""
    places: dict[tuple[bool, str], list[str]] = {}
    for cell in cells:
        if cell.reason:
            places.setdefault((cell.ours is None, cell.reason), []).append(f"{cell.row} / {cell.column}")
    return [
        f"{'Not measured' if is_gone else 'Not in all seeds'}, {reason}: {_some(found)}"
        for (is_gone, reason), found in places.items()
    ]


def _some(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def list_lines(entries: Iterable[Entry], here: Collection[str]) -> list[str]:
    """Return the list of entries: what each shows, which data it needs, and whether that is here.

    Args:
        entries: Which.
        here: Names of the datasets that are prepared.
    """
    lines = []
    for entry in entries:
        states = [f"{data} ({'here' if data in here else 'not prepared'})" for data in entry.datasets]
        what = f"; diagnoses: {', '.join(entry.measures)}" if entry.measures else ""
        title = plain_title(entry)
        lines += [f"{entry.name:<9}{title}", f"         {', '.join(states)}; methods: {', '.join(entry.methods)}{what}"]
    return lines


def plain_title(entry: Entry) -> str:
    """Return the title with the names of the paper's first dataset."""
    first, second = entry.cells[0].part.modalities
    return entry.title.format(biased=entry.cells[0].part.biased or first, other=second)
