"""Finished runs on the disk: find them, read them, and build the trained model again."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import rollingq
from rollingq.data.base import MultimodalData
from rollingq.errors import DataError, RollingQError, RollingQWarning, nearest, unknown_name
from rollingq.evaluation.rebuilding import rebuilt
from rollingq.evaluation.results import RunResult, from_json
from rollingq.training.folder import CHECKPOINT, RESULT, RUNS
from rollingq.training.grid import Source, fingerprint
from rollingq.training.methods import Method
from rollingq.training.module import MultimodalTask
from rollingq.training.run import Run
from rollingq.training.settings import Settings


@dataclass(frozen=True)
class StoredRun:
    """A finished run: what decided it, what it found, and where its weights are."""

    folder: Path
    key: str
    """Hash of everything that decided it."""
    method: Method
    seed: int
    settings: Settings
    source: Source
    """Where its data came from; ``source.load()`` gives it again."""
    result: RunResult
    data: str
    """Fingerprint of the data."""
    norm_eps: dict[str, float]
    """Path of a LayerNorm -> its eps, where pretrained weights brought one along."""

    @property
    def checkpoint(self) -> Path:
        """The weights of the best epoch."""
        return self.folder / CHECKPOINT

    def rebuild(self, data: MultimodalData) -> Run:
        """Return the run as it was right after training: the same model with the weights of the best epoch.

        Pretrained weights are not read again: the checkpoint holds what became of them. The model is in eval mode. The
        global random state is set to the run's seed.

        Args:
            data: The dataset of the run, as ``source.load()`` gives it. Another manifest than the run's is warned of.

        Raises:
            DataError: If the weights are missing or damaged, or do not fit the data.
        """
        self._check(data)
        settings = replace(self.settings, encoder=replace(self.settings.encoder, pretrained=None))
        run = Run(self.method, self.seed, data, settings)
        for path, eps in self.norm_eps.items():
            run.model.get_submodule(path).eps = eps  # type: ignore[assignment]
        task = MultimodalTask(run.model, settings.train, run.balancing)
        try:
            task.load_state_dict(_weights(self.checkpoint))
        except RuntimeError as error:
            raise DataError(
                f"Expected data like that of {self.folder}, but its weights do not fit {data.name} with "
                f"{len(data.classes)} classes ({_reason(error)}); give the prepared folder that the run was trained on."
            ) from error
        run.model.eval()
        return run

    def _check(self, data: MultimodalData) -> None:
        for name in self.method.modalities:
            if name not in data.modalities:
                raise DataError(unknown_name(f"a modality of {self.method.name} in {data.name}", name, data.modalities))
        if fingerprint(data) != self.data:
            warnings.warn(
                f"Expected the data of {self.folder}, but {data.name} has another manifest (other classes, splits or "
                "preparation): samples of its test split may have been trained on.",
                RollingQWarning,
                stacklevel=3,
            )


def find_runs(folder: Path) -> list[Path]:
    """Return the folders of finished runs, sorted: of a run itself, or of all runs of a comparison.

    Runs without a result (killed, failed or under way) are left out, since there is nothing to read.

    Args:
        folder: Folder of a run, of a comparison, or the ``runs`` in it.

    Raises:
        DataError: If there is no finished run; names the nearest one.
    """
    if (folder / RESULT).is_file():
        return [folder]
    found = sorted(path.parent for path in _results(folder))
    if not found:
        raise _not_found(folder)
    return found


def read_run(folder: Path, *, dir: str | Path | None = None) -> StoredRun:
    """Read a finished run; its weights are looked at when it is rebuilt.

    Args:
        folder: The run's folder.
        dir: Where the prepared dataset lies now; where it was if None.

    Raises:
        DataError: If the folder holds no whole run, or one that this version cannot read.
    """
    path = folder / RESULT
    if not path.is_file():
        raise _not_found(folder)
    if not (folder / CHECKPOINT).is_file():
        raise DataError(f"Expected the weights {folder / CHECKPOINT}, but got none; delete {path} and train again.")
    try:
        stored = json.loads(path.read_text())
        return _of(folder, stored["key"], stored["facts"], stored["result"], dir)
    except KeyError as error:
        raise _unreadable(path, f"it has no {error}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _unreadable(path, _reason(error)) from error


def _of(folder: Path, key: Any, facts: Any, result: Any, dir: str | Path | None) -> StoredRun:  # noqa: ANN401
    made_by = facts["version"]
    try:
        source = rebuilt(Source, facts["source"])
        return StoredRun(
            folder=folder,
            key=rebuilt(str, key),
            method=rebuilt(Method, facts["method"]),
            seed=rebuilt(int, facts["seed"]),
            settings=rebuilt(Settings, facts["settings"]),
            source=source if dir is None else replace(source, dir=str(Path(dir).resolve())),
            result=from_json(RunResult, json.dumps(result)),
            data=rebuilt(str, facts["data"]),
            norm_eps=rebuilt(dict[str, float], facts["norm_eps"]),
        )
    except RollingQError as error:
        version = "" if made_by == rollingq.__version__ else f"made by rollingq {made_by}, not {rollingq.__version__}: "
        raise DataError(version + _reason(error)) from error


def _weights(path: Path) -> dict[str, Any]:
    """Return the tensors of a checkpoint, without running any code in it."""
    try:
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # Damaged files raise errors of nearly any kind.
        raise DataError(
            f"Expected the weights of a run in {path}, but it cannot be read ({_reason(error)}); delete {RESULT} "
            "beside it and train again."
        ) from error
    return loaded


def _results(folder: Path) -> Sequence[Path]:
    return [*folder.glob(f"{RUNS}/*/{RESULT}"), *folder.glob(f"*/{RESULT}")]


def _not_found(folder: Path) -> DataError:
    """Return the error for a folder without a finished run, with the nearest one that there is."""
    siblings = [path.name for path in folder.parent.glob("*/") if path.name != folder.name]
    inside, around = _results(folder), [path.parent.name for path in _results(folder.parent)]
    hint = nearest(folder.name, around) or nearest(folder.name, siblings)
    return DataError(
        f"Expected the folder of a finished run, but {folder} holds no {RESULT}; "
        + (f"choose one of its runs, such as {inside[0].parent}." if inside else f"train it first.{hint}")
    )


def _unreadable(path: Path, reason: str) -> DataError:
    return DataError(
        f"Expected the whole result of a run in {path}, but it cannot be read ({reason}); delete it and train again."
    )


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
