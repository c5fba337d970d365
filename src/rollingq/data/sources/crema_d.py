"""CREMA-D: 7,442 sentences of 91 actors in six emotions, from the release's WAV and Flash files. No torch in here.

Cao, Cooper, Keutmann, Gur, Nenkova, Verma: "CREMA-D: Crowd-sourced emotional multimodal actors dataset", IEEE
Transactions on Affective Computing, 2014. https://github.com/CheyneyComputerScience/CREMA-D
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rollingq.data.prepare.source import PLACE, SPLITS, BadFileError, Clip, Plan, Skipped
from rollingq.data.sources.audio_visual import AudioVisual
from rollingq.data.sources.splits import (
    SHOWN,
    disjoint,
    hold_out,
    overlap,
    parse_split,
    read_csv,
    read_list,
    stratified,
)
from rollingq.errors import DataError

CODES = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
CLASSES = ("neutral", "happy", "sad", "fear", "disgust", "anger")
ACTORS = tuple(str(actor) for actor in range(1001, 1092))
FOLDERS = {"audio": ("AudioWAV", ".wav"), "visual": ("VideoFlash", ".flv")}
PUBLISHED = "SentenceFilenames.csv"
"""The release's list of all clips, if the root holds it."""
_NAME = re.compile(r"(\d{4}_[A-Z]{3}_([A-Z]{3})_)(LO|MD|HI|XX?)")
Files = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class CREMAD(AudioVisual):
    """CREMA-D from the folders AudioWAV and VideoFlash of its release: 3 s of sound and frames of the face.

    Example:
        >>> CREMAD(num_frames=3).modalities()["visual"].shape
        (3, 3, 224, 224)
    """

    name = "crema_d"
    seconds = 3.0

    split: str = "actors"
    """Who trains and tests: "actors" (64 actors train, 9 validate, 18 test; "actors:SEED" for another draw), "random"
    (80/10/10 of every class, "random:SEED"; actors are in several splits), or "paper" (your train.csv, test.csv and,
    if there is one, val.csv; without it 10 % of every class of train.csv validate)."""
    lists: str = field(default="", metadata={PLACE: True})
    """Folder of the lists of split "paper", with lines "name,label"; the root if empty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_split(self.split, plain=["paper"], seeded=["actors", "random"])

    def plan(self, root: Path) -> Plan:
        """Return the clips of which the root holds the sound or the video.

        Raises:
            DataError: If the root is not the release, or a list cannot be used.
        """
        found, unnamed = find_clips(root)
        lists = self._lists(found, root)
        clips = [
            Clip(name, lists.splits[name], label_of_name(name), files, group=name[:4])
            for name, files in found.items()
            if name in lists.splits
        ]
        if not clips:
            raise DataError(f"Expected the lists to name clips of {root}, but got none of them. Check the names.")
        listed = {*lists.splits, *(skip.name for skip in lists.skipped)}
        wanted = {*lists.splits, *(() if self.split == "paper" else published(root))}
        notes = {"overlap": overlap((clip.split, clip.group) for clip in clips), "actors": _actors(clips)}
        if unlisted := sorted(set(found) - listed):
            notes["unlisted"] = {"clips": len(unlisted)}
        absent = sorted(wanted - set(found))
        return Plan(CLASSES, self.modalities(), clips, [*unnamed, *lists.skipped], absent, notes)

    def _lists(self, found: Mapping[str, Files], root: Path) -> "Lists":
        rule, seed = parse_split(self.split, plain=["paper"], seeded=["actors", "random"])
        if rule == "paper":
            return read_lists(Path(self.lists) if self.lists else root)
        if rule == "random":
            return Lists(stratified({name: label_of_name(name) for name in found}, salt=seed))
        actors = disjoint(ACTORS, val=0.1, test=0.2, salt=seed)
        return Lists({name: actors[name[:4]] for name in found})


@dataclass(frozen=True)
class Lists:
    """What a user's lists say."""

    splits: dict[str, str] = field(default_factory=dict)
    """Clip -> split."""
    skipped: list[Skipped] = field(default_factory=list)


def canonical(stem: str) -> str:
    """Return the clip's name; early releases hold one file that ends with ``_X`` and not ``_XX``.

    Raises:
        BadFileError: If it is no name of a CREMA-D clip.

    Example:
        >>> canonical("1040_ITH_SAD_X")
        '1040_ITH_SAD_XX'
    """
    match = _NAME.fullmatch(stem)
    if not match:
        raise BadFileError(f"expected a name such as 1001_IEO_NEU_XX, got {stem}")
    if match[2] not in CODES:
        raise BadFileError(f"expected one of the emotions {', '.join(CODES)} in the name, got {match[2]}")
    if stem[:4] not in ACTORS:
        raise BadFileError(f"expected an actor from {ACTORS[0]} to {ACTORS[-1]} in the name, got {stem[:4]}")
    return match[1] + ("XX" if match[3] == "X" else match[3])


def label_of_name(name: str) -> int:
    """Return the label that a clip's name holds.

    Example:
        >>> label_of_name("1001_IEO_HAP_LO")
        1
    """
    return CODES.index(name.split("_")[2])


def label_of_text(text: str) -> int | None:
    """Return the label that a list means with 0 to 5, a code or a class name; None if it means nothing.

    Example:
        >>> label_of_text("3"), label_of_text("fea"), label_of_text("Fear"), label_of_text("joy")
        (3, 3, 3, None)
    """
    known = {key.lower(): label for names in (CODES, CLASSES, range(6)) for label, key in enumerate(map(str, names))}
    return known.get(text.lower())


def find_clips(root: Path) -> tuple[dict[str, Files], list[Skipped]]:
    """Return clip -> its files, and the files whose names say nothing; a partner that is missing is listed as well.

    Raises:
        DataError: If one of both folders is missing or has no file.
    """
    stems: dict[str, dict[str, str]] = {}
    skipped: list[Skipped] = []
    for modality in FOLDERS:
        stems[modality] = {}
        for file in _files(root, modality):
            stem = PurePosixPath(file).stem
            try:
                name = canonical(stem)
                if stems[modality].setdefault(name, file) != file:
                    raise BadFileError(f"a second file of {name}: {stems[modality][name]} is used")
            except BadFileError as error:
                skipped.append(Skipped(stem, file, str(error)))
    names = sorted(set().union(*stems.values()))
    return {name: {m: (stems[m].get(name, _expected(m, name)),) for m in FOLDERS} for name in names}, skipped


def published(root: Path) -> list[str]:
    """Return the names in the release's own list, or none if the root does not hold it.

    Raises:
        DataError: If the list has no column "Filename".
    """
    path = root / PUBLISHED
    if not path.is_file():
        return []
    rows = [cells for _, cells in read_csv(path)]
    header = rows[0] if rows else []
    if "Filename" not in header:
        got = ", ".join(header) or "none"
        raise DataError(f"Expected {path} to have the column Filename, but got {got}. Take it from the release again.")
    at = header.index("Filename")
    return [cells[at] for cells in rows[1:] if len(cells) > at]


def read_lists(folder: Path) -> Lists:
    """Return the splits of train.csv, test.csv and val.csv.

    Without val.csv, 10 % of every class of train.csv validate: the first ones by the SHA-256 of their names.

    Raises:
        DataError: If a list is missing, a label unknown, or a clip is listed twice.
    """
    found = Lists()
    for split in SPLITS:
        path = folder / f"{split}.csv"
        if split != "val" or path.is_file():
            _add(found, split, path)
    if "val" not in found.splits.values():
        train = {name: label_of_name(name) for name, split in found.splits.items() if split == "train"}
        found.splits.update(dict.fromkeys(hold_out(train, 0.1), "val"))
    return found


def _add(found: Lists, split: str, path: Path) -> None:
    entries = [(PurePosixPath(name).stem, text) for name, text in read_list(path)]
    if unknown := [f"{name} {text!r}" for name, text in entries if label_of_text(text) is None]:
        known = f"0 to 5 or one of {', '.join(CODES)}"
        raise DataError(f"Expected labels {known} in {path}, but got {_some(unknown)}. Correct the list.")
    twice = []
    for stem, text in entries:
        try:
            name = canonical(stem)
        except BadFileError as error:
            found.skipped.append(Skipped(stem, path.name, str(error)))
            continue
        label = label_of_text(text)
        if name in found.splits:
            twice.append(name)
        elif label != label_of_name(name):
            reason = f"expected label {CODES[label_of_name(name)]} as in its name, but the list says {text}"
            found.skipped.append(Skipped(name, path.name, reason))
        else:
            found.splits[name] = split
    if twice:
        raise DataError(f"Expected every clip in one list, but got {_some(twice)} again in {path}. Correct the lists.")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _files(root: Path, modality: str) -> list[str]:
    folder, suffix = FOLDERS[modality]
    layout = f"AudioWAV/*.wav and VideoFlash/*.flv (got no {folder}/*{suffix})"
    try:
        paths = [path.name for path in (root / folder).iterdir() if path.suffix.lower() == suffix]
    except FileNotFoundError:
        paths = []
    except OSError as error:
        raise DataError(f"Expected to read {root / folder}, but got: {error.strerror}. Check the path.") from error
    if not paths:
        raise DataError(f"Expected {root} to hold {layout}. Give the folder of the CREMA-D release as --root.")
    return [f"{folder}/{name}" for name in sorted(paths, key=lambda name: (-len(name), name))]


def _expected(modality: str, name: str) -> str:
    folder, suffix = FOLDERS[modality]
    return f"{folder}/{name}{suffix}"


def _actors(clips: Sequence[Clip]) -> dict[str, int]:
    return {split: len({clip.group for clip in clips if clip.split == split}) for split in SPLITS}
