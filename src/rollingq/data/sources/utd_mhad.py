"""UTD-MHAD: the raw MATLAB files of its three modalities as token sequences of equal length.

Chen, Jafari, Kehtarnavaz: "UTD-MHAD: A multimodal dataset for human action recognition utilizing a depth camera and
a wearable inertial sensor", ICIP 2015. Odd subjects train and even subjects test, as its authors do.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rollingq.data.prepare.source import Arrays, BadFileError, Clip, Plan, Source
from rollingq.data.raw.matlab import read_modality
from rollingq.data.sources.utd_features import MODALITIES, Recipe, features
from rollingq.data.sources.utd_flow import depth_flow
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError, MissingExtraError

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


@dataclass(frozen=True)
class UTDMHAD(Source):
    """UTD-MHAD from the folder that holds Depth, Inertial and Skeleton."""

    name = "utd_mhad"
    max_rows = 64

    depth: Literal["nearness", "flow"] = "nearness"
    """What depth video becomes: how near the body is, or its optical flow (then the modality is called "flow")."""

    def plan(self, root: Path) -> Plan:
        """Return the published recordings of which the root holds a file."""
        _require_scipy()
        found = find_recordings(root)
        absent = sorted({r.name for r in published()} - {r.name for r in found})
        notes = {"features": asdict(Recipe()), "subjects": SUBJECTS}
        clips = [self._clip(recording) for recording in found]
        return Plan(CLASSES, self._specs(), clips, absent=absent, notes=notes)

    def read(self, clip: Clip, root: Path) -> Arrays:
        """Return the tokens of every modality."""
        recipe, sample = Recipe(), {}
        for modality, (file,) in clip.files.items():
            raw = "depth" if modality == "flow" else modality
            try:
                array = read_modality(root / file, raw)
                sample[modality] = _flow(array, recipe) if modality == "flow" else features(raw, array, recipe)
            except BadFileError as error:
                raise BadFileError(str(error), file) from error
        return sample

    def _specs(self) -> dict[str, ModalitySpec]:
        specs = {name: ModalitySpec(Recipe().form(name), statistics="feature") for name in MODALITIES}
        specs["depth"] = ModalitySpec(Recipe().form("depth"), statistics="all")
        if self.depth == "nearness":
            return specs
        length, dim = Recipe().form("depth")
        flow = ModalitySpec((length, 2 * dim), statistics="all")
        return {"inertial": specs["inertial"], "flow": flow, "skeleton": specs["skeleton"]}

    def _clip(self, recording: Recording) -> Clip:
        files = {name: (recording.file("depth" if name == "flow" else name),) for name in self._specs()}
        return Clip(recording.name, recording.split, recording.action - 1, files, f"subject {recording.subject}")


def _flow(depth: np.ndarray, recipe: Recipe) -> np.ndarray:
    steps = depth_flow(depth, steps=recipe.depth_steps, height=recipe.depth_height, width=recipe.depth_width)
    length, dim = recipe.form("depth")
    return steps.reshape(length, 2 * dim)


def _matches(root: Path) -> Iterator[re.Match[str]]:
    folders = [root / modality.capitalize() for modality in MODALITIES]
    files = (path.name for folder in folders if folder.is_dir() for path in folder.iterdir())
    return (match for match in map(_FILE.fullmatch, files) if match)


def _require_scipy() -> None:
    try:
        import scipy.io  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("scipy", "lab") from error
