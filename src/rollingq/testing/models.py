"""Tiny attention models: one signature, ``model(tokens)`` with ``[B, L, D]``, around many forms of attention."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Rows = Literal["class", "vector", "all"]


class LinearAttention(nn.Module):
    """Multi-head attention with separate Linears, whose query comes from the first position or from all.

    Args:
        dim: Width D.
        num_heads: Number of heads.
        names: Attribute names of the query and the key Linear.
        bias: Whether the projections have a bias.
        rows: What is projected to queries: the class position as ``[B, 1, D]`` or as ``[B, D]`` ("vector"), or
            all positions.

    Example:
        >>> LinearAttention(8, names=("W_Q", "W_K"))(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 1, 8])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 1,
        *,
        names: tuple[str, str] = ("query", "key"),
        bias: bool = True,
        rows: Rows = "class",
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.names = names
        self.rows = rows
        for name in names:
            self.add_module(name, nn.Linear(dim, dim, bias=bias))
        self.value = nn.Linear(dim, dim, bias=bias)
        self.output = nn.Linear(dim, dim, bias=bias)

    def forward(self, sequence: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the attended rows ``[B, R, D]``; ``mask`` is True at real positions, ``[B, L]``."""
        query_layer, key_layer = (self.get_submodule(name) for name in self.names)
        query = {"class": sequence[:, :1], "vector": sequence[:, 0], "all": sequence}[self.rows]
        q = query_layer(query)
        q = q.unsqueeze(1) if self.rows == "vector" else q
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (q, key_layer(sequence), self.value(sequence))
        )
        allowed = None if mask is None else mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return torch.as_tensor(self.output(attended.transpose(1, 2).flatten(2)))


class AttentionModel(nn.Module):
    """``[class token | tokens]`` through one attention, then logits from the first row or from the mean of all rows.

    Args:
        attention: A module that takes the sequence ``[B, L, D]``, such as :class:`LinearAttention` or
            :class:`Packed`.
        dim: Width D.
        num_classes: Number of classes.
        has_cls: Whether a learned class token is put first; without it the sequence is what is given.
        pool: Which rows of the attention are read.

    Example:
        >>> AttentionModel(LinearAttention(8), 8)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        attention: nn.Module,
        dim: int,
        num_classes: int = 3,
        *,
        has_cls: bool = True,
        pool: Literal["class", "mean"] = "class",
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim)) if has_cls else None
        self.attention = attention
        self.head = nn.Linear(dim, num_classes)
        self.pool = pool

    def forward(self, tokens: Tensor, **options: Any) -> Tensor:  # noqa: ANN401
        """Return logits ``[B, C]``; options go to the attention."""
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        rows = self.attention(tokens, **options)
        return torch.as_tensor(self.head(rows[:, 0] if self.pool == "class" else rows.mean(1)))


class Packed(nn.Module):
    """torch.nn.MultiheadAttention as self-attention or class attention over a batch-first sequence.

    Args:
        dim: Width D.
        num_heads: Number of heads.
        rows: "class" (the first position asks) or "all".
        is_separate: Whether keys and values have another width (``kdim``, ``vdim``), so projections are not packed.
        **options: Everything else that ``nn.MultiheadAttention`` takes.

    Example:
        >>> Packed(8, 2, rows="all", batch_first=False)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 2,
        *,
        rows: Literal["class", "all"] = "class",
        is_separate: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__()
        self.rows = rows
        self.is_separate = is_separate
        widths = {"kdim": 2 * dim, "vdim": 3 * dim} if is_separate else {}
        self.mha = nn.MultiheadAttention(dim, num_heads, **widths, **options)

    def forward(self, sequence: Tensor, **options: Any) -> Tensor:  # noqa: ANN401
        """Return the attended rows ``[B, R, D]``; options go to ``nn.MultiheadAttention``."""
        query = sequence[:, :1] if self.rows == "class" else sequence
        key = torch.cat([sequence, sequence.roll(1, 0)], -1) if self.is_separate else sequence
        value = torch.cat([sequence] * 3, -1) if self.is_separate else sequence
        parts: Sequence[Tensor] = (query, key, value)
        if not self.mha.batch_first:
            parts = [part.transpose(0, 1) for part in parts]
        out: Tensor = self.mha(*parts, **options)[0]
        return out if self.mha.batch_first else out.transpose(0, 1)
