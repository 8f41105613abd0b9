"""The ring layer's vectors are what SymPy computes today, where it is installed."""

import json
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "vectors"


@pytest.mark.parametrize("name", ["ntt_sympy.json", "rns_sympy.json"])
def test_vectors_are_what_sympy_computes(name):
    pytest.importorskip("sympy", reason="SymPy is not installed; it comes with PyTorch")
    script = runpy.run_path(str(FOLDER / "ring_sympy.py"))
    kept = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    made = json.loads(script["text"](script["VECTORS"][name]()))
    assert {**made, "version": kept["version"]} == kept
