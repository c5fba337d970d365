"""Encoders: one modality's input to tokens."""

from rollingq.nn.encoders.sequence import SequenceEncoder

__all__ = ["SequenceEncoder"]
