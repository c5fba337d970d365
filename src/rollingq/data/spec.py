"""The form of one modality's input, as the manifest states it. No torch in here."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from rollingq.errors import DataError

Kind = Literal["tokens", "spectrogram", "image", "frames", "flow"]
Axis = Literal["feature", "channel", "all"]
MASK = "/mask"
"""Suffix of the array that says which tokens or frames of a modality are real: ``audio/mask``."""


@dataclass(frozen=True)
class ModalitySpec:
    """Form of one modality's input.

    Attributes:
        shape: Of one sample: (length, dim) of "tokens", (channels, height, width) of "spectrogram" (1 channel) and
            "image", (frames, channels, height, width) of "frames" (RGB) and "flow" (x, y).
        kind: What the numbers are.
        dtype: How shards store them: "float32", "float16" or "uint8".
        statistics: What shares one mean and one standard deviation in normalisation: a "feature" (last axis of
            tokens), a "channel" (of pixels), or "all" numbers.
        has_mask: Whether shards hold a mask ``[tokens]``, ``[frames]`` or ``[1]``: True where the sample is real.
        is_augmented: Whether training crops and flips it at random.

    Raises:
        DataError: If these do not fit each other.
    """

    shape: tuple[int, ...]
    kind: Kind = "tokens"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    statistics: Axis = "feature"
    has_mask: bool = False
    is_augmented: bool = False

    def __post_init__(self) -> None:
        dims = {"tokens": 2, "spectrogram": 3, "image": 3, "frames": 4, "flow": 4}.get(self.kind)
        is_pixels = self.kind in ("image", "frames", "flow")
        problems = (
            (len(self.shape) != dims or min(self.shape) < 1, f"{dims} sizes of {self.kind!r}, each at least 1"),
            (self.statistics == "channel" and dims == 2, "statistics 'feature' or 'all' for tokens"),
            (self.statistics == "feature" and dims != 2, "statistics 'channel' or 'all' for pixels"),
            (self.is_augmented and not (is_pixels and self.dtype == "uint8"), "pixels of uint8 to augment"),
        )
        if wrong := [expected for is_wrong, expected in problems if is_wrong]:
            raise DataError(f"Expected {' and '.join(wrong)}, but got {self}.")

    @property
    def mask_shape(self) -> tuple[int]:
        """Shape of one sample's mask: one entry a token or frame, a single one for an image.

        Example:
            >>> ModalitySpec((3, 8, 8), "image", statistics="all").mask_shape, ModalitySpec((12, 5)).mask_shape
            ((1,), (12,))
        """
        return (self.shape[0] if len(self.shape) in (2, 4) else 1,)

    @property
    def num_statistics(self) -> int:
        """How many means, and as many standard deviations, normalise it.

        Example:
            >>> ModalitySpec((3, 8, 8), "image", statistics="channel").num_statistics
            3
        """
        if self.statistics == "all":
            return 1
        return self.shape[-1] if self.statistics == "feature" else self.shape[-3]

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest holds."""
        return {**asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> "ModalitySpec":
        """Return the spec of a manifest's entry."""
        return cls(**{**table, "shape": tuple(int(size) for size in table["shape"])})
