"""Settings, checked when they are made; free of torch, so that the command line starts quickly."""

from rollingq.config.balancing import BalancingConfig, ModalityDropoutConfig, OGMConfig, PMRConfig, UnimodalLossConfig
from rollingq.config.diagnose import DiagnoseConfig, Measure, NoiseKind
from rollingq.config.encoder import EncoderConfig
from rollingq.config.fusion import FusionConfig, JMTConfig, MBTConfig, MMMLConfig, MTConfig, MTStarConfig, MulTConfig
from rollingq.config.rollingq import Heads, RollingQConfig, RotationMethod, Scope, Statistics

__all__ = [
    "BalancingConfig",
    "DiagnoseConfig",
    "EncoderConfig",
    "FusionConfig",
    "Heads",
    "JMTConfig",
    "MBTConfig",
    "MMMLConfig",
    "MTConfig",
    "MTStarConfig",
    "Measure",
    "ModalityDropoutConfig",
    "MulTConfig",
    "NoiseKind",
    "OGMConfig",
    "PMRConfig",
    "RollingQConfig",
    "RotationMethod",
    "Scope",
    "Statistics",
    "UnimodalLossConfig",
]
