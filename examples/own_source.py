"""A dataset of one's own: steps of people on a pressure mat, in files such as ill_anna_3.npy of [steps, 8] numbers."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rollingq.data.prepare.engine import prepare_source
from rollingq.data.prepare.source import Arrays, BadFileError, Clip, Plan, Source
from rollingq.data.prepared import load_folder
from rollingq.data.spec import ModalitySpec

CLASSES = ("healthy", "ill")


@dataclass(frozen=True)
class Gait(Source):
    """Pressure of every step, and how it changes."""

    name = "gait"

    steps: int = 20
    """Steps of a sample; a field is an option, and the manifest keeps it."""

    def plan(self, root: Path) -> Plan:
        """Return the clips; no person is in two splits."""
        files = [path.name for path in sorted(root.glob("*.npy"))]
        people = sorted({file.split("_")[1] for file in files})
        splits = {person: ("test", "val")[i] if i < 2 else "train" for i, person in enumerate(people)}
        clips = []
        for file in files:
            state, person, _ = file.split("_")
            clips.append(Clip(file, splits[person], CLASSES.index(state), {"mat": (file,)}, group=person))
        specs = {"mat": ModalitySpec((self.steps, 8)), "speed": ModalitySpec((self.steps, 1))}
        return Plan(CLASSES, specs, clips)

    def read(self, clip: Clip, root: Path) -> Arrays:
        """Return one sample, or say why there is none."""
        mat = np.load(root / clip.files["mat"][0], allow_pickle=False).astype(np.float32)
        if len(mat) < self.steps:
            raise BadFileError(f"expected {self.steps} steps or more, got {len(mat)}")
        speed = np.gradient(mat.mean(1))[: self.steps, None].astype(np.float32)
        return {"mat": mat[: self.steps], "speed": speed}


if __name__ == "__main__":
    raw, out = map(Path, sys.argv[1:3])
    print(prepare_source(Gait(), root=raw, out=out).counts)
    print(load_folder(out).shapes)
