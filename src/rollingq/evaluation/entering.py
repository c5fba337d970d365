"""Entry: how the queries and keys of a user's layer are read: at its class rows, at all rows, or not at all."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar, get_args

from torch import nn

from rollingq.attachment import attach, attachments
from rollingq.attachment.find import found_text, locate
from rollingq.config import Scope
from rollingq.controller import RollingQ
from rollingq.errors import AttachError, RollingQError, ShapeError
from rollingq.tokens import Tokens, as_layout

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """How the queries and keys of a layer are read.

    Attributes:
        attachment: RollingQ on the layer, None where it cannot enter.
        modalities: Names of the modalities.
        is_users: Whether the model came with it.
        reason: Why it cannot enter.
    """

    attachment: RollingQ | None
    modalities: tuple[str, ...]
    is_users: bool = False
    reason: str | None = None


@contextmanager
def measuring(
    model: nn.Module, path: str, tokens: Tokens, modalities: Sequence[str] | None = None, *, scope: Scope = "query"
) -> Iterator[Entry]:
    """Give the attachment on a layer, or one that only measures and is taken off again, or none with the reason.

    Args:
        model: The model.
        path: Path of the attention layer.
        tokens: Order and number of its key positions.
        modalities: Names, beside a callable for ``tokens``.
        scope: Which rows are the query.

    Raises:
        AttachError: If there is no such layer, or tokens do not name two modalities.
    """
    layer = locate(model, path)
    there = next((att for att in attachments(model) if any(entered is layer for entered in att.layers)), None)
    if there is not None:
        yield Entry(there, there.modalities, is_users=True)
        return
    try:
        attachment = attach(model, path, tokens=tokens, modalities=modalities, scope=scope, max_rotations=0)
    except AttachError as error:
        names = tuple(modalities or ()) if callable(tokens) else as_layout(tokens).modalities
        if callable(tokens) is (modalities is None) or len(names) < 2:
            raise
        try:
            yield Entry(None, names, reason=_fact(error))
        except AttachError as failed:
            raise AttachError(f"{failed} {found_text(model)}") from failed
        return
    try:
        yield Entry(attachment, attachment.modalities)
    finally:
        attachment.detach()


def entered(
    model: nn.Module, path: str, tokens: Tokens, modalities: Sequence[str] | None, run: Callable[[Entry], T]
) -> tuple[T, Entry]:
    """Run with the keys read at the class rows, or at all rows, or not at all: the first that the layer allows."""
    reason = None
    for scope in get_args(Scope):
        with measuring(model, path, tokens, modalities, scope=scope) as entry:
            try:
                return run(entry), entry
            except ShapeError as error:
                if entry.is_users or entry.attachment is None:
                    raise
                reason = reason or _fact(error)
    entry = replace(entry, attachment=None, reason=reason)
    return run(entry), entry


def _fact(error: RollingQError) -> str:
    """Return what an error says, without its advice."""
    return f"queries and keys cannot be read: {str(error).partition(';')[0]}"
