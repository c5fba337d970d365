"""Balancing methods by name."""

from collections.abc import Callable

from rollingq.balancing.base import Balancing
from rollingq.balancing.modality_dropout import ModalityDropout
from rollingq.balancing.ogm import OGM
from rollingq.balancing.pmr import PMR
from rollingq.balancing.rollingq import RollingQBalancing
from rollingq.balancing.unimodal_loss import UnimodalLoss
from rollingq.catalogue import BALANCING as CARDS
from rollingq.config import BalancingConfig, RollingQConfig
from rollingq.errors import ConfigError, unknown_name
from rollingq.nn.classifier import MultimodalClassifier

Factory = Callable[[MultimodalClassifier, RollingQConfig, BalancingConfig], Balancing]

BALANCING: dict[str, Factory] = {
    "rollingq": lambda model, rollingq, _: RollingQBalancing(model, rollingq),
    "ogm": lambda model, _, config: OGM(model.modality_modules, config.ogm),
    "ogm_ge": lambda model, _, config: OGM(model.modality_modules, config.ogm, is_enhanced=True),
    "pmr": lambda model, _, config: PMR(model.modalities, model.num_classes, model.dim, config.pmr),
    "unimodal_loss": lambda model, _, config: UnimodalLoss(
        model.modalities, model.num_classes, model.dim, config.unimodal_loss
    ),
    "modality_dropout": lambda model, _, config: ModalityDropout(model.modalities, config.modality_dropout),
}
"""Name -> how it is made for a model; their descriptions stand in ``rollingq.catalogue``."""


def make_balancing(
    name: str, model: MultimodalClassifier, rollingq: RollingQConfig, config: BalancingConfig
) -> Balancing:
    """Return a balancing method for a model.

    Args:
        name: A name in ``BALANCING``.
        model: The model to balance.
        rollingq: Settings of RollingQ.
        config: Settings of the others.

    Raises:
        ConfigError: If the name is unknown or the method does not fit the model.
    """
    if name not in BALANCING:
        raise ConfigError(unknown_name("balancing method", name, CARDS))
    return BALANCING[name](model, rollingq, config)
