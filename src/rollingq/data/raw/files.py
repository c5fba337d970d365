"""What every reader of a raw file says of it first: is it there, and is it a file at all?"""

from pathlib import Path

_POINTER = b"version https://git-lfs"


class BadFileError(Exception):
    """A raw file cannot be used.

    Args:
        reason: Why, in one line.
        file: Which one, below the root; the clip's files if empty.
    """

    def __init__(self, reason: str, file: str = "") -> None:
        super().__init__(reason)
        self.file = file


def check_file(path: Path) -> None:
    """Check that a file is there, readable, not empty and not a Git LFS pointer.

    Raises:
        BadFileError: If it is not.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_POINTER))
    except FileNotFoundError as error:
        raise BadFileError("the file is missing") from error
    except IsADirectoryError as error:
        raise BadFileError("expected a file, got a folder") from error
    except OSError as error:
        raise BadFileError(f"unreadable file ({error.strerror})") from error
    if not head:
        raise BadFileError("the file is empty")
    if head == _POINTER:
        raise BadFileError("a Git LFS pointer, not the file itself: run 'git lfs pull' in the release")
