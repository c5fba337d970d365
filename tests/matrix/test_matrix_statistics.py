"""Statistics x heads x number of modalities: what a step of an attached model saw and did equals the oracle."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rollingq import RotationEvent
from rollingq.testing import oracle
from rollingq.testing.expected import observed, project
from rollingq.testing.forms import DIM, FORMS, THREE, TOKENS

RHO = 3.0
HEADS = ("per_head", "shared", "full")
LAYOUTS = {"M = 2": TOKENS, "M = 3": THREE}
SOME_FORMS = ("query key", "[B, D] query", "mha batch first, class", "mha sequence first, all, separate")


def batches(*sizes: int) -> list[Tensor]:
    return [torch.randn(size, 7, DIM) + 0.3 * torch.randn(DIM) for size in sizes]


def assert_step(event: RotationEvent, expected: oracle.Step, matrix: Tensor) -> None:
    assert event.rotated
    assert event.air == pytest.approx(expected.air.mean(), abs=1e-6)
    assert list(event.cosines.values()) == pytest.approx(list(expected.cosines.mean(0)), abs=1e-6)
    assert list(event.weights.values()) == pytest.approx(list(expected.weights.mean(0)), abs=1e-5)
    np.testing.assert_allclose(matrix.double().numpy(), expected.rotation, atol=1e-5)


@pytest.mark.parametrize("name", SOME_FORMS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("statistics", ["last_batch", "epoch"])
def test_a_step_equals_the_oracle(name: str, heads: str, lengths: dict[str, int], statistics: str) -> None:
    model, data = FORMS[name].build(), batches(5, 5, 2)
    attachment = FORMS[name].attach(model, lengths, rho=RHO, beta=0.0, heads=heads, statistics=statistics)
    for batch in data:
        model(batch)
    event = attachment.step()
    counted = data if statistics == "epoch" else data[-1:]
    parts = [observed(model, batch, lengths) for batch in counted]  # The oracle's own projections, no hook.
    queries, keys = (np.concatenate(part) for part in zip(*parts, strict=True))
    expected = oracle.predict_step(queries, keys, rho=RHO, heads=heads)
    assert_step(event, expected, attachment.rotation.matrix())
    assert event.num_samples == sum(map(len, counted))


@pytest.mark.parametrize("name", SOME_FORMS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("lengths", LAYOUTS.values(), ids=LAYOUTS)
def test_a_full_pass_gives_the_means_and_the_last_batch_the_air(name: str, heads: str, lengths: dict[str, int]) -> None:
    model, data = FORMS[name].build(), batches(5, 4, 2)
    attachment = FORMS[name].attach(model, lengths, rho=RHO, beta=0.0, heads=heads, statistics="full_pass")
    model.head.eval()  # A mode of its own, which has to come back.
    modes = [module.training for module in model.modules()]
    seen_modes: list[bool] = []

    def full_pass() -> None:
        seen_modes.extend(module.training for module in model.modules())
        seen_modes.append(torch.is_grad_enabled())
        for batch in data:
            model(batch)

    last = batches(3)[0]
    model(batches(4)[0])
    model(last)
    event = attachment.step(full_pass=full_pass)
    assert [module.training for module in model.modules()] == modes
    assert not any(seen_modes), "evaluation mode, no gradients"
    parts = [observed(model, batch, lengths) for batch in data]
    queries, keys = (np.concatenate(part) for part in zip(*parts, strict=True))
    expected = oracle.predict_step(
        *observed(model, last, lengths), rho=RHO, heads=heads, pass_queries=queries, pass_keys=keys
    )
    assert_step(event, expected, attachment.rotation.matrix())


def test_a_full_pass_runs_only_if_a_rotation_is_due() -> None:
    form = FORMS["query key"]
    model = form.build()
    attachment = form.attach(model, beta=2.0, statistics="full_pass")
    model(batches(3)[0])
    assert not attachment.step(full_pass=lambda: pytest.fail("ran")).rotated


def test_modes_come_back_when_a_full_pass_fails() -> None:
    form = FORMS["query key"]
    model = form.build()
    attachment = form.attach(model, beta=0.0, statistics="full_pass")
    model(batches(3)[0])

    def full_pass() -> None:
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError, match="no data"):
        attachment.step(full_pass=full_pass)
    assert all(module.training for module in model.modules())
    assert not model.eval().attention.rollingq.is_observing


@pytest.mark.parametrize("name", [*SOME_FORMS, "all queries, mean", "mha all queries, mean"])
@pytest.mark.parametrize("mode", ["eval", "eval, no_grad"])
def test_forwards_in_eval_mode_are_watched_but_never_counted(name: str, mode: str) -> None:
    model = FORMS[name].build()
    attachment = FORMS[name].attach(model, beta=0.0)
    watched: list[Any] = []
    with torch.set_grad_enabled(mode == "eval"), attachment.watch(watched.append):
        model.eval()(batches(3)[0])
    assert [len(seen.average_keys) for seen in watched] == [3]
    assert attachment.step().num_samples == 0


@pytest.mark.parametrize("name", ["all queries, mean", "mha all queries, mean"])
def test_with_all_queries_the_cosine_is_the_mean_over_rows(name: str) -> None:
    form = FORMS[name]
    model, tokens = form.build(), batches(4)[0]
    attachment = form.attach(model, beta=0.0, rho=RHO)
    model(tokens)
    event = attachment.step()
    per_row = [
        oracle.cosine(row[h], sample.keys[span].reshape(-1, 2, 4).mean(0)[h])
        for span in (slice(0, 3), slice(3, 7))
        for sample in project(model, tokens)
        for row in sample.queries.reshape(-1, 2, 4)
        for h in (0, 1)
    ]
    expected = np.array(per_row).reshape(2, -1).mean(1)
    assert list(event.cosines.values()) == pytest.approx(list(expected), abs=1e-6)


@pytest.mark.parametrize("name", SOME_FORMS)
@pytest.mark.parametrize("heads", HEADS)
def test_after_a_minimal_step_the_mean_query_is_the_anchor_with_its_norm_kept(name: str, heads: str) -> None:
    form, data = FORMS[name], batches(6)[0]
    model = form.build()
    attachment = form.attach(model, beta=0.0, rho=RHO, heads=heads, max_rotations=2)
    expected = oracle.predict_step(*observed(model, data), rho=RHO, heads=heads)
    model(data)
    attachment.step()
    watched: list[Any] = []
    with attachment.watch(watched.append):
        model(data)
    mean = watched[0].mean_queries()[:, 0].mean(0).detach().double().numpy()
    np.testing.assert_allclose(mean, expected.anchor, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(mean, axis=-1), np.linalg.norm(expected.query, axis=-1), rtol=1e-5)
