"""Where things are in the diagnoses of a comparison; several diagnoses of one method (seeds) are put together here."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from rollingq.evaluation.diagnosis import Contribution, Detection, Diagnosis, Intervention, NoiseCurve, NoisePoint
from rollingq.evaluation.results import Comparison
from rollingq.reporting.lookup import alone_accuracy, attention_summaries, summary_of
from rollingq.reporting.patterns import mean_pattern
from rollingq.reporting.text import clean, is_defined

DEFAULT_KIND = "mix"
"""The kind of noise that figures and findings are about: the input fades into noise, level 1 is noise alone."""
ABSENT_ORDER = ("mean", "zero", "noise")
"""What stands in for an absent modality; findings are about the first that was measured."""


@dataclass(frozen=True)
class Reference:
    """An accuracy that a model under noise is held against."""

    words: str
    accuracy: float
    is_alone: bool
    """Whether a model was trained on that modality; a probe on a starved encoder shows less than it could."""


def mean_of(values: Iterable[float]) -> float:
    """Return the mean of the defined values, NaN where there is none.

    Example:
        >>> mean_of([0.5, math.nan, 0.7])
        0.6
    """
    found = [value for value in values if is_defined(value)]
    return statistics.fmean(found) if found else math.nan


def spread_of(values: Iterable[float]) -> float:
    """Return the standard deviation of the defined values, NaN with fewer than two.

    Example:
        >>> spread_of([0.5, 0.5]), spread_of([0.5])
        (0.0, nan)
    """
    found = [value for value in values if is_defined(value)]
    return statistics.stdev(found) if len(found) > 1 else math.nan


def diagnosed_methods(comparison: Comparison) -> list[str]:
    """Return the methods that were diagnosed, in the order of the summaries."""
    order = [summary.method for summary in comparison.summaries]
    found = dict.fromkeys(diagnosis.method for diagnosis in comparison.diagnoses)
    return sorted(found, key=lambda method: order.index(method) if method in order else len(order))


def diagnoses_of(comparison: Comparison, method: str) -> list[Diagnosis]:
    """Return the diagnoses of one method, in the order of their seeds."""
    return sorted((d for d in comparison.diagnoses if d.method == method), key=lambda d: d.seed)


def clean_accuracy(comparison: Comparison, method: str) -> float:
    """Return the accuracy of the diagnosed runs of a method on clean samples, mean over seeds."""
    return mean_of(diagnosis.accuracy for diagnosis in diagnoses_of(comparison, method))


def num_diagnosed(comparison: Comparison, method: str) -> int:
    """Return the number of samples that a diagnosis of the method stands on (the smallest over seeds)."""
    return min((diagnosis.num_samples for diagnosis in diagnoses_of(comparison, method)), default=0)


def noise_curves(comparison: Comparison, method: str) -> list[NoiseCurve]:
    """Return the curves of a method, values of all training seeds in one list a level.

    They are ordered by modality, then by kind with :data:`DEFAULT_KIND` first.
    """
    pooled: dict[tuple[str, str], dict[float, list[NoisePoint]]] = {}
    for diagnosis in diagnoses_of(comparison, method):
        for curve in diagnosis.curves:
            levels = pooled.setdefault((curve.modality, curve.kind), {})
            for point in curve.points:
                levels.setdefault(point.level, []).append(point)
    order = list(comparison.modalities)
    keys = sorted(pooled, key=lambda key: (_place(order, key[0]), key[1] != DEFAULT_KIND))
    return [NoiseCurve(kind, m, [_pooled(points) for _, points in sorted(pooled[m, kind].items())]) for m, kind in keys]


def _place(order: list[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _pooled(points: list[NoisePoint]) -> NoisePoint:
    masses = [mass for point in points for mass in point.attention_score or []]
    accuracy = [value for point in points for value in point.accuracy]
    return NoisePoint(points[0].level, accuracy, [e for point in points for e in point.ece], masses or None)


def main_curves(comparison: Comparison, method: str) -> list[NoiseCurve]:
    """Return one curve a modality: that of the default kind of noise, else of the first kind that was measured."""
    found: dict[str, NoiseCurve] = {}
    for curve in noise_curves(comparison, method):
        found.setdefault(curve.modality, curve)
    return list(found.values())


def mean_interventions(comparison: Comparison, method: str) -> list[Intervention]:
    """Return every edit of a method's attention with accuracy and drop as means over seeds."""
    found: dict[str, list[Intervention]] = {}
    for diagnosis in diagnoses_of(comparison, method):
        for edit in diagnosis.interventions:
            found.setdefault(edit.name, []).append(edit)
    return [
        Intervention(name, mean_of(e.accuracy for e in edits), mean_of(e.drop for e in edits))
        for name, edits in found.items()
    ]


def mean_contributions(comparison: Comparison, method: str) -> list[Contribution]:
    """Return the Shapley values of a method as means over seeds, one entry a stand-in for what is absent."""
    found: dict[str, list[Contribution]] = {}
    for diagnosis in diagnoses_of(comparison, method):
        for contribution in diagnosis.contributions:
            found.setdefault(contribution.absent, []).append(contribution)
    order = [absent for absent in ABSENT_ORDER if absent in found] + [a for a in found if a not in ABSENT_ORDER]
    return [_mean_contribution(absent, found[absent]) for absent in order]


def _mean_contribution(absent: str, parts: list[Contribution]) -> Contribution:
    values = {m: mean_of(part.values.get(m, math.nan) for part in parts) for m in parts[0].values}
    names = parts[0].coalitions
    return Contribution(absent, values, {n: mean_of(part.coalitions.get(n, math.nan) for part in parts) for n in names})


def full_minus_none(contribution: Contribution) -> float:
    """Return the accuracy with every modality minus that with none: the sum of the Shapley values."""
    names = set(contribution.values)
    full = next((a for group, a in contribution.coalitions.items() if set(group.split("+")) == names), math.nan)
    return full - contribution.coalitions.get("", math.nan)


def ood_sets(comparison: Comparison) -> list[tuple[str, str]]:
    """Return ``(name, kind)`` of every set of outside samples that any diagnosis holds."""
    return list(dict.fromkeys((result.name, result.kind) for d in comparison.diagnoses for result in d.ood))


def mean_detections(comparison: Comparison, method: str, name: str) -> list[Detection]:
    """Return how well each score of a method detects the outside set ``name``, means over seeds."""
    found: dict[str, list[Detection]] = {}
    for diagnosis in diagnoses_of(comparison, method):
        for result in diagnosis.ood:
            for detection in result.detections if result.name == name else []:
                found.setdefault(detection.score, []).append(detection)
    return [_mean_detection(score, parts) for score, parts in found.items()]


def _mean_detection(score: str, parts: list[Detection]) -> Detection:
    measures = ([p.auroc for p in parts], [p.fpr95 for p in parts], [p.fpr95_inside for p in parts])
    return Detection(score, *(mean_of(values) for values in measures))


def undefined_of(comparison: Comparison, method: str) -> dict[str, str]:
    """Return measure -> why it is not defined, over all diagnoses of a method."""
    return {name: why for d in reversed(diagnoses_of(comparison, method)) for name, why in d.undefined.items()}


def best_other(comparison: Comparison, method: str, modality: str) -> Reference | None:
    """Return the best that is known of the other modalities: trained alone, else a probe inside the method."""
    summary = summary_of(comparison, method)
    probes = summary.probes if summary is not None else {}
    for words, known in (("{} alone", alone_accuracy(comparison)), ("a probe on its {} encoder", probes)):
        found = {m: accuracy for m, accuracy in known.items() if m != modality and is_defined(accuracy)}
        if found:
            best = max(found, key=lambda m: found[m])
            return Reference(words.format(clean(best)), found[best], known is not probes)
    return None


def favoured_modality(comparison: Comparison, method: str) -> str | None:
    """Return the modality that a method's attention favours (mean over seeds), None without attention."""
    summary = summary_of(comparison, method)
    if summary is None or summary not in attention_summaries(comparison):
        return None
    pattern = mean_pattern(summary)
    return None if pattern is None else pattern.dominant_modality
