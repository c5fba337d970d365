"""Site: the part that all attention forms share: which rows rotate, what is observed, how to leave."""

import inspect
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rollingq.attachment.folding import fold_site
from rollingq.controller import RollingQ
from rollingq.errors import ShapeError
from rollingq.statistics import Observation
from rollingq.tokens import TokenLayout, Tokens, as_layout

NAME = "rollingq"
"""Name under which the attachment lives in the attention module."""


SeenQuery = tuple[Tensor, Tensor | None]
"""Rotated query rows ``[B, R, D]`` and which of them are real ``[B, R]`` (None = all)."""


class Site(ABC):
    """One attention layer of one model, entered by RollingQ.

    Attributes:
        model: The whole model.
        attention: The attention layer.
        path: Its name in the model.
        num_heads: Number of heads.
        dim: Width of a head.
        num_queries: 1, or the number of modalities if each has an attention layer of its own.
        scope: "query" (rows at the class positions) or "all_queries".
        other_rows: Rows a sample that passed through the query projection and were not rotated; None until
            a forward was seen.
    """

    def __init__(self, model: nn.Module, attention: nn.Module, path: str, tokens: Tokens, scope: str) -> None:
        self.model = model
        self.attention = attention
        self.path = path
        self.scope = scope
        self.num_heads = 1
        self.num_queries = 1
        self.dim = 0
        self.other_rows: int | None = None
        self._tokens = tokens
        self._layout = None if callable(tokens) else as_layout(tokens)
        self._handles: list[RemovableHandle] = []
        self._signatures: dict[nn.Module, inspect.Signature] = {}

    # --- what each form defines ----------------------------------------------------------------------

    @abstractmethod
    def query_weight(self) -> tuple[Tensor, Tensor | None]:
        """Return the weight ``[D, E]`` and bias ``[D]`` of the query projection (views that can be set in place)."""

    def projections(self) -> list[tuple[Tensor, Tensor | None]]:
        """Return weight and bias of every query projection that rotates, one a query."""
        return [self.query_weight()]

    @abstractmethod
    def _install(self) -> None:
        """Enter the layer."""

    def keep_called(self, is_needed: bool) -> None:  # noqa: B027
        """Make sure that the layer's forward is really called from now on, or no longer; most need nothing."""

    # --- shared --------------------------------------------------------------------------------------

    @property
    def rollingq(self) -> RollingQ:
        """The attachment."""
        attachment = getattr(self.attention, NAME)
        assert isinstance(attachment, RollingQ)
        return attachment

    @property
    def layers(self) -> list[nn.Module]:
        """The attention layers that are entered."""
        return [self.attention]

    def install(self, attachment: RollingQ) -> None:
        """Put the attachment into the layer, so that it moves, saves and copies with it."""
        self.attention.add_module(NAME, attachment)
        self._install()

    def remove(self) -> None:
        """Leave the model bit for bit as it was before."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        del self.attention._modules[NAME]

    def fold(self, example: Any) -> float | None:  # noqa: ANN401
        """Move the rotation into the weights and leave the model."""
        return fold_site(self, example)

    def layout(self, *args: Any, **kwargs: Any) -> TokenLayout:  # noqa: ANN401
        """Return the layout of this forward; a callable gets the attention's forward arguments."""
        if self._layout is not None:
            return self._layout
        assert callable(self._tokens)
        layout = as_layout(self._tokens(*args, **kwargs))
        if layout.modalities != self.rollingq.modalities:
            raise ShapeError(
                f"Expected the callable to return the modalities {', '.join(self.rollingq.modalities)} in this order, "
                f"but got {layout}; give attach the same names as modalities=."
            )
        return layout

    def rows(self, num_queries: int, layout: TokenLayout) -> slice:
        """Return which query rows rotate, and remember how many do not.

        Raises:
            ShapeError: If the class positions cannot be found among the query rows.
        """
        rows = self._rows(num_queries, layout)
        self.other_rows = max(self.other_rows or 0, num_queries - len(range(num_queries)[rows]))
        return rows

    def _rows(self, num_queries: int, layout: TokenLayout) -> slice:
        cls_span = layout.cls_span
        if self.scope == "all_queries" or (cls_span and num_queries == cls_span.stop - cls_span.start):
            return slice(None)
        if cls_span is not None and num_queries == layout.total:
            return cls_span
        if cls_span is None and num_queries != layout.total:
            return slice(None)
        raise ShapeError(
            f"Expected {self.path!r} to query with its class rows alone or with all {layout.total} positions "
            f"({layout}), but it queries with {num_queries} rows; give the class positions as 'cls' in tokens, or use "
            "scope='all_queries'."
        )

    def rotate_rows(self, queries: Tensor, rows: slice) -> Tensor:
        """Return queries ``[B, R, D]`` with the given rows rotated."""
        attachment = self.rollingq
        if attachment.is_idle():
            return queries
        if rows == slice(None):
            return attachment.rotate(queries)
        start, stop, _ = rows.indices(queries.shape[1])
        return torch.cat([queries[:, :start], attachment.rotate(queries[:, rows]), queries[:, stop:]], dim=1)

    def seen_query(self, queries: Tensor, rows: slice, layout: TokenLayout) -> SeenQuery:
        """Return a copy of the given rows ``[B, R, D]`` and their mask: what follows may change them in place."""
        mask = layout.mask
        if mask is None or mask.shape[1] != queries.shape[1]:
            return queries.detach()[:, rows].clone(), None
        return queries.detach()[:, rows].clone(), mask[:, rows]

    @torch.no_grad()
    def observe(self, seen: SeenQuery, average_keys: Tensor, layout: TokenLayout) -> None:
        """Hand the rotated queries and the average keys ``[B, M, D]`` of this forward to the attachment."""
        attachment = self.rollingq
        attachment.observe(
            Observation(
                query=attachment.split_heads(seen[0]),
                average_keys=attachment.split_heads(average_keys.detach()),
                is_present=layout.presence(),
                row_mask=seen[1],
            )
        )

    def bind(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return a module's forward arguments by name."""
        signature = self._signatures.get(module)
        if signature is None:
            signature = self._signatures[module] = inspect.signature(module.forward)
        return signature.bind(*args, **kwargs).arguments


def as_rows(queries: Tensor) -> Tensor:
    """Return queries of any rank as ``[B, R, D]``: ``[D]`` and ``[B, D]`` hold one row a sample."""
    if queries.dim() == 1:
        return queries[None, None]
    return queries.unsqueeze(1) if queries.dim() == 2 else queries
