"""The samples of a report in a real browser: sorting, searching, paging and pictures by click and by key."""

import dataclasses

import pytest

from rollingq.reporting.html import render_report

NAMES = "#samples tbody th"
STATUS = "#samples [role=status]"


def column(number):
    return f"#samples thead tr:last-child th:nth-child({number}) button"


@pytest.fixture(scope="module")
def html(made):
    """120 samples of mt and mt+rollingq (every third is wrong, two have pictures), 60 of a model without attention."""
    comparison = made.diagnosed(made.made_comparison(), num_samples=120, num_shown=120)
    small = made.made_diagnosis("concat", num_samples=90, num_shown=60, has_attention=False)
    bare = {"curves": [], "interventions": [], "ood": [], "contributions": []}
    diagnoses = [dataclasses.replace(d, **bare) for d in (*comparison.diagnoses, small)]
    return render_report(dataclasses.replace(comparison, diagnoses=diagnoses))


@pytest.fixture
def page(browse, html):
    return browse(html)


def choose(page, name, value):
    page.see(
        f"(() => {{const e = document.querySelector('[data-is={name}]'); e.value = '{value}'; "
        "e.dispatchEvent(new Event('change'))})()"
    )


def test_it_says_how_many_there_are(page):
    assert page.texts(STATUS) == ["Samples 1 to 50 of 120: 80 right, 40 wrong."]
    assert page.see("document.querySelector('[data-is=model]').value") == "mt"
    choose(page, "model", "concat")
    assert page.texts(STATUS) == ["Samples 1 to 50 of 60: 40 right, 20 wrong."]
    assert page.texts("#samples .about") == [
        "70.0 % of 90 test samples are right; 60 of them, taken evenly, are shown here."
    ]
    assert page.texts("#samples option")[:3] == ["concat", "mt", "mt+rollingq"]


def test_models_are_chosen_and_one_without_attention_has_no_columns_for_it(page):
    choose(page, "model", "concat")
    assert len(page.texts("#samples thead tr:last-child th")) == 5
    page.focus("[data-is=model]")
    page.press("ArrowDown")
    assert page.texts(STATUS) == ["Samples 1 to 50 of 120: 80 right, 40 wrong."]
    assert page.texts("#samples thead tr:first-child th") == ["attention", "when it is noise"]
    assert page.texts("#samples thead tr:last-child th")[5:] == ["audio", "visual"] * 2
    cells = page.texts("#samples tbody tr:first-child > *")
    assert cells == ["rec_000", "zero", "zero", "right", "50\u00a0%", "93\u00a0%", "6\u00a0%", "92\u00a0%", "5\u00a0%"]
    widths = page.see(
        "Array.from(document.querySelectorAll('#samples tbody tr:first-child .bar'), (e) => "
        "Math.round(100 * e.firstChild.getBoundingClientRect().width / e.getBoundingClientRect().width))"
    )
    assert widths == [93, 6, 92, 5]


def test_columns_sort_over_all_pages(page):
    page.click(column(5))
    assert set(page.texts("#samples tbody td:nth-child(5)")[:17]) == {"99\u00a0%"}
    page.focus(column(1))
    page.press("Enter")
    page.press(" ")
    assert page.texts(NAMES)[:2] == ["rec_119", "rec_118"]
    assert page.texts("#samples [aria-sort=descending]") == ["Sample"]
    page.click(column(4))
    page.click(column(4))
    assert page.texts("#samples tbody td:nth-child(4)")[:41] == ["wrong"] * 40 + ["right"]


def test_paging_by_click_and_by_key(page):
    assert page.texts("[data-is=place]") == ["Page 1 of 3"]
    page.click("[data-is=next]")
    assert page.texts(NAMES)[0] == "rec_050"
    page.press("Enter")
    assert page.texts(STATUS) == ["Samples 101 to 120 of 120: 80 right, 40 wrong."]
    assert page.see("document.querySelector('[data-is=next]').ariaDisabled") == "true"
    page.press(" ")
    assert page.texts("[data-is=place]") == ["Page 3 of 3"]
    page.focus("[data-is=back]")
    page.press(" ")
    assert page.texts("[data-is=place]") == ["Page 2 of 3"]


def test_searching_and_choosing_right_or_wrong(page):
    page.click("[data-is=query]")
    page.type("REC_01")
    assert page.texts(STATUS) == ["Samples 1 to 10 of 10 that fit, of 120: 7 right, 3 wrong."]
    assert page.see("document.querySelector('.pages').checkVisibility()") is False
    choose(page, "verdict", "wrong")
    assert page.texts(NAMES) == ["rec_011", "rec_014", "rec_017"]
    page.type("nothing like it")
    assert page.texts(STATUS) == ["No sample fits, of 120: clear the search, or show right and wrong."]
    assert page.texts(NAMES) == []


def test_pictures_open_by_click_and_by_key(page):
    page.focus("[data-is=pictured]")
    page.press(" ")
    assert page.texts(NAMES) == ["rec_000", "rec_001"]
    page.click(f"{NAMES} button")
    assert page.texts("#samples figcaption") == [
        "audio: 93\u00a0% of attention, 92\u00a0% when it is noise",
        "visual: 6\u00a0% of attention, 5\u00a0% when it is noise",
    ]
    images = "Array.from(document.querySelectorAll('#samples img'), (e) => [e.alt, e.naturalWidth])"
    page.see("Promise.all(Array.from(document.querySelectorAll('#samples img'), (e) => e.decode()))")
    assert page.see(images) == [
        ["Input audio of rec_000, labelled zero", 1],
        ["Input visual of rec_000, labelled zero", 1],
    ]
    assert page.see(f"document.querySelector('{NAMES} button').ariaExpanded") == "true"
    page.press("Enter")
    assert page.texts("#samples figcaption") == []
    assert page.console() == []


def test_pictures_are_shown_with_every_model(page):
    choose(page, "model", "concat")
    page.click(f"{NAMES} button")
    assert page.texts("#samples figcaption") == ["audio", "visual"]
