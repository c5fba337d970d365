"""Read one raw MATLAB file of UTD-MHAD, or say in a few words why it cannot be used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollingq.data.raw.files import BadFileError, check_file


@dataclass(frozen=True)
class Form:
    """What a modality's variable looks like: -1 stands for any size, limits hold for every number."""

    variable: str
    shape: tuple[int, ...]
    time_axis: int
    limits: tuple[float, float]


FORMS = {
    "inertial": Form("d_iner", (-1, 6), 0, (-2001.0, 2001.0)),
    "skeleton": Form("d_skel", (20, 3, -1), 2, (-20.0, 20.0)),
    "depth": Form("d_depth", (-1, -1, -1), 2, (0.0, 20000.0)),
}
"""Limits: the gyroscope's range in degrees a second, a room in metres, a depth camera in millimetres."""


def read_modality(path: Path, modality: str) -> NDArray[Any]:
    """Return the variable of one file with time as its first axis, checked.

    Args:
        path: A .mat file.
        modality: "inertial" (g and degrees a second, ``[T, 6]``), "skeleton" (metres, ``[T, 20, 3]``) or
            "depth" (millimetres, ``[T, H, W]``).

    Raises:
        BadFileError: If the file is missing, truncated, of another form, or holds numbers that cannot be.
    """
    form = FORMS[modality]
    array = _variable(path, form.variable)
    if array.ndim != len(form.shape) or any(
        want not in (-1, got) for want, got in zip(form.shape, array.shape, strict=True)
    ):
        wanted = "x".join("any" if size < 0 else str(size) for size in form.shape)
        raise BadFileError(f"expected {form.variable} of shape {wanted}, got {'x'.join(map(str, array.shape))}")
    if min(array.shape) < 2:
        raise BadFileError(f"expected at least 2 steps and no empty axis, got {'x'.join(map(str, array.shape))}")
    _check_numbers(array, form)
    return np.moveaxis(array, form.time_axis, 0)


def _variable(path: Path, name: str) -> NDArray[Any]:
    from scipy.io import loadmat

    check_file(path)
    try:
        variables = loadmat(path, variable_names=[name])
    except Exception as error:
        # A damaged file makes scipy raise nearly anything: zlib.error, ValueError, TypeError, MemoryError, ...
        text = " ".join(str(error).split())[:80]
        raise BadFileError(f"unreadable MATLAB file ({type(error).__name__}: {text})") from error
    array = variables.get(name)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise BadFileError(f"expected a numeric variable {name}, got none")
    return array


def _check_numbers(array: NDArray[Any], form: Form) -> None:
    low, high = form.limits
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadFileError(f"{int((~np.isfinite(array)).sum())} of {array.size} numbers are NaN or infinite")
    if array.min() < low or array.max() > high:
        raise BadFileError(f"expected numbers from {low:g} to {high:g}, got {array.min():g} to {array.max():g}")
    if array.min() == array.max():
        raise BadFileError(f"every number is {array.min():g}: nothing was recorded")
