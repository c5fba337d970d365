"""The report in a real browser: what loads, what is refused, how it looks at two widths and in both schemes."""

import re

import numpy as np
import pytest
from matplotlib.image import imread

from rollingq.reporting.html import render_report
from rollingq.reporting.verdict import headline

VISIBLE = "Array.from(document.querySelectorAll('.tab'), (e) => e.firstElementChild.checkVisibility())"


@pytest.fixture(scope="module")
def html(made):
    return render_report(made.with_dynamics(made.diagnosed(made.made_comparison())))


@pytest.fixture(scope="module")
def strange_html(made):
    comparison = made.renamed(made.diagnosed(made.made_comparison(("audio", "visual", "text"))), "unbroken" * 40)
    return render_report(comparison)


@pytest.fixture(scope="module")
def hostile_html(made):
    comparison = made.made_comparison((made.HOSTILE, "visual"))
    return render_report(made.renamed(made.diagnosed(comparison), made.HOSTILE))


def messages(page):
    return [str(said) for said in page.console()]


def test_the_console_is_heard(browse):
    page = browse("<title>x</title><script>console.error('heard'); missing()</script>")
    logged, thrown = messages(page)
    assert "'value': 'heard'" in logged
    assert "missing is not defined" in thrown


def test_the_page_loads_with_its_verdict_and_its_script(browse, made, html):
    page = browse(html)
    assert messages(page) == []
    assert headline(made.diagnosed(made.made_comparison())) in page.texts("#verdict")[0].replace("\u00a0", " ")
    assert len(page.texts("th button")) > 40


def test_hostile_names_run_nothing(browse, made, hostile_html):
    page = browse(hostile_html)
    assert messages(page) == []
    assert page.see("document.title") == made.HOSTILE
    assert page.see("document.scripts.length") == 2
    assert made.HOSTILE[:40] in page.texts("#samples thead")[0]


def test_the_policy_stops_what_was_slipped_in(browse, made, html):
    slipped = f'{made.HOSTILE}<p style="color: red" onclick="document.title = 1">slipped</p>'
    page = browse(html.replace("</main>", f"{slipped}</main>"))
    page.click("main > p")
    assert page.see("document.title") == "Digits heard and seen"
    assert all("Content Security Policy" in said for said in messages(page))
    assert len(messages(page)) >= 3


@pytest.mark.parametrize("width", [1200, 390, 360])
def test_the_page_never_scrolls_sideways(browse, html, strange_html, width):
    for text in (html, strange_html):
        page = browse(text, width=width)
        assert page.see("document.documentElement.scrollWidth") == page.see("innerWidth") == width
        page.see("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
        page.see("document.querySelectorAll('[hidden]').forEach((e) => { e.hidden = false; })")
        assert page.see("document.documentElement.scrollWidth") == width


def test_tables_sort_by_click_and_by_key_with_what_is_missing_last(browse, html):
    page = browse(html)
    column = "#table-1 thead tr:last-child th:nth-child({})".format
    methods = "#table-1 tbody th"
    page.click(column(2) + " button")
    assert page.texts(methods) == ["concat", "mt+rollingq", "audio", "mt", "visual"]
    page.focus(column(2) + " button")
    page.press("Enter")
    assert page.texts(methods) == ["visual", "mt", "audio", "mt+rollingq", "concat"]
    assert page.see(f"document.querySelector('{column(2)}').ariaSort") == "ascending"
    for _ in range(2):
        page.click(column(5) + " button")
        assert page.texts(methods)[-1] == "visual"
    page.click(column(1) + " button")
    assert page.texts(methods) == ["audio", "concat", "mt", "mt+rollingq", "visual"]
    assert page.texts("#table-1 [aria-sort]") == ["Method"]


def test_tabs_work_by_click_and_by_key(browse, html):
    page = browse(html)
    tabs, chosen = "#figures [role=tab]", "#figures [role=tab][aria-selected=true]"
    assert page.texts(tabs) == ["Accuracy", "Attention", "Noise", "Training"]
    page.click(f"{tabs}:nth-child(2)")
    assert page.texts(chosen) == ["Attention"]
    for key, name in (
        ("ArrowRight", "Noise"),
        ("End", "Training"),
        ("ArrowRight", "Accuracy"),
        ("ArrowLeft", "Training"),
    ):
        page.press(key)
        assert page.texts(chosen) == [page.see("document.activeElement.innerText")] == [name]
    assert page.see("document.querySelectorAll('#figures [role=tabpanel]:not([hidden])').length") == 1
    panel = page.see(
        "document.querySelector('#figures [role=tabpanel]:not([hidden])').ariaLabelledByElements[0].innerText"
    )
    assert panel == "Training"
    assert page.see("document.querySelectorAll('#figures [role=tab][tabindex=\"0\"]').length") == 1


def test_every_tab_begins_at_the_same_height(browse, html):
    page = browse(html)
    top = "document.querySelector('#{} [role=tabpanel]:not([hidden])').getBoundingClientRect().y + scrollY"
    for section in ("figures", "diagnosis"):
        tops = []
        for number in range(len(page.texts(f"#{section} [role=tab]"))):
            page.click(f"#{section} [role=tab]:nth-child({number + 1})")
            tops.append(page.see(top.format(section)))
        assert len(tops) >= 4
        assert max(tops) - min(tops) < 1


def test_all_tabs_are_there_on_paper_and_without_script(browse, html):
    page = browse(html)
    assert page.see(VISIBLE).count(False) >= 7
    page.emulate("print")
    assert all(page.see(VISIBLE))
    assert page.texts("#figures h3") == ["Accuracy", "Attention", "Noise", "Training"]
    bare = browse(html, has_script=False)
    assert all(bare.see(VISIBLE))
    assert "needs JavaScript" in bare.texts("#samples")[0]
    assert bare.texts("[role=tab]") == []


@pytest.mark.parametrize(("width", "is_dark"), [(1200, False), (1200, True), (360, False), (360, True)])
def test_screenshots_show_something(browse, html, tmp_path, width, is_dark):
    page = browse(html, width=width, is_dark=is_dark)
    for part in ("verdict", "samples"):
        page.see(f"document.getElementById('{part}').scrollIntoView({{behavior: 'instant'}})")
        pixels = imread(page.screenshot(tmp_path / f"{part}-{width}-{'dark' if is_dark else 'light'}.png"))[..., :3]
        assert pixels.shape[:2] == (900, width)
        assert len(np.unique(pixels[::2, ::2].sum(axis=-1))) > 40
        assert (np.median(pixels) < 0.5) == is_dark


def test_the_page_can_be_read_aloud(browse, html):
    page = browse(html)
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    assert {"banner", "main", "navigation", "contentinfo"} <= {role for role, _ in roles}
    named = ("table", "region", "tab", "tabpanel", "tablist", "textbox", "searchbox", "combobox", "checkbox", "image")
    nameless = [(role, name) for role, name in roles if role in (*named, "button", "link", "figure") and not name]
    assert nameless == []
    assert {"combobox", "searchbox", "checkbox", "tab", "status"} <= {role for role, _ in roles}
    assert not [name for role, name in roles if role == "heading" and re.fullmatch(r"\s*", name)]
