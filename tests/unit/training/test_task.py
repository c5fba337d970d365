"""A real run: the order of a balancing method's hooks, phases of MT*, and every system from start to result."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rollingq.balancing.base import Balancing, Batch, TrainingPass
from rollingq.config import EncoderConfig, FusionConfig, MMMLConfig, MTStarConfig, MulTConfig, RollingQConfig
from rollingq.data.base import MultimodalData
from rollingq.evaluation.results import RunResult
from rollingq.training.methods import parse_methods, systems
from rollingq.training.module import MultimodalTask
from rollingq.training.run import Run, run_method
from rollingq.training.settings import Settings, TrainSettings

TINY = EncoderConfig(dim=8, num_layers=2, num_heads=2)


def settings(epochs: int = 2, **parts: Any) -> Settings:
    rotating = RollingQConfig(beta=0.0, max_rotations=2)
    return Settings(
        train=TrainSettings(epochs=epochs, batch_size=8, optimizer="sgd"),
        encoder=TINY,
        **{"rollingq": rotating, **parts},
    )


def result(name: str, data: MultimodalData, where: Path, given: Settings) -> RunResult:
    (method,) = parse_methods([name], list(data.modalities))
    return run_method(method, 0, data, given, where, lambda record: None)


class Diary(Balancing):
    """Writes down what is called, and checks what is true at that moment."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.pages: list[str] = []
        self._run = (run,)

    def start_training(self, training_pass: TrainingPass) -> None:
        self.pages.append("training")
        self.num_batches = [len(list(training_pass(fraction))) for fraction in (0.01, 0.5, 1.0)]

    def start_epoch(self, epoch: int) -> None:
        self.pages.append(f"epoch {epoch}")

    def change_batch(self, batch: Batch) -> Batch:
        self.pages.append("batch")
        return {**batch, "audio": batch["audio"] + 1}

    def extra_loss(self, output: Any, labels: Tensor) -> Tensor:
        self.pages.append("loss")
        return output.logits.sum() * 0.0

    def change_gradients(self) -> None:
        self.pages.append("gradients")
        assert all(p.grad is not None for p in self._run[0].model.encoders.parameters())

    def end_epoch(self, training_pass: TrainingPass) -> None:
        self.pages.append("end")
        model = self._run[0].model
        seen = [labels for output, labels in training_pass() if not output.logits.requires_grad and not model.training]
        assert torch.cat(seen).sort().values.tolist() == [0] * 8 + [1] * 8 + [2] * 8
        assert model.training


def test_hooks_come_in_their_order(data: MultimodalData, tmp_path: Path) -> None:
    (method,) = parse_methods(["concat"], list(data.modalities))
    run = Run(method, 0, data, settings())
    diary = Diary(run)
    run.balancing.append(diary)
    run.train(tmp_path, lambda record: None)
    step = ["batch", "loss", "gradients"]
    assert diary.pages == ["training", *(["epoch 0", *step * 3, "end"]), *(["epoch 1", *step * 3, "end"])]
    assert diary.num_batches == [1, 2, 3]


def test_the_phases_of_mt_star_switch_at_their_epoch_and_rollingq_moves_along(
    data: MultimodalData, tmp_path: Path
) -> None:
    given = settings(6, fusion=FusionConfig(mt_star=MTStarConfig(phases=[1, 2])))
    (method,) = parse_methods(["mt_star+rollingq"], list(data.modalities))
    run = Run(method, 0, data, given)
    assert run.rollingq is not None
    first, second = run.rollingq.attachments
    seen: list[tuple[int, int, int]] = []
    fusion: Any = run.model.fusion
    history = run.train(tmp_path, lambda _: seen.append((fusion.num_active, len(first.history), len(second.history))))
    assert seen == [(1, 1, 0), (1, 2, 0), (2, 2, 1), (2, 2, 2), (2, 2, 3), (2, 2, 4)]
    assert [record.rotated for record in history] == [True, True, True, True, False, False]


def test_an_early_best_epoch_brings_its_phase_back(data: MultimodalData, tmp_path: Path) -> None:
    (method,) = parse_methods(["mt_star+rollingq"], list(data.modalities))
    run = Run(method, 0, data, settings(3))
    task = MultimodalTask(run.model, settings(3).train, run.balancing)
    fusion: Any = run.model.fusion
    fusion.num_active = 1
    saved = task.state_dict()
    fusion.num_active = 2
    task.load_state_dict(saved)
    assert fusion.num_active == 1
    assert run.attachment is run.rollingq.attachments[0]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [*systems(2), "joint:2+rollingq", "mt+rollingq+pmr+unimodal_loss+modality_dropout"])
def test_every_system_runs(name: str, data: MultimodalData, tmp_path: Path) -> None:
    names = [f"unimodal:{m}" for m in data.modalities] if name == "unimodal" else [name]
    for one in names:
        found = result(one, data, tmp_path, settings())
        assert 0 <= found.test_accuracy <= 1
        assert bool(found.num_rotations) == ("rollingq" in one)
        assert all(record.train_loss == record.train_loss for record in found.history)


@pytest.mark.parametrize(
    ("name", "fusion", "has_score"),
    [
        ("mult", FusionConfig(mult=MulTConfig(memory="streams")), False),
        ("mult", FusionConfig(mult=MulTConfig(memory="joint")), True),
        ("mmml", FusionConfig(mmml=MMMLConfig(reading="self")), False),
        ("mmml", FusionConfig(mmml=MMMLConfig(reading="cross")), False),
    ],
)
def test_our_readings_rotate(
    name: str, fusion: FusionConfig, has_score: bool, data: MultimodalData, tmp_path: Path
) -> None:
    found = result(f"{name}+rollingq", data, tmp_path, settings(fusion=fusion))
    assert found.num_rotations >= 1
    assert sum(record.rotated for record in found.history) == 2
    assert all(record.air is not None for record in found.history)
    assert (found.attention is not None) == has_score


@pytest.mark.parametrize("statistics", ["last_batch", "full_pass"])
def test_other_statistics_rotate_in_training(statistics: Any, data: MultimodalData, tmp_path: Path) -> None:
    config = RollingQConfig(beta=0.0, max_rotations=1, statistics=statistics)
    found = result("mt+rollingq", data, tmp_path, settings(rollingq=config))
    assert found.num_rotations == 1
