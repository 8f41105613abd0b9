"""What layers compute with, secret or public: the products and sums that serve both.

Layer: nn, above functions. A value is a SecretTensor or a float64 ndarray. Two public values meet
in NumPy and cost nothing in the protocol; a secret with a public one costs at most a truncation.
Knows no gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError
from he_gpu.nn.precision import weight_bits
from he_gpu.ring.fixedpoint import as_reals, word_bits
from he_gpu.session import Session
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.contraction import multiplied

Value = Any
"""A SecretTensor or a float64 ndarray."""
Bits = Callable[[Session], int]
"""Fraction bits of a product of two secrets, by their session."""
PIECE = 2**8
"""Products that `inner` sums before a truncation, so that as many may be as large as a mean may."""
MOST_SMALL = 2**12
"""Products modulo 2**32 whose sum keeps all fraction bits; that of more has fewer."""


def is_secret(value: Any) -> TypeGuard[SecretTensor]:
    """Tell a secret value from a public one."""
    return isinstance(value, SecretTensor)


def as_value(given: Any, function: str, argument: str) -> Value:
    """Return a secret as it is, and anything else as a float64 ndarray.

    Raises:
        ValueError: NaN, infinity, or lists of unequal lengths.
        TypeError: what holds no real numbers.
    """
    return given if is_secret(given) else as_reals(given, function, argument)


def session_of(values: Sequence[Value], function: str) -> Session | None:
    """Return the one session of those values that are secret, or None where all are public.

    Raises:
        ValueError: secrets of two sessions.
    """
    session: Session | None = None
    for value in values:
        if is_secret(value):
            if session is not None and value.session is not session:
                raise ArgumentValueError(
                    f"{function}: the tensors belong to two different sessions"
                )
            session = value.session
    return session


def secret_constant(
    session: Session, reals: Array, frac_bits: int, owner: str | None = None
) -> SecretTensor:
    """Return fresh shares of reals that the owner knows, with any number of fraction bits.

    Range: |x| < 2**(k - 2 - session.frac_bits - frac_bits).
    Error: half a unit of 2**-frac_bits.
    Cost, Leaks: as `Session.share`.
    """
    shared = session.share(np.ldexp(reals, frac_bits - session.frac_bits), owner)
    return SecretTensor(session, shared._stack, frac_bits)


def product(x: Value, y: Value, bits: Bits | None = None) -> Value:
    """Return the elementwise product.

    Args:
        x: secret or public.
        y: likewise.
        bits: fraction bits of a product of two secrets; by default the more of both, up to those of
            weights. The product of a 0/1 tensor is exact.
    """
    if not is_secret(x):
        x, y = y, x
    if not is_secret(x):
        return x * y
    if not is_secret(y):
        return x if np.ndim(y) == 0 and y == 1 else x * y
    return multiplied("mul", x, y, _kept(x, y, bits))


def chosen(x: Value, bit: Value) -> Value:
    """Return x where a bit is 1, and 0 elsewhere, exactly where both are secret.

    Cost: for two secrets that of the scheme's `product` without truncation.
    """
    if not is_secret(x) or not is_secret(bit):
        return product(x, bit)
    return multiplied("mul", x, bit, x.frac_bits)


def matmul(x: Value, y: Value, bits: Bits | None = None) -> Value:
    """Return the matrix product; arguments as `product`."""
    if is_secret(x) and is_secret(y):
        return x.matmul(y, _kept(x, y, bits))
    if not is_secret(x) and not is_secret(y):
        return x @ y
    secret = x if is_secret(x) else y
    wanted = (bits or weight_bits)(secret.session)
    # A public matrix of integers adds no bits, so no more are asked for than there are.
    frac_bits = wanted if wanted <= secret.frac_bits else None
    if is_secret(x):
        return x.matmul(y, frac_bits)
    return secret._matmul_public(x, "left", frac_bits)


def inner(x: Value, y: Value) -> Value:
    """Return the sum of the products of all elements.

    Range: of two secrets the sum of any 256 products that follow each other below 2**(k - 2 - twice
        the session's frac_bits), 2**30 by default, to which they are truncated first where they
        have more, and the sum below 2**(k - 2 - frac_bits), 2**46. Modulo 2**32 each product below
        2**(k - 2 - 2 frac_bits), 2**10 with 10, and the sum of n below 2**(k - 2 - frac_bits), or
        n / 4096 times that: it has as many bits less.
    Cost: of two secrets one truncation for 256 products; modulo 2**32 one for each.
    """
    if not is_secret(x) or not is_secret(y):
        return product(x, y).sum()
    left = coarse(x.reshape(-1))
    right = left if y is x else coarse(y.reshape(-1))
    if word_bits(x.session.modulus) == 32:
        fewer = (-(-left.size // MOST_SMALL) - 1).bit_length()
        return product(left, right, lambda session: max(0, session.frac_bits - fewer)).sum()
    rows = _pieces(left)
    if y is x:
        rows = rows.masked()
        return rows.matmul(rows.mT).sum()
    return rows.matmul(_pieces(right).mT).sum()


def _pieces(x: SecretTensor) -> SecretTensor:
    """Return a vector as rows (n, 1, length) of at most PIECE elements, the last one with zeros."""
    length = min(x.size, PIECE)
    whole = -(-x.size // length) * length
    padded = x if whole == x.size else scattered(x, slice(x.size), (whole,))
    return padded.reshape(-1, 1, length)


def averaged(total: Value, count: int) -> Value:
    """Return a sum over its number of terms.

    The mean of a secret has the session's fraction bits.

    Range: the mean below 2**(k - 26 - frac_bits), 2**22 by default (2**8 modulo 2**32), however
        large the sum is as a word.
    Error: two units.
    Cost: of a secret two truncations, one after the other; one for a count that is a power of two.
    """
    if not is_secret(total):
        return total * (1.0 / count)
    shift = count.bit_length() - 1
    if not shift:
        return total
    fine = SecretTensor(total.session, total._stack, total.frac_bits + shift)
    mean = fine.with_frac_bits(total.session.frac_bits)
    return mean if count == 1 << shift else mean * (2.0**shift / count)


def coarse(x: Value) -> Value:
    """Return a secret with no more fraction bits than the session, a public value as it is."""
    if is_secret(x) and x.frac_bits > x.session.frac_bits:
        return x.with_frac_bits(x.session.frac_bits)
    return x


def masked(x: Value) -> Value:
    """Return a secret masked for many products, and a public value as it is."""
    return x.masked() if is_secret(x) else x


def total(x: Value, axes: tuple[int, ...], keepdims: bool = False) -> Value:
    """Return the sum over axes, over none of them where there are none."""
    return x.sum(axes, keepdims=keepdims) if axes else x


def summed_to(x: Value, shape: tuple[int, ...]) -> Value:
    """Return the sum over the axes along which a shape was broadcast to x's."""
    if tuple(x.shape) == shape:
        return x
    extra = x.ndim - len(shape)
    axes = [*range(extra)]
    axes += [extra + at for at, n in enumerate(shape) if n == 1 and x.shape[extra + at] != 1]
    return total(x, tuple(axes), True).reshape(shape)


def broadcast(x: Value, shape: tuple[int, ...]) -> Value:
    """Return the value repeated to a shape."""
    if tuple(x.shape) == shape:
        return x
    return x.broadcast_to(shape) if is_secret(x) else np.broadcast_to(x, shape)


def scattered(x: Value, key: Any, shape: tuple[int, ...]) -> Value:
    """Return zeros of a shape with x added where ``zeros[key]`` lies. Cost: none."""
    if not is_secret(x):
        zeros = np.zeros(shape)
        np.add.at(zeros, key, x)
        return zeros
    backend = x.session.backend
    parts = key if isinstance(key, tuple) else (key,)
    whole = backend.xp.zeros((x._stack.shape[0], *shape), x._stack.dtype)
    if all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in parts):
        behind_parties = (slice(None), *parts)
        whole[behind_parties] = x._stack
        return SecretTensor(x.session, whole, x.frac_bits)
    rows = whole.reshape(whole.shape[0], -1)
    places = np.arange(rows.shape[1]).reshape(shape)[key].reshape(-1)
    words = x._stack.reshape(rows.shape[0], -1)
    # Elements picked several times add up: first all first occurrences, then all second ones.
    while places.size:
        _, first = np.unique(places, return_index=True)
        at, of = backend.asarray(places[first]), backend.asarray(first)
        rows[:, at] = x.session.scheme.add(rows[:, at], words[:, of])
        rest = np.setdiff1d(np.arange(places.size), first)
        places, words = places[rest], words[:, backend.asarray(rest)]
    return SecretTensor(x.session, rows.reshape(whole.shape), x.frac_bits)


def _kept(x: SecretTensor, y: SecretTensor, bits: Bits | None) -> int:
    """Return the fraction bits of a product of secrets."""
    if bits is None:
        wanted = min(max(x.frac_bits, y.frac_bits), weight_bits(x.session))
    else:
        wanted = bits(x.session)
    return min(wanted, x.frac_bits + y.frac_bits)
