"""Initial values of parameters, public until they are shared.

Layer: nn. PyTorch's distributions from NumPy's generators: nothing here is a secret or a mask.
Source: He, Zhang, Ren, Sun, Delving deep into rectifiers, 2015, with PyTorch's a = sqrt(5), which
makes the bound 1 / sqrt(fan_in).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError


def generator_of(random_state: Any) -> np.random.Generator:
    """Return NumPy's generator of a seed, of None for an unknown one, or of a generator.

    Raises:
        TypeError: anything else.
    """
    kinds = int | np.integer | np.random.Generator
    if random_state is None or (
        isinstance(random_state, kinds) and not isinstance(random_state, bool)
    ):
        return np.random.default_rng(random_state)
    raise ArgumentTypeError(
        f"random_state must be an integer, a numpy.random.Generator or None, got "
        f"{type(random_state).__name__}"
    )


def uniform(generator: np.random.Generator, bound: float, shape: tuple[int, ...]) -> Array:
    """Return values in [-bound, bound)."""
    return generator.uniform(-bound, bound, shape)
