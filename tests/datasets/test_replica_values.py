"""What is in a prepared folder belongs together and is what the raw files hold: seen on made replicas."""

import shutil
from collections import Counter
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
import replicas
from dataset_steps import SMALL, Command, Place, prepared, samples


def peak(spectrogram: np.ndarray) -> float:
    """Return the strongest frequency of a "paper" spectrogram [1, 257, T], in hertz."""
    return float(spectrogram[0].astype(np.float32).mean(1).argmax() * 16000 / 512)


def small(picture: np.ndarray) -> np.ndarray:
    """Return a picture as [3, 32, 32]."""
    return cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).transpose(2, 0, 1).astype(np.float32)


def nearest_seed(frame: np.ndarray, number: int, count: int) -> int:
    """Return the seed whose picture of this number is the most like a frame."""
    distances = [np.abs(small(list(replicas.pictures(10, seed))[number]) - frame).mean() for seed in range(count)]
    assert min(distances) < 10
    return int(np.argmin(distances))


def test_sound_and_frames_of_crema_d_are_those_of_the_name(raw: Place, command: Command) -> None:
    prepared(command, "crema_d", raw("crema_d"), *SMALL)
    names = replicas.crema_d_names()
    found = samples()
    assert sorted(name for _, name, _, _ in found) == sorted(names)
    for split, name, label, arrays in found:
        assert name[:4] in replicas.CREMA_D_ACTORS[split]
        assert label == {"NEU": "neutral", "SAD": "sad"}[name[9:12]]
        assert peak(arrays["audio"]) == pytest.approx(300 + 20 * names.index(name), abs=32)
        assert nearest_seed(arrays["visual"], 5, len(names)) == names.index(name)


def test_sound_of_kinetics_is_that_of_the_name(raw: Place, command: Command) -> None:
    prepared(command, "kinetics_sound", raw("kinetics_sound"), *SMALL, "--num_frames", "1")
    for split, name, label, arrays in samples():
        number = int(name[3:11])
        assert (split == "test") == (number >= 8)
        assert label == ("bowling" if number in (0, 1, 2, 3, 8, 9) else "playing drums")
        assert peak(arrays["audio"]) == pytest.approx(300 + 30 * number, abs=32)


def test_videos_without_sound_are_named_or_masked(raw: Place, command: Command) -> None:
    root = Path(shutil.copytree(raw("kinetics_sound"), "raw"))
    file = replicas.take_sound_away(root)
    silent = PurePosixPath(file).stem
    summary = prepared(command, "kinetics_sound", root, *SMALL, code=1)
    assert summary["skipped"] == [{"name": silent, "file": file, "reason": "no sound"}]
    assert summary["total"] == 11
    prepared(command, "kinetics_sound", root, *SMALL, "--no_sound", "mask")
    heard = {name: bool(arrays["audio/mask"].all()) for _, name, _, arrays in samples()}
    assert heard == {name: name != silent for name in heard}
    assert len(heard) == 12


@pytest.mark.parametrize("kind", ["computed", "videos", "images"])
def test_flow_is_the_motion_of_the_pixels(kind: str, raw: Place, command: Command) -> None:
    """The texture moves by 2 of 64 pixels to the right: one of 32, or 6.35 levels."""
    root = raw("hmdb51")
    if kind != "computed":
        root = Path(shutil.copytree(root, "raw"))
        {"videos": replicas.write_flow_videos, "images": replicas.write_flow_images}[kind](root, ".")
    summary = prepared(command, "hmdb51", root, *SMALL)
    assert summary["notes"]["flow"] == kind
    for _, name, label, arrays in samples():
        assert name.startswith(f"{label}/Film")
        if kind == "computed":
            assert np.median(arrays["flow"][:, 0]) == pytest.approx(134.35, abs=2)
            assert np.median(arrays["flow"][:, 1]) == pytest.approx(128, abs=2)
    if kind == "computed":
        return
    videos = sorted(root.glob("*/*.avi"), key=lambda path: path.parts)
    for _, name, _, arrays in samples():
        at = next(i for i, video in enumerate(videos) if video.stem == PurePosixPath(name).stem)
        expected = flow_pictures(kind, at)
        assert np.abs(arrays["flow"] - expected).mean() < 10


def flow_pictures(kind: str, at: int) -> np.ndarray:
    """Return what the replica's flow of frames 1, 5 and 8 of clip ``at`` shows: [3, 2, 32, 32]."""
    numbers = (1, 5, 8)
    if kind == "videos":
        axes = [list(replicas.pictures(9, at + 100 * axis)) for axis in (0, 1)]
        return np.stack([np.stack([small(frames[n])[0] for frames in axes]) for n in numbers])
    seeds = [[1000 * at + n + 1 + 500 * axis for axis in (0, 1)] for n in numbers]
    return np.stack([np.stack([small(next(replicas.pictures(1, seed)))[0] for seed in pair]) for pair in seeds])


def sentiment_class(y: float, rule: str) -> str:
    if rule == "acc2":
        return "positive" if y > 0 else "not_positive"
    if rule == "acc2_nonneg":
        return "negative" if y < 0 else "not_negative"
    if rule == "acc3":
        return "negative" if y < -0.5 else "positive" if y > 0.5 else "neutral"
    names = ("highly_negative", "negative", "weakly_negative", "neutral", "weakly_positive", "positive")
    return [*names, "highly_positive"][round(y) + 3]


@pytest.mark.parametrize("rule", ["acc2", "acc2_nonneg", "acc3", "acc7"])
def test_classes_of_cmu_mosei_follow_the_rule(rule: str, raw: Place, command: Command) -> None:
    summary = prepared(command, "cmu_mosei", raw("cmu_mosei"), "--labels", rule, "--length", "9")
    for split, size in replicas.MOSEI_SIZES.items():
        expected = Counter(sentiment_class(y, rule) for y in np.linspace(-3, 3, size).tolist())
        found = summary["counts"]["val" if split == "valid" else split]
        assert {name: count for name, count in found.items() if count} == expected
    for _, name, _, arrays in samples():
        real = 9 - (1 + int(name.split("_")[1]) % 3)
        assert {arrays[f"{m}/mask"].sum() for m in ("text", "audio", "visual")} == {real}


def test_image_and_voice_of_av_mnist_are_of_the_same_digit(raw: Place, command: Command) -> None:
    prepared(command, "av_mnist", raw("av_mnist"))
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    images = np.random.default_rng(0).integers(0, 256, (24, 28, 28))
    for split, name, label, arrays in samples():
        part, number, digit, speaker, _ = name.split("_")
        assert (part, speaker) == (split, replicas.SPEAKERS[("train", "val", "test").index(split)])
        assert words.index(label) == int(digit) == int(number) % 10
        if split != "test":
            pixels = images[int(number)].reshape(7, 4, 7, 4).swapaxes(1, 2).reshape(49, 16)
            np.testing.assert_array_equal(arrays["image"], pixels)


def test_own_samples_are_padded_and_masked(raw: Place, command: Command) -> None:
    prepared(command, "custom", raw("custom"), *SMALL)
    found = samples()
    assert [name for _, name, _, _ in found] == [f"clip{number:02d}" for number in range(12)]
    for number, (_, _, label, arrays) in enumerate(found):
        assert label == ("dog", "cat")[number % 2]
        steps = np.random.default_rng(number).normal(size=(4 + number % 3, 5)).astype(np.float32)
        assert arrays["motion/mask"].sum() == len(steps)
        np.testing.assert_array_equal(arrays["motion"][: len(steps)], steps)
        assert bool(arrays["photo/mask"].item()) == (number != 3)
        assert peak(arrays["audio"]) == pytest.approx(250 + 25 * number, abs=32)
