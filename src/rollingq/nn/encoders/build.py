"""Choose and build the encoder of one modality by name and by the shape of its input."""

from rollingq.config import EncoderConfig
from rollingq.errors import ConfigError
from rollingq.nn.encoders.base import Encoder
from rollingq.nn.encoders.sequence import SequenceEncoder


def build_encoder(
    modality: str, shape: tuple[int, ...], config: EncoderConfig, *, has_final_norm: bool = True
) -> Encoder:
    """Return the encoder of one modality.

    Args:
        modality: Its name, for ``config.by_modality`` and for messages.
        shape: (length, dim), (channels, height, width) or (frames, channels, height, width).
        config: Which encoder, and its size.
        has_final_norm: Whether LayerNorm ends it (not, if blocks of a fusion follow).

    Raises:
        ConfigError: If the shape does not fit the encoder, or the encoder is unknown.

    Example:
        >>> build_encoder("audio", (5, 3), EncoderConfig(dim=8)).num_tokens
        6
    """
    name = config.name_of(modality)
    if name == "auto":
        name = "sequence" if len(shape) == 2 else "vit"
    if name != "sequence":
        from rollingq.nn.encoders.image import build_image_encoder

        return build_image_encoder(name, modality, shape, config, has_final_norm=has_final_norm)
    if len(shape) != 2:
        raise ConfigError(
            f"Expected tokens (length, dim) for the sequence encoder of {modality!r}, but its input has shape {shape}; "
            "choose vit or resnet18 with --encoder.by_modality."
        )
    length, in_dim = shape
    return SequenceEncoder(
        length,
        in_dim,
        dim=config.dim,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        dropout=config.dropout,
        has_final_norm=has_final_norm,
    )
