"""What the diagnoses show, in plain words: noise, edits of attention, contributions, calibration, outside samples."""

import math
from collections.abc import Callable

from rollingq.evaluation.diagnosis import Contribution, Detection, Intervention, NoiseCurve
from rollingq.evaluation.results import Comparison
from rollingq.reporting.diagnosis_lookup import (
    best_other,
    clean_accuracy,
    diagnosed_methods,
    diagnoses_of,
    favoured_modality,
    full_minus_none,
    main_curves,
    mean_contributions,
    mean_detections,
    mean_interventions,
    mean_of,
    num_diagnosed,
    ood_sets,
    undefined_of,
)
from rollingq.reporting.diagnosis_words import NO_CHANGE, change_words, is_clear, is_telling, noise_words
from rollingq.reporting.findings import Finding
from rollingq.reporting.lookup import summary_of
from rollingq.reporting.text import clean, count, is_defined, joined, percent, points

MAX_METHODS = 6
"""Most methods told of in one finding; the tables have all of them."""
DEFAULT_SCORE = "gen"
"""The score that is told of: the paper's. The best of several would look better than it is."""
MAX_AUROC_ERROR = 0.05
"""Standard error of the AUROC beyond which too few samples were seen to call a score useless."""
MIN_ECE_RISE = 0.10
"""How far the calibration error must rise before its probabilities are said not to hold."""
SHARE_GAP = 0.20
"""How far attention and Shapley share of a modality must be apart before they are said to disagree."""

Told = tuple[str, str]
"""A sentence or two on one method, and their tone."""


def diagnosis_findings(comparison: Comparison) -> list[Finding]:
    """Return what the diagnoses show, one finding a topic, a sentence a method.

    Differences within two standard errors of a proportion, sqrt(p (1 - p) / n), are called no clear change.
    """
    topics: tuple[tuple[str, Callable[[Comparison, str], Told | None]], ...] = (
        ("Under noise", switching),
        ("Attention edited", editing),
        ("Contributions", contributing),
        ("Calibration", calibration),
        ("Outside samples", detecting),
    )
    found = [*(_finding(comparison, topic, tell) for topic, tell in topics), not_measured_finding(comparison)]
    return [finding for finding in found if finding is not None]


_GRAVITY = ("bad", "open", "note", "good")


def _finding(comparison: Comparison, topic: str, tell: Callable[[Comparison, str], Told | None]) -> Finding | None:
    told = [found for method in diagnosed_methods(comparison) if (found := tell(comparison, method)) is not None]
    if not told:
        return None
    shown, hidden = told[:MAX_METHODS], len(told) - MAX_METHODS
    more = [f"{count(hidden, 'more method')} in the tables."] if hidden > 0 else []
    tone = min((tone for _, tone in told), key=_GRAVITY.index)
    return Finding(topic, " ".join([text for text, _ in shown] + more), tone)


def main_curve(comparison: Comparison, method: str) -> NoiseCurve | None:
    """Return the curve of the modality that attention favours, else of the one whose noise costs the most."""
    curves = [c for c in main_curves(comparison, method) if _ends(c) is not None]
    favoured = favoured_modality(comparison, method)
    costly = max(curves, key=_cost, default=None)
    return next((c for c in curves if c.modality == favoured), costly)


def _ends(curve: NoiseCurve) -> tuple[float, float] | None:
    """Return the accuracy at the first and the last level; None where it is not defined or there is no clean level."""
    if len(curve.points) < 2 or curve.points[0].level != 0:
        return None
    first, last = mean_of(curve.points[0].accuracy), mean_of(curve.points[-1].accuracy)
    return (first, last) if is_defined(first) and is_defined(last) else None


def _cost(curve: NoiseCurve) -> float:
    first, last = _ends(curve) or (math.nan, math.nan)
    return first - last


def switching(comparison: Comparison, method: str) -> Told | None:
    """Return whether a model turns to the other modalities when the dominant one is noise (paper, Table 3)."""
    curve = main_curve(comparison, method)
    ends = None if curve is None else _ends(curve)
    if curve is None or ends is None:
        return None
    num, name = num_diagnosed(comparison, method), clean(curve.modality)
    start = f"{clean(method)}: accuracy {change_words(*ends, num)} when {name} {noise_words(curve)}"
    if not is_clear(*ends, num):
        return f"{start}.", "note"
    meaning, tone = _against_other(comparison, method, curve.modality, ends[1])
    return f"{start}, {meaning}.", tone


def _against_other(comparison: Comparison, method: str, modality: str, accuracy: float) -> Told:
    other, num = best_other(comparison, method, modality), num_diagnosed(comparison, method)
    if other is None:
        return _against_chance(accuracy, comparison.chance, num)
    reached = f"{other.words} ({percent(other.accuracy)})"
    if accuracy < other.accuracy and is_clear(accuracy, other.accuracy, num):
        return f"below {reached}: the model cannot switch", "bad"
    if not (accuracy > comparison.chance and is_clear(accuracy, comparison.chance, num)):
        guess = f"always guessing the most frequent class ({percent(comparison.chance)})"
        return f"no better than {guess} and not clearly below {reached}: nothing shows that it can switch", "open"
    if not other.is_alone:
        return f"not clearly below {reached}", "note"
    if not is_telling(accuracy, num):
        return f"not clearly below {reached}, {_undecided(num)}", "open"
    return f"not clearly below {reached}: the model switches", "good"


def _against_chance(accuracy: float, chance: float, num: int) -> Told:
    guess = f"the most frequent class ({percent(chance)})"
    if accuracy > chance and is_clear(accuracy, chance, num):
        return f"still above {guess}", "note"
    return f"not shown to be above {guess}: no other modality is seen to help", "bad"


def _undecided(num: int) -> str:
    return f"which {count(num, 'sample')} cannot decide"


def editing(comparison: Comparison, method: str) -> Told | None:
    """Return what averaging and masking attention does to accuracy (paper, Table 8)."""
    edits = [edit for edit in mean_interventions(comparison, method) if is_defined(edit.drop)]
    average = next((edit for edit in edits if edit.name == "average"), None)
    masks = [edit for edit in edits if edit.name.startswith("mask:")]
    clean_one, num = clean_accuracy(comparison, method), num_diagnosed(comparison, method)
    parts = [] if average is None else [_average_words(average, clean_one, num)]
    parts += [f"masking {_masks_words(masks, clean_one, num)}"] if masks else []
    if not parts:
        return None
    is_harmful = average is not None and average.drop < 0 and is_clear(clean_one, average.accuracy, num)
    return f"{clean(method)}: {'; '.join(parts)}.", "bad" if is_harmful else "note"


def _average_words(edit: Intervention, accuracy: float, num: int) -> str:
    """Return what the attention pattern within the modalities carries."""
    if is_clear(accuracy, edit.accuracy, num):
        size = f"{points(abs(edit.drop), is_signed=False)} points"
        if edit.drop > 0:
            return f"averaging attention costs {size}: the model uses the attention pattern"
        return f"averaging attention gains {size}: the attention pattern does harm"
    change = f"averaging attention changes accuracy by {points(-edit.drop)} points ({NO_CHANGE})"
    if is_telling(accuracy, num):
        return f"{change}: the attention pattern carries nothing"
    return f"{change}: whether the attention pattern carries anything, {count(num, 'sample')} cannot decide"


def _masks_words(masks: list[Intervention], accuracy: float, num: int) -> str:
    """Return ``"audio costs 34.0 points and visual shows no clear change (0.4 points)"``."""
    told = []
    for edit in masks:
        verb = "costs" if edit.drop > 0 else "gains"
        size = f"{points(abs(edit.drop), is_signed=False)} points"
        name, is_change = clean(edit.name.partition(":")[2]), is_clear(accuracy, edit.accuracy, num)
        told.append(f"{name} {verb} {size}" if is_change else f"{name} shows {NO_CHANGE} ({points(-edit.drop)} points)")
    return joined(told)


def contributing(comparison: Comparison, method: str) -> Told | None:
    """Return the modality that earns the accuracy (Shapley) against the one that holds the attention."""
    part = next(iter(mean_contributions(comparison, method)), None)
    if part is None or not all(map(is_defined, part.values.values())):
        return None
    whole, num = full_minus_none(part), num_diagnosed(comparison, method)
    none = part.coalitions.get("", math.nan)
    if not whole > 0 or not is_clear(none, none + whole, num):
        return f"{clean(method)}: {NO_CHANGE} with inputs or without, so no modality earns a share.", "open"
    return _shares_words(comparison, method, part, whole)


def _shares_words(comparison: Comparison, method: str, part: Contribution, whole: float) -> Told:
    summary = summary_of(comparison, method)
    attention = (summary.attention_score if summary is not None else None) or {}
    best = max(part.values, key=lambda m: part.values[m])
    named = favoured_modality(comparison, method) or best
    share, mass = part.values[named] / whole, attention.get(named, math.nan)
    start = f"{clean(method)}: {clean(named)} earns {percent(share, 0)} of what the inputs add to accuracy"
    if not is_defined(mass):
        return f"{start} (Shapley value, {points(part.values[named])} of {points(whole)} points).", "note"
    both = f"{start} (Shapley value) and holds {percent(mass, 0)} of the attention"
    if named != best and abs(share - mass) > SHARE_GAP:
        return f"{both}: attention is not where the accuracy comes from, which is {clean(best)}.", "bad"
    if abs(share - mass) > SHARE_GAP:
        return f"{both}: attention does not show what the model uses.", "note"
    return f"{both}.", "note"


def calibration(comparison: Comparison, method: str) -> Told | None:
    """Return whether stated probabilities still hold when the dominant modality is noise."""
    curve = main_curve(comparison, method)
    if curve is None:
        return None
    before, after = (mean_of(curve.points[i].ece) for i in (0, -1))
    if not is_defined(before) or not is_defined(after):
        return None
    accuracy, num = mean_of(curve.points[-1].accuracy), num_diagnosed(comparison, method)
    change = change_words(before, after, num)
    text = f"{clean(method)}: the calibration error {change} when {clean(curve.modality)} {noise_words(curve)}"
    if after <= before or not is_clear(before, after, num):
        return f"{text}.", "note"
    if is_overconfident(accuracy, after, len(comparison.classes)):
        return f"{text}: the model is overconfident.", "bad"
    if after - before < MIN_ECE_RISE:
        return f"{text}.", "note"
    return f"{text}: its probabilities no longer hold.", "bad"


def is_overconfident(accuracy: float, ece: float, num_classes: int) -> bool:
    """Return whether an expected calibration error must be overconfidence for the larger part.

    The error is O + U: bins whose confidence is above their accuracy, and bins where it is below. Confidence is at
    least 1/C, so U <= accuracy (1 - 1/C), and O - U = mean confidence - accuracy >= 1/C - accuracy. O > U for certain
    if ECE > 2 accuracy (1 - 1/C) or accuracy < 1/C; otherwise nothing is claimed.

    Args:
        accuracy: Fraction in [0, 1].
        ece: Expected calibration error in [0, 1].
        num_classes: C.

    Example:
        >>> is_overconfident(0.1, 0.5, 10), is_overconfident(0.5, 0.3, 10)
        (True, False)
    """
    least = 1 / max(1, num_classes)
    return ece > 2 * accuracy * (1 - least) or accuracy < least


def detecting(comparison: Comparison, method: str) -> Told | None:
    """Return how well the paper's score knows every set of outside samples (paper, Table 10)."""
    told = [_set_words(comparison, method, name, kind) for name, kind in ood_sets(comparison)]
    shown = [text for text, _ in filter(None, told)]
    if not shown:
        return None
    tone = min((tone for _, tone in filter(None, told)), key=_GRAVITY.index)
    return f"{clean(method)}: {'; '.join(shown)}.", tone


def _set_words(comparison: Comparison, method: str, name: str, kind: str) -> Told | None:
    known: list[Detection] = [d for d in mean_detections(comparison, method, name) if is_defined(d.auroc)]
    results = [r for d in diagnoses_of(comparison, method) for r in d.ood if r.name == name]
    if not known or not results:
        return None
    told = next((d for d in known if d.score == DEFAULT_SCORE), known[0])
    where, auroc = f"{clean(name)} ({clean(kind)})", f"AUROC {percent(told.auroc)} by {clean(told.score)}"
    error = auroc_error(results[0].num_inside, results[0].num_outside)
    if 0.5 - told.auroc > 2 * error:
        return f"{where}: look more familiar than inside samples, the wrong way round ({auroc})", "bad"
    if told.auroc - 0.5 <= 2 * error:
        return (
            f"{where}: not told from inside samples ({auroc}, guessing gives 50 %)",
            "bad" if error <= MAX_AUROC_ERROR else "open",
        )
    flagged = f", catching 95 % of them flags {percent(told.fpr95, 0)} of inside samples"
    return f"{where}: {auroc}{flagged if is_defined(told.fpr95) else ''}", "note"


def auroc_error(num_inside: int, num_outside: int) -> float:
    """Return the standard error of the AUROC of a score that guesses: sqrt((n + m + 1) / (12 n m)).

    Args:
        num_inside: n.
        num_outside: m.

    Returns:
        Infinity where a set is empty.

    Source:
        Mann and Whitney (1947): the variance of U is n m (n + m + 1) / 12.

    Example:
        >>> round(auroc_error(100, 100), 4)
        0.0409
    """
    pairs = num_inside * num_outside
    return math.sqrt((num_inside + num_outside + 1) / (12 * pairs)) if pairs > 0 else math.inf


def not_measured_finding(comparison: Comparison) -> Finding | None:
    """Return what is not defined and why: a sentence a reason, with the measures and the methods that it is for."""
    reasons: dict[str, tuple[list[str], list[str]]] = {}
    methods = diagnosed_methods(comparison)
    for method in methods:
        for name, why in undefined_of(comparison, method).items():
            names, whose = reasons.setdefault(clean(why), ([], []))
            names += [clean(name)] * (clean(name) not in names)
            whose += [clean(method)] * (clean(method) not in whose)
    if not reasons:
        return None
    told = [
        f"{joined(names)}{'' if len(whose) == len(methods) else f' for {joined(whose)}'}: {why}."
        for why, (names, whose) in reasons.items()
    ]
    return Finding("Not measured", " ".join(told), "note")
