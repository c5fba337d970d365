"""The samples of a report, one by one, as data that the page's script shows: sorted, filtered and in pages."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rollingq.evaluation.diagnosis import Diagnosis, Sample
from rollingq.evaluation.results import Comparison
from rollingq.reporting.diagnosis_lookup import diagnosed_methods, diagnoses_of
from rollingq.reporting.plots.style import OKABE_ITO
from rollingq.reporting.text import clean, count, percent, script_json

MAX_SAMPLES = 2000
"""Most samples shown of one model; more are thinned evenly, and the page says so."""
MAX_ROWS = 12_000
"""Most samples shown of all models together, to keep the page small."""
MAX_PICTURE_CHARACTERS = 2_000_000
"""Most base64 characters of all pictures together, to keep the page small; the page says how many are left out."""
MAX_NAME = 48
"""Longest name of a sample or class, in characters."""

_PNG = re.compile(r"iVBORw0KGgo[A-Za-z0-9+/]*={0,2}")

Key = tuple[int, str, int]
"""Number in the split, name and label: what tells one sample from all others, whichever model read it."""


@dataclass(frozen=True)
class Browser:
    """The samples of all diagnosed models."""

    models: list[str]
    """What each model is called on the page."""
    has_pictures: bool
    note: str
    """Which pictures are not shown, and why; empty if all are."""
    json: str
    """All of it, for a script element."""


@dataclass
class _Album:
    """Pictures by number, each held once; what is no PNG, or has no room, is left out."""

    numbers: dict[str, int] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    num_characters: int = 0

    def chosen(self, pictures: Mapping[str, str], modalities: Mapping[str, int]) -> list[list[int]]:
        """Return ``[place of the modality, number of its picture]`` for every picture that is taken."""
        return [[modalities[m], self.numbers[picture]] for m, picture in pictures.items() if self._has(picture)]

    def _has(self, picture: str) -> bool:
        if picture not in self.numbers:
            has_room = self.num_characters + len(picture) <= MAX_PICTURE_CHARACTERS
            if not has_room or not _PNG.fullmatch(picture):
                self.left_out.add(picture)
                return False
            self.num_characters += len(picture)
            self.numbers[picture] = len(self.numbers)
        return True

    @property
    def note(self) -> str:
        """What is not shown, in words; empty if all are."""
        num = len(self.left_out)
        return f"{count(num, 'picture')} left out: no PNG, or no room on this page." if num else ""


def sample_browser(comparison: Comparison) -> Browser | None:
    """Return the samples of all diagnoses for the page, None where no diagnosis holds any.

    Pictures of a sample are shown with every model that read it.

    Args:
        comparison: What was compared and diagnosed.
    """
    found = [d for method in diagnosed_methods(comparison) for d in diagnoses_of(comparison, method) if d.samples]
    if not found:
        return None
    shown = [_evenly(d.samples, max(1, min(MAX_SAMPLES, MAX_ROWS // len(found)))) for d in found]
    titles, modalities, album = [_title(d, found) for d in found], _modalities(comparison, found), _Album()
    samples = list(dict.fromkeys(_key(s) for part in shown for s in part))
    numbers = {key: number for number, key in enumerate(samples)}
    pictures = {_key(s): s.pictures for d in found for s in d.samples if s.pictures}
    values = {
        "modalities": [{"name": _short(m), "color": OKABE_ITO[i % 8]} for m, i in modalities.items()],
        "classes": _class_names(comparison, [s for part in shown for s in part]),
        "samples": [[_short(key[1]), key[2], album.chosen(pictures.get(key, {}), modalities)] for key in samples],
        "models": [
            {"title": title, "summary": _summary(d, len(part)), "rows": [_row(s, numbers, modalities) for s in part]}
            for title, d, part in zip(titles, found, shown, strict=True)
        ],
        "pictures": list(album.numbers),
    }
    return Browser(titles, bool(album.numbers), album.note, script_json(values))


def _key(sample: Sample) -> Key:
    return sample.index, sample.name, sample.label


def _short(name: str) -> str:
    return clean(name, max_length=MAX_NAME)


def _title(diagnosis: Diagnosis, found: Sequence[Diagnosis]) -> str:
    """Return the method, with its seed where several seeds of it were diagnosed."""
    is_only = sum(other.method == diagnosis.method for other in found) == 1
    return clean(diagnosis.method) if is_only else f"{clean(diagnosis.method)}, seed {diagnosis.seed}"


def _modalities(comparison: Comparison, found: Sequence[Diagnosis]) -> dict[str, int]:
    """Return modality -> its place: first those of the comparison, whose places give them their colours."""
    samples = [s for d in found for s in d.samples]
    named = (m for s in samples for part in (s.attention, s.attention_under_noise, s.pictures) for m in part)
    return {m: i for i, m in enumerate(dict.fromkeys([*comparison.modalities, *named]))}


def _evenly(samples: Sequence[Sample], limit: int) -> list[Sample]:
    num = min(limit, len(samples))
    return [samples[i * len(samples) // num] for i in range(num)]


def _summary(diagnosis: Diagnosis, num_shown: int) -> str:
    """Return how many samples there are, how many are right, and how many of them are shown."""
    right = f"{percent(diagnosis.accuracy)} of {count(diagnosis.num_samples, 'test sample')} are right"
    if num_shown >= diagnosis.num_samples:
        return f"{right}."
    return f"{right}; {num_shown} of them, taken evenly, are shown here."


def _row(sample: Sample, numbers: Mapping[Key, int], modalities: Iterable[str]) -> list[object]:
    """Return number of the sample, prediction, probability, attention and attention under noise by modality."""
    parts = (sample.attention, sample.attention_under_noise)
    masses = [[_rounded(part.get(m)) for m in modalities] if any(parts) else [] for part in parts]
    return [numbers[_key(sample)], sample.prediction, _rounded(sample.probability), *masses]


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if value is not None and math.isfinite(value) else None


def _class_names(comparison: Comparison, samples: Iterable[Sample]) -> dict[str, str]:
    """Return number of a class -> its name, of all that occur; one without a name is called by its number."""
    names = dict(enumerate(comparison.classes))
    numbers = sorted({number for s in samples for number in (s.label, s.prediction)})
    return {str(i): _short(names.get(i, f"class {i}")) for i in numbers}
