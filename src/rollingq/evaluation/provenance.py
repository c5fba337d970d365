"""The versions that a result depends on."""

import importlib.metadata
import platform

import rollingq

PACKAGES = ("torch", "lightning", "numpy", "scipy", "scikit-learn")


def versions() -> dict[str, str]:
    """Return package -> version, of those that are installed.

    Example:
        >>> sorted(versions())[-1]
        'torch'
    """
    found = {"rollingq": rollingq.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
