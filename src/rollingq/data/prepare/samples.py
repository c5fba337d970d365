"""Read one clip: everything that its specs promise, or why it has to be left out. No torch in here."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rollingq.data.prepare.source import Arrays, BadFileError, Clip, Skipped, Source
from rollingq.data.spec import MASK, ModalitySpec
from rollingq.errors import DataError


@dataclass(frozen=True)
class PassingTrouble(Skipped):
    """A clip that could not be read now, though it may be sound: the next call tries it again."""


Outcome = Arrays | Skipped


def read_clip(clip: Clip, *, source: Source, root: Path, modalities: dict[str, ModalitySpec]) -> Outcome:
    """Return one sample with everything that its specs promise, or why the clip has to be left out."""
    try:
        return _complete(source.read(clip, root), modalities)
    except BadFileError as error:
        return Skipped(clip.name, error.file or files_of(clip), " ".join(str(error).split()))
    except OSError as error:
        return PassingTrouble(clip.name, files_of(clip), error.strerror or type(error).__name__)
    except MemoryError:
        return PassingTrouble(clip.name, files_of(clip), "no memory left to read it")


def files_of(clip: Clip) -> str:
    """Return the files that a clip is read from, for messages: the first of each modality."""
    return ", ".join(dict.fromkeys(path for paths in clip.files.values() for path in paths[:1]))


def _complete(arrays: Arrays, modalities: dict[str, ModalitySpec]) -> Arrays:
    """Return exactly the planned arrays; what a sample misses is zero and masked.

    Raises:
        DataError: If the source gives what it did not plan.
        BadFileError: If an array has another form than planned, or holds NaN.
    """
    known = {*modalities, *(n + MASK for n, spec in modalities.items() if spec.has_mask and n in arrays)}
    if unplanned := sorted(arrays.keys() - known):
        raise DataError(f"Expected a source to read what it planned, but got {', '.join(unplanned)}; mend its read().")
    full: Arrays = {}
    for name, spec in modalities.items():
        array = arrays.get(name)
        if array is None and not spec.has_mask:
            raise BadFileError(f"no {name} was read")
        full[name] = np.zeros(spec.shape, spec.dtype) if array is None else _checked(name, array, spec)
        if spec.has_mask:
            mask = arrays.get(name + MASK, np.full(spec.mask_shape, array is not None))
            if mask.shape != spec.mask_shape or mask.dtype != bool:
                raise BadFileError(f"expected a mask {list(spec.mask_shape)} of {name}, got {list(mask.shape)}")
            full[name + MASK] = mask
    return full


def _checked(name: str, array: np.ndarray, spec: ModalitySpec) -> np.ndarray:
    if array.shape != spec.shape or array.dtype != spec.dtype:
        expected = f"{spec.dtype} of shape {list(spec.shape)}"
        raise BadFileError(f"expected {name} as {expected}, got {array.dtype} of shape {list(array.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadFileError(f"{int((~np.isfinite(array)).sum())} numbers of {name} are NaN or infinite")
    return array
