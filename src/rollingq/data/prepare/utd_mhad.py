"""UTD-MHAD: read the raw MATLAB files of its three modalities and write them as shards of equal length.

Chen, Jafari, Kehtarnavaz: "UTD-MHAD: A multimodal dataset for human action recognition utilizing a depth camera and
a wearable inertial sensor", ICIP 2015. Odd subjects train and even subjects test, as its authors do.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Literal

import numpy as np

from rollingq.data.normalise import statistics_of
from rollingq.data.prepare.features import MODALITIES, Recipe, features
from rollingq.data.prepare.matlab import BadFileError, read_modality
from rollingq.data.prepare.shards import PrepareSummary, Skipped, refuse_foreign, write_folder
from rollingq.data.shards import Arrays
from rollingq.errors import DataError, MissingExtraError

NAME = "utd_mhad"
CLASSES = (
    "swipe_left", "swipe_right", "wave", "clap", "throw", "arm_cross", "basketball_shoot", "draw_x",
    "draw_circle_clockwise", "draw_circle_counter_clockwise", "draw_triangle", "bowling", "boxing", "baseball_swing",
    "tennis_swing", "arm_curl", "tennis_serve", "push", "knock", "catch", "pickup_and_throw", "jog", "walk",
    "sit_to_stand", "stand_to_sit", "lunge", "squat",
)  # fmt: skip
SUBJECTS = {"train": (1, 3, 5), "val": (7,), "test": (2, 4, 6, 8)}
"""The last odd subject is held out to choose settings with; the rule was fixed before any training."""
NEVER_PUBLISHED = {"a8_s1_t4", "a23_s6_t4", "a27_s8_t4"}
_FILE = re.compile(r"(a\d+_s\d+_t\d+)_(depth|inertial|skeleton)\.mat")
Progress = Callable[[int, int], None]
Outcome = tuple[dict[str, np.ndarray], None] | tuple[None, Skipped]


@dataclass(frozen=True)
class Recording:
    """One performance of one action: three files of the same name."""

    action: int
    subject: int
    trial: int

    @property
    def name(self) -> str:
        """Return the name as in the files."""
        return f"a{self.action}_s{self.subject}_t{self.trial}"

    @property
    def split(self) -> str:
        """Return the split of its subject."""
        return next(split for split, subjects in SUBJECTS.items() if self.subject in subjects)

    def file(self, modality: str) -> str:
        """Return the path of one modality below the root."""
        return f"{modality.capitalize()}/{self.name}_{modality}.mat"


def published() -> list[Recording]:
    """Return the 861 recordings of the published dataset, by action, subject and trial.

    Example:
        >>> len(published())
        861
    """
    grid = (Recording(a, s, t) for a in range(1, 28) for s in range(1, 9) for t in range(1, 5))
    return [recording for recording in grid if recording.name not in NEVER_PUBLISHED]


def find_recordings(root: Path) -> list[Recording]:
    """Return the recordings of which the root holds at least one file.

    Raises:
        DataError: If the root is missing, cannot be read, or holds no recording.
    """
    layout = "the folders Depth, Inertial and Skeleton with files such as Inertial/a1_s1_t1_inertial.mat"
    advice = "Give the folder of the unpacked UTD-MHAD as --root."
    if not root.is_dir():
        raise DataError(f"Expected --root to hold {layout}, but got {root}, which is no folder. {advice}")
    try:
        names = {match[1] for match in _matches(root)}
    except OSError as error:
        raise DataError(f"Expected to read {root}, but got: {error.strerror}. Check its permissions.") from error
    found = [recording for recording in published() if recording.name in names]
    if not found:
        raise DataError(f"Expected {root} to hold {layout}, but got no recording. {advice}")
    return found


def read_recording(recording: Recording, root: Path, recipe: Recipe) -> Outcome:
    """Return the features by modality, or why the recording has to be skipped."""
    arrays = {}
    for modality in MODALITIES:
        file = recording.file(modality)
        try:
            arrays[modality] = features(modality, read_modality(root / file, modality), recipe)
        except BadFileError as error:
            return None, Skipped(recording.name, file, str(error))
    return arrays, None


def prepare(
    *,
    root: Path,
    out: Path,
    on_progress: Progress | None = None,
    workers: int | None = None,
    on_error: Literal["skip", "raise"] = "skip",
    recipe: Recipe | None = None,
) -> PrepareSummary:
    """Read every recording below ``root`` and write shards of "train", "val" and "test" into ``out``.

    Args:
        root: Folder with Depth, Inertial and Skeleton.
        out: Folder to make; an earlier prepared folder of UTD-MHAD is replaced, anything else is left alone.
        on_progress: Called with recordings done and in all.
        workers: Processes that read files; as many as there are cores if None, no extra process if 1.
        on_error: "skip" writes the sound recordings and names the others; "raise" writes nothing if any is damaged.
        recipe: Lengths and sizes of the features.

    Raises:
        DataError: If there is no recording to read, ``out`` is in use, no training recording is sound, or a
            recording is damaged and ``on_error`` is "raise".
    """
    _require_scipy()
    recipe = recipe or Recipe()
    refuse_foreign(out, NAME)
    found = find_recordings(root)
    outcomes = list(_progress(_read_all(found, root, recipe, workers or cpu_count() or 1), len(found), on_progress))
    skipped = tuple(skip for _, skip in outcomes if skip is not None)
    if skipped and on_error == "raise":
        listed = "; ".join(f"{skip.file}: {skip.reason}" for skip in skipped)
        raise DataError(f"Expected {len(found)} sound recordings, but got {len(skipped)} damaged ({listed}).")
    sound = [(r, arrays) for r, (arrays, _) in zip(found, outcomes, strict=True) if arrays is not None]
    absent = tuple(sorted({r.name for r in published()} - {r.name for r in found}))
    return _write(out, sound, recipe, skipped, absent)


def _write(
    out: Path,
    sound: Sequence[tuple[Recording, dict[str, np.ndarray]]],
    recipe: Recipe,
    skipped: tuple[Skipped, ...],
    absent: tuple[str, ...],
) -> PrepareSummary:
    groups = {split: [pair for pair in sound if pair[0].split == split] for split in SUBJECTS}
    if not groups["train"]:
        reasons = "; ".join(f"{skip.file}: {skip.reason}" for skip in skipped[:3]) or "none was found"
        raise DataError(f"Expected sound recordings of subjects {SUBJECTS['train']}, but got none ({reasons}).")
    shards = {split: _stack(pairs, recipe) for split, pairs in groups.items()}
    counts = {split: _per_class(recording for recording, _ in pairs) for split, pairs in groups.items()}
    manifest = {
        "dataset": NAME,
        "classes": list(CLASSES),
        "modalities": {m: dict(zip(("length", "dim"), recipe.form(m), strict=True)) for m in MODALITIES},
        "recipe": {**asdict(recipe), "subjects": SUBJECTS},
        "statistics": {m: _statistics(shards["train"][m], shared=m == "depth") for m in MODALITIES},
        "versions": {package: version(package) for package in ("rollingq", "numpy", "scipy", "safetensors")},
        "splits": {
            split: {"count": len(pairs), "per_class": counts[split], "names": [r.name for r, _ in pairs]}
            for split, pairs in groups.items()
        },
        "skipped": [asdict(skip) for skip in skipped],
        "absent": list(absent),
    }
    write_folder(out, shards, manifest)
    return PrepareSummary(NAME, str(out), counts, skipped, absent)


def _matches(root: Path) -> Iterator[re.Match[str]]:
    folders = [root / modality.capitalize() for modality in MODALITIES]
    files = (path.name for folder in folders if folder.is_dir() for path in folder.iterdir())
    return (match for match in map(_FILE.fullmatch, files) if match)


def _read_all(found: Sequence[Recording], root: Path, recipe: Recipe, workers: int) -> Iterator[Outcome]:
    read = partial(read_recording, root=root, recipe=recipe)
    if workers == 1:
        yield from map(read, found)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(read, found, chunksize=8)


def _progress(outcomes: Iterable[Outcome], total: int, on_progress: Progress | None) -> Iterator[Outcome]:
    for done, outcome in enumerate(outcomes, 1):
        if on_progress is not None:
            on_progress(done, total)
        yield outcome


def _stack(pairs: Sequence[tuple[Recording, dict[str, np.ndarray]]], recipe: Recipe) -> Arrays:
    arrays: Arrays = {"label": np.array([recording.action - 1 for recording, _ in pairs], np.int64)}
    for modality in MODALITIES:
        empty = np.zeros((0, *recipe.form(modality)), np.float32)
        arrays[modality] = np.stack([features[modality] for _, features in pairs]) if pairs else empty
    return arrays


def _per_class(recordings: Iterable[Recording]) -> dict[str, int]:
    counts = Counter(recording.action for recording in recordings)
    return {name: counts[action] for action, name in enumerate(CLASSES, 1)}


def _statistics(array: np.ndarray, *, shared: bool) -> dict[str, list[float]]:
    statistics = statistics_of(array, shared=shared)
    return {"mean": statistics.mean.tolist(), "std": statistics.std.tolist()}


def _require_scipy() -> None:
    try:
        import scipy.io  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("scipy", "lab") from error
