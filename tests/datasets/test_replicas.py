"""Every dataset from raw files to a training, and every option to a sound folder, by the command line."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import replicas
from dataset_steps import IMAGES, SEQUENCE, SMALL, Command, Place, Shapes, compared, counts, prepared, shown
from made_pickles import python2


@dataclass(frozen=True)
class Case:
    """One dataset with options: what the replica has to become."""

    name: str
    counts: tuple[int, int, int]
    shapes: Shapes
    options: list[str] = field(default_factory=list)
    change: Callable[[Path], None] | None = None
    """Changes a copy of the replica first."""
    num_classes: int = 2
    num_absent: int = 0


UTD = {"inertial": [12, 24], "depth": [8, 600], "skeleton": [12, 120]}
PIXELS = {"visual": [3, 3, 32, 32], "flow": [3, 2, 32, 32]}
MOSEI = {"text": [9, 6], "audio": [9, 3], "visual": [9, 4]}
CUSTOM = {"audio": [1, 257, 299], "visual": [3, 3, 32, 32], "photo": [3, 32, 32], "motion": [6, 5]}


def with_paper_lists(root: Path) -> None:
    """Write train.csv and test.csv as those of published work: name and number of the class."""
    stems = sorted(path.stem for path in (root / "AudioWAV").iterdir())
    lines = [f"{stem},{ {'NEU': 0, 'SAD': 2}[stem[9:12]] }\n" for stem in stems]
    (root / "train.csv").write_text("".join(lines[:14]))
    (root / "test.csv").write_text("".join(lines[14:]))


def with_own_lists(root: Path) -> None:
    """Write MultiOOD's form of lists for the setting "near"."""
    for split, name in (("train", "trainlist"), ("val", "trainlist"), ("test", "testlist")):
        files = [(file, i) for i, c in enumerate(replicas.UCF_CLASSES[:2]) for file in replicas.ucf_files(c)[name]]
        chosen = [pair for pair in files if split == "test" or ("_g24_" in pair[0]) == (split == "val")]
        (root / f"UCF_{split}_near_id.txt").write_text("".join(f"{file} {label}\n" for file, label in chosen))


def as_python_2(root: Path) -> None:
    (root / "mosei_senti_data.pkl").write_bytes(python2(replicas.mosei_table()))


def as_folders(root: Path) -> None:
    shutil.rmtree(root)
    replicas.write_custom_folders(root)


def without_splits(root: Path) -> None:
    """Take the column "split" out of the user's table."""
    rows = list(csv.reader((root / "samples.csv").read_text().splitlines()))
    (root / "samples.csv").write_text("".join(",".join([row[0], *row[2:]]) + "\n" for row in rows))


TRAINED = {
    "utd_mhad": (Case("utd_mhad", (4, 4, 8), UTD, num_classes=27, num_absent=861 - 16), SEQUENCE),
    "utd_mhad flow": (
        Case(
            "utd_mhad", (4, 4, 8), {**{k: v for k, v in UTD.items() if k != "depth"}, "flow": [8, 1200]},
            ["--depth", "flow"], num_classes=27, num_absent=861 - 16,
        ),
        SEQUENCE,
    ),
    "av_mnist": (
        Case("av_mnist", (22, 2, 10), {"image": [49, 16], "audio": [25, 160]}, num_classes=10, num_absent=3000 - 90),
        SEQUENCE,
    ),
    "crema_d": (
        Case("crema_d", (8, 4, 8), {"audio": [1, 257, 299], "visual": [3, 32, 32]}, SMALL, None, 6, 1),
        IMAGES,
    ),
    "kinetics_sound": (
        Case("kinetics_sound", (6, 2, 4), {"audio": [1, 257, 1004], "visual": [3, 3, 32, 32]}, SMALL, None, 31),
        IMAGES,
    ),
    "cmu_mosei": (Case("cmu_mosei", (12, 4, 5), MOSEI, ["--length", "9"], num_classes=3), SEQUENCE),
    "ucf101": (Case("ucf101", (6, 3, 6), PIXELS, SMALL, num_classes=3), IMAGES),
    "hmdb51": (Case("hmdb51", (6, 3, 6), PIXELS, SMALL, num_classes=3), IMAGES),
    "custom": (Case("custom", (6, 2, 4), CUSTOM, SMALL), [*IMAGES, "--modalities", "audio,visual,photo"]),
}  # fmt: skip

NEAR_OOD = ["--classes", "near", "--part", "ood"]
VARIANTS = {
    "av_mnist, all speakers": Case(
        "av_mnist", (22, 2, 10), {"image": [49, 16], "audio": [25, 160]}, ["--split", "upstream"], None, 10, 2910
    ),
    "av_mnist, images": Case(
        "av_mnist", (10, 2, 10), {"image": [1, 28, 28], "audio": [1, 112, 112]},
        ["--form", "image", "--num_train", "10", "--image_energy", "0.25"], None, 10, 2910,
    ),
    "av_mnist, noise of a folder": Case(
        "av_mnist", (22, 2, 10), {"image": [49, 16], "audio": [25, 160]},
        ["--audio_noise", "0", "--noise_root", "ESC-50/audio"], None, 10, 2910,
    ),
    "crema_d, code": Case(
        "crema_d", (8, 4, 8), {"audio": [1, 257, 188], "visual": [3, 3, 32, 32]},
        [*SMALL, "--recipe", "code", "--num_frames", "3"], None, 6, 1,
    ),
    "crema_d, fbank": Case(
        "crema_d", (8, 4, 8), {"audio": [1, 128, 320], "visual": [2, 3, 32, 32]},
        [*SMALL, "--recipe", "fbank", "--num_frames", "2", "--frames_per_second", "5"], None, 6, 1,
    ),
    "crema_d, random": Case(
        "crema_d", (16, 2, 2), {"audio": [1, 257, 299], "visual": [3, 32, 32]},
        [*SMALL, "--split", "random:3"], None, 6, 1,
    ),
    "crema_d, lists": Case(
        "crema_d", (12, 2, 6), {"audio": [1, 257, 299], "visual": [3, 32, 32]},
        [*SMALL, "--split", "paper"], with_paper_lists, 6,
    ),
    "kinetics_sound, fbank and hash": Case(
        "kinetics_sound", (8, 2, 2), {"audio": [1, 128, 1024], "visual": [3, 32, 32]},
        [*SMALL, "--recipe", "fbank", "--split", "hash:1", "--num_frames", "1"], None, 31,
    ),
    "kinetics_sound, lists": Case(
        "kinetics_sound", (6, 2, 4), {"audio": [1, 257, 1004], "visual": [3, 3, 32, 32]},
        SMALL, replicas.write_kinetics_lists, 31, 1,
    ),
    "kinetics_sound, silent clips masked": Case(
        "kinetics_sound", (6, 2, 4), {"audio": [1, 257, 1004], "visual": [3, 3, 32, 32]},
        [*SMALL, "--no_sound", "mask"], replicas.take_sound_away, 31,
    ),
    "cmu_mosei, two classes": Case("cmu_mosei", (12, 4, 5), MOSEI, ["--length", "9", "--labels", "acc2"]),
    "cmu_mosei, MulT's two": Case("cmu_mosei", (12, 4, 5), MOSEI, ["--length", "9", "--labels", "acc2_nonneg"]),
    "cmu_mosei, seven classes": Case(
        "cmu_mosei", (12, 4, 5), {"text": [20, 6], "audio": [20, 3], "visual": [20, 4]},
        ["--length", "20", "--labels", "acc7", "--per_sample_norm", "true"], num_classes=7,
    ),
    "cmu_mosei, python 2": Case("cmu_mosei", (12, 4, 5), MOSEI, ["--length", "9"], as_python_2, 3),
    "ucf101, flow videos": Case(
        "ucf101", (6, 3, 6), PIXELS, SMALL, lambda root: replicas.write_flow_videos(root, "UCF-101"), 3
    ),
    "ucf101, flow images": Case(
        "ucf101", (6, 3, 6), PIXELS, SMALL, lambda root: replicas.write_flow_images(root, "UCF-101"), 3
    ),
    "ucf101, near": Case("ucf101", (4, 2, 4), PIXELS, [*SMALL, "--classes", "near"]),
    "ucf101, not near": Case("ucf101", (0, 0, 5), PIXELS, [*SMALL, *NEAR_OOD], num_classes=1),
    "ucf101, far": Case("ucf101", (0, 0, 10), PIXELS, [*SMALL, "--classes", "far", "--part", "ood"]),
    "ucf101, own lists": Case("ucf101", (4, 2, 4), PIXELS, [*SMALL, "--split", "lists"], with_own_lists),
    "hmdb51, flow images": Case(
        "hmdb51", (6, 3, 6), {"visual": [2, 3, 48, 48], "flow": [2, 2, 48, 48]},
        ["--size", "48", "--num_frames", "2", "--flow", "images"], lambda root: replicas.write_flow_images(root, "."),
        3,
    ),
    "hmdb51, near": Case("hmdb51", (4, 2, 4), PIXELS, [*SMALL, "--classes", "near"]),
    "hmdb51, not near": Case("hmdb51", (0, 0, 5), PIXELS, [*SMALL, *NEAR_OOD], num_classes=1),
    "hmdb51, far": Case("hmdb51", (6, 3, 6), PIXELS, [*SMALL, "--classes", "far"], num_classes=3),
    "custom, folders": Case("custom", (4, 2, 2), CUSTOM, SMALL, as_folders),
    "custom, own splits": Case("custom", (8, 2, 2), CUSTOM, SMALL, without_splits),
    "custom, other forms": Case(
        "custom", (6, 2, 4), {"audio": [1, 128, 112], "visual": [3, 32, 32], "photo": [3, 32, 32], "motion": [4, 5]},
        [*SMALL, "--recipe", "fbank", "--seconds", "1", "--num_frames", "1", "--length", "4"],
    ),
}  # fmt: skip


def prepared_case(case: Case, raw: Place, command: Command) -> dict[str, Any]:
    root = raw(case.name)
    if case.change:
        root = Path(shutil.copytree(root, "raw"))
        case.change(root)
    summary = prepared(command, case.name, root, *case.options)
    assert counts(summary) == case.counts
    assert {len(by_class) for by_class in summary["counts"].values()} == {case.num_classes}
    assert len(summary["absent"]) == case.num_absent
    assert shown(command, case.name) == case.shapes
    return summary


@pytest.mark.parametrize("name", TRAINED)
def test_from_raw_files_to_a_training(name: str, raw: Place, command: Command) -> None:
    case, options = TRAINED[name]
    prepared_case(case, raw, command)
    compared(command, case.name, *options)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_option_makes_a_sound_folder(name: str, raw: Place, command: Command) -> None:
    prepared_case(VARIANTS[name], raw, command)
