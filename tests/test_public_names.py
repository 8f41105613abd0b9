"""`he_gpu.__all__` is the public face: complete, sorted, documented."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import he_gpu
from he_gpu import functions

ROOT = Path(__file__).resolve().parents[1]
CONTRACT = {
    "Ciphertext",
    "Ckks",
    "CkksParams",
    "LinearRegression",
    "LogisticRegression",
    "MLPClassifier",
    "MLPRegressor",
    "Polynomial",
    "ReservoirClassifier",
    "ReservoirRegressor",
    "Ridge",
    "Ring",
    "SecretTensor",
    "Session",
    "abs",
    "add",
    "approximate",
    "argmax",
    "argmin",
    "avg_pool2d",
    "bitwise_invert",
    "broadcast_to",
    "clip",
    "concat",
    "concatenate",
    "conv1d",
    "conv1d_input",
    "conv1d_weight",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "cumsum",
    "cumulative_sum",
    "decrypt",
    "diagonal",
    "divide",
    "dot",
    "einsum",
    "encrypt",
    "erf",
    "errors",
    "exp",
    "expand_dims",
    "flip",
    "gelu",
    "inner",
    "log",
    "log1p",
    "log_softmax",
    "logsumexp",
    "matmul",
    "matrix_transpose",
    "max",
    "max_pool2d",
    "maximum",
    "mean",
    "min",
    "minimum",
    "moveaxis",
    "nn",
    "norm",
    "outer",
    "pad",
    "permute_dims",
    "pow",
    "power",
    "product",
    "ravel",
    "reciprocal",
    "relu",
    "repeat",
    "reshape",
    "roll",
    "rsqrt",
    "sigmoid",
    "sign",
    "silu",
    "softmax",
    "softplus",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sum",
    "swapaxes",
    "take",
    "tanh",
    "tensordot",
    "tile",
    "trace",
    "transpose",
    "tril",
    "triu",
    "var",
    "vdot",
    "vecdot",
    "where",
}

FUNCTIONS_ONLY = {
    "bitwise_invert",
    "concat",
    "concatenate",
    "conv1d_input",
    "conv1d_weight",
    "conv2d_input",
    "conv2d_weight",
    "cumulative_sum",
    "einsum",
    "permute_dims",
    "pow",
    "stack",
}
"""Of several tensors, or another name of what is a method already."""


def test_all_names_exist_and_are_sorted() -> None:
    assert list(he_gpu.__all__) == sorted(set(he_gpu.__all__))
    assert [name for name in he_gpu.__all__ if not hasattr(he_gpu, name)] == []


def test_all_equals_the_public_names() -> None:
    public = {
        name
        for name, value in vars(he_gpu).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    listed = {n for n in he_gpu.__all__ if not isinstance(getattr(he_gpu, n), ModuleType)}
    assert public == {name for name in listed if not name.startswith("_")}


def test_contract_is_kept() -> None:
    assert set(he_gpu.__all__) >= CONTRACT


@pytest.mark.parametrize("name", functions.__all__)
def test_functions_of_tensors_are_methods_too(name: str) -> None:
    assert getattr(he_gpu, name) is getattr(functions, name)
    own = functions if name in FUNCTIONS_ONLY else he_gpu.SecretTensor
    assert inspect.getdoc(getattr(own, name))


def test_public_names_are_documented_and_our_own() -> None:
    for name in he_gpu.__all__:
        value = getattr(he_gpu, name)
        if isinstance(value, ModuleType):
            assert value.__name__.startswith("he_gpu."), name
        elif inspect.isclass(value) or inspect.isroutine(value):
            assert value.__module__.startswith("he_gpu"), name
            assert inspect.getdoc(value), name


def test_version_is_that_of_the_project_file() -> None:
    version = getattr(he_gpu, "__version__", None)
    if version is None:
        pytest.fail("he_gpu.__version__ is missing")
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "([^"]+)"$', text, re.MULTILINE)
    assert found is not None
    assert version == found.group(1)
