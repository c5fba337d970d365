"""What a comparison says in a terminal: verdict, tables, paired differences."""

import io
import shutil
from typing import TYPE_CHECKING

from rollingq.evaluation.results import Comparison
from rollingq.extras import lab_extra
from rollingq.reporting.tables import comparison_table, diagnosis_tables, difference_lines
from rollingq.reporting.text import clean
from rollingq.reporting.verdict import verdict_lines

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100
"""Columns where there is no terminal to ask."""


def print_comparison(comparison: Comparison) -> None:
    """Print the verdict, the tables and the paired differences to standard output."""
    with lab_extra("rich"):
        from rich.console import Console

    is_terminal = Console().is_terminal
    _print(comparison, Console(highlight=False, width=None if is_terminal else WIDTH))


def comparison_text(comparison: Comparison) -> str:
    """Return what :func:`print_comparison` prints, as plain text."""
    with lab_extra("rich"):
        from rich.console import Console

    stream = io.StringIO()
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    _print(comparison, Console(file=stream, highlight=False, width=width, color_system=None))
    return stream.getvalue()


def _print(comparison: Comparison, console: "Console") -> None:
    from rich.text import Text

    console.print()
    console.print(Text(clean(comparison.title), style="bold"))
    console.print()
    for sentence in verdict_lines(comparison):
        console.print(sentence, markup=False)
    console.print()
    for table in (comparison_table(comparison), *diagnosis_tables(comparison)):
        console.print(table)
        console.print()
    for line in difference_lines(comparison):
        console.print(line, markup=False)
