"""What a dataset has to say so that it can be prepared: its clips, and how to read one of them. No torch in here."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from rollingq.data.raw.files import BadFileError as BadFileError
from rollingq.data.shards import Arrays as Arrays
from rollingq.data.spec import ModalitySpec

SPLITS = ("train", "val", "test")
PLACE = "is_place"
"""Metadata of a field that only says where files lie: ``field(metadata={PLACE: True})`` keeps it out of the recipe."""


@dataclass(frozen=True)
class Clip:
    """One sample to be: its name, where it belongs, and the files that it is read from.

    Attributes:
        name: Unique in the dataset; for people, and the key of messages.
        split: "train", "val" or "test".
        label: Index of its class.
        files: Modality -> paths below the root; a modality that this clip does not have is left out.
        group: What must not be in two splits (a person, a source video); empty if unknown.
        start: Where the clip begins in its files, in seconds.
        end: Where it ends, in seconds; 0 for the end of the files.
    """

    name: str
    split: str
    label: int
    files: Mapping[str, tuple[str, ...]]
    group: str = ""
    start: float = 0.0
    end: float = 0.0


@dataclass(frozen=True)
class Skipped:
    """One clip that is not in the shards, and why."""

    name: str
    file: str
    """Path below the root of the raw files."""
    reason: str


@dataclass(frozen=True)
class Plan:
    """Everything that is known of a dataset before its clips are read.

    Attributes:
        classes: Names by label.
        modalities: Name -> form of one sample.
        clips: All clips, in the order of the shards.
        skipped: Clips found unusable while listing.
        absent: Names that the published dataset or the user's list has, but the root does not.
        notes: What else the manifest should say: overlap of groups, clips without sound, and so on (JSON).
        needs_training: Whether a training split belongs to it; False for a test set of what models should reject.
    """

    classes: tuple[str, ...]
    modalities: Mapping[str, ModalitySpec]
    clips: Sequence[Clip]
    skipped: Sequence[Skipped] = ()
    absent: Sequence[str] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    needs_training: bool = True


class Source(ABC):
    """A dataset's raw files. Subclasses are frozen dataclasses: their fields are the recipe, kept in the manifest.

    Attributes:
        name: The dataset's name.
        max_rows: Most clips of one shard: what a kill can cost. Shards of large samples hold fewer.
        in_process: Whether clips are read in this process alone, as of one file that is too large to open twice.

    Example:
        >>> import numpy as np
        >>> @dataclass(frozen=True)
        ... class Noise(Source):
        ...     name = "noise"
        ...     size: int = 4
        ...
        ...     def plan(self, root):
        ...         clips = [Clip(f"clip{i}", "train", i % 2, {"audio": ()}) for i in range(self.size)]
        ...         return Plan(("no", "yes"), {"audio": ModalitySpec((3, 2))}, clips)
        ...
        ...     def read(self, clip, root):
        ...         return {"audio": np.zeros((3, 2), np.float32)}
        >>> Noise().plan(Path()).clips[1].name
        'clip1'
    """

    name: ClassVar[str]
    max_rows: ClassVar[int] = 256
    in_process: ClassVar[bool] = False

    @abstractmethod
    def plan(self, root: Path) -> Plan:
        """Return the clips below ``root``, without reading their content.

        Raises:
            DataError: If there is nothing to prepare.
        """

    @abstractmethod
    def read(self, clip: Clip, root: Path) -> Arrays:
        """Return one sample: modality -> array of the planned shape and dtype, ``modality + "/mask"`` -> bool.

        Called in any process and any order. A modality with ``has_mask`` may be left out: then it is absent from the
        sample, as is one whose mask is all False. A mask that is left out is all True.

        Raises:
            BadFileError: If a file cannot be used; the clip is then left out and named.
        """

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Return the names of the fields: what a user can choose."""
        return tuple(found.name for found in fields(cls))  # type: ignore[arg-type]
