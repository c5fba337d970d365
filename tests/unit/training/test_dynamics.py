"""Training dynamics: what the history holds equals float64 oracles on the same batches, whatever balances."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rollingq.balancing.base import Balancing
from rollingq.config import EncoderConfig, RollingQConfig
from rollingq.data.base import MultimodalData
from rollingq.evaluation.results import EpochRecord
from rollingq.training.dynamics import Dynamics
from rollingq.training.methods import parse_methods
from rollingq.training.run import Run
from rollingq.training.settings import Settings, TrainSettings

TINY = EncoderConfig(dim=8, num_layers=2, num_heads=2, dropout=0.0)


class Witness(Balancing):
    """Comes last: keeps what the model said, and works out every gradient anew by autograd."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = (run,)
        self.norms: dict[str, list[float]] = {name: [] for name in run.method.modalities}
        self.weights: list[Tensor] = []
        self.seen_late: list[float] = []

    def extra_loss(self, output: Any, labels: Tensor) -> None:
        if output.weights is not None:
            self.weights.append(output.weights.detach().double().mean(1))
        heads = (output.logits, *output.auxiliary.values(), *output.probes.values())
        loss = sum(cross_entropy(head, labels) for head in heads)
        for name, module in self._run[0].model.modality_modules.items():
            gradients = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
            squares = [gradient.double().square().sum() for gradient in gradients if gradient is not None]
            self.norms[name].append(float(sum(squares)) ** 0.5)

    def change_gradients(self) -> None:
        module = next(iter(self._run[0].model.modality_modules.values()))
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        self.seen_late.append(float(sum(g.double().square().sum() for g in gradients)) ** 0.5)


def witnessed(name: str, data: MultimodalData, where: Path, epochs: int = 2) -> tuple[Witness, list[EpochRecord], Run]:
    given = Settings(
        train=TrainSettings(epochs=epochs, batch_size=10, optimizer="sgd", learning_rate=0.05),
        encoder=TINY,
        rollingq=RollingQConfig(beta=0.0, max_rotations=2),
    )
    (method,) = parse_methods([name], list(data.modalities))
    run = Run(method, 0, data, given)
    witness = Witness(run)
    run.balancing.append(witness)
    return witness, run.train(where, lambda record: None), run


@pytest.mark.parametrize("name", ["mt", "mt+rollingq+ogm", "concat+ogm_ge", "mt_star", "mmml", "unimodal:audio"])
def test_gradient_norms_are_those_of_the_loss(name: str, data: MultimodalData, tmp_path: Path) -> None:
    witness, history, run = witnessed(name, data, tmp_path)
    steps = 3
    for epoch, record in enumerate(history):
        assert record.gradient_norm is not None
        assert list(record.gradient_norm) == list(run.method.modalities)
        for modality, norm in record.gradient_norm.items():
            expected = witness.norms[modality][epoch * steps : (epoch + 1) * steps]
            assert norm == pytest.approx(sum(expected) / steps, rel=1e-5)
            assert norm > 0


def test_norms_are_taken_before_ogm_changes_the_gradients(data: MultimodalData, tmp_path: Path) -> None:
    witness, history, _ = witnessed("concat+ogm_ge", data, tmp_path, epochs=1)
    assert history[0].gradient_norm is not None
    late = sum(witness.seen_late) / len(witness.seen_late)
    assert abs(history[0].gradient_norm["audio"] - late) > 0.01 * late, "the noise of OGM-GE came after"


@pytest.mark.parametrize("name", ["mt+rollingq+pmr", "mt_star+rollingq", "joint:2"])
def test_attention_is_the_mean_over_all_samples(name: str, data: MultimodalData, tmp_path: Path) -> None:
    witness, history, run = witnessed(name, data, tmp_path)
    spans = {
        "audio": slice(1, 1 + run.model.key_lengths["audio"]),
        "image": slice(1 + run.model.key_lengths["audio"], None),
    }
    assert len(witness.weights) == 6
    for epoch, record in enumerate(history):
        whole = torch.cat(witness.weights[3 * epoch : 3 * epoch + 3])
        assert len(whole) == 24, "batches of 10, 10 and 4: a sample counts once, not a batch"
        assert record.attention_score is not None
        assert list(record.attention_score) == ["audio", "image"]
        for modality, span in spans.items():
            expected = float(whole[:, span].sum(-1).mean())
            assert record.attention_score[modality] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["unimodal:image", "concat", "mmml"])
def test_no_attention_is_none(name: str, data: MultimodalData, tmp_path: Path) -> None:
    _, history, _ = witnessed(name, data, tmp_path, epochs=1)
    assert history[0].attention_score is None


def modules() -> dict[str, nn.Module]:
    return {"audio": nn.Linear(3, 2), "image": nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2))}


def backward(found: dict[str, nn.Module], factor: float) -> None:
    for module in found.values():
        module.zero_grad()
    inputs = {"audio": torch.ones(1, 3), "image": torch.ones(1, 4)}
    (factor * sum(module(inputs[name]).square().sum() for name, module in found.items())).backward()


def test_the_scale_of_a_scaler_is_taken_out_and_its_skipped_steps_count_nowhere() -> None:
    found = modules()
    plain, scaled = Dynamics(found, {}), Dynamics(found, {})
    for factor in (1.0, 3.0):
        backward(found, factor)
        plain.see_gradients()
    for factor, scale in ((1024.0, 1024.0), (3.0 * 512.0, 512.0), (float("inf"), 512.0)):
        backward(found, factor)
        scaled.see_gradients(scale)
    assert scaled.gradient_norm == pytest.approx(plain.gradient_norm, rel=1e-6)


def test_only_overflow_leaves_nothing_and_a_diverged_run_shows() -> None:
    found = modules()
    backward(found, float("inf"))
    scaled, plain = Dynamics(found, {}), Dynamics(found, {})
    scaled.see_gradients(2.0)
    plain.see_gradients()
    assert scaled.gradient_norm is None
    assert plain.gradient_norm is not None
    assert not any(abs(norm) < float("inf") for norm in plain.gradient_norm.values())


def test_a_frozen_encoder_has_no_norm_and_a_new_epoch_starts_from_nothing() -> None:
    found = modules()
    found["image"].requires_grad_(False)
    dynamics = Dynamics(found, {"cls": 1, "audio": 1, "image": 2})
    backward(found, 1.0)
    dynamics.see_gradients()
    dynamics.see_attention(torch.full((2, 3, 4), 0.25))
    assert dynamics.gradient_norm is not None
    assert list(dynamics.gradient_norm) == ["audio"]
    assert dynamics.attention_score == {"audio": 0.25, "image": 0.5}
    dynamics.start_epoch()
    assert dynamics.gradient_norm is None
    assert dynamics.attention_score is None


def test_mixed_precision_records_unscaled_norms(
    data: MultimodalData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plain, _ = witnessed("mt", data, tmp_path / "plain", epochs=1)
    import rollingq.training.run as run

    make = run.make_trainer

    def mixed(*args: Any) -> Any:
        trainer = make(*args)
        precision = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10))
        trainer.strategy.precision_plugin = precision
        return trainer

    monkeypatch.setattr(run, "make_trainer", mixed)
    _, scaled, _ = witnessed("mt", data, tmp_path / "scaled", epochs=1)
    assert plain[0].gradient_norm is not None
    assert scaled[0].gradient_norm == pytest.approx(plain[0].gradient_norm, rel=0.05)
    assert scaled[0].gradient_norm != plain[0].gradient_norm
