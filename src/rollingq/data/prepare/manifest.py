"""What a prepared folder says of itself: the manifest, and one line for every sample. No torch in here."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rollingq.data.prepare.moments import Moments
from rollingq.data.prepare.source import PLACE, SPLITS, Clip, Plan, Skipped, Source
from rollingq.data.shards import SAMPLES, sha256_of

PACKAGES = ("rollingq", "numpy", "scipy", "safetensors", "av", "opencv-python-headless")


def recipe_of(source: Source) -> dict[str, Any]:
    """Return the options of a source by name."""
    return {field.name: getattr(source, field.name) for field in fields(source) if not field.metadata.get(PLACE)}  # type: ignore[arg-type]


def versions_of_packages() -> dict[str, str]:
    """Return the versions of what makes the bytes of a shard."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe(
    source: Source, plan: Plan, records: Mapping[str, dict[str, Any]], skipped: Sequence[Skipped]
) -> tuple[dict[str, Any], bytes]:
    """Return the manifest, and the table of samples as CSV.

    Args:
        source: What was prepared.
        plan: Its plan.
        records: Shard -> its names, its moments and its entry of the manifest, in the order of the shards.
        skipped: What was left out.
    """
    clips = {clip.name: clip for clip in plan.clips}
    written = {split: list(_written(records, split, clips)) for split in SPLITS}
    samples = _table(records, clips, plan.classes)
    splits = {
        split: {"count": len(rows), "per_class": _per_class(rows, plan.classes)} for split, rows in written.items()
    }
    manifest = {
        "dataset": source.name,
        "classes": list(plan.classes),
        "modalities": {name: spec.to_json() for name, spec in plan.modalities.items()},
        "recipe": recipe_of(source),
        "statistics": _statistics(plan, records),
        "versions": versions_of_packages(),
        "splits": splits,
        "skipped": [asdict(skip) for skip in skipped],
        "absent": list(plan.absent),
        "lacking": _lacking(records),
        "notes": dict(plan.notes),
        "shards": {f"{name}.safetensors": r["shard"] for name, r in records.items() if r["shard"]},
        "samples": {"file": SAMPLES, "sha256": sha256_of(samples)},
    }
    return manifest, samples


def _lacking(records: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return split -> modality -> samples whose mask of it is all False."""
    total: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for shard, record in records.items():
        total[shard.rpartition("-")[0]].update(record["lacking"])
    return {split: dict(found) for split, found in total.items()}


def _written(records: Mapping[str, dict[str, Any]], split: str, clips: Mapping[str, Clip]) -> Iterator[Clip]:
    for shard, record in records.items():
        if shard.startswith(f"{split}-"):
            yield from (clips[name] for name in record["names"])


def _per_class(clips: Sequence[Clip], classes: Sequence[str]) -> dict[str, int]:
    counts = Counter(clip.label for clip in clips)
    return {name: counts[label] for label, name in enumerate(classes)}


def _table(records: Mapping[str, dict[str, Any]], clips: Mapping[str, Clip], classes: Sequence[str]) -> bytes:
    """Return one line a sample: where it is, what it is, and whom it belongs to."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("shard", "row", "name", "class", "group"))
    for shard, record in records.items():
        rows = ((clips[name], row) for row, name in enumerate(record["names"]))
        writer.writerows((shard, row, clip.name, classes[clip.label], clip.group) for clip, row in rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _statistics(plan: Plan, records: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Return mean and standard deviation of the training split, by modality; nothing where there is no such split."""
    found: dict[str, dict[str, list[float]]] = {}
    if not any(record.get("moments") for record in records.values()):
        return found
    for name in plan.modalities:
        parts = [Moments.from_json(r["moments"][name]) for r in records.values() if r.get("moments")]
        total = sum(parts[1:], parts[0])
        found[name] = dict(zip(("mean", "std"), total.statistics, strict=True))
    return found
