"""Layers that fusions share: attention that computes only the rows that are read, and residual blocks around it."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from rollingq.functional import absorbed_attention

Activation = Literal["gelu", "relu"]


class Attention(nn.Module):
    """Attention with separate projections; with one query a sample, keys and values are never projected.

    Args:
        dim: Width D.
        num_heads: Number of heads H.
        dropout: On attention weights and on the output.

    Example:
        >>> out, weights = Attention(8)(torch.zeros(2, 1, 8), torch.zeros(2, 5, 8))
        >>> out.shape, weights.shape
        (torch.Size([2, 1, 8]), torch.Size([2, 1, 5]))
    """

    absorbed_arguments: ClassVar[tuple[str, str]] = ("context", "mask")
    """Arguments of ``forward`` that hold the tokens and their mask, for whoever needs keys that are never projected."""

    def __init__(self, dim: int, *, num_heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.is_plain = False
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.attention_dropout = dropout
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        queries: Float[Tensor, "#B Q D"],
        context: Float[Tensor, "B L D"],
        mask: Bool[Tensor, "B L"] | None = None,
        *,
        is_causal: bool = False,
        offset: int | Tensor | None = None,
    ) -> tuple[Float[Tensor, "B Q D"], Float[Tensor, "B H L"] | None]:
        """Return attended queries ``[B, Q, D]`` and, with one query a sample, its softmax weights ``[B, H, L]``.

        Args:
            queries: What asks, ``[B, Q, D]``; one row ``[1, 1, D]`` may be shared by all samples.
            context: What is attended to, ``[B, L, D]``.
            mask: True at real positions of the context, ``[B, L]``; a sample without any gets zeros.
            is_causal: Whether query i sees only positions up to i + offset.
            offset: One number, or one a sample ``[B]``; ``|L - Q|`` if None, as in MulT.
        """
        if queries.shape[1] == 1 and not self.is_plain and not is_causal:
            return self._absorbed(queries[:, 0], context, mask)
        past = (abs(context.shape[1] - queries.shape[1]) if offset is None else offset) if is_causal else None
        return self._projected(queries, context, mask, past)

    def _absorbed(self, query: Tensor, context: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        attended, weights = absorbed_attention(
            self.query(query),
            context,
            self.key.weight,
            self.value.weight,
            self.value.bias,
            num_heads=self.num_heads,
            mask=mask,
            dropout=self.attention_dropout if self.training else 0.0,
        )
        return self.dropout(self.output(attended)).unsqueeze(1), weights

    def _projected(
        self, queries: Tensor, context: Tensor, mask: Tensor | None, past: int | Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if mask is not None:  # What stands in padding counts as nothing, even NaN.
            context = torch.where(mask.unsqueeze(-1), context, 0.0)
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(queries), self.key(context), self.value(context))
        )
        seen = _seen(queries.shape[1], context, mask, past)
        dropout = self.attention_dropout if self.training else 0.0
        attended = scaled_dot_product_attention(q.expand(len(k), -1, -1, -1), k, v, seen, dropout)
        if seen is not None:  # A query that sees nothing gets zeros, never NaN.
            attended = torch.where(seen.any(-1, keepdim=True), attended, 0.0)
        return self.dropout(self.output(attended.transpose(1, 2).flatten(2))), None


def _seen(num_queries: int, context: Tensor, mask: Tensor | None, past: int | Tensor | None) -> Tensor | None:
    """Return which positions each query sees, ``[B or 1, 1, Q or 1, L]``, or None if all see all.

    With ``past``, query i sees positions up to i + past.
    """
    seen = None if mask is None else mask[:, None, None]
    if past is None:
        return seen
    ends = torch.arange(num_queries, device=context.device) + torch.as_tensor(past, device=context.device).view(-1, 1)
    earlier = (torch.arange(context.shape[1], device=context.device) <= ends.unsqueeze(-1)).unsqueeze(1)
    return earlier if seen is None else earlier & seen


class ResidualAttention(nn.Module):
    """Attention, residual and LayerNorm, before (pre-norm) or after (post-norm).

    Args:
        dim: Width D.
        num_heads: Number of heads.
        dropout: Dropout.
        is_pre_norm: Whether LayerNorm stands before the attention (and is shared by queries and context).
    """

    def __init__(self, dim: int, num_heads: int, *, dropout: float, is_pre_norm: bool = True) -> None:
        super().__init__()
        self.is_pre_norm = is_pre_norm
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads=num_heads, dropout=dropout)

    def forward(
        self,
        tokens: Float[Tensor, "B L D"],
        mask: Bool[Tensor, "B C"] | None = None,
        *,
        context: Float[Tensor, "B C D"] | None = None,
        rows: slice = slice(None),
        is_causal: bool = False,
        offset: int | Tensor | None = None,
    ) -> tuple[Float[Tensor, "B Q D"], Float[Tensor, "B H C"] | None]:
        """Return the chosen rows after attention, and their weights if there is one row a sample.

        Args:
            tokens: Who asks, ``[B, L, D]``.
            mask: True at real positions of what is attended to.
            context: What is attended to; the tokens themselves if None.
            rows: Which rows are needed.
            is_causal: See :class:`Attention`; the chosen rows keep their place in time.
            offset: See :class:`Attention`.
        """
        normed = self.norm(tokens) if self.is_pre_norm else tokens
        seen = normed if context is None else self.norm(context) if self.is_pre_norm else context
        if offset is None:
            offset = abs(seen.shape[1] - tokens.shape[1])
        past = offset + rows.indices(tokens.shape[1])[0]
        attended, weights = self.attention(normed[:, rows], seen, mask, is_causal=is_causal, offset=past)
        summed = tokens[:, rows] + attended
        return (summed if self.is_pre_norm else self.norm(summed)), weights


class FeedForward(nn.Module):
    """Two linear layers with residual and LayerNorm, before or after.

    Args:
        dim: Width D.
        dropout: Dropout.
        activation: "gelu" or "relu".
        is_pre_norm: Whether LayerNorm stands first.
        ratio: Hidden width over D.
    """

    def __init__(
        self, dim: int, *, dropout: float, activation: Activation = "gelu", is_pre_norm: bool = True, ratio: int = 4
    ) -> None:
        super().__init__()
        self.is_pre_norm = is_pre_norm
        self.norm = nn.LayerNorm(dim)
        between = nn.GELU() if activation == "gelu" else nn.ReLU()
        self.layers = nn.Sequential(
            nn.Linear(dim, ratio * dim), between, nn.Dropout(dropout), nn.Linear(ratio * dim, dim), nn.Dropout(dropout)
        )

    def forward(self, tokens: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Return the tokens after the feed-forward layers."""
        summed: Tensor = tokens + self.layers(self.norm(tokens) if self.is_pre_norm else tokens)
        if not self.is_pre_norm:
            summed = self.norm(summed)
        return summed


class Block(nn.Module):
    """A transformer block: residual attention (over itself or a context) and a feed-forward layer.

    Args:
        dim: Width D.
        num_heads: Number of heads.
        dropout: Dropout.
        activation: "gelu" or "relu".
        ratio: Hidden width of the feed-forward layer over D.

    Example:
        >>> tokens, weights = Block(8, 2, dropout=0.0)(torch.zeros(2, 5, 8), rows=slice(0, 1))
        >>> tokens.shape, weights.shape
        (torch.Size([2, 1, 8]), torch.Size([2, 2, 5]))
    """

    def __init__(
        self, dim: int, num_heads: int, *, dropout: float, activation: Activation = "gelu", ratio: int = 4
    ) -> None:
        super().__init__()
        self.attend = ResidualAttention(dim, num_heads, dropout=dropout)
        self.feed_forward = FeedForward(dim, dropout=dropout, activation=activation, ratio=ratio)

    def forward(
        self,
        tokens: Float[Tensor, "B L D"],
        mask: Bool[Tensor, "B C"] | None = None,
        *,
        context: Float[Tensor, "B C D"] | None = None,
        rows: slice = slice(None),
        is_causal: bool = False,
        offset: int | Tensor | None = None,
    ) -> tuple[Float[Tensor, "B Q D"], Float[Tensor, "B H C"] | None]:
        """Return the chosen rows after the block; the arguments are those of :class:`ResidualAttention`."""
        attended, weights = self.attend(tokens, mask, context=context, rows=rows, is_causal=is_causal, offset=offset)
        return self.feed_forward(attended), weights


CLASS_ROW = slice(0, 1)
"""The row that is read out: the class token stands first."""


def use_plain_form(model: nn.Module) -> None:
    """Make attention project every key and value, and compute every row, as a straightforward implementation does.

    The numbers stay the same; for counting what the original computes, and for proving that the fast form
    changes nothing.
    """
    for module in model.modules():
        if hasattr(module, "is_plain"):
            setattr(module, "is_plain", True)  # noqa: B010
