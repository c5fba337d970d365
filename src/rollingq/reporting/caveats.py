"""What to keep in mind when reading a comparison: pure functions that return plain sentences."""

from rollingq.evaluation.results import Comparison, MethodSummary
from rollingq.reporting.diagnosis_lookup import diagnosed_methods, diagnoses_of, num_diagnosed
from rollingq.reporting.lookup import is_chosen_on_test, runs_of
from rollingq.reporting.text import clean, count, has_spread, is_defined, joined, percent


def caveats(comparison: Comparison) -> list[str]:
    """Return every caveat that holds for this comparison, the gravest first."""
    found = [
        _chosen_on_test(comparison),
        _one_seed(comparison),
        _part_diagnosed(comparison),
        _near_chance(comparison),
        _ogm(comparison),
        _intervals(comparison),
    ]
    return [text for text in found if text]


def _chosen_on_test(comparison: Comparison) -> str:
    methods = [clean(s.method) for s in comparison.summaries if is_chosen_on_test(comparison, s.method)]
    return f"Best epoch chosen on test for {joined(methods)}: these accuracies are too good." if methods else ""


def _one_seed(comparison: Comparison) -> str:
    methods = [clean(s.method) for s in comparison.summaries if s.accuracy.num_seeds < 2]
    if methods and len(comparison.summaries) == 1:
        return "One run of one model: training it again with another seed may give other numbers."
    return f"One seed only for {joined(methods)}: nothing can be said about their differences." if methods else ""


def _part_diagnosed(comparison: Comparison) -> str:
    parts: dict[str, list[str]] = {}
    for method in diagnosed_methods(comparison):
        part = _diagnosed_part(comparison, method)
        if part:
            parts.setdefault(part, []).append(clean(method))
    told = [f"{part} for {joined(methods)}" for part, methods in parts.items()]
    return f"The diagnosis stands on {'; on '.join(told)}." if told else ""


def _diagnosed_part(comparison: Comparison, method: str) -> str:
    """Return ``"1 of 3 seeds"``, ``"500 of 1000 test samples"`` or both; empty where all were read."""
    seeds, runs = len(diagnoses_of(comparison, method)), len(runs_of(comparison, method))
    num, total = num_diagnosed(comparison, method), comparison.num_samples.get("test", 0)
    parts = [f"{seeds} of {count(runs, 'seed')}"] if seeds < runs else []
    return " and ".join(parts + ([f"{num} of {count(total, 'test sample')}"] if num < total else []))


def _is_near_chance(summary: MethodSummary, chance: float) -> bool:
    interval = summary.accuracy
    lowest = interval.low if has_spread(interval) else interval.mean
    return is_defined(lowest) and lowest <= chance


def _near_chance(comparison: Comparison) -> str:
    methods = [clean(s.method) for s in comparison.summaries if _is_near_chance(s, comparison.chance)]
    guess = f"always guessing the most frequent class ({percent(comparison.chance)})"
    return f"Not shown to be better than {guess}: {joined(methods)}." if methods else ""


def _ogm(comparison: Comparison) -> str:
    methods = [s.method for s in comparison.summaries if {"ogm", "ogm_ge"} & set(s.method.split("+"))]
    if not methods or comparison.config.get("train", {}).get("optimizer") != "adamw":
        return ""
    return (
        f"Gradients were scaled in {joined([clean(m) for m in methods])}, which AdamW largely undoes; OGM was "
        "published with SGD (--train.optimizer sgd)."
    )


def _intervals(comparison: Comparison) -> str:
    if not any(has_spread(s.accuracy) for s in comparison.summaries):
        return ""
    num_test = comparison.num_samples.get("test")
    split = f"one test split of {count(num_test, 'sample')}" if num_test is not None else "one test split"
    return f"Intervals and p-values show the spread between training seeds on {split}, not that of other test data."
