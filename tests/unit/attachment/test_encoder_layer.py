"""nn.MultiheadAttention where it usually lives (TransformerEncoder and its fast paths), and with every option."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rollingq
from rollingq import RollingQ
from rollingq.testing.forms import DIM, TOKENS

X = torch.randn(4, 8, DIM, generator=torch.Generator().manual_seed(1))
PADDING = torch.zeros(4, 8, dtype=torch.bool)
PADDING[1:, -1] = True
LAYER = "layers.0.self_attn"


def encoder(*, is_nested: bool = False, norm_first: bool = False, **options: Any) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(DIM, 2, 16, 0.0, batch_first=True, norm_first=norm_first, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=is_nested)


def rotated(model: nn.Module, path: str, *args: Any, **options: Any) -> RollingQ:
    attachment = rollingq.attach(model, path, tokens=TOKENS, beta=0.0, rho=2.0)
    model.train()(*args, **options)
    assert attachment.step().rotated
    return attachment


def in_eval(model: nn.Module, *, fast: bool, **options: Any) -> Tensor:
    with torch.set_grad_enabled(not fast):
        return torch.as_tensor(model.eval()(X, **options))


@pytest.mark.parametrize("padding", [None, PADDING], ids=["full", "padded"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_before_a_rotation_no_bit_changes(padding: Tensor | None, norm_first: bool) -> None:
    plain, model = encoder(norm_first=norm_first), encoder(norm_first=norm_first)
    rollingq.attach(model, LAYER, tokens=TOKENS)
    options = {"src_key_padding_mask": padding}
    assert torch.equal(model.train()(X, **options), plain.train()(X, **options))
    for fast in (True, False):
        assert torch.equal(in_eval(model, fast=fast, **options), in_eval(plain, fast=fast, **options))


@pytest.mark.parametrize("padding", [None, PADDING], ids=["full", "padded"])
@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
def test_a_rotation_shows_on_every_path(padding: Tensor | None, is_nested: bool) -> None:
    model = encoder(is_nested=is_nested)
    options = {"src_key_padding_mask": padding}
    before = in_eval(model, fast=True, **options)[:, 0]
    attachment = rotated(model, LAYER, X, **options)
    turned = model.train()(X, **options)[:, 0]
    assert (turned - before).abs().max() > 1e-2
    for fast in (True, False):
        assert (in_eval(model, fast=fast, **options)[:, 0] - turned).abs().max() < 1e-5
    attachment.detach()
    assert torch.equal(in_eval(model, fast=True, **options)[:, 0], before)


def test_a_loaded_rotation_shows_on_the_fast_path() -> None:
    model = encoder()
    rotated(model, LAYER, X)
    fresh = encoder()
    rollingq.attach(fresh, LAYER, tokens=TOKENS, beta=0.0)
    fresh.load_state_dict(model.state_dict())
    assert (in_eval(fresh, fast=True) - in_eval(model, fast=False)).abs().max() < 1e-5


def test_watching_sees_through_the_fast_path_and_changes_no_bit_afterwards() -> None:
    model, watched = encoder(), []
    attachment = rollingq.attach(model, LAYER, tokens=TOKENS)
    before = in_eval(model, fast=True)
    with attachment.watch(watched.append):
        in_eval(model, fast=True)
    assert len(watched) == 1
    assert torch.equal(in_eval(model, fast=True), before)


def test_a_full_pass_sees_through_the_fast_path() -> None:
    model = encoder()
    attachment = rollingq.attach(model, LAYER, tokens=TOKENS, beta=0.0, statistics="full_pass")
    model.train()(X[:1])
    assert attachment.step(full_pass=lambda: model(X)).num_samples == 4


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("leaves", [0, 1])
def test_two_layers_of_one_encoder_do_not_switch_each_others_paths(leaves: int) -> None:
    model = encoder(is_nested=True)
    options = {"src_key_padding_mask": PADDING}
    both = [rotated(model, f"layers.{i}.self_attn", X, **options) for i in range(2)]
    both[leaves].detach()
    turned = model.train()(X, **options)[:, 0]
    assert (in_eval(model, fast=True, **options)[:, 0] - turned).abs().max() < 1e-5
    both[1 - leaves].detach()
    assert model.use_nested_tensor


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_watching_a_rotated_layer_leaves_it_rotated() -> None:
    model = encoder(is_nested=True)
    options = {"src_key_padding_mask": PADDING}
    attachment = rotated(model, LAYER, X, **options)
    before = in_eval(model, fast=True, **options)
    with attachment.watch(lambda _: None), attachment.watch(lambda _: None):
        assert torch.equal(in_eval(model, fast=True, **options), before)
    assert torch.equal(in_eval(model, fast=True, **options), before)


def attend(mha: nn.MultiheadAttention, x: Tensor, **options: Any) -> tuple[Tensor, Tensor | None]:
    return mha(x, x, x, **options)


CAUSAL = torch.triu(torch.ones(8, 8, dtype=torch.bool), 1)
FLOAT_CAUSAL = torch.zeros(8, 8).masked_fill(CAUSAL, -torch.inf)
FLOAT_PADDING = torch.zeros(4, 8).masked_fill(PADDING, -torch.inf)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no weights": {"need_weights": False},
    "weights of each head": {"average_attn_weights": False},
    "bool padding": {"key_padding_mask": PADDING},
    "float padding": {"key_padding_mask": FLOAT_PADDING},
    "bool attn_mask": {"attn_mask": CAUSAL},
    "float attn_mask": {"attn_mask": FLOAT_CAUSAL},
    "attn_mask of each head": {"attn_mask": CAUSAL.expand(8, 8, 8)},
    "causal": {"attn_mask": CAUSAL, "is_causal": True, "need_weights": False},
    "both masks": {"attn_mask": CAUSAL, "key_padding_mask": PADDING},
    "unbatched": {},
    "unbatched, padded": {"key_padding_mask": PADDING[1]},
}


@pytest.mark.parametrize(("name", "options"), OPTIONS.items(), ids=OPTIONS)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("scope", ["query", "all_queries"])
def test_every_option_before_and_after_a_rotation(
    name: str, options: dict[str, Any], batch_first: bool, scope: str
) -> None:
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(DIM, 2, batch_first=batch_first)
    nn.init.normal_(plain.in_proj_bias)
    model = nn.MultiheadAttention(DIM, 2, batch_first=batch_first)
    model.load_state_dict(plain.state_dict())
    x = X[1] if "unbatched" in name else X if batch_first else X.transpose(0, 1)
    attachment = rollingq.attach(model, "", tokens=TOKENS, beta=0.0, rho=2.0, scope=scope)
    for is_training in (True, False):
        pairs = zip(
            attend(model.train(is_training), x, **options), attend(plain.train(is_training), x, **options), strict=True
        )
        assert all(a is b is None or torch.equal(a, b) for a, b in pairs)
    assert attachment.step().rotated

    # The oracle: R by hand in the query weight of the plain layer; where only the class row turns, it alone is read.
    matrix = torch.block_diag(*attachment.rotation.matrix())
    with torch.no_grad():
        plain.in_proj_weight[:DIM] = matrix @ plain.in_proj_weight[:DIM]
        plain.in_proj_bias[:DIM] = matrix @ plain.in_proj_bias[:DIM]
    out, weights = attend(model, x, **options)
    expected, expected_weights = attend(plain, x, **options)
    rows = slice(None) if scope == "all_queries" else slice(0, 1)
    at = (rows,) if "unbatched" in name or not batch_first else (slice(None), rows)
    assert out.shape == expected.shape
    assert (out[at] - expected[at]).abs().max() < 1e-5
    assert (weights is None) == (expected_weights is None)
    if weights is not None:
        assert (weights[..., rows, :] - expected_weights[..., rows, :]).abs().max() < 1e-5


def test_dropout_draws_the_same_masks_before_and_after() -> None:
    model = nn.MultiheadAttention(DIM, 2, dropout=0.5, batch_first=True)
    plain = nn.MultiheadAttention(DIM, 2, dropout=0.5, batch_first=True)
    plain.load_state_dict(model.state_dict())
    attachment = rollingq.attach(model, "", tokens=TOKENS, beta=0.0, scope="all_queries")
    attend(model, X)
    attachment.step()
    with torch.no_grad():
        plain.in_proj_weight[:DIM] = torch.block_diag(*attachment.rotation.matrix()) @ plain.in_proj_weight[:DIM]
    outs = []
    for layer in (model, plain):
        torch.manual_seed(3)
        outs.append(attend(layer, X)[0])
    assert (outs[0] - outs[1]).abs().max() < 1e-5
