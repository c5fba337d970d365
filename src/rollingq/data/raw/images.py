"""Read images, and name those of which a part is missing: decoders fill it with grey without a word. No torch here."""

import struct
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import UInt8

from rollingq.data.raw.files import BadFileError, check_file
from rollingq.errors import MissingExtraError

_PNG = b"\x89PNG\r\n\x1a\n"


def read_image(path: Path, *, height: int, width: int, is_gray: bool = False) -> UInt8[np.ndarray, "*C H W"]:
    """Return an image, upright, shrunk or enlarged.

    Args:
        path: JPEG or PNG file.
        height: To return, in pixels.
        width: To return, in pixels.
        is_gray: Whether to return gray values ``[H, W]`` in place of red, green and blue ``[3, H, W]``.

    Raises:
        BadFileError: If it is cut off, damaged, or no JPEG or PNG image.
        MissingExtraError: Without OpenCV or simplejpeg.
    """
    check_file(path)
    data = path.read_bytes()
    check_image(data)
    cv2 = opencv()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE if is_gray else cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise BadFileError("expected a JPEG or PNG image, got one that cannot be decoded")
    resized = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return resized if is_gray else np.ascontiguousarray(resized[..., ::-1].transpose(2, 0, 1))


def opencv() -> ModuleType:
    """Return OpenCV, told to use one thread: many processes read at once.

    Raises:
        MissingExtraError: Without it.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("opencv-python-headless", "lab") from error
    cv2.setNumThreads(1)
    return cv2


def check_image(data: bytes) -> None:
    """Raise BadFileError for a JPEG or PNG file that is cut off or damaged."""
    if data.startswith(b"\xff\xd8"):
        # The end marker must follow the last scan: an embedded preview before it has an end marker as well.
        if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda") or b"\xff\xda" not in data:
            raise BadFileError("expected a whole JPEG image, got one that is cut off: it has no end marker")
        _check_jpeg(data)
    elif data.startswith(_PNG):
        _check_png(data)
    else:
        raise BadFileError("expected a JPEG or PNG image, got other bytes")


def _check_png(data: bytes) -> None:
    at, kind = len(_PNG), b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise BadFileError("expected a whole PNG image, got one that is cut off")
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            raise BadFileError("expected a whole PNG image, got one that is cut off")
        if zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise BadFileError("expected a sound PNG image, got one with a wrong checksum")
        at = end + 4


def _check_jpeg(data: bytes) -> None:
    """Decode at an eighth of the size, which finds all that is missing, by a library that is strict about it."""
    try:
        import simplejpeg
    except ImportError as error:
        raise MissingExtraError("simplejpeg", "lab") from error
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        raise BadFileError(f"damaged JPEG image ({' '.join(str(error).split())[:80]})") from error
