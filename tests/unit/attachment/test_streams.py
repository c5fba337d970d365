"""Modalities with an attention layer each: what is seen, decided and rotated, on whole fusions and a made model."""

import numpy as np
import pytest
import torch
from stream_models import (
    HEADS,
    HOSTS,
    PAIR,
    Host,
    Shown,
    attached,
    decide,
    every_fusion,
    every_host,
    is_cross,
    layers_of,
    mask_options,
    padding,
    projection,
    shown,
    some_batch,
    watched,
)

from rollingq.testing import oracle


@every_host
@pytest.mark.parametrize("is_masked", [False, True])
def test_every_stream_shows_its_query_and_its_keys(host: Host, is_masked: bool) -> None:
    masks = padding() if is_masked else {}
    batch = some_batch(host, masks=masks)
    model, attachment = attached(host, **(mask_options(host, masks) if is_masked else {}))
    expected, seen = shown(host, batch), watched(model, attachment, batch)
    np.testing.assert_allclose(seen.query, expected.queries, atol=1e-12)
    np.testing.assert_allclose(seen.average_keys, expected.average_keys, atol=1e-12)
    cosines = [
        [[oracle.cosine(q[m, h], k[m, h]) for m in range(len(host.names))] for h in range(HEADS)]
        for q, k in zip(expected.queries, expected.average_keys, strict=True)
    ]
    np.testing.assert_allclose(seen.cosines(), cosines, atol=1e-12)


@every_fusion
@pytest.mark.parametrize("garbage", [float("nan"), 1e6])
def test_what_stands_in_the_padding_of_keys_never_counts(host: Host, garbage: float) -> None:
    """Through the layer itself: what a padded token holds must not reach the average that is reported."""
    model, attachment = attached(host)
    path = layers_of(model)["audio"]
    observations = []
    for value in (0.0, garbage):
        handle = model.get_submodule(path).register_forward_pre_hook(
            lambda _, args, value=value: (args[0], args[1].masked_fill(~args[2][..., None], value), *args[2:]),
            prepend=True,
        )
        observations.append(watched(model, attachment, some_batch(host, masks=padding())))
        handle.remove()
    assert torch.equal(observations[0].average_keys, observations[1].average_keys)


@every_fusion
@pytest.mark.parametrize("absent", PAIR)
def test_an_absent_modality_is_left_out(host: Host, absent: str) -> None:
    masks = padding()
    masks[absent][2] = False
    tokens, _ = batch = some_batch(host, masks=masks)
    events = []
    for value in (0.0, 50.0):
        model, attachment = attached(host)
        other = tokens | {absent: tokens[absent].clone()}
        other[absent][2] += value
        model(other, masks)
        events.append(attachment.step())
    assert events[0].cosines == pytest.approx(events[1].cosines, abs=1e-12)
    assert events[0].angle == pytest.approx(events[1].angle, abs=1e-9)
    expected = shown(host, batch)
    assert not expected.is_present[2, host.names.index(absent)]
    if is_cross(host):  # What an absent modality asks is no question.
        expected.is_present[:] = expected.is_present.all(1, keepdims=True)
    by_name = dict(zip(host.names, decide(expected).cosines.mean(0), strict=True))
    assert events[0].cosines == pytest.approx(by_name, abs=1e-12)


def test_a_modality_absent_in_all_samples_stops_the_decision() -> None:
    host = HOSTS["mult"]
    model, attachment = attached(host)
    model(*some_batch(host, masks={"audio": torch.zeros(5, 4, dtype=torch.bool)}))
    event = attachment.step()
    assert (event.rotated, event.reason) == (False, "nothing seen of some modality since the last step")


@every_host
def test_evaluation_and_pauses_go_unrecorded(host: Host) -> None:
    model, attachment = attached(host)
    model.eval()(*some_batch(host))
    attachment.is_paused = True
    model.train()(*some_batch(host))
    assert attachment.step().air is None
    attachment.is_paused = False
    model(*some_batch(host))
    assert attachment.step().num_samples == 5


@every_host
@pytest.mark.parametrize(
    ("heads", "is_masked"), [("per_head", False), ("per_head", True), ("shared", False), ("full", False)]
)
def test_decision_and_rotations_equal_the_oracle(host: Host, heads: str, is_masked: bool) -> None:
    masks = padding() if is_masked else {}
    batch = some_batch(host, masks=masks)
    model, attachment = attached(host, heads=heads, **(mask_options(host, masks) if is_masked else {}))
    expected = decide(shown(host, batch), heads)
    model(*batch)
    event = attachment.step()
    assert event.rotated
    assert event.air == pytest.approx(expected.air.mean(), abs=1e-10)
    assert event.cosines == pytest.approx(dict(zip(host.names, expected.cosines.mean(0), strict=True)), abs=1e-10)
    assert event.weights == pytest.approx(dict(zip(host.names, expected.weights.mean(0), strict=True)), abs=1e-10)
    angles = [
        np.degrees(np.arccos(oracle.cosine(q, anchor)))
        for queries, anchor in zip(expected.mean_queries, expected.anchors, strict=True)
        for q in queries
    ]
    assert event.angle == pytest.approx(np.mean(angles), abs=1e-6)
    found = attachment.rotation.matrix().unflatten(0, (-1, len(host.names)))
    np.testing.assert_allclose(found, expected.rotations, atol=1e-10)


@every_host
@pytest.mark.parametrize(("rotation", "heads"), [("minimal", "per_head"), ("svd", "per_head"), ("minimal", "full")])
def test_every_mean_query_points_to_the_anchor_and_keeps_its_norm(host: Host, rotation: str, heads: str) -> None:
    batch = some_batch(host)
    model, attachment = attached(host, rotation=rotation, heads=heads)
    expected = decide(shown(host, batch), heads)
    model(*batch)
    attachment.step()
    turned = watched(model, attachment, batch)
    means = turned.query.mean(0).transpose(0, 1).numpy()
    for h, m in np.ndindex(*means.shape[:2]):
        assert oracle.cosine(means[h, m], expected.anchors[h]) == pytest.approx(1.0, abs=1e-10)
        norm = np.linalg.norm(expected.mean_queries[h, m])
        assert np.linalg.norm(means[h, m]) == pytest.approx(norm, rel=1e-10)


@every_host
def test_a_second_step_turns_what_the_first_has_turned(host: Host) -> None:
    model, attachment = attached(host, max_rotations=2)
    batches = [some_batch(host, seed=seed) for seed in (1, 2)]
    for batch in batches:
        model(*batch)
        assert attachment.step().rotated
    first, second = (shown(host, batch) for batch in batches)
    turns = decide(first).rotations
    turned = np.einsum("hmij,nmhj->nmhi", turns, second.queries)
    both = decide(Shown(turned, second.average_keys, second.is_present)).rotations @ turns
    found = attachment.rotation.matrix().unflatten(0, (-1, len(host.names)))
    np.testing.assert_allclose(found, both, atol=1e-10)


@every_host
def test_only_the_class_row_rotates(host: Host) -> None:
    model, attachment = attached(host)
    batch, queries = some_batch(host), []
    for path in layers_of(model).values():  # Behind the hooks of the attachment: what the layer goes on with.
        projection(model.get_submodule(path), "query").register_forward_hook(lambda *args: queries.append(args[2]))
    model(*batch)
    attachment.step()
    model(*batch)
    before, after = queries[: len(host.names)], queries[len(host.names) :]
    for old, new in zip(before, after, strict=True):
        assert old.shape == new.shape
        rows = old.dim() == 3
        assert not torch.allclose(old[:, 0] if rows else old, new[:, 0] if rows else new)
        assert not rows or torch.equal(old[:, 1:], new[:, 1:])
