"""HMDB51: 6,766 clips of 51 actions from films and the web, in frames and optical flow. No torch in here.

Kuehne, Jhuang, Garrote, Poggio, Serre: "HMDB: A large video database for human motion recognition", ICCV 2011.
https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database
"""

from dataclasses import dataclass
from pathlib import Path

from rollingq.data.sources.action_lists import Listing, hmdb_group, hmdb_official
from rollingq.data.sources.actions import Actions


@dataclass(frozen=True)
class HMDB51(Actions):
    """HMDB51 from its videos and official lists, or from lists of your own such as MultiOOD's.

    About a tenth of each class's source videos in the official training list validates. The official lists keep the
    clips of a source together within a class only: films that train one class may test another, and the notes count
    them.

    Example:
        >>> HMDB51(num_frames=1).modalities()["visual"].shape
        (1, 3, 224, 224)
    """

    name = "hmdb51"
    layout = "brush_hair/*.avi and testTrainMulti_7030_splits/brush_hair_test_split1.txt"
    lists_folder = "testTrainMulti_7030_splits"
    far_part = "id"

    def official(self, folder: Path, number: int) -> Listing:
        """Return an official split; a tenth of each class's training sources validates."""
        return hmdb_official(folder, number)

    def group(self, file: str, action: str) -> str:
        """Return the part of a clip's name before the tag of its class."""
        return hmdb_group(file, action)
