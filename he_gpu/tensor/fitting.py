"""Polynomials that come close to a function of one real number, in float64.

Layer: tensor, beside `polynomial`. Knows public functions and numbers, and nothing of shares.
Sources: Trefethen, "Approximation Theory and Approximation Practice", chapters 3 to 8; Lyness and
Moler, SIAM J. Numer. Anal. 1967 (Taylor coefficients from values on a circle).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError

MOST = 256
"""The largest degree that is tried or taken."""
_NODES = 2048
_GRID = 8193
_NEGLIGIBLE = 2.0**-46
_CIRCLE = 512

Function = Callable[[Any], Any]


class Fit(NamedTuple):
    """A polynomial on an interval, in two bases.

    Attributes:
        coefficients: of its basis; "taylor": of the powers of x - middle.
        chebyshev: of T_0, T_1, ... of (x - middle) / (half of the width).
        error: the largest difference from the function on a dense grid.
    """

    coefficients: Array
    chebyshev: Array
    error: float


def values(f: Function, x: Array) -> Array:
    """Return f at float64 points, one by one where f takes no arrays.

    Raises:
        ArgumentTypeError: f gives no real numbers.
        ArgumentValueError: f gives NaN or infinities.
    """
    with np.errstate(all="ignore"):
        try:
            y = np.asarray(f(x))
        except (TypeError, ValueError):
            y = np.asarray([f(float(point)) for point in x.reshape(-1)]).reshape(x.shape)
    if y.dtype.kind not in "fiub":
        raise ArgumentTypeError(f"approximate: f must give real numbers, got dtype {y.dtype}")
    y = np.broadcast_to(y.astype(np.float64), x.shape) if y.ndim == 0 else y.astype(np.float64)
    if y.shape != x.shape:
        raise ArgumentTypeError(
            f"approximate: f must give one number for each, got shape {y.shape} for {x.shape}"
        )
    if not np.isfinite(y).all():
        where = float(x[~np.isfinite(y)].flat[0])
        raise ArgumentValueError(f"approximate: f must be finite on the interval, not at {where:g}")
    return y


def grid(low: float, high: float) -> Array:
    """Return dense points of an interval, denser towards its ends, the ends included."""
    u = np.concatenate([np.linspace(-1, 1, _GRID), np.cos(np.linspace(0, np.pi, _GRID))])
    return np.clip((low + high) / 2 + (high - low) / 2 * u, low, high)


def to_unit(x: Array, low: float, high: float) -> Array:
    """Return u in [-1, 1] for x in an interval."""
    return (x - (low + high) / 2) / ((high - low) / 2)


def chebyshev(
    f: Function, low: float, high: float, degree: int | None, max_error: float | None
) -> Fit:
    """Fit by the Chebyshev series, cut off at a degree, or at the first that meets max_error.

    The coefficients come from values at 2048 Chebyshev points, so the polynomial is that of least
    squares over them with Chebyshev's weight; its error is near the least possible.

    Raises:
        ArgumentValueError: no degree up to `MOST` meets max_error.
    """
    series = _series(f, low, high)
    x = grid(low, high)
    u, rest = to_unit(x, low, high), values(f, x)
    before, now = np.ones_like(u), u
    best = np.inf
    for n in range(MOST + 1):
        rest = rest - series[n] * before
        before, now = now, 2 * u * now - before
        if degree is not None and n < degree:
            continue
        error = float(np.abs(rest).max())
        if degree is not None or error <= (max_error or 0.0):
            return Fit(series[: n + 1], series[: n + 1], error)
        best = min(best, error)
    raise ArgumentValueError(
        f"approximate: max_error {max_error:g} on [{low:g}, {high:g}] is not met by degrees up to "
        f"{MOST}, which reach {best:.3g}; take a shorter interval"
    )


def taylor(
    f: Function, low: float, high: float, degree: int | None, max_error: float | None
) -> Fit:
    """Fit by the Taylor series about the middle, cut off likewise.

    Raises:
        ArgumentValueError: f has no derivatives that can be found, or max_error is not met.
    """
    x = grid(low, high)
    u, y = to_unit(x, low, high), values(f, x)
    most = MOST // 4 if degree is None else degree
    scaled = _derivatives(f, low, high, most)  # of the powers of u
    rest, power, best = y, np.ones_like(u), np.inf
    for n in range(most + 1):
        rest, power = rest - scaled[n] * power, power * u
        if degree is not None and n < degree:
            continue
        error = float(np.abs(rest).max())
        if degree is not None or error <= (max_error or 0.0):
            powers = scaled[: n + 1]
            half = (high - low) / 2
            series = np.polynomial.chebyshev.poly2cheb(powers)
            series = np.concatenate([series, np.zeros(n + 1 - len(series))])
            return Fit(powers / half ** np.arange(n + 1), series, error)
        best = min(best, error)
    raise ArgumentValueError(
        f"approximate: max_error {max_error:g} on [{low:g}, {high:g}] is not met by a Taylor "
        f"series of degree up to {most}, which reaches {best:.3g}; take basis='chebyshev'"
    )


def _series(f: Function, low: float, high: float) -> Array:
    """Return Chebyshev coefficients up to `MOST`; those that rounding alone made are 0."""
    cosines = _cosines()
    y = values(f, (low + high) / 2 + (high - low) / 2 * cosines[1])
    series = cosines @ y * (2 / _NODES)
    series[0] /= 2
    series[np.abs(series) < _NEGLIGIBLE * np.abs(y).max(initial=0.0)] = 0.0
    return np.asarray(series)


@cache
def _cosines() -> Array:
    """Return T_n at the Chebyshev points, a row for each n."""
    angles = (np.arange(_NODES) + 0.5) * (np.pi / _NODES)
    return np.asarray(np.cos(np.outer(np.arange(MOST + 1), angles)))


def _derivatives(f: Function, low: float, high: float, degree: int) -> Array:
    """Return the Taylor coefficients about the middle, of the powers of u, up to a degree.

    From values of f on a circle of complex numbers, by Cauchy's integrals, where f takes them: the
    largest circle on which f turns out analytic. Otherwise from a Chebyshev series of f on ever
    shorter intervals about the middle, which loses digits with the degree.
    """
    middle, half = (low + high) / 2, (high - low) / 2
    for find in (_on_circle, _on_line):
        for step in range(24):
            ratio = 2.0 ** (-step / 2)
            found = find(f, middle, half * ratio, degree)
            if found is not None:
                found[np.abs(found) < _NEGLIGIBLE * np.abs(found).max(initial=0.0)] = 0.0
                return np.asarray(found / ratio ** np.arange(degree + 1))
    raise ArgumentValueError(
        f"approximate: f has no derivatives up to order {degree} that can be found at "
        f"{middle:g}; take a lower degree or basis='chebyshev'"
    )


def _on_circle(f: Function, middle: float, radius: float, degree: int) -> Array | None:
    """Return f^(n) radius^n / n! for n up to a degree, or None where f is not analytic inside."""
    z = np.exp(2j * np.pi * np.arange(_CIRCLE) / _CIRCLE)
    with np.errstate(all="ignore"):
        try:
            y = np.asarray(f(middle + radius * z))
        except (TypeError, ValueError, ArithmeticError):
            return None
    if y.shape != z.shape or y.dtype.kind != "c" or not np.isfinite(y).all():
        return None
    laurent = np.fft.fft(y) / _CIRCLE
    scale = float(np.abs(y).max(initial=0.0))
    # A real function has real coefficients, an analytic one none of negative powers.
    beyond = np.abs(laurent[_CIRCLE // 4 :]).max()
    if beyond > 1e-13 * scale or np.abs(laurent.imag).max() > 1e-13 * scale:
        return None
    t = np.linspace(-0.5, 0.5, 65)
    powers = np.polynomial.polynomial.polyval(t, laurent.real[: _CIRCLE // 4])
    if np.abs(powers - values(f, middle + radius * t)).max() > 1e-12 * scale:
        return None
    return np.asarray(laurent.real[: degree + 1])


def _on_line(f: Function, middle: float, radius: float, degree: int) -> Array | None:
    """Return the same from real points, or None where too few digits are right."""
    series = _series(f, middle - radius, middle + radius)
    length = int(np.flatnonzero(np.abs(series) > 0).max(initial=0)) + 1
    if length > 48:
        return None
    powers = np.polynomial.chebyshev.cheb2poly(series[:length])
    powers = np.concatenate([powers, np.zeros(max(0, degree + 1 - len(powers)))])[: degree + 1]
    noise = 2.0**-50 * np.abs(series).max() * np.abs(_monomials(length - 1)).sum(axis=0)
    noise = np.concatenate([noise, np.zeros(max(0, degree + 1 - len(noise)))])[: degree + 1]
    largest = np.abs(powers).max(initial=0.0)
    return powers if noise.max(initial=0.0) <= 1e-6 * largest else None


def _monomials(degree: int) -> Array:
    """Return the coefficients of the powers in T_0, ..., T_degree, a row for each."""
    rows = np.zeros((degree + 1, degree + 1))
    rows[0, 0] = 1
    if degree:
        rows[1, 1] = 1
    for n in range(2, degree + 1):
        rows[n, 1:] = 2 * rows[n - 1, :-1]
        rows[n] -= rows[n - 2]
    return rows
