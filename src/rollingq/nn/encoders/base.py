"""What an encoder is: one modality's input to tokens, its class token first."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rollingq.nn.encoders.pretrained import LoadReport


class Encoder(nn.Module, ABC):
    """Turns one modality's input into tokens ``[B, T, D]``, class token first.

    Attributes:
        num_tokens: Largest number of tokens T, with the class token.
        mlp_ratio: Hidden width of its blocks over D, for the blocks of a fusion that continue them.
        load_report: What pretrained weights gave, as one line; None if it starts at random.
    """

    num_tokens: int
    mlp_ratio: int = 4
    load_report: LoadReport | None = None

    @abstractmethod
    def forward(self, inputs: Tensor, mask: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B T D"]:
        """Return the tokens; what ``mask`` marks as padding reaches no other token."""

    def token_mask(self, mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B T"]:
        """Return which tokens are real; the class token is, unless the whole modality is absent.

        Args:
            mask: True at real positions of the input.
        """
        return torch.cat([mask.any(1, keepdim=True), mask], dim=1)
