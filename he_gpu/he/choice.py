"""The chain of primes that suits a request best, or what to ask for in its place.

Layer: he, beneath `parameters`. Knows the security tables, the chains, their cost and the bounds on
errors; no key and no device. What is advised in a refusal was tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from he_gpu.errors import ArgumentValueError
from he_gpu.he import cost, flooding, noise
from he_gpu.he.chain import Chain, least_bits, plans
from he_gpu.he.security import DEGREES, modulus_bits

INSECURE = 0
"""The level of security of tests; it warns, and is refused outside of them."""
SCALE_BITS = (16, 106)
"""Least and most bits of a scale: what one prime and four primes of a level can be."""
PRECISION_BITS = 8
"""Least bits after the point that the bound leaves of a fresh number below 1, flooded or not."""


class Request(NamedTuple):
    """What is asked for; see `parameters.CkksParams`."""

    depth: int
    scale_bits: int
    security: int
    ring_degree: int | None
    public_queries: int


@lru_cache(maxsize=64)
def choose(request: Request) -> Chain:
    """Return the chain with which a computation takes least, of those that do.

    Raises:
        ValueError: none is secure and precise enough; the message says what is.
    """
    try:
        return _cheapest(request)
    except ArgumentValueError as error:
        raise ArgumentValueError(f"CkksParams: {error}; {_advice(request)}") from None


def flooding_bits(scale_bits: int, queries: int, degree: int) -> int:
    """Return by how many bits flooding raises scales.

    As many as flooding costs; fewer where the numbers' own float64 is the larger error by then.
    """
    if queries == 0:
        return 0
    needed = math.ceil(flooding.lost_bits(queries, degree))
    finest = noise.fresh_public(0.0, 1, degree, 2**20) / noise.transform(1.0, degree)
    return max(0, min(needed, math.ceil(math.log2(finest)) + 1 - scale_bits))


def precision_bits(chain: Chain, queries: int) -> float:
    """Return the bits after the point that are left of a fresh number, published or not."""
    degree = chain.ring_degree
    error = noise.fresh_public(1.0, chain.scales[-1], degree, chain.special[-1])
    if queries:
        error = flooding.flooded(error, queries, degree)
    return noise.precision_bits(error)


def _cheapest(request: Request) -> Chain:
    """Return the chain of the ring degree that is asked for, or of the best; see `choose`."""
    if request.ring_degree is not None:
        return _precise(_secure(request, request.ring_degree), request)
    chains, insecure, imprecise = [], None, None
    for degree in DEGREES:
        try:
            chain = _secure(request, degree)
        except ArgumentValueError as error:
            insecure = error
            continue
        try:
            chains.append(_precise(chain, request))
        except ArgumentValueError as error:  # a larger ring has larger errors, but rarer primes
            imprecise = imprecise or error
    if chains:
        return min(chains, key=cost.computation)
    raise imprecise or insecure or ArgumentValueError("no ring degree")


@lru_cache(maxsize=256)
def _secure(request: Request, degree: int) -> Chain:
    """Return the cheapest chain of a ring degree that the table allows.

    Raises:
        ValueError: it allows none, or there are too few primes.
    """
    depth, scale_bits, security, _, queries = request
    further = flooding_bits(scale_bits, queries, degree)
    bits = scale_bits + further
    allowed = math.inf if security == INSECURE else modulus_bits(degree, security)
    needed = least_bits(depth, bits, degree)
    if needed <= allowed:
        chains = list(plans(depth, bits, degree, allowed))
        secure = [chain for chain in chains if chain.modulus_bits <= allowed]
        if secure:
            return min(secure, key=cost.computation)
        needed = min(chain.modulus_bits for chain in chains)
    reserve = f" and {further} more for flooding" if further else ""
    raise ArgumentValueError(
        f"depth {depth} with scale_bits {scale_bits}{reserve} needs a modulus of at least "
        f"{math.ceil(needed)} bits, special primes included, and ring_degree {degree} allows "
        f"{allowed} at security {security}"
    )


def _precise(chain: Chain, request: Request) -> Chain:
    """Return a chain that leaves a fresh number `PRECISION_BITS` at least, or refuse it."""
    scale_bits, queries = request.scale_bits, request.public_queries
    precision = precision_bits(chain, queries)
    if precision >= PRECISION_BITS:
        return chain
    flooded = f", flooded for {queries} public_queries," if queries else ""
    raise ArgumentValueError(
        f"scale_bits {scale_bits} at ring_degree {chain.ring_degree} leaves a fresh number"
        f"{flooded} {precision:.1f} bits after the point, and {PRECISION_BITS} are the least"
    )


def _advice(request: Request) -> str:
    """Return which single changes of a refused request make it one that is granted."""
    depth, scale_bits, _, degree, queries = request
    least, most = SCALE_BITS
    ways: list[tuple[str, Sequence[int]]] = [
        ("ring_degree", [n for n in DEGREES if degree is not None and n > degree]),
        ("depth", range(depth - 1, -1, -1)),
        ("scale_bits", range(scale_bits - 1, least - 1, -1)),
        ("scale_bits", range(scale_bits + 1, most + 1)),
        ("public_queries", [2**log for log in range(queries.bit_length() - 2, -1, -1)] + [0]),
    ]
    found = []
    for name, values in ways:
        if name != "public_queries" or queries:
            value = _nearest(request, name, values)
            if value is not None:
                found.append(f"{name} {value}")
    if found:
        return f"take {' or '.join(filter(None, (', '.join(found[:-1]), found[-1])))}"
    if degree is not None:
        return f"leave out ring_degree and {_advice(request._replace(ring_degree=None))}"
    return "take less depth and other scale_bits, as neither alone helps"


def _nearest(request: Request, name: str, values: Sequence[int]) -> int | None:
    """Return the first of an argument's values that is granted, or None.

    Values are tried at growing distances, and then between the last that failed and the first that
    did not.
    """

    def granted(at: int) -> bool:
        try:
            _cheapest(request._replace(**{name: values[at]}))
        except ArgumentValueError:
            return False
        return True

    failed, at = -1, 0
    while at < len(values) and not granted(at):
        failed, at = at, max(at + 1, min(2 * at + 1, len(values) - 1))
    if at >= len(values):
        return None
    while at - failed > 1:
        middle = (at + failed) // 2
        failed, at = (failed, middle) if granted(middle) else (middle, at)
    return values[at]
