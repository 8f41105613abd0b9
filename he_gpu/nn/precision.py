"""How many fraction bits training keeps, and why they are more than the session's.

Layer: nn. A step changes a weight by far less than a unit of the data, and errors of thousands of
steps add up, so weights have guard bits. Gradients have some too, and a public factor of their own
(`tape.Gradient`), so that a mean over many samples loses nothing. What both have still fits the
word as a product.
"""

from __future__ import annotations

from he_gpu.ring.fixedpoint import word_bits
from he_gpu.session import Session

WEIGHT_GUARD, GRADIENT_GUARD = 8, 4
"""Fraction bits beyond the session's."""
_MOST_WEIGHT, _MOST_GRADIENT = {64: 24, 32: 12}, {64: 20, 32: 11}
"""By the word's bits: a weight times a weight keeps 2**14 modulo 2**64 and 2**6 modulo 2**32."""


def weight_bits(session: Session) -> int:
    """Return the fraction bits of parameters, and of what layers make of them."""
    most = _MOST_WEIGHT[word_bits(session.modulus)]
    return max(session.frac_bits, min(session.frac_bits + WEIGHT_GUARD, most))


def gradient_bits(session: Session) -> int:
    """Return the fraction bits of gradients before their public factor."""
    most = _MOST_GRADIENT[word_bits(session.modulus)]
    return max(session.frac_bits, min(session.frac_bits + GRADIENT_GUARD, most))
