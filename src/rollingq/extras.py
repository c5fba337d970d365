"""A missing optional package gives an error that names the extra."""

from collections.abc import Iterator
from contextlib import contextmanager

from rollingq.errors import MissingExtraError


@contextmanager
def lab_extra(package: str) -> Iterator[None]:
    """Turn a failed import of ``package`` into an error that names the extra ``lab``.

    Args:
        package: Name of the package that the body imports.

    Raises:
        MissingExtraError: If the package, or a part of it, is not installed.

    Example:
        >>> with lab_extra("json"):
        ...     import json
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(package, "lab") from error
