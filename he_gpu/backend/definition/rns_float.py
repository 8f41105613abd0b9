"""The arithmetic of `rns`, word for word the same, limb by limb in cache: what ``cpu`` runs.

Layer: backend. Sums are corrected by a wrapping difference and a minimum. A product of words takes
its quotient from float64 and its rest from the low 32 bits of integers, which vectorise. An
extension is two exact float64 matrix products, with its constants in two halves.

Error: none. The quotient of a product by q, below 2^27, is taken as x (1 / q) (1 - 2^-50) rounded
down. Four roundings of 2^-53 do not make up for the last factor, and all of it is below 2^-22: the
quotient is right or one too small, and the rest is in [0, 2 q). So it is for a sum of 1024
products, whose quotient is below 2^37, with 1 - 2^-48.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from he_gpu.backend.definition import rns
from he_gpu.backend.definition.memory import empty
from he_gpu.backend.definition.ntt_float import intt, ntt_but
from he_gpu.backend.definition.rns import (
    check_broadcast,
    check_dot,
    check_tensor,
    conversion,
    digit_parts,
    residues,
)
from he_gpu.backend.definition.roots import check_limbs
from he_gpu.backend.definition.words import Array

CHUNK = 2**16
"""Words of a limb that are taken together, so that they stay in cache."""
_LOW_BITS = 14
"""Of a constant of an extension below 2^27: 256 products with words are below 2^49."""
Primes = tuple[int, ...]
_BELOW = 1 - 2.0**-50
_FAR_BELOW = 1 - 2.0**-48


def add_rns(a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``a + b``; b broadcasts to a's shape (..., limbs, N)."""
    result = _result("add_rns", a, b, moduli)
    for x, y, out, q in _limbs(a, b, result, moduli):
        np.add(x, y, out=out)
        np.minimum(out, out - q, out=out)
    return result


def sub_rns(a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``a - b``; b broadcasts to a's shape (..., limbs, N)."""
    result = _result("sub_rns", a, b, moduli)
    for x, y, out, q in _limbs(a, b, result, moduli):
        np.subtract(x, y, out=out)
        np.minimum(out, out + q, out=out)
    return result


def neg_rns(a: Array, moduli: Sequence[int]) -> Array:
    """Return ``-a``."""
    result = _result("neg_rns", a, a, moduli)
    for x, _, out, q in _limbs(a, a, result, moduli):
        np.subtract(q, x, out=out)
        np.minimum(out, out - q, out=out)
    return result


def mul_rns(a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``a b``, word by word; b broadcasts to a's shape (..., limbs, N)."""
    result = _result("mul_rns", a, b, moduli)
    for x, y, out, q in _limbs(a, b, result, moduli):
        _product(x, y, out, q)
    return result


def sub_scale_rns(a: Array, b: Array, factors: Sequence[int], moduli: Sequence[int]) -> Array:
    """Return ``(a - b) f`` with an integer f for each limb; b broadcasts to a's shape."""
    result = _result("sub_scale_rns", a, b, moduli)
    column = residues("sub_scale_rns", factors, moduli).astype(np.uint32)
    by_prime = dict(zip(moduli, column, strict=True))
    for x, y, out, q in _limbs(a, b, result, moduli):
        difference = x - y
        np.minimum(difference, difference + q, out=difference)
        _product(difference, by_prime[int(q)], out, q)
    return result


def dot_rns(
    a: Array,
    b: Array,
    moduli: Sequence[int],
    base: Array | None = None,
    factor: int = 1,
    head: int | None = None,
) -> Array:
    """Return ``out[k, p] = sum over d of a[d, p] b[d, k]``, and a base's; see `rns.dot_rns`."""
    head = check_dot(a.shape, b.shape, None if base is None else base.shape, head)
    check_limbs("dot_rns", a.shape, moduli)
    (terms, polys, limbs, degree), keys = a.shape, b.shape[1]
    extra_keys, extra_limbs = (0, 0) if base is None else (base.shape[0], base.shape[2])
    result = empty((keys, polys, limbs, degree), np.uint32)
    sums = _Sums((polys, degree))
    for limb, modulus in enumerate(moduli):
        b_limb = limb if limb < head else limb - limbs  # from the end
        for key in range(keys):
            for term in range(terms):
                sums.add(a[term, :, limb], b[term, key, b_limb])
            if base is not None and key < extra_keys and limb < extra_limbs:
                sums.add(base[key, :, limb], np.uint64(factor % modulus))
            sums.write(result[key, :, limb], modulus)
    return result


def tensor_rns(a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``(a0 b0, a0 b1 + a1 b0, a1 b1)``, summed over pairs; see `rns.tensor_rns`."""
    check_tensor(a.shape, b.shape)
    check_limbs("tensor_rns", a.shape, moduli)
    limbs, degree = a.shape[2:]
    result = empty((3, limbs, degree), np.uint32)
    sums = _Sums((degree,))
    for limb, modulus in enumerate(moduli):
        if len(a) == 1:
            _product(a[0, :, limb], b[0, :, limb], result[::2, limb], np.uint32(modulus))
        for total in (1,) if len(a) == 1 else (0, 1, 2):
            for left, right in zip(a[:, :, limb], b[:, :, limb], strict=True):
                for i in range(max(0, total - 1), min(total, 1) + 1):
                    sums.add(left[i], right[total - i])
            sums.write(result[total, limb], modulus)
    return result


def digits_rns(
    values: Array, moduli: Sequence[int], special: Sequence[int], digit_limbs: int
) -> Array:
    """Return the digits of a polynomial modulo all primes; see `rns.digits_rns`."""
    parts, every = digit_parts(values.shape, moduli, special, digit_limbs), (*moduli, *special)
    coefficients = intt(values, moduli)
    result = empty((len(parts), len(every), values.shape[-1]), np.uint32)
    for out, part in zip(result, parts, strict=True):
        others = [limb for limb in range(len(every)) if not part.start <= limb < part.stop]
        primes = tuple(every[limb] for limb in others)
        if primes:
            _extend(coefficients[part], [out[limb] for limb in others], every[part], primes)
        out[part] = values[part]
    left = [limb // digit_limbs if limb < len(moduli) else -1 for limb in range(len(every))]
    ntt_but(result, every, left)
    return result


def automorphism_rns(x: Array, index: Array, moduli: Sequence[int]) -> Array:
    """Return ``out[i] = x[j]``, or ``-x[j]``, as word i of an index says."""
    if x.shape[-1] != index.size or (index >> np.uint32(31)).any():
        return rns.automorphism_rns(x, index, moduli)
    check_limbs("automorphism_rns", x.shape, moduli)
    result = empty(x.shape, np.uint32)
    # Every index is in range; to clip saves NumPy a copy for the case that one is not.
    return np.take(x, index.astype(np.intp), axis=-1, out=result, mode="clip")


def extend_rns(x: Array, moduli: Sequence[int], others: Sequence[int]) -> Array:
    """Return residues modulo other primes; see `rns.extend_rns`."""
    check_limbs("extend_rns", x.shape, moduli)
    conversion(tuple(moduli), tuple(others))
    result = empty((*x.shape[:-2], len(others), x.shape[-1]), np.uint32)
    polys, outs = x.reshape(-1, *x.shape[-2:]), result.reshape(-1, *result.shape[-2:])
    for poly, out in zip(polys, outs, strict=True):
        _extend(poly, list(out), tuple(moduli), tuple(others))
    return result


def _extend(x: Array, outs: list[Array], moduli: Primes, others: Primes) -> None:
    """Write a polynomial's residues (N,) modulo each of the others."""
    constants, (high, low) = conversion(moduli, others), _halves(moduli, others)
    degree = x.shape[-1]
    y = empty((len(moduli) + 1, degree), np.float64)
    upper, lower = (empty((len(others), degree), np.float64) for _ in range(2))
    words, quotient = empty((degree,), np.uint32), empty((degree,), np.float64)
    sums = np.full(degree, 2**55, np.uint64)
    for limb, modulus in enumerate(moduli):
        _product(x[limb], np.uint32(constants.factors[limb]), words, np.uint32(modulus))
        np.copyto(y[limb], words)
        shares = np.multiply(words, constants.inverses[limb], dtype=np.uint64)
        sums += np.right_shift(shares, np.uint64(8), out=shares)
    np.copyto(y[-1], sums >> np.uint64(56))
    np.matmul(high, y, out=upper)
    np.matmul(low, y, out=lower)
    for u, v, modulus, out in zip(upper, lower, others, outs, strict=True):
        _centre(u, quotient, modulus)
        u *= 2.0**_LOW_BITS
        u += v
        _centre(u, quotient, modulus)
        signed = u.astype(np.int32).view(np.uint32)
        # A negative word, read without a sign, is above 2^31, and wraps to below q.
        np.minimum(signed, signed + np.uint32(modulus), out=out)


class _Sums:
    """Sums of products of words, below 2^64, and room for them."""

    def __init__(self, shape: tuple[int, ...]):
        self._left, self._total, self._product = (empty(shape, np.uint64) for _ in range(3))
        self._empty = True

    def add(self, a: Array, b: Array | np.uint64) -> None:
        """Add a product of words; the second broadcasts."""
        np.copyto(self._left, a)
        np.multiply(self._left, b, out=self._total if self._empty else self._product)
        if not self._empty:
            np.add(self._total, self._product, out=self._total)
        self._empty = False

    def write(self, out: Array, modulus: int) -> None:
        """Write the sum modulo a prime, from its low bits, and begin anew."""
        total, real = self._total, self._product.view(np.float64)
        np.copyto(real, total)
        real *= _FAR_BELOW / modulus
        quotient = real.astype(np.int64).view(np.uint64)
        quotient *= np.uint64(modulus)
        np.subtract(total, quotient, out=total)
        np.copyto(out, total, casting="unsafe")
        np.minimum(out, out - np.uint32(modulus), out=out)
        self._empty = True


def _product(x: Array, y: Array | np.uint32, out: Array, q: np.uint32) -> None:
    """Write ``x y`` modulo q."""
    real = np.multiply(x, y, dtype=np.float64)
    real *= _BELOW / float(q)
    quotient = real.astype(np.int32).view(np.uint32)
    quotient *= q
    np.multiply(x, y, out=out)
    np.subtract(out, quotient, out=out)
    np.subtract(out, q, out=quotient)
    np.minimum(out, quotient, out=out)


def _centre(x: Array, quotient: Array, modulus: int) -> None:
    """Subtract the nearest multiple of a prime from integers up to 2^50 in size, in place."""
    np.multiply(x, 1 / modulus, out=quotient)
    np.rint(quotient, out=quotient)
    quotient *= modulus
    x -= quotient


@lru_cache(maxsize=1024)
def _halves(moduli: Primes, others: Primes) -> tuple[Array, Array]:
    """Return the constants of an extension as float64: their high bits, and the low 14."""
    matrix = conversion(moduli, others).matrix
    high, low = matrix >> np.uint64(_LOW_BITS), matrix & np.uint64(2**_LOW_BITS - 1)
    return high.astype(np.float64), low.astype(np.float64)


def _result(function: str, a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return room for a result, after the checks of the operands' shapes."""
    check_limbs(function, a.shape, moduli)
    check_broadcast(function, a.shape, b.shape)
    return empty(a.shape, np.uint32)


def _limbs(
    a: Array, b: Array, result: Array, moduli: Sequence[int]
) -> Iterator[tuple[Array, Array, Array, np.uint32]]:
    """Yield one limb of some polynomials of a, b and the result, and its prime."""
    shape = (-1, *a.shape[-2:]) if a.size else (0, *a.shape[-2:])
    x, out = a.reshape(shape), result.reshape(shape)
    y = np.broadcast_to(b, a.shape).reshape(shape)
    step = max(1, CHUNK // a.shape[-1])
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        for limb, q in enumerate(moduli):
            yield x[part, limb], y[part, limb], out[part, limb], np.uint32(q)
