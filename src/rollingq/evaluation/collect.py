"""Collect what a model shows on a split: logits, attention weights, cosines and key norms, a sample at a time."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rollingq.controller import RollingQ
from rollingq.functional import attention_score
from rollingq.nn.classifier import ModelOutput, MultimodalClassifier
from rollingq.statistics import Observation


@dataclass(frozen=True)
class Collected:
    """Per-sample tensors of one pass; attention parts are None for fusions without attention."""

    labels: Int[Tensor, " N"]
    logits: Float[Tensor, "N C"]
    probes: dict[str, Float[Tensor, "N C"]]
    scores: dict[str, Float[Tensor, " N"]] | None
    """Modality (and "cls") -> attention mass, the mean over heads."""
    cosines: Float[Tensor, "N M"] | None
    """Cosine of query and average key, the mean over heads."""
    key_norms: Float[Tensor, "N M"] | None
    """Norm of the average key over all heads."""

    @property
    def accuracy(self) -> float:
        """Fraction of samples whose largest logit is the label."""
        return accuracy(self.logits, self.labels)


def accuracy(logits: Float[Tensor, "N C"], labels: Int[Tensor, " N"]) -> float:
    """Return the fraction of samples whose largest logit is the label.

    Example:
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
        0.5
    """
    return float((logits.argmax(-1) == labels).float().mean())


@torch.inference_mode()
def collect(
    model: MultimodalClassifier,
    batches: Iterable[dict[str, Any]],
    attachment: RollingQ | None,
    tokens: dict[str, int],
) -> Collected:
    """Run the model once over all batches, in eval mode.

    Args:
        model: The classifier.
        batches: What a loader yields.
        attachment: RollingQ on the fusion attention (it may be one that only measures), or None.
        tokens: Order and number of the fusion's key positions.
    """
    model.eval()
    seen: list[Observation] = []
    outputs: list[ModelOutput] = []
    labels: list[Tensor] = []
    for batch in batches:
        outputs.append(_observed(model, batch, attachment, seen))
        labels.append(batch["label"])
    weights = [output.weights for output in outputs]
    has_attention = all(w is not None for w in weights)
    scores = [attention_score(w.mean(1), tokens) for w in weights if w is not None]
    return Collected(
        labels=torch.cat(labels),
        logits=torch.cat([output.logits for output in outputs]),
        probes={name: torch.cat([o.probes[name] for o in outputs]) for name in outputs[0].probes},
        scores={name: torch.cat([s[name] for s in scores]) for name in scores[0]} if has_attention else None,
        cosines=torch.cat([o.cosines().mean(1) for o in seen]) if seen else None,
        key_norms=torch.cat([o.average_keys.flatten(2).norm(dim=-1) for o in seen]) if seen else None,
    )


def _observed(
    model: MultimodalClassifier, batch: dict[str, Any], attachment: RollingQ | None, seen: list[Observation]
) -> ModelOutput:
    with nullcontext() if attachment is None else attachment.watch(seen.append):
        output: ModelOutput = model(batch)
    return output
