import io
from dataclasses import replace

import pytest
from made_comparison import HOSTILE, made_comparison, renamed
from rich.console import Console

from rollingq.reporting.grids import correlation_cell, difference_grid, grids
from rollingq.reporting.tables import comparison_table, difference_lines, markdown_table
from rollingq.reporting.text import DASH


def printed(comparison, width=100):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(comparison_table(comparison))
    return console.file.getvalue()


def test_the_terminal_table_reads_row_by_row(comparison):
    lines = [line.split() for line in printed(comparison).splitlines()]
    start = next(i for i, words in enumerate(lines) if words[:1] == ["mt"])
    assert " ".join(lines[start]) == "mt 70.1 ± 0.7 0.0 +0.54 audio 93 % +0.56 -0.05 50.1 % 70.0 %"
    assert " ".join(lines[start + 1]) == "[68.3, 71.8] visual 6 % +0.02 -0.40 50.1 % 38.0 %"
    concat = next(words for words in lines if words[:1] == ["concat"])
    assert concat == ["concat", "73.6", "±", "0.7", DASH, DASH, "audio", DASH, DASH, DASH, "53.6", "%", "69.0", "%"]


@pytest.mark.parametrize(
    "modalities", [("audio", "visual"), ("audio", "visual", "text"), tuple("m" * i for i in (9, 30))]
)
def test_the_terminal_table_fits_100_columns(modalities):
    text = printed(made_comparison(modalities, selection="paper", rotated_r=(-0.5, 0.3)))
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("best epoch") == text.count("chosen on test") == 2
    assert "[66.2, 76.4]" in text
    assert "wrong sign" in text


def test_every_table_marks_methods_chosen_on_test(comparison_of_three, comparison):
    for grid in [*grids(comparison_of_three), difference_grid(comparison_of_three)]:
        marked = {row[0].text for row in grid.rows if row[0].note == "best epoch chosen on test"}
        assert marked >= {"mt", "mt+rollingq"} or marked == {"mt+rollingq - mt", "mt - concat"}
    assert all(line.endswith("(best epoch chosen on test)") for line in difference_lines(comparison_of_three))
    assert markdown_table(comparison_of_three).count("(best epoch chosen on test)") == 14
    assert "chosen on test" not in markdown_table(comparison) + printed(comparison)


def test_differences_as_lines(comparison):
    assert difference_lines(comparison) == [
        "mt+rollingq - mt: +1.2 points [-3.0, +5.4], p = 0.15: inconclusive",
        "mt - concat: -3.5 points [-3.5, -3.5], p not defined: worse",
    ]
    assert difference_lines(made_comparison(num_seeds=1))[0] == (
        "mt+rollingq - mt: +3.0 points (1 seed, no interval): inconclusive"
    )


@pytest.mark.parametrize(("r", "note"), [(-0.3, ""), (0.0, ""), (0.004, ""), (0.2, "wrong sign"), (None, "")])
def test_a_positive_correlation_is_marked(r, note):
    assert correlation_cell(r).note == note


def test_markdown_has_a_cell_for_every_column(comparison):
    tables = [t for t in markdown_table(comparison).split("\n\n") if t.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert len({line.replace(r"\|", "").count("|") for line in table.splitlines()}) == 1
    assert "| mt | 93 % | 6 % | 92 % | 5 % | +0.56 | +0.02 | +0.54 | 0.0 | -0.05 | -0.40 |" in tables[1]


def test_no_attention_leaves_the_attention_table_out():
    comparison = made_comparison(has_attention=False)
    assert [grid.title for grid in grids(comparison)] == ["Accuracy on test", "Encoders"]
    assert "mt+rollingq" in printed(comparison)


def test_hostile_names_are_neither_markup_nor_table_structure(comparison):
    hostile = renamed(comparison, "[red]x[/red] | `y` <b>\x1b[31m")
    text = printed(hostile)
    assert "\x1b" not in text
    assert "[red]x" in text
    markdown = markdown_table(hostile)
    assert "<b>" not in markdown
    assert r"\| \`y\` &lt;b&gt;" in markdown
    assert "<script" not in markdown_table(renamed(comparison, HOSTILE))


def test_nothing_to_compare_is_an_empty_table(comparison):
    empty = replace(comparison, summaries=[], runs=[], differences=[])
    assert difference_lines(empty) == []
    assert "Digits heard and seen" in printed(empty)
