"""TokenLayout: which key positions belong to which modality, and which of them are real."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rollingq.errors import AttachError, ShapeError
from rollingq.functional import masked_mean

CLS = "cls"
"""Reserved name for positions that belong to no modality."""


@dataclass(frozen=True)
class TokenLayout:
    """Order and number of the key positions, such as ``{"cls": 1, "audio": 177, "visual": 197}``.

    Attributes:
        lengths: Name -> number of positions, in the order of the sequence; "cls" is reserved for positions
            of no modality. At least two modalities, each with at least one position.
        mask: True at real positions, ``[B, L]``; all are real if None.

    Raises:
        AttachError: If fewer than two modalities share the sequence, or one has no position.

    Example:
        >>> layout = TokenLayout({"cls": 1, "audio": 2, "visual": 3})
        >>> layout.total, layout.modalities, layout.spans["visual"]
        (6, ('audio', 'visual'), slice(3, 6, None))
    """

    lengths: Mapping[str, int]
    mask: Bool[Tensor, "B L"] | None = None

    def __post_init__(self) -> None:
        lengths = dict(self.lengths)
        wrong = [name for name, n in lengths.items() if not isinstance(n, int) or n < 0]
        empty = [name for name, n in lengths.items() if n == 0 and name != CLS]
        if wrong:
            raise AttachError(f"Expected whole numbers of tokens, but got {lengths} (wrong: {', '.join(wrong)}).")
        if empty:
            raise AttachError(
                f"Expected every modality to have tokens, but {', '.join(empty)} has none in {lengths}; "
                "leave it out, or give its true length."
            )
        if len(self.modalities) < 2:
            raise AttachError(
                f"Expected keys of at least two modalities in one softmax, but got {lengths}: with one modality "
                "there is nothing to balance. Name the layer whose keys hold all modalities."
            )

        self._check_mask()

    def _check_mask(self) -> None:
        mask = self.mask
        if mask is not None and (mask.dtype != torch.bool or mask.dim() != 2 or mask.shape[1] != self.total):
            raise ShapeError(
                f"Expected a mask of bool [B, {self.total}], True at real positions ({self}), but got "
                f"{str(mask.dtype).removeprefix('torch.')} {list(mask.shape)}; give one value a key position."
            )

    def masked(self, mask: Bool[Tensor, "B L"] | None) -> "TokenLayout":
        """Return the layout with ``mask`` as well: a position is real where both say so."""
        if mask is None:
            return self
        return TokenLayout(self.lengths, mask if self.mask is None else mask & self.mask)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order, without "cls"."""
        return tuple(name for name in self.lengths if name != CLS)

    @property
    def total(self) -> int:
        """Number of key positions L."""
        return sum(self.lengths.values())

    @property
    def spans(self) -> dict[str, slice]:
        """Name -> slice of its positions in the sequence."""
        ends = list(itertools.accumulate(self.lengths.values()))
        return {name: slice(end - n, end) for (name, n), end in zip(self.lengths.items(), ends, strict=True)}

    @property
    def cls_span(self) -> slice | None:
        """Positions of no modality, or None if there are none."""
        return self.spans[CLS] if self.lengths.get(CLS) else None

    def check_length(self, length: int) -> None:
        """Raise ShapeError unless the sequence has the promised number of positions."""
        if length != self.total:
            raise ShapeError(
                f"Expected {self.total} key positions ({self}), but the layer got {length}; "
                "give tokens=... as they reach this layer, or a callable where they change."
            )

    def average(self, keys: Float[Tensor, "B L D"]) -> Float[Tensor, "B M D"]:
        """Return the average of every modality (Eq. 3), over real positions only.

        Zero where a sample has no real position, NaN where a real one is not finite; whoever counts samples
        leaves those out.

        Args:
            keys: Keys, or the tokens that are projected to them (projection is linear), ``[B, L, D]``.

        Raises:
            ShapeError: If L is not the layout's.
        """
        self.check_length(keys.shape[-2])
        spans = (self.spans[name] for name in self.modalities)
        return torch.stack([masked_mean(keys[:, span], self._mask(span)) for span in spans], dim=1)

    def presence(self) -> Bool[Tensor, "B M"] | None:
        """Return where a sample has a real position of a modality, ``[B, M]``; None = everywhere."""
        if self.mask is None:
            return None
        return torch.stack([self.mask[:, self.spans[name]].any(-1) for name in self.modalities], dim=1)

    def _mask(self, span: slice) -> Tensor | None:
        return None if self.mask is None else self.mask[:, span]

    def __str__(self) -> str:
        return " + ".join(f"{name} {n}" for name, n in self.lengths.items())


Tokens = Mapping[str, int] | TokenLayout | Callable[..., Mapping[str, int] | TokenLayout]
"""What ``tokens=`` takes; a callable gets the attention's forward arguments, for layouts that change per batch."""


def as_layout(tokens: Mapping[str, int] | TokenLayout) -> TokenLayout:
    """Return ``tokens`` as a TokenLayout."""
    if isinstance(tokens, TokenLayout):
        return tokens
    if not isinstance(tokens, Mapping):
        raise AttachError(
            f"Expected tokens as a mapping such as {{'cls': 1, 'audio': 177, 'visual': 197}} or a TokenLayout, but got "
            f"{type(tokens).__name__}."
        )
    return TokenLayout(tokens)
