"""Every public name has an example in its docstring, and the examples print what they say."""

from __future__ import annotations

import doctest
import inspect
import re
import sys
from types import ModuleType
from typing import Any

import pytest

import he_gpu
from he_gpu import functions
from he_gpu.backend import cuda

CLASSES = [
    name
    for name in he_gpu.__all__
    if inspect.isclass(getattr(he_gpu, name)) and name not in {"Cost", "Shares"}
]
INTERNAL = {
    "Session.backend",
    "Session.keys",
    "Session.check_open",
    "Session.scheme",
}
"""What a session offers to its tensors, and users need not know."""


def members(kind: type) -> dict[str, Any]:
    """Return a class's public methods and properties by their full name, inherited ones too."""
    return {
        f"{kind.__name__}.{name}": value
        for name, value in inspect.getmembers(kind)
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    }


NAMES = {name: getattr(he_gpu, name) for name in he_gpu.__all__ if name != "__version__"}
MEMBERS = {
    full: value for name in CLASSES for full, value in members(getattr(he_gpu, name)).items()
}
OBJECTS = NAMES | MEMBERS


def examples(value: Any) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(inspect.getdoc(value) or "")


def used(text: str, name: str) -> bool:
    """Tell whether code uses an attribute of that name."""
    return re.search(rf"\.{name}\b", text) is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example(name: str) -> None:
    assert examples(NAMES[name]), f"he_gpu.{name} has no example in its docstring"


@pytest.mark.parametrize("full", sorted(set(MEMBERS) - INTERNAL))
def test_every_method_has_an_example(full: str) -> None:
    """Its own, or one of its class that uses it, or that of the function of the same name."""
    kind, name = full.split(".")
    if examples(MEMBERS[full]) or name in functions.__all__:
        return
    code = "".join(example.source for example in examples(getattr(he_gpu, kind)))
    assert used(code, name), f"no example of {full}, neither in it nor in its class's docstring"


@pytest.mark.parametrize("name", [name for name, value in OBJECTS.items() if examples(value)])
def test_examples_print_what_they_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "probe", lambda index: "examples run on the CPU")
    value = OBJECTS[name]
    code = value.fget if isinstance(value, property) else value
    module = value if isinstance(value, ModuleType) else sys.modules[code.__module__]
    test = doctest.DocTestParser().get_doctest(
        inspect.getdoc(value) or "", dict(vars(module)), name, module.__file__, 0
    )
    report: list[str] = []
    results = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(
        test, out=report.append
    )
    assert not results.failed, "".join(report)
    assert results.attempted == len(test.examples) > 0
