"""OGM and OGM-GE: the encoder whose modality leads gets smaller gradients, so that the others catch up."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rollingq.balancing.base import Scheduled
from rollingq.config import OGMConfig
from rollingq.errors import ConfigError
from rollingq.nn.classifier import ModelOutput

SMALLEST = 1e-30
"""Least score that a ratio is taken of: a probability that underflows to 0 gives a large ratio, never inf or NaN."""


def label_scores(logits: Mapping[str, Float[Tensor, "B C"]], labels: Int[Tensor, " B"]) -> dict[str, Float[Tensor, ""]]:
    """Return ``s_m``, the sum over samples of the probability that each modality alone gives to the label.

    Args:
        logits: Modality -> unimodal logits, ``[B, C]``.
        labels: ``[B]``.

    Example:
        >>> label_scores({"audio": torch.zeros(3, 2)}, torch.tensor([0, 1, 1]))
        {'audio': tensor(1.5000)}
    """
    index = labels.unsqueeze(1)
    return {name: part.float().softmax(-1).gather(1, index).sum() for name, part in logits.items()}


def discrepancy_ratios(scores: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
    """Return ``rho_m``, the mean over the other modalities n of ``s_m / s_n``: above 1, modality m leads.

    At M = 2 this is the published ratio (OGM, Eq. 9); the paper defines none for more, so the mean is our decision.

    Args:
        scores: Modality -> ``s_m`` >= 0, of at least two modalities.

    Source:
        Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022.

    Example:
        >>> discrepancy_ratios({"audio": torch.tensor(2.0), "image": torch.tensor(1.0)})
        {'audio': tensor(2.), 'image': tensor(0.5000)}
    """
    safe = {name: score.clamp_min(SMALLEST) for name, score in scores.items()}
    return {
        name: torch.stack([score / other for key, other in safe.items() if key != name]).mean()
        for name, score in safe.items()
    }


def modulation_coefficients(scores: Mapping[str, Float[Tensor, ""]], alpha: float) -> dict[str, Float[Tensor, ""]]:
    """Return ``k_m = 1 - tanh(alpha rho_m)`` where ``rho_m > 1``, else 1 (OGM, Eq. 10).

    Args:
        scores: Modality -> ``s_m`` >= 0, of at least two modalities.
        alpha: Strength, > 0.

    Source:
        Peng et al., CVPR 2022.

    Example:
        >>> modulation_coefficients({"audio": torch.tensor(2.0), "image": torch.tensor(1.0)}, alpha=0.5)
        {'audio': tensor(0.2384), 'image': tensor(1.)}
    """
    ratios = discrepancy_ratios(scores)
    return {name: torch.where(rho > 1, 1.0 - torch.tanh(alpha * rho), 1.0) for name, rho in ratios.items()}


class OGM(Scheduled):
    """Multiplies the gradients of each modality's own parameters by its coefficient.

    Unimodal logits are the fusion's own parts where its logits are a sum (concat, sum); elsewhere the linear
    probes on the encoders stand in, which is our decision.

    Args:
        modules: Modality -> the module whose parameters belong to it.
        config: Strength, epochs, and which parameters.
        is_enhanced: OGM-GE: add Gaussian noise of the gradient's own deviation to every modality's gradients.

    Attributes:
        coefficients: Modality -> the last coefficient; empty before the first step and outside of the active epochs.

    Raises:
        ConfigError: If there are fewer than two modalities.
    """

    def __init__(self, modules: Mapping[str, nn.Module], config: OGMConfig, *, is_enhanced: bool = False) -> None:
        super().__init__(config.first_epoch, config.last_epoch)
        if len(modules) < 2:
            raise ConfigError(f"Expected at least two modalities to balance, but got {', '.join(modules) or 'none'}.")
        self.config = config
        self.is_enhanced = is_enhanced
        self.coefficients: dict[str, Tensor] = {}
        self._parameters_of = {
            name: [p for p in module.parameters() if p.ndim >= config.min_ndim] for name, module in modules.items()
        }

    @torch.no_grad()
    def extra_loss(self, output: ModelOutput, labels: Int[Tensor, " B"]) -> None:
        """Compute the coefficients of this step; nothing is added to the loss."""
        self.coefficients = {}
        if not self.is_active:
            return
        logits = output.probes if output.unimodal is None else output.unimodal
        known = {name: logits[name] for name in self._parameters_of}
        self.coefficients = modulation_coefficients(label_scores(known, labels), self.config.alpha)

    @torch.no_grad()
    def change_gradients(self) -> None:
        """Scale the gradients, and add noise for OGM-GE."""
        for name, coefficient in self.coefficients.items():
            gradients = [p.grad for p in self._parameters_of[name] if p.grad is not None]
            if not gradients:
                continue
            noise = [_noise_like(g) for g in gradients] if self.is_enhanced else []
            torch._foreach_mul_(gradients, coefficient.to(gradients[0]))
            if noise:
                torch._foreach_add_(gradients, noise)

    def numbers(self) -> dict[str, float]:
        """Return the last coefficients."""
        return {f"ogm/{name}": float(value) for name, value in self.coefficients.items()}


def _noise_like(gradient: Tensor) -> Tensor:
    """Return ``N(0, (std(g) + 1e-8)^2)`` of a gradient's shape (OGM, section 3.3, and its code)."""
    deviation = gradient.std(unbiased=False) if gradient.numel() < 2 else gradient.std()
    return torch.randn_like(gradient) * (deviation + 1e-8)
