import importlib
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made():
    """The made comparisons of the unit tests of reporting."""
    sys.path.append(str(Path(__file__).parents[1] / "unit" / "reporting"))
    return importlib.import_module("made_comparison")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """One browser for all tests, with a fresh profile."""
    driver = pytest.importorskip(
        "chromium_driver", reason="its pipes are those of Linux and macOS", exc_type=ImportError
    )
    if driver.CHROMIUM is None:
        pytest.skip("no Chromium or Chrome on the PATH")
    browser = driver.Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browse(chromium, tmp_path):
    """Open a page of HTML."""

    def run(html, **options):
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        return chromium.open(path, **options)

    return run
