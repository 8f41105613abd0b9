"""The losses that a training reveals, one number for an epoch, and what they say of it.

Layer: nn, above values. A loss is summed secretly over the batches of an epoch and opened once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, inf, isfinite
from typing import Any

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError, DivergenceError
from he_gpu.functions import concatenate
from he_gpu.nn.losses import Loss
from he_gpu.nn.tape import no_grad
from he_gpu.nn.values import Value, is_secret
from he_gpu.nn.variable import Variable
from he_gpu.ring.fixedpoint import word_bits
from he_gpu.session import Session

LossFunction = Callable[[Variable, Value], Variable]
MOST_OF_ZERO = 100
"""How many times the loss of scores that are all 0 the first loss may be."""
LOSS_SIZE = 2**16
"""Elements of predictions whose loss is computed at once."""


class EpochLoss:
    """The loss of all rows of an epoch, by the predictions that each batch had before its step.

    Predictions are collected, and their loss is computed at the end for many batches at once, in as
    many rounds as for one. Where there are several such groups, a loss that is a mean counts as
    often as its group has rows, over the greatest common divisor of these numbers: weights are
    integers, and the division follows the opening, so that nothing is rounded. A loss that is a sum
    is summed.

    Args:
        loss: of a prediction and a target.
    """

    def __init__(self, loss: LossFunction):
        self._loss = loss
        self._pending: list[tuple[Value, Value]] = []
        self._losses: list[tuple[Variable, int]] = []
        self._shapes: list[tuple[int, ...]] = []

    def add(self, prediction: Value, target: Value, loss: Variable | None = None) -> None:
        """Note a batch; with its loss, which is then not computed anew. Cost: none."""
        self._shapes.append(tuple(prediction.shape))
        if loss is None:
            self._pending.append((prediction, target))
        else:
            self._losses.append((loss, int(prediction.shape[0])))

    def of_zero(self) -> float:
        """Return the loss of scores that are all 0 where it is public, and else infinity."""
        return self._loss.of_zero(self._shape()) if isinstance(self._loss, Loss) else inf

    def limit(self, session: Session | None) -> float:
        """Return what the loss stays below while numbers keep their ranges."""
        if session is None:
            return inf
        other = Loss("mean" if is_mean(self._loss) else "sum")
        loss = self._loss if isinstance(self._loss, Loss) else other
        return loss.limit(self._shape(), session)

    def _shape(self) -> tuple[int, ...]:
        """Return the shape of all predictions."""
        return (sum(shape[0] for shape in self._shapes), *self._shapes[0][1:])

    def reveal(self) -> float:
        """Open the loss of the epoch. Cost: that of its value and 1 round. Leaks: the loss."""
        for group in _grouped(self._pending):
            prediction, target = (joined(list(parts)) for parts in zip(*group, strict=True))
            with no_grad():
                loss = checked_loss(self._loss(Variable(prediction), target))
            self._losses.append((loss, int(prediction.shape[0])))
        sizes = [n for _, n in self._losses] if is_mean(self._loss) else [1]
        unit, whole = gcd(*sizes), sum(sizes)
        total: Value = None
        for loss, n in self._losses:
            value, weight = _number(loss), n // unit if is_mean(self._loss) else 1
            value = value * weight if weight > 1 else value
            total = value if total is None else total + value
        return revealed(total) * (unit / whole)


class LossCurve:
    """The revealed losses; one that no converging training has ends it.

    Args:
        max_growth: a loss above this many times the first is refused; None refuses nothing.

    Attributes:
        values: the losses.
        epochs: the epochs that they belong to, from 0.
    """

    def __init__(self, max_growth: float | None):
        self.max_growth = max_growth
        self.values: list[float] = []
        self.epochs: list[int] = []

    def add(
        self,
        epoch: int,
        loss: float,
        session: Session | None,
        rate: float,
        n: int = 1,
        of_zero: float = inf,
        limit: float = inf,
    ) -> None:
        """Add the loss of an epoch.

        Args:
            epoch: which.
            loss: the number.
            session: that computed it; None where all is public.
            rate: learning rate, for the message.
            n: elements over which the loss is a sum, 1 for a mean.
            of_zero: the loss of scores that are all 0, where it is known.
            limit: what the loss stays below while numbers keep their ranges.

        Raises:
            ArithmeticError: a loss that is not finite, negative, beyond what a loss can be, above
                max_growth times the first, or a first one above 100 times that of scores that are
                all 0.
        """
        self.values.append(loss)
        self.epochs.append(epoch)
        if self.max_growth is None:
            return
        slack = n * _rounding(session)
        first, most = self.values[0], MOST_OF_ZERO * of_zero
        if not isfinite(loss):
            reason = "not finite"
        elif loss < -slack:
            reason = "negative, which only overflow makes it"
        elif loss >= limit:
            reason = f"not below {limit:g}, the range of a loss"
        elif first - slack > most:
            reason = f"above {MOST_OF_ZERO} times that of scores that are all 0, {of_zero:.3e}"
        elif loss - slack > self.max_growth * (first + slack):
            reason = f"above {self.max_growth:g} times the first one, {first:.3e}"
        else:
            return
        raise self.error(f"loss {loss:.3e} of epoch {epoch} is {reason}", session, rate)

    def error(self, what: str, session: Session | None, rate: float) -> DivergenceError:
        """Return the error of a training that diverged, which says what to change."""
        bits = f", or use fewer frac_bits than {session.frac_bits}" if session is not None else ""
        advice = f"lower lr, now {rate:g}, scale inputs and targets to about 1{bits}"
        message = f"fit: {what}: training diverged; {advice}"
        return DivergenceError(message, list(self.values), list(self.epochs))


def revealed(number: Any) -> float:
    """Return a secret or public number as a float. Leaks: the number."""
    return float(number.reveal() if is_secret(number) else number)


def checked_loss(loss: Any) -> Variable:
    """Return what a loss returned, or refuse it."""
    if not isinstance(loss, Variable):
        raise ArgumentTypeError(f"fit: loss must return a Variable, got {type(loss).__name__}")
    return loss


def _number(loss: Variable) -> Value:
    value = loss.value
    if loss.size != 1:
        raise ArgumentValueError(f"fit: loss must return one number, got shape {loss.shape}")
    return value.reshape(())


def is_mean(loss: LossFunction) -> bool:
    """Tell whether a loss is a mean over samples, or their sum."""
    return bool(getattr(loss, "reduction", "mean") != "sum")


def joined(parts: list[Value]) -> Value:
    """Return values one after another along their first axis. Cost: none."""
    if len(parts) == 1:
        return parts[0]
    if any(is_secret(part) for part in parts):
        return concatenate(parts)
    return np.concatenate(parts)


def _grouped(pending: list[tuple[Value, Value]]) -> list[list[tuple[Value, Value]]]:
    """Return predictions and targets in groups of at most LOSS_SIZE elements, or of one batch."""
    groups: list[list[tuple[Value, Value]]] = []
    room = 0
    for prediction, target in pending:
        room -= int(prediction.size)
        if room < 0 or not groups:
            groups.append([])
            room = LOSS_SIZE - int(prediction.size)
        groups[-1].append((prediction, target))
    return groups


def _rounding(session: Session | None) -> float:
    """Return how far the loss of one element may be off by rounding.

    With u a unit of 2**-frac_bits, softplus is off by 3.4 u at most; logsumexp by 1.5 u and 2.1e-5,
    modulo 2**32 2e-3; the sum of products with the targets by u, and the mean by u.
    """
    if session is None:
        return 2.0**-30
    small = word_bits(session.modulus) == 32
    return 8 * 2.0**-session.frac_bits + (2.0**-8 if small else 2.0**-15)
