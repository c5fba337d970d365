"""One function a finding: attention, what RollingQ did to it, accuracy, reaction to noise, encoders, fusion."""

from dataclasses import dataclass

from rollingq.evaluation.results import Comparison, Difference, MethodSummary
from rollingq.reporting.lookup import alone_accuracy, attention_summaries, difference_of, fusion_summaries
from rollingq.reporting.patterns import Pattern, mean_pattern, run_patterns
from rollingq.reporting.phrases import (
    correlation_sentence,
    correlation_words,
    is_unanimous,
    pattern_evidence,
    pattern_words,
    rise_sentences,
    seeds_words,
)
from rollingq.reporting.text import (
    bounds,
    clean,
    count,
    has_spread,
    is_defined,
    joined,
    number,
    p_value,
    percent,
    points,
)

STARVED_GAP = 0.05
"""An encoder is called starved when its probe is this far below its modality trained alone."""

MAX_NAMED = 5
"""Most methods named in one sentence about an encoder: those in which it is starved the most."""


@dataclass(frozen=True)
class Finding:
    """One thing that the comparison shows, in plain words."""

    topic: str
    text: str
    tone: str
    """"good", "bad", "open" (cannot be decided) or "note"; shown as a word, never as a colour alone."""


def _pattern_tone(pattern: Pattern, runs: list[Pattern]) -> str:
    if pattern.rises or any(run.kind == "locked" for run in runs) or pattern.kind == "locked":
        return "bad"
    return "good" if pattern.kind == "follows" and is_unanimous(runs) else "note"


def attention_text(comparison: Comparison, summary: MethodSummary) -> str:
    """Return how a method's attention behaves, with its numbers; seeds that disagree are said to."""
    pattern, runs = mean_pattern(summary), run_patterns(comparison, summary.method)
    if pattern is None:
        return f"{clean(summary.method)} has no attention to read."
    if is_unanimous(runs):
        text = f"Attention of {clean(summary.method)} {pattern_words(pattern)}: {pattern_evidence(pattern)}."
    else:
        text = (
            f"Attention of {clean(summary.method)} differs between seeds: it {seeds_words(runs)}. "
            f"On average {pattern_evidence(pattern)}."
        )
    return " ".join([text, *rise_sentences(pattern)])


def attention_finding(comparison: Comparison, summary: MethodSummary) -> Finding | None:
    """Return what a method's attention does, None where it has none over two modalities."""
    pattern = mean_pattern(summary)
    if pattern is None:
        return None
    tone = _pattern_tone(pattern, run_patterns(comparison, summary.method))
    return Finding("Attention", attention_text(comparison, summary), tone)


def rotation_finding(comparison: Comparison, base: MethodSummary, rotated: MethodSummary) -> Finding:
    """Return what RollingQ did: how often it rotated and how attention behaves then."""
    if rotated.num_rotations == 0:
        text = (
            f"RollingQ never rotated in {clean(rotated.method)}, so no difference to {clean(base.method)} is its doing."
        )
        return Finding("RollingQ", text, "note")
    pattern = mean_pattern(rotated)
    tone = "note" if pattern is None else _pattern_tone(pattern, run_patterns(comparison, rotated.method))
    times = f"RollingQ rotated {number(rotated.num_rotations, 1)} times a run."
    return Finding("RollingQ", f"{times} {attention_text(comparison, rotated)}", tone)


_TONES = {"better": "good", "worse": "bad"}


def accuracy_finding(comparison: Comparison, base: MethodSummary, rotated: MethodSummary) -> Finding:
    """Return how accuracy changes with RollingQ and how sure that is."""
    difference = difference_of(comparison, rotated.method, base.method)
    names = f"{clean(rotated.method)} minus {clean(base.method)}"
    if difference is None:
        return Finding("Accuracy", f"{names} was not compared.", "open")
    interval = difference.accuracy
    if not has_spread(interval):
        text = f"{names}: {points(interval.mean)} points with {count(interval.num_seeds, 'seed')}. "
        return Finding("Accuracy", f"{text}One seed cannot show a difference: inconclusive.", "open")
    evidence = f"95 % interval {bounds(interval, is_signed=True)}, {p_value(difference)}"
    text = f"{names}: {points(interval.mean)} points ({evidence}, {count(interval.num_seeds, 'seed')}): "
    return Finding("Accuracy", text + _meaning(difference), _TONES.get(difference.verdict, "open"))


def _meaning(difference: Difference) -> str:
    return {
        "better": "better.",
        "worse": "worse.",
    }.get(difference.verdict, "inconclusive, neither a gain nor a loss is shown.")


def cooperation_finding(comparison: Comparison) -> Finding | None:
    """Return whether attention falls when a modality turns to noise; a rise is called wrong."""
    found = {
        s.method: {m: r for m, r in s.correlation.items() if is_defined(r)}
        for s in attention_summaries(comparison)
        if s.correlation
    }
    found = {method: correlation for method, correlation in found.items() if correlation}
    if not found:
        return None
    words = [correlation_words(r) for correlation in found.values() for r in correlation.values()]
    is_good = all(word.startswith("falls") for word in words)
    tone = "bad" if any("wrong" in word for word in words) else "good" if is_good else "note"
    told = " ".join(correlation_sentence(method, correlation) for method, correlation in found.items())
    return Finding("Reaction to noise", f"Attention on a modality must fall when it turns to noise. {told}", tone)


def encoder_finding(comparison: Comparison) -> Finding | None:
    """Return which encoders are starved: their probe is 5 points or more below their modality alone."""
    alone, fusions = alone_accuracy(comparison), fusion_summaries(comparison)
    gaps = [(m, s.method, alone[m], s.probes[m]) for m in alone for s in fusions if is_defined(s.probes.get(m))]
    gaps = [gap for gap in gaps if is_defined(gap[2])]
    if not gaps:
        return None
    starved = [gap for gap in gaps if round(gap[2] - gap[3], 9) >= STARVED_GAP]
    if not starved:
        limit = points(STARVED_GAP, is_signed=False)
        return Finding(
            "Encoders", f"No encoder is starved: no probe is {limit} points below its modality alone.", "good"
        )
    return Finding("Encoders", " ".join(_starved(m, starved) for m in alone if any(g[0] == m for g in starved)), "bad")


def _starved(modality: str, gaps: list[tuple[str, str, float, float]]) -> str:
    mine = [gap for gap in gaps if gap[0] == modality]
    shown = mine if len(mine) <= MAX_NAMED else sorted(mine, key=lambda gap: gap[3])[:MAX_NAMED]
    told = [f"{percent(probe)} inside {clean(method)}" for _, method, _, probe in shown]
    inside = joined(
        told + ([f"less than alone inside {len(mine) - len(shown)} more"] if len(mine) > len(shown) else [])
    )
    return f"The {clean(modality)} encoder is starved: {percent(mine[0][2])} alone, but a probe reads {inside}."


def fusion_finding(comparison: Comparison) -> Finding | None:
    """Return which fusions beat the best single modality, by mean accuracy."""
    alone = {m: a for m, a in alone_accuracy(comparison).items() if is_defined(a)}
    fusions = [s for s in fusion_summaries(comparison) if is_defined(s.accuracy.mean)]
    if not alone or not fusions:
        return None
    best = max(alone, key=lambda m: alone[m])
    above = [s for s in fusions if s.accuracy.mean > alone[best]]
    below = [s for s in fusions if s.accuracy.mean <= alone[best]]
    parts = [f"above it: {_accuracies(above)}"] if above else []
    parts += [f"not above it: {_accuracies(below)}"] if below else []
    text = f"The best single modality, {clean(best)}, reaches {percent(alone[best])}; {'; '.join(parts)}."
    return Finding("Fusion", text, "good" if not below else "bad" if not above else "note")


def _accuracies(summaries: list[MethodSummary]) -> str:
    return joined([f"{clean(s.method)} ({percent(s.accuracy.mean)})" for s in summaries])
