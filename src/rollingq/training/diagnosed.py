"""diagnose_run: everything measured on a finished run, kept beside it and never measured twice."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import rollingq
from rollingq.config import DiagnoseConfig
from rollingq.data.base import MultimodalData, Split
from rollingq.data.classes import outside_samples
from rollingq.data.samplers import make_loader
from rollingq.evaluation.diagnose import OnProgress, Outside
from rollingq.evaluation.diagnosis import Diagnosis
from rollingq.evaluation.results import to_json
from rollingq.files import write_text
from rollingq.training.folder import hash_of, read_keyed
from rollingq.training.grid import Source
from rollingq.training.stored import StoredRun, read_run

LEFT_OUT = "left-out classes"
"""Name of the outside set that a run with fewer classes than its data has by itself."""


def diagnose_run(
    folder: Path,
    data: MultimodalData | None = None,
    *,
    config: DiagnoseConfig | None = None,
    dir: str | None = None,
    outside: Sequence[MultimodalData] = (),
    on_progress: OnProgress | None = None,
) -> Diagnosis:
    """Measure everything on a finished run; what was measured before with the same settings is read from its folder.

    Args:
        folder: Folder of the run, with its result and its best checkpoint.
        data: The dataset of the run, if it is loaded already.
        config: Which measures; all if None.
        dir: Prepared folder of the dataset, if it has moved.
        outside: Datasets whose test samples "ood" detects beside the classes left out of training: "near" those of
            the run's own dataset (other classes of it), "far" all others.
        on_progress: Called with forward passes done and in all.

    Raises:
        DataError: If the run or its data cannot be read.
    """
    config = config or DiagnoseConfig()
    stored = read_run(folder, dir=dir)
    loaded = stored.source.load() if data is None else data
    path = Path(folder) / "diagnosis.json"
    key = _key(stored, loaded, config, outside)
    known = read_keyed(path, key, "diagnosis", Diagnosis)
    if known is not None:
        return known
    sets = outside_sets(stored.source, outside) if "ood" in config.measures else []
    found = stored.rebuild(loaded).diagnose(config, outside=sets, on_progress=on_progress).diagnosis
    write_text(path, json.dumps({"key": key, "diagnosis": json.loads(to_json(found))}))
    return found


def outside_sets(source: Source, outside: Sequence[MultimodalData]) -> list[Outside]:
    """Return the sets from outside: the classes left out of training, and other datasets."""
    sets = []
    if source.inside is not None:
        left_out = outside_samples(replace(source, inside=None).load(), source.inside)
        sets.append(Outside(LEFT_OUT, "near", _loader(left_out)))
    for data in outside:
        is_near = data.name == source.name
        name = f"other classes of {data.name}" if is_near else data.name
        sets.append(Outside(name, "near" if is_near else "far", _loader(data.splits["test"])))
    return sets


def _loader(split: Split) -> Any:  # noqa: ANN401
    return make_loader(split, 256, seed=0, shuffle=False) if len(split) else ()


def _key(stored: StoredRun, data: MultimodalData, config: DiagnoseConfig, outside: Sequence[MultimodalData]) -> str:
    """Return the hash of everything that decides a diagnosis."""
    facts = {
        "version": rollingq.__version__,
        "run": stored.key,
        "data": [data.name, data.manifest],
        "config": asdict(config),
        "outside": [[found.name, found.manifest] for found in outside],
    }
    return hash_of(facts)
