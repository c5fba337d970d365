"""Tables for a terminal and for Markdown, and the paired differences as lines."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rollingq.evaluation.results import Comparison, MethodSummary
from rollingq.extras import lab_extra
from rollingq.reporting.diagnosis_grids import diagnosis_grids
from rollingq.reporting.grids import (
    Cell,
    Grid,
    correlation_cell,
    difference_grid,
    grids,
    method_cell,
    token_share_lines,
)
from rollingq.reporting.lookup import CHOSEN_ON_TEST, is_chosen_on_test
from rollingq.reporting.phrases import difference_words
from rollingq.reporting.text import DASH, bounds, clean, has_spread, mean_and_spread, number, percent

if TYPE_CHECKING:
    from rich.table import Table

_COLUMNS = ("Method", "Accuracy, %", "Rot.", "AIR", "Modality", "Mass", "Cosine", "r, noise", "Noise acc.", "Probe")
_WIDTHS = (14, 12, 4, 5, 9, 5, 6, 10, 7, 7)


def comparison_table(comparison: Comparison) -> "Table":
    """Return the comparison for a terminal: a row a method, a line a modality, within 100 columns.

    Args:
        comparison: What was compared.

    Returns:
        A table whose columns are: accuracy in per cent (mean ± standard deviation over seeds, then the 95 % interval),
        rotations a run, AIR, and for every modality its attention mass on clean samples, the cosine of its average key
        to the query, the correlation of attention with that modality's noise (a positive one is marked), accuracy when
        it is noise, and its probe.

    Raises:
        MissingExtraError: Without the package rich.
    """
    with lab_extra("rich"):
        from rich import box
        from rich.table import Table
        from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=Text(clean(comparison.title)),
        caption=Text(_caption(comparison)),
    )
    for index, name in enumerate(_COLUMNS):
        table.add_column(
            name, justify="left" if index in (0, 4) else "right", overflow="fold", max_width=_WIDTHS[index]
        )
    for summary in comparison.summaries:
        table.add_row(*(Text("\n".join(lines)) for lines in _lines(comparison, summary)), end_section=True)
    return table


def _caption(comparison: Comparison) -> str:
    chance = f"Most frequent class: {percent(comparison.chance)}."
    return " ".join(
        [
            chance,
            "Mass: of attention.",
            *token_share_lines(comparison),
            "r must be negative: attention falls under noise.",
        ]
    )


def _lines(comparison: Comparison, summary: MethodSummary) -> list[list[str]]:
    score, correlation = summary.attention_score or {}, summary.correlation or {}
    modalities = [m for m in comparison.modalities if _is_seen(summary, m)] or comparison.modalities
    cells = [correlation_cell(correlation.get(m)) for m in modalities]
    heights = [2 if cell.note else 1 for cell in cells]
    return [
        _name_lines(method_cell(comparison, summary.method)),
        [mean_and_spread(summary.accuracy), *([bounds(summary.accuracy)] if has_spread(summary.accuracy) else [])],
        [number(summary.num_rotations, 1) if score or summary.num_rotations else DASH],
        [number(summary.air, is_signed=True)],
        _tall([clean(m, max_length=9) for m in modalities], heights),
        _tall([percent(score.get(m), 0) for m in modalities], heights),
        _tall([number((summary.cosines or {}).get(m), is_signed=True) for m in modalities], heights),
        [line for cell in cells for line in _shown(cell)],
        _tall([percent(summary.accuracy_under_noise.get(m)) for m in modalities], heights),
        _tall([percent(summary.probes.get(m)) for m in modalities], heights),
    ]


def _is_seen(summary: MethodSummary, modality: str) -> bool:
    mappings = (summary.accuracy_under_noise, summary.probes, summary.attention_score or {})
    return any(modality in mapping for mapping in mappings)


def _tall(lines: Sequence[str], heights: Sequence[int]) -> list[str]:
    return [text for line, height in zip(lines, heights, strict=True) for text in [line, *[""] * (height - 1)]]


def _name_lines(cell: Cell) -> list[str]:
    """Return a method's name, one part a line where it is too long for one, and its marks."""
    is_long = len(cell.text) > _WIDTHS[0]
    first, *parts = cell.text.split("+") if is_long else [cell.text]
    return [first, *(f"+{part}" for part in parts), *([cell.note] if cell.note else [])]


def _shown(cell: Cell) -> list[str]:
    return [cell.text, cell.note] if cell.note else [cell.text]


def diagnosis_tables(comparison: Comparison) -> list["Table"]:
    """Return the tables of the diagnoses for a terminal, one a grid of :func:`diagnosis_grids`.

    Args:
        comparison: What was compared.

    Raises:
        MissingExtraError: Without the package rich.
    """
    return [_terminal_table(grid) for grid in diagnosis_grids(comparison)]


def _terminal_table(grid: Grid) -> "Table":
    """Return a grid as a table; marks too long for a cell become footnotes."""
    with lab_extra("rich"):
        from rich import box
        from rich.table import Table
        from rich.text import Text

    found = dict.fromkeys(cell.note for row in grid.rows for cell in row if len(cell.note) > MAX_MARK)
    stars = {note: "*" * (place + 1) for place, note in enumerate(found)}
    notes = Text("\n".join([*grid.notes, *(f"{star} {note}" for note, star in stars.items())]))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=Text(clean(grid.title)), caption=notes)
    for index, (group, name) in enumerate(zip(_spanned(grid), grid.header, strict=True)):
        is_words = all(row[index].value is None for row in grid.rows)
        title = Text(f"{group}\n{name}" if group else name)
        table.add_column(title, justify="left" if is_words else "right", overflow="fold")
    for row in grid.rows:
        table.add_row(*(Text("\n".join(_starred(cell, stars))) for cell in row))
    return table


def _starred(cell: Cell, stars: Mapping[str, str]) -> list[str]:
    return [f"{cell.text} {stars[cell.note]}"] if cell.note in stars else _shown(cell)


def _spanned(grid: Grid) -> list[str]:
    """Return what stands over every column: the name of its group over the first, nothing over the rest."""
    groups = [name if i == 0 else "" for name, num in grid.groups for i in range(num)]
    return groups or [""] * len(grid.header)


MAX_MARK = 12
"""Longest mark of a cell, in characters, that stands in the cell itself in a terminal."""
MAX_LINES = 20
"""Most paired differences that a terminal shows; beyond that only those between a method and what it builds on."""


def difference_lines(comparison: Comparison) -> list[str]:
    """Return a line a pair, such as ``"mt+rollingq - mt: +1.2 points [-0.8, +3.2], p = 0.15: inconclusive"``.

    Of many pairs only those between a method and the one that it extends are shown, and how many are left out.
    """
    lines, shown = [], comparison.differences
    if len(shown) > MAX_LINES:
        shown = [d for d in shown if d.method.startswith(f"{d.baseline}+")]
    for d in shown:
        is_marked = any(is_chosen_on_test(comparison, name) for name in (d.method, d.baseline))
        mark = f" ({CHOSEN_ON_TEST})" if is_marked else ""
        lines.append(f"{clean(d.method)} - {clean(d.baseline)}: {difference_words(d)}{mark}")
    hidden = len(comparison.differences) - len(shown)
    return [*lines, f"{hidden} more pairs are in the report and in comparison.json."] if hidden else lines


def markdown_table(comparison: Comparison) -> str:
    """Return the comparison as Markdown: accuracy, attention, encoders, paired differences and the diagnoses."""
    shown = [*grids(comparison), difference_grid(comparison), *diagnosis_grids(comparison)]
    found = [grid for grid in shown if grid.rows]
    return "\n\n".join(_markdown(grid) for grid in found) + "\n"


def _markdown(grid: Grid) -> str:
    rows = [[" ".join(_marked(cell)) for cell in row] for row in grid.rows]
    align = ["---", *["---:"] * (len(grid.header) - 1)]
    groups = [group for group, num in grid.groups for _ in range(num)] or [""] * len(grid.header)
    header = [f"{group}: {name}" if group else name for group, name in zip(groups, grid.header, strict=True)]
    table = [_row([_escape(name) for name in header]), _row(align), *(_row(row) for row in rows)]
    return "\n".join([f"**{_escape(grid.title)}**", "", *table, "", *(_escape(note) for note in grid.notes)])


def _marked(cell: Cell) -> list[str]:
    return [_escape(cell.text), f"({_escape(cell.note)})"] if cell.note else [_escape(cell.text)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$!#])", r"\\\1", escaped)
