"""Where things are in a comparison: pure look-ups that tables, verdicts and figures share."""

from dataclasses import replace

from rollingq.catalogue import FUSIONS
from rollingq.evaluation.results import AttentionResult, Comparison, Difference, MethodSummary, RunResult

ROTATED_SUFFIX = "+rollingq"
"""What the name of a method ends with when RollingQ is added to the method before it."""
CHOSEN_ON_TEST = "best epoch chosen on test"
"""The mark of every method with a run whose ``selection`` is "paper"."""


MAX_DRAWN = 10
"""Most methods of several modalities in one figure; the tables and the numbers of a figure have all."""


def drawn_part(comparison: Comparison) -> tuple[Comparison, str]:
    """Return what a figure draws of a comparison, and a sentence that says so where it is not all.

    Args:
        comparison: What was compared.
    """
    fused = [summary.method for summary in fusion_summaries(comparison)]
    if len(fused) <= MAX_DRAWN:
        return comparison, ""
    hidden = set(fused[MAX_DRAWN:])
    part = replace(
        comparison,
        summaries=[s for s in comparison.summaries if s.method not in hidden],
        runs=[r for r in comparison.runs if r.method not in hidden],
        diagnoses=[d for d in comparison.diagnoses if d.method not in hidden],
    )
    return part, f" The first {MAX_DRAWN} of {len(fused)} methods are drawn; the numbers and the tables have all."


def runs_of(comparison: Comparison, method: str) -> list[RunResult]:
    """Return the runs of one method, in the order of their seeds."""
    return sorted((run for run in comparison.runs if run.method == method), key=lambda run: run.seed)


def summary_of(comparison: Comparison, method: str) -> MethodSummary | None:
    """Return the summary of one method, None if it was not compared."""
    return next((summary for summary in comparison.summaries if summary.method == method), None)


def difference_of(comparison: Comparison, method: str, baseline: str) -> Difference | None:
    """Return the paired difference ``method - baseline``, None if it was not compared."""
    pairs = (d for d in comparison.differences if (d.method, d.baseline) == (method, baseline))
    return next(pairs, None)


def is_chosen_on_test(comparison: Comparison, method: str) -> bool:
    """Return whether any run of the method took its best epoch from the test split."""
    return any(run.selection == "paper" for run in runs_of(comparison, method))


def unimodal_methods(comparison: Comparison) -> dict[str, str]:
    """Return modality -> the method that was trained on this modality alone."""
    return {run.modalities[0]: run.method for run in comparison.runs if len(run.modalities) == 1}


def alone_accuracy(comparison: Comparison) -> dict[str, float]:
    """Return modality -> mean test accuracy of the model trained on it alone."""
    found = {m: summary_of(comparison, method) for m, method in unimodal_methods(comparison).items()}
    return {m: summary.accuracy.mean for m, summary in found.items() if summary is not None}


def fusion_summaries(comparison: Comparison) -> list[MethodSummary]:
    """Return the summaries of methods that saw more than one modality."""
    alone = set(unimodal_methods(comparison).values())
    return [summary for summary in comparison.summaries if summary.method not in alone]


def attention_summaries(comparison: Comparison) -> list[MethodSummary]:
    """Return the summaries of methods whose attention spreads over at least two modalities."""
    return [s for s in comparison.summaries if s.attention_score is not None and len(s.attention_score) >= 2]


def attention_runs(comparison: Comparison, method: str) -> list[tuple[RunResult, AttentionResult]]:
    """Return the runs of one method that have attention over at least two modalities, with that attention."""
    pairs = ((run, run.attention) for run in runs_of(comparison, method))
    return [(run, attention) for run, attention in pairs if attention is not None and len(attention.score) >= 2]


def rotation_pairs(comparison: Comparison) -> list[tuple[MethodSummary, MethodSummary]]:
    """Return ``(without, with RollingQ)`` for every method compared both ways."""
    with_rotation = [s for s in comparison.summaries if s.method.endswith(ROTATED_SUFFIX)]
    pairs = ((summary_of(comparison, s.method.removesuffix(ROTATED_SUFFIX)), s) for s in with_rotation)
    return [(base, rotated) for base, rotated in pairs if base is not None]


def reading_of(comparison: Comparison, method: str) -> str:
    """Return "our reading: ..." where a method does what the paper says without saying how, else an empty string."""
    fusion, *balancing = method.split("+")
    card = FUSIONS.get(fusion.partition(":")[0])
    if card is None or card.rollingq != "our reading":
        return ""
    settings = comparison.config.get("fusion", {}).get(card.name, {})
    choice = settings.get("memory") or settings.get("reading") or ""
    is_ours = "rollingq" in balancing or choice == "joint"
    return f"our reading: {choice}".removesuffix(": ") if is_ours else ""
