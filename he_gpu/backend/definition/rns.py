"""Arithmetic of residues modulo several word-size primes at once, on NumPy arrays.

Layer: backend; the definition of ``kernels/rns.cu``. An integer x stands as its residues, one limb
for each prime q: words are uint32 in [0, q) of shape (..., limbs, N), q < 2^27. What holds for
coefficients holds for the values that a transform gives, but for automorphisms and extension.
Source of the extension: Halevi, Polyakov and Shoup 2018, section 2.2, with a quotient in integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from he_gpu.backend.definition.ntt import intt, ntt
from he_gpu.backend.definition.roots import bit_reversal, check_limbs, check_moduli
from he_gpu.backend.definition.words import Array
from he_gpu.errors import ArgumentValueError

Shape = tuple[int, ...]

MAX_TERMS = 2**10
"""Products of two words below 2^27 whose sum is below 2^64."""
MAX_LIMBS = 255
"""Limbs that extend from: the sum of their quotients, 56 fraction bits each, is below 2^64."""


def add_rns(a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``a + b``; b broadcasts to a's shape (..., limbs, N)."""
    q = _column("add_rns", a, b, moduli)
    return _words(np.add(a, b, dtype=np.uint64) % q)


def sub_rns(a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``a - b``; b broadcasts to a's shape (..., limbs, N)."""
    q = _column("sub_rns", a, b, moduli)
    return _words((np.add(a, q) - b) % q)


def neg_rns(a: Array, moduli: Sequence[int]) -> Array:
    """Return ``-a``."""
    q = _column("neg_rns", a, a, moduli)
    return _words(np.subtract(q, a) % q)


def mul_rns(a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return ``a b``, word by word; b broadcasts to a's shape (..., limbs, N)."""
    q = _column("mul_rns", a, b, moduli)
    return _words(np.multiply(a, b, dtype=np.uint64) % q)


def sub_scale_rns(a: Array, b: Array, factors: Sequence[int], moduli: Sequence[int]) -> Array:
    """Return ``(a - b) f`` with an integer f for each limb; b broadcasts to a's shape."""
    q = _column("sub_scale_rns", a, b, moduli)
    f = residues("sub_scale_rns", factors, moduli)
    return _words((np.add(a, q) - b) * f[:, None] % q)


def dot_rns(
    a: Array,
    b: Array,
    moduli: Sequence[int],
    base: Array | None = None,
    factor: int = 1,
    head: int | None = None,
) -> Array:
    """Return ``out[k, p] = sum over d of a[d, p] b[d, k]``, word by word, plus a multiple of base.

    Args:
        a: (D, P, limbs, N) words, 1 <= D <= 1024, or 1023 with a base.
        b: (D, K, limbs, N) words, or more limbs with a head.
        moduli: the prime of each limb.
        base: (K', P, limbs', N) words, K' <= K and limbs' <= limbs, or None: ``factor base[k, p]``
            is added to the first limbs of the first results.
        factor: an integer of any size and sign.
        head: b's first limbs, so many, and its last stand for all that a has; those between are
            passed over. None where b has a's limbs.

    Returns:
        (K, P, limbs, N) words.

    Raises:
        ArgumentValueError: shapes, moduli or head are none of these.
    """
    head = check_dot(a.shape, b.shape, None if base is None else base.shape, head)
    q = _column("dot_rns", a, a, moduli)
    b = np.concatenate((b[:, :, :head], b[:, :, b.shape[2] - a.shape[2] + head :]), axis=2)
    total = np.zeros((b.shape[1], *a.shape[1:]), np.uint64)
    for left, right in zip(a, b, strict=True):
        total += np.multiply(left, right[:, None], dtype=np.uint64)
    if base is not None:
        keys, limbs = len(base), base.shape[-2]
        factors = residues("dot_rns", [factor] * limbs, moduli[:limbs])
        total[:keys, :, :limbs] += base * factors[:, None]
    return _words(total % q)


def tensor_rns(a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return the sum of products of pairs: (a0 b0, a0 b1 + a1 b0, a1 b1), word by word.

    These are the coefficients of ``(a0 + a1 Y) (b0 + b1 Y)``.

    Args:
        a: (D, 2, limbs, N) words, 1 <= D <= 512.
        b: as many.
        moduli: the prime of each limb.

    Returns:
        (3, limbs, N) words.

    Raises:
        ArgumentValueError: shapes or moduli are none of these.
    """
    check_tensor(a.shape, b.shape)
    q = _column("tensor_rns", a, b, moduli)
    total = np.zeros((3, *a.shape[2:]), np.uint64)
    for i in (0, 1):
        for j in (0, 1):
            for left, right in zip(a[:, i], b[:, j], strict=True):
                total[i + j] += np.multiply(left, right, dtype=np.uint64)
    return _words(total % q)


def automorphism_rns(x: Array, index: Array, moduli: Sequence[int]) -> Array:
    """Return ``out[i] = x[j]``, or ``-x[j]``, as word i of an index says: j, plus 2^31 for minus.

    Args:
        x: (..., limbs, N) words.
        index: (N,) uint32, of `automorphism_index`.
        moduli: the prime of each limb.
    """
    q = _column("automorphism_rns", x, x, moduli)
    moved = x[..., index & np.uint32(2**31 - 1)]
    return _words(np.where(index >> np.uint32(31), np.subtract(q, moved) % q, moved))


def extend_rns(x: Array, moduli: Sequence[int], others: Sequence[int]) -> Array:
    """Return the residues modulo other primes of the integer nearest to zero that x stands for.

    Args:
        x: (..., limbs, N) coefficients modulo Q, the product of the moduli.
        moduli: up to 255 distinct primes.
        others: the primes of the result, which may be of the moduli.

    Returns:
        (..., others, N) words.

    Raises:
        ArgumentValueError: shape or moduli are none of these.

    Error: none for |x| < Q (1/2 - limbs 2^-36), where x is the centred representative. Nearer to
        -Q/2 the result may stand for x + Q in place of x.
    """
    q = _column("extend_rns", x, x, moduli)
    constants = conversion(tuple(moduli), tuple(others))
    p = np.array(others, np.uint64)[:, None]
    # x = sum y Q / q - v Q with y = x (Q / q)^-1 mod q, and v is the sum of y / q, rounded.
    y = x * constants.factors[:, None] % q
    quotients = y * constants.inverses[:, None] >> np.uint64(8)
    v = (quotients.sum(axis=-2, dtype=np.uint64) + np.uint64(2**55)) >> np.uint64(56)
    total = v[..., None, :] * constants.matrix[:, -1:]
    for i in range(len(moduli)):
        total += y[..., i, None, :] * constants.matrix[:, i, None]
    return _words(total % p)


def digits_rns(
    values: Array, moduli: Sequence[int], special: Sequence[int], digit_limbs: int
) -> Array:
    """Return the digits of a polynomial, each modulo all primes: what key switching multiplies.

    Digit j is the integer nearest to zero with the residues of limbs j digit_limbs and on, as
    `extend_rns` finds it; its own limbs are therefore the polynomial's.

    Args:
        values: (limbs, N) values in the order of `ntt.ntt`.
        moduli: the prime of each limb.
        special: further primes, none of the moduli; there may be none.
        digit_limbs: limbs of a digit, 1 to 255; the last may have fewer.

    Returns:
        (digits, limbs + special, N) values.

    Raises:
        ArgumentValueError: shape, moduli or digit_limbs are none of these.

    Error: that of `extend_rns`.
    """
    parts, every = digit_parts(values.shape, moduli, special, digit_limbs), (*moduli, *special)
    coefficients = intt(values, moduli)
    result = np.empty((len(parts), len(every), values.shape[-1]), np.uint32)
    for out, part in zip(result, parts, strict=True):
        out[:] = ntt(extend_rns(coefficients[part], every[part], every), every)
    return result


class Conversion:
    """Constants of an extension, uint64.

    Attributes:
        factors: (limbs,) (Q / q)^-1 mod q.
        inverses: (limbs,) floor(2^64 / q), so that y inverses / 2^64 misses y / q by less than
            y / 2^64 < 2^-37.
        matrix: (others, limbs + 1) Q / q mod p, and at last -Q mod p.
    """

    def __init__(self, moduli: tuple[int, ...], others: tuple[int, ...]):
        product = math.prod(moduli)
        parts = [product // q for q in moduli]
        self.factors = np.array(
            [pow(part, -1, q) for part, q in zip(parts, moduli, strict=True)], np.uint64
        )
        self.inverses = np.array([2**64 // q for q in moduli], np.uint64)
        rows = [[*(part % p for part in parts), -product % p] for p in others]
        self.matrix = np.array(rows, np.uint64)


@lru_cache(maxsize=1024)
def conversion(moduli: tuple[int, ...], others: tuple[int, ...]) -> Conversion:
    """Return the constants that take residues from some primes to others.

    Raises:
        ArgumentValueError: a prime that occurs twice among the moduli, more than 255 of them, or
            none of the others.
    """
    if len(set(moduli)) != len(moduli) or len(moduli) > MAX_LIMBS:
        raise ArgumentValueError(
            f"extend_rns: moduli must be up to {MAX_LIMBS} different primes, got {moduli}"
        )
    if not others:
        raise ArgumentValueError("extend_rns: others must be one prime at least, got none")
    return Conversion(moduli, others)


@lru_cache(maxsize=1024)
def automorphism_index(degree: int, power: int, evaluation: bool) -> Array:
    """Return what `automorphism_rns` needs to replace X by X^power modulo X^N + 1.

    Args:
        degree: N.
        power: odd, any sign.
        evaluation: whether words are values in the order of `ntt.ntt`, or coefficients.

    Raises:
        ArgumentValueError: power is even.
    """
    if power % 2 == 0:
        raise ArgumentValueError(f"automorphism: power must be odd, got {power}")
    n, power = degree, power % (2 * degree)
    if evaluation:  # the value at psi^e becomes the one at psi^(e power)
        order = bit_reversal(n)
        index = order[((2 * order + 1) * power % (2 * n) - 1) // 2]
    else:  # coefficient j goes to X^(j power), and X^N is -1
        target = np.arange(n) * power % (2 * n)
        index = np.empty(n, np.int64)
        index[target % n] = np.arange(n) + 2**31 * (target >= n)
    words = index.astype(np.uint32)
    words.flags.writeable = False
    return words


def residues(function: str, integers: Sequence[int], moduli: Sequence[int]) -> Array:
    """Return an integer for each limb modulo its prime, as uint64.

    Raises:
        ArgumentValueError: not as many integers as moduli.
    """
    if len(integers) != len(moduli):
        raise ArgumentValueError(
            f"{function}: factors must be one for each of {len(moduli)} limbs, got {len(integers)}"
        )
    return np.array([f % q for f, q in zip(integers, moduli, strict=True)], np.uint64)


def check_dot(a: Shape, b: Shape, base: Shape | None, head: int | None) -> int:
    """Return the head, all limbs for None, or refuse shapes that `dot_rns` does not take."""
    fits = len(a) == len(b) == 4 and (a[0], a[3]) == (b[0], b[3])
    if fits:
        fits = a[2] == b[2] if head is None else 0 <= head <= a[2] <= b[2]
    most = MAX_TERMS if base is None else MAX_TERMS - 1
    if not fits or not 1 <= a[0] <= most:
        raise ArgumentValueError(
            f"dot_rns: a and b must have shapes (D, P, limbs, N) and (D, K, limbs, N), D in "
            f"[1, {most}], or more limbs of b with a head in [0, limbs], got {a}, {b} and {head}"
        )
    head = a[2] if head is None else head
    if base is None:
        return head
    fits = len(base) == 4 and (base[1], base[3]) == (a[1], a[3])
    if not fits or base[0] > b[1] or not 1 <= base[2] <= a[2]:
        raise ArgumentValueError(
            f"dot_rns: base must have shape (K, P, limbs, N) with K up to {b[1]}, P = {a[1]}, "
            f"limbs in [1, {a[2]}] and N = {a[3]}, got {base}"
        )
    return head


def check_tensor(a: Shape, b: Shape) -> None:
    """Refuse shapes that `tensor_rns` does not take."""
    if len(a) != 4 or a != b or a[1] != 2 or not 1 <= a[0] <= MAX_TERMS // 2:
        raise ArgumentValueError(
            f"tensor_rns: a and b must have one shape (D, 2, limbs, N), D in "
            f"[1, {MAX_TERMS // 2}], got {a} and {b}"
        )


def digit_parts(
    shape: Shape, moduli: Sequence[int], special: Sequence[int], digit_limbs: int
) -> list[slice]:
    """Return where the limbs of each digit stand, or refuse what `digits_rns` does not take."""
    check_limbs("digits_rns", shape, moduli)
    check_moduli("digits_rns", shape[-1], tuple(special))
    if len(shape) != 2 or not 1 <= digit_limbs <= MAX_LIMBS:
        raise ArgumentValueError(
            f"digits_rns: values must have shape (limbs, N) and digit_limbs be in "
            f"[1, {MAX_LIMBS}], got {shape} and {digit_limbs}"
        )
    starts = range(0, len(moduli), digit_limbs)
    return [slice(at, min(at + digit_limbs, len(moduli))) for at in starts]


def check_broadcast(function: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Refuse an operand b that does not broadcast to the shape of a."""
    try:
        fits = np.broadcast_shapes(a, b) == a
    except ValueError:
        fits = False
    if not fits:
        raise ArgumentValueError(f"{function}: b must broadcast to a's shape {a}, got {b}")


def _column(function: str, a: Array, b: Array, moduli: Sequence[int]) -> Array:
    """Return the moduli as a column, after the checks of the operands' shapes."""
    check_limbs(function, a.shape, moduli)
    check_broadcast(function, a.shape, b.shape)
    return np.array(moduli, np.uint64)[:, None]


def _words(a: Array) -> Array:
    return a.astype(np.uint32)
