"""One run: a method, a seed; trained, its best epoch chosen, and read once on the test split."""

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from rollingq.balancing.registry import make_balancing
from rollingq.balancing.rollingq import RollingQBalancing
from rollingq.config import DiagnoseConfig
from rollingq.controller import RollingQ
from rollingq.data.base import MultimodalData
from rollingq.data.samplers import make_loader
from rollingq.evaluation.diagnose import Diagnosed, Material, OnProgress, Outside, diagnose_subject
from rollingq.evaluation.results import EpochRecord, RunResult
from rollingq.evaluation.subject import of_classifier
from rollingq.nn.registry import build_model
from rollingq.training.datamodule import MultimodalDataModule
from rollingq.training.methods import Method
from rollingq.training.module import MultimodalTask
from rollingq.training.recorder import Recorder
from rollingq.training.settings import Settings

HARMLESS = (
    ".*does not have many workers.*",  # Whole batches come from memory.
    ".*exists and is not empty.*",  # A run that was killed is done again in its folder.
    ".*LeafSpec.*is deprecated.*",  # Lightning's own.
)
"""Warnings of the Trainer that say nothing about the run."""

OnEpoch = Callable[[EpochRecord], None]


class Run:
    """A model, its callbacks and its data, before training.

    Args:
        method: What to train.
        seed: Of weights, order of batches and dropout.
        data: The dataset.
        settings: Everything else.
    """

    def __init__(self, method: Method, seed: int, data: MultimodalData, settings: Settings) -> None:
        pl.seed_everything(seed, workers=True, verbose=False)
        self.method, self.seed, self.data, self.settings = method, seed, data, settings
        shapes = {name: data.shapes[name] for name in method.modalities}
        self.model = build_model(method.fusion, shapes, len(data.classes), settings.encoder, settings.fusion)
        make = partial(make_balancing, model=self.model, config=settings.balancing)
        self.balancing = [make(name, rollingq=settings.rollingq) for name in method.balancing]
        if self.model.attention_layers and "rollingq" not in method.balancing:
            self.balancing.append(make("rollingq", rollingq=replace(settings.rollingq, max_rotations=0)))
        self.rollingq = next((found for found in self.balancing if isinstance(found, RollingQBalancing)), None)

    @property
    def attachment(self) -> RollingQ | None:
        """RollingQ on the attention that is read out now (it may only measure); None without attention."""
        return None if self.rollingq is None else self.rollingq.active

    def train(self, run_dir: Path, on_epoch: OnEpoch) -> list[EpochRecord]:
        """Train and return the history; afterwards the model holds the weights of the best epoch."""
        task = MultimodalTask(self.model, self.settings.train, self.balancing)
        recorder = Recorder(on_epoch, lambda: self.attachment)
        best = ModelCheckpoint(run_dir, "best", monitor="val/accuracy", mode="max", save_weights_only=True)
        trainer = make_trainer(run_dir, self.settings.train.epochs, [recorder, best])
        with warnings.catch_warnings():
            for message in HARMLESS:
                warnings.filterwarnings("ignore", message=message)
            trainer.fit(task, datamodule=self._datamodule())
        task.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
        return recorder.history

    def _datamodule(self) -> MultimodalDataModule:
        train = self.settings.train
        chosen_by = "test" if self.settings.selection == "paper" else "val"
        return MultimodalDataModule(
            self.data, train.batch_size, seed=self.seed, is_augmented=train.augment, chosen_by=chosen_by
        )

    def diagnose(
        self,
        config: DiagnoseConfig,
        *,
        outside: Sequence[Outside] = (),
        on_progress: OnProgress | None = None,
    ) -> Diagnosed:
        """Return everything that is measured on the test split; each sample is read once a variant.

        Args:
            config: Which measures.
            outside: Sets from outside of the distribution.
            on_progress: Called after each forward pass over the test samples.
        """
        test = self.data.splits["test"]
        size = 4 * self.settings.train.batch_size
        material = Material(
            test=make_loader(test, size, seed=0, shuffle=False),
            num_batches=-(-len(test) // size),
            train=make_loader(self.data.splits["train"], size, seed=0, shuffle=False),
            outside=outside,
            names=test.names,
            is_normalised=True,
        )
        subject = of_classifier(self.model, self.attachment)
        return diagnose_subject(
            subject, material, config, method=self.method.name, seed=self.seed, on_progress=on_progress
        )


def check_models(methods: Sequence[Method], data: MultimodalData, settings: Settings) -> None:
    """Build every model without memory, so that what cannot be built is said before anything is trained.

    Raises:
        ConfigError: If an encoder, a size or a setting does not fit.
    """
    encoder = replace(settings.encoder, pretrained=None)
    for method in methods:
        shapes = {name: data.shapes[name] for name in method.modalities}
        with torch.device("meta"):
            build_model(method.fusion, shapes, len(data.classes), encoder, settings.fusion)


def make_trainer(run_dir: Path, epochs: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Return a quiet Trainer that logs to CSV and TensorBoard under ``run_dir``."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return pl.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=epochs,
        callbacks=callbacks,
        logger=[CSVLogger(run_dir, "csv", ""), TensorBoardLogger(run_dir, "tensorboard", "")],
        deterministic=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )


def run_method(
    method: Method, seed: int, data: MultimodalData, settings: Settings, run_dir: Path, on_epoch: OnEpoch
) -> RunResult:
    """Train one method with one seed, choose its best epoch, and read the test split once.

    Args:
        method: What to train.
        seed: Of weights, order of batches and dropout.
        data: The dataset.
        settings: Everything else.
        run_dir: Where checkpoint and logs go.
        on_epoch: Called with each finished epoch.
    """
    start = time.perf_counter()
    run = Run(method, seed, data, settings)
    history = run.train(run_dir, on_epoch)
    found = run.diagnose(DiagnoseConfig(measures=()))
    best = max(history, key=lambda record: record.val_accuracy)
    return RunResult(
        method=method.name,
        seed=seed,
        modalities=list(method.modalities),
        selection=settings.selection,
        best_epoch=best.epoch,
        val_accuracy=best.val_accuracy,
        test_accuracy=found.diagnosis.accuracy,
        accuracy_under_noise=found.accuracy_under_noise,
        probes=found.probes,
        num_parameters=sum(p.numel() for p in run.model.parameters()),
        seconds=time.perf_counter() - start,
        attention=found.attention,
        num_rotations=0 if run.rollingq is None else run.rollingq.num_rotations,
        history=history,
    )
