"""The losses that a fit reveals, and what they say about its convergence.

Layer: models. Opens one number for each revealed loss and nothing else.
"""

from __future__ import annotations

import numpy as np

from he_gpu.errors import DivergenceError
from he_gpu.tensor import SecretTensor

LOSSES = ("squared", "absolute")


class Losses:
    """The revealed losses of one fit; one that no converging run can have ends it.

    Gradient descent that converges never lets the 2-norm of the residuals grow. So the sum of
    their squares stays at or below its first value, and the sum of m absolute ones, which lies
    between the 2-norm and sqrt(m) times that, below sqrt(m) times its first value.

    Args:
        loss: "squared" or "absolute", what of the residuals is summed.
        function: the caller, for messages.

    Attributes:
        values: the losses.
        steps: the steps that they belong to.
    """

    def __init__(self, loss: str, function: str) -> None:
        self.values: list[float] = []
        self.steps: list[int] = []
        self._loss = loss
        self._function = function

    def reveal(self, step: int, e: SecretTensor) -> None:
        """Open the loss of a step, exactly as the residuals have it.

        Cost: "squared" that of the scheme's `product` without truncation, "absolute" that of its
            `positive_part`; and 1 round and a word to open it.
        """
        column = e.reshape(-1, 1)
        if self._loss == "squared":
            total = column.T.matmul(column, frac_bits=2 * e.frac_bits)
        else:
            total = column.abs().sum(axis=0, keepdims=True)
        loss = float(total.reveal()[0, 0])
        self.values.append(loss)
        self.steps.append(step)
        if loss < 0:
            self._stop(
                f"loss {loss:.3e} at step {step} is negative: the data are out of range, or "
                "learning_rate is too large"
            )
        noise = np.sqrt(e.size) * 8 * 2.0**-e.frac_bits
        if self._loss == "squared":
            grew = np.sqrt(loss) > np.sqrt(self.values[0]) + noise
            bound = f"the first, {self.values[0]:.3e}"
        else:
            most = np.sqrt(e.size) * (self.values[0] + noise)
            grew, bound = loss > most, f"{most:.3e}, the most that a converging run can have"
        if grew:
            self._stop(
                f"loss {loss:.3e} at step {step} is above {bound}: "
                "learning_rate is too large, or the data are out of range or finer than frac_bits"
            )

    def _stop(self, reason: str) -> None:
        raise DivergenceError(f"{self._function}: {reason}", self.values, self.steps)
