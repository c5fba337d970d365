"""Paired statistics over seeds: intervals, differences, and the word "inconclusive" where it belongs."""

import math
import statistics
from collections.abc import Sequence

from rollingq.evaluation.results import Difference, Interval, MethodSummary, RunResult
from rollingq.extras import lab_extra


def interval(values: Sequence[float]) -> Interval:
    """Return mean, standard deviation and the 95 % confidence interval of the mean (Student t).

    With one value nothing is known of the spread: std is 0 and the bounds are NaN.

    Example:
        >>> found = interval([0.8, 0.9, 0.85])
        >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
        (0.85, 0.726, 0.974)
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, 0.0, math.nan, math.nan, len(values))
    with lab_extra("scipy"):
        from scipy import stats

    std = statistics.stdev(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * std / math.sqrt(len(values))
    return Interval(mean, std, mean - half, mean + half, len(values))


def paired_difference(method: Sequence[RunResult], baseline: Sequence[RunResult]) -> Difference:
    """Return ``method - baseline`` in test accuracy, paired over the seeds that both have.

    Args:
        method: Runs of one method.
        baseline: Runs of the other.
    """
    other = {run.seed: run for run in baseline}
    deltas = [run.test_accuracy - other[run.seed].test_accuracy for run in method if run.seed in other]
    found = interval(deltas)
    return Difference(method[0].method, baseline[0].method, found, _p_value(deltas), _verdict(found))


def _p_value(deltas: Sequence[float]) -> float:
    """Return the two-sided paired t-test's p; 1 where it is not defined and the mean is 0, else 0 without spread."""
    if len(deltas) < 2:
        return 1.0
    if len(set(deltas)) == 1:
        return 1.0 if deltas[0] == 0 else 0.0
    with lab_extra("scipy"):
        from scipy import stats

    return float(stats.ttest_1samp(deltas, 0.0).pvalue)


def _verdict(found: Interval) -> str:
    if found.low > 0:
        return "better"
    return "worse" if found.high < 0 else "inconclusive"


def summarise(runs: Sequence[RunResult]) -> MethodSummary:
    """Return one row of the comparison table from a method's runs."""
    attention = [run.attention for run in runs if run.attention is not None]
    noised = list(attention[0].score_under_noise) if attention else []
    return MethodSummary(
        method=runs[0].method,
        accuracy=interval([run.test_accuracy for run in runs]),
        accuracy_under_noise=_mean_by_key([run.accuracy_under_noise for run in runs]),
        probes=_mean_by_key([run.probes for run in runs]),
        attention_score=_mean_by_key([a.score for a in attention]) if attention else None,
        token_share=attention[0].token_share if attention else None,
        score_under_noise={name: _mean_by_key([a.score_under_noise[name] for a in attention]) for name in noised}
        if attention
        else None,
        air=statistics.fmean(a.air for a in attention) if attention else None,
        num_rotations=statistics.fmean(run.num_rotations for run in runs),
        correlation=_mean_by_key([{n: c.r for n, c in a.correlation.items()} for a in attention])
        if attention
        else None,
        cosines=_mean_by_key([a.cosines for a in attention]) if attention else None,
    )


def _mean_by_key(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}


def compare(runs: Sequence[RunResult]) -> tuple[list[MethodSummary], list[Difference]]:
    """Return one summary a method, and every pair of multimodal methods as a paired difference.

    Each later method is compared with each earlier one, and each multimodal method with the best single
    modality, which the validation split names.
    """
    groups: dict[str, list[RunResult]] = {}
    for run in runs:
        groups.setdefault(run.method, []).append(run)
    summaries = [summarise(group) for group in groups.values()]
    fused = [name for name, group in groups.items() if len(group[0].modalities) > 1]
    alone = [group for name, group in groups.items() if name not in fused]
    pairs = [(later, earlier) for i, later in enumerate(fused) for earlier in fused[:i]]
    if alone:
        best = max(alone, key=lambda group: statistics.fmean(run.val_accuracy for run in group))
        pairs += [(name, best[0].method) for name in fused]
    return summaries, [paired_difference(groups[a], groups[b]) for a, b in pairs]
