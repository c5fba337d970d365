"""Attention with separate query and key Linears, by forward hooks on both."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from rollingq.attachment.sites import SeenQuery, Site, as_rows
from rollingq.errors import AttachError, ShapeError
from rollingq.tokens import TokenLayout, Tokens

HEAD_NAMES = ("num_heads", "n_heads", "num_attention_heads", "n_head", "nhead", "heads")


class LinearSite(Site):
    """Rotates the output of the query Linear; averages the output of the key Linear."""

    def __init__(
        self,
        model: nn.Module,
        attention: nn.Module,
        path: str,
        tokens: Tokens,
        scope: str,
        *,
        query: nn.Linear,
        key: nn.Linear,
        num_heads: int | None = None,
    ) -> None:
        super().__init__(model, attention, path, tokens, scope)
        self.query, self.key = query, key
        self.num_heads = heads_of(attention) if num_heads is None else num_heads
        check_projections(query, key, self.num_heads, path)
        self.dim = query.out_features // self.num_heads
        self._forward_layout: TokenLayout | None = None
        self._seen_query: SeenQuery | None = None
        self._seen_keys: Tensor | None = None

    def query_weight(self) -> tuple[Tensor, Tensor | None]:
        """Return the query Linear's weight and bias."""
        return self.query.weight, self.query.bias

    def _install(self) -> None:
        self._handles += [
            self.attention.register_forward_pre_hook(self._enter, with_kwargs=True),
            self.query.register_forward_hook(self._on_query),
            self.key.register_forward_hook(self._on_key),
        ]

    def _enter(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._forward_layout = self.layout(*args, **kwargs)
        self._seen_query = self._seen_keys = None

    def _current_layout(self) -> TokenLayout:
        if self._forward_layout is None:
            raise ShapeError(
                f"Expected the projections of {self.path!r} to run inside its forward, but they ran before it; "
                "attach to the module whose forward calls them."
            )
        return self._forward_layout

    def _on_query(self, _module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        queries = as_rows(output)
        rows = self.rows(queries.shape[1], self._current_layout())
        rotated = self.rotate_rows(queries, rows)
        if self.rollingq.is_observing:
            self._seen_query = self.seen_query(rotated, rows, self._current_layout())
            self._report()
        return None if rotated is queries else rotated.reshape(output.shape)

    def _on_key(self, _module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        if output.dim() != 3:
            raise ShapeError(
                f"Expected keys [B, L, D] in {self.path!r}, but got {list(output.shape)}; give a layer whose key "
                "projection sees all tokens at once."
            )
        layout = self._current_layout()
        layout.check_length(output.shape[1])
        if self.rollingq.is_observing:
            with torch.no_grad():
                self._seen_keys = layout.average(output)
            self._report()

    def _report(self) -> None:
        """Report once both projections have been seen, whichever comes first."""
        if self._seen_query is None or self._seen_keys is None:
            return
        self.observe(self._seen_query, self._seen_keys, self._current_layout())
        self._seen_query = self._seen_keys = None


class AbsorbedSite(LinearSite):
    """Attention that never projects its keys (``absorbed_attention``): averages tokens, then projects the mean.

    The module names the arguments of its forward that hold the tokens and their mask:
    ``absorbed_arguments = ("context", "mask")``.
    """

    def _install(self) -> None:
        self._handles += [
            self.attention.register_forward_pre_hook(self._enter, with_kwargs=True),
            self.query.register_forward_hook(self._on_query),
        ]

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = self.bind(self.attention, args, kwargs)
        sequence_name, mask_name = cast(Any, module).absorbed_arguments
        tokens: Tensor = given[sequence_name]
        self._forward_layout = self.layout(*args, **kwargs).masked(given.get(mask_name))
        self._forward_layout.check_length(tokens.shape[1])
        self._seen_query = self._seen_keys = None
        if self.rollingq.is_observing:
            with torch.no_grad():
                average = self._forward_layout.average(tokens)
                self._seen_keys = nn.functional.linear(average, self.key.weight, self.key.bias)


def heads_of(attention: nn.Module) -> int:
    """Return the number of heads that the module names, 1 if it names none."""
    for name in HEAD_NAMES:
        value = getattr(attention, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 1


def check_projections(query: nn.Linear, key: nn.Linear, num_heads: int, path: str) -> None:
    """Raise AttachError unless two Linears can be a query and a key projection of so many heads."""
    if query is key or query.weight is key.weight:
        raise AttachError(
            f"Expected separate query and key projections in {path!r}, but they share one weight: rotating "
            "the query would rotate the keys too, and change nothing. Untie them."
        )
    if query.out_features != key.out_features:
        raise AttachError(
            f"Expected queries and keys of one width in {path!r}, but got {query.out_features} and "
            f"{key.out_features}; grouped keys are not supported."
        )
    if num_heads < 1 or query.out_features % num_heads:
        raise AttachError(
            f"Expected num_heads to divide the query width {query.out_features} of {path!r}, a positive number of "
            f"heads, but got {num_heads}; give num_heads=."
        )
