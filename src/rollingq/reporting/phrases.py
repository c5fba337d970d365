"""Sentences about one thing each: an attention, a correlation, a difference."""

from collections import Counter
from collections.abc import Mapping

from rollingq.evaluation.results import Difference
from rollingq.reporting.patterns import Pattern
from rollingq.reporting.text import bounds, clean, count, has_spread, number, p_value, percent, points

FALLS_CLEARLY = -0.5
"""A correlation with noise at or below this is a clear fall of attention."""
CLEAR_RISE = 0.05
"""A positive correlation with noise up to this is no fall, but not yet called a rise."""
HARDLY_FALLS = -0.1
"""A correlation with noise above this (and not positive) is hardly a fall."""


def pattern_words(pattern: Pattern) -> str:
    """Return how an attention behaves in a few words: ``"is locked on audio"``."""
    modality = clean(pattern.dominant_modality)
    return {
        "locked": f"is locked on {modality}",
        "leans": f"leans on {modality}",
        "follows": "follows quality",
        "spreads": "is spread about as the tokens are",
    }[pattern.kind]


def pattern_evidence(pattern: Pattern) -> str:
    """Return the numbers behind :func:`pattern_words`."""
    modality = clean(pattern.dominant_modality)
    clean_part = (
        f"{modality} holds {percent(pattern.share, 0)} of the mass on clean samples "
        f"(its share of the tokens is {percent(pattern.token_share, 0)})"
    )
    if pattern.share_under_noise is None:
        return f"{clean_part}; it was not read under noise"
    return f"{clean_part} and {percent(pattern.share_under_noise, 0)} when {modality} is pure noise"


def pattern_numbers(pattern: Pattern) -> str:
    """Return ``"93 % of the mass on clean samples, 92 % when audio is pure noise"``, with the modality if unnamed."""
    modality = clean(pattern.dominant_modality)
    holder = "" if pattern.kind in ("locked", "leans") else f"{modality} holds "
    mass = f"{holder}{percent(pattern.share, 0)} of the mass on clean samples"
    if pattern.share_under_noise is None:
        return f"{mass}, not read under noise"
    wrong = " (wrong, it should fall)" if pattern.dominant_modality in pattern.rises else ""
    return f"{mass}, {percent(pattern.share_under_noise, 0)} when {modality} is pure noise{wrong}"


def rise_sentences(pattern: Pattern) -> list[str]:
    """Return one sentence for every modality that gets more attention when it is noise."""
    return [
        f"Attention on {clean(m)} rises from {percent(before, 0)} to {percent(after, 0)} "
        f"when {clean(m)} is pure noise: wrong, it should fall."
        for m, (before, after) in pattern.rises.items()
    ]


def is_unanimous(patterns: list[Pattern]) -> bool:
    """Return whether all runs behave alike (the same kind and, where it is named, the same modality)."""
    return len({pattern_words(pattern) for pattern in patterns}) <= 1


def seeds_words(patterns: list[Pattern]) -> str:
    """Return ``"is locked on audio in 2 of 3 runs, follows quality in 1"``, the most frequent first."""
    tally = Counter(pattern_words(pattern) for pattern in patterns).most_common()
    first, num_first = tally[0]
    rest = [f"{words} in {num}" for words, num in tally[1:]]
    return ", ".join([f"{first} in {num_first} of {count(len(patterns), 'run')}", *rest])


def correlation_words(r: float) -> str:
    """Return what a correlation of attention with "this modality is noise" means; a positive one is wrong."""
    rounded = round(r, 2)
    if rounded > 0:
        return "rises, which is wrong" if rounded > CLEAR_RISE else "does not fall, which is wrong"
    if rounded > HARDLY_FALLS:
        return "hardly falls"
    return "falls clearly" if rounded <= FALLS_CLEARLY else "falls"


def correlation_sentence(method: str, correlation: Mapping[str, float]) -> str:
    """Return one sentence on how a method's attention reacts to every modality's noise."""
    parts = [
        f"on {clean(m)} it {correlation_words(r)} (r = {number(r, is_signed=True)})" for m, r in correlation.items()
    ]
    return f"{clean(method)}: {', '.join(parts)}."


def difference_words(difference: Difference) -> str:
    """Return ``"+1.2 points [-0.8, +3.2], p = 0.15: inconclusive"``; one seed is said to be one."""
    interval = difference.accuracy
    if not has_spread(interval):
        seeds = count(interval.num_seeds, "seed")
        return f"{points(interval.mean)} points ({seeds}, no interval): {clean(difference.verdict)}"
    spread = bounds(interval, is_signed=True)
    return f"{points(interval.mean)} points {spread}, {p_value(difference)}: {clean(difference.verdict)}"
