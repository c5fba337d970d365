"""Tiny replicas of the raw folders of every dataset, in their true layout, containers and codecs."""

import csv
import gzip
import pickle
import struct
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from scipy.io import savemat

CODECS = {
    ".flv": ("flv", "libmp3lame", 44100),
    ".mp4": ("libx264", "aac", 44100),
    ".avi": ("mpeg4", "libmp3lame", 44100),
    ".mkv": ("libx264", "aac", 44100),
    ".webm": ("libvpx-vp9", "libopus", 48000),
}
"""Container -> codecs of video and sound, and the sound's rate."""
FPS = 5
WIDE, HIGH = 64, 48
CREMA_D_ACTORS = {"train": ("1002", "1003"), "val": ("1011",), "test": ("1001", "1016")}
"""By the built-in split."""
SPEAKERS = ("george", "lucas", "theo")
"""train, val and test by the built-in rule for three speakers."""
MOSEI_SIZES = {"train": 12, "valid": 4, "test": 5}
MOSEI_WIDTHS = {"vision": 4, "audio": 3, "text": 6}


def tone(seconds: float, rate: int, hertz: float) -> np.ndarray:
    """Return a tone of half amplitude; silence if ``hertz`` is 0."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_wav(path: Path, seconds: float, *, rate: int = 16000, hertz: float = 440.0) -> None:
    """Write a tone in 16 bit mono PCM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((tone(seconds, rate, hertz) * 32767).astype("<i2").tobytes())


def pictures(num_frames: int, seed: int) -> Iterator[np.ndarray]:
    """Yield RGB pictures of a texture that moves 2 pixels to the right a frame."""
    noise = np.random.default_rng(seed).normal(size=(HIGH, WIDE + 2 * num_frames)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    low, high = float(smooth.min()), float(smooth.max())
    grey = (255 * (smooth - low) / (high - low)).astype(np.uint8)
    for number in range(num_frames):
        start = 2 * (num_frames - number)
        yield np.repeat(grey[:, start : start + WIDE, None], 3, axis=2)


def write_video(path: Path, seconds: float = 2.0, *, seed: int = 0, hertz: float | None = 440.0) -> None:
    """Write a video of 64x48 at 5 frames a second with a tone; ``hertz`` None leaves the sound track out."""
    video_codec, audio_codec, rate = CODECS[path.suffix]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(video_codec, rate=FPS, width=WIDE, height=HIGH, pix_fmt="yuv420p")
        audio: Any = None if hertz is None else container.add_stream(audio_codec, rate=rate, layout="mono")
        for picture in pictures(round(seconds * FPS), seed):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            _write_sound(container, audio, tone(seconds, rate, hertz or 0.0), rate)


def _write_sound(container: Any, stream: Any, samples: np.ndarray, rate: int) -> None:
    whole = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
    whole.sample_rate, whole.pts = rate, 0
    resampler = av.AudioResampler(stream.codec_context.format.name, "mono", rate, frame_size=960)
    for frame in (*resampler.resample(whole), *resampler.resample(None)):
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_sound_only(path: Path, seconds: float = 2.0) -> None:
    """Write a container that holds a tone and no video."""
    _, codec, rate = CODECS[path.suffix]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        _write_sound(container, stream, tone(seconds, rate, 440.0), rate)


def write_jpg(path: Path, seed: int = 0) -> None:
    """Write one RGB picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".jpg", next(pictures(1, seed)))[1].tobytes())


def write_utd_mhad(root: Path) -> None:
    """Write two actions of four training, one validating and two testing subjects as MATLAB files."""
    names = [f"a{action}_s{subject}_t{trial}" for action in (1, 2) for subject in (1, 2, 4, 7) for trial in (1, 2)]
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        frames = 6 + seed % 3
        depth = np.zeros((24, 32, frames), np.uint16)
        depth[4:20, 10:22] = rng.integers(2000, 3000, (16, 12, frames))
        arrays = {
            "inertial": {"d_iner": rng.normal(0, 50, (20 + seed % 5, 6))},
            "skeleton": {"d_skel": rng.normal(0, 1, (20, 3, frames))},
            "depth": {"d_depth": depth},
        }
        for modality, variables in arrays.items():
            file = root / modality.capitalize() / f"{name}_{modality}.mat"
            file.parent.mkdir(parents=True, exist_ok=True)
            savemat(file, variables, do_compression=True)


def idx(array: np.ndarray) -> bytes:
    """Return unsigned bytes in MNIST's form."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_av_mnist(root: Path) -> None:
    """Write 24 and 10 images, utterances of three speakers, and ten files of noise."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 24), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        files = {"images-idx3": images, "labels-idx1": np.arange(count, dtype=np.uint8) % 10}
        for name, array in files.items():
            (root / "mnist").mkdir(parents=True, exist_ok=True)
            (root / "mnist" / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(idx(array), mtime=0))
    for speaker in SPEAKERS:
        for digit in range(10):
            for number in (0, 5, 10):
                file = root / "fsdd" / "recordings" / f"{digit}_{speaker}_{number}.wav"
                write_wav(file, 0.2, rate=8000, hertz=200 + 50 * digit)
    for number in range(10):
        write_wav(root / "ESC-50" / "audio" / f"{number}.wav", 0.3, rate=16000, hertz=900 + number)


def crema_d_names() -> list[str]:
    """Return the names of the clips; the place of each is its seed."""
    actors = [actor for names in CREMA_D_ACTORS.values() for actor in names]
    return [f"{actor}_{text}_{emotion}_XX" for actor in actors for text in ("IEO", "TIE") for emotion in ("NEU", "SAD")]


def write_crema_d_clip(root: Path, name: str, seed: int) -> None:
    """Write one clip: a tone of 300 + 20 * seed Hz, and 2 s of the texture of the seed."""
    write_wav(root / "AudioWAV" / f"{name}.wav", 1.0 + 0.1 * seed, hertz=300 + 20 * seed)
    write_video(root / "VideoFlash" / f"{name}.flv", 2.0, seed=seed)


def write_crema_d(root: Path) -> None:
    """Write two sentences in two emotions of five actors as .wav and .flv, and the release's list."""
    for seed, name in enumerate(crema_d_names()):
        write_crema_d_clip(root, name, seed)
    listed = [*crema_d_names(), "1004_IEO_NEU_XX"]
    rows = "".join(f'{number},"{name}"\n' for number, name in enumerate(listed, 1))
    (root / "SentenceFilenames.csv").write_text('"Stimulus_Number","Filename"\n' + rows)


def kinetics_id(number: int) -> str:
    """Return a YouTube id."""
    return f"_v-{number:08d}"


def write_kinetics_sound(root: Path) -> None:
    """Write four training and two validating videos of two classes, and one class that is not used."""
    number = 0
    for pool, count in (("train", 4), ("val", 2)):
        for action in ("bowling", "playing_drums"):
            for _ in range(count):
                file = root / pool / action / f"{kinetics_id(number)}_000010_000020.mp4"
                write_video(file, 2.0, seed=number, hertz=300 + 30 * number)
                number += 1
    write_video(root / "train" / "abseiling" / f"{kinetics_id(99)}_000010_000020.mp4", 1.0)


def take_sound_away(root: Path) -> str:
    """Take the sound out of one training video and return its path below the root."""
    file = f"train/bowling/{kinetics_id(0)}_000010_000020.mp4"
    write_video(root / file, hertz=None)
    return file


def write_kinetics_lists(root: Path) -> None:
    """Write Kinetics' csv lists of what ``write_kinetics_sound`` made, with one video that is gone."""
    (root / "annotations").mkdir(exist_ok=True)
    for pool, word in (("train", "train"), ("val", "validate")):
        pairs = [(path.parent.name.replace("_", " "), path.name[:11]) for path in (root / pool).glob("*/*.mp4")]
        gone = [("bowling", kinetics_id(77))] * (pool == "train")
        rows = [[label, video, "10", "20", word] for label, video in (*sorted(pairs), *gone)]
        with (root / "annotations" / f"{pool}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["label", "youtube_id", "time_start", "time_end", "split"], *rows])


def mosei_table(seed: int = 0, steps: int = 9) -> dict[str, dict[str, Any]]:
    """Return what MultiBench's pickle holds: features padded with zeros in front, sentiments from -3 to 3, and ids."""
    rng = np.random.default_rng(seed)
    table: dict[str, dict[str, Any]] = {}
    for split, size in MOSEI_SIZES.items():
        arrays = {name: rng.normal(size=(size, steps, width)) for name, width in MOSEI_WIDTHS.items()}
        for array in arrays.values():
            for number in range(size):
                array[number, : 1 + number % 3] = 0
        labels = np.linspace(-3, 3, size).reshape(size, 1, 1)
        ids = [[f"video{split}{number // 2}", "1.5", "2.5"] for number in range(size)]
        table[split] = {**arrays, "labels": labels, "id": np.array(ids, object)}
    return table


def write_cmu_mosei(root: Path) -> None:
    """Write the pickle of aligned features."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "mosei_senti_data.pkl").write_bytes(pickle.dumps(mosei_table(), 2))


UCF_CLASSES = ("ApplyEyeMakeup", "Archery", "YoYo")
"""The first two are "near", in-distribution; YoYo is out of it."""
HMDB_CLASSES = ("brush_hair", "cartwheel", "walk")


def ucf_files(action: str) -> dict[str, list[str]]:
    """Return the training (with the validating groups 24 and 25) and testing files of a class."""
    groups = {"trainlist": (("08", 1), ("09", 1), ("24", 1)), "testlist": (("01", 1), ("01", 2))}
    return {name: [f"{action}/v_{action}_g{g}_c{c:02d}.avi" for g, c in pairs] for name, pairs in groups.items()}


def write_ucf101(root: Path) -> None:
    """Write five clips of three classes in mpeg4 and mp3, and the official lists of split 1."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True, exist_ok=True)
    index = {name: number for number, name in enumerate(UCF_CLASSES, 1)}
    (lists / "classInd.txt").write_text("".join(f"{number} {name}\n" for name, number in index.items()))
    for name in ("trainlist", "testlist"):
        files = [(file, index[action]) for action in index for file in ucf_files(action)[name]]
        lines = [f"{file} {label}" if name == "trainlist" else file for file, label in files]
        (lists / f"{name}01.txt").write_text("".join(f"{line}\r\n" for line in lines))
        for seed, (file, _) in enumerate(files):
            write_video(root / "UCF-101" / file, 2.0, seed=seed, hertz=None if file.startswith("YoYo") else 440.0)


def write_hmdb51(root: Path) -> None:
    """Write six clips of three classes in mpeg4 and mp3, and the official lists of split 1."""
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir(parents=True, exist_ok=True)
    for shift, action in enumerate(HMDB_CLASSES):
        names = [f"Film{film}_{action}_f_cm_np1_ba_bad_0.avi" for film in range(5 * shift, 5 * shift + 5)]
        flags = (1, 1, 1, 2, 2)
        lines = [f"{name} {flag} \n" for name, flag in zip(names, flags, strict=True)]
        (lists / f"{action}_test_split1.txt").write_text("".join(lines))
        for seed, name in enumerate(names):
            write_video(root / action / name, 2.0, seed=10 * shift + seed)


def write_flow_videos(root: Path, folder: str) -> None:
    """Write CLIP_flow_x.mp4 and CLIP_flow_y.mp4 of every video below ``folder``: one frame shorter, as published."""
    for seed, video in enumerate(sorted((root / folder).rglob("*.avi"))):
        for axis in "xy":
            file = root / "flow" / f"{video.stem}_flow_{axis}.mp4"
            write_video(file, 2.0 - 1 / FPS, seed=seed + 100 * (axis == "y"), hertz=None)


def write_flow_images(root: Path, folder: str) -> None:
    """Write u/CLASS/CLIP/frame000001.jpg and v/... of every video below ``folder``."""
    for seed, video in enumerate(sorted((root / folder).rglob("*.avi"))):
        for axis in "uv":
            for number in range(1, 2 * FPS):
                file = root / axis / video.parent.name / video.stem / f"frame{number:06d}.jpg"
                write_jpg(file, seed=1000 * seed + number + 500 * (axis == "v"))


CUSTOM_COLUMNS = ("audio", "visual", "photo", "motion")
CUSTOM_SUFFIXES = {"audio": "wav", "visual": "mp4", "photo": "jpg", "motion": "npy"}


def _write_custom_files(root: Path, stem: Callable[[str], str], number: int) -> dict[str, str]:
    files = {m: f"{stem(m)}.{suffix}" for m, suffix in CUSTOM_SUFFIXES.items()}
    write_wav(root / files["audio"], 1.0 + 0.1 * number, hertz=250 + 25 * number)
    write_video(root / files["visual"], 2.0, seed=number)
    write_jpg(root / files["photo"], seed=number)
    (root / files["motion"]).parent.mkdir(parents=True, exist_ok=True)
    steps = np.random.default_rng(number).normal(size=(4 + number % 3, 5))
    np.save(root / files["motion"], steps.astype(np.float32))
    return files


def write_custom(root: Path) -> None:
    """Write a table of twelve samples with sound, video, photo and array; sample 3 has no photo."""
    splits = ("train",) * 6 + ("val",) * 2 + ("test",) * 4
    rows = [["name", "split", "label", "group", *CUSTOM_COLUMNS]]
    for number, split in enumerate(splits):
        files = _write_custom_files(root, lambda m, n=number: f"files/{m}/{n:02d}", number)
        if number == 3:
            (root / files.pop("photo")).unlink()
        label = ("dog", "cat")[number % 2]
        rows.append([f"clip{number:02d}", split, label, f"g{number}", *(files.get(m, "") for m in CUSTOM_COLUMNS)])
    with (root / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_custom_folders(root: Path) -> None:
    """Write the same kinds of files as ``split/class/name.modality.suffix``."""
    splits = ("train",) * 4 + ("val",) * 2 + ("test",) * 2
    for number, split in enumerate(splits):
        place = f"{split}/{('dog', 'cat')[number % 2]}/clip{number}"
        _write_custom_files(root, lambda m, p=place: f"{p}.{m}", number)


WRITERS: dict[str, Callable[[Path], None]] = {
    "utd_mhad": write_utd_mhad,
    "av_mnist": write_av_mnist,
    "crema_d": write_crema_d,
    "kinetics_sound": write_kinetics_sound,
    "cmu_mosei": write_cmu_mosei,
    "ucf101": write_ucf101,
    "hmdb51": write_hmdb51,
    "custom": write_custom,
}


def write(name: str, root: Path) -> Path:
    """Write the replica of one dataset and return its folder."""
    WRITERS[name](root)
    return root
