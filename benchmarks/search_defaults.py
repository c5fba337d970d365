"""Choose the defaults on the validation split: first the training of MT, then RollingQ on top of it.

The test split is never read. Both searches get the same number of trials; each trial is the mean best
validation accuracy over seeds that no comparison uses. The study is stored and goes on after a kill.

Run: python benchmarks/search_defaults.py --data av_digits [--dir PREPARED] [--modalities a,b] [--trials 20]
"""

import argparse
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import torch
from paired import write_result

from rollingq.config import RollingQConfig
from rollingq.data.base import MultimodalData
from rollingq.data.registry import load
from rollingq.training.methods import parse_methods
from rollingq.training.run import Run
from rollingq.training.settings import Settings, TrainSettings

SEEDS = (1000, 1001, 1002)


def validation_accuracy(method: str, data: MultimodalData, settings: Settings) -> float:
    """Return the mean best validation accuracy of a method over the search's seeds."""
    (parsed,) = parse_methods([method], tuple(data.modalities))
    found = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            run = Run(parsed, seed, data, settings)
            history = run.train(Path(folder), lambda _: None)
        found.append(max(record.val_accuracy for record in history))
    return fmean(found)


def training_settings(trial: optuna.Trial, epochs: int) -> TrainSettings:
    """Suggest optimizer, rate and warm-up."""
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
    low, high = {"sgd": (1e-2, 3e-1), "adamw": (3e-4, 3e-3)}[optimizer]
    rate = trial.suggest_float(f"{optimizer}_learning_rate", low, high, log=True)
    warmup = trial.suggest_categorical("warmup_epochs", [0.0, 1.0])
    return TrainSettings(epochs=epochs, optimizer=optimizer, learning_rate=rate, warmup_epochs=warmup)  # type: ignore[arg-type]


def rollingq_settings(trial: optuna.Trial) -> RollingQConfig:
    """Suggest what the paper leaves open."""
    return RollingQConfig(
        rho=trial.suggest_categorical("rho", [1.0, 2.0, 5.0, 10.0]),
        beta=trial.suggest_categorical("beta", [0.05, 0.1, 0.2, 0.3, 0.5]),
        max_rotations=trial.suggest_int("max_rotations", 1, 3),
        first_epoch=trial.suggest_int("first_epoch", 0, 6, step=2),
    )


def search(name: str, objective: Any, trials: int, storage: str) -> optuna.Study:  # noqa: ANN401
    """Run or go on with a study."""
    sampler = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(
        study_name=name, storage=storage, sampler=sampler, direction="maximize", load_if_exists=True
    )
    done = len([t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE])
    study.optimize(objective, n_trials=max(0, trials - done))
    return study


def trials_of(study: optuna.Study) -> list[dict[str, Any]]:
    """Return all finished trials, best first."""
    done = [t for t in study.trials if t.value is not None]
    return [{"accuracy": t.value, **t.params} for t in sorted(done, key=lambda t: -(t.value or 0.0))]


def main() -> None:
    """Search, and write every trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="av_digits")
    parser.add_argument("--dir", default=None)
    parser.add_argument("--modalities", default=None)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--storage", default="runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    modalities = tuple(given.modalities.split(",")) if given.modalities else None
    data = load(given.data, dir=given.dir, modalities=modalities)
    name = "_".join([given.data, *(modalities or ())])
    Path(given.storage).mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{given.storage}/search_{name}.db"

    def mt(trial: optuna.Trial) -> float:
        return validation_accuracy("mt", data, Settings(train=training_settings(trial, given.epochs)))

    training = search("training", mt, given.trials, storage)
    train = training_settings(optuna.trial.FixedTrial(training.best_params), given.epochs)  # type: ignore[arg-type]

    def mt_rollingq(trial: optuna.Trial) -> float:
        return validation_accuracy("mt+rollingq", data, Settings(train=train, rollingq=rollingq_settings(trial)))

    rotation = search("rollingq", mt_rollingq, given.trials, storage)
    chosen = replace(RollingQConfig(), **rotation.best_params)
    write_result(
        f"search_{name}",
        {
            "what": "mean best validation accuracy over seeds; the test split is not read",
            "seeds": list(SEEDS),
            "chosen": {"train": asdict(train), "rollingq": asdict(chosen)},
            "accuracy": {"mt": training.best_value, "mt+rollingq": rotation.best_value},
            "trials": {"mt": trials_of(training), "mt+rollingq": trials_of(rotation)},
        },
    )


if __name__ == "__main__":
    main()
