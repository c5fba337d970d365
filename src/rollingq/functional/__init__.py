"""The method as pure functions: tensors in, tensors out, torch alone."""

from rollingq.functional.anchor import rebalance_anchor, rebalance_weights
from rollingq.functional.attention import absorbed_attention, attention_score
from rollingq.functional.imbalance import (
    attention_imbalance_rate,
    imbalance_of_cosines,
    query_key_cosine,
)
from rollingq.functional.keys import average_key, masked_mean
from rollingq.functional.rotation import Rotation, apply_rotation, compose, rotation_between
from rollingq.functional.segments import average_segment_scores, average_segments
from rollingq.functional.vectors import unit_vector

__all__ = [
    "Rotation",
    "absorbed_attention",
    "apply_rotation",
    "attention_imbalance_rate",
    "attention_score",
    "average_key",
    "average_segment_scores",
    "average_segments",
    "compose",
    "imbalance_of_cosines",
    "masked_mean",
    "query_key_cosine",
    "rebalance_anchor",
    "rebalance_weights",
    "rotation_between",
    "unit_vector",
]
