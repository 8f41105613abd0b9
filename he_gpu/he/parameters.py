"""Parameters of CKKS that choose themselves: ring degree and primes from what a computation needs.

Layer: he, above ring. Knows the security tables, the chain and the bounds on errors; no key and no
device. What is insecure or cannot hold the precision is refused, with the reason.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

import numpy as np

from he_gpu.backend.definition.roots import MAX_LOG_DEGREE, MIN_LOG_DEGREE
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, InsecureParametersWarning
from he_gpu.he import noise
from he_gpu.he.chain import INTEGER_BITS, MAX_DEPTH, Chain, plans
from he_gpu.he.security import DEGREES, modulus_bits

SCALE_BITS = (16, 106)
"""Least and most bits of a scale: what one prime and four primes of a level can be."""
PRECISION_BITS = 8
"""Least bits after the point that the bound leaves of a fresh number below 1, flooded or not."""
MAX_QUERIES = 2**40
"""Most public_queries; no chain floods for as many."""
INSECURE = 0
"""The level of security of tests; it warns, and is refused where `ALLOWED_BY` is not 1."""
ALLOWED_BY = "HE_GPU_INSECURE_PARAMETERS"
"""Variable of the environment that allows insecure parameters: set by tests."""


@dataclass(frozen=True, repr=False)
class CkksParams:
    """What a CKKS context is made of: immutable, hashable, equal where all fields are.

    The smallest ring degree is taken whose security table holds the modulus with some number of
    digits of key switching, special primes counted; then the fewest digits that it holds, which
    make key switching cheapest.

    Args:
        depth: products one after another that a ciphertext can take, plaintext ones included.
        scale_bits: of the numbers' scale, in [16, 106]. Fresh numbers are right to some
            scale_bits - log2(N) - 3 bits after the point at least, and to about 4 more in an
            average slot.
        security: 128, 192 or 256 bits, by the tables of the standard; 0 hides nothing and is
            refused unless the environment has HE_GPU_INSECURE_PARAMETERS=1: for tests alone, which
            give a ring_degree and are warned.
        ring_degree: N, a power of two, from 1024 with security; None chooses it. A ciphertext has
            N / 2 slots.
        public_queries: results that may be published (`decrypt_public`) under one key. Each level
            has the scale bits more that flooding with noise costs, see `flooding_bits`.

    Raises:
        TypeError: an argument that is no integer.
        ValueError: an argument out of range; a modulus that the table does not allow; too few
            primes; a precision that the scale cannot hold.

    Example:
        >>> CkksParams(depth=3)
        CkksParams(N=8192, levels=3, log2 QP=195, scale=2**40.0, digits=8, security=128)
        >>> CkksParams(depth=3, ring_degree=16384)
        CkksParams(N=16384, levels=3, log2 QP=340, scale=2**40.0, digits=1, security=128)
        >>> params = CkksParams(depth=1, scale_bits=30)
        >>> params.n_slots, params.n_digits, round(params.modulus_bits)
        (2048, 4, 95)
        >>> params.scale >= 2**30, params.precision_bits > 10, params.largest() > 2**9
        (True, True, True)
        >>> params.digest == CkksParams(depth=1, scale_bits=30, ring_degree=4096).digest
        True
        >>> CkksParams(depth=1, scale_bits=30, public_queries=10).flooding_bits
        34
        >>> CkksParams(depth=5, ring_degree=8192)
        Traceback (most recent call last):
        ...
        he_gpu.errors.ArgumentValueError: CkksParams: depth 5 with scale_bits 40 needs a modulus ...
    """

    depth: int
    scale_bits: int = 40
    security: int = 128
    ring_degree: int | None = None
    public_queries: int = 0
    chain: Chain = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self._check()
        chosen = _choose(
            self.depth, self.scale_bits, self.security, self.ring_degree, self.public_queries
        )
        object.__setattr__(self, "chain", chosen)
        object.__setattr__(self, "ring_degree", chosen.ring_degree)
        if self.security == INSECURE:
            warnings.warn(
                "CkksParams: security=0 hides nothing from anybody who tries: for tests only",
                InsecureParametersWarning,
                stacklevel=3,
            )

    @property
    def n_slots(self) -> int:
        """Numbers in a ciphertext, N / 2."""
        return self.chain.ring_degree // 2

    @property
    def n_digits(self) -> int:
        """Digits of key switching at the highest level."""
        return len(self.chain.digits(self.depth))

    @property
    def modulus_bits(self) -> float:
        """log2 of the whole modulus, special primes included."""
        return self.chain.modulus_bits

    @property
    def scale(self) -> Fraction:
        """Of a fresh ciphertext, at the highest level."""
        return self.chain.scales[-1]

    @property
    def flooding_bits(self) -> int:
        """Bits that every scale has for the noise of published results."""
        return _flooding_bits(self.scale_bits, self.public_queries, self.chain.ring_degree)

    @property
    def precision_bits(self) -> float:
        """Bits after the point that the bound leaves of a fresh number below 1.

        Of one that is published at once, where there are public_queries.
        """
        return _precision(self.chain, self.public_queries)

    def largest(self, level: int = 0) -> float:
        """Return the size that slots at a level may have, errors included.

        Beyond it a number wraps around the modulus, which nobody can see.
        """
        modulus = math.prod(self.chain.moduli(level))
        return float(Fraction(modulus, 2) / self.chain.scales[level])

    @property
    def digest(self) -> bytes:
        """32 bytes that tell parameters apart: SHA-256 over the chain; for files and messages.

        Parameters of one chain, such as those with ring_degree left out and written out, agree.
        """
        return self.chain.digest

    def __repr__(self) -> str:
        queries = f", public_queries={self.public_queries}" if self.public_queries else ""
        return (
            f"CkksParams(N={self.chain.ring_degree}, levels={self.depth}, "
            f"log2 QP={self.modulus_bits:.0f}, scale=2**{math.log2(self.scale):.1f}, "
            f"digits={self.n_digits}, security={self.security}{queries})"
        )

    def _check(self) -> None:
        """Refuse what is out of range, and make NumPy's integers Python's."""
        for name in ("depth", "scale_bits", "security", "ring_degree", "public_queries"):
            value = getattr(self, name)
            if value is None and name == "ring_degree":
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise ArgumentTypeError(
                    f"CkksParams: {name} must be an integer, got {type(value).__name__}"
                )
            object.__setattr__(self, name, int(value))
        for name, least, most in (
            ("depth", 0, MAX_DEPTH),
            ("scale_bits", *SCALE_BITS),
            ("public_queries", 0, MAX_QUERIES),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ArgumentValueError(
                    f"CkksParams: {name} must be in [{least}, {most}], got {value}"
                )
        degree = self.ring_degree
        if self.security != INSECURE or os.environ.get(ALLOWED_BY) != "1":
            modulus_bits(degree or DEGREES[0], self.security)
        elif degree is None:
            raise ArgumentValueError("CkksParams: security=0 needs a ring_degree")
        elif degree not in [1 << log for log in range(MIN_LOG_DEGREE, MAX_LOG_DEGREE + 1)]:
            raise _unknown_degree(degree)


@lru_cache(maxsize=64)
def _choose(
    depth: int, scale_bits: int, security: int, ring_degree: int | None, queries: int
) -> Chain:
    """Return the chain of parameters.

    Raises:
        ValueError: none is secure and precise enough.
    """
    if ring_degree is not None:
        chain = _secure(depth, scale_bits, security, ring_degree, queries)
        _check_precision(chain, scale_bits, queries)
        return chain
    refusal: ArgumentValueError | None = None
    for degree in DEGREES:
        try:
            chain = _secure(depth, scale_bits, security, degree, queries)
        except ArgumentValueError as error:
            insecure = error
            continue
        try:
            _check_precision(chain, scale_bits, queries)
            return chain
        except ArgumentValueError as error:  # a larger ring has larger errors, but rarer primes
            refusal = refusal or error
    raise refusal or insecure


def _secure(depth: int, scale_bits: int, security: int, degree: int, queries: int) -> Chain:
    """Return the chain of a ring degree with the fewest digits that the table allows.

    Raises:
        ValueError: it allows none, or there are too few primes.
    """
    flooding = _flooding_bits(scale_bits, queries, degree)
    bits = scale_bits + flooding
    allowed = math.inf if security == INSECURE else modulus_bits(degree, security)
    # Before primes are looked for: all levels and the base.
    needed = (depth + 1) * bits + INTEGER_BITS - 1.0
    if needed <= allowed:
        for chain in plans(depth, bits, degree):
            needed = chain.modulus_bits
            if needed <= allowed:
                return chain
    reserve = f" and {flooding} more for flooding" if flooding else ""
    larger = f"ring_degree {2 * degree}, " if 2 * degree in DEGREES else ""
    raise ArgumentValueError(
        f"CkksParams: depth {depth} with scale_bits {scale_bits}{reserve} needs a modulus of at "
        f"least {math.ceil(needed)} bits, special primes included, and ring_degree {degree} allows "
        f"{allowed} at security {security}; take {larger}a smaller depth or a smaller scale_bits"
    )


def _check_precision(chain: Chain, scale_bits: int, queries: int) -> None:
    """Refuse a chain that leaves a fresh number less than `PRECISION_BITS`."""
    precision = _precision(chain, queries)
    if precision >= PRECISION_BITS:
        return
    flooded = f", flooded for {queries} public_queries," if queries else ""
    more = scale_bits + math.ceil(PRECISION_BITS - precision)
    helps = "fewer public_queries" if queries else f"scale_bits of {more} or more"
    raise ArgumentValueError(
        f"CkksParams: scale_bits {scale_bits} at ring_degree {chain.ring_degree} leaves a fresh "
        f"number{flooded} {precision:.1f} bits after the point, and {PRECISION_BITS} are the "
        f"least; take {helps}"
    )


def _flooding_bits(scale_bits: int, queries: int, degree: int) -> int:
    """Return by how many bits flooding raises scales.

    As many as flooding costs; fewer where the numbers' own float64 is the larger error by then.
    """
    if queries == 0:
        return 0
    needed = math.ceil(noise.flooding_bits(queries, degree))
    finest = noise.fresh_public(0.0, 1, degree, 2**20) / noise.transform(1.0, degree)
    return max(0, min(needed, math.ceil(math.log2(finest)) + 1 - scale_bits))


def _precision(chain: Chain, queries: int) -> float:
    """Return the bits after the point that are left of a fresh number, published or not."""
    degree = chain.ring_degree
    error = noise.fresh_public(1.0, chain.scales[-1], degree, chain.special[-1])
    if queries:
        error = noise.flooded(error, queries, degree)
    return noise.precision_bits(error)


def _unknown_degree(degree: int) -> ArgumentValueError:
    return ArgumentValueError(
        f"CkksParams: ring_degree must be a power of two from {2**MIN_LOG_DEGREE} to "
        f"{2**MAX_LOG_DEGREE}, got {degree}"
    )
