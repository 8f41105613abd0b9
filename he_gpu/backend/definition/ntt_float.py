"""The transform of `ntt`, word for word the same, in float64: what the ``cpu`` device runs.

Layer: backend. Residues are centred, so that float64 holds their products without rounding, and
x - q rint(x / q) reduces one in four passes that vectorise on every machine. Residues grow from
stage to stage and are reduced only before a product would pass 2^53: seldom for small primes.

Error: none. With |x| <= 2^53 - 2^27 and |w| <= (q - 1) / 2, x times the rounded 1/q misses x/q by
less than 2/q + 2^-52, so the rest is at most R = (q + 3) / 2, and q rint(x / q) is exact. Words
below q are at most 2 R, a stage adds R, and a product of h R with w is taken while
h R (q - 1) / 2 <= 2^53 - 2^27, which h = 2 satisfies for every q < 2^27 - 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from he_gpu.backend.definition.four_step import FourStep, four_step, sides
from he_gpu.backend.definition.memory import empty
from he_gpu.backend.definition.roots import check_limbs
from he_gpu.backend.definition.words import Array

CHUNK = 2**16
"""Words that are transformed together, so that they stay in cache."""
PAD = 8
"""Words between rows: without them, the rows of a transposition fall on each other in a cache."""
EXACT = 2**53 - 2**27


def ntt(x: Array, moduli: Sequence[int]) -> Array:
    """Return the values of polynomials at the odd powers of psi; see `ntt.ntt`."""
    moduli = check_limbs("ntt", x.shape, moduli)
    result = empty(x.shape, np.uint32)
    for work, words, out in _chunks(x, result):
        for limb, modulus in enumerate(moduli):
            _transform(work, words[:, limb], out[:, limb], modulus)
    return result


def ntt_but(x: Array, moduli: Sequence[int], left: Sequence[int]) -> None:
    """Transform polynomials (polys, limbs, N) in place, but for one of each limb.

    Args:
        x: coefficients, in C order.
        moduli: the prime of each limb.
        left: which polynomial's limb stays as it is, -1 for none.
    """
    polys, _, degree = x.shape
    step, works = max(1, CHUNK // degree), dict[int, _Work]()
    for limb, (modulus, without) in enumerate(zip(moduli, left, strict=True)):
        which = [poly for poly in range(polys) if poly != without]
        for start in range(0, len(which), step):
            some = which[start : start + step]
            work = works.get(len(some)) or works.setdefault(len(some), _Work(len(some), degree))
            words = x[some, limb].reshape(len(some), *sides(degree))
            _transform(work, words, words, modulus)
            x[some, limb] = words.reshape(len(some), degree)


def intt(x: Array, moduli: Sequence[int]) -> Array:
    """Return the coefficients of polynomials from their values; see `ntt.intt`."""
    moduli = check_limbs("intt", x.shape, moduli)
    result, degree = empty(x.shape, np.uint32), x.shape[-1]
    for work, words, out in _chunks(x, result):
        columns, rows = work.columns, work.rows
        for limb, modulus in enumerate(moduli):
            tables = _tables(modulus, degree)
            np.copyto(work.inner(columns), words[:, limb].swapaxes(0, 1))
            np.copyto(work.cleared(rows), work.inner(columns).T)
            size = work.backward(rows, tables.rows_back, modulus, 2)
            work.settle(rows, size, modulus)
            np.multiply(work.inner(rows).T, tables.twist_back, out=work.cleared(columns))
            work.reduce(columns, modulus)
            size = work.backward(columns, tables.columns_back, modulus, 1)
            work.settle(columns, size, modulus)
            np.multiply(columns, tables.scale, out=columns)
            np.copyto(out[:, limb].swapaxes(0, 1), work.finished(columns, modulus))
    return result


def _transform(work: _Work, words: Array, out: Array, modulus: int) -> None:
    """Write the values of a chunk's polynomials (p, n1, n2) modulo one prime."""
    columns, rows = work.columns, work.rows
    tables = _tables(modulus, words.shape[1] * words.shape[2])
    np.copyto(work.cleared(columns), words.swapaxes(0, 1))
    size = work.forward(columns, tables.columns, modulus, 2)
    work.settle(columns, size, modulus)
    np.multiply(work.inner(columns).T, tables.twist, out=work.cleared(rows))
    work.reduce(rows, modulus)
    work.forward(rows, tables.rows, modulus, 1)
    np.copyto(out.transpose(2, 0, 1), work.finished(rows, modulus))


class _Work:
    """Two matrices that a chunk of p polynomials passes through, and the steps on them.

    Every step works on one of the two and uses the other as room. `PAD` words end each row.

    Attributes:
        columns: (n1, p n2 + PAD), for stages over n1.
        rows: (n2, p n1 + PAD), for stages over n2.
    """

    def __init__(self, p: int, degree: int):
        n1, n2 = sides(degree)
        shapes = (n1, p * n2 + PAD), (n2, p * n1 + PAD)
        self._p = p
        self._both = empty((2, max(rows * width for rows, width in shapes)), np.float64)
        self.columns, self.rows = (
            each[: rows * width].reshape(rows, width)
            for each, (rows, width) in zip(self._both, shapes, strict=True)
        )

    def inner(self, a: Array) -> Array:
        """Return a matrix without its padding, (n, p, its other side)."""
        return a[:, :-PAD].reshape(len(a), self._p, -1)

    def cleared(self, a: Array) -> Array:
        """Return a matrix without its padding, which becomes zero, as later steps want."""
        a[:, -PAD:] = 0
        return self.inner(a)

    def reduce(self, a: Array, modulus: int) -> None:
        """Subtract the nearest multiple of q from |x| <= EXACT, in place."""
        _reduce(a, self._room(a)[: a.size].reshape(a.shape), modulus)

    def settle(self, a: Array, size: int, modulus: int) -> int:
        """Reduce residues of magnitude size * R where their products would not be exact."""
        if size * ((modulus + 3) // 2) * (modulus // 2) <= EXACT:
            return size
        self.reduce(a, modulus)
        return 1

    def forward(self, a: Array, table: Array, modulus: int, size: int) -> int:
        """Take all stages over the first axis, natural order to bit-reversed.

        Args:
            a: (n, ...) residues of magnitude size * R, changed in place.
            table: as `four_step` says, centred.
            modulus: q.
            size: 1 or 2.

        Returns:
            The size of the residues afterwards.
        """
        blocks = 1
        while blocks < len(a):
            size = self.settle(a, size, modulus) + 1
            halves = a.reshape(blocks, 2, -1)
            weights = table[blocks : 2 * blocks, None]
            self._butterflies(a, halves, weights, modulus)
            blocks *= 2
        return size

    def backward(self, a: Array, table: Array, modulus: int, size: int) -> int:
        """Take all stages over the first axis, bit-reversed order to natural; see `forward`."""
        half = 1
        while half < len(a):
            size = self.settle(a, size, modulus) + 1
            halves = a.reshape(len(a) // (2 * half), 2, half, -1)
            weights = table[half : 2 * half, None]
            self._butterflies(a, halves, weights, modulus)
            half *= 2
        return size

    def finished(self, a: Array, modulus: int) -> Array:
        """Return residues |x| <= EXACT as words in [0, q), without the padding."""
        self.reduce(a, modulus)
        signed, words = self._room(a).view(np.int32)[: 2 * a.size].reshape(2, *a.shape)
        np.copyto(signed, a, casting="unsafe")
        # A negative residue, read without a sign, is above 2^31, and wraps to below q with q added.
        np.add(signed.view(np.uint32), np.uint32(modulus), out=words.view(np.uint32))
        np.minimum(signed.view(np.uint32), words.view(np.uint32), out=words.view(np.uint32))
        return self.inner(words.view(np.uint32))

    def _room(self, a: Array) -> Array:
        """Return the words of the matrix that a is not."""
        return self._both[1 if a is self.columns else 0]

    def _butterflies(self, a: Array, halves: Array, weights: Array, modulus: int) -> None:
        u, v = halves[:, 0], halves[:, 1]
        product, quotient = self._room(a)[: a.size].reshape(2, *u.shape)
        np.multiply(v, weights, out=product)
        _reduce(product, quotient, modulus)
        np.subtract(u, product, out=v)
        np.add(u, product, out=u)


def _reduce(a: Array, quotient: Array, modulus: int) -> None:
    np.multiply(a, 1 / modulus, out=quotient)
    np.rint(quotient, out=quotient)
    np.multiply(quotient, modulus, out=quotient)
    np.subtract(a, quotient, out=a)


def _chunks(x: Array, result: Array) -> Iterator[tuple[_Work, Array, Array]]:
    """Yield words (p, limbs, n1, n2) of some polynomials, the result's alike, and room for them."""
    limbs, degree = x.shape[-2:]
    shape = (-1, limbs, *sides(degree)) if x.size else (0, limbs, *sides(degree))
    words, out = x.reshape(shape), result.reshape(shape)
    step = max(1, min(len(words), CHUNK // degree))
    work: _Work | None = None
    for start in range(0, len(words), step):
        part = slice(start, start + step)
        if work is None or len(words[part]) < step:
            work = _Work(len(words[part]), degree)
        yield work, words[part], out[part]


@lru_cache(maxsize=128)
def _tables(modulus: int, degree: int) -> FourStep:
    """Return centred tables in float64, shaped for arrays of p polynomials."""
    words = four_step(modulus, degree)
    centred = [np.where(w > modulus // 2, w - float(modulus), w) for w in words]
    tables = FourStep(*centred)
    return tables._replace(
        twist=np.ascontiguousarray(tables.twist.T)[:, None],
        twist_back=tables.twist_back[:, None],
        scale=tables.scale[:, None],
    )
