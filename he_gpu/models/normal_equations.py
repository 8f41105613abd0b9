"""Least squares from secret sums of products: scaled, preconditioned, refined.

Layer: models, above inverse. Secret powers of two scale all columns alike, exactly, so that data in
any units are served. The inverse of the scaled matrix plus a small multiple of the unit matrix then
solves it in a few steps, as accurately as residuals are known.
Sources: van der Sluis, Numer. Math. 1969 (scaling); Riley, MTAC 1955 (the steps).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from he_gpu.functions import stack
from he_gpu.models.inverse import spd_inverse
from he_gpu.nn.precision import weight_bits
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.contraction import multiplied

SHIFT = 2.0**-20
"""Added to the diagonal of the matrix that is inverted, whose entries are 3/16 to 1."""
N_STEPS = 6
"""How often the inverse is applied: what belongs to an eigenvalue e is found but for the part
(SHIFT / (SHIFT + e))**6."""
_MATRIX_BITS, _WEIGHT_BITS = 34, 24
"""Fraction bits of the scaled matrix and of the solution for scaled columns."""
_LARGEST_WEIGHT = 11
"""The solution stays below 2**11. For an eigenvalue e the right hand side is at most sqrt(e), since
the target is scaled too, and (1 - (1 + e / SHIFT)**-6) / sqrt(e) is at most 1.5 / sqrt(SHIFT)."""
_TOP, _POWERS = 62, 30
"""Scaled words stay below 2**62; scales are 1, 2, 4, ..., 2**30."""
_PRODUCT_BITS = 61
_QUOTIENT_BITS = 36
"""Fraction bits of the solution in the target's units, times which scales stay below 2**62."""
_NOISE = 16
"""Words of a sum of squares that roundings alone may make."""


def solve(
    products: SecretTensor, n_features: int, n: int, alpha: float, exact: bool = False
) -> SecretTensor:
    """Return coefficients w of least |X w - y|**2 + alpha |w|**2.

    Args:
        products: sums of products of the columns of X and y, (d + t, d + t), as `Centred` has them.
        n_features: d, columns of X.
        n: rows; a column whose sum of squares is below n units of a product's last place, or 16, is
            constant as far as the encoding tells, and gets coefficients 0.
        alpha: rounded to the fraction bits of the products.
        exact: whether the products have no roundings, so that no eigenvalue is below 0.

    Returns:
        Coefficients (d, t), with the fraction bits of parameters, 24 by default.

    Range: sums of squares, with alpha, below 2**(62 - 2 f), and coefficients below 2**26.
    Error: let R be the products of the columns of X, each scaled by a power of two to a sum of
        squares of 3/16 to 1, and e its least eigenvalue. As root mean square over the n rows and
        relative to the target's, X w is off by 2**-17 d + 2**-34 d / e, for e > 2**-20. What
        belongs to an eigenvalue e is found but for (SHIFT / (SHIFT + e))**6 of it; so eigenvalues
        far below 2**-20 add nothing, and of equally good solutions w is that of least |D w|, for D
        about the norms of the columns. Coefficients are rounded by a unit, 2**-24 by default, and
        by 2**(-f - 5) over the norm of their column.
    Cost: the scheme's `steps` for 2 (d + t) words and some 30 thresholds; three elementwise
        products, and where not exact a product of d words and a truncation; `spd_inverse` of
        (d, d); 11 products of (d, d) by (d, t); two elementwise products and four truncations of
        (d, t).
    Leaks: nothing.
    """
    session, bits = products.session, products.frac_bits
    d, zeros = n_features, np.zeros(products.shape[0] - n_features)
    lifted = products + np.diag(np.concatenate([np.full(d, float(alpha)), zeros]))
    scales = _scales(products.diagonal(), lifted.diagonal(), n)
    rows = multiplied("solve", lifted, scales.up.reshape(-1, 1), bits)
    whole = multiplied("solve", rows, scales.up, bits)
    words = session.scheme.truncate(whole._stack, _TOP - _MATRIX_BITS)
    scaled = SecretTensor(session, words, _MATRIX_BITS)
    noise: SecretTensor | float = 0.0
    if not exact:
        units = multiplied("solve", scales.up[:d], scales.up[:d], 0)
        words = session.scheme.truncate(units._stack, _TOP - _MATRIX_BITS)
        noise = SecretTensor(session, words, _MATRIX_BITS) * (4 * np.sqrt(d))
    w = _solution(scaled[:d, :d], scaled[:d, d:], noise)
    # w belongs to columns times their scales; first undo the target's, a quotient of 2**30.
    w = w.with_frac_bits(_PRODUCT_BITS - _POWERS - _LARGEST_WEIGHT)
    raised = multiplied("solve", w, scales.down[d:], w.frac_bits)
    w = SecretTensor(session, raised._stack, w.frac_bits + _POWERS).with_frac_bits(_QUOTIENT_BITS)
    found: SecretTensor = multiplied("solve", w, scales.up[:d].reshape(-1, 1), _QUOTIENT_BITS)
    return found.with_frac_bits(weight_bits(session))


def _solution(R: SecretTensor, b: SecretTensor, noise: SecretTensor | float) -> SecretTensor:
    """Return w with R w = b: w <- w + P (b - R w), for P the inverse of R + SHIFT + noise.

    R has a trace of at most d, so no eigenvalue beyond. The last w is truncated to 20 bits later,
    which makes an error of 2**-20 d in X w, whose norm is at least sqrt(3/16) where y's is 1. The
    residual is truncated to some 30 bits, and R**0.5 P is at most 2**9 and less than 1 / sqrt(e).

    Args:
        R: (d, d).
        b: (d, t).
        noise: (d,), what roundings of products about the mean may take off eigenvalues, below 0
            too, several times over, so that steps do not diverge: a unit for each is some 0.7
            d**0.5 in the norm, against 4 d**0.5. At most d**0.5 / 4; 0 for none.
    """
    d = R.shape[0]
    high = d + SHIFT + d**0.5 / 4
    P = spd_inverse(R + noise * np.eye(d) + SHIFT * np.eye(d), SHIFT, high).masked()
    R = R.masked()
    bits = min(_MATRIX_BITS, _PRODUCT_BITS - _LARGEST_WEIGHT - P.frac_bits)
    b = b.with_frac_bits(bits)
    w = P.matmul(b, frac_bits=_WEIGHT_BITS)
    for _ in range(N_STEPS - 1):
        w = w + P.matmul(b - R.matmul(w, frac_bits=bits), frac_bits=_WEIGHT_BITS)
    return w


class _Scales(NamedTuple):
    """Powers of two for columns, as integers.

    Attributes:
        up: s, (d,); 0 for constant columns.
        down: 2**30 / s, or some number for constant columns.
    """

    up: SecretTensor
    down: SecretTensor


def _scales(squares: SecretTensor, lifted: SecretTensor, n: int) -> _Scales:
    """Return the scales that bring sums of squares to 3/16 up to 3/4 of 2**62, in words.

    Those from 3/16 on have the scale 1, and reach 1. So products of two columns stay below 2**62,
    with a quarter of it for roundings, which scales make larger.

    Args:
        squares: (d,), sums of squares.
        lifted: (d,), the same with alpha.
        n: rows.
    """
    session, least = squares.session, max(n, _NOISE)
    ends = [3 * 4**power for power in range(_POWERS)]
    thresholds = sorted({least, *ends})
    starts = [0, *thresholds]
    ups = [2 ** (_POWERS - sum(end <= start for end in ends)) for start in starts]
    downs = [2**_POWERS // up for up in ups]
    varied = [int(start >= least) for start in starts]
    both = stack([squares, lifted])._stack
    found = session.scheme.steps(both, thresholds, [ups, downs, varied])
    up, down, bit = (
        SecretTensor(session, found[:, function, row], 0)
        for function, row in ((0, 1), (1, 1), (2, 0))
    )
    return _Scales(multiplied("solve", up, bit, 0), down)
