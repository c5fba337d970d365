"""AUROC and both FPR95s against scikit-learn and a sweep of thresholds; what is not defined is said."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from rollingq.errors import ConfigError, DataError, RollingQWarning, ShapeError
from rollingq.evaluation.diagnosis import Detection, OODResult
from rollingq.evaluation.ood import Readings, auroc, detect, fpr_at_95
from rollingq.evaluation.ood_scores import KNN, Mahalanobis, energy, gen, max_logit, msp
from rollingq.evaluation.results import from_json, to_json

SCORES = ["msp", "energy", "max_logit", "gen", "mahalanobis", "knn"]
FEW = st.lists(st.integers(-3, 3), min_size=1, max_size=45)
"""Whole numbers: many ties."""


def as_scores(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32) / 3


def by_sweep(inside: list[int], outside: list[int], flagged: str) -> float:
    """Every threshold that catches at least 95 % (counted in whole samples); the lowest false rate of them."""
    rates = []
    for t in {*inside, *outside}:
        flags = [s <= t for s in outside], [s <= t for s in inside]
        accepts = [s >= t for s in inside], [s >= t for s in outside]
        caught, false = flags if flagged == "outside" else accepts
        if 100 * sum(caught) >= 95 * len(caught):
            rates.append(sum(false) / len(false))
    return min(rates)


@given(FEW, FEW)
def test_auroc_equals_scikit_learn(inside: list[int], outside: list[int]) -> None:
    found = auroc(as_scores(inside), as_scores(outside))
    expected = roc_auc_score([1] * len(inside) + [0] * len(outside), inside + outside)
    assert found == pytest.approx(expected, abs=1e-12)
    assert auroc(as_scores(outside), as_scores(inside)) == pytest.approx(1 - found, abs=1e-12)


@pytest.mark.parametrize("flagged", ["outside", "inside"])
@given(inside=FEW, outside=FEW)
def test_fpr_equals_a_sweep_of_all_thresholds(inside: list[int], outside: list[int], flagged) -> None:
    assert fpr_at_95(as_scores(inside), as_scores(outside), flagged=flagged) == by_sweep(inside, outside, flagged)


@pytest.mark.parametrize("num_positives", [1, 19, 20, 21, 40, 99, 100, 101, 1000])
def test_fpr_catches_95_percent_and_no_sample_less(num_positives: int) -> None:
    outside = torch.arange(num_positives, dtype=torch.float32)
    inside = outside + 0.5
    num_caught = math.ceil(num_positives * 95 / 100)
    assert fpr_at_95(inside, outside) == (num_caught - 1) / num_positives
    assert fpr_at_95(-outside, -inside, flagged="inside") == (num_caught - 1) / num_positives


def test_fpr_equals_the_curve_of_scikit_learn() -> None:
    inside, outside = torch.randn(300) + 1, torch.randn(200)
    labels = torch.cat([torch.zeros(300), torch.ones(200)])
    for flagged, sign in (("outside", -1), ("inside", 1)):
        scores, positive = sign * torch.cat([inside, outside]), 1 if flagged == "outside" else 0
        false, true, _ = roc_curve(labels, scores, pos_label=positive, drop_intermediate=False)
        assert fpr_at_95(inside, outside, flagged=flagged) == pytest.approx(false[true >= 0.95][0])


def test_the_two_conventions_differ() -> None:
    inside, outside = torch.tensor([0.0] + [1.0] * 9), torch.tensor([0.0] * 99 + [2.0])
    assert fpr_at_95(inside, outside) == 0.1
    assert fpr_at_95(inside, outside, flagged="inside") == 1.0
    assert fpr_at_95(-outside, -inside, flagged="inside") == fpr_at_95(inside, outside)


@pytest.mark.parametrize("flagged", ["outside", "inside"])
def test_ends(flagged) -> None:
    low, high = torch.zeros(30), torch.ones(20)
    assert (auroc(high, low), fpr_at_95(high, low, flagged=flagged)) == (1.0, 0.0)
    assert (auroc(low, high), fpr_at_95(low, high, flagged=flagged)) == (0.0, 1.0)
    assert (auroc(low, low), fpr_at_95(low, low, flagged=flagged)) == (0.5, 1.0)
    assert (auroc(low, low - math.inf), fpr_at_95(low, low - math.inf, flagged=flagged)) == (1.0, 0.0)


@pytest.mark.parametrize("bad", [torch.ones(0), torch.tensor([0.5, math.nan])])
def test_an_empty_set_or_nan_has_no_numbers(bad: torch.Tensor) -> None:
    for inside, outside in ((bad, torch.ones(3)), (torch.ones(3), bad)):
        assert math.isnan(auroc(inside, outside))
        assert math.isnan(fpr_at_95(inside, outside))
        assert math.isnan(fpr_at_95(inside, outside, flagged="inside"))


def test_another_convention_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        fpr_at_95(torch.ones(2), torch.ones(2), flagged="out")
    text = "Expected flagged to be one of outside, inside, but got 'out'. Did you mean 'outside'?"
    assert str(error.value) == text


def readings(num: int, shift: float = 0.0, num_classes: int = 3) -> Readings:
    labels = torch.arange(num) % num_classes
    logits = 4 * torch.nn.functional.one_hot(labels, num_classes) * (1 - shift) + torch.randn(num, num_classes)
    features = torch.nn.functional.one_hot(labels, 5) * (1 - shift) + shift + 0.2 * torch.randn(num, 5)
    return Readings(logits, features, labels)


@pytest.fixture
def sets() -> tuple[Readings, Readings, Readings]:
    return readings(60), readings(40, shift=1.0), readings(90)


def test_all_six_scores_are_detected(sets) -> None:
    inside, outside, train = sets
    result, undefined = detect("left-out classes", "near", inside, outside, train=train, gamma=0.2)
    mahalanobis, knn = Mahalanobis.fit(train.features, train.labels, 3), KNN.fit(train.features, 10)
    functions = {"msp": msp, "energy": energy, "max_logit": max_logit, "gen": lambda logits: gen(logits, 0.2)}
    pairs = {name: (f(inside.logits), f(outside.logits)) for name, f in functions.items()}
    pairs["mahalanobis"] = mahalanobis.score(inside.features), mahalanobis.score(outside.features)
    pairs["knn"] = knn.score(inside.features), knn.score(outside.features)
    expected = [
        Detection(name, auroc(*pair), fpr_at_95(*pair), fpr_at_95(*pair, flagged="inside"))
        for name, pair in pairs.items()
    ]
    accuracy = int((inside.logits.argmax(-1) == inside.labels).sum()) / 60
    assert result == OODResult("left-out classes", "near", 60, 40, accuracy, expected)
    assert undefined == {}
    assert [d.score for d in result.detections] == SCORES
    assert min(d.auroc for d in result.detections) > 0.8
    assert from_json(OODResult, to_json(result)) == result


def undefined_scores(result: OODResult) -> list[str]:
    """Names of what is NaN; a detection is NaN in all of its numbers or in none."""
    found = []
    for d in result.detections:
        is_nan = {math.isnan(value) for value in (d.auroc, d.fpr95, d.fpr95_inside)}
        assert len(is_nan) == 1
        found += [d.score] if is_nan == {True} else []
    return found + (["inside_accuracy"] if math.isnan(result.inside_accuracy) else [])


LOGITS, FEATURES = SCORES[:4], SCORES[4:]


def changed(given: Readings, part: str, value: float) -> Readings:
    parts = {
        name: None if (x := getattr(given, name)) is None else x.clone() for name in ("logits", "features", "labels")
    }
    parts[part][1, 0] = value
    return Readings(**parts)


def without(given: Readings, *parts: str) -> Readings:
    return Readings(**{n: None if n in parts else getattr(given, n) for n in ("logits", "features", "labels")})


def first(given: Readings, num: int) -> Readings:
    return Readings(given.logits[:num], given.features[:num], given.labels[:num])


GIVE = "but got none"
CASES = {
    "empty outside": (
        lambda i, o, t: (i, first(o, 0), t),
        SCORES,
        "outside samples of at least one sample, but got none",
    ),
    "empty inside": (
        lambda i, o, t: (first(i, 0), o, t),
        [*SCORES, "inside_accuracy"],
        "inside samples of at least one sample, but got none; give samples.",
    ),
    "empty train": (lambda i, o, t: (i, o, first(t, 0)), FEATURES, "features of train samples of at least one sample"),
    "no train": (lambda i, o, t: (i, o, None), FEATURES, f"Expected features of train samples, {GIVE}."),
    "train without features": (
        lambda i, o, t: (i, o, without(t, "features")),
        FEATURES,
        f"features of train samples, {GIVE}",
    ),
    "train without labels": (
        lambda i, o, t: (i, o, without(t, "labels")),
        ["mahalanobis"],
        f"labels of train samples, {GIVE}",
    ),
    "inside without features": (
        lambda i, o, t: (without(i, "features"), o, t),
        FEATURES,
        f"features of inside samples, {GIVE}",
    ),
    "outside without features": (
        lambda i, o, t: (i, without(o, "features"), t),
        FEATURES,
        f"features of outside samples, {GIVE}",
    ),
    "inside without labels": (
        lambda i, o, t: (without(i, "labels"), o, t),
        ["inside_accuracy"],
        f"Expected labels of inside samples, {GIVE}.",
    ),
    "class absent": (
        lambda i, o, t: (i, o, Readings(t.logits, t.features, t.labels % 2)),
        ["mahalanobis"],
        "features of all 3 classes, but got none of 1 of them, such as class 2",
    ),
    "train of other classes": (
        lambda i, o, t: (i, o, Readings(t.logits, t.features, t.labels + 1)),
        ["mahalanobis"],
        "train labels from 0 to 2, but got 1 to 3",
    ),
    "NaN logits inside": (
        lambda i, o, t: (changed(i, "logits", math.nan), o, t),
        [*LOGITS, "inside_accuracy"],
        "Expected finite logits of inside samples, but got NaN or infinity in 1 of 60 samples; look for",
    ),
    "infinite logits outside": (
        lambda i, o, t: (i, changed(o, "logits", -math.inf), t),
        LOGITS,
        "Expected finite logits of outside samples, but got NaN or infinity in 1 of 40 samples",
    ),
    "NaN logits of train": (lambda i, o, t: (i, o, changed(t, "logits", math.nan)), [], ""),
    "NaN features inside": (
        lambda i, o, t: (changed(i, "features", math.nan), o, t),
        FEATURES,
        "features of inside samples",
    ),
    "NaN features of train": (
        lambda i, o, t: (i, o, changed(t, "features", math.nan)),
        FEATURES,
        "features of train samples",
    ),
    "distances that overflow": (
        lambda i, o, t: (i, Readings(o.logits, o.features.double() * 1e300), t),
        ["mahalanobis"],
        "finite scores of outside samples, but got NaN or infinity in 40 of 40",
    ),
}


@pytest.mark.parametrize("kind", ["near", "far"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_not_defined_is_nan_with_a_reason(sets, case: str, kind) -> None:
    change, expected, text = CASES[case]
    inside, outside, train = change(*sets)
    result, undefined = detect("set", kind, inside, outside, train=train)
    assert undefined_scores(result) == expected
    assert list(undefined) == [f"ood:{kind}:{name}" for name in expected]
    assert all(text in reason and "\n" not in reason for reason in undefined.values())
    assert [d.score for d in result.detections] == SCORES
    assert (result.num_inside, result.num_outside) == (len(inside.logits), len(outside.logits))


def test_few_train_samples_are_said(sets) -> None:
    inside, outside, train = sets
    with pytest.warns(RollingQWarning, match="at least k=10 train features, but got 9"):
        _, undefined = detect("set", "far", inside, outside, train=first(train, 9))
    assert undefined == {}


def test_wrong_arguments_are_refused(sets) -> None:
    inside, outside, train = sets
    with pytest.raises(ConfigError, match="kind to be one of near, far, but got 'nearby'"):
        detect("set", "nearby", inside, outside)
    with pytest.raises(ConfigError, match="Expected gamma in"):
        detect("set", "near", inside, outside, gamma=2.0)
    with pytest.raises(ShapeError, match="but got 3 classes inside and 4 outside; give"):
        detect("set", "near", inside, readings(20, num_classes=4))
    with pytest.raises(ShapeError, match=r"Expected features \[N, 5\] like the train features, but got \[40, 4\]"):
        detect("set", "near", inside, Readings(outside.logits, outside.features[:, :4]), train=train)
    with pytest.raises(DataError, match="labels of inside samples from 0 to 2, but got -1 to 1; give samples of other"):
        detect("set", "near", Readings(inside.logits, None, inside.labels - 1), outside)


@pytest.mark.parametrize(
    ("parts", "shapes"),
    [
        ((torch.ones(3), None, None), "[3]"),
        ((torch.ones(3, 2), torch.ones(4, 2), None), "[3, 2], [4, 2]"),
        ((torch.ones(3, 2), torch.ones(3, 2, 2), None), "[3, 2], [3, 2, 2]"),
        ((torch.ones(3, 2), None, torch.ones(3, 1)), "[3, 2], [3, 1]"),
        ((torch.ones(3, 2), None, torch.ones(2)), "[3, 2], [2]"),
    ],
)
def test_readings_are_of_the_same_samples(parts, shapes: str) -> None:
    with pytest.raises(ShapeError) as error:
        Readings(*parts)
    text = f"Expected logits [N, C], features [N, D] and labels [N], but got {shapes}; give one row a sample."
    assert str(error.value) == text
