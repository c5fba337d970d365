"""Runs on a dataset become a Comparison: what tables, figures and pages show."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rollingq.data.base import MultimodalData
from rollingq.evaluation.compare import compare
from rollingq.evaluation.diagnosis import Diagnosis
from rollingq.evaluation.provenance import versions
from rollingq.evaluation.results import Comparison, RunResult


def comparison_of(
    data: MultimodalData,
    runs: Sequence[RunResult],
    config: Mapping[str, Any],
    *,
    label: str = "",
    diagnoses: Sequence[Diagnosis] = (),
) -> Comparison:
    """Return everything that a report shows.

    Args:
        data: The dataset.
        runs: Finished runs.
        config: What decides them, as it is printed.
        label: Stands before the title.
        diagnoses: What was measured beyond the runs.
    """
    summaries, differences = compare(runs)
    labels = data.splits["test"].labels.tolist()
    title = f"{data.name}: {' + '.join(data.modalities)}"
    return Comparison(
        title=f"{label}: {title}" if label else title,
        data=data.name,
        modalities=list(data.modalities),
        classes=list(data.classes),
        num_samples={name: len(split) for name, split in data.splits.items()},
        chance=max(Counter(labels).values()) / len(labels),
        summaries=summaries,
        differences=differences,
        runs=list(runs),
        config=dict(config),
        manifest=dict(data.manifest),
        versions=versions(),
        diagnoses=list(diagnoses),
    )
