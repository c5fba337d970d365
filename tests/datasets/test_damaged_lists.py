"""Damaged files that decide a whole dataset (lists, tables, idx, pickles): one line, or the dataset as it should be."""

import gzip
import json
import pickle
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import damages
import numpy as np
import pytest
import replicas
from damages import Damage, replaced

Result = tuple[int, str, str]
_reconstruct = np.zeros(1).__reduce__()[0]


@dataclass(frozen=True)
class Listed:
    """One file that decides a dataset.

    Attributes:
        dataset: Its name.
        file: Path below the root.
        options: Of the command.
        change: Changes a copy of the replica first.
        special: Damages beside those of any text.
    """

    dataset: str
    file: str
    options: tuple[str, ...] = ("--size", "16")
    change: Callable[[Path], object] | None = None
    special: list[Damage] = field(default_factory=list)


def texts(*columns: str) -> list[Damage]:
    """Return files that are no text, or a table of other columns."""
    wrong = {
        "NUL": b"\x00name,label\nclip,1\n",
        "UTF-16": "name,label\nclip,1\n".encode("utf-16"),
        "Latin-1": "name,label\ncl\xfcp,1\n".encode("latin-1"),
        "other columns": b"one,two\n1,2\n",
        "many columns": b"a,b,c,d,e,f,g,h,i\n1,2,3,4,5,6,7,8,9\n",
        "open quote": b'"name,label\nclip,1\n',
        "HTML": damages.HTML,
        "Git LFS": damages.LFS,
        "image": damages.jpg(),
        "noise": np.random.default_rng(0).bytes(2000),
        "zeros": bytes(1000),
        "empty": b"",
    }
    return [replaced(name, data) for name, data in wrong.items()]


def paper_lists(root: Path) -> None:
    stems = sorted(path.stem for path in (root / "AudioWAV").iterdir())
    for name, chosen in (("train", stems[:12]), ("val", stems[12:14]), ("test", stems[14:])):
        (root / f"{name}.csv").write_text("".join(f"{stem},{stem[9:12]}\n" for stem in chosen))


def own_lists(root: Path) -> None:
    for split, group in (("train", "08"), ("val", "24"), ("test", "09")):
        lines = [f"{c}/v_{c}_g{group}_c01.avi {i}\n" for i, c in enumerate(replicas.UCF_CLASSES)]
        (root / f"{split}.txt").write_text("".join(lines))


LISTS = [
    Listed("custom", "samples.csv"),
    Listed("crema_d", "SentenceFilenames.csv"),
    *(
        Listed("crema_d", f"{split}.csv", ("--size", "16", "--split", "paper"), paper_lists)
        for split in ("train", "val", "test")
    ),
    *(
        Listed("kinetics_sound", f"annotations/{pool}.csv", change=replicas.write_kinetics_lists)
        for pool in ("train", "val")
    ),
    *(Listed("ucf101", f"ucfTrainTestlist/{name}.txt") for name in ("classInd", "trainlist01", "testlist01")),
    *(
        Listed("ucf101", f"{split}.txt", ("--size", "16", "--split", "lists"), own_lists)
        for split in ("train", "val", "test")
    ),
    Listed("hmdb51", "testTrainMulti_7030_splits/walk_test_split1.txt"),
]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs ``rollingq`` in tmp_path and returns the exit code and both outputs."""
    from rollingq.cli.__main__ import main

    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        capsys.readouterr()
        code = main(arguments)
        return (code, *capsys.readouterr())

    return call


def outcome(run: Callable[..., Result], listed: Listed) -> tuple[int, Any]:
    """Return (2, the line) or (0 or 1, the counts of the splits) of one preparation."""
    shutil.rmtree("out", ignore_errors=True)
    arguments = ("data", "prepare", listed.dataset, "--root", "raw", "--out", "out", "--workers", "1", "--json")
    code, out, err = run(*arguments, *listed.options)
    if code == 2:
        assert out == ""
        assert err.startswith("rollingq: Expected")
        assert err.count("\n") == 1
        assert not Path("out").exists()
        return 2, err
    summary = json.loads(out)
    assert (code == 1) == bool(summary["skipped"])
    return code, {split: sum(by.values()) for split, by in summary["counts"].items()}


def complaints(run: Callable[..., Result], listed: Listed, found: list[Damage]) -> dict[str, str]:
    """Return damage -> what is wrong with what became of it."""
    code, whole = outcome(run, listed)
    assert code == 0
    path = Path("raw", listed.file)
    kept, wrong = path.read_bytes(), {}
    for damage in found:
        damage.do(path)
        try:
            code, got = outcome(run, listed)
            if code == 0 and (damage.verdict == "named" or got != whole):
                wrong[damage.name] = f"exit {code} with {got}"
        except Exception as error:
            wrong[damage.name] = f"{type(error).__name__}: {error}"[:300]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.write_bytes(kept)
    return wrong


@pytest.mark.parametrize("listed", LISTS, ids=lambda listed: f"{listed.dataset}-{listed.file}")
def test_a_damaged_list_is_one_line(listed: Listed, raw: Callable[[str], Path], run: Callable[..., Result]) -> None:
    shutil.copytree(raw(listed.dataset), "raw")
    if listed.change:
        listed.change(Path("raw"))
    assert complaints(run, listed, texts()) == {}


def idx_damages(images: np.ndarray, labels: np.ndarray) -> list[Damage]:
    """Return .gz files of idx that are not MNIST's."""
    array = images if images.ndim == 3 else labels
    plain = replicas.idx(array)
    files = {
        "wrong magic": gzip.compress(b"\x00\x00\x0d" + plain[3:]),
        "one more image announced": gzip.compress(plain[:4] + struct.pack(">I", len(array) + 1) + plain[8:]),
        "4 billion announced": gzip.compress(plain[:4] + b"\xff\xff\xff\xff" + plain[8:]),
        "1 GB announced": gzip.compress(plain[:4] + struct.pack(">I", 2**30 // max(1, array[0].size)) + plain[8:]),
        "longer": gzip.compress(plain + bytes(100_000_000), 1),
        "twice compressed": gzip.compress(gzip.compress(plain)),
        "header alone": gzip.compress(plain[:8]),
        "other shape": gzip.compress(replicas.idx(array.reshape(len(array), -1, 1))),
        "nothing": gzip.compress(b""),
        "no entries": gzip.compress(replicas.idx(array[:0])),
        "one entry less": gzip.compress(replicas.idx(array[:-1])),
    }
    return [replaced(name, data) for name, data in files.items()]


@pytest.mark.parametrize("name", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"])
def test_a_damaged_idx_file_is_one_line(name: str, raw: Callable[[str], Path], run: Callable[..., Result]) -> None:
    shutil.copytree(raw("av_mnist"), "raw")
    listed = Listed("av_mnist", f"mnist/{name}-ubyte.gz", ())
    plain = gzip.decompress(Path("raw", listed.file).read_bytes())
    shape = struct.unpack_from(f">{plain[3]}I", plain, 4)
    array = np.frombuffer(plain, np.uint8, offset=4 + 4 * plain[3]).reshape(shape)
    found = [*damages.common(damages.wav()), *idx_damages(array, array)]
    assert complaints(run, listed, [damage for damage in found if damage.name != "zeros alone"]) == {}


def test_labels_beyond_9_are_one_line(raw: Callable[[str], Path], run: Callable[..., Result]) -> None:
    shutil.copytree(raw("av_mnist"), "raw")
    file = "mnist/t10k-labels-idx1-ubyte.gz"
    Path("raw", file).write_bytes(gzip.compress(replicas.idx(np.arange(1, 11, dtype=np.uint8))))
    assert outcome(run, Listed("av_mnist", file, ()))[0] == 2


class Made:
    """Unpickles as what a function returns, with a state."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


def payloads(marker: Path) -> dict[str, bytes]:
    """Return pickles that make a folder if they are unpickled the usual way, or eat memory, or never end."""
    path = str(marker).encode()
    inner = damages.Payload(marker)
    table = replicas.mosei_table()
    dtype = np.dtype("f8")
    found = {f"protocol {protocol}": pickle.dumps(inner, protocol) for protocol in range(6)}
    found |= {f"inside a table, protocol {p}": pickle.dumps({**table, "more": inner}, p) for p in (2, 4, 5)}
    found["as a label"] = pickle.dumps({**table, "test": {**table["test"], "labels": inner}}, 2)
    found["in an array"] = pickle.dumps({**table, "test": {**table["test"], "id": np.array([inner] * 5, object)}}, 2)
    text = b"X" + struct.pack("<I", len(path)) + path
    popen = b"(X\x05\x00\x00\x00mkdir" + text + b"l"
    eval_text = b"__import__('os').mkdir('" + path + b"')"
    found |= {
        "INST": b"(S'" + path + b"'\nios\nmkdir\n.",
        "OBJ": b"(cos\nmkdir\n" + text + b"o.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n(" + popen + b"t\x81.",
        "REDUCE of Popen": b"\x80\x02csubprocess\nPopen\n(" + popen + b"tR.",
        "eval": b"\x80\x02cbuiltins\neval\n(X" + struct.pack("<I", len(eval_text)) + eval_text + b"tR.",
        "eval of Python 2": b'c__builtin__\neval\n(S"' + eval_text + b'"\ntR.',
        "getattr": b"\x80\x02cbuiltins\ngetattr\n(cos\n__dict__\nX\x05\x00\x00\x00mkdirtR(" + text + b"tR.",
        "numpy's own load": b"\x80\x02cnumpy\nload\n(" + text + b"NI01\ntR.",
        "numpy's exec": b"\x80\x02cnumpy.testing\nrundocs\n(" + text + b"tR.",
        "BUILD": b"\x80\x02cos\nmkdir\n}" + text + b"K\x01sb.",
        "persistent id": b"Psome\n.",
        "extension": b"\x80\x02\x82\x01.",
        "dotted name": b"\x80\x04\x8c\x02os\x8c\x08path.sep\x93.",
        "long text announced": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.",
        "long bytes announced": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"a.",
        "long number": b"\x80\x02\x8b" + struct.pack("<i", 2**30) + b"a.",
        "large memo": b"\x80\x02Nr" + struct.pack("<I", 2**31) + b".",
        "huge array": pickle.dumps(Made(_reconstruct, (np.ndarray, (0,), b"b"), (1, (2**40,), dtype, False, b"")), 2),
        "huge empty array": pickle.dumps(Made(_reconstruct, (np.ndarray, (2**40,), b"b")), 2),
        "huge bytes": pickle.dumps(Made(bytearray, (2**40,)), 2),
        "huge list": pickle.dumps(Made(list, (range(10**9),)), 2),
        "deep": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        "deep tuples": b"\x80\x02N" + b"\x85" * 500_000 + b".",
        "no stop": pickle.dumps(table)[:-1],
        "stop alone": b".",
        "self in itself": b"\x80\x02]q\x00h\x00a.",
    }
    return found


def wrong_tables() -> dict[str, bytes]:
    """Return pickles of arrays that are not CMU-MOSEI."""
    table = replicas.mosei_table()
    test = table["test"]
    changed: dict[str, Any] = {
        "no valid": {key: part for key, part in table.items() if key != "valid"},
        "no text": {**table, "test": {key: part for key, part in test.items() if key != "text"}},
        "list": [table],
        "None": None,
        "labels of another number": {**table, "test": {**test, "labels": test["labels"][:-1]}},
        "ids of another number": {**table, "test": {**test, "id": test["id"][:-1]}},
        "two labels": {**table, "test": {**test, "labels": np.zeros((5, 2))}},
        "labels as text": {**table, "test": {**test, "labels": np.array(["a"] * 5)}},
        "other width": {**table, "test": {**test, "text": np.ones((5, 9, 7))}},
        "no steps": {**table, "test": {**test, "text": np.ones((5, 0, 6))}},
        "flat": {**table, "test": {**test, "vision": np.ones((5, 9))}},
        "objects": {**table, "test": {**test, "vision": np.full((5, 9, 4), None)}},
        "empty": {},
        "empty test": {**table, "test": {key: part[:0] for key, part in test.items()}},
        "no text in test": {**table, "test": {**test, "text": np.zeros((5, 9, 6))}},
        "complex": {**table, "test": {**test, "vision": np.ones((5, 9, 4)) * 1j}},
    }
    return {name: pickle.dumps(value, 4) for name, value in changed.items()}


def test_a_damaged_pickle_is_one_line_and_never_runs(
    raw: Callable[[str], Path], run: Callable[..., Result], tmp_path: Path
) -> None:
    shutil.copytree(raw("cmu_mosei"), "raw")
    marker = tmp_path / "payload_was_run"
    made = payloads(marker) | wrong_tables()
    found = [*damages.common(damages.wav()), *(replaced(name, data) for name, data in made.items())]
    assert complaints(run, Listed("cmu_mosei", "mosei_senti_data.pkl", ("--length", "9")), found) == {}
    assert not marker.exists()
    pickle.loads(made["protocol 2"])  # noqa: S301 - The payloads are such that the usual way does run them.
    assert marker.is_dir()


def test_there_are_many_cases() -> None:
    marker = Path("marker")
    assert len(LISTS) * len(texts()) + len(payloads(marker)) + len(wrong_tables()) >= 200
