import lightning.pytorch as pl
import pytest
import torch

from rollingq.data.base import Split
from rollingq.data.samplers import EpochSampler, epoch_order, make_loader
from rollingq.errors import DataError


def made_split(number: int = 10) -> Split:
    audio = torch.arange(number * 6, dtype=torch.float32).reshape(number, 3, 2)
    mask = torch.ones(number, 3, dtype=torch.bool)
    return Split({"audio": audio}, torch.arange(number), {"audio": mask}, [str(i) for i in range(number)])


def labels_of(loader) -> list[int]:
    return torch.cat([batch["label"] for batch in loader]).tolist()


def test_order_depends_on_seed_and_epoch_alone():
    state = torch.get_rng_state()
    orders = {(s, e): tuple(epoch_order(50, seed=s, epoch=e).tolist()) for s in (0, 1) for e in (0, 1)}
    assert len(set(orders.values())) == 4
    assert orders[0, 1] == tuple(epoch_order(50, seed=0, epoch=1).tolist())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_yields_every_sample_once(shuffle):
    sampler = EpochSampler(10, 4, seed=3, shuffle=shuffle)
    batches = [batch.samples for batch in sampler]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert len(sampler) == 3
    assert sorted(torch.cat(batches).tolist()) == list(range(10))
    assert (torch.cat(batches).tolist() == list(range(10))) is not shuffle


def test_loader_gives_whole_batches_that_belong_together():
    split = made_split()
    for batch in make_loader(split, 4, seed=1):
        assert torch.equal(batch["audio"], split.inputs["audio"][batch["label"]])
        assert batch["mask"]["audio"].shape == batch["audio"].shape[:2]


def test_loader_does_not_touch_the_global_random_state():
    loader, state = make_loader(made_split(), 4), torch.get_rng_state()
    list(loader)
    assert torch.equal(state, torch.get_rng_state())


def test_set_epoch_of_the_loaders_sampler_changes_the_order():
    loader = make_loader(made_split(), 4, seed=5)
    first = labels_of(loader)
    assert labels_of(loader) == first
    loader.sampler.set_epoch(1)
    assert labels_of(loader) != first
    assert labels_of(loader) == epoch_order(10, seed=5, epoch=1).tolist()


class Recorder(pl.LightningModule):
    """Notes the labels that each epoch trains on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[int, list[int]] = {}

    def training_step(self, batch):
        self.seen.setdefault(self.current_epoch, []).extend(batch["label"].tolist())
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore:.*num_workers.*", "ignore:.*log_every_n_steps.*", "ignore:.*LeafSpec.*")
def test_lightning_sets_the_epoch(tmp_path):
    model, quiet = Recorder(), {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = pl.Trainer(
        max_epochs=3, accelerator="cpu", enable_checkpointing=False, default_root_dir=tmp_path, **quiet
    )
    trainer.fit(model, make_loader(made_split(), 4, seed=7))
    assert model.seen == {epoch: epoch_order(10, seed=7, epoch=epoch).tolist() for epoch in range(3)}


@pytest.mark.parametrize(("number", "batch_size"), [(0, 4), (4, 0)])
def test_nothing_to_yield_is_refused(number, batch_size):
    with pytest.raises(DataError, match="Expected a split of at least 1 sample"):
        EpochSampler(number, batch_size)
