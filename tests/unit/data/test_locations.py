"""A prepared folder is found again without --dir, and forgotten when it is gone."""

from pathlib import Path

import pytest

from rollingq.data.locations import memory_file, recall, remember


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_last_folder_is_found(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
        remember("utd_mhad", folder)
    remember("other", folders[0])
    assert recall("utd_mhad") == folders[1]
    assert recall("other") == folders[0]
    assert list(memory_file().parent.iterdir()) == [memory_file()]


def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    assert recall("utd_mhad") is None
    (tmp_path / "folder").mkdir()
    remember("utd_mhad", tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    assert recall("utd_mhad") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"utd_mhad": 3}', ""])
def test_a_damaged_memory_is_no_memory(text: str, tmp_path: Path) -> None:
    memory_file().parent.mkdir(parents=True)
    memory_file().write_text(text)
    assert recall("utd_mhad") is None
    remember("utd_mhad", tmp_path)
    assert recall("utd_mhad") == tmp_path


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember("utd_mhad", tmp_path)
    assert recall("utd_mhad") is None
