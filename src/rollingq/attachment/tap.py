"""Tap: read and edit the attention weights of any layer at test time, without knowing its code."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rollingq.attachment.find import locate
from rollingq.attachment.sites import NAME
from rollingq.attachment.softmaxes import Edit, OnWeights, SoftmaxCatch
from rollingq.errors import AttachError
from rollingq.tokens import Tokens, as_layout


@contextmanager
def tapped(
    model: nn.Module,
    layers: Sequence[str],
    tokens: Tokens,
    *,
    on_weights: OnWeights | None = None,
    edit: Edit | None = None,
) -> Iterator[None]:
    """Read, and change if asked, the attention of some layers while the context is open; the model is in eval mode.

    Every softmax over the key positions inside a named layer counts, however it is written: ``softmax`` in its
    forms, ``scaled_dot_product_attention``, ``nn.MultiheadAttention``, with RollingQ or without. Without an edit
    the outputs stay the same (to rounding where attention was fused). Not for compiled models, whose hooks do
    not run.

    Args:
        model: The model.
        layers: Paths of the layers; one that holds several attentions has all of them tapped.
        tokens: Order and number of the key positions, as in :func:`rollingq.attach`; a layer that carries RollingQ
            brings its own.
        on_weights: Called with path, weights ``[B, H, Q, L]`` after the edit, and layout, once a softmax.
        edit: What to change.

    Raises:
        AttachError: If a layer does not exist, is in training mode, shows no softmax over that many keys, or
            did not run.
        ShapeError: If a mask is not of as many samples as the weights.

    Example:
        >>> model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, batch_first=True)).eval()
        >>> def show(path, weights, layout):
        ...     print(path, list(weights.shape), layout)
        >>> with tapped(model, ["0.self_attn"], {"audio": 3, "image": 4}, on_weights=show):
        ...     _ = model(torch.zeros(5, 7, 8))
        0.self_attn [5, 2, 7, 7] audio 3 + image 4
    """
    paths = [layers] if isinstance(layers, str) else list(layers)
    if not paths:
        raise AttachError("Expected at least one layer to tap, but got none; name them by their paths in the model.")
    modules = {path: locate(model, path) for path in paths}
    tap = _Tap(tokens, on_weights, edit)
    handles = [handle for path, module in modules.items() for handle in tap.enter(path, module)]
    try:
        with _padded_encoders(model, modules.values()):
            yield
    finally:
        for handle in handles:
            handle.remove()
        tap.close()
    tap.check_all_ran(paths)


@contextmanager
def _padded_encoders(model: nn.Module, modules: Iterable[nn.Module]) -> Iterator[None]:
    """Keep encoders that hold a tapped layer from turning padded input into nested tensors, which it cannot read."""
    inside = {id(part) for m in model.modules() if isinstance(m, nn.TransformerEncoder) for part in m.modules()}
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(was_enabled and not any(id(module) in inside for module in modules))
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)


class _Tap:
    """The forwards that run now, innermost last, and the layers that have shown attention."""

    def __init__(self, tokens: Tokens, on_weights: OnWeights | None, edit: Edit | None) -> None:
        self.tokens, self.on_weights, self.edit = tokens, on_weights, edit
        self.running: list[SoftmaxCatch] = []
        self.shown: set[str] = set()

    def enter(self, path: str, module: nn.Module) -> list[RemovableHandle]:
        """Put hooks around the forward of a layer."""
        return [
            module.register_forward_pre_hook(partial(self._before, path), with_kwargs=True),
            module.register_forward_hook(self._after, always_call=True),
        ]

    def _before(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module.training:
            raise AttachError(f"Expected {path!r} in eval mode, but it is in training mode; call model.eval() first.")
        attachment: Any = module._modules.get(NAME)
        if attachment is not None:
            layout = attachment._site.layout(*args, **kwargs)
        else:
            layout = as_layout(self.tokens(*args, **kwargs) if callable(self.tokens) else self.tokens)
        sizes = {size for x in (*args, *kwargs.values()) if isinstance(x, Tensor) for size in x.shape[:2]}
        self.running.append(SoftmaxCatch(path, module, layout, sizes, self.on_weights, self.edit))
        self.running[-1].start()

    def _after(self, module: nn.Module, _args: tuple[Any, ...], output: object) -> None:
        if not self.running or self.running[-1].module is not module:
            return  # Another hook failed before ours had entered.
        catch = self.running.pop()
        catch.stop()
        if output is not None:  # Else the forward has failed, and says so itself.
            catch.check()
            self.shown.add(catch.path)

    def close(self) -> None:
        """Leave forwards that were interrupted."""
        while self.running:
            self.running.pop().stop()

    def check_all_ran(self, paths: Iterable[str]) -> None:
        """Raise AttachError if a layer has shown no attention."""
        for path in paths:
            if path not in self.shown:
                raise AttachError(
                    f"Expected {path!r} to run while it was tapped, but its forward was never called; name a layer "
                    "that takes part, of a model that is not compiled."
                )
