"""UCF-101 and HMDB51: lists, splits, and the three sorts of flow, on made replicas and the real lists."""

import os
import re
import sys
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from rollingq.data.prepare.engine import prepare_source
from rollingq.data.prepare.source import BadFileError, Clip, Plan
from rollingq.data.raw.flow import flow_of_video, frame_times, taken_frames
from rollingq.data.raw.media import read_frames
from rollingq.data.sources.action_lists import choose, hmdb_official, ucf_official
from rollingq.data.sources.hmdb51 import HMDB51
from rollingq.data.sources.ucf101 import UCF101
from rollingq.errors import DataError, MissingExtraError

SIZE = 32
SMALL = {"num_frames": 2, "size": SIZE}
FRAMES = 12
UCF_TRAIN = [f"{c}/v_{c}_g{g}_c01.avi" for c in ("Archery", "Swing") for g in ("08", "24", "25")]
UCF_TEST = [f"{c}/v_{c}_g01_c0{n}.avi" for c in ("Archery", "Swing") for n in (1, 2)]


def write_video(path: Path, frames: np.ndarray, rate: int = 10) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


def moving(seed: int) -> np.ndarray:
    """A texture that moves 2 pixels to the right a frame."""
    noise = np.random.default_rng(seed).normal(size=(48, 64 + 2 * FRAMES)).astype(np.float32)
    big = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    starts = [2 * (FRAMES - i) for i in range(FRAMES)]
    return np.stack([np.stack([big[:, s : s + 64]] * 3, -1) for s in starts])


def levels(first: int) -> np.ndarray:
    """Flat gray frames, one level brighter by 5 each; flow videos have one frame less than their RGB video."""
    return np.stack([np.full((48, 64, 3), first + 5 * i, np.uint8) for i in range(FRAMES - 1)])


@pytest.fixture
def ucf(tmp_path, monkeypatch) -> Path:
    """Two classes of UCF-101 in the official layout; flow goes into a cache beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "ucf"
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 Archery\n2 Swing\n")
    (lists / "trainlist01.txt").write_text("".join(f"{f} {1 + f.startswith('Swing')}\r\n" for f in UCF_TRAIN))
    (lists / "testlist01.txt").write_text("".join(f"{f}\r\n" for f in UCF_TEST))
    for seed, file in enumerate(UCF_TRAIN + UCF_TEST):
        write_video(root / "UCF-101" / file, moving(seed))
    return root


def names(plan: Plan, split: str) -> list[str]:
    return [clip.name for clip in plan.clips if clip.split == split]


def clip_of(plan: Plan, name: str) -> Clip:
    [clip] = [clip for clip in plan.clips if clip.name == name]
    return clip


FIRST = "Archery/v_Archery_g01_c01"
STEM = "v_Archery_g01_c01"


def test_the_official_split_of_ucf101_holds_groups_24_and_25_out(ucf):
    plan = UCF101(**SMALL).plan(ucf)
    assert plan.classes == ("Archery", "Swing")
    assert names(plan, "train") == ["Archery/v_Archery_g08_c01", "Swing/v_Swing_g08_c01"]
    assert names(plan, "val") == [f"{c}/v_{c}_g{g}_c01" for c in ("Archery", "Swing") for g in ("24", "25")]
    assert names(plan, "test") == [f"{c}/v_{c}_g01_c0{n}" for c in ("Archery", "Swing") for n in (1, 2)]
    assert [clip.name for clip in plan.clips] == sorted(clip.name for clip in plan.clips)
    assert all(clip.label == (clip.name.startswith("Swing")) for clip in plan.clips)
    assert clip_of(plan, FIRST).group == "Archery_g01"
    assert clip_of(plan, FIRST).files == dict.fromkeys(("visual", "flow"), (f"UCF-101/Archery/{STEM}.avi",))
    assert plan.notes["flow"] == "computed"
    assert plan.notes["overlap"] == {"train-val": 0, "train-test": 0, "val-test": 0}
    assert (plan.absent, plan.skipped) == ([], [])


def test_the_form_of_both_modalities():
    forms = UCF101(num_frames=5, size=64).modalities()
    assert {n: (s.shape, s.kind, s.dtype, s.statistics, s.is_augmented) for n, s in forms.items()} == {
        "visual": ((5, 3, 64, 64), "frames", "uint8", "channel", True),
        "flow": ((5, 2, 64, 64), "flow", "uint8", "channel", True),
    }


def test_computed_flow_is_the_flow_of_the_frames_and_is_kept(ucf, tmp_path):
    source = UCF101(**SMALL, flow_cache=str(tmp_path / "mine"))
    clip = clip_of(source.plan(ucf), FIRST)
    sample = source.read(clip, ucf)
    video = ucf / clip.files["visual"][0]
    sampling = {"num_frames": 2, "height": SIZE, "width": SIZE, "frames_per_second": 5.0}
    np.testing.assert_array_equal(sample["visual"], read_frames(video, **sampling))
    np.testing.assert_array_equal(sample["flow"], flow_of_video(video, **sampling))
    assert np.median(sample["flow"][:, 0]) > 130
    [kept] = (tmp_path / "mine").iterdir()
    kept.write_bytes(b"damaged")
    np.testing.assert_array_equal(source.read(clip, ucf)["flow"], sample["flow"])
    np.testing.assert_array_equal(np.load(kept, allow_pickle=False), sample["flow"])
    UCF101(num_frames=3, size=SIZE, flow_cache=str(tmp_path / "mine")).read(clip, ucf)
    assert len(list((tmp_path / "mine").iterdir())) == 2


def test_flow_videos_are_read_at_the_frames_of_the_video(ucf):
    for file in UCF_TRAIN + UCF_TEST:
        for axis, first in (("x", 20), ("y", 100)):
            write_video(ucf / "flow" / f"{Path(file).stem}_flow_{axis}.mp4", levels(first), rate=25)
    source = UCF101(**SMALL)
    plan = source.plan(ucf)
    clip = clip_of(plan, FIRST)
    assert plan.notes["flow"] == "videos"
    assert clip.files["flow"] == (f"flow/{STEM}_flow_x.mp4", f"flow/{STEM}_flow_y.mp4")
    sample = source.read(clip, ucf)
    taken = taken_frames(frame_times(ucf / clip.files["visual"][0]), 2, 5.0)
    assert len(set(taken)) == 2
    expected = [[first + 5 * number for first in (20, 100)] for number in taken]
    np.testing.assert_allclose(sample["flow"].mean((2, 3)), expected, atol=2)
    (ucf / "flow" / f"{STEM}_flow_y.mp4").unlink()
    again = source.plan(ucf)
    [skip] = again.skipped
    assert (skip.name, skip.file) == (FIRST, f"UCF-101/Archery/{STEM}.avi")
    assert "got 1 of the files" in skip.reason
    assert FIRST not in [clip.name for clip in again.clips]
    with pytest.raises(BadFileError, match="the file is missing") as caught:
        source.read(clip, ucf)
    assert caught.value.file == f"flow/{STEM}_flow_y.mp4"


def test_a_truncated_flow_video_is_named(ucf):
    for axis in "xy":
        write_video(ucf / "flow" / f"{STEM}_flow_{axis}.mp4", levels(20)[: 4 if axis == "y" else None])
    source = UCF101(**SMALL)
    plan = source.plan(ucf)
    with pytest.raises(
        BadFileError, match="expected flow of about 12 frames, as many as the video has, got 4"
    ) as caught:
        source.read(clip_of(plan, FIRST), ucf)
    assert caught.value.file.endswith("flow_y.mp4")
    assert len(plan.skipped) == len(UCF_TRAIN + UCF_TEST) - 1


def write_images(root: Path, layout: str) -> None:
    for axis, first in (("x", 20), ("y", 100)):
        for number, frame in enumerate(levels(first), 1):
            folder, name = {
                "u and v": (f"{'uv'[axis == 'y']}/Archery/{STEM}", f"frame{number:06d}.jpg"),
                "one": (f"UCF-101/Archery/{STEM}", f"flow_{axis}_{number:05d}.jpg"),
            }[layout]
            (root / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / folder / name), frame)


@pytest.mark.parametrize("layout", ["u and v", "one"])
def test_flow_images_are_read_at_the_frames_of_the_video(ucf, layout):
    write_images(ucf, layout)
    source = UCF101(**SMALL)
    plan = source.plan(ucf)
    clip = clip_of(plan, FIRST)
    assert plan.notes["flow"] == "images"
    assert len(plan.skipped) == len(UCF_TRAIN + UCF_TEST) - 1
    taken = taken_frames(frame_times(ucf / clip.files["visual"][0]), 2, 5.0)
    expected = [[first + 5 * number for first in (20, 100)] for number in taken]
    np.testing.assert_allclose(source.read(clip, ucf)["flow"].mean((2, 3)), expected, atol=1)
    assert UCF101(**SMALL, flow="computed").plan(ucf).notes["flow"] == "computed"


def test_damaged_flow_images_are_named(ucf):
    write_images(ucf, "u and v")
    source = UCF101(**SMALL)
    clip = clip_of(source.plan(ucf), FIRST)
    number = 1 + taken_frames(frame_times(ucf / clip.files["visual"][0]), 2, 5.0)[1]
    image = ucf / f"v/Archery/{STEM}/frame{number:06d}.jpg"
    data = image.read_bytes()
    image.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadFileError, match="expected a whole JPEG image") as caught:
        source.read(clip, ucf)
    assert caught.value.file == image.relative_to(ucf).as_posix()
    image.unlink()
    with pytest.raises(BadFileError, match=f"images 1 to 11, got no image {number} of y") as caught:
        source.read(clip, ucf)
    assert caught.value.file == f"v/Archery/{STEM}"
    for side in "uv":
        for left in range(7, FRAMES):
            (ucf / f"{side}/Archery/{STEM}/frame{left:06d}.jpg").unlink(missing_ok=True)
    image.write_bytes(data)
    with pytest.raises(BadFileError, match=r"got no image|expected flow of about 12 frames"):
        source.read(clip, ucf)


def test_a_damaged_video_is_named(ucf):
    source = UCF101(**SMALL)
    clip = clip_of(source.plan(ucf), FIRST)
    (ucf / clip.files["visual"][0]).write_bytes(b"")
    with pytest.raises(BadFileError, match="the file is empty") as caught:
        source.read(clip, ucf)
    assert caught.value.file == f"UCF-101/Archery/{STEM}.avi"


def test_clips_without_a_file_are_absent_and_case_does_not_matter(ucf):
    videos = ucf / "UCF-101" / "Archery"
    (videos / "v_Archery_g08_c01.avi").unlink()
    (videos / f"{STEM}.avi").rename(videos / "V_archery_G01_c01.AVI")
    plan = UCF101(**SMALL).plan(ucf)
    assert plan.absent == ["Archery/v_Archery_g08_c01"]
    assert clip_of(plan, FIRST).files["visual"] == ("UCF-101/Archery/V_archery_G01_c01.AVI",)


def test_videos_in_one_folder_and_behind_links_are_found(ucf, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted((ucf / "UCF-101").rglob("*.avi")):
        path.rename(flat / path.name)
    (ucf / "video").symlink_to(flat)
    (flat / "loop").symlink_to(ucf)
    plan = UCF101(**SMALL).plan(ucf)
    assert len(plan.clips) == 10
    assert clip_of(plan, FIRST).files["visual"] == (f"video/{STEM}.avi",)


def test_a_clip_that_is_there_twice_is_refused(ucf):
    copy = ucf / "copy" / "Archery" / f"{STEM}.avi"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((ucf / "UCF-101" / "Archery" / f"{STEM}.avi").read_bytes())
    with pytest.raises(DataError, match=rf"one file of {FIRST} .*UCF-101/Archery.* and copy/Archery"):
        UCF101(**SMALL).plan(ucf)


WRONG_ROOTS = {
    "no folder": (lambda root: root / "nowhere", "classInd.txt"),
    "no video": (lambda root: root / "ucfTrainTestlist", "Expected .* to hold UCF-101/Archery"),
}


@pytest.mark.parametrize("wrong", WRONG_ROOTS)
def test_a_root_without_clips_says_what_is_expected(ucf, wrong):
    choose_root, text = WRONG_ROOTS[wrong]
    with pytest.raises(DataError, match=text) as caught:
        UCF101(**SMALL).plan(choose_root(ucf))
    assert "\n" not in str(caught.value)


SPOILT_LISTS = {
    "label": ("trainlist01.txt", lambda text: text.replace(".avi 2", ".avi 1"), "Expected line 4 of .*trainlist01"),
    "class": ("testlist01.txt", lambda text: text.replace("Swing/", "Dance/"), "Expected line 3 of .*testlist01"),
    "name": ("testlist01.txt", lambda text: text.replace("v_Swing_g01", "swing"), "v_Class_g01_c01.avi"),
    "twice": ("testlist01.txt", lambda text: text + f"{UCF_TRAIN[0]}\n", "twice .train and test."),
    "index": (
        "classInd.txt",
        lambda text: text.replace("2 ", "3 "),
        "Expected line 2 of .*classInd.txt to be '2 Class'",
    ),
}


@pytest.mark.parametrize("spoilt", SPOILT_LISTS)
def test_a_damaged_official_list_is_refused_in_one_line(ucf, spoilt):
    file, change, text = SPOILT_LISTS[spoilt]
    path = ucf / "ucfTrainTestlist" / file
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=text) as caught:
        UCF101(**SMALL).plan(ucf)
    assert "\n" not in str(caught.value)


WRONG_OPTIONS = {
    "split": ({"split": "official:4"}, "Expected split to be one of official:1, .* Did you mean"),
    "classes": ({"classes": "middle"}, "Expected classes to be one of all, near, far"),
    "part": ({"part": "idd"}, "Expected part to be one of id, ood.*Did you mean 'id'"),
    "flow": ({"flow": "video"}, "Did you mean 'videos'"),
    "frames": ({"num_frames": 0}, "Expected num_frames to be above 0"),
    "size": ({"size": 8}, "Expected size to be at least 16"),
    "rate": ({"frames_per_second": float("nan")}, "Expected frames_per_second"),
    "no setting": ({"part": "ood"}, "Expected classes 'near' or 'far' with part 'ood'"),
    "far": ({"classes": "far"}, "Expected part 'ood' of ucf101 with classes 'far'"),
}


@pytest.mark.parametrize("wrong", WRONG_OPTIONS)
def test_wrong_options_are_refused(wrong):
    options, text = WRONG_OPTIONS[wrong]
    with pytest.raises(DataError, match=text) as caught:
        UCF101(**options)
    assert "\n" not in str(caught.value)


def test_far_is_the_other_part_of_hmdb51():
    assert HMDB51(classes="far").far_part == "id"
    with pytest.raises(DataError, match="Expected part 'id' of hmdb51"):
        HMDB51(classes="far", part="ood")


def test_flow_that_is_asked_for_but_not_there_is_refused(ucf):
    for kind, text in (("videos", "CLIP_flow_x.mp4"), ("images", "u/CLASS/CLIP")):
        with pytest.raises(DataError, match=f"{text}.*choose flow 'computed'"):
            UCF101(**SMALL, flow=kind).plan(ucf)


def test_without_opencv_the_extra_is_named(ucf, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"'opencv-python-headless'.*rollingq\[lab\]"):
        UCF101(**SMALL).plan(ucf)


def test_the_engine_prepares_both_modalities_and_names_damaged_clips(ucf, tmp_path):
    broken = ucf / "UCF-101" / "Archery" / "v_Archery_g24_c01.avi"
    broken.write_bytes(broken.read_bytes()[:-3000])
    summary = prepare_source(UCF101(**SMALL), root=ucf, out=tmp_path / "out", workers=1)
    assert [(skip.name, skip.file) for skip in summary.skipped] == [
        ("Archery/v_Archery_g24_c01", "UCF-101/Archery/v_Archery_g24_c01.avi")
    ]
    assert summary.counts == {
        "train": {"Archery": 1, "Swing": 1},
        "val": {"Archery": 1, "Swing": 2},
        "test": {"Archery": 2, "Swing": 2},
    }


def hmdb_name(source: str, action: str, number: int = 0) -> str:
    return f"{source}_{action}_f_cm_np1_fr_med_{number}.avi"


def write_hmdb_lists(folder: Path, actions: list[str], sources: int = 20) -> None:
    """Lists of two clips a source: three quarters train, a few test or are unused; "Film" is in every class."""
    folder.mkdir(parents=True)
    for action in actions:
        lines = [f"{hmdb_name('Film', action)} {2 if action == actions[-1] else 1}"]
        for source in range(sources):
            flag = 1 if source < sources * 3 // 4 else 2 if source % 2 else 0
            lines += [f"{hmdb_name(f'web_{source}_{action}', action, n)} {flag} " for n in (0, 1)]
        (folder / f"{action}_test_split1.txt").write_text("\n".join(lines))


def test_hmdb51_holds_whole_sources_out_of_training(tmp_path):
    actions = ["climb", "climb_stairs", "sword"]
    write_hmdb_lists(tmp_path / "lists", actions)
    listing = hmdb_official(tmp_path / "lists", 1)
    assert listing.classes == tuple(actions)
    groups = {split: {c.group for c in listing.clips if c.split == split} for split in ("train", "val", "test", "")}
    assert not groups["train"] & groups["val"]
    assert groups["test"] - groups["train"] - groups["val"] == groups["test"] - {"Film"}
    per_class = Counter(clip.action for clip in listing.clips if clip.split == "val")
    assert set(per_class) == set(actions)
    assert all(2 <= count <= 5 for count in per_class.values())
    assert listing.notes["unused"] == 3 * 4
    assert all(group.endswith(("climb", "stairs", "sword", "Film")) for group in groups["train"])
    assert hmdb_official(tmp_path / "lists", 1) == listing


def test_hmdb51_counts_films_that_are_in_two_splits(tmp_path):
    write_hmdb_lists(tmp_path / "testTrainMulti_7030_splits", ["climb", "wave"])
    for action in ("climb", "wave"):
        for line in (tmp_path / "testTrainMulti_7030_splits" / f"{action}_test_split1.txt").read_text().split("\n"):
            path = tmp_path / action / line.rsplit(None, 1)[0]
            path.parent.mkdir(exist_ok=True)
            path.touch()
    plan = HMDB51(**SMALL).plan(tmp_path)
    overlap = plan.notes["overlap"]
    assert overlap["train-val"] == 0
    assert overlap["train-test"] + overlap["val-test"] == 1
    assert plan.absent == []
    assert len(plan.clips) == 2 * (1 + 2 * (15 + 3))
    assert plan.notes["unused"] == 8


def test_near_takes_half_of_the_classes_and_out_of_distribution_all_clips_of_the_others(tmp_path):
    actions = ["brush_hair", "pick", "pour", "wave"]
    write_hmdb_lists(tmp_path / "lists", actions)
    listing = hmdb_official(tmp_path / "lists", 1)
    inside = choose(listing, "hmdb51", "near", "id")
    outside = choose(listing, "hmdb51", "near", "ood")
    assert (inside.classes, outside.classes) == (("brush_hair", "pick"), ("pour", "wave"))
    assert {clip.split for clip in inside.clips} == {"train", "val", "test"}
    assert {clip.split for clip in outside.clips} == {"test"}
    assert len(outside.clips) == 2 * 41
    assert choose(listing, "hmdb51", "far", "id").classes == ("brush_hair", "wave")


@pytest.mark.parametrize("text", ["no flag.avi\n", "a_wave_x.avi 3\n", "a.avi1\n"])
def test_a_damaged_hmdb51_list_is_refused(tmp_path, text):
    (tmp_path / "wave_test_split1.txt").write_text(text)
    with pytest.raises(DataError, match=r"Expected line 1 of .*wave_test_split1.txt"):
        hmdb_official(tmp_path, 1)


def test_missing_hmdb51_lists_say_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"brush_hair_test_split2\.txt, but got none; .*option lists"):
        HMDB51(split="official:2").plan(tmp_path)


def write_multiood(folder: Path) -> None:
    """Text files named and filled as in MultiOOD's folder of lists."""
    folder.mkdir(parents=True, exist_ok=True)
    for setting, offset in (("_near_ood", 0), ("", 1)):
        for split in ("train", "val", "test"):
            lines = [
                f"{c}/{hmdb_name(f'{split}_{n}', c)} {i}" for i, c in enumerate(("clap", "wave")) for n in range(2)
            ]
            (folder / f"HMDB_{split}{setting}.txt").write_text("\n".join(lines[offset:]))
            (folder / f"UCF_{split}{setting}.txt").write_text(f"v_Archery_g01_c0{len(split)}.avi 0\n")
    (folder / "HMDB_eval_near_ood.txt").write_text(
        f"walk/{hmdb_name('a b', 'walk')} 26\nturn/{hmdb_name('train_0', 'turn')} 25\n"
    )
    (folder / "ID_HMDB_OOD_UCF.txt").write_text("v_Swing_g01_c01.avi 82\n")


def touch_all(root: Path, folder: Path) -> None:
    for path in folder.glob("*.txt"):
        for line in path.read_text().splitlines():
            clip = root / "video" / line.rpartition(" ")[0]
            clip.parent.mkdir(parents=True, exist_ok=True)
            clip.touch()


def test_lists_of_multiood_are_found_by_the_words_of_their_names(tmp_path):
    lists = tmp_path / "splits"
    write_multiood(lists)
    touch_all(tmp_path, lists)
    near = HMDB51(split="lists", classes="near", lists=str(lists)).plan(tmp_path)
    assert near.classes == ("clap", "wave")
    assert Counter(clip.split for clip in near.clips) == {"train": 4, "val": 4, "test": 4}
    assert {(clip.name.split("/")[0], clip.label) for clip in near.clips} == {("clap", 0), ("wave", 1)}
    rest = HMDB51(split="lists", lists=str(lists)).plan(tmp_path)
    assert Counter(clip.split for clip in rest.clips) == {"train": 3, "val": 3, "test": 3}
    outside = HMDB51(split="lists", classes="near", part="ood", lists=str(lists)).plan(tmp_path)
    assert outside.classes == ("turn", "walk")
    assert [(clip.split, clip.label) for clip in outside.clips] == [("test", 0), ("test", 1)]
    ucf = UCF101(split="lists", classes="near", lists=str(lists)).plan(tmp_path)
    assert ucf.classes == ("Archery",)
    assert ucf.notes["overlap"] == {"train-val": 1, "train-test": 1, "val-test": 1}


def test_own_lists_lie_at_the_root_and_absent_clips_are_named(tmp_path):
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.txt").write_text(f"wave/{hmdb_name(split, 'wave')} 0\n")
    write_video(tmp_path / "wave" / hmdb_name("train", "wave"), moving(0))
    plan = HMDB51(split="lists", **SMALL).plan(tmp_path)
    assert [clip.split for clip in plan.clips] == ["train"]
    assert plan.absent == sorted(f"wave/{hmdb_name(split, 'wave')[:-4]}" for split in ("val", "test"))


WRONG_LISTS = {
    "two": ("other_train.txt", "a/b.avi 0", "word 'train' in its name in .*, but got other_train.txt, train.txt"),
    "gap": ("test.txt", "c/d.avi 2", "use labels 0 to 2, but got no clip of label 1"),
    "negative": ("val.txt", "a/b.avi -1", "Expected line 1 of .*val.txt to be 'path label'"),
    "two names": ("val.txt", "c/b.avi 0", "label 0 to be one class .* but got a and c"),
    "two labels": ("val.txt", "a/b.avi 1", "one label for each class"),
    "twice": ("val.txt", "a/train.avi 0", "a/train twice .train and val."),
}


@pytest.mark.parametrize("wrong", WRONG_LISTS)
def test_wrong_lists_are_refused_in_one_line(tmp_path, wrong):
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.txt").write_text(f"a/{split}.avi 0\n")
    file, content, text = WRONG_LISTS[wrong]
    (tmp_path / file).write_text(content)
    with pytest.raises(DataError, match=text) as caught:
        HMDB51(split="lists").plan(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="session")
def ucf_lists() -> Path:
    """The official lists of UCF-101's split 1, if this machine has them."""
    beside = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("ROLLINGQ_DATA", beside)) / "lists" / "ucf101"
    if not folder.is_dir():
        pytest.skip(f"needs the lists of UCF-101: set ROLLINGQ_DATA (looked in {folder})")
    return folder


def test_the_real_lists_of_ucf101(ucf_lists):
    listing = ucf_official(ucf_lists, 1)
    counts = Counter(clip.split for clip in listing.clips)
    assert counts["train"] + counts["val"] == 9537
    assert counts["test"] == 3783
    groups = {split: {c.group for c in listing.clips if c.split == split} for split in counts}
    assert not groups["train"] & groups["val"]
    assert not (groups["train"] | groups["val"]) & groups["test"]
    assert {re.search(r"g(\d+)$", group)[1] for group in groups["val"]} == {"24", "25"}
    assert all({c.action for c in listing.clips if c.split == split} == set(listing.classes) for split in counts)
    assert len(listing.classes) == 101


def test_the_real_lists_give_the_classes_and_counts_of_multiood(ucf_lists):
    listing = ucf_official(ucf_lists, 1)
    near = choose(listing, "ucf101", "near", "id")
    assert (len(near.classes), near.classes[0], near.classes[-1]) == (50, "ApplyEyeMakeup", "Knitting")
    assert len(near.clips) == 4669 + 1005 + 1030
    assert len(choose(listing, "ucf101", "near", "ood").clips) == 6616
    assert len(choose(listing, "ucf101", "far", "ood").classes) == 67


def test_files_of_the_real_lists_are_found_in_a_flat_folder(ucf_lists, tmp_path):
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "v_HandstandPushups_g01_c01.avi").touch()
    plan = UCF101(lists=str(ucf_lists), flow="computed").plan(tmp_path)
    [clip] = plan.clips
    assert (clip.split, plan.classes[clip.label]) == ("test", "HandstandPushups")
    assert len(plan.absent) == 13319
