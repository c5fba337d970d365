"""Encoders: one modality's input to tokens."""

from rollingq.nn.encoders.base import Encoder
from rollingq.nn.encoders.build import build_encoder
from rollingq.nn.encoders.sequence import SequenceEncoder

__all__ = ["Encoder", "SequenceEncoder", "build_encoder"]
