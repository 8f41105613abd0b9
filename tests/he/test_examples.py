"""The examples in the docstrings print what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["ciphertext", "context"])
def test_examples(name):
    module = importlib.import_module(f"he_gpu.he.{name}")
    report = []
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in finder.find(module):
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
    assert runner.tries > 5
