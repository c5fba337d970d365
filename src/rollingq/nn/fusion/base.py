"""What a fusion is: encoders' tokens to logits, and what it shows of its attention."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn

ModalityTokens = Mapping[str, Float[Tensor, "B L D"]]
ModalityMasks = Mapping[str, Bool[Tensor, "B L"]]


@dataclass(frozen=True)
class FusionOutput:
    """Logits ``[B, C]`` and, for fusions with a class query, its attention weights ``[B, H, L]``."""

    logits: Float[Tensor, "B C"]
    weights: Float[Tensor, "B H L"] | None = None


class Fusion(nn.Module, ABC):
    """Joins the tokens of all modalities into logits.

    Attributes:
        modalities: Names, in the order in which the fusion sees them.
        attention_layer: Path of the attention whose query RollingQ may rotate, or None.
    """

    attention_layer: str | None = None

    def __init__(self, modalities: tuple[str, ...]) -> None:
        super().__init__()
        self.modalities = modalities

    @abstractmethod
    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from each modality's tokens ``[B, 1 + L, D]`` (class token first)."""
