"""Prepare any source: plan, read in parallel, write shards as they fill, and the manifest last. No torch in here."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import cpu_count
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rollingq.data.prepare.manifest import describe, recipe_of, versions_of_packages
from rollingq.data.prepare.moments import moments_of
from rollingq.data.prepare.readers import Readers
from rollingq.data.prepare.samples import Outcome, PassingTrouble
from rollingq.data.prepare.shards import refuse_foreign
from rollingq.data.prepare.source import SPLITS, Clip, Plan, Skipped, Source
from rollingq.data.prepare.work import WorkFolder
from rollingq.data.shards import FORMAT, SAMPLES
from rollingq.data.spec import MASK
from rollingq.errors import DataError

OnError = Literal["report", "skip", "raise"]
Progress = Callable[[int, int], None]
SHARD_BYTES = 2**25
"""Most bytes of samples in one shard, and so what preparing holds in memory."""


@dataclass(frozen=True)
class PrepareSummary:
    """What ``prepare`` did: where, how many samples of each split and class, and what it left out."""

    dataset: str
    folder: str
    counts: Mapping[str, Mapping[str, int]]
    """Split -> class -> samples."""
    skipped: tuple[Skipped, ...]
    """Damaged or incomplete clips; each is named."""
    absent: tuple[str, ...]
    """Clips of the published dataset, or of the user's list, that the root holds no file of."""
    notes: Mapping[str, Any]
    """What else the dataset has to say: overlap of people between splits, clips without sound, and so on."""
    lacking: Mapping[str, Mapping[str, int]]
    """Split -> modality -> samples that lack it; their mask is False."""
    num_kept: int = 0
    """Clips that an interrupted call had read before."""

    @property
    def total(self) -> int:
        """Number of samples written."""
        return sum(sum(split.values()) for split in self.counts.values())


@dataclass(frozen=True)
class _Shard:
    name: str
    split: str
    clips: Sequence[Clip]


def prepare_source(
    source: Source,
    *,
    root: Path,
    out: Path,
    on_progress: Progress | None = None,
    workers: int | None = None,
    on_error: OnError = "report",
) -> PrepareSummary:
    """Read every clip of a source and write shards of "train", "val" and "test" into ``out``.

    The same input gives the same bytes, for any number of workers, after any number of interruptions. Memory does not
    grow with the dataset. An interrupted call leaves ``.OUT.partial`` beside ``out``; the next call goes on from there
    if recipe, versions and raw files (their sizes and times) are the same, shard by shard.

    Args:
        source: The dataset.
        root: Folder of the raw files.
        out: Folder to make; an earlier prepared folder of the dataset is replaced, anything else is left alone.
        on_progress: Called with clips done and in all.
        workers: Processes that read files; as many as there are cores if None, no extra process if 1.
        on_error: "report" and "skip" write the sound clips and name the others (a command then exits with 1, or with
            0); "raise" makes no folder if any clip is damaged.

    Raises:
        DataError: If there is nothing to read, ``out`` is in use or cannot be written, no clip of a split is sound, or
            a clip is damaged and ``on_error`` is "raise".
    """
    if workers is not None and workers < 1:
        raise DataError(f"Expected at least 1 worker, but got {workers}; leave it out for one a core.")
    given, out = out, out.resolve()
    refuse_foreign(out, source.name)
    plan = source.plan(root)
    _check_plan(plan, source)
    with WorkFolder(out) as work:
        records, num_kept = _all_shards(source, plan, root, work, workers or cpu_count() or 1, on_progress)
        skipped = (*plan.skipped, *(Skipped(**row) for record in records.values() for row in record["skipped"]))
        _refuse_damaged(plan, skipped, records, on_error, work)
        manifest, samples = describe(source, plan, records, skipped)
        work.finish(manifest, {SAMPLES: samples})
    counts = {split: manifest["splits"][split]["per_class"] for split in SPLITS}
    lacking = manifest["lacking"]
    return PrepareSummary(source.name, str(given), counts, skipped, tuple(plan.absent), plan.notes, lacking, num_kept)


def _check_plan(plan: Plan, source: Source) -> None:
    """Refuse what a source must not plan, before anything is read."""
    name = source.name
    try:
        json.dumps([plan.notes, recipe_of(source), [clip.label for clip in plan.clips]])
    except TypeError as error:
        raise DataError(f"Expected notes, options and labels of {name} that JSON can hold, but {error}.") from error
    double = [clip for clip, count in Counter(clip.name for clip in plan.clips).items() if count > 1]
    foreign = {clip.split for clip in plan.clips} - set(SPLITS)
    wrong = [clip.name for clip in plan.clips if not 0 <= clip.label < len(plan.classes)]
    reserved = [m for m in plan.modalities if m == "label" or "/" in m]
    for found, text in (
        (double, "clips of different names"),
        (sorted(foreign), "the splits train, val and test"),
        (wrong, f"labels from 0 to {len(plan.classes) - 1}"),
        (reserved, "modalities with other names than label, without slashes"),
    ):
        if found:
            raise DataError(f"Expected {name} to have {text}, but got {', '.join(found[:3])}. Mend its source.")
    if not plan.clips:
        raise DataError(f"Expected the root to hold clips of {name}, but got none. Look at its layout in the docs.")
    if plan.needs_training and not any(clip.split == "train" for clip in plan.clips):
        raise DataError(f"Expected the root to hold training clips of {name}, but got others alone. Add them.")


def _shards_of(source: Source, plan: Plan) -> list[_Shard]:
    sample = sum(int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in plan.modalities.values())
    rows = int(np.clip(SHARD_BYTES // max(1, sample), 1, source.max_rows))
    shards = []
    for split in SPLITS:
        clips = [clip for clip in plan.clips if clip.split == split]
        chunks = [clips[start : start + rows] for start in range(0, len(clips), rows)]
        shards += [_Shard(f"{split}-{number:05d}", split, chunk) for number, chunk in enumerate(chunks)]
    return shards


def _all_shards(
    source: Source, plan: Plan, root: Path, work: WorkFolder, workers: int, on_progress: Progress | None
) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the record of every shard, from before or made now, and how many clips were done before."""
    shards, common = _shards_of(source, plan), _common(source, plan)
    keys = {shard.name: _key(shard, common, root) for shard in shards}
    records = {s.name: record for s in shards if (record := work.record(s.name, keys[s.name])) is not None}
    num_kept = done = sum(len(shard.clips) for shard in shards if shard.name in records)
    missing = [shard for shard in shards if shard.name not in records]
    with Readers(source, root, dict(plan.modalities), workers) as readers:
        outcomes = readers.read([clip for shard in missing for clip in shard.clips])
        for shard in missing:
            got = []
            for _ in shard.clips:
                got.append(next(outcomes))
                done += 1
                if on_progress is not None:
                    on_progress(done, len(plan.clips))
            arrays, record = _filled(shard, got, plan)
            records[shard.name] = work.keep(shard.name, keys[shard.name], arrays, record)
    return {shard.name: records[shard.name] for shard in shards}, num_kept


def _filled(shard: _Shard, outcomes: Sequence[Outcome], plan: Plan) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a shard and what its record says of it."""
    pairs = [(c, arrays) for c, arrays in zip(shard.clips, outcomes, strict=True) if not isinstance(arrays, Skipped)]
    skipped = [asdict(outcome) for outcome in outcomes if isinstance(outcome, Skipped)]
    is_final = not any(isinstance(outcome, PassingTrouble) for outcome in outcomes)
    record: dict[str, Any] = {"names": [clip.name for clip, _ in pairs], "skipped": skipped, "is_final": is_final}
    if not pairs:
        return {}, {**record, "moments": {}, "lacking": {}}
    stacked = {key: np.stack([arrays[key] for _, arrays in pairs]) for key in pairs[0][1]}
    if shard.split == "train":
        moments = {m: moments_of(stacked[m], spec, stacked.get(m + MASK)) for m, spec in plan.modalities.items()}
        record["moments"] = {name: found.to_json() for name, found in moments.items()}
    masks = {m: stacked[m + MASK] for m, spec in plan.modalities.items() if spec.has_mask}
    record["lacking"] = {m: int((~mask.any(1)).sum()) for m, mask in masks.items()}
    return {"label": np.array([clip.label for clip, _ in pairs], np.int64), **stacked}, record


def _common(source: Source, plan: Plan) -> str:
    """Return everything beside the clips that decides the bytes of a shard."""
    specs = {name: spec.to_json() for name, spec in plan.modalities.items()}
    facts = [FORMAT, source.name, recipe_of(source), versions_of_packages(), list(plan.classes), specs]
    return json.dumps(facts, sort_keys=True, default=str)


def _key(shard: _Shard, common: str, root: Path) -> str:
    files = [[_stamp(root / path) for paths in clip.files.values() for path in paths] for clip in shard.clips]
    clips = [asdict(clip) for clip in shard.clips]
    return hashlib.sha256(json.dumps([common, str(root), clips, files], sort_keys=True).encode()).hexdigest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _refuse_damaged(
    plan: Plan, skipped: Sequence[Skipped], records: Mapping[str, Any], on_error: OnError, work: WorkFolder
) -> None:
    listed = "; ".join(f"{skip.file or skip.name}: {skip.reason}" for skip in skipped)
    if skipped and on_error == "raise":
        raise DataError(
            f"Expected {len(plan.clips)} sound clips, but got {len(skipped)} damaged ({listed}). What is sound is kept "
            f"in {work.path} for the next call."
        )
    planned = {clip.split for clip in plan.clips}
    for split in SPLITS:
        if split in planned and not any(r["names"] for name, r in records.items() if name.startswith(f"{split}-")):
            work.drop()
            first = "; ".join(listed.split("; ")[:3])
            raise DataError(f"Expected sound clips in the split {split}, but got none ({first}).")
