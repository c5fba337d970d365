"""Find files that are cut off or have holes, by the sizes in their own headers: RIFF (wav, avi), MP4, Matroska and FLV.

Decoders often hide this: FFmpeg plays a cut WAV to where it ends, and goes on behind a hole, without a word.

Source: RFC 9559 (Matroska), RFC 8794 (EBML); Adobe: "Video File Format Specification", version 10 (FLV).
"""

import struct
from pathlib import Path
from typing import BinaryIO

from rollingq.data.raw.files import BadFileError

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"moof", b"mfra", b"sidx", b"styp", b"pdin"}
_UNKNOWN = 0x7FFFF000
"""Sizes from here on (and 0) are written by programs that could not know the length, as in a pipe."""
_TRAILER = 512
"""Most bytes behind the last part of a file that may be no part: tags and padding that some programs add."""
_EBML, _SEGMENT, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_IN_SEGMENT = ("114d9b74", "1549a966", "1654ae6b", "1c53bb6b", "1254c367", "1043a770", "1941a469")
_IN_CLUSTER, _ANYWHERE = ("e7", "5854", "a7", "ab", "af"), ("ec", "bf")
_BLOCKS = {b"\xa3", b"\xa0"}
_ELEMENTS = {_EBML, *map(bytes.fromhex, _IN_SEGMENT + _IN_CLUSTER + _ANYWHERE)} | _BLOCKS
"""Names of the parts of a Matroska file that are not entered."""
_HOLE = "damaged: expected a part of the file after {} bytes, got other bytes"
_TAGS = {8, 9, 15, 18}
"""Kinds of the parts of an FLV file: sound, pictures and two kinds of notes."""


def check_parts(path: Path) -> int:
    """Check that a file holds the bytes that its headers announce, part after part; unknown formats pass.

    Returns:
        Blocks of a Matroska file, each of one packet or some; 0 for other formats.

    Raises:
        BadFileError: If it is cut off, has other bytes where a part should begin, or is a WAV without a data part.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            _check_riff(file, size, is_wave=head[8:] == b"WAVE")
        elif head[4:8] in _BOXES:
            _check_boxes(file, size)
        elif head[:3] == b"FLV":
            _check_tags(file, size, int.from_bytes(head[5:9], "big"))
        elif head[:4] == _EBML:
            return _check_elements(file, size)
    return 0


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
            _check_behind_data(file, begin, length, size)
            return
        begin += 8 + length + length % 2
    raise BadFileError("expected a WAV file with a data part, got none")


def _check_behind_data(file: BinaryIO, begin: int, length: int, size: int) -> None:
    """Check that a chunk follows the data, and not the sound that the data's length leaves out."""
    end = begin + 8 + length
    if not 0 < length < _UNKNOWN or size - end <= _TRAILER:
        return
    for place in (end, end + length % 2):  # Some programs leave the padding byte out.
        name, following = _header(file, place, "<")
        if all(32 <= byte < 127 for byte in name) and place + 8 + following <= size + 1:
            return
    raise BadFileError(f"expected {length} bytes of data as the header says, got {size - end} more that are no chunk")


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


def _check_elements(file: BinaryIO, size: int) -> int:
    """Go from element to element, and into segment and clusters: their lengths may be unknown. Return the blocks."""
    begin, end, num_blocks = 0, size, 0
    while begin < end:
        name, start, length = _element(file, begin)
        if name == _SEGMENT and length is not None:
            end = start + length
            _check_end(end, size)
        if name in (_SEGMENT, _CLUSTER):
            begin = start
            continue
        if name not in _ELEMENTS or length is None:
            raise BadFileError(_HOLE.format(begin))
        num_blocks += name in _BLOCKS
        begin = start + length
        _check_end(begin, size)
    if begin > end or size - end > _TRAILER:
        raise BadFileError(_HOLE.format(end))
    return num_blocks


def _element(file: BinaryIO, begin: int) -> tuple[bytes, int, int | None]:
    """Return the name of an element, where its content begins, and the content's length if that is known."""
    file.seek(begin)
    head = file.read(12)
    name = head[: _width(head)]
    number = head[len(name) :]
    width = _width(number)
    length = int.from_bytes(number[:width], "big") & ((1 << 7 * width) - 1)
    return name, begin + len(name) + width, None if length == (1 << 7 * width) - 1 else length


def _width(number: bytes) -> int:
    """Return how many bytes a number of EBML takes: one more than the zero bits that it begins with."""
    return 9 - number[0].bit_length() if number else 0


def _check_tags(file: BinaryIO, size: int, begin: int) -> None:
    """Go through an FLV file from tag to tag; the length of each is repeated behind it in 4 bytes."""
    begin += 4
    while begin < size:
        file.seek(begin)
        head = file.read(11)
        if head[0] & 31 not in _TAGS:
            if size - begin <= _TRAILER:
                return
            raise BadFileError(_HOLE.format(begin))
        begin += 11 + int.from_bytes(head[1:4], "big")
        _check_end(begin, size)
        begin += 4


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
