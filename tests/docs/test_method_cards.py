"""Method cards: one page a method, whose defaults, costs, examples, names and links are those of the code."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rollingq.balancing.registry import make_balancing
from rollingq.catalogue import BALANCING, FUSIONS, FusionCard
from rollingq.cli.options import parse_options
from rollingq.config import (
    BalancingConfig,
    EncoderConfig,
    FusionConfig,
    JMTConfig,
    MBTConfig,
    MMMLConfig,
    MTConfig,
    MTStarConfig,
    MulTConfig,
    RollingQConfig,
)
from rollingq.errors import ConfigError
from rollingq.nn.classifier import MultimodalClassifier
from rollingq.nn.encoders import build_encoder
from rollingq.nn.layers import use_plain_form
from rollingq.nn.registry import build_model
from rollingq.training.methods import parse_methods
from rollingq.training.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "methods"
SECTIONS = ["Idea", "Equations", "Source", "Defaults", "Cost", "What we decided ourselves", "Try it"]
TITLES = {name: card.title for name, card in [*FUSIONS.items(), *BALANCING.items()]} | {"encoders": "Encoders"}
PAGES = sorted(path.stem for path in FOLDER.glob("*.md"))
LENGTH, CLASSES, DIM = 6, 5, 24
"""Tokens of each modality with its class token, classes, width: the sizes at which costs are counted."""
MODALITIES = ("audio", "visual", "text")
SETTINGS_OF = {
    **{name: f"fusion.{name}" for name in vars(FusionConfig())},
    **{name: f"balancing.{name}" for name in vars(BalancingConfig())},
    "ogm_ge": "balancing.ogm",
    "rollingq": "rollingq",
    "encoders": "encoder",
}
"""Page -> where its settings live."""
FUSION_CONFIG = FusionConfig(
    mt=MTConfig(num_heads=2, dropout=0.0),
    mt_star=MTStarConfig(phases=[1, 1, 1], num_heads=2, dropout=0.0),
    mult=MulTConfig(num_layers=2, num_memory_layers=2, dropout=0.0),
    mbt=MBTConfig(num_layers=2, num_bottlenecks=3, dropout=0.0),
    jmt=JMTConfig(num_heads=2, hidden_dim=10, dropout=0.0),
    mmml=MMMLConfig(num_layers=2, dropout=0.0),
)
"""Sizes unlike each other, so that no symbol can stand for another."""
SYMBOLS: dict[str, dict[str, int]] = {
    "mt": {"H": 2},
    "mt_star": {"H": 2, "N": 3},
    "mult": {"N": 2, "k": 2},
    "mbt": {"N": 2, "b": 3, "r": 2},
    "jmt": {"h": 10},
    "mmml": {"N": 2, "h": 2 * DIM // 3},
    "joint": {"N": 2, "r": 2},
}
"""What the symbols of a page's formulas are under ``FUSION_CONFIG``; heads are otherwise the encoder's 4."""


@cache
def text_of(page: str) -> str:
    return (FOLDER / f"{page}.md").read_text()


def section(page: str, title: str) -> str:
    return text_of(page).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Cells of every table row whose first cell is code, or starts with "MACs" or "parameters"."""
    found = re.findall(r"^\| ((?:`|MACs|parameters).*) \|$", text, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in row.split(" | ")] for row in found]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(page), re.DOTALL)


def evaluate(formula: str, values: Mapping[str, int]) -> int:
    """Value of a formula such as "4 L d^2 + d (C + 1)": a space between two factors multiplies."""
    code = re.sub(r"(?<=[\w)])\s+(?=[\w(])", "*", formula).replace("^", "**")
    number: int = eval(code, {"__builtins__": {}}, dict(values))  # noqa: S307
    return number


def built(name: str, num_modalities: int) -> MultimodalClassifier:
    encoder = EncoderConfig(dim=DIM, num_layers=3, num_heads=4, dropout=0.0)
    fusion = "joint:2" if name == "joint" else name
    shapes = dict.fromkeys(MODALITIES[:num_modalities], (LENGTH - 1, 2))
    return build_model(fusion, shapes, CLASSES, encoder, FUSION_CONFIG)


def symbols(name: str, num_modalities: int) -> dict[str, int]:
    width = (num_modalities - 1) * DIM
    sizes = {"d": DIM, "C": CLASSES, "M": num_modalities, "T": LENGTH, "L": num_modalities * LENGTH + 1, "w": width}
    return {**sizes, "H": 4, **SYMBOLS.get(name, {})}


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- the pages ---------------------------------------------------------------------------------------


def test_every_method_has_a_page_and_every_page_a_method() -> None:
    assert sorted(TITLES) == sorted(set(PAGES) - {"index"})
    toctree = re.findall(r"```\{toctree\}\n(.*?)```", text_of("index"), re.DOTALL)[0]
    assert sorted(line for line in toctree.split() if line.isidentifier()) == sorted(TITLES)


@pytest.mark.parametrize("page", TITLES)
def test_sections_and_length(page: str) -> None:
    text = text_of(page)
    assert text.startswith(f"# {TITLES[page]}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert all(section(page, title).strip() for title in SECTIONS)
    assert len(text.splitlines()) <= 80
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 120


@pytest.mark.parametrize("page", TITLES)
def test_defaults_are_those_of_the_settings(page: str) -> None:
    listed = {name: default for name, default, _ in rows(section(page, "Defaults"))}
    path = SETTINGS_OF.get(page)
    if path is None:
        assert not listed
        return
    config: Any = Settings()
    for part in path.split("."):
        config = getattr(config, part)
    assert is_dataclass(config)
    assert listed == {f"{path}.{field.name}": repr(getattr(config, field.name)) for field in fields(config)}


@pytest.mark.parametrize("page", PAGES)
def test_internal_links_resolve(page: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)", text_of(page))
    assert all((FOLDER / target).is_file() for target in targets if not target.startswith("http")), targets


# --- cost --------------------------------------------------------------------------------------------


def layouts() -> list[tuple[str, int]]:
    return [(name, n) for name, card in FUSIONS.items() for n in (1, 2, 3) if card.takes(n)]


@pytest.mark.parametrize(("name", "num_modalities"), layouts())
def test_cost_of_a_fusion(name: str, num_modalities: int) -> None:
    formulas = dict(rows(section(name, "Cost")))
    assert list(formulas) == ["parameters", "MACs, every row", "MACs, as computed here"]
    model = built(name, num_modalities)
    found = {"parameters": num_parameters(model.fusion), "MACs, as computed here": macs(model)}
    use_plain_form(model)
    found["MACs, every row"] = macs(model)
    assert found == {what: evaluate(formulas[what], symbols(name, num_modalities)) for what in found}


def macs(model: MultimodalClassifier) -> int:
    """Multiply-accumulates of the fusion's matrix products for one sample."""
    tokens = {name: torch.randn(1, LENGTH, DIM) for name in model.modalities}
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        model.fusion(tokens, {})
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize("name", BALANCING)
def test_cost_of_a_balancing_method(name: str) -> None:
    ((what, formula),) = rows(section(name, "Cost"))
    model = built("mt", 3)
    before = num_parameters(model)
    balancing = make_balancing(name, model, RollingQConfig(), BalancingConfig())
    added = num_parameters(balancing) + num_parameters(model) - before
    assert (what, evaluate(formula, symbols("mt", 3))) == ("parameters", added)


def test_cost_of_the_encoders() -> None:
    formulas = dict(rows(section("encoders", "Cost")))
    sequence = build_encoder("text", (7, 3), EncoderConfig(dim=DIM, num_layers=2))
    sizes = {"d": DIM, "N": 2, "n": 7, "f": 3}
    assert num_parameters(sequence) == evaluate(formulas["parameters, sequence"], sizes)
    tiny = EncoderConfig(name="vit_tiny_patch16_224", dim=192, num_layers=2)
    vit = build_encoder("audio", (1, 33, 48), tiny)
    sizes = {"d": 192, "N": 2, "n": 6, "c": 1}
    assert num_parameters(vit) == evaluate(formulas["parameters, vit"], sizes)


# --- examples ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [*FUSIONS, "encoders"])
def test_python_example_runs(page: str) -> None:
    (block,) = blocks(page, "python")
    assert 5 <= len([line for line in block.splitlines() if line]) <= 10
    exec(compile(block, page, "exec"), {"__name__": page})


@pytest.mark.parametrize("page", BALANCING)
def test_command_line_is_accepted(page: str) -> None:
    (block,) = blocks(page, "console")
    program, command, *arguments = shlex.split(block)
    assert (program, command) == ("rollingq", "compare")
    options = parse_options(command, "", arguments)
    assert any(page in method.balancing for method in parse_methods(options.methods, MODALITIES[:2]))


# --- the index ---------------------------------------------------------------------------------------


def row_of(card: FusionCard) -> list[str]:
    modalities = "2 or more" if card.max_modalities is None else str(card.max_modalities)
    return [card.name, card.title, card.kind, modalities, card.rollingq or "no", f"[{card.name}]({card.name}.md)"]


def test_table_of_fusions() -> None:
    assert rows(section("index", "Fusions")) == [row_of(card) for card in FUSIONS.values()]


def test_table_of_balancing_methods() -> None:
    found = [(name, title, page) for name, title, _, page in rows(section("index", "Balancing methods"))]
    assert found == [(c.name, c.title, f"[{c.name}]({c.name}.md)") for c in BALANCING.values()]


LISTED = rows(section("index", "Names"))
"""Rows of two cells: names that stand for something; rows of three: names that are refused, with which modalities."""


def build_all(name: str, modalities: list[str]) -> None:
    for method in parse_methods([name], modalities):
        shapes = dict.fromkeys(method.modalities, (5, 2))
        build_model(method.fusion, shapes, CLASSES, EncoderConfig(dim=8, num_heads=2))


@pytest.mark.parametrize("name", [row[0] for row in LISTED if len(row) == 2])
def test_listed_names_are_accepted(name: str) -> None:
    build_all(name, list(MODALITIES[:2]))


@pytest.mark.parametrize(("name", "modalities"), [row[:2] for row in LISTED if len(row) == 3])
def test_names_said_to_be_refused_are(name: str, modalities: str) -> None:
    with pytest.raises(ConfigError):
        build_all(name, modalities.split(","))
