"""Find files that end before they say they do, by the sizes in their own headers (RIFF: wav and avi; MP4 and MOV).

Decoders often hide this: FFmpeg plays a cut WAV to where it ends, without a word.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from rollingq.data.prepare.source import BadFileError

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"moof", b"mfra", b"sidx", b"styp", b"pdin"}
_UNKNOWN = 0x7FFFF000
"""Sizes from here on (and 0) are written by programs that could not know the length, as in a pipe."""


def check_size(path: Path) -> None:
    """Check that a RIFF or MP4 file holds the bytes that it announces; other formats pass.

    Raises:
        BadFileError: If it is cut off, or is a WAV without a data part.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            _check_riff(file, size, is_wave=head[8:] == b"WAVE")
        elif head[4:8] in _BOXES:
            _check_boxes(file, size)


def _check_riff(file: BinaryIO, size: int, *, is_wave: bool) -> None:
    """Check each RIFF part (a long avi has several), and the chunks of a wave."""
    begin = 0
    while begin + 8 <= size:
        name, length = _header(file, begin, "<")
        if name != b"RIFF":
            return
        if is_wave:
            _check_wave(file, size)
        if length in (0, 0xFFFFFFFF) or (length >= _UNKNOWN and is_wave):
            return
        _check_end(begin + 8 + length - 1, size)  # An odd last chunk may lack its padding byte.
        begin += 8 + length + length % 2


def _check_wave(file: BinaryIO, size: int) -> None:
    begin = 12
    while begin + 8 <= size:
        name, length = _header(file, begin, "<")
        if 0 < length < _UNKNOWN:
            _check_end(begin + 8 + length, size)
        if name == b"data":
            return
        begin += 8 + length + length % 2
    raise BadFileError("expected a WAV file with a data part, got none")


def _check_boxes(file: BinaryIO, size: int) -> None:
    begin = 0
    while begin + 8 <= size:
        name, length = _header(file, begin, ">")
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if name not in _BOXES or length < 8:
            return
        _check_end(begin + length, size)
        begin += length


def _header(file: BinaryIO, begin: int, order: str) -> tuple[bytes, int]:
    """Return name and length of the part that begins here."""
    file.seek(begin)
    first, second = struct.unpack(order + ("4sI" if order == "<" else "I4s"), file.read(8))
    return (first, second) if order == "<" else (second, first)


def _check_end(announced: int, size: int) -> None:
    if announced > size:
        raise BadFileError(f"cut off: expected {announced} bytes as its header says, got {size}")


def states_length(path: Path) -> bool:
    """Return whether an MP3 file states how many frames it has; without, its length is only an estimate."""
    with path.open("rb") as file:
        head = file.read(10)
        begin = 0
        if head[:3] == b"ID3":
            begin = 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:10])))
        file.seek(begin)
        frame = file.read(256)
    return frame[:1] == b"\xff" and any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))
