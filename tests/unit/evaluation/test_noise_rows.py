import pytest
import torch

from rollingq.data.augment import Draws
from rollingq.data.base import Split
from rollingq.data.rows import MappedRows, Normaliser
from rollingq.data.spec import ModalitySpec
from rollingq.evaluation.noise import NoiseRows, replace_by_noise

SPEC = ModalitySpec((3, 6, 8), "image", "uint8", "channel", is_augmented=True)


@pytest.fixture
def split():
    raw = torch.randint(0, 256, (20, *SPEC.shape), dtype=torch.uint8)
    rows = MappedRows(raw.split([7, 13]), SPEC, Normaliser(SPEC, [100.0] * 3, [50.0] * 3))
    return Split({"image": rows, "audio": torch.ones(20, 4)}, torch.arange(20), {}, [str(i) for i in range(20)])


def test_mapped_samples_are_replaced_without_being_read(split):
    noisy = replace_by_noise(split, "image", seed=3)
    assert isinstance(noisy.inputs["image"], NoiseRows)
    assert noisy.inputs["image"].shape == (20, 3, 6, 8)
    batch = noisy.batch(torch.tensor([4, 2]))
    assert batch["image"].shape == (2, 3, 6, 8)
    assert batch["label"].tolist() == [4, 2]
    assert torch.equal(batch["audio"], torch.ones(2, 4))
    assert isinstance(split.inputs["image"], MappedRows)


def test_noise_is_a_function_of_seed_and_sample(split):
    rows, state = replace_by_noise(split, "image", seed=3).inputs["image"], torch.get_rng_state()
    whole = rows[:]
    assert torch.equal(rows[torch.tensor([19, 0, 7])], whole[[19, 0, 7]])
    assert torch.equal(rows[torch.tensor([-1])], whole[-1:])
    assert torch.equal(rows[5:9], whole[5:9])
    assert torch.equal(replace_by_noise(split, "image", seed=3).inputs["image"][:], whole)
    assert not torch.equal(replace_by_noise(split, "image", seed=4).inputs["image"][:], whole)
    assert rows[torch.tensor([], dtype=torch.int64)].shape == (0, 3, 6, 8)
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(IndexError):
        rows[torch.tensor([20])]


def test_noise_is_standard_normal_and_independent():
    rows = NoiseRows(torch.Size((300, 2, 50)), 0)
    numbers = rows[:].flatten(1).double()
    assert abs(numbers.mean()) < 0.02
    assert abs(numbers.std() - 1) < 0.02
    assert abs((numbers**4).mean() - 3) < 0.2
    likeness = torch.corrcoef(numbers).fill_diagonal_(0).abs().max()
    assert likeness < 0.5, "no two samples share their noise"
    assert torch.corrcoef(numbers.T).fill_diagonal_(0).abs().max() < 0.35


def test_noise_of_different_seeds_shares_no_sample():
    numbers = torch.cat([NoiseRows(torch.Size((40, 64)), seed)[:] for seed in range(6)])
    assert torch.corrcoef(numbers).fill_diagonal_(0).abs().max() < 0.7


@pytest.mark.parametrize("seed", [2**31, 2**45, 2**63 - 1])
def test_large_seeds_can_be_used(split, seed):
    assert replace_by_noise(split, "image", seed=seed).batch(torch.tensor([1]))["image"].isfinite().all()


def test_noise_is_never_augmented(split):
    noisy, index = replace_by_noise(split, "image"), torch.tensor([3, 1])
    draws = Draws.of(index, seed=0, epoch=0)
    assert torch.equal(noisy.batch(index, draws)["image"], noisy.batch(index)["image"])
    assert not torch.equal(split.batch(index, draws)["image"], split.batch(index)["image"])
