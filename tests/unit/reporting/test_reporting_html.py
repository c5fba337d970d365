import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise

import pytest
from made_comparison import HOSTILE, diagnosed, made_comparison, made_single, renamed

from rollingq.reporting import html as html_module
from rollingq.reporting.figures import FIGURES
from rollingq.reporting.html import TOPICS, render_report, write_report
from rollingq.reporting.page import MAX_EPOCHS, thinned
from rollingq.reporting.provenance import flattened
from rollingq.reporting.verdict import findings, headline

VOID = {"meta", "link", "img", "input"}


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(comparison):
    return render_report(diagnosed(comparison))


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_page_is_whole_and_small(html, page):
    assert page.open == []
    assert html.startswith("<!DOCTYPE html>")
    assert len(html.encode()) < 5_000_000


def test_the_verdict_comes_first(html, page, comparison):
    text = page.text.replace("\u00a0", " ")
    assert text.index(headline(comparison)) < text.index("Accuracy on test") < text.index("Paired differences")
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", html) == [
        "Verdict",
        "Tables",
        "Diagnosis",
        "Figures",
        "Samples, one by one",
        "Glossary",
        "Training, epoch by epoch",
        "Provenance",
    ]
    assert all(finding.text in text for finding in findings(diagnosed(comparison)))
    assert "Shapley value" in text[text.index("Glossary") :]


def test_everything_needed_to_repeat_it_is_there(page):
    for part in (
        "fusion.rho",
        "checksums.train",
        "9f86d081884c7d65",
        "rec_001.wav, rec_044.wav",
        "2.14.1",
        "zero, one, two",
    ):
        assert part in page.text
    assert "seeds 0 (epoch 11), 1 (epoch 11), 2 (epoch 11); best epoch chosen by: validation" in page.text
    assert "41.5 degrees" in page.text
    assert "500 test samples, each went through the model 40 times; attention edited in fusion.attention" in page.text
    assert "mt+rollingq, seed 0: noise_seeds" in page.text


def test_it_can_be_read_without_seeing_it(page):
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(len(image["alt"]) > 50 for image in page.all("img"))
    assert len(page.all("img")) == len(page.all("figure")) == len(page.all("figcaption")) == 10
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(head["scope"] in ("col", "row", "colgroup") for head in page.all("th"))
    assert page.all("a")[0] == {"class": "skip", "href": "#verdict"}
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert set(targets) <= set(ids)


def test_nothing_comes_from_the_network(html, page):
    sources = [attrs[key] for _, attrs in page.tags for key in ("src", "href") if key in attrs]
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"https?://|@import|url\(", html)
    policy = page.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_hostile_text_stays_text(comparison):
    page = Page(render_report(renamed(diagnosed(comparison), HOSTILE)))
    assert page.all("script") == [{"type": "application/json", "id": "samples-data"}, {}]
    assert len(page.all("img")) == 10
    assert not [attrs for _, attrs in page.tags if any(key.startswith("on") for key in attrs)]
    assert page.text.count('document.title="pwned"') >= 8


@pytest.mark.parametrize(
    "options",
    [
        {"num_seeds": 1},
        {"has_attention": False},
        {"modalities": ("audio", "visual", "text"), "selection": "paper", "rotated_r": (-0.2, 0.4)},
        {"gains": (-0.02, -0.021, -0.019)},
        {"modalities": (HOSTILE, "visual")},
    ],
)
def test_every_kind_of_comparison_gives_a_whole_page(options):
    html = render_report(made_comparison(**options))
    page = Page(html)
    assert page.open == []
    assert ("best epoch chosen on test" in page.text) == ("selection" in options)
    assert ('<span class="mark">wrong sign</span>' in html) == ("rotated_r" in options)


@pytest.mark.parametrize("has_attention", [True, False])
def test_a_model_of_ones_own_gives_a_page(has_attention):
    page = Page(render_report(made_single(has_attention=has_attention)))
    assert page.open == []
    assert "rollingq diagnosis" in page.text
    assert ("no interventions" in page.text) != has_attention
    assert page.text.count("epoch None") == 0


def test_a_figure_whose_svg_is_large_is_a_png_if_that_is_smaller(comparison, monkeypatch):
    small = replace(comparison, runs=[], differences=[])
    monkeypatch.setattr(html_module, "MAX_SVG_BYTES", 10)
    monkeypatch.setattr(html_module, "with_fewer_colors", lambda png: png[:100])
    assert {image["src"][:14] for image in Page(render_report(small)).all("img")} == {"data:image/png"}
    monkeypatch.setattr(html_module, "with_fewer_colors", lambda png: png * 100)
    assert {image["src"][:14] for image in Page(render_report(small)).all("img")} == {"data:image/svg"}


def test_every_figure_has_a_topic_of_its_own():
    assert sorted(name for names in TOPICS.values() for name in names) == sorted(FIGURES)


def test_an_empty_comparison_gives_a_page(comparison):
    empty = replace(comparison, summaries=[], runs=[], differences=[], config={}, manifest={}, versions={})
    assert "No accuracy was measured." in Page(render_report(empty)).text


def test_the_same_comparison_gives_the_same_page(comparison, html, tmp_path):
    path = write_report(diagnosed(comparison), tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == html
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_long_histories_and_lists_are_thinned_and_said_to_be(comparison):
    records = [replace(comparison.runs[0].history[0], epoch=i, rotated=i == 7) for i in range(1000)]
    assert [r.epoch for r in thinned(records)][:4] == [0, 5, 7, 10]
    page = Page(render_report(replace(comparison, runs=[replace(r, history=records) for r in comparison.runs[:1]])))
    assert f"Every run is shown with {MAX_EPOCHS} of its 1000 epochs." in page.text
    assert next(flattened({"skipped": list(range(103))}))[1].endswith("98, 99 and 3 more, in the JSON file")
    assert list(flattened({str(i): i for i in range(101)}))[-1] == ("...", "and 1 more, in the JSON file")


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_has_contrast_in_light_and_dark():
    css = (files("rollingq.reporting") / "templates" / "report.css").read_text()
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in css.split("prefers-color-scheme: dark")]
    for colors in schemes:
        for text in ("ink", "soft", "accent", "good", "bad", "open", "note"):
            for back in ("page", "surface"):
                pair = sorted((luminance(colors[text]), luminance(colors[back])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (text, back)


def test_the_style_has_no_colour_but_its_variables():
    css = (files("rollingq.reporting") / "templates" / "report.css").read_text()
    rules = re.sub(r":root \{[^}]*\}", "", css)
    assert not re.search(
        r":\s*[^;{}]*(#[0-9a-f]{3,8}\b|rgba?\(|hsl|(?<![\w-])(?:red|gr[ae]y|black|white)(?![\w-]))", rules
    )
    colors = [re.findall(r"--(\w+): (#\w{6})", part) for part in css.split("prefers-color-scheme: dark")]
    assert [name for name, _ in colors[0]] == [name for name, _ in colors[1]]
