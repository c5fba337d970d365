"""Every example in a docstring runs, and every public function has one."""

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest
import torch
from torch import nn

import rollingq


def module_names() -> Iterator[str]:
    yield "rollingq"
    for info in pkgutil.walk_packages(rollingq.__path__, "rollingq."):
        if not info.name.endswith(".__main__"):
            yield info.name


@pytest.mark.parametrize("name", list(module_names()))
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    # Examples are short because torch and nn are at hand, as they are for their reader.
    names = {"torch": torch, "nn": nn, "rollingq": rollingq, **vars(module)}
    result = doctest.testmod(module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def public_functions() -> dict[str, object]:
    homes = {"rollingq": rollingq, "rollingq.functional": rollingq.functional}
    found = {f"{home}.{name}": getattr(module, name) for home, module in homes.items() for name in module.__all__}
    return {name: thing for name, thing in found.items() if inspect.isfunction(thing)}


@pytest.mark.parametrize("name", public_functions())
def test_public_functions_have_a_running_example(name: str) -> None:
    thing = public_functions()[name]
    examples = [example for test in doctest.DocTestFinder(recurse=False).find(thing, name) for example in test.examples]
    assert examples, f"{name} has no example in its docstring"
    assert any(example.want for example in examples), f"the example of {name} shows no result"
