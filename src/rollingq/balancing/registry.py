"""Balancing methods by name: each becomes a Lightning callback for a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rollingq.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from rollingq.nn.classifier import MultimodalClassifier

Factory = Callable[["MultimodalClassifier", Mapping[str, int], Mapping[str, Any]], "pl.Callback"]


def _rollingq(model: MultimodalClassifier, tokens: Mapping[str, int], options: Mapping[str, Any]) -> pl.Callback:
    """Return the same callback that users get, on the model's fusion attention."""
    from rollingq.integrations.lightning import RollingQCallback

    if model.attention_path is None:
        raise ConfigError("Expected a fusion with attention for 'rollingq', such as mt+rollingq, but it has none.")
    return RollingQCallback(f"model.{model.attention_path}", tokens=tokens, **options)


BALANCING: dict[str, Factory] = {"rollingq": _rollingq}


def make_balancing(
    name: str, model: MultimodalClassifier, tokens: Mapping[str, int], options: Mapping[str, Any]
) -> pl.Callback:
    """Return the callback of a balancing method.

    Args:
        name: A name in ``BALANCING``.
        model: The model to balance.
        tokens: Order and number of the fusion's key positions.
        options: Settings of the method.

    Raises:
        ConfigError: If the name is unknown or the method does not fit the model.
    """
    if name not in BALANCING:
        raise ConfigError(unknown_name("balancing method", name, BALANCING))
    return BALANCING[name](model, tokens, options)
