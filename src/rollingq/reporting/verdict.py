"""The verdict: one headline and the findings behind it, in plain words, good or bad alike."""

from rollingq.evaluation.results import Comparison, MethodSummary
from rollingq.reporting.caveats import caveats
from rollingq.reporting.diagnosis_findings import diagnosis_findings
from rollingq.reporting.findings import (
    Finding,
    accuracy_finding,
    attention_finding,
    cooperation_finding,
    encoder_finding,
    fusion_finding,
    rotation_finding,
)
from rollingq.reporting.lookup import attention_summaries, difference_of, rotation_pairs
from rollingq.reporting.patterns import Pattern, mean_pattern, run_patterns
from rollingq.reporting.phrases import is_unanimous, pattern_numbers, pattern_words
from rollingq.reporting.text import bounds, clean, has_spread, is_defined, percent, points


def headline(comparison: Comparison) -> str:
    """Return the finding in one sentence (two where accuracy was compared as well)."""
    pairs = rotation_pairs(comparison)
    if pairs:
        base, rotated = pairs[0]
        return f"{_attention_change(comparison, base, rotated)} {_accuracy_change(comparison, base, rotated)}"
    with_attention = attention_summaries(comparison)
    if with_attention:
        end = "." if len(comparison.summaries) == 1 else "; RollingQ was not compared."
        return f"{_behaviour(comparison, with_attention[0])}{end}"
    return _most_accurate(comparison)


def findings(comparison: Comparison) -> list[Finding]:
    """Return everything that the comparison shows, in the order in which a person reads it."""
    pairs = rotation_pairs(comparison)
    changed = {rotated.method for _, rotated in pairs}
    plain = [s for s in attention_summaries(comparison) if s.method not in changed]
    found = [attention_finding(comparison, s) for s in plain]
    for base, rotated in pairs:
        found += [rotation_finding(comparison, base, rotated), accuracy_finding(comparison, base, rotated)]
    found += [cooperation_finding(comparison), encoder_finding(comparison), fusion_finding(comparison)]
    return [finding for finding in found if finding is not None] + diagnosis_findings(comparison)


def verdict_lines(comparison: Comparison) -> list[str]:
    """Return the verdict as lines for a terminal: headline, findings, caveats."""
    told = [f"{finding.topic}: {finding.text}" for finding in findings(comparison)]
    return [headline(comparison), *told, *(f"Mind: {text}" for text in caveats(comparison))]


def _state(comparison: Comparison, summary: MethodSummary) -> Pattern | None:
    """Return the pattern that all runs share, None if there is none or seeds disagree."""
    return mean_pattern(summary) if is_unanimous(run_patterns(comparison, summary.method)) else None


def _subject(comparison: Comparison, summary: MethodSummary) -> str:
    is_only = len(comparison.summaries) == 1 or len(rotation_pairs(comparison)) == 1
    return "Attention" if is_only else f"Attention of {clean(summary.method)}"


def _behaviour(comparison: Comparison, summary: MethodSummary) -> str:
    state, subject = _state(comparison, summary), _subject(comparison, summary)
    if not run_patterns(comparison, summary.method):
        return f"{subject} is not defined"
    return f"{subject} differs between seeds" if state is None else f"{subject} {_described(state)}"


def _described(pattern: Pattern) -> str:
    return f"{pattern_words(pattern)}: {pattern_numbers(pattern)}"


def _attention_change(comparison: Comparison, base: MethodSummary, rotated: MethodSummary) -> str:
    if mean_pattern(base) is None or mean_pattern(rotated) is None:
        return "There is no attention to compare."
    before, after = _state(comparison, base), _state(comparison, rotated)
    start = _behaviour(comparison, base)
    if rotated.num_rotations == 0:
        return f"{start}; RollingQ never rotated."
    if after is None:
        return f"{start}; with RollingQ it differs between seeds."
    if before is None or before.kind != "locked":
        return f"{start}; with RollingQ it {_described(after)}."
    return _lock_change(start, before, after, rotated)


def _lock_change(start: str, before: Pattern, after: Pattern, rotated: MethodSummary) -> str:
    if after.kind != "locked":
        return f"{start}; RollingQ brings that to {_shares(rotated, before.dominant_modality)}."
    if before.dominant_modality == after.dominant_modality:
        return f"{start}; with RollingQ it stays locked: {_shares(rotated, before.dominant_modality)}."
    first, second = clean(before.dominant_modality), clean(after.dominant_modality)
    return f"RollingQ only moves the lock: attention is locked on {first} without it and on {second} with it."


def _shares(summary: MethodSummary, modality: str) -> str:
    """Return ``"61 % and 40 %"``: the mass on a modality, clean and when it is noise."""
    masses = [(summary.attention_score or {}).get(modality)]
    masses += [(summary.score_under_noise or {}).get(modality, {}).get(modality)]
    return " and ".join(percent(mass, 0) for mass in masses)


def _accuracy_change(comparison: Comparison, base: MethodSummary, rotated: MethodSummary) -> str:
    difference = difference_of(comparison, rotated.method, base.method)
    if difference is None or not has_spread(difference.accuracy):
        reason = "was not compared" if difference is None else "cannot be compared with one seed"
        return f"Accuracy {reason}."
    mean = points(difference.accuracy.mean)
    if difference.verdict == "better":
        return f"Accuracy is better by {points(abs(difference.accuracy.mean), is_signed=False)} points."
    if difference.verdict == "worse":
        return f"Accuracy is worse by {points(abs(difference.accuracy.mean), is_signed=False)} points."
    return f"The effect on accuracy is inconclusive: {mean} points {bounds(difference.accuracy, is_signed=True)}."


def _most_accurate(comparison: Comparison) -> str:
    known = [s for s in comparison.summaries if is_defined(s.accuracy.mean)]
    if not known:
        return "No accuracy was measured."
    if len(comparison.summaries) == 1:
        return f"{clean(known[0].method)} reaches {percent(known[0].accuracy.mean)}; no attention was read."
    best = max(known, key=lambda s: s.accuracy.mean)
    return f"{clean(best.method)} has the highest mean accuracy, {percent(best.accuracy.mean)}; no attention was read."
