"""Carry out the instructions of a pickle that make containers and arrays, and refuse all others. No torch in here.

The instructions are those of the standard library's ``pickletools``.
"""

import codecs
import pickle
import pickletools
import struct
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from rollingq.data.prepare.pickle_arrays import NAMES, ONLY, Makers, dict_of, hashable, shown
from rollingq.data.prepare.source import BadFileError

_SIGNATURES = {
    b"PK\x03\x04": "a zip archive",
    b"\x93NUMPY": "a .npy file",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "an HDF5 file",
    b"<": "HTML or XML",
}


class Machine:
    """A stack, its marks and a memo: what the instructions work on.

    Args:
        file: The pickle, from its start.
        size: In bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.at = file, size, 0
        self.makers = Makers(size)
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> object:
        """Return what the pickle holds.

        Raises:
            BadFileError: If it is damaged, or asks for anything but containers and arrays.
        """
        self._check_start()
        try:
            self._run()
        except (BadFileError, OSError):
            raise
        except Exception as error:
            # Damaged bytes make NumPy, the codecs and the stack raise nearly anything.
            text = " ".join(str(error).split())[:80]
            raise BadFileError(f"damaged pickle at byte {self.at} ({type(error).__name__}: {text})") from error
        if self.at != self.size:
            raise BadFileError(f"expected the pickle to fill the file, got {self.size - self.at} bytes after its end")
        if len(self.stack) != 1 or self.below or self.makers.unfilled:
            raise BadFileError("damaged pickle: it ends in the middle of an object")
        return self.stack[0]

    def _run(self) -> None:
        while (code := self.take(1)) != pickle.STOP:
            step = _STEPS.get(code)
            if step is None:
                raise self._unknown(code)
            step(self)

    def take(self, count: int) -> bytes:
        """Return the next bytes; their number is checked before any memory is asked for."""
        left = self.size - self.at
        if count > left:
            raise BadFileError(f"truncated or damaged pickle: expected {count} bytes at byte {self.at}, got {left}")
        data = self.file.read(count)
        if len(data) != count:
            raise BadFileError("the file became shorter while it was read")
        self.at += count
        return data

    def sized(self, width: int) -> bytes:
        """Return bytes that follow their number."""
        return self.take(self.integer(width))

    def line(self) -> bytes:
        """Return the bytes up to the end of the line."""
        line = self.file.readline()
        self.at += len(line)
        if not line.endswith(b"\n"):
            raise BadFileError("truncated or damaged pickle: it ends in the middle of a line")
        return line[:-1]

    def integer(self, width: int, *, signed: bool = False) -> int:
        """Return a little-endian number."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def mark(self) -> None:
        """Begin a group of values."""
        self.below.append(self.stack)
        self.stack = []

    def group(self) -> list[Any]:
        """Return the values since the last mark."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def last(self, count: int) -> list[Any]:
        """Return the last values, off the stack."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def pop(self) -> None:
        """Drop the last value, or the last mark if no value follows it."""
        if self.stack:
            self.stack.pop()
        else:
            self.group()

    def put(self, key: int) -> None:
        """Remember the last value."""
        self.memo[key] = self.stack[-1]

    def extend(self, values: Iterable[object]) -> None:
        """Append to the list, or add to the set, that is last on the stack."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(values)
        elif type(target) is set:
            target.update(map(hashable, values))
        else:
            raise BadFileError(f"damaged pickle: expected a list or a set, got {type(target).__name__}")

    def set_items(self, flat: list[Any]) -> None:
        """Set keys and values of the dict that is last on the stack."""
        target = self.stack[-1]
        if type(target) is not dict:
            raise BadFileError(f"damaged pickle: expected a dict, got {type(target).__name__}")
        target.update(_pairs(flat))

    def find(self, module: object, name: object) -> None:
        """Push a known global; all others are refused, by name."""
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else type(name).__name__
        if full not in NAMES:
            raise BadFileError(f"refused {shown(full)}: {ONLY}")
        self.push(NAMES[full])

    def build(self) -> None:
        """Set the state of the value before the last by the last."""
        state = self.stack.pop()
        self.makers.set_state(self.stack[-1], state)

    def refuse_instance(self) -> None:
        """Refuse an object that protocol 0 makes by the name of its class."""
        name = self.line() + b"." + self.line()
        raise BadFileError(f"refused {shown(str(name, 'latin1'))}: {ONLY}")

    def refuse_extension(self, width: int) -> None:
        """Refuse a class that is named by a number."""
        raise BadFileError(f"refused the extension code {self.integer(width)}: {ONLY}")

    def _check_start(self) -> None:
        head = self.file.read(8)
        self.file.seek(0)
        for start, kind in _SIGNATURES.items():
            if head.startswith(start):
                raise BadFileError(f"expected a pickle, got {kind}")

    def _unknown(self, code: bytes) -> BadFileError:
        name = next((known.name for known in pickletools.opcodes if known.code == code.decode("latin1")), None)
        if name is None:
            return BadFileError(f"expected an instruction of a pickle at byte {self.at - 1}, got 0x{code.hex()}")
        return BadFileError(f"refused the instruction {name} at byte {self.at - 1}: {ONLY}")


def _pairs(flat: list[Any]) -> dict[object, object]:
    return dict_of(zip(flat[::2], flat[1::2], strict=True))


def _boolean_or_integer(line: bytes) -> int:
    return line == b"01" if line in (b"00", b"01") else int(line)


def _python2_text(line: bytes) -> str:
    """Return the text in quotes and escapes, one character for each byte."""
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise BadFileError("damaged pickle: expected a text in quotes")
    data: Any = codecs.escape_decode(line[1:-1])[0]
    return str(data, "latin1")


def _utf8(data: bytes) -> str:
    return str(data, "utf-8", "surrogatepass")


def _protocol(machine: Machine) -> None:
    if (version := machine.integer(1)) > 5:
        raise BadFileError(f"expected a pickle of protocol 0 to 5, got {version}")


def _frame(machine: Machine) -> None:
    """Check the bytes that a frame announces; they are then read as if there was no frame."""
    if (count := machine.integer(8)) > (left := machine.size - machine.at):
        raise BadFileError(f"truncated or damaged pickle: expected {count} bytes at byte {machine.at}, got {left}")


_VALUES: dict[bytes, Callable[[Machine], Any]] = {
    pickle.NONE: lambda m: None,
    pickle.NEWTRUE: lambda m: True,
    pickle.NEWFALSE: lambda m: False,
    pickle.INT: lambda m: _boolean_or_integer(m.line()),
    pickle.BININT: lambda m: m.integer(4, signed=True),
    pickle.BININT1: lambda m: m.integer(1),
    pickle.BININT2: lambda m: m.integer(2),
    pickle.LONG: lambda m: int(m.line().rstrip(b"L")),
    pickle.LONG1: lambda m: int.from_bytes(m.sized(1), "little", signed=True),
    pickle.LONG4: lambda m: int.from_bytes(m.sized(4), "little", signed=True),
    pickle.FLOAT: lambda m: float(m.line()),
    pickle.BINFLOAT: lambda m: struct.unpack(">d", m.take(8))[0],
    pickle.STRING: lambda m: _python2_text(m.line()),
    pickle.BINSTRING: lambda m: str(m.sized(4), "latin1"),
    pickle.SHORT_BINSTRING: lambda m: str(m.sized(1), "latin1"),
    pickle.UNICODE: lambda m: str(m.line(), "raw-unicode-escape"),
    pickle.BINUNICODE: lambda m: _utf8(m.sized(4)),
    pickle.SHORT_BINUNICODE: lambda m: _utf8(m.sized(1)),
    pickle.BINUNICODE8: lambda m: _utf8(m.sized(8)),
    pickle.BINBYTES: lambda m: m.sized(4),
    pickle.SHORT_BINBYTES: lambda m: m.sized(1),
    pickle.BINBYTES8: lambda m: m.sized(8),
    pickle.BYTEARRAY8: lambda m: bytearray(m.sized(8)),
    pickle.EMPTY_LIST: lambda m: [],
    pickle.EMPTY_DICT: lambda m: {},
    pickle.EMPTY_SET: lambda m: set(),
    pickle.EMPTY_TUPLE: lambda m: (),
    pickle.LIST: lambda m: m.group(),
    pickle.DICT: lambda m: _pairs(m.group()),
    pickle.FROZENSET: lambda m: frozenset(map(hashable, m.group())),
    pickle.TUPLE: lambda m: tuple(m.group()),
    pickle.TUPLE1: lambda m: tuple(m.last(1)),
    pickle.TUPLE2: lambda m: tuple(m.last(2)),
    pickle.TUPLE3: lambda m: tuple(m.last(3)),
    pickle.DUP: lambda m: m.stack[-1],
    pickle.GET: lambda m: m.memo[int(m.line())],
    pickle.BINGET: lambda m: m.memo[m.integer(1)],
    pickle.LONG_BINGET: lambda m: m.memo[m.integer(4)],
    pickle.REDUCE: lambda m: m.makers.call(*m.last(2)),
}
"""Instructions that put a value on the stack."""


def _pushing(value: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.push(value(machine))


_STEPS: dict[bytes, Callable[[Machine], None]] = {
    **{code: _pushing(value) for code, value in _VALUES.items()},
    pickle.PROTO: _protocol,
    pickle.FRAME: _frame,
    pickle.MARK: Machine.mark,
    pickle.POP: Machine.pop,
    pickle.POP_MARK: lambda m: m.group().clear(),
    pickle.PUT: lambda m: m.put(int(m.line())),
    pickle.BINPUT: lambda m: m.put(m.integer(1)),
    pickle.LONG_BINPUT: lambda m: m.put(m.integer(4)),
    pickle.MEMOIZE: lambda m: m.put(len(m.memo)),
    pickle.APPEND: lambda m: m.extend(m.last(1)),
    pickle.APPENDS: lambda m: m.extend(m.group()),
    pickle.ADDITEMS: lambda m: m.extend(m.group()),
    pickle.SETITEM: lambda m: m.set_items(m.last(2)),
    pickle.SETITEMS: lambda m: m.set_items(m.group()),
    pickle.GLOBAL: lambda m: m.find(str(m.line(), "utf-8"), str(m.line(), "utf-8")),
    pickle.STACK_GLOBAL: lambda m: m.find(*m.last(2)),
    pickle.BUILD: Machine.build,
    pickle.INST: Machine.refuse_instance,
    pickle.EXT1: lambda m: m.refuse_extension(1),
    pickle.EXT2: lambda m: m.refuse_extension(2),
    pickle.EXT4: lambda m: m.refuse_extension(4),
}
