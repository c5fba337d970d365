"""Real raw files and real lists, by the command line; skipped where they are not."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import replicas
from dataset_steps import IMAGES, SEQUENCE, SMALL, Command, Place, compared, counts, prepared, samples, shown


def test_real_utd_mhad_with_depth_as_flow(real: Place, command: Command) -> None:
    source, root = real("utd_mhad"), Path("raw")
    for name in [f"a{action}_s{subject}_t1" for action in (1, 5) for subject in (1, 2, 3, 7)]:
        for modality in ("inertial", "depth", "skeleton"):
            file = f"{modality.capitalize()}/{name}_{modality}.mat"
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / file, root / file)
    summary = prepared(command, "utd_mhad", root, "--depth", "flow")
    assert counts(summary) == (4, 2, 2)
    assert len(summary["absent"]) == 861 - 8
    assert shown(command, "utd_mhad") == {"inertial": [12, 24], "flow": [8, 1200], "skeleton": [12, 120]}
    assert all(arrays["flow"].std() > 0.01 for _, _, _, arrays in samples())
    compared(command, "utd_mhad", *SEQUENCE)


def test_real_av_mnist(real: Place, command: Command) -> None:
    Path("raw").mkdir()
    Path("raw/mnist").symlink_to(real("mnist"))
    Path("raw/fsdd").symlink_to(real("fsdd"))
    summary = prepared(command, "av_mnist", Path("raw"), "--num_train", "300")
    assert counts(summary) == (300, 5000, 10000)
    assert (summary["absent"], summary["notes"]["speakers_in_several_splits"]) == ([], [])
    assert shown(command, "av_mnist") == {"image": [49, 16], "audio": [25, 160]}


def test_real_video_in_the_folders_of_kinetics(real: Place, command: Command) -> None:
    video = real("media/bigbuckbunny.mp4")
    places = [("train", "bowling")] * 3 + [("train", "singing")] * 3 + [("val", "bowling"), ("val", "singing")]
    for number, (pool, action) in enumerate(places):
        file = Path("raw", pool, action, f"{replicas.kinetics_id(number)}_000000_000010.mp4")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(video)
    summary = prepared(command, "kinetics_sound", Path("raw"), *SMALL)
    assert counts(summary) == (4, 2, 2)
    assert shown(command, "kinetics_sound") == {"audio": [1, 257, 1004], "visual": [3, 3, 32, 32]}
    found = samples()
    assert all(np.array_equal(arrays[m], found[0][3][m]) for _, _, _, arrays in found for m in ("audio", "visual"))
    assert found[0][3]["audio"].astype(np.float32).std() == pytest.approx(1, abs=0.01)
    assert np.diff(found[0][3]["visual"].astype(int), axis=0).any()
    compared(command, "kinetics_sound", *IMAGES)


def test_real_list_of_crema_d_with_a_few_clips(real: Place, command: Command) -> None:
    listed = real("lists/crema_d/SentenceFilenames.csv")
    Path("raw").mkdir()
    shutil.copy(listed, "raw")
    for seed, name in enumerate(name for name in replicas.crema_d_names() if "IEO" not in name):
        replicas.write_crema_d_clip(Path("raw"), name.replace("TIE", "DFA"), seed)
    summary = prepared(command, "crema_d", Path("raw"), *SMALL)
    assert counts(summary) == (4, 2, 4)
    assert len(summary["absent"]) == 7442 - 10
    assert "1001_DFA_NEU_XX" not in summary["absent"]


def test_real_lists_of_ucf101_with_a_few_clips(real: Place, command: Command) -> None:
    shutil.copytree(real("lists/ucf101"), "raw/ucfTrainTestlist")
    for seed, (action, group) in enumerate((a, g) for a in ("Archery", "YoYo") for g in (8, 9, 24, 1)):
        replicas.write_video(Path("raw/UCF-101", action, f"v_{action}_g{group:02d}_c01.avi"), seed=seed)
    summary = prepared(command, "ucf101", Path("raw"), *SMALL)
    assert counts(summary) == (4, 2, 2)
    assert {split: by["YoYo"] for split, by in summary["counts"].items()} == {"train": 2, "val": 1, "test": 1}
    assert len(summary["absent"]) == 13320 - 8
    assert len(summary["counts"]["train"]) == 101
