"""RollingQCallback in a real Trainer: the order of things, and checkpoints that carry the rotation."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rollingq import RollingQ
from rollingq.errors import RollingQError
from rollingq.integrations.lightning import RollingQCallback
from rollingq.testing.forms import DIM, FORMS, TOKENS

NUM_TRAIN, NUM_VAL, BATCH = 10, 4, 4

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '(train|val)_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.:FutureWarning"),
]


class Task(pl.LightningModule):
    """Writes down what happens, in order, and how often the rotation had turned by then."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.model = FORMS["query key"].build(seed)
        self.happened: list[tuple[str, int]] = []
        self.num_validated = 0

    def note(self, what: str) -> None:
        found = [module for module in self.modules() if isinstance(module, RollingQ)]
        self.happened.append((what, int(found[0].num_rotations) if found else -1))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        self.note("train")
        return self.model(batch[0]).square().mean()

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.note("validate")
        self.num_validated += len(batch[0])
        self.log("loss", self.model(batch[0]).square().mean(), batch_size=len(batch[0]))

    def on_validation_epoch_start(self) -> None:
        self.num_validated = 0

    def on_validation_epoch_end(self) -> None:
        self.log("num_validated", float(self.num_validated))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def loader(size: int, seed: int) -> DataLoader[Any]:
    data = torch.randn(size, 7, DIM, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(data), batch_size=BATCH)


def callback(**options: Any) -> RollingQCallback:
    return RollingQCallback("model.attention", tokens=TOKENS, **{"beta": 0.0, **options})


def trainer(folder: Path, *callbacks: pl.Callback, max_epochs: int = 1, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=max_epochs,
        callbacks=list(callbacks),
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fit(task: Task, engine: pl.Trainer, **options: Any) -> None:
    engine.fit(task, loader(NUM_TRAIN, 1), loader(NUM_VAL, 2), **options)


def test_rotates_after_the_last_batch_and_before_validation(tmp_path: Path) -> None:
    task, rolling = Task(), callback(max_rotations=2)
    fit(task, trainer(tmp_path, rolling, max_epochs=3, num_sanity_val_steps=0, enable_checkpointing=False))
    expected = [
        step for epoch in range(3) for step in [("train", min(epoch, 2))] * 3 + [("validate", min(epoch + 1, 2))]
    ]
    assert task.happened == expected
    assert [event.num_samples for event in rolling.attachment.history] == [NUM_TRAIN] * 3
    assert [event.rotated for event in rolling.attachment.history] == [True, True, False]


def test_the_sanity_check_is_neither_counted_nor_a_step(tmp_path: Path) -> None:
    task, rolling = Task(), callback()
    fit(task, trainer(tmp_path, rolling, num_sanity_val_steps=2, enable_checkpointing=False))
    assert task.happened[0] == ("validate", 0)
    assert [event.num_samples for event in rolling.attachment.history] == [NUM_TRAIN]


def test_air_and_rotations_are_logged(tmp_path: Path) -> None:
    rolling = callback()
    engine = trainer(tmp_path, rolling, enable_checkpointing=False)
    fit(Task(), engine)
    assert float(engine.callback_metrics["rollingq/air"]) == pytest.approx(rolling.attachment.history[0].air, abs=1e-6)
    assert float(engine.callback_metrics["rollingq/num_rotations"]) == 1.0


def test_resuming_restores_rotation_counters_and_history(tmp_path: Path) -> None:
    def run(seed: int, max_epochs: int, **resume: Any) -> tuple[Task, RollingQCallback]:
        task, rolling = Task(seed), callback(max_rotations=3)
        engine = trainer(tmp_path, rolling, max_epochs=max_epochs, enable_checkpointing=False)
        fit(task, engine, **resume)
        engine.save_checkpoint(tmp_path / f"{max_epochs}.ckpt")
        return task, rolling

    whole, straight = run(0, 4)
    run(0, 2)
    resumed, after = run(5, 4, ckpt_path=tmp_path / "2.ckpt", weights_only=True)
    assert after.attachment.history == straight.attachment.history
    assert [event.rotated for event in after.attachment.history] == [True, True, True, False]
    tokens = torch.randn(3, 7, DIM)
    assert torch.equal(resumed.model.eval()(tokens), whole.model.eval()(tokens))


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_a_fresh_trainer_evaluates_the_rotated_checkpoint(tmp_path: Path, verb: str) -> None:
    class Tested(Task):
        def test_step(self, batch: list[Tensor], index: int) -> None:
            self.validation_step(batch, index)

    task, engine = Tested(), trainer(tmp_path, callback())
    fit(task, engine)
    engine.save_checkpoint(tmp_path / "last.ckpt")
    fresh, rolling = Tested(seed=5), callback()
    metrics = getattr(trainer(tmp_path, rolling), verb)(
        fresh, loader(NUM_VAL, 2), ckpt_path=tmp_path / "last.ckpt", verbose=False, weights_only=True
    )
    assert int(rolling.attachment.num_rotations) == 1
    assert metrics[0]["loss"] == pytest.approx(float(engine.callback_metrics["loss"]), abs=1e-6)


def test_the_best_checkpoint_holds_what_was_validated(tmp_path: Path) -> None:
    keeper = pl.callbacks.ModelCheckpoint(tmp_path, monitor="loss", save_top_k=-1, filename="{epoch}")
    task = Task()
    fit(task, trainer(tmp_path, callback(max_rotations=2), keeper, max_epochs=2, num_sanity_val_steps=0))
    for epoch, count in enumerate((1, 2)):
        state = torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=True)["state_dict"]
        assert int(state["model.attention.rollingq.num_rotations"]) == count


def test_full_pass(tmp_path: Path) -> None:
    task, rolling = Task(), callback(statistics="full_pass")
    fit(task, trainer(tmp_path, rolling, num_sanity_val_steps=0, enable_checkpointing=False))
    (event,) = rolling.attachment.history
    assert (event.rotated, event.num_samples) == (True, NUM_TRAIN)
    assert task.training


def test_a_full_pass_leaves_validation_alone(tmp_path: Path) -> None:
    """Its samples are training samples: they may not enter what validation counts, logs or selects by."""
    task = Task()
    engine = trainer(
        tmp_path,
        callback(statistics="full_pass"),
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    fit(task, engine)
    assert "loss" not in engine.callback_metrics
    assert task.num_validated == 0


def test_a_full_pass_needs_no_validation_step(tmp_path: Path) -> None:
    class TrainOnly(pl.LightningModule):
        training_step, configure_optimizers, note = Task.training_step, Task.configure_optimizers, Task.note

        def __init__(self) -> None:
            super().__init__()
            self.model = FORMS["query key"].build()
            self.happened: list[tuple[str, int]] = []

    rolling = callback(statistics="full_pass")
    trainer(tmp_path, rolling, enable_checkpointing=False).fit(TrainOnly(), loader(NUM_TRAIN, 1))
    assert rolling.attachment.history[0].num_samples == NUM_TRAIN


def test_one_callback_serves_a_second_module(tmp_path: Path) -> None:
    rolling = callback()
    tasks = [Task(), Task(seed=1)]
    for task in tasks:
        fit(task, trainer(tmp_path, rolling, num_sanity_val_steps=0, enable_checkpointing=False))
    assert [task.happened[-1] for task in tasks] == [("validate", 1)] * 2


def test_a_second_fit_of_the_same_module_goes_on(tmp_path: Path) -> None:
    task, rolling = Task(), callback(max_rotations=2)
    for _ in range(2):
        fit(task, trainer(tmp_path, rolling, num_sanity_val_steps=0, enable_checkpointing=False))
    assert [event.rotated for event in rolling.attachment.history] == [True, True]


def test_a_wrong_layer_is_said_before_training(tmp_path: Path) -> None:
    task = Task()
    wrong = RollingQCallback("model.attentoin", tokens=TOKENS)
    with pytest.raises(RollingQError, match=r"'model.attentoin' is not in the model\. Nearest: 'model.attention'"):
        fit(task, trainer(tmp_path, wrong, enable_checkpointing=False))
    assert task.happened == []


def test_two_callbacks_drive_two_layers(tmp_path: Path) -> None:
    class Two(Task):
        def __init__(self) -> None:
            super().__init__()
            self.other = FORMS["mha batch first, class"].build()

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return super().training_step(batch, index) + self.other(batch[0]).square().mean()

    second = RollingQCallback("other.attention.mha", tokens=TOKENS, beta=0.0)
    first = callback()
    fit(Two(), trainer(tmp_path, first, second, enable_checkpointing=False))
    assert [part.attachment.history[0].rotated for part in (first, second)] == [True, True]
    assert isinstance(second.attachment, nn.Module)
