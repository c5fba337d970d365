"""The steps of a dataset from raw files to a training, each checked, and what is in the prepared folder."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file

Command = Callable[..., Any]
Place = Callable[[str], Path]
Shapes = dict[str, list[int]]

SEQUENCE = ["--encoder.dim", "16", "--encoder.num_heads", "2", "--encoder.num_layers", "1"]
IMAGES = ["--encoder.name", "vit_tiny_patch16_224", "--encoder.dim", "192", "--encoder.num_heads", "3"]
IMAGES += ["--encoder.num_layers", "1"]
SMALL = ["--size", "32"]


def counts(summary: dict[str, Any]) -> tuple[int, ...]:
    return tuple(sum(summary["counts"][split].values()) for split in ("train", "val", "test"))


def prepared(command: Command, name: str, root: Path, *options: object, code: int = 0) -> dict[str, Any]:
    """Prepare into "out" and return the summary."""
    arguments = ["--root", root, "--out", "out", "--workers", "1", *options]
    summary: dict[str, Any] = command("data", "prepare", name, *arguments, code=code)
    assert summary["dataset"] == name
    assert summary["total"] == sum(counts(summary))
    assert (code == 1) == bool(summary["skipped"])
    return summary


def shown(command: Command, name: str) -> Shapes:
    """Check the folder "out", draw its first test sample, and return the shapes of the sample."""
    report = command("data", "check", name, "--dir", "out")
    assert report["shards"]
    assert [shard["problem"] for shard in report["shards"]] == [None] * len(report["shards"])
    facts = command("data", "show", name, "--dir", "out", "--out", "shown.png")
    assert Path("shown.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = cv2.imread("shown.png")
    inches = 0.7 + 2.4 * len(facts["modalities"])
    assert picture.shape == (pytest.approx(130 * inches, abs=1), 1040, 3)
    assert picture.std() > 10
    return dict(facts["modalities"])


def compared(command: Command, name: str, *options: str) -> None:
    """Train two methods for an epoch on the folder "out"."""
    arguments = ["--data", name, "--dir", "out", "--methods", "concat,mt+rollingq", "--seeds", "1", "--epochs", "1"]
    result = command("compare", *arguments, "--workers", "0", "--train.batch_size", "4", *options)
    assert [run["method"] for run in result["runs"]] == ["concat", "mt+rollingq"]
    for run in result["runs"]:
        assert all(math.isfinite(run[key]) and 0 <= run[key] <= 1 for key in ("val_accuracy", "test_accuracy"))
    assert Path("runs", name, "report.html").stat().st_size > 1000


def samples() -> list[tuple[str, str, str, dict[str, np.ndarray]]]:
    """Return (split, name, class, arrays) of all samples of the folder "out", read without the package."""
    rows = list(csv.DictReader(Path("out", "samples.csv").read_text().splitlines()))
    shards = {row["shard"]: load_file(f"out/{row['shard']}.safetensors") for row in rows}
    return [
        (row["shard"][:-6], row["name"], row["class"], {k: v[int(row["row"])] for k, v in shards[row["shard"]].items()})
        for row in rows
    ]
