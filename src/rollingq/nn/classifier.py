"""MultimodalClassifier: one encoder a modality, a fusion, and linear probes that show what each encoder knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from rollingq.nn.fusion.base import Fusion


@dataclass(frozen=True)
class ModelOutput:
    """Logits ``[B, C]``, attention weights ``[B, H, L]`` if any, and each probe's logits ``[B, C]``."""

    logits: Float[Tensor, "B C"]
    weights: Float[Tensor, "B H L"] | None
    probes: dict[str, Float[Tensor, "B C"]]


class MultimodalClassifier(nn.Module):
    """Encoders, fusion, probes; the probes see detached class tokens and change no encoder.

    Args:
        encoders: Modality -> encoder; its output is ``[B, 1 + L, D]`` with the class token first.
        fusion: How the tokens become logits.
        dim: Width D.
        num_classes: Number of classes C.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], fusion: Fusion, dim: int, num_classes: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.probes = nn.ModuleDict({name: nn.Linear(dim, num_classes) for name in encoders})

    @property
    def attention_path(self) -> str | None:
        """Path of the fusion attention that RollingQ may drive, or None."""
        layer = self.fusion.attention_layer
        return None if layer is None else f"fusion.{layer}"

    def forward(self, batch: Mapping[str, Any]) -> ModelOutput:
        """Return logits, weights and probe logits for ``{modality: [B, L, F], "mask": {modality: [B, L]}}``."""
        input_masks: Mapping[str, Tensor] = batch.get("mask", {})
        tokens = {name: encoder(batch[name], input_masks.get(name)) for name, encoder in self.encoders.items()}
        # Every encoder puts its class token first, so its mask grows by one real position.
        masks = {
            name: nn.functional.pad(mask, (1, 0), value=True) for name, mask in input_masks.items() if name in tokens
        }
        fused = self.fusion(tokens, masks)
        probes = {name: probe(tokens[name][:, 0].detach()) for name, probe in self.probes.items()}
        return ModelOutput(fused.logits, fused.weights, probes)
