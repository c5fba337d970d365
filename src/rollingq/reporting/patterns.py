"""The written rule that says how an attention behaves: locked, leaning, following quality or spread."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rollingq.evaluation.results import Comparison, MethodSummary
from rollingq.reporting.lookup import attention_runs

LOCKED_SHARE = 0.75
"""Attention mass on clean samples from which a modality can be called locked on."""
MIN_EXCESS = 0.05
"""How far a modality's mass must exceed its share of the tokens before it is called favoured."""
MIN_FALL = 0.10
"""How far the mass of the favoured modality must fall under noise to say that attention reacts."""
MAX_RISE = 0.02
"""A rise of a modality's mass under its own noise beyond this is called wrong."""


@dataclass(frozen=True)
class Pattern:
    """How one attention behaves, by :func:`attention_pattern`."""

    kind: str
    """"locked", "leans", "follows" or "spreads"."""
    dominant_modality: str
    share: float
    """Mass of the dominant modality on clean samples."""
    token_share: float
    share_under_noise: float | None
    """The same mass when the dominant modality is noise; None if that was not read."""
    rises: dict[str, tuple[float, float]]
    """Modality -> (clean, noise) mass, where it rises under its own noise: wrong."""


def attention_pattern(
    score: Mapping[str, float],
    token_share: Mapping[str, float],
    score_under_noise: Mapping[str, Mapping[str, float]],
    correlation: Mapping[str, float] | None = None,
) -> Pattern:
    """Classify an attention by a fixed rule.

    The dominant modality is the one whose mass exceeds its share of the tokens the most. With ``fall`` = its mass on
    clean samples minus its mass when this modality is pure noise, the first of these that holds is the kind:

    1. follows: fall >= 0.10, its mass under noise is at most 0.05 above its share of the tokens, and nothing is wrong
       (no modality's mass rises by more than 0.02 under its own noise, no correlation with noise is positive);
    2. locked: mass >= 0.75, at least 0.05 above the share of the tokens, and fall < 0.10;
    3. leans: mass at least 0.05 above the share of the tokens;
    4. spreads: otherwise, mass is spread about as the tokens are.

    Without a pass under noise an attention is never called locked.

    Args:
        score: Modality -> mean attention mass on clean samples.
        token_share: Modality -> share of the key positions; equal shares where it is missing.
        score_under_noise: Modality replaced by noise -> modality -> mean attention mass.
        correlation: Modality -> correlation of its mass with being noise, where known.

    Example:
        >>> attention_pattern({"audio": 0.9, "visual": 0.1}, {}, {"audio": {"audio": 0.89, "visual": 0.11}}).kind
        'locked'
    """
    shares = {m: token_share.get(m, 1 / len(score)) for m in score}
    dominant = max(score, key=lambda m: score[m] - shares[m])
    noisy = {m: score_under_noise[m][m] for m in score if m in score_under_noise.get(m, {})}
    rises = {m: (score[m], noisy[m]) for m in noisy if noisy[m] - score[m] > MAX_RISE}
    is_wrong = bool(rises) or any(round(r, 2) > 0 for r in (correlation or {}).values())
    kind = _kind(score[dominant], shares[dominant], noisy.get(dominant), is_wrong=is_wrong)
    return Pattern(kind, dominant, score[dominant], shares[dominant], noisy.get(dominant), rises)


def _kind(share: float, token_share: float, share_under_noise: float | None, *, is_wrong: bool) -> str:
    small = 1e-9
    noise = math.nan if share_under_noise is None else share_under_noise
    if share - noise >= MIN_FALL - small and noise <= token_share + MIN_EXCESS + small and not is_wrong:
        return "follows"
    if share - token_share < MIN_EXCESS - small:
        return "spreads"
    return "locked" if share - noise < MIN_FALL - small and share >= LOCKED_SHARE - small else "leans"


def mean_pattern(summary: MethodSummary) -> Pattern | None:
    """Return the pattern of a method's mean attention over seeds, None without attention over two modalities."""
    score = summary.attention_score
    if score is None or len(score) < 2 or not all(map(math.isfinite, score.values())):
        return None
    return attention_pattern(score, summary.token_share or {}, summary.score_under_noise or {}, summary.correlation)


def run_patterns(comparison: Comparison, method: str) -> list[Pattern]:
    """Return the pattern of every run of a method: means can hide seeds that lock on different modalities."""
    found = [attention for _, attention in attention_runs(comparison, method)]
    finite = (a for a in found if all(map(math.isfinite, a.score.values())))
    return [
        attention_pattern(a.score, a.token_share, a.score_under_noise, {m: c.r for m, c in a.correlation.items()})
        for a in finite
    ]
