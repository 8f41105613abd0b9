"""Arguments of layers, checked.

Layer: nn. Names the layer, the argument, the bound and the value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError


def positive(layer: str, name: str, value: Any) -> int:
    """Return an integer that is at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(f"{layer}: {name} must be an integer, got {type(value).__name__}")
    if value < 1:
        raise ArgumentValueError(f"{layer}: {name} must be at least 1, got {value}")
    return int(value)


def real(
    layer: str,
    name: str,
    value: Any,
    low: float,
    high: float = np.inf,
    *,
    open_low: bool = False,
    closed: bool = False,
) -> float:
    """Return a finite real number from low on, or above it, and below high, or up to it."""
    if isinstance(value, bool | str) or not isinstance(value, int | float | np.number):
        raise ArgumentTypeError(f"{layer}: {name} must be a number, got {type(value).__name__}")
    above = low < value if open_low else low <= value
    if not above or not (value <= high if closed else value < high):
        ends = "(" if open_low else "[", "]" if closed else ")"
        raise ArgumentValueError(
            f"{layer}: {name} must be in {ends[0]}{low:g}, {high:g}{ends[1]}, got {value}"
        )
    return float(value)
