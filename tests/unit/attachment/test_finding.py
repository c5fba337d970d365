"""find, and what happens around the hooks: layers in place, frozen projections, and forwards that fail."""

import pytest
import torch
from torch import Tensor, nn

import rollingq
from rollingq.attachment.find import Candidate, find_projections
from rollingq.testing.forms import DIM, FORMS, NAMES, TOKENS
from rollingq.testing.models import LinearAttention, Packed

X = torch.randn(5, 8, DIM, generator=torch.Generator().manual_seed(1))


def linears(*names: str) -> nn.Module:
    return nn.ModuleDict({name: nn.Linear(2, 2) for name in names})


@pytest.mark.parametrize("pair", NAMES.values(), ids=NAMES)
def test_pairs_are_found_by_their_names(pair: tuple[str, str]) -> None:
    assert find_projections(LinearAttention(DIM, names=pair)) == [pair]


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("q", "k", "v"), [("q", "k")]),
        (("qk", "v"), []),
        (("q_proj", "v_proj"), []),
        (("k_proj", "v_proj"), []),
        (("fc_q", "fc_k", "fc_v", "seq"), [("fc_q", "fc_k")]),
        (("seq_q", "seq_k"), [("seq_q", "seq_k")]),
        (("query_q", "query_k"), [("query_q", "query_k")]),
        (("q1", "q2", "k1", "k2"), [("q1", "k1"), ("q2", "k2")]),
    ],
)
def test_pairs_of_names(names: tuple[str, ...], pairs: list[tuple[str, str]]) -> None:
    assert find_projections(linears(*names)) == pairs


def test_find_lists_all_layers_in_order() -> None:
    model = nn.ModuleDict({"a": Packed(DIM), "b": nn.Linear(2, 2), "c": LinearAttention(DIM, names=("wq", "wk"))})
    assert rollingq.find(model) == [
        Candidate("a.mha", "MultiheadAttention, width 8, 2 heads"),
        Candidate("c", "LinearAttention, wq / wk, width 8"),
    ]
    assert rollingq.find(nn.Linear(2, 2)) == []


def test_every_found_layer_can_be_attached_to() -> None:
    model = nn.ModuleDict({name: form.build() for name, form in FORMS.items() if name != "given names"})
    found = rollingq.find(model)
    assert len(found) == len(model)
    for candidate in found:
        rollingq.attach(model, candidate.path, tokens=TOKENS)
    assert len(rollingq.attachments(model)) == len(model)


def test_queries_changed_in_place_are_counted_as_projected() -> None:
    """``q.add_(...)`` after the Linear is common; what was seen must not change with it."""

    class InPlace(LinearAttention):
        def forward(self, sequence: Tensor, mask: Tensor | None = None) -> Tensor:
            q, k, v = self.query(sequence[:, 0]), self.key(sequence), self.value(sequence)
            q.add_(100.0 * torch.ones(DIM).cumsum(0))
            weights = torch.einsum("bd,bld->bl", q, k).softmax(-1)
            return torch.einsum("bl,bld->bd", weights, v).unsqueeze(1)

    events = []
    for kind in (LinearAttention, InPlace):
        torch.manual_seed(0)
        layer = kind(DIM, rows="vector")
        attachment = rollingq.attach(layer, "", tokens=TOKENS)
        layer(X)
        events.append(attachment.step())
    assert events[1].cosines == pytest.approx(events[0].cosines, abs=1e-6)


def test_a_forward_that_fails_half_way_leaves_nothing_behind() -> None:
    class Failing(LinearAttention):
        fails = True

        def forward(self, sequence: Tensor, mask: Tensor | None = None) -> Tensor:
            if self.fails:
                self.query(sequence[:, :1])
                raise RuntimeError("half way")
            return super().forward(sequence, mask)

    layer = Failing(DIM)
    attachment = rollingq.attach(layer, "", tokens=TOKENS)
    with pytest.raises(RuntimeError, match="half way"):
        layer(X)
    layer.fails = False
    layer(X[:3])
    assert attachment.step().num_samples == 3


@pytest.mark.parametrize("name", ["query key", "mha batch first, class"])
def test_what_is_kept_between_steps_does_not_hold_the_graph(name: str) -> None:
    model = FORMS[name].build()
    attachment = FORMS[name].attach(model)
    watched = []
    with attachment.watch(watched.append):
        model(X[:, 1:])
    assert not any(part.requires_grad for part in (watched[0].query, watched[0].average_keys))


@pytest.mark.parametrize("name", ["query key", "class row of all", "mha batch first, all"])
def test_what_is_kept_is_small(name: str) -> None:
    """The class row of a full self-attention must not keep all rows alive until they are summed."""
    model = FORMS[name].build()
    attachment = FORMS[name].attach(model)
    watched = []
    with attachment.watch(watched.append):
        model(X[:1, 1:])
        model(X[:, 1:])
    for seen in watched:
        kept = sum(part.untyped_storage().nbytes() for part in (seen.query, seen.average_keys))
        assert kept <= 4 * DIM * (1 + 2) * len(seen.average_keys)


@pytest.mark.parametrize("name", ["query key", "mha batch first, all"])
def test_nan_in_training_data_leaves_training_as_it_would_be(name: str) -> None:
    plain, model = FORMS[name].build(), FORMS[name].build()
    attachment = FORMS[name].attach(model, beta=0.0)
    tokens = X[:, 1:].clone()
    tokens[2] = float("nan")
    found, expected = model(tokens), plain(tokens)
    assert torch.equal(found.nan_to_num(7.0), expected.nan_to_num(7.0))
    with pytest.warns(rollingq.errors.RollingQWarning, match=r"^1 samples with NaN"):
        event = attachment.step()
    assert (event.num_samples, event.rotated) == (4, True)
    assert attachment.rotation.matrix().isfinite().all()
