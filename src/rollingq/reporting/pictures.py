"""Pictures of inputs for the browser of a report: which samples get one, and what it shows."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rollingq.data.view import Panel
from rollingq.evaluation.diagnosis import Diagnosis, Sample
from rollingq.reporting.thumbnails import thumbnail

MAX_PICTURED = 96
"""Most samples with pictures: the page has to stay small."""

Panels = Mapping[str, Panel]
"""Modality -> the input of one sample."""


def with_pictures(
    diagnosis: Diagnosis, panels_of: Callable[[list[int]], Mapping[int, Panels]], *, limit: int = MAX_PICTURED
) -> Diagnosis:
    """Return the diagnosis with pictures of some of its samples.

    Args:
        diagnosis: What was measured.
        panels_of: Numbers of samples in their split -> the inputs of each.
        limit: Most samples with pictures.
    """
    panels = panels_of([sample.index for sample in pictured(diagnosis.samples, limit)])
    return replace(diagnosis, samples=[_pictured(s, panels.get(s.index, {})) for s in diagnosis.samples])


def pictured(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Return the samples that get pictures: up to half are the surest mistakes, the others are spread evenly.

    Args:
        samples: All samples.
        limit: How many.

    Example:
        >>> some = [Sample(str(i), 0, int(i == 3), 0.9, {}, {}, index=i) for i in range(6)]
        >>> [sample.name for sample in pictured(some, 3)]
        ['3', '0', '2']
    """
    wrong = sorted((s for s in samples if s.prediction != s.label), key=lambda s: -s.probability)[: limit // 2]
    taken = {sample.index for sample in wrong}
    rest = [sample for sample in samples if sample.index not in taken]
    number = min(limit - len(wrong), len(rest))
    return [*wrong, *(rest[i * len(rest) // number] for i in range(number))]


def _pictured(sample: Sample, panels: Panels) -> Sample:
    drawn = {name: base64.b64encode(thumbnail(panel.array, panel.kind)).decode() for name, panel in panels.items()}
    return replace(sample, pictures=drawn) if drawn else sample
