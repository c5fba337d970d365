"""Method names: what they mean, and that every list of them agrees."""

from rollingq.nn.registry import FUSIONS
from rollingq.training.methods import FUSION_NAMES, parse_methods


def test_the_names_are_those_of_the_registry() -> None:
    assert set(FUSION_NAMES) == set(FUSIONS)


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
