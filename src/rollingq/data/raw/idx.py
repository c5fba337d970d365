"""Read idx files, the form of MNIST's images and labels, plain or as .gz."""

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from rollingq.data.raw.files import BadFileError, check_file

LIMIT = 2**30
"""Most bytes that a file may announce; all of MNIST's training images are 47 million."""
_BYTES = 8
"""The idx code of unsigned bytes."""


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Return the array of an idx file of unsigned bytes.

    No more than the announced size is unpacked.

    Args:
        path: The file; whether it is compressed is seen from its first bytes.

    Raises:
        BadFileError: If the file is missing, no idx file of bytes, damaged, or longer or shorter than it announces.

    Source:
        http://yann.lecun.com/exdb/mnist, "The IDX file format".

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder) / "labels"
        ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 4]))
        ...     read_idx(file).tolist()
        [7, 4]
    """
    check_file(path)
    try:
        with _opened(path) as file:
            shape = _shape(file)
            size = math.prod(shape)
            data = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        text = (getattr(error, "strerror", None) or " ".join(str(error).split()))[:80]
        raise BadFileError(f"unreadable idx file ({type(error).__name__}: {text})") from error
    if len(data) != size:
        held = "more" if len(data) > size else f"{len(data)}"
        raise BadFileError(f"expected the announced {size} bytes of {'x'.join(map(str, shape))}, got {held}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _opened(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if is_compressed else path.open("rb")


def _shape(file: io.BufferedIOBase) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != bytes([0, 0, _BYTES]) or not 1 <= magic[3] <= 4:
        raise BadFileError(f"expected an idx file of bytes, which begins with 000008, got {magic.hex()}")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise BadFileError(f"expected the sizes of {magic[3]} axes, got {len(sizes)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    if not 1 <= math.prod(shape) <= LIMIT:
        raise BadFileError(f"expected 1 to {LIMIT} bytes, got the sizes {'x'.join(map(str, shape))}")
    return shape
