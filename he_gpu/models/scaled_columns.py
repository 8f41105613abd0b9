"""Columns of a design matrix, centred and scaled so that Newton's method needs no settings.

Layer: models, above tensor. The owner of plaintext does it in float64 before sharing; secret
columns are scaled on shares. Nothing is revealed.
Source: scaling by the diagonal of the bound of Böhning, "Multinomial logistic regression
algorithm", Annals of the Institute of Statistical Mathematics, 1992.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError, RangeError
from he_gpu.functions import concatenate
from he_gpu.models.log_loss import DATA_BITS, PENALTY_BITS, VECTOR_BITS
from he_gpu.nn.values import is_secret, secret_constant
from he_gpu.session import Session
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.contraction import multiplied

_MOST_SAMPLES = 2**22
"""Sums over more of them might not fit the word."""
_LARGEST_BITS, _LEAST_BITS = 12, 8
"""Plaintext stays below 2**12, and its deviations above 2**-8 or so, where its coefficients stay
secret, with 24 fraction bits."""
_LARGEST_NORM = 2.0**12
"""Of weights: beyond, the columns' rounding moves scores by 2**-5 or so."""
_CENTRE_BITS = 20
"""Fraction bits of the columns' means."""
_SQUARE_BITS = 24
"""Fraction bits of sums of squares."""


class ScaledColumns(NamedTuple):
    """Columns as `LogLoss` takes them, and the way back.

    A column x less its mean is multiplied by (c sum(x**2) / N + lambda)**-0.5, with N = 2**k >= n,
    c the most that a sample can bend the loss, and lambda = 1 / (C N) of the penalty. So the
    diagonal of the Hessian is at most 1, also for a constant column.

    Attributes:
        columns: (n, m), scaled; the last one is the intercept's, where there is one.
        factors: (m, 1), lambda times the square of the scale; 0 for the intercept.
        scale: (d,), public of plaintext.
        centre: (d,), what was taken off first, likewise; None without an intercept.
        unit: the number in the intercept's column, where the Hessian's diagonal is at most 1 too.
    """

    columns: SecretTensor
    factors: SecretTensor
    scale: Any
    centre: Any
    unit: float

    @classmethod
    def of(
        cls, session: Session, X: Any, C: float, curvature: float, intercept: bool
    ) -> ScaledColumns:
        """Return the columns of X, secret or finite float64, (n, d).

        Args:
            session: where they are shared.
            X: the columns.
            C: inverse strength of the penalty.
            curvature: c, 1/4 for two classes and 1/2 for more.
            intercept: whether there is one.

        Raises:
            ValueError: a session modulo 2**32.
            RangeError: more than 2**22 samples.

        Range: of a secret X the sum of squares of each column, less its mean, below
            2**(62 - 2 frac_bits), 2**30 by default.
        Error: of columns half a unit of 2**-16, or of 2**-frac_bits where that is more.
        Cost: of plaintext that of `share`. Of secrets a mean, a product for the sums of squares, a
            `rsqrt` of d words, two products for the factors, and one of n d words.
        Leaks: nothing.
        """
        if session.modulus != 2**64:
            raise ArgumentValueError(
                "fit: the session's modulus must be 2**64, because gradients need more fraction "
                f"bits than fit 2**32, got {session.modulus}; nn.Linear with "
                "nn.BCEWithLogitsLoss or nn.CrossEntropyLoss trains modulo 2**32"
            )
        n = X.shape[0]
        if n > _MOST_SAMPLES:
            raise RangeError(f"fit: X must have at most {_MOST_SAMPLES} samples, got {n}")
        N, unit = 2 ** (n - 1).bit_length(), curvature**-0.5
        strength = 1 / max(C, 2.0**-900) / N
        scaled = _scaled_secret if is_secret(X) else _scaled_plaintext
        columns, factors, scale, centre = scaled(session, X, N, strength, curvature, intercept)
        if intercept:
            columns = concatenate([columns, np.full((n, 1), unit)], 1)
            factors = concatenate([factors, np.zeros(1)])
        if columns.frac_bits > DATA_BITS:
            columns = columns.with_frac_bits(DATA_BITS)
        return cls(columns, factors.reshape(-1, 1), scale, centre, unit)

    def check_plain(self, X: Array) -> None:
        """Refuse plaintext whose secret coefficients would be too small, or too large.

        Args:
            X: the plaintext that these columns are of.

        Raises:
            RangeError: with the column, the bound and the value.
        """
        largest = np.abs(X).max(axis=0)
        at = int(np.argmax(largest))
        if largest[at] >= 2.0**_LARGEST_BITS:
            raise RangeError(
                f"fit: X[:, {at}] must stay below 2**{_LARGEST_BITS}, because secret coefficients "
                f"have {VECTOR_BITS} fraction bits, got {largest[at]:g}; standardise the columns"
            )
        scale = np.where(X.min(axis=0) < X.max(axis=0), self.scale, 0.0)
        at = int(np.argmax(scale))
        if scale[at] >= 2.0**_LEAST_BITS:
            raise RangeError(
                f"fit: X[:, {at}] must vary by 2**-{_LEAST_BITS} or more, or C be lower, because "
                f"secret coefficients must stay below 2**{62 - 2 * VECTOR_BITS}, got a deviation "
                f"of {X[:, at].std():g}; standardise the columns"
            )

    def fine_enough(self, w: Array) -> bool:
        """Tell whether the columns' rounding leaves the scores of public weights as they are."""
        return bool(np.linalg.norm(w, axis=0).max() <= _LARGEST_NORM)

    def public_coefficients(self, w: Array) -> tuple[Array, Array]:
        """Return coefficients (n_outputs, d) and intercept (n_outputs,) of public weights.

        Args:
            w: (m, n_outputs); the columns were plaintext.
        """
        coef = w[: len(self.scale)] * self.scale[:, None]
        if self.centre is None:
            return coef.T, np.zeros(w.shape[1])
        return coef.T, w[-1] * self.unit - self.centre @ coef

    def coefficients(self, w: SecretTensor) -> tuple[SecretTensor, SecretTensor]:
        """Return coefficients (n_outputs, d) and intercept (n_outputs,) of weights (m, n_outputs).

        Range: coefficients below 2**14, their products with the means below 2**18.
        Error: one unit of 2**-24, and of the intercept that times the sum of the means.
        Cost: a product of all coefficients and, with an intercept, one with the means.
        Leaks: nothing.
        """
        session, scale, centre = w.session, self.scale, self.centre
        if not is_secret(scale):
            scale = secret_constant(session, scale, VECTOR_BITS)
        coef = multiplied("mul", w[: scale.shape[0]], scale.reshape(-1, 1), VECTOR_BITS)
        if centre is None:
            return coef.T, secret_constant(session, np.zeros(w.shape[1]), VECTOR_BITS)
        if not is_secret(centre):
            centre = secret_constant(session, centre, _CENTRE_BITS)
        moved = centre.matmul(coef, frac_bits=VECTOR_BITS)
        return coef.T, multiplied("mul", w[-1], self.unit, VECTOR_BITS) - moved


def _scaled_plaintext(
    session: Session, X: Array, N: int, strength: float, curvature: float, intercept: bool
) -> tuple[SecretTensor, SecretTensor, Array, Array | None]:
    # Over the largest first, so that no square overflows.
    centre = X.mean(axis=0) if intercept else None
    away = X if centre is None else X - centre
    largest = np.abs(away).max(axis=0)
    largest = np.where(largest > 0, largest, 1.0)
    away = away / largest
    spread = np.sqrt(curvature / N * (away**2).sum(axis=0)) * largest
    scale = 1 / np.hypot(spread, strength**0.5)
    factors = (strength**0.5 * scale) ** 2
    columns = session.share(away * (largest * scale))
    return columns, secret_constant(session, factors, PENALTY_BITS), scale, centre


def _scaled_secret(
    session: Session, X: SecretTensor, N: int, strength: float, curvature: float, intercept: bool
) -> tuple[SecretTensor, SecretTensor, SecretTensor, SecretTensor | None]:
    X = X.with_frac_bits(session.frac_bits)
    centre = X.mean(axis=0) if intercept else None
    away = X if centre is None else X - centre
    squares = away.vecdot(away, axis=0, frac_bits=min(_SQUARE_BITS, 2 * away.frac_bits))
    spread = squares.scaled(curvature / N)  # a power of two
    scale = (spread + strength).rsqrt(VECTOR_BITS)
    columns = multiplied("mul", away, scale, min(DATA_BITS, session.frac_bits))
    root = scale * strength**0.5  # with fewer fraction bits where that is a power of two
    factors = multiplied("mul", root, root, min(PENALTY_BITS, 2 * root.frac_bits))
    return columns, factors, scale, centre
