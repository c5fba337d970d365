"""Transformer encoder over a sequence of feature vectors, with an own class token and padding masks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rollingq.nn.encoders.base import Encoder


class SequenceEncoder(Encoder):
    """Pre-norm transformer: ``[B, L, F]`` to tokens ``[B, 1 + L, D]``, class token first.

    Args:
        length: Largest number of tokens L.
        in_dim: Numbers a token F.
        dim: Width D.
        num_layers: Number of blocks.
        num_heads: Number of heads.
        dropout: Dropout inside the blocks.
        has_final_norm: Whether LayerNorm ends it (not, if blocks of a fusion follow).

    Example:
        >>> SequenceEncoder(5, 3, dim=8)(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 6, 8])
    """

    mlp_ratio = 2

    def __init__(
        self,
        length: int,
        in_dim: int,
        *,
        dim: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        has_final_norm: bool = True,
    ) -> None:
        super().__init__()
        self.num_tokens = 1 + length
        self.project = nn.Linear(in_dim, dim)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.position = nn.Parameter(torch.empty(1, 1 + length, dim))
        block = nn.TransformerEncoderLayer(
            dim, num_heads, self.mlp_ratio * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(dim) if has_final_norm else None
        self.blocks = nn.TransformerEncoder(block, num_layers, norm, enable_nested_tensor=False)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(
        self, inputs: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """Return tokens ``[B, 1 + L, D]``; padded positions (mask False) reach no other token.

        Args:
            inputs: Feature vectors, ``[B, L, F]``.
            mask: True at real tokens, ``[B, L]``.
        """
        tokens = torch.cat([self.cls_token.expand(len(inputs), -1, -1), self.project(inputs)], dim=1)
        tokens = tokens + self.position[:, : tokens.shape[1]]
        padding = None if mask is None else ~nn.functional.pad(mask, (1, 0), value=True)
        encoded: Tensor = self.blocks(tokens, src_key_padding_mask=padding)
        return encoded
