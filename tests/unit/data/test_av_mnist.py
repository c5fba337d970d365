import gzip
import os
import struct
import subprocess
import sys
import wave
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from shutil import copyfile, copytree

import numpy as np
import pytest
from scipy.signal import stft

from rollingq.data.prepare.source import SPLITS, BadFileError, Clip
from rollingq.data.raw.idx import read_idx
from rollingq.data.sources import av_mnist, av_mnist_audio
from rollingq.data.sources.av_mnist import AVMNIST, principal_components, projected
from rollingq.data.sources.av_mnist_audio import SPEAKERS, Utterance, pair
from rollingq.errors import DataError, MissingExtraError

INDICES = (0, 5, 10, 11)
NUM_TRAIN, NUM_VAL, NUM_TEST = 55, 5, 20


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000, channels: int = 1, width: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype(f"<i{width}").tobytes())


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)


def write_mnist(folder: Path, end: str = ".gz") -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", NUM_TRAIN + NUM_VAL), ("t10k", NUM_TEST)):
        ramp = np.linspace(0, 200, 784).reshape(28, 28) * random.uniform(0.3, 1, (count, 1, 1))
        write_idx(folder / f"{part}-images-idx3-ubyte{end}", (ramp + random.integers(0, 56, ramp.shape)).astype("u1"))
        write_idx(folder / f"{part}-labels-idx1-ubyte{end}", (np.arange(count) * 3 % 10).astype("u1"))


def write_fsdd(folder: Path) -> None:
    random = np.random.default_rng(1)
    for number, (digit, speaker, index) in enumerate(product(range(10), SPEAKERS, INDICES)):
        samples = random.integers(-9000, 9000, 9600 if (speaker, index) == ("lucas", 10) else 2000 + 5 * number)
        write_wav(folder / f"{digit}_{speaker}_{index}.wav", samples)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Made files that no test may change."""
    folder = tmp_path_factory.mktemp("av_mnist")
    write_mnist(folder / "mnist")
    write_fsdd(folder / "fsdd/recordings")
    return folder


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy to spoil."""
    return copytree(whole, tmp_path / "raw", copy_function=copyfile)


def of_split(clips: list[Clip], split: str) -> list[Clip]:
    return [clip for clip in clips if clip.split == split]


def spoken(clip: Clip) -> list[str]:
    return Path(clip.files["audio"][0]).stem.split("_")


@pytest.mark.parametrize("rule", ["speakers", "upstream"])
def test_every_image_has_an_utterance_of_its_digit_from_the_pool_of_its_split(whole, rule):
    plan = AVMNIST(split=rule).plan(whole)
    train, test = (read_idx(whole / f"mnist/{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k"))
    labels = {"train": train[:NUM_TRAIN], "val": train[NUM_TRAIN:], "test": test}
    for split in SPLITS:
        clips = of_split(plan.clips, split)
        assert [clip.label for clip in clips] == labels[split].tolist()
        assert [int(spoken(clip)[0]) for clip in clips] == labels[split].tolist()
        allowed = {
            "speakers": {"train": SPEAKERS[:3], "val": SPEAKERS[3:4], "test": SPEAKERS[4:]},
            "upstream": {"train": ("10", "11"), "val": ("5",), "test": ("0",)},
        }[rule][split]
        assert {spoken(clip)[1 if rule == "speakers" else 2] for clip in clips} <= set(allowed)
        assert [clip.group for clip in clips] == [spoken(clip)[1] for clip in clips]
    assert len({clip.name for clip in plan.clips}) == len(plan.clips) == NUM_TRAIN + NUM_VAL + NUM_TEST
    assert plan.notes["speakers_in_several_splits"] == ([] if rule == "speakers" else list(SPEAKERS))


def test_arrays_have_the_planned_form_and_hold_the_right_image(whole):
    train, test = (read_idx(whole / f"mnist/{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))
    images = {"train": train[:NUM_TRAIN], "val": train[NUM_TRAIN:], "test": test}
    for form in ("tokens", "image"):
        source = AVMNIST(form=form)
        plan = source.plan(whole)
        for split, position in (("train", 7), ("val", 2), ("test", 19)):
            arrays = source.read(of_split(plan.clips, split)[position], whole)
            for name, spec in plan.modalities.items():
                assert (arrays[name].shape, arrays[name].dtype.name) == (spec.shape, spec.dtype)
                assert (f"{name}/mask" in arrays) == spec.has_mask
            shown = arrays["image"]
            if form == "tokens":
                rows = [np.hstack(shown[7 * row : 7 * row + 7].reshape(7, 4, 4)) for row in range(7)]
                shown = np.vstack(rows)[None]
            np.testing.assert_array_equal(shown[0], images[split][position])
            assert all(array.flags.writeable for array in arrays.values())


def test_utterances_are_used_equally_often_and_num_train_takes_the_first_pairs(whole):
    pool = [Utterance(digit, "theo", n, f"{digit}_{n}") for digit in range(10) for n in range(7)]
    labels = np.random.default_rng(0).integers(0, 10, 1000).tolist()
    counts = Counter(utterance.file for utterance in pair(labels, pool, [3, 0]))
    for digit in range(10):
        uses = [counts[f"{digit}_{n}"] for n in range(7)]
        assert max(uses) - min(uses) <= 1
    full, few = AVMNIST().plan(whole).clips, AVMNIST(num_train=12).plan(whole).clips
    assert of_split(few, "train") == of_split(full, "train")[:12]
    assert of_split(few, "test") == of_split(full, "test")


def test_the_seed_alone_decides_the_pairs(whole):
    first, again, other = (AVMNIST(seed=seed).plan(whole).clips for seed in (0, 0, 1))
    assert first == again
    assert [clip.label for clip in first] == [clip.label for clip in other]
    for split in ("train", "test"):
        assert of_split(first, split) != of_split(other, split)


def test_notes_say_who_speaks_and_what_was_cut(whole):
    plan = AVMNIST().plan(whole)
    assert plan.notes["utterances_by_speaker"]["val"] == {"nicolas": 40}
    assert plan.notes["utterances_cut_to_1_s"] == {"train": 10, "val": 0, "test": 0}
    long = [clip for clip in plan.clips if spoken(clip)[1:] == ["lucas", "10"]]
    assert plan.notes["pairs_cut_to_1_s"]["train"] == len(long) > 0
    used = {clip.files["audio"][0] for clip in of_split(plan.clips, "test")}
    assert plan.notes["unused_utterances"]["test"] == 80 - len(used)
    assert len(plan.absent) == 3000 - 240
    assert "0_lucas_10" not in plan.absent
    assert "0_lucas_12" in plan.absent


def test_a_file_whose_name_says_no_digit_is_named(root):
    write_wav(root / "fsdd/recordings/hello.wav", np.ones(2000))
    plan = AVMNIST().plan(root)
    assert [(skip.file, skip.name) for skip in plan.skipped] == [("fsdd/recordings/hello.wav", "hello")]


@pytest.mark.parametrize(("mnist", "fsdd", "end"), [(".", ".", ""), ("MNIST/raw", "fsdd", ".gz")])
def test_other_layouts_give_the_same_samples(whole, tmp_path, mnist, fsdd, end):
    write_mnist(tmp_path / "other" / mnist, end)
    write_fsdd(tmp_path / "other" / fsdd / "recordings")
    clips = [AVMNIST().plan(place).clips[4] for place in (whole, tmp_path / "other")]
    first, second = (
        AVMNIST().read(clip, place) for clip, place in zip(clips, (whole, tmp_path / "other"), strict=True)
    )
    assert clips[0].name == clips[1].name
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


BAD_WAVS = {
    "missing": (Path.unlink, "the file is missing"),
    "no bytes": (lambda path: path.write_bytes(b""), "the file is empty"),
    "a Git LFS pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"),
        "Git LFS pointer",
    ),
    "a web page": (lambda path: path.write_text("<html>not found</html>" * 9), r"unreadable \.wav file"),
    "header cut": (lambda path: path.write_bytes(path.read_bytes()[:30]), r"unreadable \.wav file"),
    "data cut": (lambda path: path.write_bytes(path.read_bytes()[:-301]), r"announces \d+ samples, the file has room"),
    "one byte short": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "announces"),
    "announced 4 GB": (
        lambda path: path.write_bytes(path.read_bytes()[:40] + b"\xfe\xff\xff\xff" + path.read_bytes()[44:]),
        "announces 2147483647 samples",
    ),
    "compressed": (
        lambda path: path.write_bytes(path.read_bytes()[:20] + b"\x07" + path.read_bytes()[21:]),
        "unknown format",
    ),
    "empty": (lambda path: write_wav(path, np.zeros(0)), "announces no samples"),
    "too short": (lambda path: write_wav(path, np.ones(199)), "at least 200 samples, one frame, got 199"),
    "silent": (lambda path: write_wav(path, np.zeros(3000)), "nothing was recorded"),
    "wrong rate": (lambda path: write_wav(path, np.ones(3000), 16000), "expected 8000 samples a second, got 16000"),
    "stereo": (lambda path: write_wav(path, np.ones(3000), channels=2), "expected 1 channel of 16 bits, got 2 of 16"),
    "32 bits": (lambda path: write_wav(path, np.ones(3000), width=4), "expected 1 channel of 16 bits, got 1 of 32"),
}


@pytest.mark.parametrize("damage", BAD_WAVS)
def test_a_damaged_utterance_is_refused_when_it_is_read_and_the_others_are_not(root, damage):
    spoil, reason = BAD_WAVS[damage]
    source = AVMNIST()
    plan = source.plan(root)
    clip = plan.clips[0]
    source.read(clip, root)
    spoil(root / clip.files["audio"][0])
    with pytest.raises(BadFileError, match=reason) as caught:
        source.read(clip, root)
    assert "\n" not in str(caught.value)
    assert str(root) not in str(caught.value)
    other = next(c for c in plan.clips if c.files["audio"] != clip.files["audio"])
    assert source.read(other, root)["audio"].shape == (25, 160)
    if damage != "missing":
        assert source.plan(root).clips == plan.clips


def test_samples_that_other_chunks_make_room_for_are_missed_too(tmp_path):
    write_wav(tmp_path / "whole.wav", np.arange(1, 3001))
    data = (tmp_path / "whole.wav").read_bytes()
    notes = b"LIST" + struct.pack("<I", 100) + bytes(100)
    size = struct.pack("<I", len(data) - 8 + len(notes))
    (tmp_path / "notes.wav").write_bytes(data[:4] + size + data[8:36] + notes + data[36:])
    np.testing.assert_array_equal(av_mnist_audio.read_utterance(tmp_path / "notes.wav") * 32768, np.arange(1, 3001))
    (tmp_path / "notes.wav").write_bytes((tmp_path / "notes.wav").read_bytes()[:-50])
    with pytest.raises(BadFileError, match="the header announces 3000 samples, the file holds 2975"):
        av_mnist_audio.read_utterance(tmp_path / "notes.wav")


def test_no_flipped_bit_of_a_header_ends_in_another_error(root):
    path = root / "fsdd/recordings/0_theo_0.wav"
    data, reasons = path.read_bytes(), []
    for bit in range(44 * 8):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        for read in (av_mnist_audio.read_utterance, av_mnist_audio.read_noise, av_mnist_audio.num_samples):
            try:
                read(path)
            except BadFileError as error:
                reasons.append(str(error))
    assert len(reasons) > 300
    assert not any("\n" in reason for reason in reasons)


def spoil_labels(root: Path) -> None:
    write_idx(root / "mnist/t10k-labels-idx1-ubyte.gz", np.full(NUM_TEST, 10, np.uint8))


BAD_ROOTS = {
    "no recordings": (lambda root: (root / "fsdd/recordings").rename(root / "fsdd/x"), "no folder recordings"),
    "empty recordings": (
        lambda root: [path.unlink() for path in (root / "fsdd/recordings").iterdir()],
        "such as 7_jackson_32.wav, but got none",
    ),
    "no t10k": (lambda root: (root / "mnist/t10k-images-idx3-ubyte.gz").unlink(), "MNIST's t10k-images-idx3-ubyte.gz"),
    "no labels": (lambda root: (root / "mnist/train-labels-idx1-ubyte.gz").unlink(), "MNIST's train-labels-idx1"),
    "cut images": (
        lambda root: (root / "mnist/train-images-idx3-ubyte.gz").write_bytes(
            (root / "mnist/train-images-idx3-ubyte.gz").read_bytes()[:-100]
        ),
        r"mnist/train-images-idx3-ubyte\.gz to be one of MNIST's files, but got: unreadable idx file",
    ),
    "small images": (
        lambda root: write_idx(root / "mnist/t10k-images-idx3-ubyte.gz", np.zeros((NUM_TEST, 8, 8), np.uint8)),
        "expected images of 28x28 pixels, got the shape 20x8x8",
    ),
    "fewer labels": (
        lambda root: write_idx(root / "mnist/t10k-labels-idx1-ubyte.gz", np.zeros(NUM_TEST - 1, np.uint8)),
        r"20 labels from 0 to 9, but got the shape \[19\]",
    ),
    "label 10": (spoil_labels, "labels up to 10"),
    "no 4 for val": (
        lambda root: [path.unlink() for path in (root / "fsdd/recordings").glob("4_nicolas_*.wav")],
        "every digit for 'val' .*but got none of 4",
    ),
    "two speakers": (
        lambda root: [p.unlink() for p in (root / "fsdd/recordings").iterdir() if p.name[2] not in "gt"],
        "at least 3 speakers, but got george, theo",
    ),
}


@pytest.mark.parametrize("damage", BAD_ROOTS)
def test_an_incomplete_or_damaged_root_says_what_to_do(root, damage):
    spoil, text = BAD_ROOTS[damage]
    spoil(root)
    with pytest.raises(DataError, match=text) as caught:
        AVMNIST().plan(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"split": "speaker"}, "Did you mean 'speakers'"),
        ({"form": "images"}, "Did you mean 'image'"),
        ({"num_train": 0}, "num_train of at least 1"),
        ({"seed": -1}, "seed of at least 0"),
        ({"image_energy": 0.0}, "image_energy above 0"),
        ({"image_energy": float("nan")}, "image_energy above 0"),
        ({"audio_noise": float("inf")}, "audio_noise in dB"),
        ({"noise_root": "noise"}, "give both"),
        ({"noise_root": "/noise", "audio_noise": 3.0}, "relative to --root"),
    ],
)
def test_options_out_of_range_are_refused(options, text):
    with pytest.raises(DataError, match=text):
        AVMNIST(**options)


def test_more_training_pairs_than_images_are_refused(whole):
    with pytest.raises(DataError, match="num_train of at most 55, but got 56"):
        AVMNIST(num_train=56).plan(whole)


def test_log_mel_is_the_mel_sum_of_an_independent_fourier_transform():
    samples = np.random.default_rng(0).normal(0, 0.1, 8300).astype(np.float32)
    _, _, spectrum = stft(samples, 8000, "hann", 200, 120, 256, boundary=None, padded=False, scaling="spectrum")
    power = np.abs(spectrum[:, :100].T * 100) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 42) / 2595) - 1)
    hertz = np.arange(129) * 31.25
    mels = [power @ np.interp(hertz, edges[k : k + 3], [0, 1, 0]) for k in range(40)]
    padded = np.concatenate([samples[:8000], np.zeros(300, np.float32)])
    np.testing.assert_allclose(av_mnist_audio.log_mel(samples)[:98], np.log(np.stack(mels, 1) + 1e-6)[:98], atol=1e-6)
    np.testing.assert_array_equal(av_mnist_audio.log_mel(samples), av_mnist_audio.log_mel(padded))


@pytest.mark.parametrize(("length", "tokens"), [(200, 1), (320, 1), (321, 2), (7680, 24), (7681, 25), (20000, 25)])
def test_the_mask_marks_tokens_that_begin_in_the_utterance(length, tokens):
    features, mask = av_mnist_audio.audio_tokens(np.ones(length, np.float32))
    assert mask.tolist() == [True] * tokens + [False] * (25 - tokens)
    np.testing.assert_array_equal(features[tokens:], np.float16(np.log(1e-6)))
    assert (features[: length // 320].max(1) > -5).all()


@pytest.mark.parametrize("length", [200, 1111, 4000, 8000, 18262, 24976])
def test_the_spectrogram_shows_a_tone_at_its_frequency_in_all_frames_of_any_length(length):
    hertz = 8000 / 223 * 40
    image = av_mnist_audio.spectrogram(np.sin(2 * np.pi * hertz * np.arange(length) / 8000).astype(np.float32))
    assert image.shape == (1, 112, 112)
    if length > 4000:
        assert set(np.abs(image[0].argmax(0) - 40).tolist()) <= {0, 1, 2}
    samples = np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32)
    width = -(-length // 112)
    wave_of = np.exp(-2j * np.pi * np.outer(np.arange(112), np.arange(width)) / 223)
    for frame, part in ((0, samples[:width]), (111, samples[-width:])):
        expected = np.log(np.abs(wave_of @ part) ** 2 / width + 1e-6)
        np.testing.assert_allclose(av_mnist_audio.spectrogram(samples)[0, :, frame], expected, atol=0.01)


def test_an_utterance_too_long_for_the_spectrogram_is_refused():
    with pytest.raises(BadFileError, match="at most 24976 samples, got 24977"):
        av_mnist_audio.spectrogram(np.ones(24977, np.float32))


@pytest.mark.parametrize("ratio", [-10.0, 0.0, 20.0])
def test_noise_has_the_asked_ratio_of_powers(ratio):
    random = np.random.default_rng(0)
    samples, noise = (random.normal(0, scale, 5000).astype(np.float32) for scale in (0.3, 7))
    noisy = av_mnist_audio.add_noise(samples, noise, ratio)
    added = (noisy - samples).astype(np.float64)
    assert 10 * np.log10(np.mean(samples**2) / np.mean(added**2)) == pytest.approx(ratio, abs=0.01)
    assert np.corrcoef(added, noise)[0, 1] > 0.999


def test_noise_is_cut_where_it_sounds():
    noise = np.zeros(40000, np.float32)
    noise[30000:31000] = np.random.default_rng(0).normal(size=1000)
    pieces = [av_mnist_audio.cut_noise(noise, 500, np.random.default_rng(seed)) for seed in range(50)]
    assert min(np.abs(piece).max() for piece in pieces) > 0
    assert len({piece.tobytes() for piece in pieces}) > 40
    assert len(av_mnist_audio.cut_noise(noise[29900:30100], 8000, np.random.default_rng(0))) == 8000


def test_noise_of_another_rate_keeps_its_pitch(tmp_path, monkeypatch):
    write_wav(tmp_path / "tone.wav", 9000 * np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100), 44100)
    samples = av_mnist_audio.read_noise(tmp_path / "tone.wav")
    assert len(samples) == 8000
    assert np.abs(np.fft.rfft(samples)).argmax() == 1000
    assert np.sqrt(np.mean(samples**2) * 2) * 32768 == pytest.approx(9000, rel=0.01)
    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    with pytest.raises(MissingExtraError, match="scipy"):
        av_mnist_audio.read_noise(tmp_path / "tone.wav")


def write_noise(folder: Path, count: int) -> None:
    for number in range(count):
        hertz = 500 + 250 * number
        write_wav(folder / f"{number:02d}.wav", 9000 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000), 16000)


def test_noise_files_of_a_split_are_heard_in_it_alone(root):
    write_noise(root / "noise", 10)
    source = AVMNIST(audio_noise=-60.0, noise_root="noise", form="image")
    clips = source.plan(root).clips
    files = {split: {clip.files["audio"][1] for clip in of_split(clips, split)} for split in SPLITS}
    assert files["train"] == {f"noise/{number:02d}.wav" for number in range(7)}
    assert (files["val"], files["test"]) == ({"noise/07.wav"}, {"noise/08.wav", "noise/09.wav"})
    for clip in of_split(clips, "test")[:4]:
        hertz = 500 + 250 * int(Path(clip.files["audio"][1]).stem)
        peak = source.read(clip, root)["audio"][0].astype(np.float64).mean(1).argmax() * 8000 / 223
        assert peak == pytest.approx(hertz, abs=150)
    (root / clips[0].files["audio"][1]).write_bytes(b"RIFF")
    with pytest.raises(BadFileError, match=r"unreadable \.wav file"):
        source.read(clips[0], root)


def test_too_few_files_of_noise_are_refused(root):
    write_noise(root / "noise", 9)
    with pytest.raises(DataError, match=r"noise below --root to hold at least 10 \.wav files, but got 9"):
        AVMNIST(audio_noise=3.0, noise_root="noise").plan(root)


def test_white_noise_changes_real_tokens_alone_and_depends_on_the_clip(whole):
    clean, noisy = AVMNIST(), AVMNIST(audio_noise=0.0)
    clips = [clip for clip in clean.plan(whole).clips if spoken(clip)[1:] != ["lucas", "10"]]
    for clip in clips[:5]:
        before, after = clean.read(clip, whole), noisy.read(clip, whole)
        mask = before["audio/mask"]
        np.testing.assert_array_equal(after["audio/mask"], mask)
        np.testing.assert_array_equal(after["audio"][~mask], before["audio"][~mask])
        assert (after["audio"][mask] != before["audio"][mask]).any(1).all()
        assert (noisy.read(replace(clip, name=f"{clip.name}x"), whole)["audio"] != after["audio"]).any()


def test_noise_and_tokens_of_a_long_utterance_are_those_of_its_first_second(root):
    source = AVMNIST(audio_noise=0.0)
    clip = next(clip for clip in source.plan(root).clips if spoken(clip)[1:] == ["lucas", "10"])
    path = root / clip.files["audio"][0]
    second = np.random.default_rng(0).integers(-900, 900, 8000)
    write_wav(path, np.concatenate([second, np.full(4000, 30000)]))
    long = source.read(clip, root)
    write_wav(path, second)
    np.testing.assert_array_equal(source.read(clip, root)["audio"], long["audio"])
    assert long["audio/mask"].all()


def test_a_share_of_the_energy_is_that_of_an_independent_decomposition(whole):
    train, test = (
        read_idx(whole / f"mnist/{part}-images-idx3-ubyte.gz").reshape(-1, 784) for part in ("train", "t10k")
    )
    mean = train[:NUM_TRAIN].mean(0)
    _, sizes, axes = np.linalg.svd(train[:NUM_TRAIN] - mean, full_matrices=False)
    shares = np.cumsum(sizes**2) / np.sum(sizes**2)
    source = AVMNIST(image_energy=float(shares[2] + 1e-6), form="image")
    expected = np.clip(np.rint((test - mean) @ axes[:4].T @ axes[:4] + mean), 0, 255)
    for clip in of_split(source.plan(whole).clips, "test"):
        number = int(clip.name.split("_")[1])
        np.testing.assert_array_equal(source.read(clip, whole)["image"].ravel(), expected[number])


def test_any_process_gives_the_same_bytes(root):
    write_noise(root / "noise", 10)
    source = AVMNIST(image_energy=0.5, audio_noise=5.0, noise_root="noise")
    clips = source.plan(root).clips
    here = [source.read(clip, root) for clip in clips]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = list(pool.map(partial(source.read, root=root), clips[::-1]))[::-1]
    for first, second in zip(here, there, strict=True):
        assert {name: array.tobytes() for name, array in first.items()} == {
            name: array.tobytes() for name, array in second.items()
        }


@pytest.fixture(scope="session")
def real_root() -> Path:
    beside = Path(__file__).parents[4] / "shared" / "data"
    root = Path(os.environ.get("ROLLINGQ_DATA", beside))
    if not (root / "mnist").is_dir() or not (root / "fsdd").is_dir():
        pytest.skip(f"needs MNIST and FSDD: set ROLLINGQ_DATA (looked in {root})")
    return root


def test_the_real_files_give_70000_pairs_and_nothing_is_missing(real_root):
    plan = AVMNIST().plan(real_root)
    assert Counter(clip.split for clip in plan.clips) == {"train": 55000, "val": 5000, "test": 10000}
    assert (plan.absent, list(plan.skipped)) == ([], [])
    assert plan.notes["utterances_cut_to_1_s"] == {"train": 16, "val": 0, "test": 4}
    assert plan.notes["unused_utterances"] == {"train": 0, "val": 0, "test": 0}


def test_a_linear_read_out_of_the_real_pairs_is_far_above_chance_on_unseen_speakers(real_root):
    source = AVMNIST(num_train=1500)
    clips = source.plan(real_root).clips
    parts = {split: of_split(clips, split)[:1500] for split in ("train", "test")}
    arrays = {split: [source.read(clip, real_root) for clip in part] for split, part in parts.items()}
    target = np.eye(10)[[clip.label for clip in parts["train"]]]
    for name in ("image", "audio"):
        train, test = (np.stack([a[name].ravel() for a in arrays[s]]).astype(np.float64) for s in ("train", "test"))
        mean, scale = train.mean(0), train.std()
        train, test = (train - mean) / scale, (test - mean) / scale
        kernel = train @ train.T + 0.1 * train.shape[1] * np.eye(len(train))
        predicted = (test @ train.T @ np.linalg.solve(kernel, target)).argmax(1)
        assert (predicted == [clip.label for clip in parts["test"]]).mean() > 0.4


def test_a_quarter_of_the_real_energy_is_four_components(real_root):
    images = read_idx(real_root / "mnist/train-images-idx3-ubyte.gz").reshape(-1, 784)[:3000]
    mean, components = principal_components(images, 0.25)
    centred = images - mean
    share = np.sum((centred @ components) ** 2) / np.sum(centred**2)
    fewer = np.sum((centred @ components[:, :-1]) ** 2) / np.sum(centred**2)
    assert (components.shape, fewer < 0.25 <= share) == ((784, 4), True)
    assert projected(images, mean, components).std() < images.std()


HASH = """
import hashlib, sys
from pathlib import Path
from rollingq.data.sources.av_mnist import principal_components, projected
from rollingq.data.raw.idx import read_idx
images = read_idx(Path(sys.argv[1])).reshape(-1, 784)[:4000]
for share in (0.25, 0.9):
    print(hashlib.sha256(projected(images, *principal_components(images, share)).tobytes()).hexdigest())
"""


def test_the_number_of_threads_does_not_change_a_pixel(real_root):
    outputs = set()
    for threads in ("1", "2"):
        command = [sys.executable, "-c", HASH, str(real_root / "mnist/t10k-images-idx3-ubyte.gz")]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        outputs.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 2


def test_a_changed_image_file_is_read_again(root):
    source = AVMNIST(form="image")
    clip = source.plan(root).clips[0]
    before = source.read(clip, root)["image"]
    write_idx(root / "mnist/train-images-idx3-ubyte.gz", np.full((3, 28, 28), 9, np.uint8))
    assert (before != 9).any()
    assert (source.read(clip, root)["image"] == 9).all()
    last = av_mnist.AVMNIST(form="image")
    with pytest.raises(BadFileError, match="expected at least 5 images, got 3"):
        last.read(replace(clip, name="train_00004_x"), root)
