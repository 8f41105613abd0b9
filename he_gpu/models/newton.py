"""Newton's method with conjugate gradients on shares, for a `LogLoss`.

Layer: models, above log_loss. Step lengths of conjugate gradients stay secret; after each step of
Newton's method three bits are opened, which say whether it has converged or went too far.
Source: Nocedal and Wright, Numerical Optimization, chapter 7 (truncated Newton methods).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from he_gpu.functions import stack
from he_gpu.models.inverse import spd_inverse
from he_gpu.models.log_loss import SQUARE_BITS, VECTOR_BITS, Curvature, LogLoss, Point, dot
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.contraction import multiplied

_RESIDUAL_BITS, _RATIO_BITS, _FLOOR = 26, 16, 2.0**-20
"""Fraction bits of squared residuals, and of their ratios; and what divisors have more."""
_MOST_WEIGHTS, _MOST_PRODUCTS = 128, 2**21
"""Up to which the Hessian is inverted: its size, and the products of weights and columns."""
_FLATTEST = 2.0**-22
"""Of the largest eigenvalue that a Hessian may have; flatter directions are followed less far."""
_SIDE_BITS, _STEP_BITS = 18, 16
"""Fraction bits of a right side of length 1 and of directions, which reach 2**25, but times a
gradient 2**21."""
_MOST_HALVINGS, _LARGEST_TOL = 20, 1e3
"""Before numbers must be wrong; and a norm that no gradient has."""


class Minimum(NamedTuple):
    """What `minimise` found.

    Attributes:
        point: the last one.
        n_iter: steps taken.
        reason: "converged", "max_iter", or "out of range" where no step could be taken.
    """

    point: Point
    n_iter: int
    reason: str


def products_of_step(step: int, m: int) -> int:
    """Return the iterations of conjugate gradients in a step, the more the later."""
    return min(4 + 2 * step, 16, m)


def minimise(
    loss: LogLoss, tol: float, max_iter: int, each: Callable[[int, Point], None]
) -> Minimum:
    """Return the minimum of a loss, from zero weights.

    A step goes along d = -H**-1 g as far as conjugate gradients have found it; where it is so long
    that the slope along d rises from -s to more than s / 2, it is halved.

    Args:
        loss: the loss.
        tol: where the gradient's 2-norm is at most that, it has converged; 0 means never.
        max_iter: the most steps.
        each: called with the number of each step and the point after it.

    Cost: for each step see `_direction`, and for each point tried `LogLoss.at`, 3 products and a
        comparison of 3 words.
    Leaks: for each point tried, whether it has converged, whether the step is too long, and whether
        numbers have left their range.
    """
    point = loss.start()
    for step in range(max_iter):
        x, length = _direction(loss, point, step)
        slope = _slope(point, x)
        d = multiplied("mul", x, length, VECTOR_BITS)
        for halvings in range(_MOST_HALVINGS):
            far = d if not halvings else d * 2.0**-halvings
            tried = loss.at(point.w - far)
            converged, long, outside = _judged(tried, x, slope, tol)
            if not outside and (converged or not long):
                break
        else:
            return Minimum(point, step, "out of range")
        point = tried
        each(step + 1, point)
        if converged:
            return Minimum(point, step + 1, "converged")
    return Minimum(point, max_iter, "max_iter")


def _judged(point: Point, x: SecretTensor, slope: SecretTensor, tol: float) -> list[bool]:
    """Reveal whether a point has converged, lies too far along a direction, or has overflowed."""
    limit = min(tol, _LARGEST_TOL) ** 2 + 2.0**-SQUARE_BITS if tol else 0.0
    converged = point.squares - limit
    too_far = _slope(point, x) + slope.scaled(0.5)
    bits = stack([converged, too_far, point.squares]) < 0
    return [bool(bit) for bit in bits.reveal()]


def _slope(point: Point, x: SecretTensor) -> SecretTensor:
    """Return the product of the gradient and a direction."""
    gradient = point.gradient
    if gradient.frac_bits > VECTOR_BITS:
        gradient = gradient.with_frac_bits(VECTOR_BITS)
    return dot(gradient, x, gradient.frac_bits + _STEP_BITS)


def _direction(loss: LogLoss, point: Point, step: int) -> tuple[SecretTensor, SecretTensor]:
    """Return x, near H**-1 g / |g|, with `_STEP_BITS`, and |g|.

    The right side has length 1, so that numbers keep their size as the gradient shrinks.

    Cost: rsqrt of one word, 2 products, and `_solved` or `_conjugate`.
    Leaks: nothing.
    """
    inverse = point.squares.rsqrt(SQUARE_BITS // 2)
    r = multiplied("mul", point.gradient, inverse, VECTOR_BITS)
    length = dot(point.gradient, r, VECTOR_BITS)
    curvature = loss.curvature(point)
    n_weights, n_products = r.size, loss.n * r.size * r.shape[1]
    if n_weights <= _MOST_WEIGHTS and n_products <= _MOST_PRODUCTS:
        x = _solved(curvature.matrix(), r)
    else:
        x = _conjugate(curvature, r, products_of_step(step, r.shape[0]))
    return x.with_frac_bits(_STEP_BITS), length


def _solved(H: SecretTensor, r: SecretTensor) -> SecretTensor:
    """Return H**-1 r by an inverse, and one step that squares what is left of its error.

    Cost: `spd_inverse`, 3 products, a truncation.
    """
    high = 1.01 * r.shape[0]
    inverse = spd_inverse(H, low=high * _FLATTEST, high=high).masked()
    column = r.reshape(-1, 1).with_frac_bits(_SIDE_BITS)
    x = inverse.matmul(column, frac_bits=VECTOR_BITS)
    rest = column - H.matmul(x, frac_bits=_SIDE_BITS)
    return (x + inverse.matmul(rest, frac_bits=VECTOR_BITS)).reshape(r.shape)


def _conjugate(curvature: Curvature, r: SecretTensor, n_products: int) -> SecretTensor:
    """Return H**-1 r as far as conjugate gradients get.

    What divides has 2**-20 more, so that a residual of 0 moves nothing.

    Cost: for each iteration the curvature's product, 6 products, and a division of 2 words.
    """
    p, squares = r, dot(r, r, _RESIDUAL_BITS)
    one = squares._constant(np.ones(()), _RESIDUAL_BITS, "fit")
    x: SecretTensor | None = None
    for _ in r.session.steps(n_products):
        bent = curvature(p)
        over = stack([dot(p, bent, _RESIDUAL_BITS), squares]) + _FLOOR
        far, inverse = stack([squares, one]).divide(over, _RATIO_BITS)
        moved = multiplied("mul", stack([p, bent]), far, VECTOR_BITS)
        x = moved[0] if x is None else x + moved[0]
        r = r - moved[1]
        squares = dot(r, r, _RESIDUAL_BITS)
        again = multiplied("mul", squares, inverse, _RATIO_BITS)
        p = r + multiplied("mul", p, again, VECTOR_BITS)
    assert x is not None
    return x
