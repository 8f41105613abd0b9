"""Gradient descent of least squares on shared features, with the checks that plaintext allows.

Layer: models, above tensor. Opens masked words, the losses that are asked for, and nothing else.
Source: the job that the tutorial demonstrates; w <- w - rate F.T (F w - y), full-batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError
from he_gpu.models.losses import LOSSES, Losses
from he_gpu.nn.values import secret_constant
from he_gpu.ring.fixedpoint import FACTOR_BITS, as_reals
from he_gpu.session import Session
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.descent import descended

GUARD_BITS = 8
"""Fraction bits that the weights carry beyond the session's, against rounding in 1000s of steps."""


class Descent(NamedTuple):
    """What a descent is asked for, checked by `checked_descent`.

    Attributes:
        rate: the learning rate.
        n_steps: number of updates.
        log_every: steps between revealed losses; 0 reveals none.
        loss: "squared" or "absolute", what is revealed.
        function: the caller, for messages.
    """

    rate: float
    n_steps: int
    log_every: int
    loss: str
    function: str

    def check_rate(self, F: Array) -> None:
        """Refuse a learning rate under which the descent on these features must diverge."""
        gram = F @ F.T if F.shape[0] < F.shape[1] else F.T @ F
        largest = float(np.linalg.eigvalsh(gram)[-1]) if gram.size else 0.0
        if self.rate * largest >= 2:
            raise ArgumentValueError(
                f"{self.function}: learning_rate {self.rate:g} must diverge on these data; "
                f"it must be below {2 / largest:.6g}"
            )

    def check_ranges(self, F: Array, y: Array, e: Array, frac_bits: int) -> bool:
        """Refuse plaintext whose training could leave the word, which no share would show.

        Over a converging run the residuals e never grow in the 2-norm of a target, so |F w| stays
        below |e| + |y| and a gradient below |e| times the norm of a column of F. The sum of m
        absolute residuals stays below sqrt(m) |e| over all targets. Half of each range is left to
        rounding.

        Args:
            F: features (n, width).
            y: targets (n, n_targets).
            e: the first residuals up to their sign, y itself where the weights start at 0.
            frac_bits: the session's fraction bits.

        Returns:
            Whether gradients fit the word at the scale of the unrounded rate.
        """
        residual, target = _norm(e), _norm(y)
        gradient = residual * float(np.sqrt((F**2).sum(axis=0).max(initial=0.0)))
        factor_bits = FACTOR_BITS[64]
        rate_bits = factor_bits - int(np.frexp(self.rate)[1])
        exact = gradient < 2.0 ** (62 - 2 * frac_bits - factor_bits) and frac_bits + rate_bits < 62
        largest = max(residual, (residual + target) / 2)
        what = "y" if e is y else "y or its first residuals"
        ranges = [(f"the norm of {what}", largest, 60 - 2 * frac_bits - GUARD_BITS)]
        squares = float((e**2).sum())
        if self.log_every and self.loss == "squared":
            ranges.append((f"the sum of squares of {what}", squares, 61 - 2 * frac_bits))
        elif self.log_every:
            most = float(np.sqrt(e.size * squares))
            name = f"the norm of {what} times the root of its size"
            ranges.append((name, most, 61 - frac_bits))
        if not exact:
            room = 62 - frac_bits - factor_bits
            ranges.append(("features", float(F.max(initial=0.0)), room))
            room = 61 - frac_bits - _step_bits(self.rate, frac_bits)
            ranges.append(("a gradient times learning_rate", self.rate * gradient, room))
        for name, value, room in ranges:
            if value >= 2.0**room:
                raise RangeError(
                    f"{self.function}: {name} must stay below 2**{room} with {frac_bits} fraction "
                    f"bits, got {value:g}; scale the data down or use fewer fraction bits"
                )
        return exact

    def run(
        self, F: SecretTensor, y: SecretTensor, start: Any, bounded: bool, losses: Losses
    ) -> SecretTensor:
        """Return the weights (width, n_targets) after all steps.

        Args:
            F: features (n, width).
            y: targets (n, n_targets).
            start: the first weights, a SecretTensor or ndarray (width, n_targets); None for zeros.
            bounded: what `check_ranges` said; False where it could not be asked.
            losses: takes what is revealed.
        """
        session = F.session
        F = F.masked()
        # The transposed features carry the learning rate. Where the gradient is small its
        # product with the unrounded rate fits the word, and the one mask serves; otherwise the
        # scaled features are first rounded to as many significant bits as the features have.
        if bounded:
            step_matrix = F.T.scaled(self.rate)
        else:
            step_bits = _step_bits(self.rate, session.frac_bits)
            step_matrix = F.T.scaled(self.rate, step_bits).masked()
        weight_bits = min(session.frac_bits + GUARD_BITS, step_matrix.frac_bits + session.frac_bits)
        w = _weights(session, start, (F.shape[1], y.shape[1]), weight_bits)

        def corrected(w: SecretTensor, e: SecretTensor) -> SecretTensor:
            return w - step_matrix.matmul(e, frac_bits=weight_bits)

        repeated = session.captured(lambda w: corrected(w, F.matmul(w) - y))
        log_every = self.log_every
        with tqdm(
            total=self.n_steps, desc="training", unit="step", disable=None, leave=False
        ) as bar:
            steps = session.steps(self.n_steps)
            for step in steps:
                unlogged = -step % log_every if log_every else self.n_steps
                n = 0
                if unlogged:
                    most = min(unlogged, self.n_steps - step)
                    w, n = descended(w, y, F, step_matrix, most)
                if n == 0 and unlogged:
                    w, n = repeated(w), 1
                elif n == 0:
                    e = F.matmul(w) - y
                    losses.reveal(step, e)
                    bar.set_postfix(loss=f"{losses.values[-1]:.3e}")
                    w, n = corrected(w, e), 1
                bar.update(n)
                if n > 1:
                    steps.send(n - 1)
        return w


def checked_descent(
    learning_rate: Any, n_steps: Any, log_every: Any, loss: Any, function: str
) -> Descent:
    """Return a descent of parameters as users give them.

    Raises:
        ValueError: a value out of its range.
        TypeError: another type.
    """
    rate = as_reals(learning_rate, function, "learning_rate")
    if rate.ndim or rate <= 0:
        raise ArgumentValueError(f"{function}: learning_rate must be > 0, got {learning_rate}")
    n_steps = integer(function, "n_steps", n_steps, 0)
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ArgumentValueError(f"{function}: loss must be one of {LOSSES}, got {loss!r}")
    return Descent(
        float(rate), n_steps, integer(function, "log_every", log_every, 0), loss, function
    )


def integer(function: str, name: str, value: Any, least: int) -> int:
    """Return an integer, or refuse another type or one below the least.

    Raises:
        ValueError: below the least.
        TypeError: no integer.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentTypeError(
            f"{function}: {name} must be an integer, got {type(value).__name__}"
        )
    if value < least:
        raise ArgumentValueError(f"{function}: {name} must be at least {least}, got {value}")
    return int(value)


def _weights(session: Session, start: Any, shape: tuple[int, int], frac_bits: int) -> SecretTensor:
    """Return the weights that a descent starts from."""
    if start is None:
        return session.share(np.zeros(shape)).with_frac_bits(frac_bits)
    if isinstance(start, SecretTensor):
        return start.with_frac_bits(frac_bits)
    return secret_constant(session, start, frac_bits)


def _norm(columns: Array) -> float:
    """Return the largest 2-norm of a column."""
    return float(np.sqrt((columns**2).sum(axis=0).max(initial=0.0)))


def _step_bits(rate: float, frac_bits: int) -> int:
    """Return the fraction bits of rounded features times the rate: as many significant ones."""
    return min(frac_bits + max(0, -int(np.frexp(rate)[1])), 40)
