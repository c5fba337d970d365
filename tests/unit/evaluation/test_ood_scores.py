"""Scores of insideness against closed forms, scipy and scikit-learn; stable at the ends of the softmax."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import pinvh
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from rollingq.errors import ConfigError, DataError, RollingQWarning, ShapeError
from rollingq.evaluation.ood_scores import KNN, Mahalanobis, energy, gen, max_logit, msp

LOGIT_SCORES = [msp, energy, max_logit, gen]


def long_double_gen(logits: torch.Tensor, gamma: float, top: int | None = None) -> np.ndarray:
    """GEN with 1 - p as the sum of the other probabilities, in long double."""
    exp = np.exp(logits.double().numpy().astype(np.longdouble) - logits.double().amax(-1, keepdim=True).numpy())
    p = exp / exp.sum(-1, keepdims=True)
    others = np.stack([np.delete(p, c, -1).sum(-1) for c in range(p.shape[-1])], -1)
    order = np.argsort(-p, -1)[:, :top]
    terms = np.take_along_axis(p**gamma * others**gamma, order, -1)
    return -terms.sum(-1).astype(np.float64)


@pytest.mark.parametrize("score", LOGIT_SCORES)
def test_a_confident_sample_scores_above_a_flat_one(score) -> None:
    scores = score(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 5.0, 0.0]]))
    assert scores.dtype == torch.float64
    assert scores.diff().min() > 0


@pytest.mark.parametrize("score", LOGIT_SCORES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_scores_are_computed_in_float64_whatever_comes(score, dtype) -> None:
    logits = torch.randn(7, 5).to(dtype).requires_grad_()
    assert torch.equal(score(logits), score(logits.detach().double()))
    assert not score(logits).requires_grad


@pytest.mark.parametrize(
    ("score", "expected"),
    [(msp, [1.0, 1.0, 0.5]), (energy, [1e4, -1e4, 1e4 + math.log(2)]), (max_logit, [1e4, -1e4, 1e4])],
)
def test_huge_logits_do_not_overflow(score, expected) -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, -3e4], [1e4, 1e4]])
    np.testing.assert_allclose(score(logits), expected, rtol=1e-15)


def test_energy_of_a_temperature() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64)
    np.testing.assert_allclose(energy(logits, 2.0), 2 * np.log(np.exp(logits.numpy() / 2).sum(-1)), rtol=1e-14)
    np.testing.assert_allclose(energy(logits, 1e-3), max_logit(logits), atol=2e-3)
    with pytest.raises(ConfigError, match=r"Expected temperature > 0, but got 0"):
        energy(logits, 0)


@given(st.integers(1, 40), st.floats(0.01, 0.99), st.floats(-1e4, 1e4))
def test_gen_of_uniform_and_one_hot_probabilities(num_classes: int, gamma: float, shift: float) -> None:
    p = 1 / num_classes
    uniform = gen(torch.full((1, num_classes), shift, dtype=torch.float64), gamma)
    assert uniform.item() == pytest.approx(-num_classes * p**gamma * (1 - p) ** gamma, rel=1e-9, abs=1e-12)
    one_hot = torch.full((1, num_classes), -math.inf)
    one_hot[0, -1] = 0.0
    assert gen(one_hot, gamma).item() == 0


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("gamma", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("top", [None, 1, 3])
def test_gen_equals_the_sum_in_long_double(scale: float, gamma: float, top: int | None) -> None:
    logits = scale * torch.randn(30, 6)
    np.testing.assert_allclose(gen(logits, gamma, top), long_double_gen(logits, gamma, top), rtol=1e-12)


def test_gen_keeps_what_is_next_to_one() -> None:
    logits = torch.tensor([[0.0, -40.0], [0.0, -60.0], [0.0, -1e4]], dtype=torch.float64)
    expected = [-2 * math.exp(-4), -2 * math.exp(-6), 0.0]
    np.testing.assert_allclose(gen(logits), expected, rtol=1e-15)
    assert (1 - logits.softmax(-1)[0, 0]) == 0, "a plain 1 - p says 0 here"


def test_gen_of_many_classes_differs_from_that_of_the_top_ones() -> None:
    logits = torch.zeros(1, 30)
    assert gen(logits, top=20).item() == pytest.approx(gen(logits).item() * 20 / 30)
    assert torch.equal(gen(logits, top=30), gen(logits))


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ({"gamma": 0.0}, "Expected gamma in (0, 1), but got 0.0; 0.1 is usual."),
        ({"gamma": 1.0}, "Expected gamma in (0, 1), but got 1.0; 0.1 is usual."),
        ({"gamma": math.nan}, "Expected gamma in (0, 1), but got nan; 0.1 is usual."),
        ({"top": 0}, "Expected top from 1 to the 3 classes, but got 0; leave it out for all."),
        ({"top": 4}, "Expected top from 1 to the 3 classes, but got 4; leave it out for all."),
    ],
)
def test_gen_refuses_what_is_outside_its_range(given_, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        gen(torch.zeros(2, 3), **given_)
    assert str(error.value) == text


def train_features(num_classes: int = 3, dim: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(60) % num_classes
    mixing = torch.randn(dim, dim)
    return 5 * torch.randn(num_classes, dim)[labels] + torch.randn(60, dim) @ mixing, labels


def test_mahalanobis_equals_scipy_and_scikit_learn() -> None:
    features, labels = train_features()
    means = np.stack([features.double()[labels == c].mean(0).numpy() for c in range(3)])
    offsets = features.double().numpy() - means[labels]
    tests = torch.randn(9, 4) * 10
    fitted = EmpiricalCovariance(assume_centered=True).fit(offsets)
    nearest = np.min([fitted.mahalanobis(tests.double().numpy() - mean) for mean in means], axis=0)
    found = Mahalanobis.fit(features, labels, 3).score(tests)
    np.testing.assert_allclose(found, -nearest, rtol=1e-10)
    by_scipy = min(mahalanobis(tests[0].double(), mean, pinvh(offsets.T @ offsets / 60)) for mean in means)
    assert found[0].item() == pytest.approx(-(by_scipy**2), rel=1e-10)


def test_mahalanobis_does_not_see_directions_without_spread() -> None:
    features, labels = train_features()
    features = features.double()
    flat = torch.cat([features, features[:, :1] + features[:, 1:2], torch.ones(60, 1)], 1)
    tests = torch.cat([features[:5], features[:5, :1] + features[:5, 1:2], torch.full((5, 1), 7.0)], 1)
    fitted, expected = Mahalanobis.fit(flat, labels, 3), Mahalanobis.fit(features, labels, 3).score(features[:5])
    assert fitted.whitening.shape == (6, 4)
    np.testing.assert_allclose(fitted.score(tests), expected, rtol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_mahalanobis_does_not_take_rounding_for_spread(dtype: torch.dtype) -> None:
    labels = torch.arange(300) % 3
    raw = 2 * torch.randn(3, 8, dtype=torch.float64)[labels] + torch.randn(300, 8, dtype=torch.float64)
    normed = torch.nn.functional.layer_norm(raw, (8,)).to(dtype)  # The sum is 0: 7 directions.
    fitted = Mahalanobis.fit(normed, labels, 3)
    assert fitted.whitening.shape == (8, 7)
    assert torch.allclose(fitted.score(normed + 0.5), fitted.score(normed), rtol=0.05)


def test_mahalanobis_is_free_of_scale_and_shift() -> None:
    features, labels = train_features()
    features, tests = features.double(), torch.randn(9, 4, dtype=torch.float64)
    expected = Mahalanobis.fit(features, labels, 3).score(tests)
    moved = Mahalanobis.fit(features * 1e6 + 1e8, labels, 3).score(tests * 1e6 + 1e8)
    np.testing.assert_allclose(moved, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("features", "labels", "text"),
    [
        (torch.randn(4, 2), [0, 1, 3, 3], "of all 4 classes, but got none of 1 of them, such as class 2; give"),
        (torch.randn(4, 2), [0, 1, 2, 4], "train labels from 0 to 3, but got 0 to 4; give"),
        (torch.randn(4, 2), [0, 1, 2, -1], "train labels from 0 to 3, but got -1 to 2; give"),
        (torch.randn(4, 2), [0, 1, 2, 3], "vary within a class, but got 4 samples of 4 classes without any spread"),
        (torch.full((12, 1), 0.1), [0, 1, 2, 3] * 3, "vary within a class, but got 12 samples of 4 classes"),
        (torch.full((4, 2), math.nan), [0, 1, 2, 3], "finite train features, but got NaN or infinity in 4 of 4"),
        (torch.randn(8, 1).double() * 1e200, [0, 1, 2, 3] * 2, "finite covariances of train features"),
        (torch.zeros(0, 2), [], "train features of at least one sample, but got none"),
    ],
)
def test_mahalanobis_refuses_what_it_is_not_defined_for(features, labels, text: str) -> None:
    with pytest.raises(DataError, match=text):
        Mahalanobis.fit(features, torch.tensor(labels, dtype=torch.int64), 4)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_knn_equals_scikit_learn(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollingq.evaluation.ood_scores.ROWS", 4)
    train, tests = torch.randn(50, 6), 30 * torch.randn(11, 6)
    units, test_units = (x.double() / x.double().norm(dim=-1, keepdim=True) for x in (train, tests))
    distances, _ = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(units).kneighbors(test_units)
    found = KNN.fit(train, k).score(tests)
    np.testing.assert_allclose(found, -distances[:, -1], rtol=1e-12)
    np.testing.assert_allclose(found, -np.sort(cdist(test_units, units))[:, k - 1], rtol=1e-12)


def test_knn_of_a_train_feature_is_exactly_zero() -> None:
    train = torch.randn(300, 64)
    assert torch.equal(KNN.fit(train, 1).score(train * 3.0) > -1e-6, torch.ones(300, dtype=torch.bool))
    assert torch.equal(KNN.fit(train, 1).score(train), torch.zeros(300, dtype=torch.float64))
    assert KNN.fit(train, 2).score(train).max() < -0.1


def test_knn_of_a_feature_without_direction() -> None:
    fitted = KNN.fit(torch.tensor([[2.0, 0.0], [0.0, 1e-30]]), 2)
    np.testing.assert_allclose(fitted.score(torch.tensor([[0.0, 0.0], [0.0, 5.0]])), [-1.0, -math.sqrt(2)])


def test_knn_of_few_train_features_takes_the_farthest_and_says_so() -> None:
    text = "Expected at least k=10 train features, but got 3; the farthest of them is taken."
    with pytest.warns(RollingQWarning, match=text):
        fitted = KNN.fit(torch.eye(3))
    assert fitted.k == 3
    np.testing.assert_allclose(fitted.score(torch.eye(3)), [-math.sqrt(2)] * 3)
    with pytest.raises(ConfigError, match="Expected k >= 1, but got 0"):
        KNN.fit(torch.eye(3), 0)


@pytest.mark.parametrize("fitted", [KNN.fit(torch.eye(3), 2), Mahalanobis.fit(torch.eye(3), torch.zeros(3).long(), 1)])
def test_features_of_another_layer_and_damaged_ones_are_refused(fitted) -> None:
    with pytest.raises(ShapeError, match=r"Expected features \[N, 3\] like the train features, but got \[5, 2\]; take"):
        fitted.score(torch.ones(5, 2))
    with pytest.raises(DataError, match="Expected finite features, but got NaN or infinity in 1 of 2 samples; look"):
        fitted.score(torch.tensor([[1.0, 2.0, 3.0], [1.0, math.inf, 3.0]]))
