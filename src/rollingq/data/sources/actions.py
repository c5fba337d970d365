"""Short clips of actions with frames and optical flow: what UCF-101 and HMDB51 share. No torch in here."""

import os
import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from jaxtyping import UInt8

from rollingq.data.prepare.source import PLACE, Arrays, BadFileError, Clip, Plan, Skipped, Source
from rollingq.data.raw.flow import (
    cache_key,
    cached,
    check_count,
    default_cache,
    flow_of_video,
    frame_times,
    motion_of_image,
    motion_of_video,
    taken_frames,
)
from rollingq.data.raw.images import opencv
from rollingq.data.raw.media import read_frames
from rollingq.data.sources.action_lists import Classes, Listed, Listing, Part, check_unique, choose, text_lists
from rollingq.data.sources.audio_visual import naming, require_positive
from rollingq.data.sources.splits import overlap
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError, unknown_name

FlowKind = Literal["auto", "videos", "images", "computed"]
SUFFIXES = (".avi", ".mp4", ".mkv", ".webm")
SPLIT_NAMES = ("official:1", "official:2", "official:3", "lists")
SMALLEST = 16
"""Pixels that optical flow needs."""
_MOTION = re.compile(r"(.+)_flow_([xy])")
_IMAGE = re.compile(r"\D*(\d+)\.jpe?g", re.IGNORECASE)
_FLOW_LAYOUTS = {
    "videos": "files such as CLIP_flow_x.mp4 and CLIP_flow_y.mp4, in any folder",
    "images": "folders such as u/CLASS/CLIP and v/CLASS/CLIP with frame000001.jpg, or CLIP with flow_x_00001.jpg",
}


@dataclass(frozen=True)
class Found:
    """Paths below a root by the name of their clip in lower case: its videos, flow videos by axis, and folders."""

    videos: Mapping[str, Sequence[str]]
    motion: Mapping[tuple[str, str], Sequence[str]]
    folders: Mapping[str, Sequence[str]]


def find_files(root: Path, clips: Collection[str]) -> Found:
    """Return the files of clips, wherever they lie below the root; folders named as a clip are not entered.

    Args:
        root: Folder of the raw files.
        clips: Names without suffix, in lower case.

    Raises:
        DataError: If the root or a folder of it cannot be read.
    """
    videos, motion, folders = defaultdict(list), defaultdict(list), defaultdict(list)
    for folder, names, files in _walk(root):
        place = PurePosixPath(Path(folder).relative_to(root).as_posix())
        for name in files:
            stem, suffix = os.path.splitext(name.lower())
            if suffix not in SUFFIXES:
                continue
            if (match := _MOTION.fullmatch(stem)) and match[1] in clips:
                motion[match[1], match[2]].append(str(place / name))
            elif stem in clips:
                videos[stem].append(str(place / name))
        for name in [name for name in names if name.lower() in clips]:
            names.remove(name)
            folders[name.lower()].append(str(place / name))
    return Found(videos, motion, folders)


def image_pairs(root: Path, folders: Sequence[str]) -> list[tuple[str, str]]:
    """Return the flow images of one clip by their number, x and y, as paths below the root.

    Args:
        root: Folder of the raw files.
        folders: Two with images of the same numbers, or one with flow_x_00001.jpg and flow_y_00001.jpg.

    Raises:
        BadFileError: If there is no image, or one of a number between the first and the last is missing.
    """
    starts = ("", "") if len(folders) == 2 else ("flow_x_", "flow_y_")
    sides = [_numbered(root, *side) for side in zip((folders[0], folders[-1]), starts, strict=True)]
    numbers = sorted(sides[0].keys() | sides[1].keys())
    if not numbers:
        raise BadFileError("expected flow images such as frame000001.jpg, got none", folders[0])
    for number in range(numbers[0], numbers[-1] + 1):
        for axis, side, folder in zip("xy", sides, (folders[0], folders[-1]), strict=True):
            if number not in side:
                text = f"expected flow images {numbers[0]} to {numbers[-1]}, got no image {number} of {axis}"
                raise BadFileError(text, folder)
    return [(sides[0][number], sides[1][number]) for number in numbers]


@dataclass(frozen=True)
class Actions(Source, ABC):
    """Source of clips with the modalities "visual" (frames) and "flow".

    Attributes:
        layout: What the root holds, for messages.
        lists_folder: Name of the folder of the official lists.
        far_part: The part that this dataset plays in MultiOOD's far setting.
    """

    split: str = "official:1"
    """Which clips train, validate and test: "official:1" to "official:3", or "lists" for text files of your own."""
    classes: Classes = "all"
    """Which classes: "all", or "near" or "far" as in MultiOOD's settings of out-of-distribution detection."""
    part: Part = "id"
    """With "near" or "far": "id" for the classes to train with, "ood" for all clips of the others, as "test"."""
    num_frames: int = 3
    """Frames of a sample, spread evenly over the clip."""
    size: int = 224
    """Height and width of a frame in pixels."""
    frames_per_second: float = 5.0
    """How densely the frames to choose from lie in the video; clips of less than a second still have three."""
    flow: FlowKind = "auto"
    """Optical flow from "videos" (CLIP_flow_x.mp4), from "images" (u/CLASS/CLIP/frame000001.jpg) or "computed" here;
    "auto" takes the first of these that the root has for any clip."""
    lists: str = field(default="", metadata={PLACE: True})
    """Folder of the lists; by default the official name below the root, or the root with split "lists"."""
    flow_cache: str = field(default="", metadata={PLACE: True})
    """Folder that keeps computed flow; by default rollingq/flow below $XDG_CACHE_HOME or ~/.cache."""

    layout: ClassVar[str]
    lists_folder: ClassVar[str]
    far_part: ClassVar[Part]

    def __post_init__(self) -> None:
        known = {"split": SPLIT_NAMES, "classes": get_args(Classes), "part": get_args(Part), "flow": get_args(FlowKind)}
        for option, names in known.items():
            if getattr(self, option) not in names:
                raise DataError(unknown_name(option, getattr(self, option), names))
        require_positive({name: getattr(self, name) for name in ("num_frames", "size", "frames_per_second")})
        if self.size < SMALLEST:
            raise DataError(f"Expected size to be at least {SMALLEST}, but got {self.size}; flow needs as many pixels.")
        self._check_part()

    def _check_part(self) -> None:
        if self.split == "lists":
            return
        if self.part == "ood" and self.classes == "all":
            raise DataError("Expected classes 'near' or 'far' with part 'ood', but got 'all'; choose a setting.")
        if self.classes == "far" and self.part != self.far_part:
            raise DataError(
                f"Expected part {self.far_part!r} of {self.name} with classes 'far', but got {self.part!r}; MultiOOD's "
                "far setting trains with HMDB51 and detects UCF-101."
            )

    @abstractmethod
    def official(self, folder: Path, number: int) -> Listing:
        """Return an official split with its validation part held out."""

    @abstractmethod
    def group(self, file: str, action: str) -> str:
        """Return the source video of a clip; empty if its name does not say."""

    def listing(self, root: Path) -> Listing:
        """Return the clips that are wanted, whether the root has them or not.

        Raises:
            DataError: If the lists are missing or damaged.
        """
        folder = self._lists_folder(root)
        if self.split == "lists":
            prefix = re.sub(r"\d+$", "", self.name)
            listing = text_lists(folder, prefix, self.classes, self.part, self.group)
        else:
            listing = choose(self.official(folder, int(self.split[-1])), self.name, self.classes, self.part)
        check_unique(listing.clips)
        return listing

    def plan(self, root: Path) -> Plan:
        """Return the clips below the root.

        Raises:
            DataError: If the root holds no clip, or the lists are missing or damaged.
        """
        listing = self.listing(root)
        found = find_files(root, {_key(clip) for clip in listing.clips})
        videos = {clip.name: path for clip in listing.clips if (path := _video_of(clip, found, root))}
        if not videos:
            raise DataError(
                f"Expected {root} to hold {self.layout}, but got no clip of the lists; give the folder of the unpacked "
                "videos as the root."
            )
        kind = self._kind(found, root)
        labels = {name: label for label, name in enumerate(listing.classes)}
        planned = [
            _planned(clip, videos[clip.name], kind, labels[clip.action], found, root)
            for clip in sorted(listing.clips, key=lambda clip: clip.name)
            if clip.name in videos
        ]
        clips = [clip for clip in planned if isinstance(clip, Clip)]
        notes = {**listing.notes, "flow": kind, "overlap": overlap((clip.split, clip.group) for clip in clips)}
        skipped = [clip for clip in planned if isinstance(clip, Skipped)]
        absent = sorted(clip.name for clip in listing.clips if clip.name not in videos)
        has_training = self.part != "ood"
        return Plan(listing.classes, self.modalities(), clips, skipped, absent, notes, has_training)

    def modalities(self) -> dict[str, ModalitySpec]:
        """Return the form of both modalities."""
        channels: dict[str, tuple[int, Literal["frames", "flow"]]] = {"visual": (3, "frames"), "flow": (2, "flow")}
        return {
            name: ModalitySpec(
                (self.num_frames, number, self.size, self.size), kind, "uint8", "channel", is_augmented=True
            )
            for name, (number, kind) in channels.items()
        }

    def read(self, clip: Clip, root: Path) -> Arrays:
        """Return the frames of one clip, and the flow from each of them to the next frame of the video."""
        (video,) = clip.files["visual"]
        with naming(video):
            visual = read_frames(root / video, **self._sampling())
        return {"visual": visual, "flow": self._flow(clip.files["flow"], video, root)}

    def _flow(self, files: tuple[str, ...], video: str, root: Path) -> UInt8[np.ndarray, "T 2 H W"]:
        if files == (video,):
            with naming(video):
                return self._computed(video, root)
        with naming(video):
            times = frame_times(root / video)
        taken = taken_frames(times, self.num_frames, self.frames_per_second)
        if (root / files[0]).is_dir():
            pairs = image_pairs(root, files)
            with naming(files[0]):
                check_count(len(pairs), len(times))
            chosen = [pairs[min(number, len(pairs) - 1)] for number in taken]
            return np.stack([np.stack([self._image(file, root) for file in pair]) for pair in chosen])
        return np.stack([self._motion(file, taken, len(times), root) for file in files], axis=1)

    def _computed(self, video: str, root: Path) -> UInt8[np.ndarray, "T 2 H W"]:
        folder = Path(self.flow_cache).expanduser() if self.flow_cache else default_cache()
        sampling = self._sampling()
        key = cache_key(video, root / video, sampling)
        return cached(folder / f"{key}.npy", lambda: flow_of_video(root / video, **sampling))

    def _motion(self, file: str, taken: Sequence[int], total: int, root: Path) -> UInt8[np.ndarray, "T H W"]:
        with naming(file):
            return motion_of_video(root / file, taken, total, height=self.size, width=self.size)

    def _image(self, file: str, root: Path) -> UInt8[np.ndarray, "H W"]:
        with naming(file):
            return motion_of_image(root / file, height=self.size, width=self.size)

    def _sampling(self) -> dict[str, Any]:
        sizes = {"height": self.size, "width": self.size}
        return {"num_frames": self.num_frames, **sizes, "frames_per_second": self.frames_per_second}

    def _kind(self, found: Found, root: Path) -> FlowKind:
        """Return where the flow of all clips comes from; one dataset never mixes two sorts."""
        if self.flow in ("auto", "videos") and found.motion:
            return "videos"
        opencv()
        if self.flow in ("auto", "images") and any(_image_folders(places, root) for places in found.folders.values()):
            return "images"
        if self.flow in ("auto", "computed"):
            return "computed"
        raise DataError(
            f"Expected {root} to hold {_FLOW_LAYOUTS[self.flow]}, but got none; choose flow 'computed' to compute it."
        )

    def _lists_folder(self, root: Path) -> Path:
        if self.lists:
            return Path(self.lists).expanduser()
        below = root / self.lists_folder
        if self.split == "lists" or not below.is_dir():
            return root
        return below


def _planned(listed: Listed, video: str, kind: FlowKind, label: int, found: Found, root: Path) -> Clip | Skipped:
    stem = _key(listed)
    if kind == "videos":
        files = tuple(path for axis in "xy" for path in _one(found.motion.get((stem, axis), ()), listed, root))
    else:
        files = _image_folders(found.folders.get(stem, ()), root) if kind == "images" else (video,)
    if not files or (kind == "videos" and len(files) != 2):
        return Skipped(listed.name, video, f"expected flow as {_FLOW_LAYOUTS[kind]}, got {len(files)} of the files")
    return Clip(listed.name, listed.split, label, {"visual": (video,), "flow": files}, listed.group)


def _key(clip: Listed) -> str:
    return PurePosixPath(clip.file).stem.lower()


def _video_of(clip: Listed, found: Found, root: Path) -> str:
    return "".join(_one(found.videos.get(_key(clip), ()), clip, root))


def _one(paths: Sequence[str], clip: Listed, root: Path) -> Sequence[str]:
    """Return the only path, or the only one in a folder of the clip's class."""
    if len(paths) > 1:
        paths = [path for path in paths if PurePosixPath(path).parent.name.lower() == clip.action.lower()] or paths
    if len(paths) > 1:
        raise DataError(
            f"Expected one file of {clip.name} below {root}, but got {' and '.join(sorted(paths)[:3])}; give a root "
            "that holds one of them."
        )
    return paths


def _image_folders(places: Sequence[str], root: Path) -> tuple[str, ...]:
    """Return the folders of x and y of one clip, or its only folder; none if there are no flow images."""
    sides = [sorted(place for place in places if axis in place.lower().split("/")) for axis in "uv"]
    if all(sides):
        return sides[0][0], sides[1][0]
    alone = (place for place in sorted(places) if next((root / place).glob("flow_[xy]_*"), None))
    return tuple(alone)[:1]


def _numbered(root: Path, folder: str, start: str) -> dict[int, str]:
    try:
        names = sorted(name for name in os.listdir(root / folder) if name.startswith(start))
    except OSError as error:
        raise BadFileError(f"expected a folder of flow images, got: {error.strerror}", folder) from error
    return {int(match[1]): f"{folder}/{name}" for name in names if (match := _IMAGE.fullmatch(name))}


def _walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield folder, its folders and its files in order; links are followed, but no folder is entered twice."""

    def fail(error: OSError) -> None:
        raise DataError(f"Expected to read {root}, but got: {error.strerror}; check the path and its permissions.")

    seen = {os.path.realpath(root)}
    for folder, names, files in os.walk(root, onerror=fail, followlinks=True):
        places = {name: os.path.realpath(os.path.join(folder, name)) for name in sorted(names)}
        names[:] = [name for name, place in places.items() if place not in seen]
        seen.update(places.values())
        yield folder, names, sorted(files)
