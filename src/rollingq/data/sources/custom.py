"""A user's own data, without a line of code: samples of any number of modalities. No torch in here.

Two layouts are read. A table ``samples.csv`` in the root has the columns ``name``, ``label``, and one for each modality
with a path below the root; an empty cell means that the sample does not have this modality. It may have ``split``
(train, val, test), ``group`` (a person, a source video), and ``start`` and ``end`` (seconds in sound and video files).
Without a table, files lie as ``split/class/name.modality.suffix``, such as ``train/dog/clip1.audio.wav``.

A modality is what its files are: sound (.wav, .flac, .mp3, or the sound track of videos if it is called "audio") is a
spectrogram; videos are frames; images are images; .npy arrays are tokens ``[length, dim]`` or ``[dim]``, or an image
or spectrogram ``[channels, height, width]``; .csv tables of numbers are tokens, one a line.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from rollingq.data.prepare.source import Arrays, BadFileError, Clip, Plan, Source
from rollingq.data.raw.images import read_image
from rollingq.data.sources.audio_visual import (
    RecipeName,
    audio_spec,
    naming,
    read_sound,
    read_visual,
    require_positive,
    visual_spec,
)
from rollingq.data.sources.custom_files import fit, open_numbers, read_numbers, spec_of
from rollingq.data.sources.custom_layout import TABLE, Sample, kinds_of, read_layout, sorted_labels
from rollingq.data.sources.splits import classes_of, overlap, stratified
from rollingq.data.spec import MASK, ModalitySpec
from rollingq.errors import DataError


@dataclass(frozen=True)
class Form:
    """What the files of one modality are, and what they become."""

    kind: str
    spec: ModalitySpec
    num_cut: int = 0
    """Files with more tokens than a sample holds."""


@dataclass(frozen=True)
class Custom(Source):
    """Your own data: a table samples.csv, or folders of splits and classes."""

    name = "custom"

    recipe: RecipeName = "paper"
    """Spectrogram of sound: "paper" (16 kHz, scipy), "code" (22.05 kHz, STFT) or "fbank" (Kaldi filter banks)."""
    seconds: float = 3.0
    """Length of sound: shorter sound is repeated, longer sound is cut."""
    num_frames: int = 3
    """Frames of a video, spread evenly over the clip."""
    size: int = 224
    """Height and width of a frame or image in pixels."""
    frames_per_second: float = 1.0
    """How densely the frames to choose from lie in a video."""
    length: int = 0
    """Tokens of a sample: shorter ones are padded and masked, longer ones are cut; 0 for those of the longest file."""

    def __post_init__(self) -> None:
        options = ("seconds", "num_frames", "size", "frames_per_second")
        require_positive({option: getattr(self, option) for option in options})
        if self.length < 0:
            raise DataError(f"Expected length to be 0 or more, but got {self.length}. 0 takes the longest file's.")
        audio_spec(self.recipe, self.seconds)

    def plan(self, root: Path) -> Plan:
        """Return the user's samples; one of which no file exists is absent.

        Without splits, 80 % of every class train, 10 % validate and 10 % test, chosen by the SHA-256 of the names, or
        of the groups, which stay whole.

        Raises:
            DataError: If there is no sample, or the table has a mistake.
        """
        samples, skipped = read_layout(root)
        present = _present(samples, root)
        if not present:
            raise DataError(
                f"Expected {root} to hold the files of its {TABLE}, but got no file of them. Check the paths."
            )
        forms_of.cache_clear()
        forms = forms_of(self, root)
        classes = sorted_labels(sample.label for sample in samples)
        splits = _splits(present, classes)
        clips = [_clip(sample, splits[sample.name], classes.index(sample.label)) for sample in present]
        found = {clip.name for clip in clips}
        absent = sorted(sample.name for sample in samples if sample.name not in found)
        specs = {modality: form.spec for modality, form in forms.items()}
        return Plan(classes, specs, clips, skipped, absent, _notes(present, clips, forms))

    def read(self, clip: Clip, root: Path) -> Arrays:
        """Return the modalities that the clip has."""
        arrays: Arrays = {}
        for modality, (file,) in clip.files.items():
            with naming(file):
                arrays |= self._read(modality, root / file, clip, forms_of(self, root)[modality])
        return arrays

    def _read(self, modality: str, path: Path, clip: Clip, form: Form) -> Arrays:
        times: Any = {"start": clip.start, "end": clip.end}
        if form.kind == "sound":
            return {modality: read_sound(path, self.recipe, self.seconds, is_silence_allowed=True, **times)}
        if form.kind == "video":
            return {modality: read_visual(path, self.num_frames, self.size, self.frames_per_second, **times)}
        if form.kind == "image":
            return {modality: read_image(path, height=self.size, width=self.size)}
        array = read_numbers(path, form.kind, form.spec)
        if form.spec.kind != "tokens":
            return {modality: array}
        tokens, mask = fit(array, form.spec.shape[0])
        return {modality: tokens, modality + MASK: mask} if form.spec.has_mask else {modality: tokens}


@lru_cache(maxsize=4)
def forms_of(source: Custom, root: Path) -> Mapping[str, Form]:
    """Return modality -> form of the data below ``root``, once in every process.

    Raises:
        DataError: If there is no sample, or no file of a modality can be used.
    """
    samples = _present(read_layout(root)[0], root)
    forms: dict[str, Form] = {}
    for modality, kind in kinds_of(samples).items():
        files = [sample.files[modality] for sample in samples if modality in sample.files]
        form = _form(source, kind, files, root, modality)
        is_missing = len(files) < len(samples)
        forms[modality] = replace(form, spec=replace(form.spec, has_mask=form.spec.has_mask or is_missing))
    return forms


def _form(source: Custom, kind: str, files: Sequence[str], root: Path, modality: str) -> Form:
    if kind == "sound":
        return Form(kind, audio_spec(source.recipe, source.seconds))
    if kind == "video":
        return Form(kind, visual_spec(source.num_frames, source.size))
    if kind == "image":
        return Form(kind, visual_spec(1, source.size))
    return _form_of_numbers(source.length, kind, [root / file for file in files], modality)


def _form_of_numbers(length: int, kind: str, paths: Sequence[Path], modality: str) -> Form:
    """Return the form of arrays or tables: that of the first sound file, as long as the longest one of its width."""
    specs, reason = [], ""
    for path in paths:
        try:
            specs.append(spec_of(open_numbers(path, kind)))
        except BadFileError as error:
            reason = reason or f"{path.name}: {error}"
    if not specs:
        raise DataError(f"Expected sound files of {modality}, but got none ({reason}). Look at the files.")
    first = specs[0]
    if first.kind != "tokens":
        return Form(kind, first)
    lengths = [spec.shape[0] for spec in specs if (spec.kind, spec.shape[1:]) == (first.kind, first.shape[1:])]
    longest = length or max(lengths)
    has_mask = min(lengths) < longest
    spec = replace(first, shape=(longest, *first.shape[1:]), has_mask=has_mask)
    return Form(kind, spec, sum(found > longest for found in lengths))


def _present(samples: Sequence[Sample], root: Path) -> list[Sample]:
    found = (sample for sample in samples if any((root / file).exists() for file in sample.files.values()))
    return sorted(found, key=lambda sample: sample.name)


def _splits(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, str]:
    if any(sample.split for sample in samples):
        return {sample.name: sample.split for sample in samples}
    units = {sample.name: f"group {sample.group}" if sample.group else sample.name for sample in samples}
    index = {label: number for number, label in enumerate(classes)}
    splits = stratified(classes_of((units[sample.name], index[sample.label]) for sample in samples))
    return {name: splits[unit] for name, unit in units.items()}


def _clip(sample: Sample, split: str, label: int) -> Clip:
    files = {modality: (file,) for modality, file in sample.files.items()}
    return Clip(sample.name, split, label, files, sample.group, sample.start, sample.end)


def _notes(samples: Sequence[Sample], clips: Sequence[Clip], forms: Mapping[str, Form]) -> dict[str, object]:
    counts = Counter(modality for sample in samples for modality in sample.files)
    return {
        "overlap": overlap((clip.split, clip.group) for clip in clips),
        "samples without it": {m: len(samples) - counts[m] for m in forms if counts[m] < len(samples)},
        "files longer than length": {m: form.num_cut for m, form in forms.items() if form.num_cut},
    }
