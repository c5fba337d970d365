"""Every recipe parses, belongs to a dataset, and holds what the search on the validation split chose."""

import json
from importlib import resources
from pathlib import Path

import pytest

from rollingq.cli.options import parse_options
from rollingq.config import RollingQConfig
from rollingq.data.entries import DATASETS
from rollingq.training.settings import Settings

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
SEARCHES = {"av_digits": "search_av_digits", "utd_mhad": "search_utd_mhad_inertial_depth"}
CHOSEN = {
    "train": ("epochs", "optimizer", "learning_rate", "warmup_epochs"),
    "rollingq": ("rho", "beta", "max_rotations", "first_epoch"),
}


def chosen(name: str) -> dict[str, dict[str, object]]:
    found = json.loads((RESULTS / f"{SEARCHES[name]}.json").read_text())["chosen"]
    return {group: {key: found[group][key] for key in keys} for group, keys in CHOSEN.items()}


def values(settings: Settings) -> dict[str, dict[str, object]]:
    return {group: {key: getattr(getattr(settings, group), key) for key in keys} for group, keys in CHOSEN.items()}


def test_every_dataset_has_a_recipe() -> None:
    files = {path.name for path in resources.files("rollingq.recipes").iterdir() if path.name.endswith(".yaml")}
    assert files == {f"{name}.yaml" for name in DATASETS}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_recipe_is_what_the_search_chose(name: str) -> None:
    options = parse_options("compare", "", ["--data", name])
    assert options.data == name
    found, expected = values(options.settings), chosen(name)
    assert found["rollingq"] == expected["rollingq"]
    rate = expected["train"].pop("learning_rate")
    assert found["train"].pop("learning_rate") == pytest.approx(rate, rel=0.03)
    assert found["train"] == expected["train"]


def test_the_defaults_are_those_of_the_embedded_dataset() -> None:
    assert values(Settings())["rollingq"] == chosen("av_digits")["rollingq"]
    assert Settings().rollingq == RollingQConfig()


def test_flags_win_over_the_configuration_which_wins_over_the_recipe(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("data: utd_mhad\ntrain: {learning_rate: 0.5}\nrollingq: {rho: 3, beta: 0.4}\n")
    options = parse_options("compare", "", ["--config", str(mine), "--rollingq.rho", "7", "--epochs", "4"])
    assert options.data == "utd_mhad"
    assert options.settings.train.learning_rate == 0.5
    assert options.settings.rollingq.first_epoch == 2  # The recipe's.
    assert (options.settings.rollingq.rho, options.settings.rollingq.beta) == (7, 0.4)
    assert options.settings.train.epochs == 4
