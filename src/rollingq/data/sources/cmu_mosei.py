"""CMU-MOSEI: sentiment of sentences, from the feature pickles of MultiBench and MulT. No torch in here.

Zadeh, Liang, Poria, Cambria, Morency: "Multimodal language analysis in the wild: CMU-MOSEI dataset and interpretable
dynamic fusion graph", ACL 2018. Liang et al.: "MultiBench: Multiscale benchmarks for multimodal representation
learning", NeurIPS Datasets and Benchmarks 2021. Tsai et al.: "Multimodal transformer for unaligned multimodal language
sequences", ACL 2019.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from rollingq.data.prepare.source import SPLITS, Arrays, BadFileError, Clip, Plan, Skipped, Source
from rollingq.data.sources.cmu_mosei_pickle import KEYS, Content, find_pickle, load
from rollingq.data.sources.sequences import extent, pad, standardised
from rollingq.data.sources.splits import overlap
from rollingq.data.spec import MASK, ModalitySpec
from rollingq.errors import DataError, unknown_name

LabelRule = Literal["acc2", "acc2_nonneg", "acc3", "acc7"]
CLASSES: dict[str, tuple[str, ...]] = {
    "acc2": ("not_positive", "positive"),
    "acc2_nonneg": ("negative", "not_negative"),
    "acc3": ("negative", "neutral", "positive"),
    "acc7": (
        "highly_negative", "negative", "weakly_negative", "neutral", "weakly_positive", "positive", "highly_positive",
    ),
}  # fmt: skip
"""Names of the classes of each rule."""


class Entry(NamedTuple):
    """What is known of one entry of the pickle."""

    split: str
    number: int
    """Position in its split of the pickle."""
    id: str
    """What the pickle calls it; empty if it has no ids."""
    video: str
    sentiment: float
    has_text: bool
    not_finite: Mapping[str, int]
    """Modality -> numbers that are NaN or infinite."""
    steps: Mapping[str, int]
    """Modality -> steps that are real."""

    @property
    def name(self) -> str:
        """Return a unique name that begins with split and number."""
        return "_".join(filter(None, (self.split, f"{self.number:05d}", self.id)))


@dataclass(frozen=True)
class CMUMOSEI(Source):
    """CMU-MOSEI from one of its feature pickles, in the splits that it holds.

    The root is the folder with the pickle, or the pickle itself. Numbers that are not finite become 0; entries without
    any text are dropped and named in the notes. If all modalities have the same number of steps, they count as
    aligned: the steps before the first with text are cut off all of them, and those from there to the last at which
    any modality is not zero are real in all of them. If not, each modality keeps the steps from its own first to its
    own last that is not zero; one that is all zero is absent. Then every modality is cut at its end, or padded with
    zeros there, to ``length`` steps.

    Example:
        >>> CMUMOSEI(labels="acc2").classes
        ('not_positive', 'positive')
    """

    name: ClassVar[str] = "cmu_mosei"
    max_rows: ClassVar[int] = 2048
    in_process: ClassVar[bool] = True

    file: str = ""
    """Pickle to read, below the root; may be left out if the root holds only one of MultiBench's and MulT's."""
    labels: LabelRule = "acc3"
    """Classes of the sentiment y. "acc2": y > 0 or not, as MultiBench. "acc2_nonneg": y >= 0 or not, as MulT. "acc3":
    below -0.5, from -0.5 to 0.5 (both of them neutral), above 0.5; the most consistent reading of the RollingQ paper.
    "acc7": y rounded to -3 ... 3, where halves go to the even number (0.5 to 0, 1.5 and 2.5 to 2)."""
    length: int = 50
    """Steps of every modality. Unaligned audio and visual features have more (500): the notes count what is cut."""
    per_sample_norm: bool = False
    """Whether each feature of a sample gets mean 0 and deviation 1 over the sample's real steps, before any is cut."""

    def __post_init__(self) -> None:
        if self.labels not in get_args(LabelRule):
            raise DataError(unknown_name("labels", self.labels, get_args(LabelRule)))
        if self.length < 1:
            raise DataError(f"Expected length to be at least 1, but got {self.length}; 50 is the published one.")
        if Path(self.file).is_absolute() or ".." in Path(self.file).parts:
            raise DataError(f"Expected file to be below --root, but got {self.file}; give its path from there.")

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names by label."""
        return CLASSES[self.labels]

    def plan(self, root: Path) -> Plan:
        """Return the entries of the pickle that have text, in their order.

        Raises:
            DataError: If there is no pickle, several to choose from, or it is damaged or of another form.
        """
        file = find_pickle(root, self.file)
        content = load(root / file)
        entries = list(_entries(content))
        with_text = [entry for entry in entries if entry.has_text]
        clips = [self._clip(entry, file) for entry in with_text if math.isfinite(entry.sentiment)]
        skipped = [
            Skipped(entry.name, file, f"expected a finite number as label, got {entry.sentiment}")
            for entry in with_text
            if not math.isfinite(entry.sentiment)
        ]
        for split in SPLITS:
            if not any(clip.split == split for clip in clips):
                number = sum(entry.split == split for entry in entries)
                raise DataError(
                    f"Expected {file} to hold labelled entries with text in {split}, but got none of {number}; "
                    "get the pickle anew."
                )
        modalities = {m: ModalitySpec((self.length, width), has_mask=True) for m, width in content.widths.items()}
        notes = {"pickle": (root / file).name, "is_aligned": content.is_aligned, **self._notes(entries)}
        return Plan(self.classes, modalities, clips, skipped, notes=notes)

    def read(self, clip: Clip, root: Path) -> Arrays:
        """Return the three modalities of one entry and which of their steps are real.

        Raises:
            BadFileError: If the pickle is not the planned one any more.
        """
        try:
            content = load(root / clip.files["text"][0])
        except DataError as error:
            raise BadFileError(str(error)) from error
        split, number = clip.name.split("_")[0], int(clip.name.split("_")[1])
        if number >= len(content.splits[split].sentiments):
            raise BadFileError("the pickle changed while it was read")
        steps, _ = content.splits[split].steps(number)
        arrays: Arrays = {}
        for modality, (start, stop) in real_steps(steps, is_aligned=content.is_aligned).items():
            real = steps[modality][start:stop]
            normed = standardised(real) if self.per_sample_norm else real
            arrays[modality], arrays[modality + MASK] = pad(normed, self.length)
        return arrays

    def _clip(self, entry: Entry, file: str) -> Clip:
        label = label_of(entry.sentiment, self.labels)
        return Clip(entry.name, entry.split, label, dict.fromkeys(KEYS, (file,)), entry.video)

    def _notes(self, entries: Sequence[Entry]) -> dict[str, Any]:
        dropped = [entry for entry in entries if not entry.has_text]
        return {
            "without_text": {split: _listed([e for e in dropped if e.split == split]) for split in SPLITS},
            "not_finite": {
                m: {
                    "numbers": sum(entry.not_finite[m] for entry in entries),
                    "entries": sum(entry.not_finite[m] > 0 for entry in entries),
                }
                for m in KEYS
            },
            "cut": {m: sum(e.steps[m] > self.length for e in entries if e.has_text) for m in KEYS},
            "overlap": overlap((entry.split, entry.video) for entry in entries),
        }


def label_of(sentiment: float, rule: str) -> int:
    """Return the class of a sentiment.

    Args:
        sentiment: From -3 to 3; what lies beyond counts as the nearer of them.
        rule: "acc2", "acc2_nonneg", "acc3" or "acc7".

    Example:
        >>> [label_of(0.5, rule) for rule in ("acc2", "acc2_nonneg", "acc3", "acc7")]
        [1, 1, 1, 3]
    """
    if rule == "acc2":
        return int(sentiment > 0)
    if rule == "acc2_nonneg":
        return int(sentiment >= 0)
    if rule == "acc3":
        return 1 + int(sentiment > 0.5) - int(sentiment < -0.5)
    return 3 + round(min(max(sentiment, -3.0), 3.0))


def real_steps(steps: Mapping[str, Float[np.ndarray, "T F"]], *, is_aligned: bool) -> dict[str, tuple[int, int]]:
    """Return where the real steps of each modality begin and end; (0, 0) if there are none.

    Args:
        steps: Modality -> features, time first; 0 where nothing was measured.
        is_aligned: Whether text decides where all begin, and the last of all where all end.

    Example:
        >>> text, audio = np.array([[0.0], [1.0], [0.0]]), np.array([[1.0], [0.0], [1.0]])
        >>> real_steps({"text": text, "audio": audio}, is_aligned=True)
        {'text': (1, 3), 'audio': (1, 3)}
        >>> real_steps({"text": text, "audio": audio}, is_aligned=False)
        {'text': (1, 2), 'audio': (0, 3)}
    """
    extents = {modality: extent(array) for modality, array in steps.items()}
    if not is_aligned:
        return extents
    return dict.fromkeys(steps, (extents["text"][0], max(stop for _, stop in extents.values())))


def _entries(content: Content) -> Iterator[Entry]:
    for name, split in content.splits.items():
        for number, sentiment in enumerate(split.sentiments.tolist()):
            steps, not_finite = split.steps(number)
            real = real_steps(steps, is_aligned=content.is_aligned)
            lengths = {modality: stop - start for modality, (start, stop) in real.items()}
            has_text = bool(steps["text"].any())
            yield Entry(
                name, number, split.names[number], split.videos[number], sentiment, has_text, not_finite, lengths
            )


def _listed(entries: Sequence[Entry]) -> dict[str, Any]:
    return {"count": len(entries), "numbers": [e.number for e in entries], "ids": [e.id for e in entries if e.id]}
