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

import numpy as np

from he_gpu.backend.definition.roots import MAX_LOG_DEGREE, MIN_LOG_DEGREE
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, InsecureParametersWarning
from he_gpu.he.chain import MAX_DEPTH, Chain
from he_gpu.he.choice import INSECURE, SCALE_BITS, Request, choose, flooding_bits, precision_bits
from he_gpu.he.encoding import reach
from he_gpu.he.security import DEGREES, modulus_bits

MAX_QUERIES = 2**40
"""Most public_queries; no chain floods for as many."""
ALLOWED_BY = "HE_GPU_INSECURE_PARAMETERS"
"""Variable of the environment that allows `INSECURE` parameters: set by tests."""


@dataclass(frozen=True, repr=False)
class CkksParams:
    """What a CKKS context is made of: immutable, hashable, equal where all fields are.

    Of the ring degrees and numbers of digits of key switching whose modulus the security table
    holds, special primes counted, those are taken with which a computation down all levels is
    fastest (`cost.computation`). The smallest ring usually is; where it leaves room for so few
    special primes that there were many digits, one of twice the degree can be.

    Args:
        depth: products one after another that a ciphertext can take, plaintext ones included.
        scale_bits: of the numbers' scale, in [16, 106]. Fresh numbers are right to some
            scale_bits - log2(N) - 3 bits after the point at least, and to about 4 more in an
            average slot.
        security: 128, 192 or 256 bits, by the tables of the standard; 0 hides nothing and is
            refused unless the environment has HE_GPU_INSECURE_PARAMETERS=1: for tests alone, which
            give a ring_degree and are warned.
        ring_degree: N, a power of two, from 1024 with security; None chooses it. A ciphertext has
            N / 2 slots; twice as many take about twice as long, and less where digits are fewer.
        public_queries: results that may be published (`decrypt_public`) under one key. Each level
            has the scale bits more that flooding with noise costs, see `flooding_bits`.

    Raises:
        TypeError: an argument that is no integer.
        ValueError: an argument out of range; a modulus that the table does not allow; too few
            primes; a precision that the scale cannot hold.

    Example:
        >>> CkksParams(depth=3)
        CkksParams(N=8192, levels=3, log2 QP=197, scale=2**40.0, digits=8, security=128)
        >>> CkksParams(depth=3, ring_degree=16384)
        CkksParams(N=16384, levels=3, log2 QP=265, scale=2**40.0, digits=2, security=128)
        >>> params = CkksParams(depth=1, scale_bits=30)
        >>> params.n_slots, params.n_digits, round(params.modulus_bits)
        (2048, 4, 98)
        >>> params.scale >= 2**30, params.precision_bits > 10, params.largest() > 2**9
        (True, True, True)
        >>> params.digest == CkksParams(depth=1, scale_bits=30, ring_degree=4096).digest
        True
        >>> CkksParams(depth=1, scale_bits=30, public_queries=10).flooding_bits
        33
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
        chosen = choose(
            Request(
                self.depth, self.scale_bits, self.security, self.ring_degree, self.public_queries
            )
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
        return flooding_bits(self.scale_bits, self.public_queries, self.chain.ring_degree)

    @property
    def precision_bits(self) -> float:
        """Bits after the point that the bound leaves of a fresh number below 1.

        Of one that is published at once, where there are public_queries.
        """
        return precision_bits(self.chain, self.public_queries)

    def largest(self, level: int = 0) -> float:
        """Return the size that slots at a level may have, errors included.

        Beyond it a number wraps around the modulus, which nobody can see, or float64 holds none.
        """
        return float(reach(math.prod(self.chain.moduli(level)), self.chain.scales[level]))

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


def _unknown_degree(degree: int) -> ArgumentValueError:
    return ArgumentValueError(
        f"CkksParams: ring_degree must be a power of two from {2**MIN_LOG_DEGREE} to "
        f"{2**MAX_LOG_DEGREE}, got {degree}"
    )
