import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made():
    """The made comparisons of the unit tests of reporting."""
    path = Path(__file__).parents[1] / "unit" / "reporting" / "made_comparison.py"
    spec = importlib.util.spec_from_file_location("made_comparison", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
