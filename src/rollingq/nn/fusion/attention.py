"""ClassAttention: one class query attends over all tokens, with the projections absorbed into it."""

from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from rollingq.functional import absorbed_attention


class ClassAttention(nn.Module):
    """Attention of one class query over a token sequence (in which the class token itself may stand).

    The layer of the paper's vanilla multimodal transformer (one layer, read out at the class token; no
    residual, no LayerNorm), for O(d^2 + L d) a sample: keys and values are never projected, see
    :func:`rollingq.functional.absorbed_attention`.

    Args:
        dim: Width D.
        num_heads: Number of heads (paper: 1).
        dropout: On attention weights and on the output (original code: 0.2).

    Example:
        >>> out, weights = ClassAttention(8)(torch.zeros(1, 8), torch.zeros(2, 5, 8))
        >>> out.shape, weights.shape
        (torch.Size([2, 8]), torch.Size([2, 1, 5]))
    """

    absorbed_arguments: ClassVar[tuple[str, str]] = ("sequence", "mask")
    """Arguments of ``forward`` that hold the tokens and their mask, for whoever needs keys that are never projected."""

    def __init__(self, dim: int, *, num_heads: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.attention_dropout = dropout
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        cls_token: Float[Tensor, "#B D"],
        sequence: Float[Tensor, "B L D"],
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B H L"]]:
        """Return the fused class token ``[B, D]`` and the softmax weights ``[B, H, L]``.

        Args:
            cls_token: What asks: ``[B, D]``, or ``[1, D]`` shared by all samples (projected once).
            sequence: What is attended to, ``[B, L, D]``.
            mask: True at real tokens, ``[B, L]``; all are real if None.
        """
        attended, weights = absorbed_attention(
            self.query(cls_token),
            sequence,
            self.key.weight,
            self.value.weight,
            self.value.bias,
            num_heads=self.num_heads,
            mask=mask,
            dropout=self.attention_dropout if self.training else 0.0,
        )
        return self.dropout(self.output(attended)), weights
