"""``rollingq data``: list, prepare, check and show, with what they say of bad input and of damaged files."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollingq.data.registry import source_of

MainIn = Callable[..., int]
Capture = pytest.CaptureFixture[str]
RAW_DATASETS = (
    "utd_mhad", "av_mnist", "crema_d", "kinetics_sound", "cmu_mosei", "ucf101", "hmdb51", "custom",
)  # fmt: skip
DATASETS = ("av_digits", *RAW_DATASETS)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A user's own data: eight samples with two arrays each, in tmp_path/raw."""
    root = tmp_path / "raw"
    root.mkdir()
    lines = ["name,split,label,motion,numbers"]
    for number, split in enumerate(("train",) * 4 + ("val",) * 2 + ("test",) * 2):
        for modality, width in (("motion", 3), ("numbers", 2)):
            np.save(root / f"{number}_{modality}.npy", np.random.default_rng(number).normal(size=(4, width)))
        lines.append(f"clip{number},{split},{('cat', 'dog')[number % 2]},{number}_motion.npy,{number}_numbers.npy")
    (root / "samples.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def damaged(raw: Path) -> Path:
    """The same with two damaged files: one is empty, one is cut off."""
    (raw / "1_motion.npy").write_bytes(b"")
    file = raw / "6_numbers.npy"
    file.write_bytes(file.read_bytes()[:-5])
    return raw


PREPARE = ("data", "prepare", "custom", "--root", "raw", "--out", "out", "--workers", "1")


def printed(main_in: MainIn, capsys: Capture, *arguments: str, code: int = 0) -> Any:
    """Return the JSON that a command prints."""
    capsys.readouterr()
    assert main_in(*arguments, "--json") == code
    return json.loads(capsys.readouterr().out)


def test_list_shows_every_dataset_and_what_is_prepared(
    main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture
) -> None:
    entries = printed(main_in, capsys, "data", "list")
    assert [entry["name"] for entry in entries] == list(DATASETS)
    assert all(entry["prepared"] is None for entry in entries)
    assert [entry["name"] for entry in entries if entry["embedded"]] == ["av_digits"]
    assert all(entry[key] for entry in entries for key in ("title", "size", "licence", "where", "summary"))
    assert main_in(*PREPARE) == 0
    entries = {entry["name"]: entry["prepared"] for entry in printed(main_in, capsys, "data", "list")}
    assert entries == {**dict.fromkeys(DATASETS), "custom": str(tmp_path / "out")}


def test_list_in_words(main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main_in(*PREPARE) == 0
    capsys.readouterr()
    assert main_in("data", "list") == 0
    out, err = capsys.readouterr()
    assert err == ""
    blocks = [line.split(":")[0] for line in out.splitlines() if not line.startswith("  ")]
    assert blocks == list(DATASETS)
    assert out.count("not prepared: rollingq data prepare") == len(RAW_DATASETS) - 1
    assert f"  prepared: {tmp_path / 'out'}\n" in out
    assert "in the package: nothing to prepare" in out


def test_a_folder_that_is_gone_is_not_prepared(main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main_in(*PREPARE) == 0
    (tmp_path / "out").rename(tmp_path / "moved")
    assert all(entry["prepared"] is None for entry in printed(main_in, capsys, "data", "list"))


def test_the_last_prepared_folder_needs_no_dir(main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main_in(*PREPARE) == 0
    assert printed(main_in, capsys, "data", "check", "custom")["folder"] == str(tmp_path / "out")
    assert printed(main_in, capsys, "data", "show", "custom")["name"] == "clip6"


BAD = {
    "no action but an option": (["data", "--json"], "an action before options"),
    "unknown action": (["data", "chek"], "Did you mean 'check'"),
    "no name": (["data", "prepare", "--root", "raw"], "name of a dataset before options"),
    "unknown dataset": (["data", "prepare", "crema-d", "--root", "raw", "--out", "out"], "Did you mean 'crema_d'"),
    "no root": (["data", "prepare", "custom", "--out", "out"], "--root, but got none"),
    "no out": (["data", "prepare", "custom", "--root", "raw"], "--out, but got none"),
    "neither": (["data", "prepare", "custom"], "--root and --out"),
    "unknown option": ([*PREPARE, "--recpie", "code"], "Did you mean '--recipe'"),
    "another dataset's option": ([*PREPARE, "--labels", "acc2"], "got --labels"),
    "value of no choice": ([*PREPARE, "--recipe", "papre"], "'paper', 'code', 'fbank', but got papre"),
    "value of another type": ([*PREPARE, "--size", "large"], "large"),
    "value out of range": ([*PREPARE, "--seconds", "-1"], "seconds to be above 0"),
    "value that is no number": ([*PREPARE, "--seconds", "nan"], "nan"),
    "unknown way with errors": ([*PREPARE, "--on-error", "ignore"], "ignore"),
    "no workers": ([*PREPARE[:-1], "0"], "at least 1 worker"),
    "less than no workers": ([*PREPARE[:-1], "-1"], "at least 1 worker"),
    "stray word": ([*PREPARE, "more"], "more"),
    "no such root": (["data", "prepare", "custom", "--root", "nowhere", "--out", "out"], "nowhere"),
    "root is a file": (["data", "prepare", "custom", "--root", "raw/samples.csv", "--out", "out"], "samples.csv"),
    "root of another dataset": (["data", "prepare", "crema_d", "--root", "raw", "--out", "out"], "AudioWAV"),
    "out in use": (["data", "prepare", "custom", "--root", "raw", "--out", "raw"], "other content"),
    "split of no rule": (["data", "prepare", "crema_d", "--root", "raw", "--out", "out", "--split", "actor"], "actors"),
    "embedded": (["data", "prepare", "av_digits", "--root", "raw", "--out", "out"], "embedded"),
    "check unknown": (["data", "check", "costum"], "Did you mean 'custom'"),
    "check nothing": (["data", "check"], "name"),
    "check unprepared": (["data", "check", "ucf101"], "rollingq data prepare ucf101"),
    "check nowhere": (["data", "check", "custom", "--dir", "nowhere"], "nowhere"),
    "check raw files": (["data", "check", "custom", "--dir", "raw"], "manifest.json"),
    "check unknown option": (["data", "check", "custom", "--folder", "raw"], "--folder"),
    "show unknown": (["data", "show", "costum"], "Did you mean 'custom'"),
    "show unprepared": (["data", "show", "hmdb51"], "rollingq data prepare hmdb51"),
    "show index": (["data", "show", "av_digits", "--index", "99999"], "500"),
    "show index below 0": (["data", "show", "av_digits", "--index", "-1"], "-1"),
    "show index in words": (["data", "show", "av_digits", "--index", "first"], "first"),
    "show split": (["data", "show", "av_digits", "--split", "dev"], "dev"),
    "show suffix": (["data", "show", "av_digits", "--out", "sample.jpg"], "sample.jpg"),
    "list with a word": (["data", "list", "custom"], "custom"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name: str, main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture) -> None:
    arguments, expected = BAD[name]
    before = sorted(path.name for path in raw.iterdir())
    assert main_in(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollingq: Expected")
    assert err.count("\n") == 1
    assert expected in err
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    assert sorted(path.name for path in raw.iterdir()) == before


def test_damaged_files_are_listed_and_exit_with_1(
    main_in: MainIn, damaged: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main_in(*PREPARE) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "custom: 6 samples (train 3, val 2, test 1) -> out"
    lines = err.splitlines()
    assert lines[0] == "2 damaged or incomplete clips are left out:"
    assert lines[1] == "  1_motion.npy: the file is empty"
    assert lines[2].startswith("  6_numbers.npy: ")
    assert len(lines) == 3
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [skip["name"] for skip in manifest["skipped"]] == ["clip1", "clip6"]


def test_damaged_files_in_json(main_in: MainIn, damaged: Path, capsys: Capture) -> None:
    summary = printed(main_in, capsys, *PREPARE, code=1)
    assert [(skip["name"], skip["file"]) for skip in summary["skipped"]] == [
        ("clip1", "1_motion.npy"),
        ("clip6", "6_numbers.npy"),
    ]
    assert all(skip["reason"] and str(damaged) not in skip["reason"] for skip in summary["skipped"])
    assert summary["counts"]["train"] == {"cat": 2, "dog": 1}
    assert summary["total"] == 6


def test_only_some_of_many_damaged_files_are_listed_on_the_screen(
    main_in: MainIn, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "raw" / "train" / "cat"
    folder.mkdir(parents=True)
    for number in range(26):
        np.save(folder / f"{number:02d}.motion.npy", np.ones((2, 2)))
        if number:
            (folder / f"{number:02d}.motion.npy").write_bytes(b"")
    assert main_in(*PREPARE) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("25 damaged")
    assert len(lines) == 22
    assert lines[-1] == "  and 5 more: out/manifest.json"
    assert len(json.loads((tmp_path / "out" / "manifest.json").read_text())["skipped"]) == 25


def test_damaged_files_may_be_skipped(main_in: MainIn, damaged: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main_in(*PREPARE, "--on-error", "skip") == 0
    assert "6_numbers.npy" in capsys.readouterr().err
    assert len((tmp_path / "out" / "samples.csv").read_text().splitlines()) == 1 + 6


def test_damaged_files_may_stop_it(main_in: MainIn, damaged: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main_in(*PREPARE, "--on-error", "raise") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollingq: Expected 8 sound clips, but got 2 damaged (1_motion.npy: the file is empty; ")
    assert "6_numbers.npy" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_second_call_replaces_the_folder(main_in: MainIn, damaged: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main_in(*PREPARE) == 1
    for name in ("1_motion.npy", "6_numbers.npy"):
        np.save(damaged / name, np.ones((4, 3 if "motion" in name else 2)))
    assert main_in(*PREPARE) == 0
    assert len((tmp_path / "out" / "samples.csv").read_text().splitlines()) == 1 + 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_options_may_come_from_a_file(main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mine.yaml").write_text("length: 6\n")
    assert main_in(*PREPARE, "--config", "mine.yaml") == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["recipe"]["length"] == 6
    assert manifest["modalities"]["motion"]["shape"] == [6, 3]


def test_check_of_a_sound_folder(main_in: MainIn, raw: Path, capsys: Capture) -> None:
    assert main_in(*PREPARE) == 0
    capsys.readouterr()
    assert main_in("data", "check", "custom", "--dir", "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("test-00000.safetensors: sound (")
    assert all(form in lines[0] for form in ("label [2]", "motion [2, 4, 3]", "numbers [2, 4, 2]"))
    assert lines[-1] == "out: 4 of 4 files sound"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


WRONG = {
    "a flipped bit": ("val-00000.safetensors", flip),
    "a cut shard": ("train-00000.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-9])),
    "an empty shard": ("train-00000.safetensors", lambda path: path.write_bytes(b"")),
    "a missing shard": ("test-00000.safetensors", Path.unlink),
    "a changed table": ("samples.csv", lambda path: path.write_text(path.read_text().replace("clip6", "clip7"))),
    "a missing table": ("samples.csv", Path.unlink),
}


@pytest.mark.parametrize("name", WRONG)
def test_check_names_the_damaged_file(name: str, main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture) -> None:
    file, change = WRONG[name]
    assert main_in(*PREPARE) == 0
    change(tmp_path / "out" / file)
    report = printed(main_in, capsys, "data", "check", "custom", "--dir", "out", code=1)
    assert [shard["file"] for shard in report["shards"] if shard["problem"]] == [file]
    assert main_in("data", "check", "custom", "--dir", "out") == 1
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if line.startswith(f"{file}: Expected")]
    assert file in line.removeprefix(file)
    assert out.endswith("out: 3 of 4 files sound\n")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", '{"dataset": "custom"}', '{"dataset": "ucf101"}'])
def test_check_of_a_damaged_manifest_is_one_line(
    text: str, main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main_in(*PREPARE) == 0
    (tmp_path / "out" / "manifest.json").write_text(text)
    capsys.readouterr()
    for action in ("check", "show"):
        assert main_in("data", action, "custom", "--dir", "out") == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith("rollingq: Expected")


def test_show_draws_one_sample(main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main_in(*PREPARE) == 0
    arguments = ("data", "show", "custom", "--split", "train", "--index", "2", "--out", "made/drawn.png")
    shown = printed(main_in, capsys, *arguments)
    assert shown == {
        "file": "made/drawn.png",
        "name": "clip2",
        "label": "cat",
        "split": "train",
        "index": 2,
        "modalities": {"motion": [4, 3], "numbers": [4, 2]},
    }
    data = (tmp_path / "made" / "drawn.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (1040, pytest.approx(130 * (0.7 + 2 * 2.4), abs=1))


def test_show_says_what_it_drew(main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main_in(*PREPARE) == 0
    capsys.readouterr()
    assert main_in("data", "show", "custom") == 0
    assert capsys.readouterr().out.splitlines() == [
        "test 0: clip6, class cat -> custom_test_0.png",
        "  motion: tokens [4, 3]",
        "  numbers: tokens [4, 2]",
    ]
    assert (tmp_path / "custom_test_0.png").is_file()


def test_show_of_a_damaged_shard_is_one_line(main_in: MainIn, raw: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main_in(*PREPARE) == 0
    flip(tmp_path / "out" / "test-00000.safetensors")
    capsys.readouterr()
    assert main_in("data", "show", "custom") == 2
    err = capsys.readouterr().err
    assert "test-00000.safetensors" in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("name", RAW_DATASETS)
def test_help_of_a_dataset_shows_its_own_options(name: str, main_in: MainIn, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main_in("data", "prepare", name, "--help")
    assert not ended.value.code
    out = capsys.readouterr().out
    own = source_of(name).options()
    assert all(f"--{option} " in out for option in (*own, "root", "out", "workers", "on-error"))
    others = {option for other in RAW_DATASETS for option in source_of(other).options()} - set(own)
    assert not [option for option in others if f"--{option} " in out]
    words = " ".join(out.split())
    for option in own:  # Every option says what it is for.
        text = words.split(f"--{option} ", 1)[1].split(" --", 1)[0]
        assert len(text.split()) > 4, text


@pytest.mark.parametrize("arguments", [[], ["--help"], ["prepare"], ["prepare", "--help"]])
def test_help_of_the_command(arguments: list[str], main_in: MainIn, capsys: Capture) -> None:
    assert main_in("data", *arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: rollingq data")
    assert err == ""
    expected = RAW_DATASETS if "prepare" in arguments else ("list", "prepare", "check", "show")
    assert all(word in out for word in expected)
