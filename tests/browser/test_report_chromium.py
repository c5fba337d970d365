"""The report in a real browser: headless Chromium, a fresh profile a page, nothing from the network."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib.image import imread

from rollingq.reporting.html import render_report
from rollingq.reporting.verdict import headline

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
PROBE = """<script>
document.querySelectorAll("#table-1 th button")[1].click();
const first = document.querySelector("#table-1 tbody th").firstChild.textContent;
console.log("seen", document.documentElement.scrollWidth, innerWidth, first.trim());
</script></body>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on the PATH")


@pytest.fixture
def browse(tmp_path):
    def run(html, *flags):
        page = tmp_path / "page.html"
        page.write_text(html, encoding="utf-8")
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [CHROMIUM, *FLAGS, profile, *flags, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=True)

    return run


@pytest.fixture(scope="module")
def html(made):
    return render_report(made.made_comparison())


@pytest.fixture(scope="module")
def strange_html(made):
    return render_report(made.renamed(made.made_comparison(("audio", "visual", "text")), "unbroken" * 40))


def console(done):
    return [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_the_console_is_heard(browse):
    done = browse("<title>x</title><script>console.error('heard')</script>", "--dump-dom")
    assert any("heard" in line for line in console(done))


def test_the_page_loads_with_its_verdict_and_its_script(browse, made, html):
    done = browse(html, "--dump-dom")
    assert console(done) == []
    assert headline(made.made_comparison()) in done.stdout.replace("&nbsp;", " ")
    assert done.stdout.count('<button type="button"') > 20


def test_hostile_names_run_nothing(browse, made):
    done = browse(render_report(made.renamed(made.made_comparison(), made.HOSTILE)), "--dump-dom")
    assert console(done) == []
    assert not re.search(r"<title>pwned</title>", done.stdout)
    assert done.stdout.count("<script>") == 1


def test_the_policy_stops_a_script_that_was_slipped_in(browse, made, html):
    done = browse(html.replace("</main>", f"{made.HOSTILE}</main>"), "--dump-dom")
    assert "<title>pwned</title>" not in done.stdout
    assert any("Content Security Policy" in line for line in console(done))


@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_never_scrolls_sideways_and_its_tables_sort(browse, strange_html, tmp_path, width):
    html = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", strange_html)
    (tmp_path / "inner.html").write_text(html.replace("</body>", PROBE), encoding="utf-8")
    frame = f'<iframe src="inner.html" style="width: {width}px; height: 900px; border: 0"></iframe>'
    found = re.search(r'"seen (\d+) (\d+) (\w+)', "\n".join(console(browse(frame, "--dump-dom"))))
    assert found is not None
    assert int(found[1]) <= int(found[2]) == width
    assert found[3].startswith("unbroken")


@pytest.mark.parametrize(("width", "scheme"), [(1200, 1), (390, 0)])
def test_screenshots_show_something(browse, html, tmp_path, width, scheme):
    shot = tmp_path / "shot.png"
    flags = (f"--window-size={width},1200", f"--blink-settings=preferredColorScheme={scheme}")
    browse(html, *flags, f"--screenshot={shot}")
    pixels = imread(shot)[..., :3]
    assert pixels.shape[:2] == (1200, width)
    assert len(np.unique(pixels[::2, ::2].sum(axis=-1))) > 100
    assert (np.median(pixels) > 0.5) == (scheme == 1)
