"""Settings of a training: the recipe's with the entry's changes, the folder they are kept in, and how they differ."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rollingq.training.settings import Settings


def with_changes(settings: Settings, changes: Sequence[tuple[str, Any]]) -> Settings:
    """Return settings with some changed.

    Args:
        settings: The others.
        changes: Such as ("train.batch_size", 16).

    Raises:
        ConfigError: If a value is outside its range.

    Example:
        >>> with_changes(Settings(), [("train.batch_size", 16)]).train.batch_size
        16
    """
    for name, value in changes:
        group, _, key = name.partition(".")
        settings = replace(settings, **{group: replace(getattr(settings, group), **{key: value})})
    return settings


def training_folder(out: Path, data: str, modalities: Sequence[str], inside: int | None, settings: Settings) -> Path:
    """Return the folder of the runs that share data and settings, whichever entries ask for them.

    Where the data lies does not count: a dataset that has moved is the same.

    Args:
        out: Folder of all results.
        data: Name of the dataset.
        modalities: Which of its modalities.
        inside: Number of classes trained on, None = all.
        settings: Settings of every run.

    Example:
        >>> training_folder(Path("runs"), "av_digits", ("audio", "image"), None, Settings()).name[:10]
        'av_digits-'
    """
    facts = {"data": data, "modalities": list(modalities), "inside": inside, "settings": asdict(settings)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return out / f"{data}-{digest[:10]}"


def differences(settings: Settings, recipe: Settings, *, leave_out: Sequence[str] = ()) -> list[str]:
    """Return what differs from the recipe, one short sentence a setting.

    Args:
        settings: What is run.
        recipe: What the paper states, as far as it does.
        leave_out: Names of settings that are not compared.

    Example:
        >>> differences(with_changes(Settings(), [("train.epochs", 1)]), Settings())
        ['train.epochs is 1, the recipe says 20']
    """
    given, stated = dict(_flat(asdict(settings))), dict(_flat(asdict(recipe)))
    return [
        f"{name} is {value}, the recipe says {stated.get(name, 'nothing')}"
        for name, value in given.items()
        if name not in leave_out and stated.get(name) != value
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
