"""rollingq: measure and break attention lock-in in multimodal transformers by rotating the query.

import rollingq

att = rollingq.attach(model, "fusion.attention", tokens={"cls": 1, "audio": 177, "visual": 197})
...                       # train an epoch as always
print(att.step())         # AIR +0.31 (audio favoured) -> rotated 41.2 deg, 1 of 2
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollingq import functional
    from rollingq.attachment import attach, attachments, detach, fold
    from rollingq.attachment.find import find
    from rollingq.config import RollingQConfig
    from rollingq.controller import RollingQ
    from rollingq.diagnosing import diagnose
    from rollingq.events import RotationEvent
    from rollingq.tokens import TokenLayout

__version__ = "0.1.0"

_HOMES = {
    "attach": "rollingq.attachment",
    "attachments": "rollingq.attachment",
    "detach": "rollingq.attachment",
    "diagnose": "rollingq.diagnosing",
    "fold": "rollingq.attachment",
    "find": "rollingq.attachment.find",
    "RollingQ": "rollingq.controller",
    "RollingQConfig": "rollingq.config",
    "RotationEvent": "rollingq.events",
    "TokenLayout": "rollingq.tokens",
}

__all__ = [
    "RollingQ",
    "RollingQConfig",
    "RotationEvent",
    "TokenLayout",
    "attach",
    "attachments",
    "detach",
    "diagnose",
    "find",
    "fold",
    "functional",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Resolve public names when they are first used, so that ``rollingq --help`` never imports torch."""
    if name == "functional":
        return importlib.import_module("rollingq.functional")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rollingq' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
