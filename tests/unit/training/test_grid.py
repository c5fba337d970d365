"""What decides whether a finished run is kept or done again, and what is written down beside its result."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rollingq
from rollingq.config import EncoderConfig
from rollingq.data.base import MultimodalData
from rollingq.data.classes import keep_classes
from rollingq.data.locations import remember
from rollingq.training.grid import Job, Source, run_grid
from rollingq.training.methods import parse_methods
from rollingq.training.settings import Settings, TrainSettings

ENCODER = EncoderConfig(dim=8, num_layers=1, num_heads=2)
SETTINGS = Settings(train=TrainSettings(epochs=1, batch_size=8), encoder=ENCODER)
SOURCE = Source("tiny", None, None)
RunIt = Callable[..., None]


@pytest.fixture
def was_kept() -> list[bool]:
    return []


@pytest.fixture
def run(data: MultimodalData, tmp_path: Path, was_kept: list[bool]) -> RunIt:
    def run_it(settings: Settings = SETTINGS, source: Source = SOURCE, given: MultimodalData = data) -> None:
        run_grid(
            [Job(method, 0) for method in parse_methods(["concat"], ["audio", "image"])],
            source,
            given,
            settings,
            tmp_path / "out",
            workers=0,
            on_epoch=lambda *_: None,
            on_done=lambda job, result, is_kept: was_kept.append(is_kept),
        )

    return run_it


def test_other_weights_at_the_same_path_are_another_start(run: RunIt, tmp_path: Path, was_kept: list[bool]) -> None:
    weights = tmp_path / "weights.pth"
    settings = replace(SETTINGS, encoder=replace(ENCODER, pretrained=str(weights)))
    for content in (b"first", b"first", b"second"):
        weights.write_bytes(content)
        run(settings)
    run(SETTINGS)
    assert was_kept == [False, True, False, False]


def test_what_trains_decides_and_where_it_lies_does_not(run: RunIt, data: MultimodalData, was_kept: list[bool]) -> None:
    run()
    run(source=replace(SOURCE, dir="moved"))
    turned = dict(reversed(data.modalities.items()))
    run(given=replace(data, modalities=turned))
    assert was_kept == [False, True, True]
    run(given=replace(data, manifest={"skipped": 1}))
    run(source=replace(SOURCE, inside=2), given=keep_classes(data, 2))
    run(source=replace(SOURCE, inside=1), given=keep_classes(data, 1))
    run(source=replace(SOURCE, inside=1), given=keep_classes(data, 1))
    assert was_kept[3:] == [False, False, False, True]


def test_the_facts_that_rebuild_a_run_stand_beside_its_result(
    run: RunIt, data: MultimodalData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(source=Source("tiny", "prepared", None, 2), given=keep_classes(data, 2))
    stored: dict[str, Any] = json.loads((tmp_path / "out" / "runs" / "concat-seed0" / "result.json").read_text())
    assert sorted(stored) == ["facts", "key", "result"]
    facts = stored["facts"]
    assert set(facts) == {"version", "method", "seed", "settings", "pretrained", "source", "data", "norm_eps"}
    assert (facts["version"], facts["seed"], facts["pretrained"]) == (rollingq.__version__, 0, None)
    assert facts["source"] == {
        "name": "tiny",
        "dir": str(tmp_path / "prepared"),
        "modalities": ["audio", "image"],
        "inside": 2,
    }
    assert facts["settings"]["train"]["batch_size"] == 8


def test_a_source_without_folder_means_the_last_prepared_one(tmp_path: Path) -> None:
    source = Source("utd_mhad", None, ("depth",), 20)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        remember("utd_mhad", tmp_path / name)
        assert source.located() == replace(source, dir=str(tmp_path / name))
    assert Source("av_digits", None, None).located().dir is None


def test_a_source_keeps_the_first_classes() -> None:
    kept = Source("av_digits", None, ("audio",), 3).load()
    assert (kept.name, len(kept.classes)) == ("av_digits (3 of 10 classes)", 3)
    assert Source("av_digits", None, ("audio",)).load().name == "av_digits"
