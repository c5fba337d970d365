"""Method names: what they mean, and that every list of them agrees."""

import pytest

from rollingq import catalogue
from rollingq.balancing.registry import BALANCING
from rollingq.errors import ConfigError
from rollingq.nn.registry import FUSIONS
from rollingq.training.methods import left_out, parse_methods, systems


def test_the_names_are_those_of_the_registry() -> None:
    assert list(catalogue.FUSIONS) == list(FUSIONS)
    assert list(catalogue.BALANCING) == list(BALANCING)


def test_unimodal_stands_for_each_modality_and_doubles_fall_together() -> None:
    methods = parse_methods(["unimodal", "unimodal:image", "mt", "mt"], ["audio", "image"])
    assert [(m.name, m.fusion, m.balancing, m.modalities) for m in methods] == [
        ("unimodal:audio", "unimodal", (), ("audio",)),
        ("unimodal:image", "unimodal", (), ("image",)),
        ("mt", "mt", (), ("audio", "image")),
    ]


def test_what_follows_plus_balances() -> None:
    (method,) = parse_methods(["mt+rollingq"], ["a", "b", "c"])
    assert (method.fusion, method.balancing, method.modalities) == ("mt", ("rollingq",), ("a", "b", "c"))


@pytest.mark.parametrize("number", [2, 3])
def test_all_stands_for_every_system_that_is_defined_for_so_many_modalities(number: int) -> None:
    modalities = ["audio", "image", "text"][:number]
    found = {method.name for method in parse_methods(["all"], modalities)}
    missing = {line.split()[0] for line in left_out(number)}
    assert {name.split("+")[0].split(":")[0] for name in found} | missing == set(catalogue.FUSIONS)
    assert {part for name in found for part in name.split("+")[1:]} == set(catalogue.BALANCING)
    assert {f"unimodal:{name}" for name in modalities} <= found
    assert missing == ({"film", "gated", "mmml"} if number == 3 else set())
    assert len(parse_methods(["all", *systems(number)], modalities)) == len(found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mt+rollingq+rollingq", "each balancing method once in 'mt\\+rollingq\\+rollingq', but got rollingq twice"),
        ("mt:3", "'mt' without ':3'"),
        ("mbt+rollingq", r"modalities compete before '\+rollingq' \(mt, mt_star, mult, mmml, joint\), but got 'mbt"),
        ("mt+rolingq", "Did you mean 'rollingq'"),
    ],
)
def test_methods_that_do_not_exist(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^Expected .*{text}"):
        parse_methods([name], ["audio", "image"])


def test_a_fusion_of_two_refuses_three() -> None:
    with pytest.raises(ConfigError, match="exactly two modalities for 'film', but got a, b, c"):
        parse_methods(["film"], ["a", "b", "c"])
