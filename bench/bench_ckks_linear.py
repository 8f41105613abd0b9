"""Matrices times encrypted vectors and polynomials of them, on vectors that fill a ciphertext."""

from functools import cache

import numpy as np
import pytest

from bench.operands import by_device
from he_gpu.he.context import Ckks
from he_gpu.he.linear import PlainMatrix
from he_gpu.he.parameters import CkksParams

MATRIX_DEGREE, MATRIX_DEPTH = 8192, 2
POLYNOMIAL_DEGREE, POLYNOMIAL_DEPTH = 16384, 3


@cache
def ours(device, depth, degree):
    """A context with keys made from a seed."""
    return Ckks(CkksParams(depth, ring_degree=degree), device, seed=1)


@pytest.mark.parametrize("n", [64, 256])
def test_matrix(n, backend, record):
    context = ours(backend.name, MATRIX_DEPTH, MATRIX_DEGREE)
    rng = np.random.default_rng(0)
    size = by_device(backend, cpu=n, cuda=n, emulator=8)
    values, x = rng.uniform(-1, 1, (size, size)), rng.uniform(-1, 1, size)
    X, kept = context.encrypt(x), PlainMatrix(values)
    result = kept @ X
    error = float(np.abs(context.decrypt(result) - values @ x).max())
    assert error <= result.error
    record.compare(
        f"{size} x {size} matrix times vector, N = {MATRIX_DEGREE}",
        lambda: kept @ X,
        {"encoding it anew": lambda: values @ X, "one rotation": lambda: X.rotate(1)},
        rounds=11,
        n=size,
        limbs=X.components.shape[-2],
        error=error,
        error_bound=result.error,
    )


@pytest.mark.parametrize("basis", ["powers", "Chebyshev"])
def test_polynomial(basis, backend, record):
    degree = by_device(backend, cpu=POLYNOMIAL_DEGREE, cuda=POLYNOMIAL_DEGREE, emulator=8192)
    depth = by_device(backend, cpu=POLYNOMIAL_DEPTH, cuda=POLYNOMIAL_DEPTH, emulator=2)
    terms = 2**depth
    context = ours(backend.name, depth, degree)
    rng = np.random.default_rng(0)
    x, coefficients = rng.uniform(-1, 1, degree // 2), rng.uniform(-1, 1, terms)
    X = context.encrypt(x)
    if basis == "powers":
        call, expected = X.polynomial, np.polynomial.polynomial.polyval(x, coefficients)
    else:
        call, expected = X.chebyshev, np.polynomial.chebyshev.chebval(x, coefficients)
    result = call(coefficients)
    error = float(np.abs(context.decrypt(result) - expected).max())
    assert error <= result.error
    assert result.level == 0
    record.compare(
        f"polynomial of degree {terms - 1} in {basis}, N = {degree}",
        lambda: call(coefficients),
        {"one product": lambda: X * X},
        rounds=11,
        n=degree,
        limbs=X.components.shape[-2],
        error=error,
        error_bound=result.error,
    )
