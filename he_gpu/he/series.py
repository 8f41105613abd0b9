"""How a polynomial is cut into products, so that it takes few levels and few of them.

Layer: he, beneath `polynomial`. Coefficients alone. With B the basis element of the largest power
of two not above the degree, p = q B + r; q is cut again, a level higher, and r at the same level,
until a sum of basis elements is left that are all there at that level (baby steps).
Source: Paterson and Stockmeyer, SIAM J. Comput. 2, 1973; Bossuat, Mouchet, Troncoso-Pastoriza,
Hubaux, EUROCRYPT 2021, section 5 (optimal depth).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

Series: TypeAlias = "tuple[complex, ...]"

_PRODUCT = 0.2
_MULTIPLE = 0.05
"""What a product and a multiple by a constant cost, in products that are also relinearised."""


class Cut(NamedTuple):
    """p = quotient B_at + rest."""

    at: int
    quotient: Series
    rest: Series


def depth(degree: int) -> int:
    """Return the levels that a polynomial takes: log2(degree + 1), rounded up.

    Example:
        >>> [depth(degree) for degree in (0, 1, 2, 3, 4, 7, 8, 15)]
        [0, 1, 2, 2, 3, 3, 4, 4]
    """
    return degree.bit_length()


def halves(k: int) -> tuple[int, int]:
    """Return the two basis elements whose product gives the k-th, k > 1, in the fewest levels."""
    half = 1 << ((k - 1).bit_length() - 1)
    return half, k - half


@lru_cache(maxsize=256)
def cuts(series: Series, below: int, babies: int, chebyshev: bool) -> tuple[Cut, ...]:
    """Return the cuts of a polynomial whose products are summed at one level.

    The last rest is a sum of basis elements; without cuts the whole polynomial is.

    Args:
        series: its coefficients, of which the last is not 0.
        below: how far that level is below the argument's.
        babies: the largest basis element that such a sum has.
        chebyshev: whether the basis is T_k or powers.
    """
    found, rest = [], series
    while len(rest) > 1 and not _is_sum(len(rest) - 1, below, babies):
        at = 1 << ((len(rest) - 1).bit_length() - 1)
        quotient, rest = divided(rest, at, chebyshev)
        found.append(Cut(at, quotient, rest))
    return tuple(found)


def divided(series: Sequence[complex], at: int, chebyshev: bool) -> tuple[Series, Series]:
    """Return quotient and rest of a polynomial of degree in [at, 2 at) by B_at."""
    quotient, rest = list(series[at:]), list(series[:at])
    if chebyshev:  # T_(at + j) = 2 T_at T_j - T_(at - j)
        for j in range(1, len(quotient)):
            rest[at - j] -= quotient[j]
            quotient[j] *= 2
    return trimmed(quotient), trimmed(rest)


def trimmed(series: Sequence[complex]) -> Series:
    """Return a series without the zeros at its end, of one coefficient at least."""
    length = max((k for k, coefficient in enumerate(series) if coefficient), default=0) + 1
    return tuple(series[:length])


def best_babies(series: Series, chebyshev: bool) -> int:
    """Return the largest baby step with which a polynomial of degree 1 or more is cheapest."""
    levels = depth(len(series) - 1)

    def cost(babies: int) -> float:
        used: set[int] = set()
        return _cost(series, levels - 1, babies, chebyshev, used) + _basis_cost(used, chebyshev)

    choices = [(1 << log) - 1 for log in range(1, levels + 1)]
    return min(choices, key=cost)


def _cost(series: Series, below: int, babies: int, chebyshev: bool, used: set[int]) -> float:
    """Return what a polynomial costs besides its basis; note the elements that it uses."""
    cost, rest, products = 0.0, series, 0
    for cut in cuts(series, below, babies, chebyshev):
        used.add(cut.at)
        rest = cut.rest
        if len(cut.quotient) > 1:
            products += 1
            cost += _cost(cut.quotient, below - 1, babies, chebyshev, used)
    elements = [k for k, coefficient in enumerate(rest) if k and coefficient]
    used.update(elements)
    cost += _PRODUCT * products + _MULTIPLE * len(elements)
    return cost + (1 - _PRODUCT if products else _PRODUCT)


def _basis_cost(used: set[int], chebyshev: bool) -> float:
    waiting, made = list(used), {1}
    while waiting:
        k = waiting.pop()
        if k not in made:
            made.add(k)
            half, other = halves(k)
            waiting += [half, other]
            if chebyshev and half != other:
                waiting.append(half - other)
    return len(made) - 1.0


def _is_sum(degree: int, below: int, babies: int) -> bool:
    """Tell whether a polynomial's basis elements are all there at a level."""
    return degree <= babies and (degree - 1).bit_length() <= below
