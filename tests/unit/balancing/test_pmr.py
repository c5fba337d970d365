"""PMR: prototypes and losses against plain oracles, classes that are absent, smoothing, and what a checkpoint keeps."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from rollingq.balancing.pmr import PMR, class_prototypes, prototype_cross_entropy, prototype_similarity
from rollingq.config import EncoderConfig, PMRConfig
from rollingq.nn.classifier import ModelOutput
from rollingq.nn.registry import build_model

NAMES, CLASSES, DIM = ("audio", "image"), 4, 3
SHAPES = {"audio": (5, 3), "image": (4, 2), "text": (2, 6)}
seeds = st.integers(0, 2**31)


def oracle_prototypes(features: Tensor, labels: Tensor, num_classes: int) -> tuple[np.ndarray, list[bool]]:
    means, is_seen = np.zeros((num_classes, features.shape[1])), []
    for c in range(num_classes):
        rows = [row for row, label in zip(features.double().numpy(), labels.tolist(), strict=True) if label == c]
        is_seen.append(bool(rows))
        for axis in range(features.shape[1] if rows else 0):
            means[c, axis] = math.fsum(row[axis] for row in rows) / len(rows)
    return means, is_seen


def oracle_loss_and_score(
    features: Tensor, prototypes: Tensor, labels: Tensor, is_seen: list[bool]
) -> tuple[float, float]:
    losses, score = [], 0.0
    for row, label in zip(features.double().tolist(), labels.tolist(), strict=True):
        if not is_seen[label]:
            continue
        near = {c: -math.dist(row, p) for c, p in enumerate(prototypes.double().tolist()) if is_seen[c]}
        chance = math.exp(near[label]) / math.fsum(map(math.exp, near.values()))
        losses.append(-math.log(chance))
        score += chance
    return (math.fsum(losses) / len(losses) if losses else 0.0), score


def output_of(features: dict[str, Tensor]) -> ModelOutput:
    return ModelOutput(torch.zeros(1, CLASSES), features=features)


def passing(*batches: tuple[dict[str, Tensor], Tensor], asked: list[float] | None = None) -> Any:
    def training_pass(fraction: float = 1.0) -> Iterator[tuple[ModelOutput, Tensor]]:
        if asked is not None:
            asked.append(fraction)
        for features, labels in batches:
            yield output_of(features), labels

    return training_pass


def some_batch(labels: list[int], names: tuple[str, ...] = NAMES) -> tuple[dict[str, Tensor], Tensor]:
    return {name: torch.randn(len(labels), DIM) for name in names}, torch.tensor(labels)


def pmr_of(names: tuple[str, ...] = NAMES, **options: Any) -> PMR:
    return PMR(names, CLASSES, DIM, PMRConfig(**options))


@given(st.integers(1, 12), st.integers(1, 5), seeds)
def test_prototypes_equal_the_oracle(num_samples: int, num_classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num_samples, DIM, dtype=torch.float64, generator=generator)
    labels = torch.randint(num_classes, (num_samples,), generator=generator)
    found, is_seen = class_prototypes(features, labels, num_classes)
    means, expected = oracle_prototypes(features, labels, num_classes)
    assert is_seen.tolist() == expected
    np.testing.assert_allclose(found.numpy(), means, atol=1e-14)


@given(st.lists(st.booleans(), min_size=CLASSES, max_size=CLASSES), seeds)
def test_loss_and_score_equal_the_oracle(is_seen: list[bool], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = 2 * torch.randn(6, DIM, dtype=torch.float64, generator=generator)
    prototypes = torch.randn(CLASSES, DIM, dtype=torch.float64, generator=generator)
    labels = torch.randint(CLASSES, (6,), generator=generator)
    found = prototype_cross_entropy(prototype_similarity(features, prototypes), labels, torch.tensor(is_seen))
    assert [part.item() for part in found] == pytest.approx(
        list(oracle_loss_and_score(features, prototypes, labels, is_seen)), rel=1e-10, abs=1e-12
    )


def test_without_absent_classes_it_is_the_cross_entropy() -> None:
    similarity, labels = torch.randn(5, CLASSES), torch.tensor([0, 1, 2, 3, 3])
    loss, _ = prototype_cross_entropy(similarity, labels, torch.ones(CLASSES, dtype=torch.bool))
    assert torch.allclose(loss, cross_entropy(similarity, labels))


def test_similarity_and_its_gradient() -> None:
    features = torch.randn(4, DIM, dtype=torch.float64, requires_grad=True)
    prototypes = torch.randn(CLASSES, DIM, dtype=torch.float64)
    found = prototype_similarity(features, prototypes)
    expected = [[-math.dist(row, p) for p in prototypes.tolist()] for row in features.tolist()]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-13)
    assert torch.autograd.gradcheck(lambda z: prototype_similarity(z, prototypes), features)


def test_zero_distance_has_a_finite_gradient() -> None:
    prototypes = torch.randn(CLASSES, DIM)
    features = prototypes.clone().requires_grad_()
    similarity = prototype_similarity(features, prototypes)
    assert (similarity.diagonal() == 0).all()
    (only_zero,) = torch.autograd.grad(similarity.diagonal().sum(), features, retain_graph=True)
    assert (only_zero == 0).all()
    loss, _ = prototype_cross_entropy(similarity, torch.arange(CLASSES), torch.ones(CLASSES, dtype=torch.bool))
    loss.backward()
    assert features.grad.isfinite().all()
    assert (features.grad != 0).any()


@pytest.mark.parametrize("is_seen", [[False] * 4, [True, False, True, False]])
def test_samples_without_prototype_contribute_nothing(is_seen: list[bool]) -> None:
    features, labels = torch.randn(3, DIM, requires_grad=True), torch.tensor([1, 3, 1])
    similarity = prototype_similarity(features, torch.zeros(CLASSES, DIM))
    loss, score = prototype_cross_entropy(similarity, labels, torch.tensor(is_seen))
    loss.backward()
    assert loss == score == 0
    assert not score.requires_grad
    assert (features.grad == 0).all()


def test_an_absent_class_leaves_loss_and_gradients_finite() -> None:
    pmr = pmr_of()
    pmr.start_training(passing(some_batch([0, 1, 1, 0])))
    features, labels = some_batch([0, 1, 2, 3])
    for part in features.values():
        part.requires_grad_()
    loss = pmr.extra_loss(output_of(features), labels)
    assert loss is not None
    loss.backward()
    assert loss.isfinite()
    (reached,) = [part.grad for part in features.values() if (part.grad != 0).any()]
    assert reached.isfinite().all()
    assert (reached[:2] != 0).any(1).all()
    assert (reached[2:] == 0).all()


def test_before_any_prototype_the_loss_is_zero() -> None:
    features, labels = some_batch([0, 1])
    features["audio"].requires_grad_()
    loss = pmr_of().extra_loss(output_of(features), labels)
    assert loss == 0


def test_prototypes_come_from_all_batches_of_the_asked_share() -> None:
    asked: list[float] = []
    batches = [some_batch([0, 1, 2]), some_batch([2, 2])]
    pmr = pmr_of(fraction=0.3)
    pmr.start_training(passing(*batches, asked=asked))
    pmr.end_epoch(passing(*batches, asked=asked))
    assert asked == [0.3, 0.3]
    for index, name in enumerate(NAMES):
        features = torch.cat([features[name] for features, _ in batches])
        means, is_seen = oracle_prototypes(features, torch.tensor([0, 1, 2, 2, 2]), CLASSES)
        np.testing.assert_allclose(pmr.prototypes[index].numpy(), means, rtol=1e-5, atol=1e-6)
        assert pmr.is_seen[index].tolist() == is_seen


def test_smoothing_of_old_new_and_missing_classes() -> None:
    pmr = pmr_of(momentum=0.25)
    first, second = some_batch([0, 0, 1]), some_batch([0, 2, 2])
    pmr.start_training(passing(first))
    old = pmr.prototypes.clone()
    pmr.end_epoch(passing(second))
    for index, name in enumerate(NAMES):
        now = pmr.prototypes[index]
        assert torch.allclose(now[0], 0.75 * second[0][name][0] + 0.25 * old[index, 0])
        assert torch.equal(now[1], old[index, 1])
        assert torch.allclose(now[2], second[0][name][1:].mean(0))
        assert (now[3] == 0).all()
    assert pmr.is_seen.tolist() == [[True, True, True, False]] * 2
    assert pmr.num_updates == 2


def test_samples_without_the_modality_are_in_no_prototype() -> None:
    features, labels = some_batch([0, 0, 1])
    features["image"][1:] = 0.0
    pmr = pmr_of()
    pmr.start_training(passing((features, labels)))
    assert torch.allclose(pmr.prototypes[1, 0], features["image"][0])
    assert pmr.is_seen.tolist() == [[True, True, False, False], [True, False, False, False]]


@pytest.mark.parametrize("num_modalities", [2, 3])
def test_the_modality_with_the_smallest_score_gets_the_loss(num_modalities: int) -> None:
    names = tuple(SHAPES)[:num_modalities]
    pmr = pmr_of(names, alpha=2.5)
    pmr.start_training(passing(some_batch([0, 1, 2, 3] * 4, names)))
    labels = torch.tensor([0, 1, 2, 3, 0])
    for _ in range(10):
        features = {name: torch.randn(5, DIM, requires_grad=True) for name in names}
        found = pmr.extra_loss(output_of(features), labels)
        expected = {
            name: oracle_loss_and_score(features[name], pmr.prototypes[i], labels, [True] * CLASSES)
            for i, name in enumerate(names)
        }
        lagging = min(names, key=lambda name: expected[name][1])
        assert found is not None
        assert found.item() == pytest.approx(2.5 * expected[lagging][0], rel=1e-5)
        found.backward()
        assert {name for name in names if (features[name].grad != 0).any()} == {lagging}


def test_only_the_epochs_asked_for_have_the_loss() -> None:
    pmr = pmr_of(first_epoch=1, last_epoch=2)
    features, labels = some_batch([0, 1, 2, 3])
    pmr.start_training(passing((features, labels)))
    for epoch, is_active in enumerate([False, True, True, False]):
        pmr.start_epoch(epoch)
        assert (pmr.extra_loss(output_of(features), labels) is not None) == is_active


def test_a_checkpoint_brings_its_prototypes_and_keeps_them() -> None:
    trained, other = pmr_of(), pmr_of()
    trained.start_training(passing(some_batch([0, 1, 1])))
    trained.end_epoch(passing(some_batch([0, 2])))
    state = {name: value.clone() for name, value in trained.state_dict().items()}
    other.load_state_dict(state)
    asked: list[float] = []
    other.start_training(passing(some_batch([3]), asked=asked))
    assert asked == []
    assert set(state) == {"prototypes", "is_seen", "num_updates"}
    assert all(torch.equal(other.state_dict()[name], value) for name, value in state.items())
    features, labels = some_batch([0, 1, 2])
    assert torch.equal(*(pmr.extra_loss(output_of(features), labels) for pmr in (trained, other)))
    assert list(trained.parameters()) == []


@pytest.mark.parametrize("fusion", ["concat", "mt"])
@pytest.mark.parametrize("num_modalities", [2, 3])
def test_a_real_model_learns_by_the_loss_alone(fusion: str, num_modalities: int) -> None:
    shapes = dict(list(SHAPES.items())[:num_modalities])
    model = build_model(fusion, shapes, CLASSES, EncoderConfig(dim=8, num_layers=1, num_heads=2, dropout=0.0))
    labels = torch.arange(16) % CLASSES
    batch = {name: torch.randn(16, *shape) + labels.reshape(-1, 1, 1) for name, shape in shapes.items()}
    pmr = PMR(tuple(shapes), CLASSES, 8, PMRConfig())

    def training_pass(fraction: float = 1.0) -> Iterator[tuple[ModelOutput, Tensor]]:
        with torch.no_grad():
            yield model(batch), labels

    pmr.start_training(training_pass)
    optimizer, losses = torch.optim.SGD(model.encoders.parameters(), 0.05), []
    for _ in range(20):
        optimizer.zero_grad()
        loss = pmr.extra_loss(model(batch), labels)
        assert loss is not None
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        assert all(p.grad is None for p in model.fusion.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
