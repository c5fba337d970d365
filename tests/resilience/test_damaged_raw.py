"""Damaged raw files: each is named in one line or gives a whole sample; nothing crashes, hangs or is cut in silence."""

import csv
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from safetensors.numpy import load_file

sys.path.append(str(Path(__file__).parents[1] / "datasets"))

import damages
import replicas
from damages import Damage

from rollingq.data.registry import prepare

Arrays = dict[str, np.ndarray]
SMALL = {"size": 32}
BYTES = 700_000_000
"""Most memory that all of these tests may take beyond what was taken before."""


@dataclass(frozen=True)
class Raw:
    """A tiny raw folder, and which of its files are damaged, one at a time.

    Attributes:
        dataset: Its name.
        write: Writes the folder.
        files: Path of a file -> name of its clip, and the damages.
        options: Of ``prepare``.
    """

    dataset: str
    write: Callable[[Path], object]
    files: dict[str, tuple[str, list[Damage]]]
    options: dict[str, Any] = field(default_factory=lambda: dict(SMALL))


def write_av_mnist(root: Path) -> None:
    """Leave one utterance for the one training image of a three."""
    replicas.write_av_mnist(root)
    for number in (0, 10):
        (root / f"fsdd/recordings/3_george_{number}.wav").unlink()


def write_crema_d(root: Path) -> None:
    for seed, name in enumerate(CREMA):
        replicas.write_crema_d_clip(root, name, seed + 8)


CREMA = ("1002_IEO_NEU_XX", "1002_TIE_SAD_XX")


def write_kinetics(root: Path, suffix: str) -> None:
    for number in range(2):
        replicas.write_video(root / f"train/bowling/{replicas.kinetics_id(number)}_000010_000020{suffix}", seed=number)


def write_ucf(root: Path, flow: str = "") -> None:
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    files = [f"Archery/v_Archery_{clip}.avi" for clip in ("g08_c01", "g08_c02", "g01_c01")]
    (lists / "classInd.txt").write_text("1 Archery\n")
    (lists / "trainlist01.txt").write_text("".join(f"{file} 1\n" for file in files[:2]))
    (lists / "testlist01.txt").write_text(f"{files[2]}\n")
    for seed, file in enumerate(files):
        replicas.write_video(root / "UCF-101" / file, seed=seed)
    if flow:
        {"videos": replicas.write_flow_videos, "images": replicas.write_flow_images}[flow](root, "UCF-101")


def write_custom(root: Path) -> None:
    replicas.write_custom(root)
    rows = ["name,split,label,audio,visual,photo,motion,numbers"]
    for number in (0, 1):
        (root / f"files/{number}.csv").write_text("1,2,3\n4,5,6\n7,8,9\n" * 15)
        paths = [f"files/{m}/{number:02d}.{suffix}" for m, suffix in replicas.CUSTOM_SUFFIXES.items()]
        rows.append(f"clip{number},train,dog,{','.join(paths)},files/{number}.csv")
    (root / "samples.csv").write_text("\n".join(rows) + "\n")


MARKER = Path(tempfile.gettempdir(), f"rollingq-payload-{os.getpid()}")
JPG, WAV = damages.jpg(), damages.wav()
INERTIAL, DEPTH, SKELETON = (np.random.default_rng(0).normal(size=s) for s in ((20, 6), (24, 32, 6), (20, 3, 6)))
KINETICS = f"{replicas.kinetics_id(1)}_000010_000020"
UCF, FLOW = "Archery/v_Archery_g08_c02", "flow/v_Archery_g08_c02_flow_{}.mp4"


def of_video(suffix: str, *, needs_sound: bool = False) -> list[Damage]:
    return damages.common(WAV if suffix != ".mp4" else JPG) + damages.video_damages(suffix, needs_sound=needs_sound)


OF_WAV = damages.common(JPG) + damages.wav_damages()
OF_JPG = damages.common(WAV) + damages.jpg_damages()
RAWS = {
    "utd_mhad": Raw(
        "utd_mhad",
        replicas.write_utd_mhad,
        {
            "Inertial/a1_s1_t2_inertial.mat": (
                "a1_s1_t2",
                damages.common(WAV) + damages.mat_damages("d_iner", INERTIAL),
            ),
            "Depth/a1_s1_t2_depth.mat": ("a1_s1_t2", damages.common(WAV) + damages.mat_damages("d_depth", DEPTH)),
            "Skeleton/a1_s1_t2_skeleton.mat": (
                "a1_s1_t2",
                damages.common(WAV) + damages.mat_damages("d_skel", SKELETON),
            ),
        },
        {},
    ),
    "av_mnist": Raw(
        "av_mnist",
        write_av_mnist,
        {"fsdd/recordings/3_george_5.wav": ("3_george_5", OF_WAV)},
        {"num_train": 10},
    ),
    "crema_d": Raw(
        "crema_d",
        write_crema_d,
        {
            f"AudioWAV/{CREMA[1]}.wav": (CREMA[1], OF_WAV),
            f"VideoFlash/{CREMA[1]}.flv": (CREMA[1], of_video(".flv")),
        },
    ),
    **{
        f"kinetics_sound {suffix}": Raw(
            "kinetics_sound",
            lambda root, s=suffix: write_kinetics(root, s),
            {f"train/bowling/{KINETICS}{suffix}": (KINETICS, of_video(suffix, needs_sound=True))},
        )
        for suffix in (".mp4", ".mkv", ".webm")
    },
    "ucf101": Raw("ucf101", write_ucf, {f"UCF-101/{UCF}.avi": (UCF, of_video(".avi"))}),
    "ucf101 flow videos": Raw(
        "ucf101",
        lambda root: write_ucf(root, "videos"),
        {FLOW.format(axis): (UCF, of_video(".mp4")) for axis in "xy"},
    ),
    "ucf101 flow images": Raw(
        "ucf101",
        lambda root: write_ucf(root, "images"),
        {f"{axis}/{UCF}/frame000006.jpg": (UCF, OF_JPG) for axis in "uv"},
    ),
    "custom": Raw(
        "custom",
        write_custom,
        {
            "files/audio/01.wav": ("clip1", damages.allowing(OF_WAV, "silent")),
            "files/visual/01.mp4": ("clip1", of_video(".mp4")),
            "files/photo/01.jpg": ("clip1", OF_JPG),
            "files/motion/01.npy": ("clip1", damages.common(WAV) + damages.npy_damages(MARKER)),
            "files/1.csv": ("clip1", damages.allowing(damages.common(WAV), "cut", "without") + damages.csv_damages()),
        },
        {"size": 32, "length": 60},
    ),
}
CASES = [(name, file) for name, raw in RAWS.items() for file in raw.files]


@dataclass(frozen=True)
class Made:
    """What one call of ``prepare`` left."""

    samples: dict[str, Arrays]
    skipped: dict[str, tuple[str, str]]
    """Clip -> file and reason."""
    absent: tuple[str, ...]


def made(raw: Raw, root: Path, out: Path, **options: Any) -> Made:
    summary = prepare(raw.dataset, root=root, out=out, options=raw.options, **{"workers": 1, **options})
    rows = list(csv.DictReader((out / "samples.csv").read_text().splitlines()))
    shards = {row["shard"]: load_file(out / f"{row['shard']}.safetensors") for row in rows}
    samples = {r["name"]: {k: v[int(r["row"])] for k, v in shards[r["shard"]].items() if k != "label"} for r in rows}
    return Made(samples, {s.name: (s.file, s.reason) for s in summary.skipped}, summary.absent)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Made]]:
    """A raw folder, written once, and what it gives when it is whole."""
    found: dict[str, tuple[Path, Made]] = {}

    def root_of(name: str) -> tuple[Path, Made]:
        if name not in found:
            base = tmp_path_factory.mktemp("damaged")
            RAWS[name].write(base / "raw")
            found[name] = (base / "raw", made(RAWS[name], base / "raw", base / "whole"))
            assert not found[name][1].skipped
        return found[name]

    return root_of


def is_same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def decoded(path: Path) -> tuple[int, int]:
    """Return how many samples and frames PyAV alone decodes, up to the first error."""
    count = {"audio": 0, "video": 0}
    for kind in count:
        with suppress(Exception), av.open(str(path)) as container:
            for frame in container.decode(**{kind: 0}):
                count[kind] += getattr(frame, "samples", 1) if kind == "audio" else 1
    return count["audio"], count["video"]


def complaint(damage: Damage, found: Made, whole: Made, clip: str, path: Path, original: tuple[int, int]) -> str:
    """Return what is wrong with what became of a damaged file; empty if nothing is."""
    name = next(n for n in whole.samples if n.endswith(clip))
    others = {other: arrays for other, arrays in whole.samples.items() if other != name}
    if not all(other in found.samples and is_same(found.samples[other], arrays) for other, arrays in others.items()):
        return f"other clips are not as before: {found.skipped}"
    if name not in found.samples:
        if name in found.absent and not found.skipped:
            return ""
        file, reason = found.skipped.get(name, ("", ""))
        if set(found.skipped) != {name} or not reason or "\n" in reason or str(path.parents[1]) in reason:
            return f"not named as it should be: {found.skipped}, {found.absent[:3]}"
        return "" if any(Path(part).stem in str(path) for part in file.split(", ") if part) else f"a wrong file: {file}"
    sample, before = found.samples[name], whole.samples[name]
    if found.skipped:
        return f"skipped and there: {found.skipped}"
    if is_same(sample, before):
        return "" if damage.verdict != "named" else "the sample is there as if nothing had been"
    if damage.verdict != "any":
        return "another sample without a word"
    forms = {key: (array.shape, array.dtype) for key, array in sample.items()}
    if forms != {key: (array.shape, array.dtype) for key, array in before.items()}:
        return f"another form: {forms}"
    if not all(np.isfinite(array).all() for array in sample.values()):
        return "not finite"
    short = any(now < 0.75 * then for now, then in zip(decoded(path), original, strict=True))
    return f"short without a word: {decoded(path)} of {original}" if short else ""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "file"), CASES)
def test_each_damage_is_named_or_gives_a_whole_sample(
    name: str, file: str, roots: Callable[[str], tuple[Path, Made]], tmp_path: Path
) -> None:
    raw, (root, whole) = RAWS[name], roots(name)
    clip, listed = raw.files[file]
    path, kept = root / file, (root / file).read_bytes()
    original = decoded(path) if path.suffix not in (".npy", ".csv", ".mat", ".jpg") else (0, 0)
    complaints = {}
    for damage in listed:
        damage.do(path)
        try:
            text = complaint(damage, made(raw, root, tmp_path / "out"), whole, clip, path, original)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
        complaints[damage.name] = text
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        path.write_bytes(kept)
    assert {damage: text for damage, text in complaints.items() if text} == {}
    assert not MARKER.exists()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["crema_d", "ucf101", "custom"])
def test_many_damages_at_once_with_two_workers(name: str, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    {"crema_d": replicas.write_crema_d, "ucf101": replicas.write_ucf101, "custom": replicas.write_custom}[name](root)
    raw = Raw(name, lambda _: None, {})
    whole = made(raw, root, tmp_path / "whole")
    files = {"crema_d": "VideoFlash/*.flv", "ucf101": "UCF-101/Archery/*.avi", "custom": "files/visual/*.mp4"}[name]
    listed = [
        d for d in damages.common(damages.jpg()) if d.verdict == "named" or d.name in ("cut at 35%", "cut at 60%")
    ]
    hit = {path.stem: damage for path, damage in zip(sorted(root.glob(files))[1::2], listed, strict=False)}
    for path in root.glob(files):
        if path.stem in hit:
            hit[path.stem].do(path)
    found = made(raw, root, tmp_path / "two", workers=2)
    one = made(raw, root, tmp_path / "one", workers=1)
    gone = {clip for clip in whole.samples if any(clip.endswith(stem) for stem in hit)}
    assert len(gone) >= 2
    assert set(found.skipped) | set(found.absent) >= gone
    assert set(found.samples) == set(whole.samples) - gone
    assert all(is_same(arrays, whole.samples[clip]) for clip, arrays in found.samples.items())
    assert found.skipped == one.skipped
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine may enter and write into."""
    folder = Path(tempfile.mkdtemp(prefix="rollingq-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Root may read everything: be nobody for as long as the test."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


UNREADABLE = {
    "utd_mhad": "Depth/a1_s1_t2_depth.mat",
    "av_mnist": "fsdd/recordings/3_george_5.wav",
    "crema_d": f"VideoFlash/{CREMA[1]}.flv",
    "kinetics_sound .mp4": f"train/bowling/{KINETICS}.mp4",
    "ucf101 flow images": f"u/{UCF}/frame000006.jpg",
    "ucf101 flow videos": FLOW.format("x"),
    "custom": "files/motion/01.npy",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_file_is_named(name: str, open_folder: Path, request: pytest.FixtureRequest) -> None:
    raw, root = RAWS[name], open_folder / "raw"
    for folder in ("raw", "twin"):
        raw.write(open_folder / folder)
    whole = made(raw, open_folder / "twin", open_folder / "whole")
    (root / UNREADABLE[name]).chmod(0)
    request.getfixturevalue("ordinary_user")
    found = made(raw, root, open_folder / "out")
    [(clip, (file, reason))] = found.skipped.items()
    assert UNREADABLE[name] in file.split(", ") or file in UNREADABLE[name]
    assert "ermission denied" in reason
    assert set(found.samples) == set(whole.samples) - {clip}


def test_there_are_many_cases() -> None:
    assert sum(len(raw.files[file][1]) for raw in RAWS.values() for file in raw.files) >= 300


@pytest.fixture(scope="module", autouse=True)
def _bounded_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES
