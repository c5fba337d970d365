"""The lists of UCF-101, HMDB51 and MultiOOD: which clip is of which class and split. No torch in here.

Soomro, Zamir, Shah: "UCF101: A dataset of 101 human actions classes from videos in the wild", CRCV-TR-12-01.
Kuehne, Jhuang, Garrote, Poggio, Serre: "HMDB: A large video database for human motion recognition", ICCV 2011.
Dong, Zhao, Chatzi, Fink: "MultiOOD: Scaling out-of-distribution detection for multiple modalities", NeurIPS 2024.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from rollingq.data.prepare.source import SPLITS
from rollingq.data.sources.splits import classes_of, hold_out, read_text
from rollingq.errors import DataError

Classes = Literal["all", "near", "far"]
Part = Literal["id", "ood"]
UCF_VAL_GROUPS = ("24", "25")
"""Groups of the training lists that validate: no official test list holds them."""
HMDB_VAL_SHARE = 0.1
_HMDB_SPLITS = {"0": "", "1": "train", "2": "test"}
_UCF_NAME = re.compile(r"v_(.+)_g(\d+)_c\d+")
_LAST_NEAR = {"ucf101": "knitting", "hmdb51": "pick"}
"""MultiOOD's last in-distribution class, in alphabetical order: 50 of 101 and 25 of 51."""
_FAR_LEFT_OUT = {
    "hmdb51": {"chew", "climb_stairs", "drink", "eat", "pick", "pour", "ride_horse", "run"},
    "ucf101": {
        "Archery", "BaseballPitch", "Basketball", "Biking", "BoxingPunchingBag", "BoxingSpeedBag", "BreastStroke",
        "CliffDiving", "CricketShot", "CuttingInKitchen", "Diving", "Fencing", "FloorGymnastics", "FrontCrawl",
        "HammerThrow", "HandstandPushups", "HandstandWalking", "HighJump", "HorseRace", "HorseRiding", "JavelinThrow",
        "LongJump", "Mixing", "PullUps", "Punch", "PushUps", "RockClimbingIndoor", "RopeClimbing", "SoccerJuggling",
        "SoccerPenalty", "ThrowDiscus", "TrampolineJumping", "WalkingWithDog", "WallPushups",
    },
}  # fmt: skip
"""Classes that MultiOOD's far setting leaves out, read off its lists; it has 43 of HMDB51 in, 67 of UCF-101 out."""


@dataclass(frozen=True)
class Listed:
    """One clip of a list.

    Attributes:
        file: As listed: ``Class/name.avi`` or ``name.avi``.
        action: Its class.
        split: "train", "val", "test", or empty for a clip that the official split does not use.
        group: Its source video; empty if unknown.
    """

    file: str
    action: str
    split: str
    group: str

    @property
    def name(self) -> str:
        """Return class and file name without its suffix."""
        return f"{self.action}/{PurePosixPath(self.file).stem}"


@dataclass(frozen=True)
class Listing:
    """What the lists say: classes by label, clips, and how they were made."""

    classes: tuple[str, ...]
    clips: tuple[Listed, ...]
    notes: dict[str, Any] = field(default_factory=dict)


def ucf_group(file: str, action: str) -> str:
    """Return the source video of a UCF-101 clip: groups are counted per class.

    Example:
        >>> ucf_group("Archery/v_Archery_g08_c01.avi", "Archery")
        'Archery_g08'
    """
    match = _UCF_NAME.fullmatch(PurePosixPath(file).stem)
    return f"{action}_g{match[2]}" if match else ""


def hmdb_group(file: str, action: str) -> str:
    """Return the source video of an HMDB51 clip: its name before the tag of its class. Classes share sources.

    Example:
        >>> hmdb_group("clap/The_Slow_Clap_clap_u_nm_np1_fr_med_24.avi", "clap")
        'The_Slow_Clap'
    """
    return PurePosixPath(file).stem.rpartition(f"_{action}_")[0]


def ucf_official(folder: Path, number: int) -> Listing:
    """Return an official split of UCF-101; groups 24 and 25 of its training list validate.

    Args:
        folder: With classInd.txt, trainlist01.txt and testlist01.txt.
        number: Of the split, 1 to 3.

    Raises:
        DataError: If a list is missing or damaged.
    """
    classes = _class_index(folder / "classInd.txt")
    labels = {name: label for label, name in enumerate(classes)}
    train = list(_ucf_clips(folder / f"trainlist{number:02d}.txt", "train", labels))
    test = _ucf_clips(folder / f"testlist{number:02d}.txt", "test", labels)
    held = (replace(clip, split="val") if clip.group.endswith(UCF_VAL_GROUPS) else clip for clip in train)
    notes = {"validation": f"groups {' and '.join(UCF_VAL_GROUPS)} of the official training list"}
    return Listing(classes, (*held, *test), notes)


def hmdb_official(folder: Path, number: int) -> Listing:
    """Return an official split of HMDB51; about a tenth of every class's training sources validates.

    A source video counts for the class that most of its clips have, so that all its training clips stay together.

    Args:
        folder: With files such as brush_hair_test_split1.txt.
        number: Of the split, 1 to 3.

    Raises:
        DataError: If there is no list, or one is damaged.
    """
    ending = f"_test_split{number}.txt"
    classes = tuple(sorted(path.name.removesuffix(ending) for path in folder.glob(f"*{ending}")))
    if not classes:
        raise DataError(f"Expected {folder} to hold files such as brush_hair{ending}, but got none; {_ADVICE}")
    clips = [clip for name in classes for clip in _hmdb_clips(folder / f"{name}{ending}", name)]
    training = [(c.group, classes.index(c.action)) for c in clips if c.split == "train" and c.group]
    held = hold_out(classes_of(training), HMDB_VAL_SHARE)
    val = (replace(clip, split="val") if clip.split == "train" and clip.group in held else clip for clip in clips)
    notes = {
        "validation": f"{HMDB_VAL_SHARE:.0%} of each class's source videos in the official training list, by SHA-256",
        "unused": sum(not clip.split for clip in clips),
    }
    return Listing(classes, tuple(val), notes)


def text_lists(folder: Path, prefix: str, classes: Classes, part: Part, group_of: Callable[[str, str], str]) -> Listing:
    """Return the clips of text files such as train.txt or MultiOOD's HMDB_train_near_ood.txt.

    A line is a path and a label. A file is found by the words of its name: "train", "val" and "test"; with ``part``
    "ood" the one with "ood" and none of these. Of several, those of the dataset are kept, then those with the word
    "near", or without it. Labels of "ood" are counted anew from 0.

    Args:
        folder: Of the text files.
        prefix: The dataset's word in MultiOOD's names, such as "hmdb".
        classes: "near" for MultiOOD's near setting.
        part: "id" for three splits, "ood" for one list of other classes.
        group_of: From path and class to the source video.

    Raises:
        DataError: If a file is missing, not the only one, or damaged.
    """
    wanted = ("test",) if part == "ood" else SPLITS
    lines = [(split, *line) for split in wanted for line in _labelled(_find_list(folder, split, prefix, classes, part))]
    names = _names_by_label(lines, folder)
    if part == "id" and set(names) != set(range(len(names))):
        missing = min(set(range(max(names))) - set(names))
        raise DataError(
            f"Expected the lists of {folder} to use labels 0 to {max(names)}, but got no clip of label {missing}; "
            "count the labels from 0 without a gap."
        )
    clips = (Listed(file, names[label], split, group_of(file, names[label])) for split, file, label in lines)
    return Listing(tuple(names[label] for label in sorted(names)), tuple(clips), {"validation": "as listed"})


def choose(listing: Listing, dataset: str, classes: Classes, part: Part) -> Listing:
    """Return the clips that are used of an official split: of some classes, or all clips of the others as "test".

    Args:
        listing: Of all classes.
        dataset: "ucf101" or "hmdb51".
        classes: "all"; "near" as MultiOOD, the first 50 or 25 classes in alphabetical order against the others; "far",
            as MultiOOD's lists, 43 classes of HMDB51 ("id") against 67 classes of UCF-101 ("ood").
        part: "id" or "ood".
    """
    names = tuple(name for name in listing.classes if _is_chosen(name, dataset, classes, part))
    clips = (clip for clip in listing.clips if clip.action in names)
    if part == "ood":
        clips = (replace(clip, split="test") for clip in clips)
    notes = {} if classes == "all" else {"classes": f"{classes}, {part}: those of MultiOOD's lists, all official clips"}
    return Listing(names, tuple(clip for clip in clips if clip.split), listing.notes | notes)


def check_unique(clips: Sequence[Listed]) -> None:
    """Raise DataError if a clip is listed twice."""
    seen: dict[str, str] = {}
    for clip in clips:
        if clip.name in seen:
            raise DataError(
                f"Expected every clip once in the lists, but got {clip.name} twice ({seen[clip.name]} and "
                f"{clip.split or 'unused'}); remove one of its lines."
            )
        seen[clip.name] = clip.split or "unused"


_ADVICE = "give the folder of the lists as the option lists."


def _is_chosen(name: str, dataset: str, classes: Classes, part: Part) -> bool:
    if classes == "near":
        return (name.lower() <= _LAST_NEAR[dataset]) == (part == "id")
    return classes == "all" or name not in _FAR_LEFT_OUT[dataset]


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return number and text of every line that is not blank; a list without any is no list."""
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    if not lines:
        raise DataError(f"Expected {path} to be a list with one clip a line, but got no line; get the list anew.")
    return lines


def _bad_line(path: Path, number: int, expected: str, line: str) -> DataError:
    return DataError(f"Expected line {number} of {path} to be {expected}, but got {line[:80]!r}; get the list anew.")


def _class_index(path: Path) -> tuple[str, ...]:
    classes: list[str] = []
    for number, line in _lines(path):
        index, _, name = line.partition(" ")
        if index != str(len(classes) + 1) or not name:
            raise _bad_line(path, number, f"'{len(classes) + 1} Class'", line)
        classes.append(name)
    return tuple(classes)


def _ucf_clips(path: Path, split: str, labels: dict[str, int]) -> Iterator[Listed]:
    for number, line in _lines(path):
        file, _, index = line.partition(" ")
        action = PurePosixPath(file).parent.name
        group = ucf_group(file, action)
        if action not in labels or not group or index not in ("", str(labels[action] + 1)):
            raise _bad_line(path, number, "'Class/v_Class_g01_c01.avi' with the label of classInd.txt", line)
        yield Listed(file, action, split, group)


def _hmdb_clips(path: Path, action: str) -> Iterator[Listed]:
    for number, line in _lines(path):
        file, _, flag = line.rpartition(" ")
        if flag not in _HMDB_SPLITS or not file:
            raise _bad_line(path, number, "'name.avi' and 0, 1 or 2", line)
        yield Listed(f"{action}/{file.strip()}", action, _HMDB_SPLITS[flag], hmdb_group(file, action))


def _words(path: Path) -> list[str]:
    return re.split(r"[^a-z0-9]+", path.stem.lower())


def _find_list(folder: Path, split: str, prefix: str, classes: Classes, part: Part) -> Path:
    def fits(path: Path) -> bool:
        words = _words(path)
        return split in words if part == "id" else "ood" in words and not set(words) & set(SPLITS)

    found = sorted(path for path in folder.glob("*.txt") if fits(path))
    if len(found) > 1:
        found = [path for path in found if prefix in _words(path)] or found
    if len(found) > 1:
        found = [path for path in found if ("near" in _words(path)) == (classes == "near")] or found
    if len(found) != 1:
        word = split if part == "id" else "ood"
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(
            f"Expected one text file with the word {word!r} in its name in {folder}, but got {names}; "
            "give a folder with the lists of one setting as the option lists."
        )
    return found[0]


def _labelled(path: Path) -> Iterator[tuple[str, int]]:
    for number, line in _lines(path):
        file, _, label = line.rpartition(" ")
        if not label.isdecimal() or not file:
            raise _bad_line(path, number, "'path label' with a label of at least 0", line)
        yield file.strip().replace("\\", "/"), int(label)


def _names_by_label(lines: Iterable[tuple[str, str, int]], folder: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for _, file, label in lines:
        name = _class_of(file)
        if names.setdefault(label, name).lower() != name.lower():
            raise DataError(
                f"Expected label {label} to be one class in the lists of {folder}, but got {names[label]} and {name}; "
                "correct the label."
            )
    if not names or len({name.lower() for name in names.values()}) < len(names):
        raise DataError(
            f"Expected one label for each class in the lists of {folder}, but got {_shown(names)}; correct the lists."
        )
    return names


def _class_of(file: str) -> str:
    path = PurePosixPath(file)
    match = _UCF_NAME.fullmatch(path.stem)
    return match[1] if match else path.parent.name or path.stem


def _shown(names: dict[int, str]) -> str:
    return ", ".join(f"{label} {name}" for label, name in sorted(names.items())[:5]) or "no line"
