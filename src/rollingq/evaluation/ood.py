"""Detection of samples from outside of the distribution (paper, Table 10): AUROC, both FPR95s, six scores."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rollingq.errors import ConfigError, DataError, ShapeError, unknown_name
from rollingq.evaluation.calibration import CalibrationBins
from rollingq.evaluation.diagnosis import Detection, OODResult
from rollingq.evaluation.ood_scores import KNN, Mahalanobis, energy, exact, finite, gen, max_logit, msp

KINDS = ("near", "far")
LOGIT_SCORES = ("msp", "energy", "max_logit", "gen")
FEATURE_SCORES = ("mahalanobis", "knn")


@dataclass(frozen=True, eq=False)
class Readings:
    """What a model shows on one set of samples.

    Raises:
        ShapeError: If the parts are not of the same samples.
    """

    logits: Float[Tensor, "N C"]
    features: Float[Tensor, "N D"] | None = None
    """What the classifier reads; None leaves out the scores on features."""
    labels: Int[Tensor, " N"] | None = None
    """Needed of inside samples (accuracy) and of train samples (class means)."""

    def __post_init__(self) -> None:
        parts = [part for part in (self.logits, self.features, self.labels) if part is not None]
        num_axes = [2 if part is not self.labels else 1 for part in parts]
        if [part.ndim for part in parts] != num_axes or len({len(part) for part in parts}) > 1:
            shapes = ", ".join(str(list(part.shape)) for part in parts)
            raise ShapeError(
                f"Expected logits [N, C], features [N, D] and labels [N], but got {shapes}; give one row a sample."
            )


def auroc(inside: Float[Tensor, " N"], outside: Float[Tensor, " K"]) -> float:
    """Return the area under the ROC curve: ``P(s_in > s_out) + P(s_in = s_out) / 2``.

    It is the probability that an inside sample scores above an outside one; ties count half.

    Args:
        inside: Scores of inside samples, higher = more inside, ``[N]``.
        outside: Scores of outside samples, ``[K]``.

    Returns:
        In [0, 1], 0.5 = chance; NaN if either set is empty or holds NaN.

    Example:
        >>> auroc(torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.1]))
        0.875
    """
    if _is_undefined(inside, outside):
        return math.nan
    inside, ranked = exact(inside), exact(outside).sort().values
    below, not_above = (torch.searchsorted(ranked, inside, right=right).sum() for right in (False, True))
    return int(below + not_above) / (2 * len(inside) * len(outside))


def fpr_at_95(
    inside: Float[Tensor, " N"], outside: Float[Tensor, " K"], *, flagged: Literal["outside", "inside"] = "outside"
) -> float:
    """Return the false positive rate at a true positive rate of at least 95 %.

    With ``flagged="outside"`` (the paper's "FRR95", MultiOOD), outside samples are the positives, and those at or
    below the threshold are caught: the share of inside samples at or below it. With ``flagged="inside"`` (ODIN),
    inside samples are the positives, and those at or above the threshold are accepted: the share of outside samples
    at or above it. The threshold is the strictest score that catches at least 95 % of the positives, that is the
    ceil(0.95 n)-th of them from their end; samples that tie with it fall on its side, in both sets.

    Args:
        inside: Scores of inside samples, higher = more inside, ``[N]``.
        outside: Scores of outside samples, ``[K]``.
        flagged: Which samples are the positives.

    Returns:
        In [0, 1], lower is better; NaN if either set is empty or holds NaN.

    Raises:
        ConfigError: If ``flagged`` is neither.

    Source:
        Dong et al., "MultiOOD: Scaling Out-of-Distribution Detection for Multiple Modalities", NeurIPS 2024; Liang et
        al., "Enhancing the Reliability of Out-of-distribution Image Detection in Neural Networks", ICLR 2018.

    Example:
        >>> inside, outside = torch.tensor([0.9, 0.6, 0.2]), torch.tensor([0.5, 0.1])
        >>> round(fpr_at_95(inside, outside), 3), fpr_at_95(inside, outside, flagged="inside")
        (0.333, 0.5)
    """
    if flagged not in ("outside", "inside"):
        raise ConfigError(unknown_name("flagged", flagged, ("outside", "inside")))
    if _is_undefined(inside, outside):
        return math.nan
    positives, others = (exact(inside), exact(outside)) if flagged == "inside" else (-exact(outside), -exact(inside))
    num_caught = -(-95 * len(positives) // 100)
    threshold = positives.sort(descending=True).values[num_caught - 1]
    return int((others >= threshold).sum()) / len(others)


def _is_undefined(inside: Tensor, outside: Tensor) -> bool:
    return any(len(scores) == 0 or bool(scores.isnan().any()) for scores in (inside, outside))


def detect(
    name: str,
    kind: Literal["near", "far"],
    inside: Readings,
    outside: Readings,
    *,
    train: Readings | None = None,
    gamma: float = 0.1,
) -> tuple[OODResult, dict[str, str]]:
    """Return how well six scores tell outside samples from inside samples, and why a number is not defined.

    Args:
        name: What the outside samples are, for people.
        kind: "near" (same dataset, other classes) or "far" (another dataset).
        inside: Test samples of the known classes, with labels.
        outside: Samples of none of the known classes; their labels are not read.
        train: Train samples of the known classes, with features and labels: what "mahalanobis" and "knn" are fitted on.
        gamma: Of "gen", in (0, 1).

    Returns:
        The result, with all six scores, NaN where one is not defined; and for every NaN its reason, by
        ``"ood:KIND:SCORE"`` or ``"ood:KIND:inside_accuracy"``.

    Raises:
        ConfigError: If ``kind`` or ``gamma`` is outside its range.
        ShapeError: If the sets differ in the number of classes or the width of features.
        DataError: If an inside sample has the label of no known class.

    Source:
        Ni et al., "RollingQ", ICML 2025, Table 10.

    Example:
        >>> inside = Readings(torch.tensor([[4.0, 0.0], [0.0, 4.0]]), labels=torch.tensor([0, 1]))
        >>> result, undefined = detect("noise", "far", inside, Readings(torch.zeros(3, 2)))
        >>> result.inside_accuracy, result.detections[0].auroc, undefined["ood:far:knn"]
        (1.0, 1.0, 'Expected features of train samples, but got none.')
    """
    if kind not in KINDS:
        raise ConfigError(unknown_name("kind", kind, KINDS))
    _check(inside, outside)
    undefined: dict[str, str] = {}
    detections = []
    for score in (*LOGIT_SCORES, *FEATURE_SCORES):
        try:
            detections.append(_detection(score, *_scores(score, inside, outside, train, gamma)))
        except DataError as reason:
            undefined[f"ood:{kind}:{score}"] = str(reason)
            detections.append(Detection(score, math.nan, math.nan, math.nan))
    try:
        inside_accuracy = _inside_accuracy(inside)
    except DataError as reason:
        undefined[f"ood:{kind}:inside_accuracy"] = str(reason)
        inside_accuracy = math.nan
    result = OODResult(name, kind, len(inside.logits), len(outside.logits), inside_accuracy, detections)
    return result, undefined


def _check(inside: Readings, outside: Readings) -> None:
    num_classes = inside.logits.shape[1]
    if outside.logits.shape[1] != num_classes:
        raise ShapeError(
            f"Expected logits of one model, but got {num_classes} classes inside and {outside.logits.shape[1]} "
            "outside; give the logits of the same classifier."
        )
    if inside.labels is not None and bool(((inside.labels < 0) | (inside.labels >= num_classes)).any()):
        raise DataError(
            f"Expected labels of inside samples from 0 to {num_classes - 1}, but got {int(inside.labels.min())} to "
            f"{int(inside.labels.max())}; give samples of other classes as outside."
        )


def _scores(
    score: str, inside: Readings, outside: Readings, train: Readings | None, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return a score of all inside and all outside samples, or raise DataError with what is missing."""
    if score in LOGIT_SCORES:
        logits = _logits(inside, "inside"), _logits(outside, "outside")
        if score == "gen":
            return gen(logits[0], gamma), gen(logits[1], gamma)
        function = {"msp": msp, "energy": energy, "max_logit": max_logit}[score]
        return function(logits[0]), function(logits[1])
    train_features = _features(train, "train")
    features = _features(inside, "inside"), _features(outside, "outside")
    if score == "knn":
        knn = KNN.fit(train_features)
        return knn.score(features[0]), knn.score(features[1])
    if train is None or train.labels is None:
        raise DataError("Expected labels of train samples, but got none.")
    fitted = Mahalanobis.fit(train_features, train.labels, inside.logits.shape[1])
    return fitted.score(features[0]), fitted.score(features[1])


def _logits(readings: Readings, whose: str) -> Tensor:
    return finite(readings.logits, f"logits of {whose} samples")


def _features(readings: Readings | None, whose: str) -> Tensor:
    if readings is None or readings.features is None:
        raise DataError(f"Expected features of {whose} samples, but got none.")
    finite(readings.features, f"features of {whose} samples")
    return readings.features


def _detection(score: str, inside: Tensor, outside: Tensor) -> Detection:
    """Return the three numbers of a score that is finite for every sample."""
    for scores, whose in ((inside, "inside"), (outside, "outside")):
        finite(scores.unsqueeze(-1), f"scores of {whose} samples")
    return Detection(
        score,
        auroc=auroc(inside, outside),
        fpr95=fpr_at_95(inside, outside),
        fpr95_inside=fpr_at_95(inside, outside, flagged="inside"),
    )


def _inside_accuracy(inside: Readings) -> float:
    logits = _logits(inside, "inside")
    if inside.labels is None:
        raise DataError("Expected labels of inside samples, but got none.")
    bins = CalibrationBins()
    bins.add(logits, inside.labels)
    return bins.accuracy
