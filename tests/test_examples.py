"""The examples run, print what they return, and are as good on shares as in the clear."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = {
    "chaotic_series",
    "digits_lenet",
    "digits_mlp",
    "logistic_regression",
    "torch_private_predictions",
}
IMPORTED = {"he_gpu", "numpy", "sklearn", "sys"}


def run(name, *arguments):
    """What an example's main returns."""
    pytest.importorskip("sklearn", reason="scikit-learn brings the data")
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](*arguments)


def test_there_are_no_others():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_example_is_short_and_imports_little(name):
    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 60
    imported = set(re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE))
    assert imported <= IMPORTED | ({"torch"} if name.startswith("torch") else set())
    assert f"python examples/{name}.py" in source


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_logistic_regression(protocol, capsys):
    private, clear = run("logistic_regression", protocol)
    # On 114 samples, equal but for those whose score rounding moves over 0.
    assert private == clear > 0.97
    assert capsys.readouterr().out.count(f"{clear:.3f}") == 2


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_chaotic_series(protocol, capsys):
    private, clear, before = run("chaotic_series", protocol)
    assert before < 0.5 < 0.99 < clear
    # Errors of two units in each residual move a prediction by at most l / (2 - l) < 6 times as
    # much, l = 1.7 being the rate times the largest eigenvalue of F.T F, and features that are
    # rounded by half a unit by the sum of |w| < 3 times that: 14 units in all. R^2 then moves by
    # twice that times the root of 1 - R^2, which is below 0.1.
    assert abs(private - clear) < 2 * 14 * 2.0**-16 * 0.1
    assert f"{private:.5f}" in capsys.readouterr().out


def test_digits_mlp(capsys):
    private, clear = run("digits_mlp")
    assert clear > 0.95
    assert abs(private - clear) <= 0.005
    lines = capsys.readouterr().out.splitlines()
    curves = [np.array(line.partition(":")[2].split(), float) for line in lines[:2]]
    assert np.abs(curves[0] - curves[1]).max() <= 0.002


@pytest.mark.slow
def test_digits_lenet(capsys):
    private, clear = run("digits_lenet")
    assert clear > 0.95
    # Training in the clear itself differs by that much from starts a unit of 2^-16 apart; see
    # tests/nn/test_accuracy.py.
    assert abs(private - clear) <= 0.01
    assert f"{private:.3f}" in capsys.readouterr().out


@pytest.mark.slow
def test_torch_private_predictions(capsys):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[torch]'")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    private, clear, equal = run("torch_private_predictions")
    torch.set_num_threads(threads)
    assert clear > 0.95
    assert private == clear
    assert equal == 1.0
    assert "100.0% of 450" in capsys.readouterr().out


def test_an_example_runs_from_the_shell():
    pytest.importorskip("sklearn", reason="scikit-learn brings the data")
    command = [sys.executable, "-W", "error", str(EXAMPLES / "chaotic_series.py"), "plain", "cpu"]
    env = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "R^2 on shares" in done.stdout
