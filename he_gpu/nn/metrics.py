"""Scores of predictions that reveal one number each.

Layer: nn, above values. Predictions and targets may be secret or public; what is opened is the
score and nothing else.
Source: scikit-learn's `accuracy_score` and `r2_score` for the definitions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError, RangeError
from he_gpu.functions import concatenate
from he_gpu.nn.combination import Combination, combined
from he_gpu.nn.losses import one_hot
from he_gpu.nn.values import Value, coarse, inner, is_secret, product
from he_gpu.nn.variable import as_variable
from he_gpu.ring.fixedpoint import word_bits
from he_gpu.tensor import SecretTensor

_INVERSE_BITS = {64: 12, 32: 4}
"""Fraction bits that the inverse of a deviation has beyond the session's, by the word's bits."""
_MEAN_BITS = 6
"""Bits of the word that a mean of squares leaves to the number of samples."""


def accuracy(prediction: Any, target: Any) -> float:
    """Reveal the share of samples whose class is predicted.

    Args:
        prediction: scores (n, n_classes), of which the largest names the class (the first of equal
            ones); or for two classes (n,) or (n, 1), above 0 for the second one.
        target: classes (n,), or one-hot rows (n, n_classes); for one score a sample 0 and 1, (n,)
            or (n, 1). Secret ones cannot be checked.

    Returns:
        A number from 0 to 1, exact.

    Raises:
        ValueError: shapes that do not fit, no samples, public classes out of range.

    Cost: of secrets, `SecretTensor.argmax` along axis 1 (one comparison for two classes) and one
        equality; 1 round to open the count.
    Leaks: the accuracy.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.nn.accuracy(s.share([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), [1, 0, 0])
        0.6666666666666666
    """
    z, y = (as_variable(given, "accuracy").value for given in (prediction, target))
    _check_samples("accuracy", z)
    n = int(z.shape[0])
    if z.ndim == 1 or tuple(z.shape[1:]) == (1,):
        found = (z > 0).reshape(-1)
        if tuple(y.shape) not in ((n,), (n, 1)):
            raise _misfit("accuracy", f"({n},) or ({n}, 1)", y)
        expected = y.reshape(-1)
        if not is_secret(y) and not np.isin(expected, (0, 1)).all():
            raise ArgumentValueError("accuracy: target must hold 0 and 1 for one score a sample")
    elif z.ndim == 2:
        found = z.argmax(axis=1)
        if tuple(y.shape) == tuple(z.shape):
            expected = _indices(y)
        elif tuple(y.shape) == (n,):
            if not is_secret(y):
                one_hot(y, z.shape[1], "accuracy")  # refuses what is no class
            expected = y
        else:
            raise _misfit("accuracy", f"({n},) or {tuple(z.shape)}", y)
    else:
        raise ArgumentValueError(
            f"accuracy: prediction must have shape (n, n_classes) or (n,), got {tuple(z.shape)}"
        )
    equal = found == expected
    total = equal.sum().reveal() if is_secret(equal) else np.sum(equal)
    return float(total) / n


def r2_score(prediction: Any, target: Any) -> float:
    """Reveal the coefficient of determination, the mean over targets.

    It is 1 - sum((y - p)**2) / sum((y - mean(y))**2); for a constant target 1 where the prediction
    is exact, and else 0.

    Args:
        prediction: (n,) or (n, n_targets).
        target: of the same shape.

    Raises:
        ValueError: shapes that differ, no samples, one sample of a secret target, a score that
            shows an overflow.

    Range: as `values.inner` of the residuals in units of the target's standard deviation: the sum
        of 256 of their squares below 2**30 by default; modulo 2**32 each below 2**10, and that of
        all below 2**20. A secret target's deviation must be below 2**12 (4), or for fewer than 64
        samples the root of its sum of squares below 2**15 (2**5); and it must not be constant.
    Error: residuals are off by 3 units of 2**-frac_bits, of which one of the target's deviation,
        and for a secret target 1 - score by twice the relative error of `SecretTensor.rsqrt`.
    Cost: of secrets, two truncations and one product for public targets; for secret ones three
        products and an `rsqrt`.
    Leaks: the score.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     round(he.nn.r2_score(s.share([1.0, 2.0, 3.5]), [1.0, 2.0, 3.0]), 3)
        0.875
    """
    lost: Value
    p, y = (as_variable(given, "r2_score").value for given in (prediction, target))
    _check_samples("r2_score", p)
    if tuple(p.shape) != tuple(y.shape) or p.ndim > 2:
        raise _misfit("r2_score", tuple(p.shape), y)
    n = int(p.shape[0])
    p, y = p.reshape(n, -1), y.reshape(n, -1)
    n_targets = int(p.shape[1])
    if is_secret(y):
        if n == 1:
            raise ArgumentValueError(
                "r2_score: a secret target must have at least 2 samples, got 1"
            )
        lost, share = _lost(coarse(p - y), coarse(y - y.mean(axis=0)))
        return _score(float(lost.reveal()) * share / n_targets)
    varied, lost = (y != y[0]).any(axis=0), 0.0
    if varied.any():
        away = _scaled(p[:, varied] - y[:, varied], y[:, varied].std(axis=0))
        lost = inner(away, away)
    if not varied.all():
        exact = (p[:, ~varied] == y[:, ~varied]).sum(axis=0) == n
        lost = lost + ((1 - exact) * n).sum() if is_secret(exact) else lost + n * np.sum(~exact)
    whole = lost.reveal() if is_secret(lost) else lost
    return _score(float(whole) / (n * n_targets))


def _score(lost: float) -> float:
    """Return 1 less a mean of quotients of squares, or refuse one that cannot be."""
    if lost < -(2.0**-6):
        raise RangeError(
            f"r2_score: 1 - score must be at least 0, got {lost:g}: the target is constant, or its "
            "squares or those of the residuals left the word; scale them or use fewer frac_bits"
        )
    return 1 - lost


def _lost(away: SecretTensor, centred: SecretTensor) -> tuple[SecretTensor, float]:
    """Return the sum over columns of the sum of squares of one over that of the other.

    Residuals are divided by the root of the latter's mean, over a power of two that is n or more.
    Squares of many samples have fewer bits, so that a mean below 2**24 (2**4) stays in the word.

    Returns:
        a secret, and what it is still to be multiplied by.
    """
    session = away.session
    bits = session.frac_bits
    shift = (int(centred.shape[0]) - 1).bit_length()
    fewer = max(0, shift - _MEAN_BITS)
    total = product(centred, centred, lambda _: 2 * bits - fewer).sum(0)
    mean = SecretTensor(session, total._stack, total.frac_bits + shift)
    inverse = mean.rsqrt(bits + _INVERSE_BITS[word_bits(session.modulus)])
    quotient = product(away, inverse, lambda _: bits)
    return inner(quotient, quotient), 2.0**-shift


def _scaled(x: Value, spread: Array) -> Value:
    """Return the columns of x, each over a public number, in a row.

    Bits of a secret that say nothing at the scale of its quotient go off first, so that the
    quotients have one range whatever the numbers.

    Range: quotients below 2**(k - 27 - frac_bits), 2**21 by default (2**7 modulo 2**32).
    """
    if not is_secret(x):
        return (x / spread).reshape(-1)
    bits = x.session.frac_bits
    columns = [x[:, at] for at in range(x.shape[1])]
    kept = [min(x.frac_bits, max(0, bits + 2 - int(np.frexp(s)[1]))) for s in spread]
    rounded = combined(
        [Combination(((c, 1.0),), b) for c, b in zip(columns, kept, strict=True)], "r2_score"
    )
    factors = [1 / float(s) for s in spread]
    sums = [Combination(((c, f),), bits) for c, f in zip(rounded, factors, strict=True)]
    return concatenate(combined(sums, "r2_score"))


def _indices(hot: Value) -> Value:
    """Return the class of each one-hot row."""
    if is_secret(hot):
        return hot @ np.arange(hot.shape[1], dtype=np.float64)
    return hot.argmax(axis=1)


def _check_samples(function: str, prediction: Value) -> None:
    if not prediction.ndim or not prediction.size:
        raise ArgumentValueError(
            f"{function}: prediction must hold at least 1 sample, got shape "
            f"{tuple(prediction.shape)}"
        )


def _misfit(function: str, shape: object, y: Value) -> ArgumentValueError:
    return ArgumentValueError(f"{function}: target must have shape {shape}, got {tuple(y.shape)}")
