"""Counts, sums and products of a data set on shares, exact over as many batches as there are.

Layer: models, above tensor. Everything is an integer in units of 2**-frac_bits or of its square, so
that rows added later count as they would have in one batch. Only means are rounded.
Source: sums about a shift near the mean, Chan, Golub and LeVeque, The American Statistician 1983.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import floor, log2
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError, RangeError
from he_gpu.functions import stack
from he_gpu.ring.fixedpoint import FACTOR_BITS
from he_gpu.session import Session
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.contraction import multiplied

_FINE_BITS = 14
"""Fraction bits that means have beyond the data's."""
_NEARLY = 1 - 2.0**-10
"""Leaves room for what the encoding rounds."""


class Centred(NamedTuple):
    """What moments say about the mean.

    Attributes:
        products: (d, d), sums of products of columns less their means, with twice the data's
            fraction bits.
        mean: (d,), the means, rounded to the data's fraction bits.
        rest: (d,), the means less that, with 14 bits more.
    """

    products: SecretTensor
    mean: SecretTensor
    rest: SecretTensor


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums of columns and of their products about a centre c, sum(x - c) and sum((x - c)(x - c)^T).

    Secret, or public as integers once revealed; never changed.

    Attributes:
        n: rows so far; public.
        frac_bits: f, of the data.
        about_mean: whether c is the mean of the first batch, rounded; otherwise it is 0.
        centre: (d,), c; in units of 2**-f where public, as an int64 ndarray.
        sums: (d,), likewise.
        products: (d, d), in units of 2**(-2 f) where public.
    """

    n: int
    frac_bits: int
    about_mean: bool
    centre: Any
    sums: Any
    products: Any

    @classmethod
    def of(cls, rows: SecretTensor, about_mean: bool) -> Moments:
        """Return the moments of a first batch, (n, d).

        Range: as `added`, and for the mean |sum(x)| < 2**(k - 2 - f) and |mean| < 2**(k - 26 - f).
        Error: none, where the rows have no more fraction bits than the session.
        Cost: a mean of the rows, and that of `added`.
        Leaks: nothing.
        """
        session = rows.session
        rows = rows.with_frac_bits(session.frac_bits)
        centre = rows.mean(axis=0) if about_mean else session.share(np.zeros(rows.shape[1]))
        return cls(0, session.frac_bits, about_mean, centre, None, None).added(rows)

    def added(self, rows: SecretTensor) -> Moments:
        """Return the moments with more rows (n, d), exactly as if all had come in one batch.

        Range: |sum(x - c)| < 2**(k - 2 - f), and sums of squares of x - c, over all batches, below
            2**(k - 2 - 2 f); 2**46 and 2**30 by default.
        Error: as `of`.
        Cost: one product of (d, n) by (n, d), whose operand is opened once, not truncated.
        Leaks: nothing.
        """
        away = rows.with_frac_bits(self.frac_bits)
        if self.about_mean:
            away = away - self.centre
        sums, away = away.sum(axis=0), away.masked()
        products = away.T.matmul(away, frac_bits=2 * self.frac_bits)
        if self.n:
            sums, products = self.sums + sums, self.products + products
        return replace(self, n=self.n + rows.shape[0], sums=sums, products=products)

    def centred(self) -> Centred:
        """Return sums of products about the mean, and the mean.

        With s = sum(x - c), the mean is c + s / n and the products lose s s^T / n. Its larger part
        goes off exactly, by a d near s / n with f fraction bits: s d^T + d (s - n d)^T. Then what
        is left is s' s'^T / n for s' = s - n d, a few units for each row.

        Range: |s / n| < 2**(k - 26 - f).
        Error: of the products one unit of 2**(-2 f), and n 2**-29 units for f = 16.
        Cost: four truncations of d words, fewer where n is a power of two, a product of (d, 2) by
            (2, d), and one of d by d words.
        Leaks: nothing.
        """
        f, n, s = self.frac_bits, self.n, self.sums
        d = _over(s, n)
        left = s - d * n
        products = self.products - stack([s, d], 1).matmul(stack([d, left]), frac_bits=2 * f)
        rest = _over(left.with_frac_bits(f + _FINE_BITS), n)
        return Centred(products - left.outer(rest, 2 * f), self.centre + d, rest)

    def about(self) -> tuple[Array, Array]:
        """Return the means, or 0, and sums of products about them, of public moments."""
        f, s = self.frac_bits, np.ldexp(self.sums.astype(np.float64), -self.frac_bits)
        products = np.ldexp(self.products.astype(np.float64), -2 * f)
        if not self.about_mean:
            return np.zeros(s.shape), products
        centre = np.ldexp(self.centre.astype(np.float64), -f)
        return centre + s / self.n, products - np.outer(s, s) / self.n

    def reveal(self) -> Moments:
        """Return the same, public. Leaks: all of it."""
        if not isinstance(self.centre, SecretTensor):
            return self
        return replace(
            self,
            centre=_opened(self.centre),
            sums=_opened(self.sums),
            products=_opened(self.products),
        )

    def shared(self, session: Session, function: str) -> Moments:
        """Return the same, secret in a session.

        Raises:
            ValueError: secrets of another session, another number of fraction bits.
        """
        f = self.frac_bits
        if f != session.frac_bits:
            raise ArgumentValueError(
                f"{function}: the session must have {f} fraction bits, as the data before had, got "
                f"{session.frac_bits}"
            )
        if isinstance(self.centre, SecretTensor):
            if self.centre.session is not session:
                raise ArgumentValueError(f"{function}: the data before are in another session")
            return self
        return replace(
            self,
            centre=_shared(session, self.centre, f),
            sums=_shared(session, self.sums, f),
            products=_shared(session, self.products, 2 * f),
        )

    def check_room(self, part: Array, first: int, name: str, lift: float, function: str) -> None:
        """Refuse plaintext columns that would pass the ranges, before they are added.

        Args:
            part: (n, columns), public; some columns of the rows.
            first: which of all columns the first one is.
            name: of the part, for messages.
            lift: what will be added to the sums of squares later.
            function: for messages.

        Raises:
            RangeError: a column whose mean, sum or sum of squares is too large. Where the moments
                are secret, only the part's own sums can be told.
        """
        f, k, columns = self.frac_bits, 64, slice(first, first + part.shape[1])
        centre, before = np.zeros(part.shape[1]), np.zeros(part.shape[1])
        if self.n and not isinstance(self.centre, SecretTensor):
            squares = np.diagonal(self.products)[columns].astype(np.float64)
            centre = np.ldexp(self.centre[columns].astype(np.float64), -f)
            before = np.ldexp(squares, -2 * f)
        elif self.about_mean:
            centre = part.mean(axis=0)
        about = "the mean" if self.about_mean else "0"
        squares = before + ((part - centre) ** 2).sum(axis=0) + lift
        bounds = [
            (f"the sum of squared distances from {about}", squares, k - 2 - 2 * f),
            ("the sum", abs(part.sum(axis=0)), k - 2 - f),
        ]
        if self.about_mean:
            bounds.append(("the mean", abs(part.mean(axis=0)), k - 2 - FACTOR_BITS[k] - f))
        for what, values, room in bounds:
            at = int(np.argmax(values))
            if values[at] >= 2.0**room * _NEARLY:
                raise RangeError(
                    f"{function}: {what} of {name}[:, {at}] must stay below 2**{room} with {f} "
                    f"fraction bits, got {values[at]:g}; scale it down, or use fewer fraction bits"
                )


def _over(sums: SecretTensor, n: int) -> SecretTensor:
    """Return sums / n with their fraction bits, to within two units and 2**-24 relative."""
    power = floor(log2(n))
    if power:
        halved = sums.session.scheme.truncate(sums._stack, power)
        sums = SecretTensor(sums.session, halved, sums.frac_bits)
    found: SecretTensor = multiplied("mean", sums, 2.0**power / n, sums.frac_bits)
    return found


def _opened(x: SecretTensor) -> Array:
    """Return the words of a secret as integers."""
    session = x.session
    return np.asarray(session.backend.to_numpy(session.scheme.open(x._stack))).view(np.int64)


def _shared(session: Session, integers: Array, frac_bits: int) -> SecretTensor:
    """Return integers, in units of 2**-frac_bits, as a secret."""
    words = session.backend.asarray(integers.view(np.uint64))
    return SecretTensor(session, session.scheme.share(words, 0), frac_bits)
