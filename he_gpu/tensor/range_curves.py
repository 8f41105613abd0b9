"""Polynomials of t in [1, 1 + 2**step] for the functions that `magnitudes` and `softmax` need.

Layer: tensor, under both. Knows public functions, and nothing of shares. The variable is that of
`normalisation`, u = (t - 1 - 2**(step - 1)) / 2**(step - 1) in [-1, 1].
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.polynomial.chebyshev import chebfit, chebval

from he_gpu.backend import Array
from he_gpu.tensor.fitting import Fit
from he_gpu.tensor.polynomial import Polynomial

_POINTS = 4000
_DEGREES = {
    "log": {4: 22, 3: 16, 2: 12, 1: 8},
    "reciprocal": {4: 22, 3: 16, 2: 12, 1: 8},
    "sqrt": {4: 16, 2: 8},
    "rsqrt": {4: 22, 2: 12},
}
"""By the step: the last degree before products or levels grow, for relative errors below 4e-5."""


@cache
def range_curve(function: str, step: int, halved: bool = False) -> Polynomial:
    """Return the polynomial near a function of t, as one of u in (-1, 1).

    Args:
        function: "log": ln t; "reciprocal": 1 / t, "rsqrt": t**-0.5 and "sqrt":
            (t / 2**step)**0.5, at most 1 for t up to 2**step, whose relative errors are fitted.
        step: of the range of t.
        halved: whether to divide it by 2**0.5, which serves an odd number of fraction bits.
    """
    u = np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS)
    scale = 2**-0.5 if halved else 1.0
    y = scale * _values(function, u, step)
    weights = None if function == "log" else 1 / y
    series = chebfit(u, y, _DEGREES[function][step], w=weights)
    dense = np.cos(np.linspace(0, np.pi, 4 * _POINTS + 1))
    error = np.abs(chebval(dense, series) - scale * _values(function, dense, step)).max()
    return Polynomial(Fit(series, series, float(error)), (-1.0, 1.0), "chebyshev")


def _values(function: str, u: Array, step: int) -> Array:
    t = 1 + 2.0 ** (step - 1) * (1 + u)
    if function == "log":
        return np.asarray(np.log(t))
    if function == "sqrt":
        return np.asarray(np.sqrt(t / 2**step))
    return np.asarray(1 / t if function == "reciprocal" else t**-0.5)
