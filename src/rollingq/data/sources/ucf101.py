"""UCF-101: 13,320 clips of 101 actions, in frames and optical flow. No torch in here.

Soomro, Zamir, Shah: "UCF101: A dataset of 101 human actions classes from videos in the wild", CRCV-TR-12-01, 2012.
https://www.crcv.ucf.edu/data/UCF101.php
"""

from dataclasses import dataclass
from pathlib import Path

from rollingq.data.sources.action_lists import Listing, ucf_group, ucf_official
from rollingq.data.sources.actions import Actions


@dataclass(frozen=True)
class UCF101(Actions):
    """UCF-101 from its videos and official lists, or from lists of your own such as MultiOOD's.

    Groups 24 and 25 of the official training list validate, so that no source video is in two splits.

    Example:
        >>> UCF101().modalities()["flow"].shape
        (3, 2, 224, 224)
    """

    name = "ucf101"
    layout = "UCF-101/Archery/v_Archery_g01_c01.avi and ucfTrainTestlist/classInd.txt"
    lists_folder = "ucfTrainTestlist"
    far_part = "ood"

    def official(self, folder: Path, number: int) -> Listing:
        """Return an official split; groups 24 and 25 validate."""
        return ucf_official(folder, number)

    def group(self, file: str, action: str) -> str:
        """Return class and group of a clip's name."""
        return ucf_group(file, action)
