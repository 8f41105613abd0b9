"""In which order a polynomial in the Chebyshev basis is evaluated with few products.

Layer: tensor, under `polynomial`. Knows coefficients and no shares. A polynomial is cut by giants
T_s, T_2s, T_4s, ... into sums of products and of the T_n with n <= s:
    T_(G+m) = 2 T_G T_m - T_(G-m),    so    P = T_G q + r.
Only odd T_n stand in the sums of an odd function, and only even ones in those of an even one; a
constant and a multiple of T_1 may come on top.
Source: Paterson and Stockmeyer, SIAM J. Comput. 1973, in the Chebyshev basis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from he_gpu.backend import Array


class Product(NamedTuple):
    """The step T_(a+b) = 2 T_a T_b - T_(a-b), a >= b."""

    a: int
    b: int


class Sum(NamedTuple):
    """The value ``sum(T_G q for (G, q) in products) + sum(c_n T_n)``, with one rounding.

    Attributes:
        products: each of an index G, and the place of the sum q in the plan.
        terms: pairs (n, c_n), n = 0 for the constant.
        level: in which it is computed, from 1 on.
        size: a bound on its absolute value and on those of its parts, for |u| <= 1.
    """

    products: tuple[tuple[int, int], ...]
    terms: tuple[tuple[int, float], ...]
    level: int
    size: float


class Plan(NamedTuple):
    """All steps of an evaluation.

    Attributes:
        basis: level by level, from 1 on, how to compute each T_n.
        sums: each after those that it needs; the last is the polynomial.
    """

    basis: tuple[tuple[Product, ...], ...]
    sums: tuple[Sum, ...]

    @property
    def levels(self) -> int:
        """How many steps follow one another."""
        return self.sums[-1].level

    @property
    def products(self) -> int:
        """How many products of secrets are taken."""
        return sum(map(len, self.basis)) + sum(len(part.products) for part in self.sums)

    @property
    def roundings(self) -> int:
        """How many results are truncated."""
        return sum(map(len, self.basis)) + len(self.sums)


def plan(coefficients: Array) -> Plan:
    """Return the cheapest plan for a polynomial of degree 1 or more, c_n at index n."""
    support = np.flatnonzero(coefficients)
    degree = int(support.max(initial=1))
    # T_1 and the constant are at hand, and change the parity of nothing else.
    unit = 2 if degree > 1 and not (support[support > 1] % 2).any() else 1
    odd = bool((support[support > 0] % 2).all()) and degree > 1
    shape = _shape(degree, unit, odd)
    return _build({int(n): float(coefficients[n]) for n in support}, *shape)


@lru_cache(maxsize=256)
def _shape(degree: int, unit: int, odd: bool) -> tuple[int, tuple[tuple[int, Product], ...]]:
    """Return the step s and the products of the cheapest plan for a full set of coefficients."""
    every = range(1, degree + 1, 2) if odd else range(unit, degree + 1, unit)
    full = dict.fromkeys(every, 1.0)
    best: tuple[float, int, tuple[tuple[int, Product], ...]] | None = None
    for step in range(2, degree + 2):
        if step % 2 if odd else step % unit:
            continue
        if step > 2 * unit and step * step > 16 * degree * unit:
            break
        needed = {n for n in every if n < step} | set(_giants(degree, step))
        for chain in _chains(needed, odd, unit):
            candidate = _build(full, step, tuple(sorted(chain.items())))
            cost = (
                sum(map(len, candidate.basis))
                + sum(0.6 * len(part.products) + 0.6 for part in candidate.sums)
                + 0.3 * candidate.levels
            )
            if best is None or cost < best[0] - 1e-9:
                best = cost, step, tuple(sorted(chain.items()))
    if best is None:
        raise AssertionError(f"no plan for degree {degree}")
    return best[1:]


def _giants(degree: int, step: int) -> list[int]:
    """Return s, 2 s, 4 s, ... up to the degree."""
    found = []
    while step <= degree:
        found.append(step)
        step *= 2
    return found


def _chains(needed: set[int], odd: bool, unit: int) -> Iterable[dict[int, Product]]:
    """Return ways to compute the needed T_n, with up to two further even ones."""
    most = max(needed, default=1)
    extras = [n for n in range(2, most, 2) if n not in needed] if odd else []
    for count in range(3 if extras else 1):
        for more in combinations(extras[:6], count):
            chain = _chain(needed | set(more), odd, unit)
            if chain is not None:
                yield chain


def _chain(wanted: set[int], odd: bool, unit: int) -> dict[int, Product] | None:
    """Return the factors of each wanted T_n and of what they need, each as early as can be."""
    chain: dict[int, Product] = {}
    level = {0: 0, 1: 0}

    def make(n: int, a: int, b: int) -> None:
        if n not in level:
            chain[n] = Product(a, b)
            level[n] = 1 + max(level[a], level[b])

    if max(wanted, default=0) > 1 and (odd or unit == 2):
        make(2, 1, 1)
    for n in sorted(wanted):
        if n in level:
            continue
        if odd and n % 2:
            pairs = [(max(e, n - e), min(e, n - e)) for e in level if e and not e % 2 and e < n]
            pairs = [(a, b) for a, b in pairs if b in level and a in level and a - b in level]
            if not pairs:
                return None
            make(n, *min(pairs, key=lambda ab: max(level[ab[0]], level[ab[1]])))
        else:
            _halve(n, unit, level, make)
    return chain


def _halve(n: int, unit: int, level: dict[int, int], make: Callable[[int, int, int], None]) -> None:
    """Make T_n from the two halves of n, and these before it."""
    if n in level:
        return
    b = n // 2 if n % 2 else n // (2 * unit) * unit
    a = n - b
    if n == unit == 2:
        a = b = 1
    for part in {a, b, a - b}:
        _halve(part, unit, level, make)
    make(n, a, b)


def _build(
    coefficients: dict[int, float], step: int, chain: tuple[tuple[int, Product], ...]
) -> Plan:
    """Return the plan for coefficients, a step, and the ways to compute each T_n."""
    factors = dict(chain)
    levels = {0: 0, 1: 0}

    def level(n: int) -> int:
        if n not in levels:
            levels[n] = 1 + max(level(factors[n].a), level(factors[n].b))
        return levels[n]

    sums: list[Sum] = []
    depth = sums[_cut(coefficients, step, level, sums)].level
    used = sorted({n for part in sums for n in _indices(part)})
    reached: set[int] = set()
    while used:
        n = used.pop()
        if n > 1 and n not in reached:
            reached.add(n)
            a, b = factors[n]
            used += [a, b, a - b]
    return Plan(
        tuple(
            tuple(factors[n] for n in sorted(reached) if level(n) == at)
            for at in range(1, depth + 1)
        ),
        tuple(sums),
    )


def _indices(part: Sum) -> set[int]:
    return {n for n, _ in part.terms if n} | {n for n, _ in part.products}


def _cut(
    coefficients: dict[int, float], step: int, level: Callable[[int], int], sums: list[Sum]
) -> int:
    """Append the sum for coefficients after those that it needs, and return its place."""
    rest = dict(coefficients)
    products = []
    giant = step
    while 2 * giant <= max(rest, default=0):
        giant *= 2
    while giant >= step:
        above = sorted(n for n in rest if n > giant)
        if above:
            quotient: dict[int, float] = {0: rest.pop(giant)} if giant in rest else {}
            for n in above:
                c = rest.pop(n)
                quotient[n - giant] = 2 * c
                rest[2 * giant - n] = rest.get(2 * giant - n, 0.0) - c
            products.append((giant, _cut(quotient, step, level, sums)))
        giant //= 2
    before = [level(n) for n in rest]
    before += [max(level(n), sums[q].level) for n, q in products]
    size = sum(map(abs, rest.values())) + sum(sums[q].size for _, q in products)
    sums.append(Sum(tuple(products), tuple(sorted(rest.items())), 1 + max(before, default=0), size))
    return len(sums) - 1
