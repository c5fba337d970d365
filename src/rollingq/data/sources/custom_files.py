"""What one file of a user's own data is, and how it is read: image, array or table. No torch in here."""

import csv
from dataclasses import replace
from io import StringIO
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from rollingq.data.prepare.source import BadFileError
from rollingq.data.raw.files import check_file
from rollingq.data.raw.pickles import load_npy
from rollingq.data.spec import ModalitySpec

KINDS = {
    "sound": (".wav", ".flac", ".mp3"),
    "video": (".mp4", ".avi", ".mkv", ".mov", ".webm", ".flv"),
    "image": (".jpg", ".jpeg", ".png"),
    "array": (".npy",),
    "table": (".csv",),
}
"""Kind of file -> its suffixes."""
ARRAY_SHAPES = "[length, dim], [dim] or [channels, height, width] with 1 or 3 channels"


def kind_of(file: str, modality: str) -> str | None:
    """Return what a file is by its suffix, or None if it is nothing known; "audio" in a video file is sound.

    Example:
        >>> kind_of("a/b.MP4", "visual"), kind_of("a/b.mp4", "audio"), kind_of("a/b.txt", "text")
        ('video', 'sound', None)
    """
    suffix = PurePosixPath(file).suffix.lower()
    kind = next((kind for kind, suffixes in KINDS.items() if suffix in suffixes), None)
    return "sound" if kind == "video" and modality == "audio" else kind


def spec_of(array: Shaped[np.ndarray, "..."]) -> ModalitySpec:
    """Return the form of one array: tokens, an image, or a spectrogram.

    Raises:
        BadFileError: If arrays of such a shape mean nothing here.

    Example:
        >>> spec_of(np.zeros((12, 40))).kind, spec_of(np.zeros(512)).shape, spec_of(np.zeros((3, 8, 8), np.uint8)).dtype
        ('tokens', (1, 512), 'uint8')
    """
    shape = array.shape
    if len(shape) in (1, 2) and min(shape) > 0:
        return ModalitySpec((1, *shape)[-2:])
    if len(shape) == 3 and shape[0] in (1, 3) and min(shape) > 0:
        form = ModalitySpec(shape, "spectrogram", statistics="all")
        form = form if shape[0] == 1 else ModalitySpec(shape, "image", statistics="channel")
        return replace(form, dtype="uint8") if array.dtype == np.uint8 else form
    raise BadFileError(f"expected an array of shape {ARRAY_SHAPES}, got {list(shape)}")


def open_numbers(path: Path, kind: str) -> Shaped[np.ndarray, "..."]:
    """Return an array, of which only the header is read, or a table.

    Raises:
        BadFileError: If the file cannot be used.
    """
    return load_npy(path) if kind == "array" else read_table(path)


def read_numbers(path: Path, kind: str, spec: ModalitySpec) -> Shaped[np.ndarray, "..."]:
    """Return an array or a table, in the dtype of its modality; tokens have their own length.

    Args:
        path: The file.
        kind: "array" or "table".
        spec: The form of the modality.

    Raises:
        BadFileError: If the file cannot be used, or has another form.
    """
    array = open_numbers(path, kind)
    found = spec_of(array)
    if array.dtype.kind not in "iufb":
        raise BadFileError(f"expected real numbers, got {array.dtype}")
    if (found.kind, found.dtype, found.shape[1:]) != (spec.kind, spec.dtype, spec.shape[1:]):
        raise BadFileError(f"expected {_form(spec)} as in the first file, got {_form(found)}")
    if wrong := int((~np.isfinite(array)).sum()):
        raise BadFileError(f"{wrong} of {array.size} numbers are NaN or infinite")
    with np.errstate(over="ignore"):  # What single precision cannot hold becomes infinite, and is named as such.
        return np.array(array.reshape(found.shape), spec.dtype)


def fit(tokens: Float32[np.ndarray, "N D"], length: int) -> tuple[Float32[np.ndarray, "L D"], Bool[np.ndarray, " L"]]:
    """Return the tokens cut at the end, or padded with zeros, to a length, and which of them are real.

    Example:
        >>> padded, mask = fit(np.ones((2, 1), np.float32), 3)
        >>> padded.ravel().tolist(), mask.tolist()
        ([1.0, 1.0, 0.0], [True, True, False])
    """
    num_real = min(len(tokens), length)
    padded = np.zeros((length, tokens.shape[1]), tokens.dtype)
    padded[:num_real] = tokens[:num_real]
    return padded, np.arange(length) < num_real


def read_table(path: Path) -> Float32[np.ndarray, "L D"]:
    """Return a csv file of numbers, one token a line; a first line of other text is a header.

    Raises:
        BadFileError: If it is no text, has no numbers, lines of different lengths, or anything but numbers.
    """
    check_file(path)
    try:
        rows = [row for row in csv.reader(StringIO(path.read_text("utf-8-sig"))) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFileError("expected a csv file of numbers, got no text") from error
    rows = rows[1:] if rows and not any(map(_is_number, rows[0])) else rows
    if not rows:
        raise BadFileError("expected at least one line of numbers, got none")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise BadFileError(f"expected {len(rows[0])} numbers in every line, got {len(row)} in line {number}")
        if not all(map(_is_number, row)):
            raise BadFileError(f"expected numbers, got other text in line {number}")
    with np.errstate(over="ignore"):
        return np.array(rows, np.float64).astype(np.float32)


def _form(spec: ModalitySpec) -> str:
    shape = ["any", *spec.shape[1:]] if spec.kind == "tokens" else list(spec.shape)
    return f"{spec.dtype} {spec.kind} of shape {'x'.join(map(str, shape))}"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
