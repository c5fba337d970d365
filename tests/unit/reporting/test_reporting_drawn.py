"""Figures draw a bounded number of methods and say so; their numbers hold all."""

from dataclasses import replace

from made_comparison import made_comparison
from made_diagnosis import made_diagnosis

from rollingq.reporting.figures import FIGURES
from rollingq.reporting.lookup import MAX_DRAWN, drawn_part


def many(number):
    comparison = made_comparison()
    base = next(s for s in comparison.summaries if s.method == "mt")
    names = [f"mt{i}" for i in range(number)]
    runs = [replace(r, method=name) for name in names for r in comparison.runs if r.method == "mt"]
    alone_runs = [r for r in comparison.runs if len(r.modalities) == 1]
    alone = [s for s in comparison.summaries if s.method in {r.method for r in alone_runs}]
    diagnoses = [replace(made_diagnosis("mt"), method=name) for name in names]
    summaries = [*alone, *(replace(base, method=name) for name in names)]
    return replace(comparison, summaries=summaries, runs=[*alone_runs, *runs], diagnoses=diagnoses, differences=[])


def test_few_methods_are_all_drawn():
    comparison = many(MAX_DRAWN)
    assert drawn_part(comparison) == (comparison, "")
    assert FIGURES["attention"].reading_of(comparison) == FIGURES["attention"].reading


def test_many_methods_are_cut_and_it_is_said():
    comparison = many(MAX_DRAWN + 3)
    part, note = drawn_part(comparison)
    kept = [s.method for s in part.summaries]
    assert kept == ["audio", "visual", *(f"mt{i}" for i in range(MAX_DRAWN))]
    assert note == " The first 10 of 13 methods are drawn; the numbers and the tables have all."
    kind = FIGURES["robustness"]
    assert kind.draw(comparison).get_size_inches()[1] < 25
    assert kind.alt(comparison).endswith(note)
    assert "mt12" not in kind.alt(comparison)
    assert any(row["method"] == "mt12" for row in kind.numbers(comparison))
