"""The errors and the warning that rollingq raises; each message is one line: expected, got, what to do."""

import difflib
from collections.abc import Iterable


class RollingQError(ValueError):
    """Base of all errors that a user can mend; the command line prints it as one line and exits with 2."""


class ConfigError(RollingQError):
    """A setting is unknown or outside its range."""


class AttachError(RollingQError):
    """The named layer cannot carry a rotation, or does not exist."""


class FoldError(RollingQError):
    """Folding the rotation into the weights would change what the model computes."""


class ShapeError(RollingQError):
    """Tensors do not have the shapes that the token layout promises."""


class DataError(RollingQError):
    """A dataset is missing, incomplete, damaged or of the wrong form."""


class RunError(RuntimeError):
    """A run failed by itself (not by what the user asked); the command line exits with 1."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"Expected the package {package!r}, which is not installed. "
            f"Install the extra that holds it: pip install 'rollingq[{extra}]'."
        )
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str]]:
        return type(self), (self.package, self.extra)


class RollingQWarning(UserWarning):
    """Something that was asked for could not be done fully; said once per object."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the one-line text for an unknown name: expected, got, and the nearest right answer."""
    names = list(known)
    return f"Expected {kind} to be one of {', '.join(names)}, but got {name!r}.{nearest(name, names)}"
