"""Leaving classes out: the kept samples are those of the whole dataset, read when they are asked for."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollingq.data.augment import Draws
from rollingq.data.base import MultimodalData, Split
from rollingq.data.classes import keep_classes, outside_samples
from rollingq.data.rows import MappedRows, Normaliser
from rollingq.data.spec import ModalitySpec
from rollingq.data.view import view_sample
from rollingq.errors import DataError

SPECS = {
    "text": ModalitySpec((3, 2), has_mask=True),
    "image": ModalitySpec((3, 6, 6), "image", "uint8", "channel", has_mask=True, is_augmented=True),
    "held": ModalitySpec((2, 2)),
    "made": ModalitySpec((2, 2)),
}
CLASSES = ("walk", "run", "sit", "stand")


class CountedRows:
    """Rows of a user's own, which say what was read."""

    def __init__(self, numbers: torch.Tensor) -> None:
        self.numbers, self.read = numbers, list[int]()

    @property
    def shape(self) -> torch.Size:
        return self.numbers.shape

    def __getitem__(self, index: torch.Tensor) -> torch.Tensor:
        self.read += index.tolist()
        return self.numbers[index]


def made_split(labels: Sequence[int], seed: int) -> Split:
    generator, number = torch.Generator().manual_seed(seed), len(labels)
    masks = {n: torch.rand(number, *SPECS[n].mask_shape, generator=generator) < 0.7 for n in ("text", "image")}
    stored = {
        "text": torch.randn(number, 3, 2, generator=generator),
        "image": torch.randint(0, 256, (number, 3, 6, 6), generator=generator, dtype=torch.uint8),
    }
    normalisers = {"text": Normaliser(SPECS["text"], [1.0, 2.0], [3.0, 4.0])}
    normalisers["image"] = Normaliser(SPECS["image"], [100.0, 120.0, 90.0], [50.0, 60.0, 70.0])
    cut = number // 2
    rows = {n: MappedRows([s[:cut], s[cut:]], SPECS[n], normalisers[n], masks[n]) for n, s in stored.items()}
    held = torch.randn(number, 2, 2, generator=generator)
    made = CountedRows(torch.randn(number, 2, 2, generator=generator))
    names = [f"clip{i}" for i in range(number)]
    return Split({**rows, "held": held, "made": made}, torch.tensor(labels, dtype=torch.int64), masks, names)


def made_data(**labels: Sequence[int]) -> MultimodalData:
    lists = {"train": [0, 3, 1, 2, 0, 1], "val": [0, 1, 2, 3], "test": [3, 2, 1, 0, 3, 0], **labels}
    splits = {name: made_split(values, seed) for seed, (name, values) in enumerate(lists.items())}
    return MultimodalData("moves", SPECS, CLASSES, splits, {"licence": "free", "classes": list(CLASSES)})


def same(found: dict[str, object], wanted: dict[str, object]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value, dict):
            same(found[name], value)  # type: ignore[arg-type]
        else:
            torch.testing.assert_close(found[name], value, rtol=0, atol=0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 3))
def test_inside_and_outside_are_the_whole(labels: list[int], num_inside: int) -> None:
    labels = [*labels, 0, 3]
    data = made_data(test=labels)
    inside, outside = keep_classes(data, num_inside).splits["test"], outside_samples(data, num_inside)
    first = [i for i, label in enumerate(labels) if label < num_inside]
    rest = [i for i, label in enumerate(labels) if label >= num_inside]
    for part, numbers in ((inside, first), (outside, rest)):
        wanted = data.splits["test"].batch(torch.tensor(numbers))
        if part is outside:
            wanted["label"] = torch.full((len(numbers),), -1)
        assert len(part) == len(numbers)
        assert part.names == [f"clip{i}" for i in numbers]
        assert all(rows.shape == (len(numbers), *SPECS[name].shape) for name, rows in part.inputs.items())
        same(part.batch(torch.arange(len(numbers))), wanted)
        same(part.batch(slice(None)), wanted)
        back = torch.arange(len(numbers)).flip(0)
        same(part.batch(back), {**data.splits["test"].batch(torch.tensor(numbers).flip(0)), "label": part.labels[back]})


def test_what_is_not_held_is_read_when_it_is_asked_for() -> None:
    data = made_data()
    kept = keep_classes(data, 2)
    rows = data.splits["train"].inputs["made"]
    assert isinstance(rows, CountedRows)
    assert rows.read == []
    kept.splits["train"].batch(torch.tensor([1, 3]))
    assert rows.read == [2, 5]  # Labels 0 3 1 2 0 1: the second and the fourth of classes 0 and 1.


def test_training_augments_the_kept_samples_as_any_others() -> None:
    kept = keep_classes(made_data(), 2).splits["train"]
    whole = made_data().splits["train"]
    at, numbers = torch.tensor([0, 1, 3]), torch.tensor([0, 2, 5])
    draws = Draws.of(at, seed=0, epoch=1)
    found, wanted = kept.batch(at, draws), whole.batch(numbers, draws)
    same(found, wanted)
    assert not torch.equal(found["image"], kept.batch(at)["image"])


def test_a_kept_sample_is_shown_as_it_is_stored() -> None:
    data = made_data()
    kept, whole = view_sample(keep_classes(data, 2), "test", 1), view_sample(data, "test", 3)
    assert (kept.name, kept.label) == (whole.name, whole.label) == ("clip3", "walk")
    for name, panel in whole.panels.items():
        assert kept.panels[name].array.dtype == panel.array.dtype
        assert (kept.panels[name].array == panel.array).all()


def test_what_the_dataset_says_of_itself() -> None:
    data = made_data()
    kept = keep_classes(data, 3)
    assert (kept.name, kept.classes) == ("moves (3 of 4 classes)", ("walk", "run", "sit"))
    assert kept.manifest == {
        "licence": "free",
        "classes": list(CLASSES),
        "classes_inside": ["walk", "run", "sit"],
        "classes_outside": ["stand"],
        "normalised_by": "all training samples, those of the classes outside too",
    }
    assert "classes_inside" not in data.manifest
    assert {name: split.labels.unique().tolist() for name, split in kept.splits.items()} == {
        "train": [0, 1, 2],
        "val": [0, 1, 2],
        "test": [0, 1, 2],
    }


def test_inputs_are_not_normalised_again() -> None:
    data = made_data()
    held = torch.tensor([[[1000.0, 0.0], [0.0, 0.0]]]).repeat(6, 1, 1)
    train = replace(data.splits["train"], inputs={"held": held}, masks={})
    kept = keep_classes(replace(data, splits={**data.splits, "train": train}), 2)
    assert kept.splits["train"].batch(slice(None))["held"][:, 0, 0].tolist() == [1000.0] * 4


@pytest.mark.parametrize("num_inside", [-1, 0, 4, 27])
def test_at_least_one_class_on_either_side(num_inside: int) -> None:
    text = f"from 1 to 3 classes of moves, which has 4, but got {num_inside};"
    for call in (keep_classes, outside_samples):
        with pytest.raises(DataError, match=text):
            call(made_data(), num_inside)


def test_a_split_that_would_be_empty_is_named() -> None:
    with pytest.raises(DataError, match="first 1 classes of moves in every split, but got none in val, test; keep"):
        keep_classes(made_data(val=[1, 2], test=[3]), 1)
    with pytest.raises(DataError, match="last 1 classes of moves in val, but got none; keep fewer"):
        outside_samples(made_data(val=[1, 2]), 3, "val")


def test_the_nearest_split_is_named() -> None:
    with pytest.raises(DataError, match=r"train, val, test, but got 'tets'. Did you mean 'test'\?"):
        outside_samples(made_data(), 2, "tets")
