"""The table of docs/numpy.md: which functions of NumPy come to he_gpu.

``python -m tests.numpy_table`` writes it anew.
"""

import importlib
from functools import cache
from pathlib import Path

import numpy as np

import he_gpu as he
from he_gpu import functions
from he_gpu.tensor import manners

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "numpy.md"
BEGIN = "<!-- tests/numpy_table.py writes from here -->"
END = "<!-- to here -->"
OPERATORS = {
    "add": "x + y", "subtract": "x - y", "multiply": "x * y", "divide": "x / y",
    "power": "x ** n", "matmul": "x @ y", "less": "x < y", "less_equal": "x <= y",
    "greater": "x > y", "greater_equal": "x >= y", "equal": "x == y", "not_equal": "x != y",
    "bitwise_and": "x & y", "bitwise_or": "x \\| y", "bitwise_xor": "x ^ y",
    "logical_and": "x & y", "logical_or": "x \\| y", "logical_xor": "x ^ y",
    "negative": "-x", "positive": "+x", "invert": "~x", "logical_not": "~x",
}  # fmt: skip


@cache
def dispatching(module):
    """Return the functions of a module of NumPy's that ask their arguments first, by name."""
    namespace = importlib.import_module(module)
    found = {name: getattr(namespace, name) for name in sorted(namespace.__all__)}
    return {name: value for name, value in found.items() if dispatches(value)}


def dispatches(value):
    return isinstance(value, np.ufunc) or hasattr(value, "_implementation")


def answered(module):
    """Return names of functions that have a counterpart."""
    return {
        name: value
        for name, value in dispatching(module).items()
        if manners.is_answered(he.SecretTensor, value)
    }


def table():
    """Return the rows, one for each counterpart, with all names that NumPy has for it."""
    rows = {}
    for module in ("numpy", "numpy.linalg"):
        for name, value in answered(module).items():
            own = manners.NAMES.get(value.__name__, value.__name__)
            own = OPERATORS.get(own) or (f"he.{own}" if own in functions.__all__ else f"x.{own}")
            rows.setdefault(own, []).append(f"`{module}.{name}`")
    for (ufunc, method), own in manners.REDUCTIONS.items():
        if f"he.{own}" in rows:
            rows[f"he.{own}"].append(f"`numpy.{ufunc}.{method}`")
    lines = [f"| {', '.join(names)} | `{own}` |" for own, names in rows.items()]
    return "\n".join(["| NumPy | he_gpu |", "|---|---|", *lines])


def main():
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
