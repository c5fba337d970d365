"""Small made replicas of UTD-MHAD's raw files, and where the real ones are."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

SUBJECTS = (1, 2, 7)


def write_replica(root: Path, name: str, seed: int = 0, size: tuple[int, int] = (24, 32)) -> None:
    """Write one recording's three files in the upstream layout."""
    random = np.random.default_rng(seed)
    steps, frames = 20 + seed % 5, 6 + seed % 3
    depth = np.zeros((*size, frames), np.uint16)
    depth[4:20, 10:22] = random.integers(2000, 3000, (16, 12, frames))
    arrays = {
        "inertial": ("d_iner", random.normal(0, 50, (steps, 6))),
        "skeleton": ("d_skel", random.normal(0, 1, (20, 3, frames))),
        "depth": ("d_depth", depth),
    }
    for modality, (variable, array) in arrays.items():
        folder = root / modality.capitalize()
        folder.mkdir(parents=True, exist_ok=True)
        savemat(folder / f"{name}_{modality}.mat", {variable: array}, do_compression=True)


@pytest.fixture
def replica() -> Callable[..., None]:
    """The writer of made recordings."""
    return write_replica


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six whole recordings: two actions of a training, a test and the validation subject."""
    root = tmp_path / "raw"
    for number, name in enumerate(f"a{action}_s{subject}_t1" for action in (1, 2) for subject in SUBJECTS):
        write_replica(root, name, number)
    return root


@pytest.fixture(scope="session")
def utd_mhad_root() -> Path:
    """The real raw files, if this machine has them."""
    beside = Path(__file__).parents[4] / "shared" / "data"
    root = Path(os.environ.get("ROLLINGQ_DATA", beside)) / "utd_mhad"
    if not root.is_dir():
        pytest.skip(f"needs the raw UTD-MHAD files: set ROLLINGQ_DATA (looked in {root})")
    return root
