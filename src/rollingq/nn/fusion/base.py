"""What a fusion is: encoders' tokens to logits, and what it shows of its attention."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rollingq.nn.layers import CLASS_ROW, Block
from rollingq.tokens import CLS

ModalityTokens = Mapping[str, Float[Tensor, "B L D"]]
ModalityMasks = Mapping[str, Bool[Tensor, "B L"]]
Layers = str | Mapping[str, str]
"""Path of an attention layer, or one path a modality where each modality's keys have a layer of their own."""


@dataclass(frozen=True)
class FusionOutput:
    """What a fusion says.

    Attributes:
        logits: ``[B, C]``.
        weights: Attention weights of the class query, ``[B, H, L]``, if the modalities share one softmax.
        unimodal: Modality -> the part of the logits that comes from it, ``[B, C]``, where logits are a sum.
        auxiliary: Name -> logits of further heads that the method trains, ``[B, C]``.
    """

    logits: Float[Tensor, "B C"]
    weights: Float[Tensor, "B H L"] | None = None
    unimodal: Mapping[str, Float[Tensor, "B C"]] | None = None
    auxiliary: Mapping[str, Float[Tensor, "B C"]] = field(default_factory=dict)


class Fusion(nn.Module, ABC):
    """Joins the tokens of all modalities into logits.

    Attributes:
        modalities: Names, in the order in which the fusion sees them.
        is_progressive: Whether some parameters join the training later than others.
        is_plain: Whether every row is computed, not only those that are read; see ``use_plain_form``.
    """

    is_progressive: ClassVar[bool] = False

    def __init__(self, modalities: tuple[str, ...]) -> None:
        super().__init__()
        self.modalities = modalities
        self.is_plain = False

    @property
    def attention_layers(self) -> tuple[Layers, ...]:
        """Paths of the attention that RollingQ may drive, in the order in which each becomes the last one."""
        return ()

    @property
    def num_active(self) -> int:
        """How many of the attention layers take part now; the last of them is read out."""
        return len(self.attention_layers)

    @property
    def joint_layers(self) -> tuple[str, ...]:
        """Paths of all attention over ``[cls | modality 1 | modality 2 ...]`` that takes part now; most have none."""
        return ()

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Learn which epoch of how many begins; most fusions are the same in all of them."""

    def key_lengths(self, num_tokens: Mapping[str, int]) -> dict[str, int]:
        """Return order and number of the key positions of the attention that RollingQ may drive.

        The class token stands first, unless each modality's keys have a layer of their own.

        Args:
            num_tokens: Modality -> number of its encoder's tokens.
        """
        layers = self.attention_layers
        cls = {} if layers and not isinstance(layers[0], str) else {CLS: 1}
        return {**cls, **{name: num_tokens[name] for name in self.modalities}}

    def continuing_blocks(self) -> list[tuple[list[Block], nn.LayerNorm]]:
        """Return the blocks that continue the encoders' own, with the LayerNorm behind them; most have none."""
        return []

    @property
    def read_rows(self) -> slice:
        """Rows that the last layer computes: the class row, or all in the plain form."""
        return slice(None) if self.is_plain else CLASS_ROW

    @abstractmethod
    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from each modality's tokens ``[B, T, D]`` (class token first)."""


def class_tokens(tokens: ModalityTokens, masks: ModalityMasks) -> dict[str, Float[Tensor, "B D"]]:
    """Return every modality's class token, zero where the modality is absent.

    Example:
        >>> class_tokens({"audio": torch.ones(1, 3, 2)}, {"audio": torch.zeros(1, 3, dtype=torch.bool)})
        {'audio': tensor([[0., 0.]])}
    """
    return {
        name: torch.where(masks[name][:, :1], part[:, 0], 0.0) if name in masks else part[:, 0]
        for name, part in tokens.items()
    }


def joined(
    cls_token: Float[Tensor, "1 1 D"], tokens: ModalityTokens, masks: ModalityMasks, modalities: tuple[str, ...]
) -> tuple[Float[Tensor, "B L D"], Bool[Tensor, "B L"] | None]:
    """Return the sequence ``[cls | modality 1 | modality 2 ...]`` and which of its positions are real (None = all)."""
    parts = [tokens[name] for name in modalities]
    sequence = torch.cat([cls_token.expand(len(parts[0]), 1, -1), *parts], dim=1)
    if not any(name in masks for name in modalities):
        return sequence, None
    real = [
        masks[name] if name in masks else part.new_ones(part.shape[:2], dtype=torch.bool)
        for name, part in zip(modalities, parts, strict=True)
    ]
    return sequence, torch.cat([real[0].new_ones(len(real[0]), 1), *real], dim=1)


def new_class_token(dim: int) -> nn.Parameter:
    """Return a learned class token ``[1, 1, D]``, truncated normal with deviation 0.02 as in ViT."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dim), std=0.02))
