"""Build a model by the names of its parts."""

from collections.abc import Callable, Mapping

from torch import nn

from rollingq.config import EncoderConfig
from rollingq.errors import ConfigError, unknown_name
from rollingq.nn.classifier import MultimodalClassifier
from rollingq.nn.encoders import SequenceEncoder
from rollingq.nn.fusion import Concat, Fusion, Unimodal, VanillaMT

FUSIONS: dict[str, Callable[[tuple[str, ...], int, int], Fusion]] = {
    "unimodal": Unimodal,
    "concat": Concat,
    "mt": VanillaMT,
}


def build_model(
    fusion: str, shapes: Mapping[str, tuple[int, int]], num_classes: int, encoder: EncoderConfig
) -> MultimodalClassifier:
    """Return a model with one sequence encoder a modality and the named fusion.

    Args:
        fusion: A name in ``FUSIONS``.
        shapes: Modality -> (length, dim) of its input, in the order of the keys.
        num_classes: Number of classes.
        encoder: Size of the encoders.

    Raises:
        ConfigError: If the fusion is unknown, or the number of modalities does not fit it.

    Example:
        >>> model = build_model("mt", {"audio": (5, 3), "image": (4, 2)}, 10, EncoderConfig(dim=8))
        >>> model.attention_path
        'fusion.attention'
    """
    if fusion not in FUSIONS:
        raise ConfigError(unknown_name("fusion", fusion, FUSIONS))
    if (len(shapes) != 1) if fusion == "unimodal" else (len(shapes) < 2):
        need = "exactly one modality" if fusion == "unimodal" else "at least two modalities"
        raise ConfigError(f"Expected {need} for {fusion!r}, but got {', '.join(shapes) or 'none'}.")
    encoders: dict[str, nn.Module] = {
        name: SequenceEncoder(
            length,
            in_dim,
            dim=encoder.dim,
            num_layers=encoder.num_layers,
            num_heads=encoder.num_heads,
            dropout=encoder.dropout,
        )
        for name, (length, in_dim) in shapes.items()
    }
    return MultimodalClassifier(
        encoders, FUSIONS[fusion](tuple(shapes), encoder.dim, num_classes), encoder.dim, num_classes
    )
