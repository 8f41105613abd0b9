"""The examples in the docstrings of he_gpu.he print what they say."""

import doctest
import importlib
import pkgutil

import pytest

from he_gpu import he

MODULES = ["he_gpu.he", *(info.name for info in pkgutil.iter_modules(he.__path__, "he_gpu.he."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    report = []
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    found = [test for test in finder.find(module) if test.examples]
    for test in found:
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
    assert runner.tries == sum(len(test.examples) for test in found)


def test_there_are_examples():
    found = (doctest.DocTestFinder().find(importlib.import_module(name)) for name in MODULES)
    assert sum(len(test.examples) for tests in found for test in tests) > 40
