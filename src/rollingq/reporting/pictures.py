"""Pictures of inputs for the browser of a report: which samples get one, and what it shows."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace

from rollingq.data.view import SampleView
from rollingq.evaluation.diagnosis import Diagnosis, Sample
from rollingq.reporting.thumbnails import thumbnail

MAX_PICTURED = 96
"""Most samples with pictures: the page has to stay small."""


def with_pictures(diagnosis: Diagnosis, view: Callable[[int], SampleView], *, limit: int = MAX_PICTURED) -> Diagnosis:
    """Return the diagnosis with pictures of some of its samples.

    Args:
        diagnosis: What was measured.
        view: Index of a sample in its split -> the sample.
        limit: Most samples with pictures.
    """
    chosen = {sample.index for sample in pictured(diagnosis.samples, limit)}
    return replace(
        diagnosis, samples=[_pictured(s, view(s.index)) if s.index in chosen else s for s in diagnosis.samples]
    )


def pictured(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Return the samples that get pictures: up to half are the surest mistakes, the others are spread evenly.

    Args:
        samples: All samples.
        limit: How many.
    """
    wrong = sorted((s for s in samples if s.prediction != s.label), key=lambda s: -s.probability)[: limit // 2]
    taken = {sample.index for sample in wrong}
    rest = [sample for sample in samples if sample.index not in taken]
    number = min(limit - len(wrong), len(rest))
    return [*wrong, *(rest[i * len(rest) // number] for i in range(number))]


def _pictured(sample: Sample, view: SampleView) -> Sample:
    pictures = {
        name: base64.b64encode(thumbnail(panel.array, panel.kind)).decode() for name, panel in view.panels.items()
    }
    return replace(sample, pictures=pictures)
