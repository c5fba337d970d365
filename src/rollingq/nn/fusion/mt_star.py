"""MT*: transformer blocks over all tokens, trained progressively: first one block, then two (paper, Appendix B)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rollingq.errors import ConfigError
from rollingq.nn.fusion.base import Layers
from rollingq.nn.fusion.blocks import ClassBlocks


class VanillaMTStar(ClassBlocks):
    """Blocks of which only the first ``num_active`` take part; the last of them is read out at the class token.

    Args:
        modalities: Names, in the order of the keys.
        dim: Width D.
        num_classes: Number of classes C.
        phases: Relative length of each phase of training; one block a phase.
        num_heads: Number of heads (1 as in MT).
        dropout: Dropout inside the blocks.

    Source:
        Ni et al., "RollingQ", ICML 2025, Appendix B (prose only; the inside of the blocks is our reading).
    """

    is_progressive = True

    def __init__(
        self,
        modalities: tuple[str, ...],
        dim: int,
        num_classes: int,
        *,
        phases: Sequence[int] = (1, 2),
        num_heads: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(modalities, dim, num_classes, num_layers=len(phases), num_heads=num_heads, dropout=dropout)
        self.phases = tuple(phases)

    @property
    def attention_layers(self) -> tuple[Layers, ...]:
        """The attention of each block."""
        return tuple(f"blocks.{i}.attend.attention" for i in range(len(self.blocks)))

    @property
    def joint_layers(self) -> tuple[str, ...]:
        """The attention of each block that takes part now."""
        return tuple(f"blocks.{i}.attend.attention" for i in range(self.num_active))

    @property
    def num_active(self) -> int:
        """How many blocks take part now."""
        return self.num_blocks_used

    @num_active.setter
    def num_active(self, number: int) -> None:
        if not 1 <= number <= len(self.blocks):
            raise ConfigError(f"Expected 1 to {len(self.blocks)} active blocks, but got {number}.")
        self.num_blocks_used = number

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Let the blocks of this epoch's phase take part."""
        self.num_active = active_blocks(self.phases, epoch, epochs)

    def get_extra_state(self) -> Tensor:
        """Return the number of active blocks: a checkpoint of an early phase comes back as it was."""
        return torch.tensor(self.num_active)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the number of active blocks."""
        self.num_active = int(state)


def active_blocks(phases: Sequence[int], epoch: int, epochs: int) -> int:
    """Return how many blocks take part in an epoch; every phase gets an epoch if there are enough of them.

    Args:
        phases: Relative length of each phase.
        epoch: Number of the epoch, from 0.
        epochs: Epochs of the whole training.

    Example:
        >>> [active_blocks([10, 20], epoch, 30) for epoch in (0, 9, 10, 29)]
        [1, 1, 2, 2]
        >>> [active_blocks([9, 1], epoch, 3) for epoch in range(3)]
        [1, 1, 2]
    """
    number, total, end, active = len(phases), sum(phases), 0, 1
    for i in range(1, number):
        share = (2 * epochs * sum(phases[:i]) + total) // (2 * total)  # Rounded, halves up.
        end = share if epochs < number else min(max(share, end + 1), epochs - (number - i))
        active += epoch >= end
    return active
