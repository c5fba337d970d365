"""The shapes in the annotations are checked in tests: a wrong one must fail, or all other tests check less."""

import pytest
import torch
from jaxtyping import TypeCheckError

from rollingq import functional


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("average_key", (torch.ones(2, 3, 4), torch.ones(2, 4, dtype=torch.bool))),
        ("average_key", (torch.ones(2, 3, 4), torch.ones(2, 3))),
        ("rotation_between", (torch.ones(4), torch.ones(5))),
        ("rebalance_anchor", (torch.ones(4), torch.ones(2, 4), torch.ones(3))),
        ("attention_imbalance_rate", (torch.ones(2, 4), torch.ones(3, 2, 4))),
        ("absorbed_attention", (torch.ones(2, 4), torch.ones(3, 5, 6), torch.ones(4, 6), torch.ones(4, 6))),
    ],
)
def test_wrong_shapes_are_caught(name: str, arguments: tuple[torch.Tensor, ...]) -> None:
    with pytest.raises(TypeCheckError):
        getattr(functional, name)(*arguments)
