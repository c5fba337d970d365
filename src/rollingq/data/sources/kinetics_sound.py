"""Kinetics-Sounds: the clips of Kinetics-400 of 31 actions that can be heard and seen. No torch in here.

Arandjelovic, Zisserman: "Look, listen and learn", ICCV 2017 (34 classes of an earlier Kinetics); the 31 classes that
Kinetics-400 holds of them are those that the field uses. Kay et al.: "The Kinetics human action video dataset", 2017.
Labels are the places in the sorted list of names; the index maps of other works are not published.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from rollingq.data.prepare.source import PLACE, Arrays, BadFileError, Clip, Plan, Skipped
from rollingq.data.raw.decoding import NoSoundError
from rollingq.data.sources.audio_visual import AudioVisual, SilentError, files_below
from rollingq.data.sources.splits import at_lines, classes_of, hold_out, overlap, parse_split, read_csv, stratified
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError, unknown_name

_INSTRUMENTS = (
    "accordion", "bagpipes", "bass guitar", "clarinet", "drums", "guitar", "harmonica", "keyboard", "organ", "piano",
    "saxophone", "trombone", "trumpet", "violin", "xylophone",
)  # fmt: skip
CLASSES = (
    "blowing nose", "blowing out candles", "bowling", "chopping wood", "dribbling basketball", "laughing",
    "mowing lawn", *(f"playing {instrument}" for instrument in _INSTRUMENTS), "ripping paper", "shoveling snow",
    "shuffling cards", "singing", "stomping grapes", "tap dancing", "tapping guitar", "tapping pen", "tickling",
)  # fmt: skip
POOLS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "valid": "val", "test": "test"}
"""How Kinetics and its mirrors call its parts."""
SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
NO_SOUND = "no sound"
_LAYOUT = (
    "the folders train, val and test with a folder for each class, or Kinetics' csv lists beside the videos "
    "(youtube id, start and end in the name, such as abcdefghijk_000010_000020.mp4)"
)
_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")
_STEM = re.compile(rf"({_VIDEO.pattern})_(\d{{6}})_(\d{{6}})")


@dataclass(frozen=True)
class Entry:
    """One clip before it has a split."""

    name: str
    video: str
    """The YouTube id, or the file's name if it holds none."""
    label: str
    pool: str
    """Kinetics' own part: "train", "val", "test", or empty if unknown."""
    file: str = ""
    start: float = 0.0
    end: float = 0.0


@dataclass(frozen=True)
class KineticsSound(AudioVisual):
    """Kinetics-Sounds from the videos of Kinetics-400: 10 s of sound and three frames, in 31 classes.

    Example:
        >>> KineticsSound().modalities()["audio"].shape, len(CLASSES), list(CLASSES) == sorted(CLASSES)
        ((1, 257, 1004), 31, True)
    """

    name = "kinetics_sound"
    seconds = 10.0

    num_frames: int = 3
    """Frames of a sample, spread evenly over the clip."""
    split: str = "kinetics"
    """Who trains and tests: "kinetics" (its train part trains, 10 % of the videos of every class of it validate; its
    val part and its test part, where labelled, test) or "hash:SEED" (80/10/10 of the videos of every class)."""
    no_sound: Literal["skip", "mask"] = "skip"
    """Clips without a sound track or with a silent one: left out and named, or kept with the audio masked."""
    lists: str = field(default="", metadata={PLACE: True})
    """Folder of Kinetics' csv lists; if empty, those in the root and its folder annotations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_split(self.split, plain=["kinetics"], seeded=["hash"])
        if self.no_sound not in ("skip", "mask"):
            raise DataError(unknown_name("no_sound", self.no_sound, ["skip", "mask"]))

    def modalities(self) -> dict[str, ModalitySpec]:
        """Return the form of both modalities; the audio has a mask if clips without sound are kept."""
        specs = super().modalities()
        return {**specs, "audio": replace(specs["audio"], has_mask=self.no_sound == "mask")}

    def plan(self, root: Path) -> Plan:
        """Return the clips of the 31 classes, by name.

        Raises:
            DataError: If the root holds none of them, or a list cannot be used.
        """
        files = find_videos(root)
        lists = find_lists(Path(self.lists) if self.lists else root, named=bool(self.lists))
        entries, notes = from_lists(lists, files) if lists else from_folders(files)
        ours = sorted((entry for entry in entries if entry.label in CLASSES), key=lambda entry: entry.name)
        present = [entry for entry in ours if entry.file]
        if not present:
            raise DataError(f"Expected {root} to hold {_LAYOUT}, but got no video of the 31 classes. Check --root.")
        kept, skipped = without_twins(present)
        splits, rule = split_of(kept, self.split)
        clips = [_clip(entry, splits[entry.video, entry.pool]) for entry in kept]
        absent = sorted({entry.name for entry in ours if not entry.file} - {entry.name for entry in kept})
        notes = {**notes, **_notes(entries, clips), "split": rule}
        return Plan(CLASSES, self.modalities(), clips, skipped, absent, notes)

    def read(self, clip: Clip, root: Path) -> Arrays:
        """Return one sample; without sound it has no audio, or is refused, as the option ``no_sound`` says."""
        arrays: Arrays = {}
        try:
            arrays["audio"] = self.audio(clip, root)
        except (NoSoundError, SilentError) as error:
            if self.no_sound == "skip":
                reason = NO_SOUND if isinstance(error, NoSoundError) else f"{NO_SOUND}: every sample is zero"
                raise BadFileError(reason, error.file) from error
        return {**arrays, "visual": self.visual(clip, root)}


def find_videos(root: Path) -> list[str]:
    """Return the paths of all videos below the root, sorted, and of folders that are named like one.

    Raises:
        DataError: If the root is no folder.
    """
    if not root.is_dir():
        raise DataError(f"Expected --root to hold {_LAYOUT}, but got {root}, which is no folder. Check the path.")
    return [file for file in files_below(root, SUFFIXES) if PurePosixPath(file).suffix.lower() in SUFFIXES]


def find_lists(folder: Path, *, named: bool) -> list[Path]:
    """Return Kinetics' csv lists in a folder and its folder "annotations"; csv files of other things are passed over.

    Raises:
        DataError: If a file that should be a list has other columns, or the user named the folder and it holds none.
    """
    found = []
    for path in sorted([*folder.glob("*.csv"), *folder.glob("annotations/*.csv")]):
        header = _header(path)
        if set(COLUMNS[1:4]) <= set(header):
            found.append(path)
        elif path.parent.name == "annotations" or re.split(r"[\W_]", path.stem.lower())[-1] in POOLS:
            got = repr(",".join(header)[:40])
            advice = "Fetch the list again, or move it away if it is none"
            raise DataError(f"Expected {path} to have the columns {', '.join(COLUMNS)}, but got {got}. {advice}.")
    if named and not found:
        raise DataError(f"Expected {folder} to hold csv lists with the columns {', '.join(COLUMNS)}, but got none.")
    return found


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return [cell.strip(' "\n') for cell in file.readline(4096).split(",")]
    except OSError as error:
        raise DataError(f"Expected to read the list {path}, but got: {error.strerror}. Check the path.") from error


def parse_stem(stem: str) -> tuple[str, str]:
    """Return a file's clip name and its video: the YouTube id where the name has Kinetics' form.

    Example:
        >>> parse_stem("_a-defghijk_000010_000020")
        ('_a-defghijk_000010_000020', '_a-defghijk')
    """
    match = _STEM.fullmatch(stem)
    return stem, match[1] if match else stem


def from_folders(files: Iterable[str]) -> tuple[list[Entry], dict[str, object]]:
    """Return the clips of ``pool/class/clip.mp4`` or ``class/clip.mp4``; class folders may have underscores.

    Example:
        >>> from_folders(["validate/tapping_pen/abcdefghijk_000001_000011.mp4"])[0][0].pool
        'val'
    """
    entries, others = [], 0
    for file in files:
        parts = PurePosixPath(file).parts
        pool = POOLS.get(parts[0], "") if len(parts) == 3 else ""
        if len(parts) == 2 or pool:
            name, video = parse_stem(PurePosixPath(file).stem)
            entries.append(Entry(name, video, parts[-2].replace("_", " "), pool, file))
        else:
            others += 1
    return entries, {"layout": "folders", "videos outside of the layout": others}


def from_lists(lists: Sequence[Path], files: Iterable[str]) -> tuple[list[Entry], dict[str, object]]:
    """Return the clips of Kinetics' csv lists with their files: ``id_start_end``, or the whole video ``id`` to cut.

    Raises:
        DataError: If a line of a list is damaged.
    """
    by_stem: dict[str, str] = {}
    for file in files:
        by_stem.setdefault(PurePosixPath(file).stem, file)
    rows = list(dict.fromkeys(row for path in lists for row in read_rows(path)))
    entries = [_with_file(row, by_stem) for row in rows if row.label]
    unlisted = set(by_stem) - {PurePosixPath(entry.file).stem for entry in entries}
    notes = {"layout": "lists", "unlisted videos": len(unlisted), "unlabelled rows": len(rows) - len(entries)}
    return entries, notes


def read_rows(path: Path) -> Iterator[Entry]:
    """Yield the entries of one csv list; a list without the column "split" is of the part that its name says.

    Raises:
        DataError: If there is no line, or ids, times or parts are not of Kinetics' form.
    """
    (_, header), *lines = read_csv(path)
    if not lines:
        raise DataError(f"Expected {path} to hold clips, but got a header alone. Fetch the list again.")
    entries, wrong = [], []
    for number, cells in lines:
        try:
            entries.append(_entry(dict(zip(header, cells, strict=False)), path.stem))
        except (KeyError, ValueError, OverflowError):
            wrong.append(number)
    if wrong:
        form = "an id of 11 characters, start and end in whole seconds, and a split of train, validate or test"
        raise DataError(f"Expected {path} to hold {form}, but got other values in {at_lines(wrong)}. Mend the list.")
    yield from entries


def without_twins(entries: Iterable[Entry]) -> tuple[list[Entry], list[Skipped]]:
    """Return the entries with every name once, and those left out: the first in the order of paths stays."""
    kept: dict[str, Entry] = {}
    skipped = []
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.file, entry.pool)):
        first = kept.setdefault(entry.name, entry)
        if first is not entry:
            reason = f"the same clip again; kept as {first.label} of {first.pool or 'no part'} in {first.file}"
            skipped.append(Skipped(entry.name, entry.file, reason))
    return list(kept.values()), skipped


def split_of(entries: Sequence[Entry], option: str) -> tuple[dict[tuple[str, str], str], str]:
    """Return (video, pool) -> split, and the rule that was used.

    Where only one of Kinetics' parts is there, "kinetics" cannot be followed and "hash:0" is used; the rule says so.

    Args:
        entries: The clips.
        option: "kinetics" or "hash:SEED".
    """
    rule, seed = parse_split(option, plain=["kinetics"], seeded=["hash"])
    units = {(entry.video, entry.pool) for entry in entries}
    pools = {pool for _, pool in units}
    if rule == "kinetics" and "train" in pools and pools & {"val", "test"}:
        train = classes_of((e.video, CLASSES.index(e.label)) for e in entries if e.pool == "train")
        held = hold_out(train, 0.1)
        return {unit: "test" if unit[1] != "train" else "val" if unit[0] in held else "train" for unit in units}, option
    splits = stratified(classes_of((e.video, CLASSES.index(e.label)) for e in entries), salt=seed)
    only = ", ".join(sorted(pools - {""})) or "no part"
    said = option if rule == "hash" else f"hash:0, for the root holds {only} of Kinetics alone"
    return {unit: splits[unit[0]] for unit in units}, said


def _entry(row: Mapping[str, str], stem: str) -> Entry:
    video, start, end = row["youtube_id"], int(float(row["time_start"])), int(float(row["time_end"]))
    if not _VIDEO.fullmatch(video) or not 0 <= start < end:
        raise ValueError(video)
    pool = POOLS[row.get("split", stem).lower()]
    label = row.get("label", "").replace("_", " ")
    return Entry(f"{video}_{start:06d}_{end:06d}", video, label, pool, start=float(start), end=float(end))


def _with_file(row: Entry, by_stem: Mapping[str, str]) -> Entry:
    if file := by_stem.get(row.name):
        return replace(row, file=file, start=0.0, end=0.0)
    return replace(row, file=by_stem.get(row.video, ""))


def _clip(entry: Entry, split: str) -> Clip:
    files = {"audio": (entry.file,), "visual": (entry.file,)}
    label = CLASSES.index(entry.label)
    return Clip(entry.name, split, label, files, group=entry.video, start=entry.start, end=entry.end)


def _notes(entries: Sequence[Entry], clips: Sequence[Clip]) -> dict[str, object]:
    others = Counter(entry.label for entry in entries if entry.label not in CLASSES)
    found = {clip.label for clip in clips}
    return {
        "overlap": overlap((clip.split, clip.group) for clip in clips),
        "other classes": {"classes": len(others), "clips": others.total()},
        "classes without clips": [name for label, name in enumerate(CLASSES) if label not in found],
    }
