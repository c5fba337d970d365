import lightning.pytorch as pl
import pytest
import torch

from rollingq.data.augment import Draws
from rollingq.data.base import MultimodalData, Split
from rollingq.data.rows import MappedRows, Normaliser
from rollingq.data.samplers import epoch_order, make_loader
from rollingq.data.spec import ModalitySpec
from rollingq.errors import DataError
from rollingq.training.datamodule import MultimodalDataModule

SPECS = {
    "audio": ModalitySpec((4, 2), has_mask=True),
    "frames": ModalitySpec((2, 3, 8, 8), "frames", "uint8", "channel", is_augmented=True),
    "flow": ModalitySpec((2, 2, 8, 8), "flow", "uint8", "all", is_augmented=True),
}


def made_split(number, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(number, 4, generator=generator) < 0.7
    inputs = {"audio": torch.randn(number, 4, 2, generator=generator)}
    for name in ("frames", "flow"):
        spec = SPECS[name]
        raw = torch.randint(0, 256, (number, *spec.shape), dtype=torch.uint8, generator=generator)
        size = 3 if name == "frames" else 1
        inputs[name] = MappedRows(raw.split(4), spec, Normaliser(spec, [100.0] * size, [60.0] * size))
    return Split(inputs, torch.arange(number), {"audio": mask}, [str(i) for i in range(number)])


@pytest.fixture
def data():
    splits = {"train": made_split(21, 0), "val": made_split(9, 1), "test": made_split(10, 2)}
    return MultimodalData("made", SPECS, tuple("abc"), splits, {})


def epoch_of(loader, epoch=0):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def assert_equal(batches, others):
    assert len(batches) == len(others)
    for one, other in zip(batches, others, strict=True):
        assert one.keys() == other.keys()
        assert one["mask"].keys() == other["mask"].keys()
        assert torch.equal(one["mask"]["audio"], other["mask"]["audio"])
        assert all(torch.equal(one[name], other[name]) for name in (*SPECS, "label"))


def test_training_batches_are_those_of_order_and_draws(data):
    split = data.splits["train"]
    batches = epoch_of(MultimodalDataModule(data, 8, seed=5).train_dataloader(), 2)
    order = epoch_order(21, seed=5, epoch=2)
    assert [len(batch["label"]) for batch in batches] == [8, 8, 5]
    for batch, index in zip(batches, order.split(8), strict=True):
        draws = Draws.of(index, seed=5, epoch=2)
        assert torch.equal(batch["label"], index)
        assert torch.equal(batch["audio"], split.inputs["audio"][index])
        assert torch.equal(batch["mask"]["audio"], split.masks["audio"][index])
        for name in ("frames", "flow"):
            assert torch.equal(batch[name], split.inputs[name].augmented(index, draws))
            assert not torch.equal(batch[name], split.inputs[name][index])


def test_worker_processes_give_the_same_batches(data):
    alone = MultimodalDataModule(data, 8, seed=1).train_dataloader()
    helped = MultimodalDataModule(data, 8, seed=1, num_workers=2).train_dataloader()
    for epoch in (0, 3):
        assert_equal(epoch_of(helped, epoch), epoch_of(alone, epoch))
    tested = MultimodalDataModule(data, 2, num_workers=2).test_dataloader()
    assert_equal(list(tested), list(MultimodalDataModule(data, 2).test_dataloader()))


def test_a_sample_is_cut_the_same_in_any_batch(data):
    found = []
    for size in (1, 8, 21):
        batches = epoch_of(MultimodalDataModule(data, size, seed=3).train_dataloader(), 1)
        order = torch.cat([batch["label"] for batch in batches]).argsort()
        found.append(torch.cat([batch["frames"] for batch in batches])[order])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_each_epoch_and_each_seed_cuts_anew(data):
    cut = {}
    for seed in (0, 1):
        for epoch in (0, 1):
            batches = epoch_of(MultimodalDataModule(data, 21, seed=seed).train_dataloader(), epoch)
            cut[seed, epoch] = batches[0]["frames"][batches[0]["label"].argsort()]
    pairs = [(a, b) for a in cut for b in cut if a < b]
    assert not any(torch.equal(cut[a], cut[b]) for a, b in pairs)


@pytest.mark.parametrize("split", ["val", "test"])
def test_validation_and_test_never_cut_or_shuffle(data, split):
    module = MultimodalDataModule(data, 2, seed=7)
    loader = module.val_dataloader() if split == "val" else module.test_dataloader()
    wanted = data.splits[split]
    for epoch in (0, 5):
        batches = epoch_of(loader, epoch)
        assert [len(batch["label"]) for batch in batches] == ([8, 1] if split == "val" else [8, 2])
        for name in SPECS:
            assert torch.equal(torch.cat([batch[name] for batch in batches]), wanted.inputs[name][:])
        assert torch.cat([batch["label"] for batch in batches]).tolist() == list(range(len(wanted)))


def test_nothing_is_cut_without_augmentation(data):
    batch = epoch_of(MultimodalDataModule(data, 21, is_augmented=False).train_dataloader())[0]
    for name in SPECS:
        assert torch.equal(batch[name], data.splits["train"].inputs[name][batch["label"]])


def test_another_split_can_choose(data):
    batches = list(MultimodalDataModule(data, 2, chosen_by="test").val_dataloader())
    assert sum(len(batch["label"]) for batch in batches) == 10


def test_an_empty_split_and_an_unknown_one_are_one_line(data):
    empty = MultimodalData("made", SPECS, tuple("abc"), {**data.splits, "val": made_split(0, 0)}, {})
    with pytest.raises(DataError, match="at least 1 sample"):
        MultimodalDataModule(empty).val_dataloader()
    with pytest.raises(DataError, match="'dev'"):
        MultimodalDataModule(data, chosen_by="dev").val_dataloader()


class Seen(pl.LightningModule):
    """Notes what training and validation are given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.epochs, self.validated = [], []

    def on_train_epoch_start(self):
        self.epochs.append([])

    def training_step(self, batch, _):
        self.epochs[-1].append(batch)
        return self.weight.sum()

    def validation_step(self, batch, _):
        self.validated.append(batch["frames"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning", "ignore:.*GPU:UserWarning")
@pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_a_trainer_moves_from_epoch_to_epoch(data, tmp_path):
    seen = Seen()
    trainer = pl.Trainer(
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", default_root_dir=tmp_path, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(seen, datamodule=MultimodalDataModule(data, 8, seed=2))
    loader = make_loader(data.splits["train"], 8, 2, is_augmented=True)
    for epoch, batches in enumerate(seen.epochs):
        assert_equal(batches, epoch_of(loader, epoch))
    assert torch.equal(torch.cat(seen.validated), data.splits["val"].inputs["frames"][:].repeat(2, 1, 1, 1, 1))
