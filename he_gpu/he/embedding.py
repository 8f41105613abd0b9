"""Slots and coefficients: the canonical embedding of CKKS, by one complex FFT.

Layer: he. Knows no modulus and no key. A polynomial a of degree below N with real coefficients has
in slot j of N / 2 the value a(zeta**(5**j)), zeta = exp(i pi / N); at the conjugate roots it has
their conjugates. Rotating the slots left by k is the automorphism X -> X**(5**k), conjugating them
X -> X**(2 N - 1).
Source: Cheon, Kim, Kim, Song, ASIACRYPT 2017, section 3; the order of the roots by powers of 5 as
in Cheon, Han, Kim, Kim, Song, EUROCRYPT 2018, section 4.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from he_gpu.backend import Array


def to_coefficients(slots: Array, ring_degree: int) -> Array:
    """Return the real coefficients of the polynomial with given values in its slots.

    Args:
        slots: real or complex, (..., N / 2).
        ring_degree: N.

    Returns:
        float64 (..., N).

    Error: some log2(N) 2**-53 of the largest value, in the slots; see `noise.transform`.
    """
    n = ring_degree
    places, conjugates, twist = _roots(n)
    values = np.empty((*slots.shape[:-1], n), np.complex128)
    values[..., places] = slots
    values[..., conjugates] = np.conj(slots)
    # a_j zeta**j = 1/N sum_k a(zeta**(2k + 1)) exp(-2 pi i j k / N)
    return np.asarray((np.fft.fft(values) * np.conj(twist)).real / n)


def to_slots(coefficients: Array) -> Array:
    """Return the values in the slots, complex128 (..., N / 2), of coefficients (..., N).

    Error: as `to_coefficients`.
    """
    n = coefficients.shape[-1]
    places, _, twist = _roots(n)
    values = np.fft.ifft(coefficients * twist) * n
    return np.asarray(values[..., places])


def rotation_exponent(steps: int, ring_degree: int) -> int:
    """Return k of the automorphism X -> X**k that rotates the slots left by some steps."""
    return pow(5, steps % (ring_degree // 2), 2 * ring_degree)


@lru_cache(maxsize=16)
def _roots(n: int) -> tuple[Array, Array, Array]:
    """Return where the slots and their conjugates stand among odd powers, and zeta**j."""
    powers = np.empty(n // 2, np.int64)
    power = 1
    for at in range(n // 2):
        powers[at] = power
        power = power * 5 % (2 * n)
    places = (powers - 1) // 2  # the root zeta**(2k + 1) stands at k
    return places, n - 1 - places, np.exp(1j * np.pi * np.arange(n) / n)
