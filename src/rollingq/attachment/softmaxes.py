"""Softmaxes over the keys: catch every one inside a forward, change it if asked, show it."""

import math
import types
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from rollingq.attachment.linear import heads_of
from rollingq.errors import AttachError, ShapeError
from rollingq.tokens import CLS, TokenLayout

MASKED_GAP = 9e3
"""A score that is lower than the row's largest by more is a mask, such as the -1e4 or -1e9 that some models add."""


@dataclass(frozen=True)
class Parts:
    """What belongs to what in one softmax.

    Attributes:
        rows: Name -> query rows; all are "cls" (of no modality) unless there are as many rows as keys.
        keys: Name -> key positions.
        is_real: Where a row may see a key; False at padding.
    """

    rows: Mapping[str, slice]
    keys: Mapping[str, slice]
    is_real: Bool[Tensor, "B H Q L"]


Change = Callable[[Float[Tensor, "B H Q L"], Parts], Float[Tensor, "B H Q L"]]
"""Pure function of scores or weights, and of what belongs to what."""
OnWeights = Callable[[str, Float[Tensor, "B H Q L"], TokenLayout], None]
"""Gets path of the layer, final softmax weights, and the layout with this batch's padding."""


@dataclass(frozen=True)
class Edit:
    """A change of attention at test time.

    Attributes:
        name: Its name in the results.
        scores: Change of the scores before the softmax; a row that is left with -inf alone gets zeros.
        weights: Change of the weights after it.
        needs_modality_rows: Whether rows of no modality stay as they are.
    """

    name: str
    scores: Change | None = None
    weights: Change | None = None
    needs_modality_rows: bool = False


def row_parts(num_queries: int, layout: TokenLayout) -> dict[str, slice]:
    """Return which query rows belong to what: as many rows as keys follow the layout, else all are class rows.

    Example:
        >>> row_parts(1, TokenLayout({"cls": 1, "audio": 2, "image": 3}))
        {'cls': slice(None, None, None)}
    """
    return layout.spans if num_queries == layout.total else {CLS: slice(None)}


SOFTMAXES: Mapping[Any, tuple[str, ...]] = {
    torch.softmax: ("input", "dim", "dtype"),
    Tensor.softmax: ("input", "dim", "dtype"),
    torch.special.softmax: ("input", "dim", "dtype"),
    F.softmax: ("input", "dim", "_stacklevel", "dtype"),
}
"""Every softmax, with the names of its arguments."""


class SoftmaxCatch(TorchFunctionMode):
    """One forward of a layer, whose softmaxes over the keys are caught.

    A softmax is one of ``SOFTMAXES``, scaled_dot_product_attention (computed step by step) or the one inside
    multi_head_attention_forward, over as many positions as the layout has.

    Args:
        path: Path of the layer.
        module: The layer.
        layout: What its keys are.
        num_samples: Sizes that may be the number of samples: the first axes of the layer's inputs.
        on_weights: Called with path, final weights ``[B, H, Q, L]`` and layout, once a softmax.
        edit: What to change.
    """

    def __init__(
        self,
        path: str,
        module: nn.Module,
        layout: TokenLayout,
        num_samples: Collection[int],
        on_weights: OnWeights | None,
        edit: Edit | None,
    ) -> None:
        super().__init__()
        self._open = ExitStack()
        self.path, self.module, self.layout = path, module, layout
        self.on_weights, self.edit = on_weights, edit
        self.num_samples = num_samples
        self.num_heads = heads_of(module)
        self.is_folded = False
        self.num_caught = 0
        self.lengths: list[int] = []

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            return self._multihead(func, args, kwargs)
        if func is F.scaled_dot_product_attention and self._is_over_keys(_argument("key", 1, args, kwargs), -2):
            return self._attend(*args, **kwargs)
        if func in SOFTMAXES:
            return self._softmax(func, args, kwargs)
        return func(*args, **kwargs)

    def start(self) -> None:
        """Enter: everything that torch computes from now on passes here."""
        self._open.enter_context(self)

    def stop(self) -> None:
        """Leave."""
        self._open.close()

    def check(self) -> None:
        """Raise AttachError if the forward has shown no softmax over the keys."""
        if self.num_caught:
            return
        seen = f"over {', '.join(map(str, sorted(set(self.lengths))))} only" if self.lengths else "none"
        raise AttachError(
            f"Expected a softmax over {self.layout.total} key positions ({self.layout}) in the forward of "
            f"{self.path!r} ({type(self.module).__name__}), but saw {seen}; give tokens=... as they reach this layer, "
            "and the path of a layer that computes its attention with torch."
        )

    def _is_over_keys(self, values: Tensor, axis: int) -> bool:
        self.lengths.append(values.shape[axis])
        return values.shape[axis] == self.layout.total

    def _multihead(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        """Run the stock function with its softmax in our sight."""
        before = self.num_heads, self.is_folded
        self.num_heads, self.is_folded = _argument("num_heads", 4, args, kwargs), True
        try:
            with self:
                return _without_dispatch(func)(*args, **kwargs)
        finally:
            self.num_heads, self.is_folded = before

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:  # noqa: ANN401
        given = dict(zip(SOFTMAXES[func], args, strict=False)) | kwargs
        scores: Tensor = given["input"]
        is_last = scores.dim() > 1 and given.get("dim") in (-1, scores.dim() - 1)
        if not is_last or not self._is_over_keys(scores, -1):
            return cast(Tensor, func(*args, **kwargs))
        dtype = given.get("dtype")
        return self._weigh(scores if dtype is None else scores.to(dtype), lambda: func(*args, **kwargs))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Compute scaled_dot_product_attention step by step, without dropout, scores in float32 at least."""
        if enable_gqa:
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3) for x in (key, value))
        dtype = torch.promote_types(query.dtype, torch.float32)
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        scores = (query.to(dtype) * factor) @ key.to(dtype).mT
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self._weigh(scores, lambda: _softmax_or_zero(scores)).to(value.dtype) @ value

    def _weigh(self, scores: Tensor, plain: Callable[[], Tensor]) -> Tensor:
        """Return the softmax of scores of any shape, edited, and show it."""
        self.num_caught += 1
        edit, shape = self.edit, self._shape(scores)
        parts = self._parts(scores.reshape(shape))
        if edit is not None and edit.scores is not None:
            weights = _softmax_or_zero(edit.scores(scores.reshape(shape), parts))
        else:
            weights = plain().reshape(shape)
        if edit is not None and edit.weights is not None:
            weights = edit.weights(weights, parts)
        if self.on_weights is not None:
            self.on_weights(self.path, weights, self.layout.masked(parts.is_real.any(2).any(1)))
        return weights.reshape(scores.shape)

    def _parts(self, scores: Tensor) -> Parts:
        real = is_real(scores)
        if self.layout.mask is not None:
            if len(self.layout.mask) != len(scores):
                raise ShapeError(
                    f"Expected weights of {len(self.layout.mask)} samples in {self.path!r}, as many as tokens has "
                    f"masks, but saw {len(scores)}; let the layer name its number of heads as num_heads."
                )
            real = real & self.layout.mask[:, None, None]
        return Parts(row_parts(scores.shape[-2], self.layout), self.layout.spans, real)

    def _shape(self, scores: Tensor) -> tuple[int, ...]:
        """Return the shape ``[B, H, Q, L]`` of scores that came as ``[B, ..., Q, L]``, ``[B H, Q, L]``, ..."""
        *outer, num_rows, length = scores.shape
        if len(outer) != 1:
            return (*(outer[:1] or [num_rows]), math.prod(outer[1:]), num_rows if outer else 1, length)
        number, heads = outer[0], self.num_heads
        is_folded = self.is_folded or (number not in self.num_samples and number // heads in self.num_samples)
        if num_rows == heads and not is_folded:  # One query a sample: [B, H, L].
            return number, heads, 1, length
        if number % heads == 0:
            return number // heads, heads, num_rows, length
        return number, 1, num_rows, length


def is_real(scores: Float[Tensor, "*B L"]) -> Bool[Tensor, "*B L"]:
    """Return which scores are not masked: neither -inf nor a number that a model puts in its place.

    Example:
        >>> is_real(torch.tensor([0.5, -torch.inf, -1e9, torch.finfo(torch.float32).min, -50.0]))
        tensor([ True, False, False, False,  True])
    """
    is_lowest = scores <= torch.finfo(scores.dtype).min / 2
    return ~(is_lowest | (scores < scores.amax(-1, keepdim=True) - MASKED_GAP))


def _softmax_or_zero(scores: Tensor) -> Tensor:
    """Return the softmax over keys; a row that sees none gets zeros."""
    return scores.softmax(-1).masked_fill((scores == -math.inf).all(-1, keepdim=True), 0.0)


def _argument(name: str, place: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    return args[place] if len(args) > place else kwargs[name]


def _without_dispatch(function: Any) -> Any:  # noqa: ANN401
    """Return a function of torch that no longer asks whether it is overridden, so that what it calls can be.

    Under a mode, has_torch_function is always true: called again as it is, it would come back to the mode for ever.
    """
    assert "has_torch_function" in function.__code__.co_names
    names = {**function.__globals__, "has_torch_function": lambda _: False}
    return types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
