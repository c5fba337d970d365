"""Settings: ranges, unknown names, and everything that is wrong said at once."""

from typing import Any

import pytest

from rollingq import RollingQConfig
from rollingq.config import EncoderConfig
from rollingq.errors import ConfigError

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "options",
    [
        {"rho": 1e-6},
        {"rho": 3},
        {"beta": 0},
        {"beta": 2.0},
        {"max_rotations": 0},
        {"first_epoch": 100},
        {"scope": "all_queries", "heads": "full", "rotation": "svd", "statistics": "full_pass"},
    ],
)
def test_values_at_the_edges_are_taken(options: dict[str, Any]) -> None:
    config = RollingQConfig.from_options(options)
    assert {name: getattr(config, name) for name in options} == options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("rho", value) for value in (0, -1.0, NAN, INF, True, "5", None)),
        *(("beta", value) for value in (-0.01, 2.01, NAN, INF, False, "0.2", None)),
        *((name, value) for name in ("max_rotations", "first_epoch") for value in (-1, 1.0, True, "1", None)),
        *((name, value) for name in ("scope", "heads", "rotation", "statistics") for value in ("", "querry", None, 3)),
    ],
)
def test_values_outside_are_one_clear_line(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^Expected {name} to be .*, but got ") as caught:
        RollingQConfig.from_options({name: value})
    assert repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_choice_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'epoch', 'full_pass', but got 'fullpass'. Did you mean 'full_pass'\?"):
        RollingQConfig(statistics="fullpass")


def test_an_unknown_option_names_the_nearest_and_lists_all() -> None:
    with pytest.raises(
        ConfigError, match=r"options rho, beta, .*but got max_rotation\. .*Did you mean 'max_rotations'\?"
    ):
        RollingQConfig.from_options({"max_rotation": 1})


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        RollingQConfig.from_options({"rho": -1, "beta": 3, "heads": "all", "max_rotations": -2})
    assert all(f"Expected {name}" in str(caught.value) for name in ("rho", "beta", "heads", "max_rotations"))


def test_several_unknown_options_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        RollingQConfig.from_options({"roh": 1.0, "betta": 0.1})
    assert all(name in str(caught.value) for name in ("'roh' is unknown", "'betta' is unknown", "'rho'", "'beta'"))


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(AttributeError):
        RollingQConfig().rho = 1.0


@pytest.mark.parametrize(
    "options",
    [
        {"dim": 0},
        {"dim": 9, "num_heads": 2},
        {"dim": 8.0},
        {"num_layers": 0},
        {"num_heads": -1},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"dropout": NAN},
        {"dropout": "0.1"},
    ],
)
def test_encoder_sizes(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^Expected \w+ to be .*, but got"):
        EncoderConfig(**options)
