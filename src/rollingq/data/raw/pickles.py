"""Read files of NumPy arrays that others made, pickles as well, without running anything that they say. No torch here.

A pickle is a program. The standard library's unpickler follows it, in its Python form: the one in C takes memory for
large numbers. Here it refuses what makes other objects, and calls only functions of our own in place of NumPy's.
"""

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from rollingq.data.raw.files import BadFileError, check_file

_HEADS = {b"PK": "a zip archive", b"\x93N": "a .npy file", b"\x1f\x8b": "gzip", b"\x89H": "HDF5", b"<": "HTML or XML"}
_ONLY = "only NumPy arrays are unpickled"
_REFUSED = pickle.OBJ + pickle.NEWOBJ + pickle.NEWOBJ_EX + pickle.PERSID + pickle.BINPERSID + pickle.READONLY_BUFFER
_REFUSED += pickle.EXT1 + pickle.EXT2 + pickle.EXT4 + pickle.EMPTY_SET + pickle.FROZENSET + pickle.ADDITEMS
_GROWTH = 16
"""Most bytes that calls may make for each byte of the file; sound pickles stay below 9."""


def load_arrays(path: Path) -> Any:  # noqa: ANN401  # Whatever the file holds.
    """Return what a pickle of arrays, numbers, text, lists, tuples and dicts holds; Python 2's text as Latin-1.

    Args:
        path: The file, of protocol 0 to 5; its arrays have numbers, text or such objects, and may be read-only.

    Raises:
        BadFileError: If the file is missing, no pickle or damaged, or names anything else to be imported.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            found = next((kind for head, kind in _HEADS.items() if file.peek(8).startswith(head)), "")
            _check(not found, f"expected a pickle, got {found}")
            value = (unpickler := _Unpickler(file, path.stat().st_size)).load()
            is_whole = not (file.read(1) or unpickler.stack or unpickler.metastack or unpickler.num_unfilled)
            _check(is_whole, "damaged pickle: expected one whole object, got less, or bytes after its end")
            return value
    except BadFileError:
        raise
    except Exception as error:
        # Damaged bytes make NumPy, the codecs and the stack raise nearly anything.
        text = " ".join(str(error).replace(str(path), path.name).split())[:100]
        raise BadFileError(f"truncated or damaged pickle ({type(error).__name__}: {text})") from error


def load_npy(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file, mapped into memory and read-only.

    Args:
        path: The file.

    Raises:
        BadFileError: If the file is missing, of another kind, longer or shorter than it says, or holds objects.
    """
    check_file(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        # The header of a damaged file is parsed as Python: SyntaxError, TypeError, ValueError, OverflowError, ...
        text = " ".join(str(error).replace(str(path), path.name).split())[:100]
        raise BadFileError(f"unreadable .npy file ({type(error).__name__}: {text})") from error
    if not isinstance(array, np.memmap):
        array.close()
        raise BadFileError("expected a .npy file, got an archive of several arrays (.npz)")
    surplus = path.stat().st_size - array.offset - array.nbytes
    if surplus:
        raise BadFileError(f"expected {array.nbytes} bytes of numbers, got {array.nbytes + surplus}")
    return array


def _check(is_sound: object, reason: str) -> None:
    if not is_sound:
        raise BadFileError(reason)


def _plain(items: list[Any]) -> list[Any]:
    for item in items:
        is_plain = isinstance(item, str | bytes | int | float | np.generic | None)
        _check(is_plain, f"expected text and numbers as keys and in arrays of objects, got {type(item).__name__}")
    return items


def _pairs(flat: list[Any]) -> dict[Any, Any]:
    return dict(zip(_plain(flat[::2]), flat[1::2], strict=True))  # Hashing a deep tuple would overflow the stack.


class _Type:
    """A dtype whose byte order a pickle sets after making it."""

    def __init__(self, code: str, _is_aligned: object, _is_copy: object) -> None:
        is_known = re.fullmatch("[biufcSUO][1-9][0-9]{0,8}", code)
        _check(is_known, f"expected numbers or text, got the type {ascii(code)[:50]}: {_ONLY}")
        self.dtype: np.dtype[Any] = np.dtype(code)


class _Unpickler(pickle._Unpickler):
    """Reads its own file; what arrays need is checked before memory is asked for."""

    stack: list[Any]
    metastack: list[list[Any]]

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.readline = file, size, file.readline
        self.num_unfilled, self.budget = 0, _GROWTH * size + 2**16
        self.known: dict[str, Any] = {
            "numpy.ndarray": None,  # Never called, but named as the class of an array.
            "numpy.dtype": _Type,
            "numpy.core.multiarray._reconstruct": self.unfilled,
            "numpy.core.multiarray.scalar": lambda kind, data: self.array(data, kind, ())[()],
            "numpy.core.numeric._frombuffer": self.array,
            "_codecs.encode": self.encoded,
            "collections.OrderedDict": lambda: {},
            "builtins.bytes": lambda: b"",  # Python 3 writes empty bytes so for Python 2.
        }
        super().__init__(self, encoding="latin1")

    def read(self, count: int) -> bytes:
        if count > (left := self.size - self.file.tell()):
            raise BadFileError(f"truncated or damaged pickle: expected {count} more bytes, got {left}")
        return self.file.read(count)

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        full = f"{module}.{name}"
        known = full.replace("numpy._core.", "numpy.core.").replace("__builtin__.", "builtins.")
        _check(known in self.known, f"refused {ascii(full)[1:-1][:100]}: {_ONLY}")
        return self.known[known]

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Type):
            target.dtype = target.dtype.newbyteorder(state[1])
        else:
            is_unfilled = isinstance(target, np.ndarray) and target.dtype.kind == "V"
            _check(is_unfilled, f"refused to set the state of {type(target).__name__}: {_ONLY}")
            _, shape, kind, is_fortran, data = state
            target.__setstate__((1, shape, kind.dtype, is_fortran, self.content(data, kind, shape)))
            self.num_unfilled -= 1

    def unfilled(self, _class: object, _shape: object, _code: object) -> NDArray[Any]:
        self.num_unfilled += 1
        return np.empty(0, "V1")  # A type that no file can name; "build" knows it by that.

    def array(self, data: Any, kind: Any, shape: Any, order: Any = "C", axes: Any = None) -> Any:  # noqa: ANN401
        flat = np.frombuffer(self.content(data, kind, shape), kind.dtype)
        return flat.reshape(shape, order=order) if axes is None else flat.reshape(shape).transpose(axes)

    def content(self, data: Any, kind: Any, shape: Any) -> Any:  # noqa: ANN401
        data = self.encoded(data, "latin1") if isinstance(data, str) else data
        classes, width = (list, 1) if kind.dtype.hasobject else ((bytes, bytearray), kind.dtype.itemsize)
        is_known = isinstance(kind, _Type) and isinstance(data, classes) and min(shape, default=0) >= 0
        _check(is_known, "damaged pickle: expected the type, shape and content of an array")
        expected, got = math.prod(shape) * width, len(data)
        _check(got == expected, f"damaged pickle: expected {expected} bytes or objects for an array, got {got}")
        self.claim(got // width * kind.dtype.itemsize)
        if kind.dtype.kind == "U":
            np.frombuffer(data, kind.dtype).tolist()  # Raises for numbers that are no characters.
        return _plain(data) if kind.dtype.hasobject else data

    def encoded(self, text: str, codec: str) -> bytes:
        _check(codec in ("latin1", "latin-1"), f"refused to encode as {ascii(codec)[:50]}: {_ONLY}")
        self.claim(len(text))
        return text.encode("latin1")

    def claim(self, size: int) -> None:
        self.budget -= size
        _check(self.budget >= 0, f"damaged pickle: it asks for more than {_GROWTH} times its size")

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        **dict.fromkeys(_REFUSED, lambda _: _check(False, f"refused an instruction for other objects: {_ONLY}")),
        pickle.FRAME[0]: lambda self: self.read(8),  # How much to read ahead.
        pickle.BYTEARRAY8[0]: lambda self: self.append(bytearray(self.read(int.from_bytes(self.read(8), "little")))),
        pickle.SETITEM[0]: lambda self: dict.update(self.stack[-3], _pairs([self.stack.pop(-2), self.stack.pop()])),
        pickle.SETITEMS[0]: lambda self: dict.update(self.metastack[-1][-1], _pairs(self.pop_mark())),
        pickle.DICT[0]: lambda self: self.metastack[-1].append(_pairs(self.pop_mark())),
        pickle.BUILD[0]: build,
    }
