"""Fusions: one file a method."""

from rollingq.nn.fusion.attention import ClassAttention
from rollingq.nn.fusion.base import Fusion, FusionOutput
from rollingq.nn.fusion.concat import Concat
from rollingq.nn.fusion.mt import VanillaMT
from rollingq.nn.fusion.unimodal import Unimodal

__all__ = ["ClassAttention", "Concat", "Fusion", "FusionOutput", "Unimodal", "VanillaMT"]
