"""MultimodalClassifier: one encoder a modality, a fusion, and linear probes that show what each encoder knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from rollingq.nn.encoders.base import Encoder
from rollingq.nn.fusion.base import Fusion, FusionOutput, Layers, ModalityMasks, ModalityTokens, class_tokens


@dataclass(frozen=True)
class ModelOutput(FusionOutput):
    """What a fusion says, and what stands before it.

    Attributes:
        features: Modality -> its encoder's class token, ``[B, D]`` (zero where the modality is absent).
        probes: Modality -> logits of the probe on its detached class token, ``[B, C]``.
    """

    features: Mapping[str, Float[Tensor, "B D"]] = field(default_factory=dict)
    probes: Mapping[str, Float[Tensor, "B C"]] = field(default_factory=dict)


class MultimodalClassifier(nn.Module):
    """Encoders, fusion, probes; the probes see detached class tokens and change no encoder.

    Args:
        encoders: Modality -> encoder; its output is ``[B, T, D]`` with the class token first.
        fusion: How the tokens become logits.
        dim: Width D.
        num_classes: Number of classes C.
    """

    def __init__(self, encoders: Mapping[str, Encoder], fusion: Fusion, dim: int, num_classes: int) -> None:
        super().__init__()
        self.modalities = tuple(encoders)
        self.dim, self.num_classes = dim, num_classes
        self.num_tokens = {name: encoder.num_tokens for name, encoder in encoders.items()}
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.probes = nn.ModuleDict({name: nn.Linear(dim, num_classes) for name in encoders})

    @property
    def modality_modules(self) -> dict[str, nn.Module]:
        """Modality -> the module whose parameters belong to it alone."""
        return dict(self.encoders.items())

    @property
    def attention_layers(self) -> tuple[Layers, ...]:
        """Paths of the attention that RollingQ may drive, in the order in which each becomes the last one."""
        return tuple(_prefixed(layer) for layer in self.fusion.attention_layers)

    @property
    def joint_layers(self) -> tuple[str, ...]:
        """Paths of all attention over ``[cls | modality 1 | modality 2 ...]`` that takes part now."""
        return tuple(f"fusion.{path}" for path in self.fusion.joint_layers)

    @property
    def key_lengths(self) -> dict[str, int]:
        """Order and number of the key positions of that attention."""
        return self.fusion.key_lengths(self.num_tokens)

    def forward(self, batch: Mapping[str, Any]) -> ModelOutput:
        """Return what the model says of ``{modality: inputs [B, ...], "mask": {modality: [B, L]}}``.

        A modality whose mask is False everywhere in a sample is absent there: it is attended to by nobody.
        """
        masks: Mapping[str, Tensor] = batch.get("mask", {})
        return self.fuse({name: self.encode(name, batch[name], masks.get(name)) for name in self.modalities}, masks)

    def encode(self, name: str, inputs: Tensor, mask: Tensor | None = None) -> Float[Tensor, "B T D"]:
        """Return the tokens of one modality, class token first.

        Args:
            name: The modality.
            inputs: Its inputs ``[B, ...]``.
            mask: True at real positions of the inputs.
        """
        tokens: Tensor = self.encoders[name](inputs, mask)
        return tokens

    def fuse(self, tokens: ModalityTokens, input_masks: ModalityMasks) -> ModelOutput:
        """Return what the model says of encoded modalities.

        Args:
            tokens: Modality -> what :meth:`encode` gave.
            input_masks: Modality -> True at real positions of its inputs.
        """
        masks: dict[str, Tensor] = {
            name: encoder.token_mask(input_masks[name])  # type: ignore[operator]
            for name, encoder in self.encoders.items()
            if name in input_masks
        }
        fused = self.fusion(tokens, masks)
        features = class_tokens(tokens, masks)
        probes = {name: probe(features[name].detach()) for name, probe in self.probes.items()}
        return ModelOutput(**vars(fused), features=features, probes=probes)


def _prefixed(layer: Layers) -> Layers:
    if isinstance(layer, str):
        return f"fusion.{layer}"
    return {name: f"fusion.{path}" for name, path in layer.items()}
