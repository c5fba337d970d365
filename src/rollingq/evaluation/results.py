"""What a run and a comparison found: plain dataclasses that go to JSON and back, read by reporting."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rollingq.evaluation.diagnosis import Diagnosis
from rollingq.evaluation.rebuilding import rebuilt

T = TypeVar("T")


@dataclass(frozen=True)
class Correlation:
    """Pearson correlation of a modality's attention score with "this modality is noise" (paper, Table 2).

    Good cooperation has a negative sign: attention falls when the modality turns to noise.
    """

    r: float
    p: float
    num_samples: int


@dataclass(frozen=True)
class SampleScores:
    """Per-sample values behind the figures, rounded: one list entry a test sample."""

    attention: dict[str, list[float]]
    cosine: dict[str, list[float]]
    key_norm: dict[str, list[float]]


@dataclass(frozen=True)
class AttentionResult:
    """How a fusion attention spreads its mass over the modalities of the test split."""

    score: dict[str, float]
    """Modality -> mean attention mass on clean samples (the class token holds the rest)."""
    token_share: dict[str, float]
    """Modality -> the mass that indifference would give: its share of the key positions."""
    score_under_noise: dict[str, dict[str, float]]
    """Modality replaced by noise -> modality -> mean attention mass."""
    cosines: dict[str, float]
    """Modality -> mean cosine of the query and the average key (Eq. 3, 9)."""
    air: float
    """Attention imbalance rate (Eq. 9) on the test split; positive = first modality favoured."""
    correlation: dict[str, Correlation]
    """Modality replaced by noise -> correlation of its score with being noise."""
    clean: SampleScores
    noisy: dict[str, SampleScores]
    """Modality replaced by noise -> per-sample values of that pass."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training, as it was seen."""

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    air: float | None = None
    cosines: dict[str, float] | None = None
    rotated: bool = False
    angle: float | None = None
    """Angle of the rotation at this epoch's end, in degrees."""
    attention_score: dict[str, float] | None = None
    """Modality -> mean attention mass over the epoch's training batches; None without attention."""
    gradient_norm: dict[str, float] | None = None
    """Modality -> mean over steps of the L2 norm of its encoder's gradient, before clipping or modulation."""


@dataclass(frozen=True)
class RunResult:
    """One method trained with one seed and read once on the test split."""

    method: str
    seed: int
    modalities: list[str]
    selection: str
    """"validation" (honest), "paper" (best epoch chosen on the test split, to mirror the original), or "as given" for
    a model that was trained elsewhere."""
    best_epoch: int | None
    val_accuracy: float
    test_accuracy: float
    """Fraction in [0, 1]."""
    accuracy_under_noise: dict[str, float]
    """Modality replaced by noise -> test accuracy."""
    probes: dict[str, float]
    """Modality -> test accuracy of a linear probe on that encoder's detached class token."""
    num_parameters: int
    seconds: float
    attention: AttentionResult | None = None
    """None for fusions without attention."""
    num_rotations: int = 0
    history: list[EpochRecord] = field(default_factory=list)


@dataclass(frozen=True)
class Interval:
    """Mean over seeds with spread: standard deviation and 95 % confidence interval (Student t)."""

    mean: float
    std: float
    low: float
    high: float
    num_seeds: int


@dataclass(frozen=True)
class MethodSummary:
    """One row of the comparison table: a method over its seeds."""

    method: str
    accuracy: Interval
    accuracy_under_noise: dict[str, float]
    probes: dict[str, float]
    attention_score: dict[str, float] | None
    token_share: dict[str, float] | None
    score_under_noise: dict[str, dict[str, float]] | None
    air: float | None
    num_rotations: float
    correlation: dict[str, float] | None
    """Modality -> mean signed r over seeds."""
    cosines: dict[str, float] | None = None
    """Modality -> cosine of the query and the average key, the mean over seeds."""


@dataclass(frozen=True)
class Difference:
    """Paired difference in test accuracy, ``method - baseline``, over the seeds that both have."""

    method: str
    baseline: str
    accuracy: Interval
    p: float
    """Two-sided paired t-test; 1.0 where it is not defined (fewer than 2 seeds or no spread)."""
    verdict: str
    """"better", "worse" or "inconclusive" (the 95 % interval holds 0, or fewer than 2 seeds)."""


@dataclass(frozen=True)
class Comparison:
    """Everything that a report shows."""

    title: str
    data: str
    modalities: list[str]
    classes: list[str]
    num_samples: dict[str, int]
    """Split -> number of samples."""
    chance: float
    """Accuracy of always guessing the most frequent test class."""
    summaries: list[MethodSummary]
    differences: list[Difference]
    runs: list[RunResult]
    config: dict[str, Any]
    manifest: dict[str, Any]
    """What is known of the data: source, licence, recipe, checksums, skipped recordings."""
    versions: dict[str, str]
    diagnoses: list[Diagnosis] = field(default_factory=list)
    """What ``rollingq diagnose`` measured, one a run that it was given."""


def to_json(result: Any) -> str:  # noqa: ANN401
    """Return a result dataclass as JSON text; not-a-number becomes null."""
    return json.dumps(_finite(dataclasses.asdict(result)), indent=1, allow_nan=False)


def from_json(kind: type[T], text: str) -> T:
    """Rebuild a result dataclass of type ``kind`` from :func:`to_json`'s text."""
    return rebuilt(kind, json.loads(text), is_strict=False)


def _finite(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
