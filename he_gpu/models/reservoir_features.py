"""The reservoir: random ReLU features of plaintext inputs, fixed by a seed.

Layer: models. The matrix is public: whoever knows the seed and the inputs knows the features.
Source: Huang, Zhu, Siew, "Extreme learning machine", Neurocomputing 2006.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError


def reservoir_features(X: Array, width: int, seed: int) -> Array:
    """Return relu(X @ W), (n, width), for W = RandomState(seed).standard_normal."""
    W = np.random.RandomState(seed).standard_normal((X.shape[1], width))
    return np.maximum(X @ W, 0.0)


def rounded(F: Array, frac_bits: int) -> Array:
    """Return features as sharing rounds them."""
    return np.ldexp(np.rint(np.ldexp(F, frac_bits)), -frac_bits)


def checked_seed(seed: Any, function: str) -> int | None:
    """Return the seed of a reservoir, or None for one that a fit draws.

    Raises:
        ValueError: outside [0, 2**32).
        TypeError: neither an integer nor None.
    """
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ArgumentTypeError(
            f"{function}: random_state must be an integer or None, got {type(seed).__name__}"
        )
    if not 0 <= seed < 2**32:
        raise ArgumentValueError(f"{function}: random_state must be in [0, 2**32), got {seed}")
    return int(seed)
