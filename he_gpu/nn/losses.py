"""Losses, with the gradients in their closed and stable forms.

Layer: nn, above module. A loss is one number that is computed only when it is asked for: training
that never looks at it pays for the gradient alone. Gradients of means carry 1 / n as an exact
public factor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import inf, log, prod
from typing import Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.module import Module
from he_gpu.nn.precision import gradient_bits, weight_bits
from he_gpu.nn.values import Value, averaged, coarse, inner, is_secret, product
from he_gpu.nn.variable import Variable, as_variable, record
from he_gpu.ring.fixedpoint import FACTOR_BITS, word_bits
from he_gpu.session import Session
from he_gpu.tensor.curves import CURVES

REDUCTIONS = ("mean", "sum")


class Loss(Module):
    """What losses have in common.

    Args:
        reduction: "mean" over all elements (over the samples for `CrossEntropyLoss`), or "sum".
    """

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ArgumentValueError(
                f"{type(self).__name__}: reduction must be one of {REDUCTIONS}, got {reduction!r}"
            )
        self.reduction = reduction

    def __call__(self, *inputs: Any) -> Variable:
        """Return the loss of a prediction and a target."""
        name = type(self).__name__
        if len(inputs) != 2:
            raise ArgumentTypeError(
                f"{name}: a prediction and a target expected, got {len(inputs)}"
            )
        prediction, target = (as_variable(value, name) for value in inputs)
        if target.requires_grad:
            raise ArgumentValueError(f"{name}: target must need no gradient; use detach()")
        return self._of(prediction, target.value)

    def of_zero(self, shape: tuple[int, ...]) -> float:
        """Return the loss of a prediction of zeros, where targets do not matter; else infinity.

        A model that knows nothing has it, so that a training with a much larger one went wrong.
        """
        return inf

    def limit(self, shape: tuple[int, ...], session: Session) -> float:
        """Return what the loss of a secret prediction stays below while numbers keep their ranges.

        Here it is what products of two numbers stay below.
        """
        return self._terms(shape) * 2.0 ** (word_bits(session.modulus) - 2 - 2 * session.frac_bits)

    def _terms(self, shape: tuple[int, ...]) -> int:
        """Return how many elements are summed, 1 where their mean is taken."""
        return 1 if self.reduction == "mean" else prod(shape)

    def _of(self, x: Variable, y: Value) -> Variable:
        """Return the loss of a prediction for a target's value."""
        raise ArgumentTypeError(f"{type(self).__name__}: no loss is defined")

    def _check_shapes(self, x: Variable, y: Value) -> None:
        if x.shape != tuple(y.shape):
            raise ArgumentValueError(
                f"{type(self).__name__}: target must have the prediction's shape {x.shape}, got "
                f"{tuple(y.shape)}"
            )
        if not x.size:
            raise ArgumentValueError(f"{type(self).__name__}: no elements, got shape {x.shape}")

    def _recorded(
        self,
        x: Variable,
        total: Callable[[], Value],
        slope: Callable[[], Value],
        count: int,
        factor: float = 1.0,
    ) -> Variable:
        """Return the loss ``total() / count`` with the gradient ``factor * slope() / count``."""
        count = count if self.reduction == "mean" else 1

        def value() -> Value:
            whole = total()
            return averaged(whole, count)

        return record(value, [x], lambda g: (product(slope(), g, gradient_bits),), [factor / count])

    def extra_repr(self) -> str:
        """Return the reduction."""
        return f"reduction={self.reduction!r}"


class MSELoss(Loss):
    """The squared differences.

    Args:
        reduction: see `Loss`.

    Range: the sum of 256 squares below 2**(k - 2 - 2 frac_bits), 2**30 by default, that of all
        below 2**46, and the mean below 2**22; modulo 2**32 each square below 2**10, the sum below
        2**20, and the mean below 2**8.
    Error: one unit of 2**-frac_bits for each difference, and in the sum of each 256 squares.
    Cost: one product with one truncation for 256 squares, see `values.inner`. Where the prediction
        has more fraction bits than the session, one truncation of the differences, which leaves
        room for sums of gradients.
    Leaks: nothing.
    """

    def limit(self, shape: tuple[int, ...], session: Session) -> float:
        """Return the range of the mean, or so many times that as the sum has elements."""
        k = word_bits(session.modulus)
        mean = k - 2 - FACTOR_BITS[k] - session.frac_bits
        return min(self._terms(shape) * 2.0**mean, super().limit(shape, session))

    def _of(self, x: Variable, y: Value) -> Variable:
        self._check_shapes(x, y)
        away = cache(lambda: coarse(x.value - y))
        return self._recorded(x, lambda: inner(away(), away()), away, x.size, 2.0)


class L1Loss(Loss):
    """The absolute differences, with slope 0 at 0.

    Args:
        reduction: see `Loss`.

    Range: the mean below 2**22 by default, 2**8 modulo 2**32; the sum of results of layers below
        2**38, modulo 2**32 2**18.
    Error: of the sum none.
    Cost: that of `SecretTensor.abs`; the gradient that of `SecretTensor.sign`.
    Leaks: nothing.
    """

    def limit(self, shape: tuple[int, ...], session: Session) -> float:
        """Return half of what the results of layers stay below, which is that of most overflows."""
        return self._terms(shape) * _results(session) / 2

    def _of(self, x: Variable, y: Value) -> Variable:
        self._check_shapes(x, y)
        away = x.value - y

        def slope() -> Value:
            return away.sign() if is_secret(away) else np.sign(away)

        return self._recorded(x, lambda: abs(away).sum(), slope, x.size)


class BCEWithLogitsLoss(Loss):
    """The cross entropy of targets in [0, 1] and the sigmoid of the prediction.

    Its value is ``softplus(x) - x y`` and its gradient ``sigmoid(x) - y``, which overflow nowhere.

    Args:
        reduction: see `Loss`.

    Range: as `SecretTensor.sigmoid`.
    Error: of the gradient that of `SecretTensor.sigmoid` for each element.
    Cost: `SecretTensor.softplus` and, for a secret target, one product; the gradient
        `SecretTensor.sigmoid`.
    Leaks: nothing.
    """

    def of_zero(self, shape: tuple[int, ...]) -> float:
        """Return log(2), or its sum."""
        return log(2) * self._terms(shape)

    def limit(self, shape: tuple[int, ...], session: Session) -> float:
        """Return a quarter of what the results of layers stay below, or 10 times `of_zero`."""
        return max(self._terms(shape) * _results(session) / 4, 10 * self.of_zero(shape))

    def _of(self, x: Variable, y: Value) -> Variable:
        self._check_shapes(x, y)
        if not is_secret(y) and ((y < 0) | (y > 1)).any():
            bad = y[(y < 0) | (y > 1)].flat[0]
            raise ArgumentValueError(f"BCEWithLogitsLoss: target must be in [0, 1], got {bad:g}")
        z = x.value

        def total() -> Value:
            return _called("softplus", z).sum() - inner(z, y)

        return self._recorded(x, total, lambda: _called("sigmoid", z) - y, x.size)


class CrossEntropyLoss(Loss):
    """The cross entropy of classes and the softmax of the prediction along axis 1.

    Its value is ``logsumexp(x) - sum(x y)`` and its gradient ``softmax(x) - y`` for one-hot y.

    Args:
        reduction: "mean" is over the samples, see `Loss`.

    The prediction is (n, n_classes) or (n, n_classes, ...). The target is public class indices
    (n,) or (n, ...); or one-hot rows or probabilities of the prediction's shape, which may be
    secret and then cannot be checked.

    Raises:
        ValueError: shapes that do not fit, public classes out of range.

    Range: as `SecretTensor.softmax`.
    Error: of the gradient that of `SecretTensor.softmax` for each element.
    Cost: `SecretTensor.logsumexp` and, for a secret target, one product; the gradient
        `SecretTensor.softmax`.
    Leaks: nothing.
    """

    def of_zero(self, shape: tuple[int, ...]) -> float:
        """Return the logarithm of the number of classes, or its sum, for targets that sum to 1."""
        return log(shape[1]) * self._terms(shape)

    def limit(self, shape: tuple[int, ...], session: Session) -> float:
        """Return a quarter of what the results of layers stay below, or 10 times `of_zero`."""
        return max(self._terms(shape) * _results(session) / 4, 10 * self.of_zero(shape))

    def _terms(self, shape: tuple[int, ...]) -> int:
        return super()._terms((shape[0], *shape[2:]))

    def _of(self, x: Variable, y: Value) -> Variable:
        if x.ndim < 2 or not x.size:
            raise ArgumentValueError(
                f"CrossEntropyLoss: prediction must have shape (n, n_classes, ...), got {x.shape}"
            )
        indexed = not is_secret(y) and tuple(y.shape) == (x.shape[0], *x.shape[2:])
        hot = one_hot(y, x.shape[1], "CrossEntropyLoss") if indexed else y
        self._check_shapes(x, hot)
        z, count = x.value, x.size // x.shape[1]

        def total() -> Value:
            if is_secret(z):
                return z.logsumexp(1).sum() - inner(z, hot)
            top = z.max(axis=1, keepdims=True)
            return (np.log(np.exp(z - top).sum(axis=1, keepdims=True)) + top).sum() - inner(z, hot)

        def slope() -> Value:
            if is_secret(z):
                return z.softmax(1, gradient_bits(z.session)) - hot
            weights = np.exp(z - z.max(axis=1, keepdims=True))
            return weights / weights.sum(axis=1, keepdims=True) - hot

        return self._recorded(x, total, slope, count)


def one_hot(classes: Any, n_classes: int, function: str) -> Array:
    """Return public class indices (n, ...) as (n, n_classes, ...) of zeros and ones.

    Raises:
        ValueError: what is no integer in [0, n_classes).
    """
    indices = np.asarray(classes)
    whole = np.asarray(indices, np.float64)
    wrong = (whole != np.rint(whole)) | (whole < 0) | (whole >= n_classes)
    if wrong.any():
        raise ArgumentValueError(
            f"{function}: target must hold classes in [0, {n_classes}), got {whole[wrong][0]:g}"
        )
    hot = np.eye(n_classes)[whole.astype(np.int64)]
    return np.moveaxis(hot, -1, 1)


def _results(session: Session) -> float:
    """Return what results of layers stay below; those that overflow have this mean size."""
    return 2.0 ** (word_bits(session.modulus) - 2 - 2 * weight_bits(session))


def _called(name: str, x: Value) -> Value:
    """Return a curve of a secret or public value."""
    return getattr(x, name)() if is_secret(x) else CURVES[name].f(x.reshape(-1)).reshape(x.shape)
