"""A disk that is full, or a file that cannot grow: one line, nothing half-written, and the next call completes."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

sys.path.append(str(Path(__file__).parents[1] / "datasets"))

import replicas

from rollingq.data.registry import prepare


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full") / "raw"
    replicas.write_crema_d(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


LIMITED = """
import resource, signal, sys
from rollingq.cli.__main__ import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def test_a_file_that_cannot_grow_is_one_line_and_the_next_call_goes_on(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["data", "prepare", "crema_d", "--root", str(root), "--out", str(out), "--workers", "1", "--size", "32"]
    command = [sys.executable, "-c", LIMITED, "100000", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"rollingq: Expected to write {out}, but got: File too large.")
    assert ended.stderr.count("\n") == 1
    assert (ended.stdout, out.exists()) == ("", False)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert_completes(root, out, tmp_path)


@pytest.mark.parametrize("number", [0, 1, 3, 5, 6, 7])
def test_a_full_disk_is_one_line_and_the_next_call_goes_on(
    number: int, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full at one of the eight files that are written: shards, their records, the table, the manifest."""
    from rollingq.cli.__main__ import main

    out = tmp_path / "out"
    written, sync = [], os.fsync

    def fsync(file: int) -> None:
        written.append(file)
        if len(written) == number + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    arguments = ["data", "prepare", "crema_d", "--root", str(root), "--out", str(out), "--workers", "1", "--size", "32"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        code = main([*arguments, "--json"])
    assert code == 2
    printed, err = capsys.readouterr()
    assert (printed, err.count("\n"), out.exists()) == ("", 1, False)
    assert err.startswith(f"rollingq: Expected to write {out}, but got: No space left on device.")
    assert all(load_file(shard) for shard in tmp_path.rglob("*.safetensors"))
    assert_completes(root, out, tmp_path)


def assert_completes(root: Path, out: Path, tmp_path: Path) -> None:
    """The same call again makes the bytes of a call that nothing disturbed, and leaves nothing beside them."""
    for folder in (out, tmp_path / "undisturbed"):
        prepare("crema_d", root=root, out=folder, workers=1, options={"size": 32})
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "undisturbed"]
