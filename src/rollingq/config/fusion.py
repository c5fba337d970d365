"""Settings of the fusions, one dataclass a method; where a default comes from stands on its card in docs/methods."""

from dataclasses import dataclass, field
from typing import Literal

from rollingq.config.checks import is_positive, is_share, one_of, require

MulTMemory = Literal["streams", "joint"]
MMMLReading = Literal["self", "cross"]


@dataclass(frozen=True, kw_only=True)
class MTConfig:
    """Vanilla MT: one attention layer over all tokens."""

    num_heads: int = 1
    """Heads (paper: 1)."""
    dropout: float = 0.2
    """On attention weights and output (original code: 0.2)."""

    def __post_init__(self) -> None:
        require(self, [_heads(self.num_heads), _dropout(self.dropout)])


@dataclass(frozen=True, kw_only=True)
class MTStarConfig:
    """MT*: transformer blocks over all tokens, trained progressively (paper, Appendix B)."""

    phases: list[int] = field(default_factory=lambda: [1, 2])
    """Relative length of each phase; phase n trains the first n blocks, so their number is that of the blocks.
    [10, 20] reads as epochs in a training of 30."""
    num_heads: int = 1
    """Heads a block."""
    dropout: float = 0.1
    """Dropout inside the blocks."""

    def __post_init__(self) -> None:
        is_right = bool(self.phases) and all(map(is_positive, self.phases))
        require(self, [("phases", is_right, "whole numbers >= 1"), _heads(self.num_heads), _dropout(self.dropout)])


@dataclass(frozen=True, kw_only=True)
class MulTConfig:
    """MulT: every modality attends to every other; the results are read by a memory transformer."""

    num_layers: int = 1
    """Crossmodal blocks a pair (paper's Table 1: 1 fusion layer; MulT's code: 5)."""
    num_memory_layers: int = 3
    """Blocks of the memory (MulT's code: at least 3)."""
    memory: MulTMemory = "streams"
    """One memory a target as published, or "joint": one over all streams, so that modalities share its softmax."""
    is_causal: bool = True
    """Whether a position sees only earlier ones (MulT's code: yes)."""
    dropout: float = 0.1
    """Dropout inside the blocks."""

    def __post_init__(self) -> None:
        layers = ("num_layers", "num_memory_layers")
        checks = [(name, is_positive(getattr(self, name)), "a whole number >= 1") for name in layers]
        require(self, [*checks, one_of(self, "memory", MulTMemory), _dropout(self.dropout)])


@dataclass(frozen=True, kw_only=True)
class MBTConfig:
    """MBT: the streams exchange information through a few bottleneck tokens only."""

    num_layers: int = 2
    """Blocks with bottlenecks, behind the encoders' own (paper's Table 4: 2)."""
    num_bottlenecks: int = 4
    """Bottleneck tokens (MBT: 4)."""
    dropout: float = 0.1
    """Dropout inside the blocks."""

    def __post_init__(self) -> None:
        counts = ("num_layers", "num_bottlenecks")
        checks = [(name, is_positive(getattr(self, name)), "a whole number >= 1") for name in counts]
        require(self, [*checks, _dropout(self.dropout)])


@dataclass(frozen=True, kw_only=True)
class JMTConfig:
    """JMT: a joint representation beside the modalities, and cross-attention between all of them."""

    num_heads: int = 1
    """Heads (JMT's code: 1)."""
    hidden_dim: int = 512
    """Hidden width of the feed-forward layers (JMT's code: 512)."""
    dropout: float = 0.1
    """Dropout inside the blocks."""

    def __post_init__(self) -> None:
        hidden = ("hidden_dim", is_positive(self.hidden_dim), "a whole number >= 1")
        require(self, [hidden, _heads(self.num_heads), _dropout(self.dropout)])


@dataclass(frozen=True, kw_only=True)
class MMMLConfig:
    """MMML: cross-attention both ways, then self-attention in each stream."""

    num_layers: int = 1
    """Cross-modal layers (paper's Table 4: 1; MMML's code: 5)."""
    reading: MMMLReading = "self"
    """Our readings of RollingQ on MMML: the streams' last self-attentions, or the last cross-attentions."""
    dropout: float = 0.3
    """Dropout inside the layers (MMML's code: 0.3)."""

    def __post_init__(self) -> None:
        layers = ("num_layers", is_positive(self.num_layers), "a whole number >= 1")
        require(self, [layers, one_of(self, "reading", MMMLReading), _dropout(self.dropout)])


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Settings of every fusion that has any."""

    mt: MTConfig = field(default_factory=MTConfig)
    """Vanilla MT."""
    mt_star: MTStarConfig = field(default_factory=MTStarConfig)
    """MT*."""
    mult: MulTConfig = field(default_factory=MulTConfig)
    """MulT."""
    mbt: MBTConfig = field(default_factory=MBTConfig)
    """MBT."""
    jmt: JMTConfig = field(default_factory=JMTConfig)
    """JMT."""
    mmml: MMMLConfig = field(default_factory=MMMLConfig)
    """MMML."""


def _heads(value: int) -> tuple[str, bool, str]:
    return "num_heads", is_positive(value), "a whole number >= 1"


def _dropout(value: float) -> tuple[str, bool, str]:
    return "dropout", is_share(value), "a number in [0, 1)"
