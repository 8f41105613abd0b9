"""Scores of predictions that reveal one number each.

Layer: nn, above values. Predictions and targets may be secret or public; what is opened is the
score and nothing else.
Source: scikit-learn's `accuracy_score` and `r2_score` for the definitions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.errors import ArgumentValueError
from he_gpu.nn.losses import one_hot
from he_gpu.nn.values import Value, inner, is_secret
from he_gpu.nn.variable import as_variable


def accuracy(prediction: Any, target: Any) -> float:
    """Reveal the share of samples whose class is predicted.

    Args:
        prediction: scores (n, n_classes), of which the largest names the class (the first of equal
            ones); or for two classes (n,) or (n, 1), above 0 for the second one.
        target: public classes (n,), or 0 and 1 of the prediction's shape, or one-hot rows
            (n, n_classes); the last two may be secret and then cannot be checked.

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
    n = z.shape[0]
    if z.ndim == 1 or tuple(z.shape[1:]) == (1,):
        found, z_size = (z > 0).reshape(-1), n
        if y.size != z_size or y.ndim > 2:
            raise _misfit("accuracy", f"({n},)", y)
        expected = y.reshape(-1)
        if not is_secret(y) and not np.isin(expected, (0, 1)).all():
            raise ArgumentValueError("accuracy: target must hold 0 and 1 for one score a sample")
    elif z.ndim == 2:
        found = z.argmax(axis=1)
        if tuple(y.shape) == tuple(z.shape):
            expected = _indices(y)
        elif tuple(y.shape) == (n,) and not is_secret(y):
            one_hot(y, z.shape[1], "accuracy")  # refuses what is no class
            expected = y
        else:
            raise _misfit("accuracy", f"({n},) or {tuple(z.shape)}", y)
    else:
        raise ArgumentValueError(
            f"accuracy: prediction must have shape (n, n_classes) or (n,), got {tuple(z.shape)}"
        )
    equal = found == expected
    count = float(equal.sum().reveal() if is_secret(equal) else np.sum(equal))
    return count / n


def r2_score(prediction: Any, target: Any) -> float:
    """Reveal the coefficient of determination, the mean over targets.

    It is 1 - sum((y - p)**2) / sum((y - mean(y))**2); for a constant target 1 where the prediction
    is exact, and else 0.

    Args:
        prediction: (n,) or (n, n_targets).
        target: of the same shape.

    Raises:
        ValueError: shapes that differ, no samples.

    Range: residuals in units of the target's standard deviation, and their squares' sum, below
        2**(k - 2 - 2 frac_bits), 2**30 by default. A secret target must have squares below that
        too, and a mean square above 2**-frac_bits.
    Error: residuals are rounded to 2**-frac_bits of the target's deviation; for a secret target
        also that of `SecretTensor.__truediv__`.
    Cost: of secrets, one truncation and one product for public targets; for secret ones two
        products, a reciprocal and a product.
    Leaks: the score.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     round(he.nn.r2_score(s.share([1.0, 2.0, 3.5]), [1.0, 2.0, 3.0]), 3)
        0.875
    """
    p, y = (as_variable(given, "r2_score").value for given in (prediction, target))
    _check_samples("r2_score", p)
    if tuple(p.shape) != tuple(y.shape) or p.ndim > 2:
        raise _misfit("r2_score", tuple(p.shape), y)
    p, y = p.reshape(p.shape[0], -1), y.reshape(p.shape[0], -1)
    n, n_targets = p.shape
    if is_secret(y):
        away, centred = p - y, y - y.mean(axis=0)
        parts = (away * away).mean(axis=0) / (centred * centred).mean(axis=0)
        mean = float(parts.mean().reveal())
        return 1 - mean
    spread = y.std(axis=0)
    varied = spread > 0
    away = (p - y)[:, varied] * (1 / spread[varied])
    lost = inner(away, away) if away.size else 0.0
    if not varied.all():
        exact = (p[:, ~varied] == y[:, ~varied]).sum(axis=0) == n
        lost = lost + ((1 - exact) * n).sum() if is_secret(exact) else lost + n * np.sum(~exact)
    whole = float(lost.reveal() if is_secret(lost) else lost)
    return 1 - whole / (n * n_targets)


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
