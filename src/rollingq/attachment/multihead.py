"""torch.nn.MultiheadAttention: its projections call no hook, so a drop-in class with the same state rotates."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rollingq.attachment.sites import NAME, Site
from rollingq.errors import AttachError
from rollingq.tokens import TokenLayout, Tokens


class RotatingMultiheadAttention(nn.MultiheadAttention):
    """nn.MultiheadAttention whose forward asks RollingQ; same parameters, same state-dict keys.

    Never built by hand: an attached module gets this class, and its own back on ``detach``. Until the first
    rotation the stock forward runs, bit for bit.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend as nn.MultiheadAttention does, with the class rows of the query rotated."""
        attachment: Any = self._modules[NAME]
        site: MultiheadSite = attachment._site
        layout = site.forward_layout(query, key, value, key_padding_mask)
        rows = site.rows(query.shape[1 if self._is_batch_first(query) else 0], layout)
        if attachment.is_observing:
            site.observe_inputs(query, key, rows, layout)
        if attachment.is_idle():
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        query, weight, bias = site.rotated_projection(query, rows)
        is_turned = self._is_batch_first(query)
        if is_turned:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        key_weight, value_weight = site.key_value_weights()
        output, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            None,
            site.full_bias(bias),
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=True,
            q_proj_weight=weight,
            k_proj_weight=key_weight,
            v_proj_weight=value_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (output.transpose(0, 1) if is_turned else output), weights

    def _is_batch_first(self, query: Tensor) -> bool:
        return bool(self.batch_first) and query.dim() == 3


class MultiheadSite(Site):
    """Enters nn.MultiheadAttention by its class; statistics come from the averaged inputs (projection is linear)."""

    def __init__(
        self, model: nn.Module, attention: nn.MultiheadAttention, path: str, tokens: Tokens, scope: str
    ) -> None:
        super().__init__(model, attention, path, tokens, scope)
        if type(attention) is not nn.MultiheadAttention:
            raise AttachError(
                f"Expected torch.nn.MultiheadAttention itself at {path!r}, but got its subclass "
                f"{type(attention).__name__}, whose forward may differ; attach to a layer with query and key Linears."
            )
        self.mha = attention
        self.is_needed = False
        self.num_heads = attention.num_heads
        self.dim = attention.head_dim

    def _install(self) -> None:
        self.mha.__class__ = RotatingMultiheadAttention

    def remove(self) -> None:
        """Give the module its own class back."""
        self.keep_called(False)
        self.mha.__class__ = nn.MultiheadAttention
        super().remove()

    def keep_called(self, is_needed: bool) -> None:
        """Keep the eval fast paths around this layer, which never call it, off while it is needed."""
        self.is_needed = is_needed
        if is_needed and not self._handles:
            self._handles.append(self.mha.register_forward_hook(_do_nothing))
        while self._handles and not is_needed:
            self._handles.pop().remove()
        for encoder in _encoders_of(self.model, self.mha):
            _allow_nesting(encoder)

    def query_weight(self) -> tuple[Tensor, Tensor | None]:
        """Return the query part of the packed projection, or the separate one."""
        width = self.mha.embed_dim
        weight = self.mha.in_proj_weight[:width] if self.mha._qkv_same_embed_dim else self.mha.q_proj_weight
        return weight, None if self.mha.in_proj_bias is None else self.mha.in_proj_bias[:width]

    def key_value_weights(self) -> tuple[Tensor, Tensor]:
        """Return the key and value projections, packed or separate."""
        if not self.mha._qkv_same_embed_dim:
            return self.mha.k_proj_weight, self.mha.v_proj_weight
        _, key, value = self.mha.in_proj_weight.chunk(3)
        return key, value

    def full_bias(self, query_bias: Tensor | None) -> Tensor | None:
        """Return the packed bias with its query part replaced."""
        bias = self.mha.in_proj_bias
        if bias is None or query_bias is None:
            return None
        return torch.cat([query_bias, bias[self.mha.embed_dim :]])

    def forward_layout(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None) -> TokenLayout:
        """Return the layout of this forward, masked by the key padding mask."""
        layout = self.layout(query, key, value, key_padding_mask=key_padding_mask)
        layout.check_length(key.shape[1 if self.mha.batch_first and key.dim() == 3 else 0])
        if key_padding_mask is None:
            return layout
        is_real = ~key_padding_mask if key_padding_mask.dtype == torch.bool else key_padding_mask == 0
        return layout.masked(is_real if is_real.dim() == 2 else is_real[None])

    def rotated_projection(self, query: Tensor, rows: slice) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return (input, query weight, query bias) whose projection is the rotated query.

        Where every row rotates, R goes into the weight. Otherwise the rows are projected and rotated here, and
        the attention projects them once more by the identity.
        """
        weight, bias = self.query_weight()
        if rows == slice(None):
            rotate = self.rollingq.rotate
            return query, rotate(weight.mT).mT, None if bias is None else rotate(bias)
        projected = F.linear(query, weight, bias)
        turned = self.rotate_rows(self._batch_first(projected), rows)
        turned = turned[0] if query.dim() == 2 else self._batch_first(turned)
        identity = torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
        return turned, identity, None if bias is None else torch.zeros_like(bias)

    @torch.no_grad()
    def observe_inputs(self, query: Tensor, key: Tensor, rows: slice, layout: TokenLayout) -> None:
        """Project the class rows and the averaged key inputs, and report them."""
        weight, bias = self.query_weight()
        inputs = self._batch_first(query)
        projected = F.linear(inputs[:, rows], weight, bias)
        average = layout.average(self._batch_first(key))
        key_weight, _ = self.key_value_weights()
        width = self.mha.embed_dim
        key_bias = None if self.mha.in_proj_bias is None else self.mha.in_proj_bias[width : 2 * width]
        keys = F.linear(average, key_weight, key_bias)
        self.observe(self.seen_query(self.rollingq.rotate(projected), slice(None), layout), keys, layout)

    def _batch_first(self, x: Tensor) -> Tensor:
        """Swap to batch first, and back: the swap is its own inverse."""
        if x.dim() == 2:
            return x.unsqueeze(0)
        return x if self.mha.batch_first else x.transpose(0, 1)


def _do_nothing(_module: nn.Module, _args: tuple[Any, ...], _output: Any) -> None:  # noqa: ANN401
    """Be a hook: its presence alone is what matters."""


def _encoders_of(model: nn.Module, attention: nn.Module) -> list[nn.TransformerEncoder]:
    """Return the TransformerEncoders that hold a layer."""
    encoders = (module for module in model.modules() if isinstance(module, nn.TransformerEncoder))
    return [encoder for encoder in encoders if any(module is attention for module in encoder.modules())]


def _allow_nesting(encoder: nn.TransformerEncoder) -> None:
    """Let an encoder turn padded input into nested tensors only while none of its layers has to be called.

    What the encoder itself was built with is kept on it meanwhile.
    """
    attached = (m for m in encoder.modules() if isinstance(m, RotatingMultiheadAttention))
    is_needed = any(cast(Any, module._modules[NAME])._site.is_needed for module in attached)
    kept = encoder.__dict__.setdefault("_rollingq_nested", encoder.use_nested_tensor)
    encoder.use_nested_tensor = kept and not is_needed
    if not is_needed:
        del encoder.__dict__["_rollingq_nested"]
