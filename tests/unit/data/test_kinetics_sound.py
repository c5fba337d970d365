from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from made_clips import LEVELS, write_video

from rollingq.data.prepare.readers import read_clip
from rollingq.data.prepare.source import BadFileError, Skipped
from rollingq.data.raw.decoding import NoSoundError
from rollingq.data.sources.kinetics_sound import CLASSES, KineticsSound, from_folders, from_lists, read_rows
from rollingq.data.sources.splits import hash_order
from rollingq.errors import DataError

HEADER = "label,youtube_id,time_start,time_end,split\n"


def video_id(number: int) -> str:
    return f"-a_{number:08d}"


def touch(root: Path, file: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def fill(root: Path, pool: str, label: str, numbers) -> None:
    for number in numbers:
        touch(root, f"{pool}/{label}/{video_id(number)}_000010_000020.mp4")


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """One clip with sound, one without, one that is silent, and a whole video of 9 s to cut."""
    root = tmp_path_factory.mktemp("kinetics")
    for number, (seconds, hertz) in enumerate([(4, 440.0), (4, None), (4, 0.0)]):
        write_video(root / f"train/tapping pen/{video_id(number)}_000010_000014.mp4", seconds, hertz=hertz)
    write_video(root / f"whole/{video_id(9)}.mp4", 9)
    return root


def test_the_classes_are_31_sorted_names():
    assert (len(set(CLASSES)), list(CLASSES)) == (31, sorted(CLASSES))
    assert sum(name.startswith("playing ") for name in CLASSES) == 15


def test_kinetics_own_parts_become_splits(tmp_path):
    fill(tmp_path, "train", "playing drums", range(40))
    fill(tmp_path, "train", "tapping_pen", range(40, 60))
    fill(tmp_path, "validate", "playing drums", range(60, 63))
    fill(tmp_path, "test", "tickling", range(63, 65))
    fill(tmp_path, "train", "abseiling", range(70, 75))
    fill(tmp_path, "val", "zumba", range(75, 76))
    plan = KineticsSound().plan(tmp_path)
    drums, pen, tickling = (CLASSES.index(name) for name in ("playing drums", "tapping pen", "tickling"))
    assert Counter((clip.split, clip.label) for clip in plan.clips) == {
        ("train", drums): 36,
        ("val", drums): 4,
        ("train", pen): 18,
        ("val", pen): 2,
        ("test", drums): 3,
        ("test", tickling): 2,
    }
    by_hand = set(hash_order(map(video_id, range(40)))[:4]) | set(hash_order(map(video_id, range(40, 60)))[:2])
    assert {clip.group for clip in plan.clips if clip.split == "val"} == by_hand
    assert plan.notes["overlap"] == {"train-val": 0, "train-test": 0, "val-test": 0}
    assert plan.notes["other classes"] == {"classes": 2, "clips": 6}
    assert len(plan.notes["classes without clips"]) == 28
    assert plan.notes["split"] == "kinetics"
    assert [clip.name for clip in plan.clips] == sorted(clip.name for clip in plan.clips)
    clip = next(clip for clip in plan.clips if clip.group == video_id(41))
    assert clip.files["audio"] == clip.files["visual"] == (f"train/tapping_pen/{video_id(41)}_000010_000020.mp4",)
    assert (clip.name, clip.start, clip.end) == (f"{video_id(41)}_000010_000020", 0.0, 0.0)


def test_the_form_of_a_sample():
    specs = KineticsSound().modalities()
    assert (specs["audio"].shape, specs["audio"].has_mask) == ((1, 257, 1004), False)
    assert (specs["visual"].shape, specs["visual"].kind) == ((3, 3, 224, 224), "frames")
    assert KineticsSound(recipe="fbank").modalities()["audio"].shape == (1, 128, 1024)
    assert KineticsSound(no_sound="mask").modalities()["audio"].has_mask


@pytest.mark.parametrize("layout", ["train/{}", "{}"])
def test_a_single_part_is_divided_by_the_hash_and_the_plan_says_so(tmp_path, layout):
    for number in range(30):
        touch(tmp_path, f"{layout.format('singing')}/{video_id(number)}_000000_000010.mp4")
    plan = KineticsSound().plan(tmp_path)
    order = hash_order(map(video_id, range(30)), "0")
    by_hand = {video: "test" if n < 3 else "val" if n < 6 else "train" for n, video in enumerate(order)}
    assert {clip.group: clip.split for clip in plan.clips} == by_hand
    assert plan.notes["split"].startswith("hash:0, for the root holds")
    other = KineticsSound(split="hash:5").plan(tmp_path)
    assert {clip.group: clip.split for clip in other.clips} != by_hand
    assert other.notes["split"] == "hash:5"


def test_a_video_of_two_clips_stays_whole(tmp_path):
    for start in (0, 50):
        for number in range(20):
            touch(tmp_path, f"train/bowling/{video_id(number)}_{start:06d}_{start + 10:06d}.mp4")
    fill(tmp_path, "val", "bowling", range(30, 32))
    for split in ("kinetics", "hash:1"):
        plan = KineticsSound(split=split).plan(tmp_path)
        assert len(plan.clips) == 42
        assert sum(plan.notes["overlap"].values()) == 0


def test_a_video_in_two_of_kinetics_parts_is_counted(tmp_path):
    fill(tmp_path, "train", "bowling", range(20))
    for number in range(2):
        touch(tmp_path, f"val/bowling/{video_id(number)}_000090_000100.mp4")
    overlap = KineticsSound().plan(tmp_path).notes["overlap"]
    assert (overlap["train-val"], overlap["train-test"] + overlap["val-test"]) == (0, 2)


def test_the_same_clip_twice_is_named(tmp_path):
    fill(tmp_path, "train", "bowling", range(5))
    fill(tmp_path, "val", "singing", [4, 9])
    plan = KineticsSound().plan(tmp_path)
    name = f"{video_id(4)}_000010_000020"
    assert [(skip.name, skip.file) for skip in plan.skipped] == [(name, f"val/singing/{name}.mp4")]
    assert "kept as bowling of train" in plan.skipped[0].reason
    assert len(plan.clips) == 6


@pytest.fixture
def lists(tmp_path) -> Path:
    """Lists of three parts over flat folders: some clips cut, some whole, some without a file, one unlisted."""
    train = [f"singing,{video_id(n)},10,20,train\n" for n in range(12)] + [f"zumba,{video_id(50)},0,10,train\n"]
    (tmp_path / "train.csv").write_text(HEADER + "".join(train))
    (tmp_path / "validate.csv").write_text(f'{HEADER}"tapping pen",{video_id(20)},3,13,validate\n')
    (tmp_path / "test.csv").write_text(f"youtube_id,time_start,time_end,split\n{video_id(30)},3,13,test\n")
    (tmp_path / "other.csv").write_bytes(b"a,b\n\xff,2\n")
    for n in range(10):
        touch(tmp_path, f"videos/{video_id(n)}_000010_000020.mp4")
    touch(tmp_path, f"more/{video_id(20)}.mp4")
    touch(tmp_path, f"videos/{video_id(77)}_000010_000020.mp4")
    return tmp_path


def test_lists_beside_flat_folders(lists):
    plan = KineticsSound().plan(lists)
    assert Counter(clip.split for clip in plan.clips) == {"train": 9, "val": 1, "test": 1}
    cut = next(clip for clip in plan.clips if clip.split == "test")
    assert (cut.name, cut.files["visual"], cut.start, cut.end) == (
        f"{video_id(20)}_000003_000013",
        (f"more/{video_id(20)}.mp4",),
        3.0,
        13.0,
    )
    assert cut.label == CLASSES.index("tapping pen")
    assert plan.absent == [f"{video_id(n)}_000010_000020" for n in (10, 11)]
    assert (plan.notes["unlisted videos"], plan.notes["unlabelled rows"]) == (1, 1)
    assert plan.notes["other classes"] == {"classes": 1, "clips": 1}


def test_lists_in_a_folder_of_their_own_or_named_by_the_user(lists):
    before = KineticsSound().plan(lists)
    (lists / "annotations").mkdir()
    for name in ("train", "validate", "test"):
        (lists / f"{name}.csv").rename(lists / f"annotations/{name}.csv")
    assert KineticsSound().plan(lists) == before
    assert KineticsSound(lists=str(lists / "annotations")).plan(lists) == before
    with pytest.raises(DataError, match="csv lists with the columns label, youtube_id"):
        KineticsSound(lists=str(lists / "videos")).plan(lists)


def test_a_list_of_all_parts_beside_them_changes_nothing(lists):
    before = KineticsSound().plan(lists)
    rows = (lists / "train.csv").read_text() + (lists / "validate.csv").read_text().removeprefix(HEADER)
    (lists / "kinetics400.csv").write_text(rows)
    after = KineticsSound().plan(lists)
    assert (after.clips, after.skipped, after.absent) == (before.clips, before.skipped, before.absent)


BAD_ROWS = {
    "short id": f"singing,abc,10,20,train\nsinging,{video_id(1)},10,20,train\n",
    "no number": f"singing,{video_id(1)},x,20,train\n",
    "infinite": f"singing,{video_id(1)},0,inf,train\n",
    "backwards": f"singing,{video_id(1)},20,10,train\n",
    "unknown part": f"singing,{video_id(1)},10,20,learn\n",
    "too short": f"singing,{video_id(1)}\n",
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_damaged_lists_are_refused_in_one_line(lists, kind):
    (lists / "train.csv").write_text(HEADER + BAD_ROWS[kind])
    with pytest.raises(DataError, match=r"train\.csv to hold an id of 11 characters.*in line 2\. Mend") as caught:
        KineticsSound().plan(lists)
    assert "\n" not in str(caught.value)


BAD_LISTS = {
    "empty": b"",
    "page": b"<!DOCTYPE html>\n<html></html>\n",
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "NUL": b"label,youtube_id\0,time_start,time_end,split\n",
    "UTF-16": HEADER.encode("utf-16"),
    "other columns": b"path,label\na.mp4,singing\n",
    "noise": np.random.default_rng(0).bytes(5000),
    "header alone": HEADER.encode(),
}


@pytest.mark.parametrize("name", ["train.csv", "kinetics400_val.csv", "annotations/all.csv"])
@pytest.mark.parametrize("kind", BAD_LISTS)
def test_a_file_that_should_be_a_list_is_not_passed_over(lists, name, kind):
    (lists / "annotations").mkdir()
    (lists / name).write_bytes(BAD_LISTS[kind])
    with pytest.raises(
        DataError, match=rf"{Path(name).stem}\.csv to (have the columns label|hold clips).* but got"
    ) as caught:
        KineticsSound().plan(lists)
    assert str(caught.value).isprintable()


def test_a_quote_that_is_not_closed_is_refused(lists):
    (lists / "train.csv").write_text(f'{HEADER}"singing,{video_id(1)},1,2,train\n' + "x" * 200_000)
    with pytest.raises(DataError, match=r"train\.csv to be a csv file.*quote"):
        KineticsSound().plan(lists)


def test_a_list_without_parts_is_of_the_part_of_its_name(tmp_path):
    (tmp_path / "val.csv").write_text(f"label,youtube_id,time_start,time_end\nsinging,{video_id(1)},10,20\n")
    [row] = read_rows(tmp_path / "val.csv")
    assert (row.pool, row.label) == ("val", "singing")
    assert from_lists([tmp_path / "val.csv"], [f"a/{row.name}.mkv"])[0][0].file == f"a/{row.name}.mkv"


def test_videos_outside_of_the_layout_are_counted():
    entries, notes = from_folders(["a.mp4", "train/singing/x/b.mp4", "extra/singing/c.mp4", "train/singing/d.mp4"])
    assert [(entry.name, entry.video, entry.pool) for entry in entries] == [("d", "d", "train")]
    assert notes["videos outside of the layout"] == 3


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    fill(tmp_path / "disk", "train", "bowling", range(4))
    (tmp_path / "root").mkdir()
    (tmp_path / "root/train").symlink_to(tmp_path / "disk/train")
    (tmp_path / "disk/train/bowling/again").symlink_to(tmp_path / "root")
    assert len(KineticsSound().plan(tmp_path / "root").clips) == 4


def test_a_root_without_the_classes_is_refused(tmp_path):
    fill(tmp_path, "train", "abseiling", range(2))
    for folder in ("nowhere", "."):
        with pytest.raises(DataError, match="with a folder for each class") as caught:
            KineticsSound().plan(tmp_path / folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"no_sound": "drop"}, {"split": "random:1"}, {"split": "hash:x"}, {"size": 0}])
def test_options_are_checked(options):
    with pytest.raises(DataError, match=r"Expected .* but got"):
        KineticsSound(**options)


def test_clips_without_sound_are_named_or_masked(media):
    skipping = KineticsSound(size=16)
    heard, mute, silent = skipping.plan(media).clips
    arrays = skipping.read(heard, media)
    np.testing.assert_allclose(arrays["visual"].mean((1, 2, 3)), [LEVELS[n] for n in (0, 2, 3)], atol=6)
    assert (arrays["audio"].shape, arrays["audio"].dtype) == ((1, 257, 1004), np.float16)
    for clip, reason in ((mute, "no sound"), (silent, "no sound: every sample is zero")):
        with pytest.raises(BadFileError, match=f"^{reason}") as caught:
            skipping.read(clip, media)
        assert caught.value.file == clip.files["audio"][0]
    masking = KineticsSound(size=16, no_sound="mask")
    for clip in (mute, silent):
        assert set(masking.read(clip, media)) == {"visual"}
    outcome = read_clip(mute, source=masking, root=media, modalities=masking.modalities())
    assert not isinstance(outcome, Skipped)
    assert (outcome["audio/mask"].tolist(), outcome["audio"].any()) == ([False], False)
    assert issubclass(NoSoundError, BadFileError)


def test_a_damaged_video_is_no_clip_without_sound(media, tmp_path):
    file = f"train/tapping pen/{video_id(0)}_000010_000014.mp4"
    data = (media / file).read_bytes()
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(data[: len(data) // 3])
    source = KineticsSound(size=16, no_sound="mask")
    [clip] = source.plan(tmp_path).clips
    with pytest.raises(BadFileError, match=r"^(?!no sound)"):
        source.read(clip, tmp_path)


@pytest.mark.parametrize("layout", ["folders", "lists"])
def test_a_folder_in_place_of_a_video_is_named(tmp_path, layout):
    fill(tmp_path, "train", "bowling", range(2))
    file = f"train/bowling/{video_id(5)}_000010_000020.MP4"
    touch(tmp_path, f"{file}/inside/{video_id(6)}_000010_000020.mp4")
    if layout == "lists":
        rows = "".join(f"bowling,{video_id(n)},10,20,train\n" for n in (0, 1, 5))
        (tmp_path / "train.csv").write_text(HEADER + rows)
    plan = KineticsSound().plan(tmp_path)
    assert [clip.files["audio"] for clip in plan.clips][2:] == [(file,)]
    assert plan.absent == []
    with pytest.raises(BadFileError, match=r"^expected a file, got a folder$") as caught:
        KineticsSound().read(plan.clips[2], tmp_path)
    assert caught.value.file == file


def test_a_whole_video_is_cut_by_the_times_of_the_list(media, tmp_path):
    root = tmp_path
    (root / "videos").mkdir()
    (root / f"videos/{video_id(9)}.mp4").write_bytes((media / f"whole/{video_id(9)}.mp4").read_bytes())
    (root / "train.csv").write_text(f"{HEADER}singing,{video_id(9)},4,7,train\n")
    source = KineticsSound(size=16)
    [clip] = source.plan(root).clips
    arrays = source.read(clip, root)
    np.testing.assert_allclose(arrays["visual"].mean((1, 2, 3)), LEVELS[4:7], atol=6)
