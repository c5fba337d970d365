"""Read files of NumPy arrays that others made, pickles as well, without running anything that they say. No torch here.

A pickle is a program. Python's own unpickler, even with a list of allowed names, still follows every instruction: nine
bytes can make it take gigabytes. So the instructions are carried out here, on numbers, text, plain containers and
arrays alone; no function of the file is ever called, and nothing is made that is much larger than the file.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollingq.data.media import check_file
from rollingq.data.prepare.pickle_machine import Machine
from rollingq.data.prepare.source import BadFileError


def load_arrays(path: Path) -> Any:  # noqa: ANN401  # Whatever the file holds.
    """Return what a pickle of NumPy arrays and plain containers holds; text of Python 2 is read as Latin-1.

    Known are numbers, text, bytes, lists, tuples, sets, dicts (ordered ones become plain), and arrays and scalars of
    numbers, text or such objects, in protocols 0 to 5. Arrays may be read-only.

    Args:
        path: The file.

    Raises:
        BadFileError: If the file is missing, no pickle or damaged, or names anything else to be imported.
    """
    check_file(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # A text's escape that Python never writes.
            return Machine(file, path.stat().st_size).run()
    except OSError as error:
        raise BadFileError(f"the file cannot be read: {error.strerror or type(error).__name__}") from error


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
