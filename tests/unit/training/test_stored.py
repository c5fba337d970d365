"""Finished runs come back from the disk: the same settings, the same model to the last bit, and clear errors."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import rollingq
from rollingq.cli.options import parse_options
from rollingq.config import BalancingConfig, EncoderConfig, FusionConfig, MTStarConfig, OGMConfig, RollingQConfig
from rollingq.data.base import MultimodalData, Split
from rollingq.data.entries import DATASETS
from rollingq.data.registry import load
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError, RollingQWarning
from rollingq.evaluation.rebuilding import rebuilt
from rollingq.training import grid
from rollingq.training.grid import Job, Source, run_grid
from rollingq.training.methods import parse_methods
from rollingq.training.run import Run, run_method
from rollingq.training.settings import Settings, TrainSettings
from rollingq.training.stored import find_runs, read_run

SETTINGS = Settings(
    train=TrainSettings(epochs=2, batch_size=8),
    encoder=EncoderConfig(dim=8, num_layers=2, num_heads=2),
    fusion=FusionConfig(mt_star=MTStarConfig(phases=[1, 1])),
    rollingq=RollingQConfig(beta=0.0),
)
NAMES = [
    "mt", "mt+rollingq", "mt_star+rollingq", "concat", "unimodal:audio", "mmml+rollingq", "mbt", "joint:2",
    "mt+rollingq+ogm", "concat+pmr", "concat+unimodal_loss",
]  # fmt: skip


def train(data: MultimodalData, out: Path, name: str, settings: Settings = SETTINGS, **source: Any) -> Path:
    (method,) = parse_methods([name], list(data.modalities))
    job = Job(method, 3)
    where = Source("tiny", None, None, **source)
    run_grid([job], where, data, settings, out, workers=0, on_epoch=lambda *_: None, on_done=lambda *_: None)
    return out / "runs" / job.folder


def logits(run: Run) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = run.model.eval()(run.data.splits["test"].batch(slice(None))).logits
    return found


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Logits on the test split of every model right after its training."""
    found: list[torch.Tensor] = []
    original = Run.train

    def kept(run: Run, *arguments: Any) -> Any:
        history = original(run, *arguments)
        found.append(logits(run))
        return history

    monkeypatch.setattr(Run, "train", kept)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_model_comes_back_to_the_last_bit(
    name: str, data: MultimodalData, tmp_path: Path, trained: list[torch.Tensor]
) -> None:
    stored = read_run(train(data, tmp_path, name))
    torch.manual_seed(99)
    run = stored.rebuild(data)
    assert not run.model.training
    found = logits(run)
    assert torch.equal(found, trained[0])
    is_right = found.argmax(-1) == data.splits["test"].labels
    assert stored.result.test_accuracy == pytest.approx(float(is_right.float().mean()))
    assert (stored.method.name, stored.seed, stored.settings) == (name, 3, SETTINGS)
    rotations = 0 if run.rollingq is None else run.rollingq.num_rotations
    assert rotations == stored.result.num_rotations
    assert (rotations > 0) == ("rollingq" in name)


def test_another_model_than_the_stored_one_would_be_seen(
    data: MultimodalData, tmp_path: Path, trained: list[torch.Tensor]
) -> None:
    stored = read_run(train(data, tmp_path, "mt+rollingq"))
    run = stored.rebuild(data)
    assert run.rollingq is not None
    run.rollingq.active.num_rotations.zero_()
    assert not torch.equal(logits(run), trained[0])


def images(data: MultimodalData) -> MultimodalData:
    def shown(split: Split) -> Split:
        pixels = torch.randn(len(split), 3, 32, 32, generator=torch.Generator().manual_seed(len(split)))
        return replace(split, inputs={"image": pixels, "flow": pixels.flip(3)}, masks={})

    spec = ModalitySpec((3, 32, 32), "image", statistics="channel")
    splits = {name: shown(split) for name, split in data.splits.items()}
    return replace(data, modalities={"image": spec, "flow": spec}, splits=splits)


@pytest.mark.parametrize("name", ["mbt", "joint:2"])
def test_continued_blocks_keep_the_eps_of_their_weights(
    name: str, data: MultimodalData, tmp_path: Path, trained: list[torch.Tensor]
) -> None:
    import timm

    shown = images(data)
    weights = tmp_path / "vit.pth"
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0, depth=3)
    torch.save(model.state_dict(), weights)
    encoder = EncoderConfig(name="vit_tiny_patch16_224", dim=192, num_heads=3, num_layers=2, pretrained=str(weights))
    settings = replace(SETTINGS, encoder=encoder, train=TrainSettings(epochs=1, batch_size=24, learning_rate=1e-4))
    settings = replace(settings, fusion=FusionConfig(mbt=replace(FusionConfig().mbt, num_layers=1)))
    stored = read_run(train(shown, tmp_path, name, settings))
    assert set(stored.norm_eps.values()) == {1e-6}
    weights.unlink()
    assert torch.equal(logits(stored.rebuild(shown)), trained[0])


@pytest.mark.parametrize("data", DATASETS)
def test_every_recipe_comes_back_from_json(data: str) -> None:
    settings = parse_options("compare", "", ["--data", data]).settings
    assert rebuilt(Settings, json.loads(json.dumps(asdict(settings)))) == settings


def test_settings_that_recipes_do_not_use_come_back_from_json() -> None:
    settings = replace(
        SETTINGS,
        selection="paper",
        encoder=EncoderConfig(by_modality={"image": "resnet18"}, pretrained="hub"),
        balancing=BalancingConfig(ogm=OGMConfig(first_epoch=1, last_epoch=4)),
    )
    assert rebuilt(Settings, json.loads(json.dumps(asdict(settings)))) == settings
    source = Source("utd_mhad", "/data", ("depth", "inertial"), 20)
    assert rebuilt(Source, json.loads(json.dumps(asdict(source)))) == source


FIELDS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown": (lambda s: s["train"].update(momentum=0.9), r"Settings.train to be fields among .* got \['momentum'\]"),
    "missing": (lambda s: s["rollingq"].pop("rho"), "Settings.rollingq to be the fields rho, beta"),
    "choice": (lambda s: s.update(selection="test"), "Settings.selection to be one of 'validation', 'paper', but got"),
    "number": (lambda s: s["train"].update(epochs="3"), "Settings.train.epochs to be a int, but got '3'"),
    "whole": (lambda s: s["train"].update(epochs=True), "Settings.train.epochs to be a int, but got True"),
    "list": (lambda s: s["fusion"]["mt_star"].update(phases=3), "Settings.fusion.mt_star.phases to be a list"),
    "mapping": (lambda s: s.update(encoder=[]), "Settings.encoder to be a mapping"),
    "none": (lambda s: s["train"].update(epochs=None), "Settings.train.epochs to be a int, but got None"),
    "range": (lambda s: s["rollingq"].update(rho=-1), "rho to be a number > 0"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_settings_of_another_form_are_refused(case: str) -> None:
    change, text = FIELDS[case]
    settings = json.loads(json.dumps(asdict(SETTINGS)))
    change(settings)
    with pytest.raises(ValueError, match=text):
        rebuilt(Settings, settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of two runs on the embedded data."""
    out = tmp_path_factory.mktemp("made")
    digits = load("av_digits")
    for name in ("concat", "mt"):
        train(digits, out, name, replace(SETTINGS, train=TrainSettings(epochs=1)))
    return out


def copy_of(run: Path, to: Path) -> Path:
    to.mkdir()
    for name in ("result.json", "best.ckpt"):
        (to / name).write_bytes((run / name).read_bytes())
    return to


def test_runs_are_found_from_any_of_their_folders(made: Path) -> None:
    runs = [made / "runs" / "concat-seed3", made / "runs" / "mt-seed3"]
    assert find_runs(made) == find_runs(made / "runs") == runs
    assert find_runs(runs[1]) == [runs[1]]


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("runs/mt-sed3", r"mt-sed3 holds no result.json; train it first. Did you mean 'mt-seed3'\?"),
        ("mt-seed", r"mt-seed holds no result.json; train it first. Did you mean 'mt-seed3'\?"),
        ("rums", r"rums holds no result.json; train it first. Did you mean 'runs'\?"),
        ("nowhere/at/all", "nowhere/at/all holds no result.json; train it first.$"),
    ],
)
def test_the_nearest_run_is_named(made: Path, folder: str, text: str) -> None:
    for call in (find_runs, read_run):
        with pytest.raises(DataError, match=text):
            call(made / folder)


def test_a_comparison_is_no_run(made: Path) -> None:
    with pytest.raises(DataError, match=r"choose one of its runs, such as .*-seed3"):
        read_run(made)


def test_a_moved_dataset_is_read_where_it_is(made: Path, tmp_path: Path) -> None:
    stored = read_run(made / "runs" / "mt-seed3", dir=tmp_path / "a" / ".." / "b")
    assert stored.source == Source("tiny", str(tmp_path / "b"), ("audio", "image"))
    assert read_run(made / "runs" / "mt-seed3").source == Source("tiny", None, ("audio", "image"))


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "facts": (lambda s: s.pop("facts"), "it has no 'facts'"),
    "method": (lambda s: s["facts"].pop("method"), "it has no 'method'"),
    "seed": (lambda s: s["facts"].update(seed="a"), "seed|int to be a int, but got 'a'"),
    "result": (lambda s: s["result"].pop("seed"), "missing 1 required positional argument: 'seed'"),
    "settings": (lambda s: s["facts"]["settings"].update(new=1), r"among selection, .* but got \['new'\]"),
    "version": (
        lambda s: (s["facts"].update(version="9.0"), s["facts"]["settings"].update(new=1)),
        f"made by rollingq 9.0, not {rollingq.__version__}: Expected Settings to be fields among",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_what_cannot_be_read_is_said_in_one_line(made: Path, tmp_path: Path, case: str) -> None:
    change, text = DAMAGES[case]
    folder = copy_of(made / "runs" / "mt-seed3", tmp_path / "run")
    stored = json.loads((folder / "result.json").read_text())
    change(stored)
    (folder / "result.json").write_text(json.dumps(stored))
    with pytest.raises(DataError, match=text) as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)
    assert "delete it and train again" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b'{"key": "cut', b"\xff\xfe", b"[]", b"null"])
def test_a_damaged_result_is_said_in_one_line(made: Path, tmp_path: Path, content: bytes) -> None:
    folder = copy_of(made / "runs" / "mt-seed3", tmp_path / "run")
    (folder / "result.json").write_bytes(content)
    with pytest.raises(DataError, match=r"run/result.json, but it cannot be read \(.+\); delete it") as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_weights_are_said(made: Path, tmp_path: Path) -> None:
    folder = copy_of(made / "runs" / "mt-seed3", tmp_path / "run")
    (folder / "best.ckpt").write_bytes((folder / "best.ckpt").read_bytes()[:500])
    with pytest.raises(DataError, match=r"the weights of a run in .*best.ckpt, but it cannot be read"):
        read_run(folder).rebuild(load("av_digits"))
    (folder / "best.ckpt").unlink()
    with pytest.raises(DataError, match=r"Expected the weights .*best.ckpt, but got none"):
        read_run(folder)


def test_other_data_is_warned_of_or_refused(made: Path, data: MultimodalData) -> None:
    stored = read_run(made / "runs" / "mt-seed3")
    digits = load("av_digits")
    with pytest.warns(RollingQWarning, match="another manifest"):
        stored.rebuild(replace(digits, manifest={**digits.manifest, "seed": 1}))
    with pytest.warns(RollingQWarning), pytest.raises(DataError, match="do not fit tiny with 3 classes") as caught:
        stored.rebuild(data)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"a modality of mt in av_digits to be one of audio, but got 'image'"):
        stored.rebuild(load("av_digits", modalities=["audio"]))


def test_a_killed_run_leaves_no_weights_that_could_be_taken_for_the_run_s(
    data: MultimodalData, tmp_path: Path, trained: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any) -> Any:
        run_method(*arguments)
        raise RuntimeError("no memory left")

    other = replace(SETTINGS, train=replace(SETTINGS.train, learning_rate=0.01))
    monkeypatch.setattr(grid, "run_method", fails)
    with pytest.raises(grid.RunError, match="no memory left"):
        train(data, tmp_path, "mt", other)
    monkeypatch.undo()
    folder = tmp_path / "runs" / "mt-seed3"
    assert (folder / "best.ckpt").exists()
    assert not (folder / "result.json").exists()
    found = logits(read_run(train(data, tmp_path, "mt")).rebuild(data))
    assert [path.name for path in folder.glob("*.ckpt")] == ["best.ckpt"]
    assert not torch.equal(found, trained[0])
    (again := tmp_path / "again").mkdir()
    assert torch.equal(found, logits(read_run(train(data, again, "mt")).rebuild(data)))
