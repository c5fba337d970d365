"""Count one forward: as the profiler behind the paper's Table 4 does, and in true FLOPs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from rollingq.nn.classifier import MultimodalClassifier

SEEN_BY_THOP = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.LayerNorm)
"""Modules that the paper's count sees."""


def count_as_thop(model: nn.Module, *inputs: Any) -> tuple[int, int]:  # noqa: ANN401
    """Return parameters and multiply-adds as the paper's profiler (thop) counts them.

    It sees modules alone, and those that ran: Linear and convolutions (each output times what it is summed over,
    no bias) and LayerNorm (4 a number). It is blind to matrix products, softmax, ``nn.MultiheadAttention`` and
    parameters outside such modules (class tokens, positions).

    Args:
        model: Any module.
        inputs: Its positional arguments.

    Source:
        Ni et al., "RollingQ", ICML 2025, Table 4 ("obtained from the thop library"); its rules are those that give
        the printed values.

    Example:
        >>> count_as_thop(nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5)), torch.zeros(2, 3))
        (30, 70)
    """
    found: dict[nn.Module, int] = {}

    def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        found[module] = found.get(module, 0) + _macs(module, args[0], output)

    handles = [module.register_forward_hook(add) for module in model.modules() if isinstance(module, SEEN_BY_THOP)]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return sum(parameter.numel() for module in found for parameter in module.parameters()), sum(found.values())


def _macs(module: nn.Module, inputs: Tensor, output: Tensor) -> int:
    if isinstance(module, nn.LayerNorm):
        return 4 * inputs.numel()
    assert isinstance(module.weight, Tensor)
    return output.numel() * module.weight[0].numel()  # One output of a convolution: inputs / groups x kernel.


def dense_rotations(model: MultimodalClassifier) -> int:
    """Return the numbers of the original's rotations: D x D for every query that is driven.

    The original keeps it as a parameter and multiplies the class query by it: as many multiply-adds a sample.

    Example:
        >>> from rollingq.config import EncoderConfig
        >>> from rollingq.nn.registry import build_model
        >>> dense_rotations(build_model("mt", {"audio": (5, 3), "image": (4, 2)}, 10, EncoderConfig(dim=8)))
        64
    """
    layers = [[layer] if isinstance(layer, str) else layer.values() for layer in model.attention_layers]
    queries = [model.get_submodule(f"{path}.query") for paths in layers for path in paths]
    return sum(query.out_features**2 for query in queries if isinstance(query, nn.Linear))


def count_flops(run: Callable[[], object]) -> int:
    """Return the FLOPs of what ``run`` computes: 2 a multiply-add, attention included, on any device.

    Example:
        >>> query, keys = torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 5, 4)
        >>> count_flops(lambda: nn.functional.scaled_dot_product_attention(query, keys, keys))  # 4 * 2 * 3 * 5 * 4
        480
    """
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    counter = FlopCounterMode(display=False, custom_mapping=attention)
    with _no_fast_path(), counter:
        run()
    return int(counter.get_total_flops())


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401
    """Return those of attention on the CPU, which torch's counter does not know (it gets shapes)."""
    return int(sdpa_flop_count(query, key, value))


@contextmanager
def _no_fast_path() -> Iterator[None]:
    """Keep ``nn.TransformerEncoderLayer`` from its one fused operation, into which no counter sees."""
    is_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(is_enabled)
