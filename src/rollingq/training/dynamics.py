"""Dynamics: what an epoch of training did to each encoder and to the attention (paper, Fig. 4c, 7, 8, 9)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rollingq.functional import attention_score
from rollingq.tokens import CLS


class Dynamics:
    """Means over the steps of one epoch; tensors stay on the device until the means are asked for.

    The norm of modality m is ``sqrt(sum_p ||g_p||^2)`` over the parameters p of its own module. An encoder that has
    no gradient (frozen, say) has no norm.

    Args:
        modules: Modality -> the module whose parameters belong to it.
        tokens: Order and number of the key positions of the attention that is read out.

    Source:
        Ni et al., "RollingQ", ICML 2025, Figures 4c, 7, 8, 9.

    Example:
        >>> encoder = nn.Linear(2, 1, bias=False)
        >>> dynamics = Dynamics({"audio": encoder}, {"cls": 1, "audio": 2})
        >>> encoder(torch.tensor([3.0, 4.0])).sum().backward()
        >>> dynamics.see_gradients()
        >>> dynamics.gradient_norm, dynamics.attention_score
        ({'audio': 5.0}, None)
    """

    def __init__(self, modules: Mapping[str, nn.Module], tokens: Mapping[str, int]) -> None:
        self._parameters_of = {name: list(module.parameters()) for name, module in modules.items()}
        self._tokens = dict(tokens)
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget what was seen."""
        self._mass: Tensor | None = None
        self._num_rows = 0
        self._norms: dict[str, list[Tensor]] = {name: [] for name in self._parameters_of}
        self._is_scaled = False

    @torch.no_grad()
    def see_attention(self, weights: Float[Tensor, "B H L"] | None) -> None:
        """Count the attention of one batch.

        Args:
            weights: Softmax weights of the class query before dropout, ``[B, H, L]``; None without attention.
        """
        if weights is None:
            return
        mass = weights.sum((0, 1), dtype=torch.float32)
        self._mass = mass if self._mass is None else self._mass + mass
        self._num_rows += weights.shape[0] * weights.shape[1]

    @torch.no_grad()
    def see_gradients(self, scale: float | None = None) -> None:
        """Count the gradients of one step, as they are now.

        Args:
            scale: What a gradient scaler multiplied the loss by. With one, a step whose gradients overflow counts
                nowhere, as the scaler skips it; without, a norm that is not finite shows in the mean.
        """
        for name, parameters in self._parameters_of.items():
            gradients = [p.grad for p in parameters if p.grad is not None]
            if gradients:
                norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
                self._norms[name].append(norm if scale is None else norm / scale)
        self._is_scaled = scale is not None

    @property
    def attention_score(self) -> dict[str, float] | None:
        """Modality -> mean attention mass over samples and heads; None if no attention was seen."""
        if self._mass is None:
            return None
        scores = attention_score(self._mass / self._num_rows, self._tokens)
        return {name: float(score) for name, score in scores.items() if name != CLS}

    @property
    def gradient_norm(self) -> dict[str, float] | None:
        """Modality -> mean norm of its encoder's gradient over steps; None if no gradient was seen."""
        means = {name: self._mean(norms) for name, norms in self._norms.items()}
        return {name: mean for name, mean in means.items() if mean is not None} or None

    def _mean(self, norms: list[Tensor]) -> float | None:
        if not norms:
            return None
        found = torch.stack(norms).cpu().double()
        counted = found[found.isfinite()] if self._is_scaled else found
        return float(counted.mean()) if len(counted) else None
