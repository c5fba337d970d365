"""A dataset of small text files that say how reading them goes: importable, and picklable, in worker processes."""

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rollingq.data.prepare.engine import prepare_source
from rollingq.data.prepare.source import PLACE, BadFileError, Clip, Plan, Source
from rollingq.data.spec import ModalitySpec
from rollingq.errors import MissingExtraError


def specs(side: int = 4) -> dict[str, ModalitySpec]:
    """Return the modalities; ``side`` makes them larger."""
    return {
        "audio": ModalitySpec((4, 3), has_mask=True),
        "image": ModalitySpec((3, side, 6), "image", "uint8", "channel"),
    }


COUNTS = {"train": 20, "val": 3, "test": 9}
DIED = "the process that read it died: a crash in a decoder, or no memory left"


def names_of(split: str, counts: dict[str, int] = COUNTS) -> list[str]:
    return [f"{split}{number:04d}" for number in range(counts[split])]


def write_raw(root: Path, counts: dict[str, int] = COUNTS) -> Path:
    """Write one file a clip, which holds the seed of its arrays."""
    root.mkdir(parents=True, exist_ok=True)
    names = [name for split in counts for name in names_of(split, counts)]
    for seed, name in enumerate(names):
        (root / f"{name}.txt").write_text(str(seed))
    return root


def say(root: Path, **words: str) -> None:
    """Replace what files say, by name of the clip."""
    for name, word in words.items():
        (root / f"{name}.txt").write_text(word)


def sample(seed: int, scale: int = 1, side: int = 4) -> dict[str, np.ndarray]:
    """Return the arrays of one clip; one of three has no audio, and padding is not zero."""
    random = np.random.default_rng(seed)
    arrays = {"image": random.integers(0, 256, (3, side, 6), np.uint8)}
    if seed % 3:
        arrays["audio"] = (scale * random.normal(5, 2, (4, 3))).astype(np.float32)
        arrays["audio/mask"] = np.arange(4) < 1 + seed % 4
    return arrays


def _die(how: int) -> None:
    if how:
        os.kill(os.getpid(), how)
    os._exit(3)


WORDS = {
    "exit": lambda: _die(0),
    "segv": lambda: _die(signal.SIGSEGV),
    "kill": lambda: _die(signal.SIGKILL),
    "hang": lambda: time.sleep(60),
    "shape": lambda: {**sample(1), "image": np.zeros((3, 4, 5), np.uint8)},
    "dtype": lambda: {**sample(1), "audio": np.zeros((4, 3))},
    "nan": lambda: {**sample(1), "audio": np.full((4, 3), np.nan, np.float32)},
    "infinite": lambda: {**sample(1), "audio": np.full((4, 3), np.inf, np.float32)},
    "typing error": lambda: {**sample(1), "adio": np.zeros((4, 3), np.float32)},
    "mask of none": lambda: {**sample(1), "image/mask": np.ones(1, bool)},
    "mask alone": lambda: {"image": sample(1)["image"], "audio/mask": np.ones(4, bool)},
    "short mask": lambda: {**sample(1), "audio/mask": np.ones(3, bool)},
    "no image": lambda: {"audio": np.zeros((4, 3), np.float32)},
}


def _raised(word: str) -> BaseException | None:
    return {
        "bad": BadFileError("expected sound,\n  got noise"),
        "bad file": BadFileError("expected a moov box", "other/file.mp4"),
        "io": OSError(5, "Input/output error"),
        "timeout": TimeoutError(),
        "memory": MemoryError(),
        "bug": KeyError("bug"),
        "no package": MissingExtraError("av", "lab"),
    }.get(word)


@dataclass(frozen=True)
class Made(Source):
    """Clips whose files hold a seed, or a word on what goes wrong."""

    name = "made"
    max_rows = 4

    scale: int = 1
    side: int = 4
    log: str = field(default="", metadata={PLACE: True})
    wait: float = field(default=0.0, metadata={PLACE: True})
    needs_training: bool = field(default=True, metadata={PLACE: True})

    def plan(self, root: Path) -> Plan:
        order = ("train", "val", "test")
        found = sorted(root.glob("*.txt"), key=lambda path: (order.index(path.stem[:-4]), path.stem))
        clips = [
            Clip(path.stem, path.stem[:-4], int(path.stem[-4:]) % 3, {"audio": (path.name,)}, f"g{path.stem[-1]}")
            for path in found
        ]
        return Plan(
            ("a", "b", "c"),
            specs(self.side),
            clips,
            absent=["lost"],
            notes={"files": len(found)},
            needs_training=self.needs_training,
        )

    def read(self, clip: Clip, root: Path) -> dict[str, np.ndarray]:
        if self.log:
            with Path(self.log).open("a") as log:
                log.write(f"{clip.name}\n")
        time.sleep(self.wait)
        word = (root / clip.files["audio"][0]).read_text()
        if (error := _raised(word)) is not None:
            raise error
        if word.startswith("slow "):
            time.sleep(float(word.split()[1]))
            word = word.split()[2]
        return WORDS[word]() if word in WORDS else sample(int(word), self.scale, self.side)


@dataclass(frozen=True)
class MadeInProcess(Made):
    """The same, read in this process alone."""

    in_process = True


@dataclass(frozen=True)
class Zeros(Made):
    """Samples that take longer to send than to read."""

    def read(self, clip: Clip, root: Path) -> dict[str, np.ndarray]:
        return {"image": np.zeros((3, self.side, 6), np.uint8)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def reads(log: Path) -> list[str]:
    """Return the clips that were read, in the order of their beginning."""
    return log.read_text().split() if log.exists() else []


def main() -> None:
    """Prepare as a script: root, out, log, size, seconds a clip, workers."""
    root, out, log, side, wait, workers = sys.argv[1:]
    source = Made(log=log, side=int(side), wait=float(wait))
    prepare_source(source, root=Path(root), out=Path(out), workers=int(workers))


if __name__ == "__main__":
    import made_source  # So that worker processes find the class where they can import it.

    made_source.main()
