"""Fusions: one file a method."""

from rollingq.nn.fusion.base import Fusion, FusionOutput
from rollingq.nn.fusion.concat import Concat
from rollingq.nn.fusion.film import FiLM
from rollingq.nn.fusion.gated import Gated
from rollingq.nn.fusion.jmt import JMT
from rollingq.nn.fusion.joint import JointBlocks
from rollingq.nn.fusion.mbt import MBT
from rollingq.nn.fusion.mmml import MMML
from rollingq.nn.fusion.mt import VanillaMT
from rollingq.nn.fusion.mt_star import VanillaMTStar
from rollingq.nn.fusion.mult import MulT
from rollingq.nn.fusion.sum import Sum
from rollingq.nn.fusion.unimodal import Unimodal

__all__ = [
    "JMT",
    "MBT",
    "MMML",
    "Concat",
    "FiLM",
    "Fusion",
    "FusionOutput",
    "Gated",
    "JointBlocks",
    "MulT",
    "Sum",
    "Unimodal",
    "VanillaMT",
    "VanillaMTStar",
]
