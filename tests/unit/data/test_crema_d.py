import os
from collections import Counter
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from made_clips import LEVELS, tone, write_video, write_wav

from rollingq.data.prepare.source import BadFileError
from rollingq.data.raw.media import read_audio
from rollingq.data.raw.spectrogram import spectrogram
from rollingq.data.sources.audio_visual import SilentError
from rollingq.data.sources.crema_d import ACTORS, CODES, CREMAD, FOLDERS, label_of_name, label_of_text, read_lists
from rollingq.data.sources.splits import hash_order
from rollingq.errors import DataError

NAMES = ("1001_IEO_NEU_XX", "1002_TIE_HAP_LO", "1091_DFA_ANG_XX")


def make(root: Path, names=NAMES) -> Path:
    for name in names:
        write_wav(root / f"AudioWAV/{name}.wav", tone(3.0))
        write_video(root / f"VideoFlash/{name}.flv")
    return root


def touch(root: Path, names) -> Path:
    """Make empty files, which is enough to plan."""
    for folder, suffix in (("AudioWAV", "wav"), ("VideoFlash", "flv")):
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / f"{name}.{suffix}").touch()
    return root


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return make(tmp_path_factory.mktemp("crema_d"))


@pytest.fixture(scope="module")
def all_names() -> list[str]:
    beside = Path(__file__).parents[4] / "shared" / "data"
    path = Path(os.environ.get("ROLLINGQ_DATA", beside)) / "lists/crema_d/SentenceFilenames.csv"
    if not path.is_file():
        pytest.skip(f"needs the list of CREMA-D's clips: set ROLLINGQ_DATA (looked for {path})")
    return [line.split(",")[1].strip('"') for line in path.read_text().split()[1:]]


def test_the_plan_of_a_replica(release):
    plan = CREMAD().plan(release)
    assert [(clip.name, clip.label, clip.group) for clip in plan.clips] == [
        ("1001_IEO_NEU_XX", 0, "1001"),
        ("1002_TIE_HAP_LO", 1, "1002"),
        ("1091_DFA_ANG_XX", 5, "1091"),
    ]
    assert plan.classes == ("neutral", "happy", "sad", "fear", "disgust", "anger")
    assert plan.clips[1].files == {
        "audio": ("AudioWAV/1002_TIE_HAP_LO.wav",),
        "visual": ("VideoFlash/1002_TIE_HAP_LO.flv",),
    }
    assert (plan.skipped, plan.absent) == ([], [])
    audio, visual = plan.modalities["audio"], plan.modalities["visual"]
    assert (audio.shape, audio.kind, audio.dtype, audio.statistics) == ((1, 257, 299), "spectrogram", "float16", "all")
    assert (visual.shape, visual.kind, visual.dtype, visual.statistics) == ((3, 224, 224), "image", "uint8", "channel")
    assert (visual.is_augmented, audio.is_augmented, audio.has_mask, visual.has_mask) == (True, False, False, False)


@pytest.mark.parametrize(("recipe", "shape"), [("paper", (257, 299)), ("code", (257, 188))])
def test_a_sample_is_the_spectrogram_of_the_wav_and_the_middle_frame_of_the_video(release, recipe, shape):
    source = CREMAD(recipe=recipe, size=32)
    plan = source.plan(release)
    arrays = source.read(plan.clips[0], release)
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == {
        name: (spec.shape, np.dtype(spec.dtype)) for name, spec in plan.modalities.items()
    }
    assert arrays["audio"].shape[1:] == shape
    samples = tone(3.0) if recipe == "paper" else read_audio(release / "AudioWAV/1001_IEO_NEU_XX.wav", rate=22050)
    expected = spectrogram(samples, recipe, 3.0)
    np.testing.assert_allclose(arrays["audio"][0], expected, atol=0.05)
    assert abs(arrays["visual"].astype(float) - LEVELS[1]).max() < 6


def test_frames_follow_the_seconds_of_the_video(release):
    source = CREMAD(num_frames=3, size=16)
    plan = source.plan(release)
    frames = source.read(plan.clips[0], release)["visual"]
    assert (frames.shape, plan.modalities["visual"].kind) == ((3, 3, 16, 16), "frames")
    np.testing.assert_allclose(frames.mean((1, 2, 3)), LEVELS[:3], atol=6)
    dense = CREMAD(num_frames=6, frames_per_second=2.0, size=16).read(plan.clips[0], release)["visual"]
    np.testing.assert_allclose(dense.mean((1, 2, 3)), np.repeat(LEVELS[:3], 2), atol=6)


def test_odd_names_are_named(tmp_path):
    touch(tmp_path, ["1001_IEO_NEU_XX", "1001_IEO_JOY_XX", "2001_IEO_NEU_XX", "notes"])
    plan = CREMAD().plan(tmp_path)
    assert [clip.name for clip in plan.clips] == ["1001_IEO_NEU_XX"]
    reasons = {skip.file: skip.reason for skip in plan.skipped}
    assert len(reasons) == 6
    assert "expected one of the emotions NEU" in reasons["AudioWAV/1001_IEO_JOY_XX.wav"]
    assert "expected an actor from 1001 to 1091" in reasons["VideoFlash/2001_IEO_NEU_XX.flv"]
    assert "expected a name such as 1001_IEO_NEU_XX, got notes" in reasons["AudioWAV/notes.wav"]


def test_the_misnamed_file_of_early_releases_finds_its_partner(tmp_path):
    touch(tmp_path, ["1040_ITH_SAD_XX"])
    (tmp_path / "AudioWAV/1040_ITH_SAD_XX.wav").rename(tmp_path / "AudioWAV/1040_ITH_SAD_X.wav")
    [clip] = CREMAD().plan(tmp_path).clips
    assert clip.name == "1040_ITH_SAD_XX"
    assert clip.files["audio"] == ("AudioWAV/1040_ITH_SAD_X.wav",)
    (tmp_path / "AudioWAV/1040_ITH_SAD_XX.wav").touch()
    plan = CREMAD().plan(tmp_path)
    assert plan.clips[0].files["audio"] == ("AudioWAV/1040_ITH_SAD_XX.wav",)
    assert [(skip.file, "a second file" in skip.reason) for skip in plan.skipped] == [
        ("AudioWAV/1040_ITH_SAD_X.wav", True)
    ]


def silent(root: Path, name: str) -> None:
    write_wav(root / f"AudioWAV/{name}.wav", np.zeros(32000))


DAMAGES = {
    "silent": ("AudioWAV/{}.wav", silent, "nothing was recorded: all 32000 samples of the sound are zero"),
    "no wav": ("AudioWAV/{}.wav", lambda root, name: (root / f"AudioWAV/{name}.wav").unlink(), "the file is missing"),
    "no flv": (
        "VideoFlash/{}.flv",
        lambda root, name: (root / f"VideoFlash/{name}.flv").unlink(),
        "the file is missing",
    ),
    "pointer": (
        "VideoFlash/{}.flv",
        lambda root, name: (root / f"VideoFlash/{name}.flv").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "a Git LFS pointer",
    ),
    "empty": ("AudioWAV/{}.wav", lambda root, name: (root / f"AudioWAV/{name}.wav").write_bytes(b""), "empty"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_clip_is_planned_and_refused_when_read(tmp_path, damage):
    root = make(tmp_path, ["1076_MTI_SAD_XX", "1001_IEO_NEU_XX"])
    file, spoil, reason = DAMAGES[damage]
    spoil(root, "1076_MTI_SAD_XX")
    source = CREMAD(size=16)
    sound, damaged = source.plan(root).clips
    assert source.read(sound, root)["visual"].shape == (3, 16, 16)
    with pytest.raises(BadFileError, match=reason) as caught:
        source.read(damaged, root)
    assert caught.value.file == file.format("1076_MTI_SAD_XX")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, SilentError) == (damage == "silent")


def test_clips_of_the_release_without_files_are_absent(tmp_path):
    touch(tmp_path, NAMES[:2])
    (tmp_path / "SentenceFilenames.csv").write_text(
        '"Stimulus_Number","Filename"\n1,"1001_IEO_NEU_XX"\n2,"1002_TIE_HAP_LO"\n3,"1003_TIE_HAP_XX"\n'
    )
    plan = CREMAD().plan(tmp_path)
    assert plan.absent == ["1003_TIE_HAP_XX"]
    (tmp_path / "SentenceFilenames.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="the column Filename, but got a, b"):
        CREMAD().plan(tmp_path)


def test_the_real_clips_are_divided_by_actors(tmp_path, all_names, monkeypatch):
    def listed(_, modality: str) -> list[str]:
        folder, suffix = FOLDERS[modality]
        return [f"{folder}/{name}{suffix}" for name in all_names]

    monkeypatch.setattr("rollingq.data.sources.crema_d._files", listed)
    plan = CREMAD().plan(tmp_path)
    assert (len(plan.clips), len(all_names), list(plan.skipped)) == (7442, 7442, [])
    assert plan.notes["actors"] == {"train": 64, "val": 9, "test": 18}
    assert plan.notes["overlap"] == {"train-val": 0, "train-test": 0, "val-test": 0}
    order = hash_order(ACTORS, "0")
    by_hand = {actor: "test" if n < 18 else "val" if n < 27 else "train" for n, actor in enumerate(order)}
    assert all(clip.split == by_hand[clip.name[:4]] for clip in plan.clips)
    counts = Counter((clip.split, clip.label) for clip in plan.clips)
    for split, share in (("train", 64 / 91), ("val", 9 / 91), ("test", 18 / 91)):
        of_split = [counts[split, label] for label in range(6)]
        assert abs(sum(of_split) / 7442 - share) < 0.01
        np.testing.assert_allclose(np.array(of_split) / sum(of_split), [1087 / 7442, *[1271 / 7442] * 5], atol=0.005)
    other = CREMAD(split="actors:1").plan(tmp_path)
    assert {clip.name: clip.split for clip in other.clips} != {clip.name: clip.split for clip in plan.clips}
    mixed = CREMAD(split="random:3").plan(tmp_path)
    assert mixed.notes["overlap"]["train-test"] == 91
    happy = Counter(clip.split for clip in mixed.clips if clip.label == 1)
    assert happy == {"train": 1017, "val": 127, "test": 127}


def test_an_actor_stays_in_the_split_when_others_are_missing(tmp_path):
    whole = CREMAD().plan(touch(tmp_path / "whole", [f"{actor}_IEO_NEU_XX" for actor in ACTORS])).clips
    part = CREMAD().plan(touch(tmp_path / "part", [f"{actor}_IEO_NEU_XX" for actor in ACTORS[::7]])).clips
    assert {clip.name: clip.split for clip in part}.items() <= {clip.name: clip.split for clip in whole}.items()


@pytest.fixture
def listed(tmp_path) -> Path:
    names = [f"{actor}_IEO_{code}_XX" for actor in ACTORS[:20] for code in CODES]
    return touch(tmp_path, names)


def write_lists(root: Path, **lists: str) -> None:
    for split, text in lists.items():
        (root / f"{split}.csv").write_text(text)


def test_the_users_lists_decide_and_validation_comes_out_of_train(listed):
    train = [f"{actor}_IEO_{code}_XX" for actor in ACTORS[:10] for code in CODES]
    test = [f"{actor}_IEO_{code}_XX" for actor in ACTORS[10:15] for code in CODES] + ["1090_IEO_NEU_XX"]
    write_lists(
        listed,
        train="name,label\n" + "".join(f"{name},{label_of_name(name)}\n" for name in train),
        test="".join(f"{name}.wav {name.split('_')[2]}\n" for name in test),
    )
    plan = CREMAD(split="paper").plan(listed)
    splits = {split: {clip.name for clip in plan.clips if clip.split == split} for split in ("train", "val", "test")}
    assert (splits["test"], splits["train"] | splits["val"]) == (set(test[:-1]), set(train))
    by_hand = {hash_order([name for name in train if code in name])[0] for code in CODES}
    assert splits["val"] == by_hand
    assert plan.absent == ["1090_IEO_NEU_XX"]
    assert plan.notes["unlisted"] == {"clips": 30}
    assert plan.notes["overlap"]["train-test"] == 0


def test_lists_elsewhere_with_their_own_validation(listed, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    write_lists(folder, train="1001_IEO_NEU_XX neutral\n", test="1001_IEO_HAP_XX Happy\n", val="1002_IEO_SAD_XX,sad\n")
    plan = CREMAD(split="paper", lists=str(folder)).plan(listed)
    assert {clip.name: clip.split for clip in plan.clips} == {
        "1001_IEO_NEU_XX": "train",
        "1001_IEO_HAP_XX": "test",
        "1002_IEO_SAD_XX": "val",
    }
    assert plan.notes["overlap"] == {"train-val": 0, "train-test": 1, "val-test": 0}


def test_a_label_that_contradicts_the_name_is_named(listed):
    write_lists(listed, train="1001_IEO_NEU_XX,1\n1001_IEO_HAP_XX,1\nclip7,2\n", test="1002_IEO_SAD_XX,2\n")
    plan = CREMAD(split="paper").plan(listed)
    assert sorted(clip.name for clip in plan.clips) == ["1001_IEO_HAP_XX", "1002_IEO_SAD_XX"]
    assert {skip.name: (skip.file, skip.reason) for skip in plan.skipped} == {
        "1001_IEO_NEU_XX": ("train.csv", "expected label NEU as in its name, but the list says 1"),
        "clip7": ("train.csv", "expected a name such as 1001_IEO_NEU_XX, got clip7"),
    }


BAD_LISTS = {
    "unknown label": (
        {"train": "1001_IEO_NEU_XX,joy\n", "test": ""},
        "labels 0 to 5 or one of NEU.*1001_IEO_NEU_XX 'joy'",
    ),
    "in two lists": (
        {"train": "1001_IEO_NEU_XX,0\n", "test": "1001_IEO_NEU_XX,0\n"},
        "every clip in one list, but got 1001_IEO_NEU_XX again in .*test.csv",
    ),
    "twice": ({"train": "1001_IEO_NEU_XX,0\n1001_IEO_NEU_XX.wav,0\n"}, "every clip in one list"),
    "no test list": ({"train": "1001_IEO_NEU_XX,0\n"}, "test.csv, but got: No such file"),
    "other clips": ({"train": "1091_IEO_NEU_XX,0\n", "test": "1090_IEO_NEU_XX 0\n"}, "name clips of"),
}


@pytest.mark.parametrize("kind", BAD_LISTS)
def test_lists_with_mistakes_are_refused_in_one_line(listed, kind):
    lists, text = BAD_LISTS[kind]
    write_lists(listed, **lists)
    with pytest.raises(DataError, match=text) as caught:
        CREMAD(split="paper").plan(listed)
    assert "\n" not in str(caught.value)


def test_validation_of_a_list_does_not_depend_on_the_files_that_are_there(listed):
    names = [f"{actor}_IEO_HAP_XX" for actor in ACTORS[:20]]
    write_lists(listed, train="".join(f"{name},1\n" for name in names), test="1021_IEO_HAP_XX,1\n")
    assert [name for name, split in read_lists(listed).splits.items() if split == "val"] == [
        name for name in names if name in hash_order(names)[:2]
    ]


def test_another_folder_is_refused(tmp_path):
    for folder in ("nowhere", "."):
        with pytest.raises(DataError, match=r"AudioWAV/\*\.wav and VideoFlash/\*\.flv.*Give the folder") as caught:
            CREMAD().plan(tmp_path / folder)
        assert "\n" not in str(caught.value)
    write_wav(tmp_path / "AudioWAV/1001_IEO_NEU_XX.wav", tone(0.1))
    with pytest.raises(DataError, match=r"got no VideoFlash/\*\.flv"):
        CREMAD().plan(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"recipe": "papr"}, {"num_frames": 0}, {"size": -1}, {"frames_per_second": float("nan")}, {"split": "actor"}],
)
def test_options_are_checked(options):
    with pytest.raises(DataError, match=r"Expected .* but got"):
        CREMAD(**options)


def test_options_are_frozen():
    with pytest.raises(FrozenInstanceError):
        CREMAD().size = 3


def test_labels_of_lists():
    assert [label_of_text(text) for text in ("0", "5", "neu", "ANG", "Fear", "6", "", "1.0")] == [
        0, 5, 0, 5, 3, None, None, None,
    ]  # fmt: skip
