"""Shared by all tests: one thread, one seed, hypothesis without chance, and jaxtyping shapes checked."""

import sys
import uuid

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# Shapes are checked in tests only. The hook acts on import, so it has to come before the first one.
assert "rollingq.functional" not in sys.modules, "imported before its shapes could be checked"
SHAPE_CHECKS = install_import_hook("rollingq.functional", "beartype.beartype")

import torch  # noqa: E402

settings.register_profile("rollingq", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("rollingq")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Start every test from the same seed, whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a test prepares out of the user's cache, and out of the other tests'."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / f"cache-{uuid.uuid4()}"))
