"""Every form of attention that RollingQ enters, as tiny models with one signature: ``model(tokens [B, 7, 8])``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from rollingq.attachment import attach
from rollingq.controller import RollingQ
from rollingq.testing.models import AttentionModel, LinearAttention, Packed

DIM, HEADS = 8, 2
TOKENS = {"cls": 1, "audio": 3, "visual": 4}
THREE = {"cls": 1, "audio": 3, "visual": 2, "text": 2}


@dataclass(frozen=True)
class Form:
    """How a model is built and attached to.

    Attributes:
        attention: Builds the attention.
        layer: Path of the layer to attach to.
        options: What ``attach`` needs besides the tokens.
        has_cls: Whether the first key position is a class token.
        pool: See :class:`rollingq.testing.models.AttentionModel`.
    """

    attention: Callable[[], nn.Module]
    layer: str = "attention"
    options: Mapping[str, Any] = field(default_factory=dict)
    has_cls: bool = True
    pool: Literal["class", "mean"] = "class"

    def build(self, seed: int = 0) -> AttentionModel:
        """Return the model with weights of the given seed, biases included, in training mode."""
        torch.manual_seed(seed)
        model = AttentionModel(self.attention(), DIM, has_cls=self.has_cls, pool=self.pool)
        for name, parameter in model.named_parameters():
            if "bias" in name:  # nn.MultiheadAttention starts them at 0, where a forgotten one would not show.
                nn.init.normal_(parameter)
        return model

    def attach(self, model: nn.Module, tokens: Mapping[str, int] = TOKENS, **options: Any) -> RollingQ:  # noqa: ANN401
        """Attach at the form's layer, with the class token left out of ``tokens`` if the form has none."""
        lengths = {name: n for name, n in tokens.items() if name != "cls" or self.has_cls}
        return attach(model, self.layer, tokens=lengths, **{**self.options, **options})


def _linear(**options: Any) -> Callable[[], nn.Module]:  # noqa: ANN401
    return lambda: LinearAttention(DIM, HEADS, **options)


def _packed(**options: Any) -> Callable[[], nn.Module]:  # noqa: ANN401
    return lambda: Packed(DIM, HEADS, **options)


NAMES = {
    "q_proj k_proj": ("q_proj", "k_proj"),
    "query key": ("query", "key"),
    "to_q to_k": ("to_q", "to_k"),
    "wq wk": ("wq", "wk"),
    "W_Q W_K": ("W_Q", "W_K"),
    "linear_q linear_k": ("linear_q", "linear_k"),
    "query_input key_input": ("query_input", "key_input"),
}

FORMS: dict[str, Form] = {
    **{name: Form(_linear(names=pair)) for name, pair in NAMES.items()},
    "given names": Form(_linear(names=("ask", "offer")), options={"query": "ask", "key": "offer"}),
    "no bias": Form(_linear(bias=False)),
    "[B, D] query": Form(_linear(rows="vector")),
    "class row of all": Form(_linear(rows="all")),
    "class row of all, mean": Form(_linear(rows="all"), pool="mean"),
    "all queries, mean": Form(_linear(rows="all"), options={"scope": "all_queries"}, has_cls=False, pool="mean"),
    **{
        f"mha {order}, {rows}{kind}": Form(
            _packed(batch_first=order == "batch first", rows=rows, **options), layer="attention.mha"
        )
        for order in ("batch first", "sequence first")
        for rows in ("class", "all")
        for kind, options in {
            "": {},
            ", separate": {"is_separate": True},
            ", no bias": {"bias": False},
            ", bias_kv": {"add_bias_kv": True},
            ", zero_attn": {"add_zero_attn": True},
        }.items()
    },
    "mha all queries, mean": Form(
        _packed(batch_first=True, rows="all"), "attention.mha", {"scope": "all_queries"}, has_cls=False, pool="mean"
    ),
}
"""Name -> form."""
