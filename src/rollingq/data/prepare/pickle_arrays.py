"""Make what a pickle of arrays asks for: the few known globals, with every argument checked. No torch in here."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollingq.data.prepare.source import BadFileError

ONLY = "only NumPy arrays are unpickled"
_TYPE = re.compile(r"[biufcSUO][0-9]{1,9}")
_SCALARS = (str, bytes, int, float, np.generic, type(None))
_GROWTH = 16
"""Most bytes to make for each byte of the file; sound pickles stay below 9."""


class Name:
    """A known global; only ``Makers.call`` gives it a meaning."""

    def __init__(self, name: str) -> None:
        self.name = name


class Type:
    """A dtype; a pickle sets its byte order after making it.

    Args:
        code: Kind and bytes, such as "f4".
    """

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or not _TYPE.fullmatch(code):
            raise BadFileError(f"expected arrays of numbers or text, got the type {shown(code)}: {ONLY}")
        self.dtype: np.dtype[Any] = np.dtype(code)
        if self.dtype.itemsize == 0:
            raise BadFileError(f"damaged pickle: expected a type of at least one byte, got {code}")

    def set_order(self, state: Sequence[object]) -> None:
        """Set the byte order; the rest of a plain type's state says nothing more than its code."""
        _, order, *structure = state[:5]
        if order not in ("<", ">", "=", "|") or structure != [None] * 3:
            raise BadFileError(f"expected a plain number or text type, got a structured one: {ONLY}")
        self.dtype = self.dtype.newbyteorder(order)


class Makers:
    """Makes arrays, scalars and containers, in all not much larger than the file.

    Args:
        size: Of the file, in bytes.
    """

    def __init__(self, size: int) -> None:
        self.unfilled: dict[int, NDArray[Any]] = {}
        self._limit = _GROWTH * size + 2**16
        self._num_made = 0

    def call(self, name: object, arguments: object) -> object:
        """Return what a known global makes of its arguments."""
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise BadFileError(f"refused a call of {type(name).__name__}: {ONLY}")
        if name.name not in _MAKERS:
            raise BadFileError(f"refused a call of {name.name}: {ONLY}")
        return _MAKERS[name.name](self, *arguments)

    def set_state(self, target: object, state: object) -> None:
        """Fill an array that was just made, or set the byte order of a type."""
        if isinstance(target, Type) and isinstance(state, tuple):
            target.set_order(state)
        elif isinstance(target, np.ndarray) and id(target) in self.unfilled and isinstance(state, tuple):
            self._fill(target, *state)
            del self.unfilled[id(target)]
        else:
            raise BadFileError(f"refused to set the state of {type(target).__name__}: {ONLY}")

    def empty_array(self, kind: object, shape: object, _: object) -> NDArray[Any]:
        """Return an array to be filled."""
        if kind is not NAMES["numpy.ndarray"] or shape != (0,):
            raise BadFileError(f"refused an array of another class, or with a shape but no content: {ONLY}")
        array = np.empty(0, np.int8)
        self.unfilled[id(array)] = array
        return array

    def array(self, data: object, kind: object, shape: object, order: object, axes: object = None) -> NDArray[Any]:
        """Return an array as protocol 5 writes it."""
        dtype, sizes = _dtype(kind), _sizes(shape)
        flat: NDArray[Any] = np.frombuffer(self._bytes(data, dtype, sizes), dtype)
        if axes is not None:
            return flat.reshape(sizes).transpose(_sizes(axes))
        return flat.reshape(sizes, order="F" if order == "F" else "C")

    def scalar(self, kind: object, data: object) -> object:
        """Return a NumPy scalar."""
        dtype = _dtype(kind)
        value: object = np.frombuffer(self._bytes(data, dtype, ()), dtype)[0]
        return value

    def encoded(self, text: object, codec: object = None) -> bytes:
        """Return bytes that Python 3 writes as text for Python 2."""
        if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
            raise BadFileError(f"refused to encode as {shown(codec)}: {ONLY}")
        self._claim(len(text))
        return text.encode("latin1")

    def mapping(self, items: object = ()) -> dict[object, object]:
        """Return a dict."""
        return dict_of(self._items(items))

    def set_of(self, items: object = ()) -> set[object]:
        """Return a set."""
        return set(map(hashable, self._items(items)))

    def _items(self, items: object) -> Sequence[Any]:
        if not isinstance(items, list | tuple):
            raise BadFileError(f"damaged pickle: expected a list, got {type(items).__name__}")
        self._claim(8 * len(items))
        return items

    def _fill(
        self, array: NDArray[Any], _: object, shape: object, kind: object, is_fortran: object, data: object
    ) -> None:
        dtype, sizes = _dtype(kind), _sizes(shape)
        content = self._objects(data, sizes) if dtype.hasobject else bytes(self._bytes(data, dtype, sizes))
        state: Any = (1, sizes, dtype, bool(is_fortran), content)
        array.__setstate__(state)

    def _bytes(self, data: object, dtype: np.dtype[Any], sizes: tuple[int, ...]) -> bytes | bytearray:
        """Return the bytes of an array, exactly as many as its shape needs."""
        if isinstance(data, str):
            data = self.encoded(data, "latin1")
        expected = math.prod(sizes) * dtype.itemsize
        if not isinstance(data, bytes | bytearray) or len(data) != expected:
            got = str(len(data)) if isinstance(data, bytes | bytearray) else type(data).__name__
            raise BadFileError(f"damaged pickle: expected {expected} bytes for an array, got {got}")
        self._claim(expected)
        return data

    def _objects(self, items: object, sizes: tuple[int, ...]) -> list[Any]:
        """Return the elements of an array of objects."""
        if not isinstance(items, list) or len(items) != math.prod(sizes):
            raise BadFileError(f"damaged pickle: expected a list of {math.prod(sizes)} objects for an array")
        # Freeing an array in an array in an array ... overflows the stack.
        if any(isinstance(item, np.ndarray) and (item.dtype.hasobject or id(item) in self.unfilled) for item in items):
            raise BadFileError(f"refused an array of objects in an array of objects: {ONLY}")
        self._claim(8 * len(items))
        return items

    def _claim(self, num_bytes: int) -> None:
        self._num_made += num_bytes
        if self._num_made > self._limit:
            raise BadFileError(f"damaged pickle: it asks for more than {self._limit} bytes, {_GROWTH} times its size")


def hashable(key: object) -> object:
    """Return a key of a dict or an element of a set; hashing anything deeper can overflow the stack."""
    if not isinstance(key, _SCALARS):
        raise BadFileError(f"expected text or numbers as keys, got {type(key).__name__}")
    return key


def dict_of(items: Iterable[tuple[object, object]]) -> dict[object, object]:
    """Return a dict of pairs.

    Example:
        >>> dict_of([("a", 1)])
        {'a': 1}
    """
    return {hashable(key): value for key, value in items}


def shown(value: object) -> str:
    r"""Return one short line for anything from the file.

    Example:
        >>> shown("os\nsystem"), shown([])
        ('os\\nsystem', 'list')
    """
    return (ascii(value)[1:-1] if isinstance(value, str) else type(value).__name__)[:100]


def _dtype(kind: object) -> np.dtype[Any]:
    if not isinstance(kind, Type):
        raise BadFileError(f"damaged pickle: expected the type of an array, got {type(kind).__name__}")
    return kind.dtype


def _sizes(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or any(type(size) is not int or size < 0 for size in shape):
        raise BadFileError("damaged pickle: expected a shape of numbers of at least 0")
    return shape


_MAKERS: dict[str, Callable[..., Any]] = {
    "_reconstruct": Makers.empty_array,
    "_frombuffer": Makers.array,
    "scalar": Makers.scalar,
    "dtype": lambda _, code, *__: Type(code),
    "encode": Makers.encoded,
    "OrderedDict": Makers.mapping,
    "set": Makers.set_of,
    "frozenset": lambda self, *items: frozenset(self.set_of(*items)),
    "bytes": lambda _: b"",  # Python 3 writes empty bytes so for Python 2.
}
_MODULES = {
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy._core.numeric": ("_frombuffer",),
    "numpy": ("ndarray", "dtype"),
    "_codecs": ("encode",),
    "collections": ("OrderedDict",),
    "builtins": ("bytes", "set", "frozenset"),
    "__builtin__": ("bytes", "set", "frozenset"),
}
NAMES = {f"{module}.{name}": Name(name) for module, names in _MODULES.items() for name in names}
"""All globals that a pickle may name."""
