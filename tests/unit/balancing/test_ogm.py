"""OGM and OGM-GE: coefficients against a plain oracle, which gradients they touch, and the noise of GE."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rollingq.balancing.ogm import OGM, discrepancy_ratios, label_scores, modulation_coefficients
from rollingq.config import EncoderConfig, OGMConfig
from rollingq.errors import ConfigError
from rollingq.nn.classifier import ModelOutput
from rollingq.nn.registry import build_model

SHAPES = {"audio": (5, 3), "image": (4, 2), "text": (2, 6)}
CLASSES = 4


def oracle_scores(logits: dict[str, list[list[float]]], labels: list[int]) -> dict[str, float]:
    scores = {}
    for name, rows in logits.items():
        chances = [math.exp(row[y]) / math.fsum(map(math.exp, row)) for row, y in zip(rows, labels, strict=True)]
        scores[name] = math.fsum(chances)
    return scores


def oracle_coefficients(scores: dict[str, float], alpha: float) -> dict[str, float]:
    found = {}
    for name, score in scores.items():
        others = [score / other for key, other in scores.items() if key != name]
        rho = math.fsum(others) / len(others)
        decay = math.exp(-2.0 * alpha * rho)
        found[name] = 2.0 * decay / (1.0 + decay) if rho > 1 else 1.0  # 1 - tanh(x), another way.
    return found


def tensors(scores: dict[str, float]) -> dict[str, Tensor]:
    return {name: torch.tensor(score, dtype=torch.float64) for name, score in scores.items()}


positive = st.floats(1e-3, 1e3)


@given(st.lists(positive, min_size=2, max_size=4, unique=True), st.floats(0.01, 3.0))
def test_coefficients_equal_the_oracle(values: list[float], alpha: float) -> None:
    scores = {f"m{i}": value for i, value in enumerate(values)}
    found, expected = modulation_coefficients(tensors(scores), alpha), oracle_coefficients(scores, alpha)
    assert list(found) == list(scores)
    for name in scores:
        assert math.isclose(found[name].item(), expected[name], rel_tol=1e-9, abs_tol=1e-12)
    weakest = min(scores, key=lambda name: scores[name])
    assert found[weakest] == 1.0


@pytest.mark.parametrize("num_modalities", [2, 3])
def test_scores_of_logits_equal_the_oracle(num_modalities: int) -> None:
    names = list(SHAPES)[:num_modalities]
    logits = {name: 3 * torch.randn(6, CLASSES) for name in names}
    labels = torch.randint(CLASSES, (6,))
    found = label_scores(logits, labels)
    expected = oracle_scores({name: part.double().tolist() for name, part in logits.items()}, labels.tolist())
    assert {name: score.item() for name, score in found.items()} == pytest.approx(expected, rel=1e-5)


def test_closed_form_of_two() -> None:
    scores = tensors({"audio": 3.0, "image": 2.0})
    assert {name: rho.item() for name, rho in discrepancy_ratios(scores).items()} == {"audio": 1.5, "image": 2 / 3}
    found = modulation_coefficients(scores, 0.8)
    assert found["audio"].item() == pytest.approx(1 - math.tanh(0.8 * 1.5), rel=1e-12)
    assert found["image"] == 1.0


def test_three_modalities_take_the_mean_of_their_ratios() -> None:
    ratios = discrepancy_ratios(tensors({"audio": 4.0, "image": 2.0, "text": 1.0}))
    assert {name: rho.item() for name, rho in ratios.items()} == {"audio": 3.0, "image": 1.25, "text": 0.375}


@pytest.mark.parametrize("num_modalities", [2, 3, 5])
def test_equal_scores_change_nothing(num_modalities: int) -> None:
    scores = {f"m{i}": torch.tensor(0.3) for i in range(num_modalities)}
    assert all(k == 1.0 for k in modulation_coefficients(scores, 0.5).values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", [(0.0, 64.0), (0.0, 0.0), (1e-45, 4096.0), (0.0, 5.0, 0.0)])
def test_a_score_that_underflows_gives_finite_numbers(values: tuple[float, ...], dtype: torch.dtype) -> None:
    scores = {f"m{i}": torch.tensor(value, dtype=dtype) for i, value in enumerate(values)}
    assert all(rho.isfinite() for rho in discrepancy_ratios(scores).values())
    for name, k in modulation_coefficients(scores, 0.1).items():
        assert 0 <= k <= 1
        assert (k == 1.0) == (scores[name] <= 1e-30)


def test_logits_that_underflow_give_finite_coefficients() -> None:
    logits = {"audio": torch.tensor([[-1e4, 0.0]]), "image": torch.tensor([[1e4, 0.0]])}
    found = modulation_coefficients(label_scores(logits, torch.tensor([0])), 0.3)
    assert {name: k.item() for name, k in found.items()} == {"audio": 1.0, "image": 0.0}


class Small(nn.Module):
    """Parameters of 1, 2 and 4 axes, and one that gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.vector, self.matrix = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3, 2))
        self.kernel, self.unused = nn.Parameter(torch.randn(2, 1, 3, 3)), nn.Parameter(torch.randn(2, 2))


def with_gradients(*modules: nn.Module) -> dict[nn.Parameter, Tensor]:
    parameters = [p for module in modules for name, p in module.named_parameters() if name != "unused"]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return {parameter: parameter.grad.clone() for parameter in parameters if parameter.grad is not None}


def leading_audio() -> tuple[ModelOutput, Tensor]:
    unimodal = {"audio": torch.tensor([[2.0, 0.0]] * 3), "image": torch.zeros(3, 2)}
    return ModelOutput(torch.zeros(3, 2), unimodal=unimodal), torch.zeros(3, dtype=torch.long)


RHO = 2.0 / (1.0 + math.exp(-2.0))


@pytest.mark.parametrize("min_ndim", [1, 2, 4])
def test_only_gradients_of_the_leader_and_of_enough_axes_shrink(min_ndim: int) -> None:
    audio, image, head = Small(), Small(), nn.Linear(2, 2)
    ogm = OGM({"audio": audio, "image": image}, OGMConfig(alpha=0.4, min_ndim=min_ndim))
    assert list(ogm.parameters()) == []
    before = with_gradients(audio, image, head)
    assert ogm.coefficients == {}
    ogm.change_gradients()  # Nothing was seen yet.
    assert ogm.extra_loss(*leading_audio()) is None
    ogm.change_gradients()
    k = 1 - math.tanh(0.4 * RHO)
    assert ogm.coefficients["audio"].item() == pytest.approx(k, rel=1e-5)
    assert ogm.numbers() == pytest.approx({"ogm/audio": k, "ogm/image": 1.0}, rel=1e-5)
    for parameter, old in before.items():
        is_scaled = parameter.ndim >= min_ndim and any(parameter is p for p in audio.parameters())
        assert torch.allclose(parameter.grad, old * (k if is_scaled else 1.0), rtol=1e-5, atol=0)
    assert audio.unused.grad is image.unused.grad is None


def test_only_the_epochs_asked_for_are_modulated() -> None:
    audio, image = Small(), Small()
    ogm = OGM({"audio": audio, "image": image}, OGMConfig(first_epoch=1, last_epoch=2))
    for epoch, is_active in enumerate([False, True, True, False]):
        ogm.start_epoch(epoch)
        before = with_gradients(audio, image)
        ogm.extra_loss(*leading_audio())
        ogm.change_gradients()
        assert (audio.matrix.grad.abs() < before[audio.matrix].abs()).all() == is_active
        assert torch.equal(audio.matrix.grad, before[audio.matrix]) != is_active
        assert bool(ogm.coefficients) == bool(ogm.numbers()) == is_active


def test_the_noise_of_ge_has_mean_zero_and_the_deviation_of_the_unscaled_gradient() -> None:
    audio, image = nn.Linear(300, 300), nn.Linear(300, 300)
    ogm = OGM({"audio": audio, "image": image}, OGMConfig(alpha=0.4), is_enhanced=True)
    before = with_gradients(audio, image)
    ogm.extra_loss(*leading_audio())
    ogm.change_gradients()
    for module, name in ((audio, "audio"), (image, "image")):  # The image's coefficient is 1: it gets noise as well.
        old = before[module.weight]
        noise = module.weight.grad - ogm.coefficients[name] * old
        assert noise.mean().abs() < 4 * old.std() / math.sqrt(noise.numel())
        assert noise.std() == pytest.approx(old.std().item(), rel=0.02)
        assert torch.equal(module.bias.grad, before[module.bias])
    assert ogm.coefficients["image"] == 1.0


@pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
def test_ge_gives_finite_noise_where_a_gradient_has_no_deviation(shape: tuple[int, ...]) -> None:
    module, other = nn.Module(), Small()
    module.weight = nn.Parameter(torch.ones(shape))
    module.weight.grad = torch.full(shape, 0.5)
    with_gradients(other)
    ogm = OGM({"audio": other, "image": module}, OGMConfig(), is_enhanced=True)
    ogm.extra_loss(*leading_audio())
    ogm.change_gradients()
    assert torch.allclose(module.weight.grad, torch.full(shape, 0.5), atol=1e-6)


def test_half_precision_gradients_stay_half_precision() -> None:
    audio, image = Small().to(torch.bfloat16), Small().to(torch.bfloat16)
    before = with_gradients(audio, image)
    ogm = OGM({"audio": audio, "image": image}, OGMConfig())
    ogm.extra_loss(*leading_audio())
    ogm.change_gradients()
    assert audio.matrix.grad.dtype == torch.bfloat16
    expected = before[audio.matrix].float() * ogm.coefficients["audio"]
    assert torch.allclose(audio.matrix.grad.float(), expected, rtol=0.02)


@pytest.mark.parametrize("names", [(), ("audio",)])
def test_one_modality_cannot_be_balanced(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^Expected at least two modalities to balance, but got (audio|none)"):
        OGM({name: Small() for name in names}, OGMConfig())


@pytest.mark.parametrize(("fusion", "source"), [("concat", "unimodal"), ("sum", "unimodal"), ("mt", "probes")])
@pytest.mark.parametrize("num_modalities", [2, 3])
@pytest.mark.parametrize("is_enhanced", [False, True])
def test_a_real_model(fusion: str, source: str, num_modalities: int, is_enhanced: bool) -> None:
    shapes = dict(list(SHAPES.items())[:num_modalities])
    model = build_model(fusion, shapes, CLASSES, EncoderConfig(dim=8, num_layers=1, num_heads=2, dropout=0.0))
    ogm = OGM({name: model.encoders[name] for name in shapes}, OGMConfig(alpha=0.5), is_enhanced=is_enhanced)
    labels = torch.randint(CLASSES, (16,))
    output = model({name: torch.randn(16, *shape) for name, shape in shapes.items()})
    assert ogm.extra_loss(output, labels) is None
    cross_entropy(output.logits, labels).backward()
    before = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    ogm.change_gradients()
    parts: Any = getattr(output, source)
    logits = {name: part.detach().double().tolist() for name, part in parts.items()}
    expected = oracle_coefficients(oracle_scores(logits, labels.tolist()), 0.5)
    assert min(expected.values()) < 1.0
    assert {name: k.item() for name, k in ogm.coefficients.items()} == pytest.approx(expected, rel=1e-4)
    for name, parameter in model.named_parameters():
        if name not in before:
            assert parameter.grad is None
            continue
        part, _, rest = name.partition(".")
        k = expected[rest.partition(".")[0]] if part == "encoders" and parameter.ndim > 1 else None
        if k is None or not is_enhanced:
            assert torch.allclose(parameter.grad, before[name] * (k or 1.0), rtol=1e-4, atol=1e-9), name
        else:
            assert parameter.grad.isfinite().all()
            assert not torch.allclose(parameter.grad, before[name] * k), name
