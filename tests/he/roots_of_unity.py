"""The canonical embedding by its definition, with long doubles: what the tests compare with."""

import numpy as np
import pytest

PI = np.longdouble("3.14159265358979323846264338327950288")


def require_long_doubles():
    """Skip where long double is double: then there is nothing finer to compare with."""
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double has no more bits than double on this machine")


def powers_of_five(n):
    """Exponents of the roots in the slots 0, 1, ... of degree n."""
    return np.array([pow(5, j, 2 * n) for j in range(n // 2)])


def values_at(coefficients, exponents):
    """The polynomial's values at powers of exp(i pi / n), summed one by one."""
    n = len(coefficients)
    angles = (np.outer(exponents, np.arange(n)) % (2 * n)).astype(np.longdouble) * PI / n
    return (np.cos(angles) + 1j * np.sin(angles)) @ np.asarray(coefficients, np.longdouble)


def fine_slots(coefficients):
    """`embedding.to_slots` with long doubles."""
    n = len(coefficients)
    twist = np.exp(1j * PI * np.arange(n).astype(np.longdouble) / n)
    at_odd_powers = np.fft.ifft(np.asarray(coefficients, np.longdouble) * twist) * n
    return at_odd_powers[(powers_of_five(n) - 1) // 2]


def fine_coefficients(slots):
    """`embedding.to_coefficients` with long doubles."""
    n = 2 * len(slots)
    places = (powers_of_five(n) - 1) // 2
    values = np.empty(n, np.clongdouble)
    values[places], values[n - 1 - places] = slots, np.conj(slots)
    twist = np.exp(-1j * PI * np.arange(n).astype(np.longdouble) / n)
    return (np.fft.fft(values) * twist).real / n
