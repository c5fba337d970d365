"""JMT: a joint representation beside the modalities, and cross-attention from each stream to every other."""

from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from rollingq.nn.fusion.base import Fusion, FusionOutput, ModalityMasks, ModalityTokens

JOINT = "joint"


class JMT(Fusion):
    """Joint multimodal transformer: modalities and their joint representation attend to one another.

    Positions are joined on the feature axis, so shorter modalities are padded to the longest; padding is never
    attended to. One attention module serves all the sources of a target, as in the authors' code.

    Args:
        modalities: Names; the definition is for two, more follow it in the same way.
        dim: Width D.
        num_classes: Number of classes C.
        num_heads: Number of heads.
        hidden_dim: Hidden width of the feed-forward layers.
        dropout: Dropout inside the encoders.

    Source:
        Waligora et al., "Joint Multimodal Transformer for Emotion Recognition in the Wild", CVPR Workshops 2024.
    """

    def __init__(
        self,
        modalities: tuple[str, ...],
        dim: int,
        num_classes: int,
        *,
        num_heads: int = 1,
        hidden_dim: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(modalities)
        streams = (*(f"of_{name}" for name in modalities), JOINT)
        width = len(modalities) * dim
        self.join = nn.Linear(width, dim)
        self.encoders = nn.ModuleDict(
            {
                name: nn.TransformerEncoderLayer(dim, num_heads, hidden_dim, dropout, batch_first=True)
                for name in streams
            }
        )
        self.cross = nn.ModuleDict(
            {name: nn.MultiheadAttention(dim, num_heads, dropout, batch_first=True) for name in streams}
        )
        self.merge = nn.Linear(width, dim)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, tokens: ModalityTokens, masks: ModalityMasks) -> FusionOutput:
        """Return logits from the class row of the merged cross-attentions."""
        streams, real = self._streams(tokens, masks)
        encoded = {
            name: self.encoders[name](stream, src_key_padding_mask=~real[name]) for name, stream in streams.items()
        }
        attended: dict[str, list[Tensor]] = {name: [] for name in encoded}
        for target, source in permutations(encoded, 2):
            query, keys = encoded[target][:, self.read_rows], encoded[source]
            found, _ = self.cross[target](query, keys, keys, key_padding_mask=~real[source], need_weights=False)
            attended[target].append(found)
        mean = torch.stack([torch.cat(found, dim=-1) for found in attended.values()]).mean(0)
        return FusionOutput(self.classifier(self.merge(mean)[:, 0]))

    def _streams(self, tokens: ModalityTokens, masks: ModalityMasks) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return all streams ``[B, L, D]`` of the longest modality's length, and where each is real."""
        length = max(tokens[name].shape[1] for name in self.modalities)
        streams, real = {}, {}
        for name in self.modalities:
            part = normalize(tokens[name], dim=-1)
            mask = masks[name] if name in masks else part.new_ones(part.shape[:2], dtype=torch.bool)
            missing = length - part.shape[1]
            mask = pad(mask, (0, missing), value=False)
            streams[f"of_{name}"] = torch.where(mask.unsqueeze(-1), pad(part, (0, 0, 0, missing)), 0.0)
            real[f"of_{name}"] = mask
        real[JOINT] = torch.stack(list(real.values())).any(0)
        streams[JOINT] = self.join(torch.cat(list(streams.values()), dim=-1))
        return streams, {name: _never_empty(mask) for name, mask in real.items()}


def _never_empty(mask: Tensor) -> Tensor:
    """Return the mask with the class position real where nothing is: an absent modality is one zero token, not NaN."""
    return torch.cat([mask[:, :1] | ~mask.any(1, keepdim=True), mask[:, 1:]], dim=1)
