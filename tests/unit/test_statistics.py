"""KeyStatistics: sums over samples, whatever the batches, the dtype, the padding or the damage."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rollingq.statistics import KeyStatistics, Means, Observation
from rollingq.testing import oracle

H, M, D = 2, 3, 4


def made(batch: int = 5, rows: int = 1, *, is_shared: bool = False, dtype: torch.dtype = torch.float64) -> Observation:
    query = torch.randn(1 if is_shared else batch, rows, H, D, dtype=dtype)
    return Observation(query, torch.randn(batch, M, H, D, dtype=dtype))


def means_of(*seen: Observation, num_skipped: int = 0) -> Means:
    statistics = KeyStatistics(M, H, D)
    for observation in seen:
        statistics.add(observation)
    means = statistics.means()
    assert means is not None
    assert statistics.num_skipped == num_skipped
    return means


def part(seen: Observation, index: slice | Tensor) -> Observation:
    return Observation(seen.query[index], seen.average_keys[index])


def assert_same(found: Means, expected: Means, tolerance: float = 1e-12) -> None:
    assert found.num_samples == expected.num_samples
    for name in ("queries", "average_keys", "cosines"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=tolerance), name


@pytest.mark.parametrize("is_shared", [False, True])
def test_means_equal_the_oracle(is_shared: bool) -> None:
    seen = made(is_shared=is_shared)
    means, query = means_of(seen), seen.query[:, 0].expand(5, H, D)
    expected = oracle.predict_step(query, seen.average_keys, rho=1.0)
    np.testing.assert_allclose(means.cosines.numpy(), expected.cosines, atol=1e-13)
    np.testing.assert_allclose(means.queries[:, 0].numpy(), query.numpy().mean(0), atol=1e-13)
    np.testing.assert_allclose(means.average_keys.numpy(), seen.average_keys.numpy().mean(0).swapaxes(0, 1), atol=1e-13)


@pytest.mark.parametrize("cuts", [(1, 4), (3, 3), (4, 1)])
def test_a_short_batch_weighs_what_it_holds(cuts: tuple[int, int]) -> None:
    seen = made(sum(cuts))
    assert_same(means_of(part(seen, slice(None, cuts[0])), part(seen, slice(cuts[0], None))), means_of(seen))


def test_rows_are_averaged_over_real_rows_only() -> None:
    seen = made(rows=3)
    mask = torch.tensor([[True, True, False]]).expand(5, 3)
    dirty = seen.query.clone()
    dirty[:, 2] = float("nan")
    expected = means_of(replace(seen, query=seen.query[:, :2]))
    assert_same(means_of(replace(seen, query=dirty, row_mask=mask)), expected)
    cosine = np.mean([oracle.cosine(seen.query[i, r, 0], seen.average_keys[i, 0, 0]) for i in range(5) for r in (0, 1)])
    assert float(expected.cosines[0, 0]) == pytest.approx(cosine)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("is_masked", [False, True])
def test_a_damaged_query_is_left_out_and_counted(bad: float, is_masked: bool) -> None:
    seen = made()
    seen.query[2, 0, 1, 3] = bad
    given = replace(seen, is_present=torch.ones(5, M, dtype=torch.bool)) if is_masked else seen
    assert_same(means_of(given, num_skipped=1), means_of(part(seen, torch.tensor([0, 1, 3, 4]))))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_damaged_key_is_left_out_of_its_own_mean_and_counted(bad: float) -> None:
    seen = made()
    seen.average_keys[1, 0, 1, 2] = bad
    found = means_of(seen, num_skipped=1)
    without = means_of(part(seen, torch.tensor([0, 2, 3, 4])))
    assert found.num_samples == [4, 5, 5]
    assert torch.allclose(found.average_keys[:, 0], without.average_keys[:, 0])
    assert torch.allclose(found.queries[:, 0], seen.query[:, 0].mean(0))


def test_a_missing_modality_is_left_out_of_its_own_mean_only() -> None:
    seen = made()
    present = torch.ones(5, M, dtype=torch.bool)
    present[1, 0] = False
    found = means_of(replace(seen, is_present=present))
    without, whole = means_of(part(seen, torch.tensor([0, 2, 3, 4]))), means_of(seen)
    assert found.num_samples == [4, 5, 5]
    assert torch.allclose(found.cosines, torch.cat([without.cosines[:, :1], whole.cosines[:, 1:]], 1))
    assert torch.allclose(found.queries[:, 0], whole.queries[:, 0])


def test_a_sample_without_any_modality_does_not_count() -> None:
    seen = made()
    present = torch.ones(5, M, dtype=torch.bool)
    present[4] = False
    assert_same(means_of(replace(seen, is_present=present)), means_of(part(seen, slice(4))))


@pytest.mark.parametrize("is_seen", [False, True])
def test_no_means_until_every_modality_was_seen(is_seen: bool) -> None:
    statistics = KeyStatistics(M, H, D)
    if is_seen:
        statistics.add(replace(made(), is_present=torch.tensor([[True, False, True]]).expand(5, M)))
    assert statistics.means() is None


def test_many_forwards_of_mixed_forms_are_all_counted() -> None:
    plain = [made(batch, is_shared=batch == 3) for batch in (1, 2, 3, 4) * 10]
    masked = [replace(seen, is_present=torch.ones(len(seen.average_keys), M, dtype=torch.bool)) for seen in plain]
    mixed = [pair[i % 2] for i, pair in enumerate(zip(plain, masked, strict=True))]
    whole = Observation(
        torch.cat([seen.query.expand(len(seen.average_keys), -1, -1, -1) for seen in plain]),
        torch.cat([seen.average_keys for seen in plain]),
    )
    assert_same(means_of(*mixed), means_of(whole))


def test_clear_forgets() -> None:
    statistics = KeyStatistics(M, H, D)
    statistics.add(made())
    statistics.clear()
    assert statistics.means() is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("is_autocast", [False, True])
def test_half_precision_is_summed_in_full_precision(dtype: torch.dtype, is_autocast: bool) -> None:
    seen = made(257, dtype=dtype)
    exact = Observation(seen.query.double(), seen.average_keys.double())
    with torch.autocast("cpu", dtype, enabled=is_autocast):
        found = means_of(seen)
    expected = means_of(exact)
    assert_same(found, expected, 1e-4)


def test_float16_sums_do_not_overflow() -> None:
    seen = made(64, dtype=torch.float16)
    large = replace(seen, average_keys=torch.full_like(seen.average_keys, 2000.0))
    assert torch.allclose(means_of(large).average_keys, torch.tensor(2000.0, dtype=torch.float64))
