"""Pickles as Python 2 wrote them, made by hand, instruction by instruction."""

import struct
from typing import Any

import numpy as np


def python2(value: Any, protocol: int = 2) -> bytes:
    """Return the pickle that Python 2 with NumPy 1 writes: text and bytes alike as byte strings."""
    return (b"\x80\x02" if protocol == 2 else b"") + _write(value, protocol) + b"."


def _write(value: Any, protocol: int) -> bytes:
    def write(part: Any) -> bytes:
        return _write(part, protocol)

    if value is None:
        return b"N"
    if isinstance(value, str | bytes):
        return _text(value.encode("latin1") if isinstance(value, str) else value, protocol)
    if isinstance(value, int):
        return b"I%d\n" % value if protocol == 0 else b"J" + struct.pack("<i", value)
    if isinstance(value, float):
        return b"F%s\n" % repr(value).encode() if protocol == 0 else b"G" + struct.pack(">d", value)
    if isinstance(value, tuple):
        return b"(" + b"".join(map(write, value)) + b"t"
    if isinstance(value, list):
        return b"(l" + b"".join(write(item) + b"a" for item in value)
    if isinstance(value, dict):
        return b"(d" + b"".join(write(key) + write(item) + b"s" for key, item in value.items())
    return _array(value, protocol)


def _text(data: bytes, protocol: int) -> bytes:
    if protocol == 0:
        return b"S" + repr(data)[1:].encode() + b"\n"
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data


def _array(array: np.ndarray, protocol: int) -> bytes:
    order = "|" if array.dtype.kind in "OS" else "<"
    size = array.dtype.itemsize if array.dtype.kind in "SU" else -1
    dtype = b"cnumpy\ndtype\n" + _write((array.dtype.str[1:].replace("O", "O8"), 0, 1), protocol) + b"R"
    flags = 63 if array.dtype.hasobject else 0
    dtype += _write((3, order, None, None, None, size, -1, flags), protocol) + b"b"
    data = array.ravel().tolist() if array.dtype.hasobject else array.tobytes()
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _write((0,), protocol) + _write("b", protocol)
    shape = _write(array.shape, protocol)
    return head + b"tR(" + _write(1, protocol) + shape + dtype + _write(0, protocol) + _write(data, protocol) + b"tb"
