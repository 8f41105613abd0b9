"""Inputs and targets in batches of rows, secret or public as they are.

Layer: nn, above variable. Which rows make a batch is public. Secret inputs are masked and opened
once for all products of a training, and rows of them keep their part of the mask.
Source: the one mask of the data matrix is SecureML's (Mohassel and Zhang, S&P 2017, section IV).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.values import Value, as_value, masked
from he_gpu.nn.variable import Variable

Rows = Any
"""A slice or an array of row numbers; None for all rows."""


class Batches:
    """Rows of inputs with those of their targets.

    Args:
        X: inputs, secret or public, (n, ...).
        y: targets, (n, ...).
        function: for messages.
        names: of X and y in messages.

    Attributes:
        X: the inputs as a value.
        y: the targets as a value.
        n_rows: n.

    Raises:
        ValueError: no rows, rows that do not match, NaN or infinity.
        TypeError: what holds no real numbers; a Variable that needs a gradient.
    """

    def __init__(self, X: Any, y: Any, function: str, names: tuple[str, str] = ("X", "y")):
        self.X, self.y = (
            _data(value, function, name) for value, name in zip((X, y), names, strict=True)
        )
        self.n_rows = int(self.X.shape[0])
        if self.n_rows == 0:
            raise ArgumentValueError(
                f"{function}: {names[0]} must have at least 1 row, got shape {tuple(self.X.shape)}"
            )
        if self.y.shape[0] != self.n_rows:
            raise ArgumentValueError(
                f"{function}: {names[1]} must have as many rows as {names[0]}, {self.n_rows}, got "
                f"{self.y.shape[0]}"
            )

    def split(self, size: int, generator: np.random.Generator | None = None) -> list[Rows]:
        """Return the rows of batches of a size, the last one smaller where n is no multiple.

        Args:
            size: rows of a batch.
            generator: draws a public permutation; None leaves the order.
        """
        if size >= self.n_rows:
            return [None]
        starts = range(0, self.n_rows, size)
        if generator is None:
            return [slice(start, start + size) for start in starts]
        order = generator.permutation(self.n_rows)
        return [order[start : start + size] for start in starts]

    def take(self, rows: Rows) -> tuple[Variable, Value]:
        """Return some rows of inputs and targets. Cost: none."""
        if rows is None:
            return Variable(self.X), self.y
        return Variable(self.X[rows]), self.y[rows]

    def mask(self) -> None:
        """Mask secret inputs once, for all products of any rows of them.

        Cost: that of `SecretTensor.masked`.
        """
        self.X = masked(self.X)


def _data(given: Any, function: str, name: str) -> Value:
    """Return inputs or targets as a value with a first axis."""
    if isinstance(given, Variable):
        if given.requires_grad:
            raise ArgumentTypeError(
                f"{function}: {name} is a Variable that needs a gradient; use detach()"
            )
        given = given.value
    value = as_value(given, function, name)
    if not value.ndim:
        raise ArgumentValueError(f"{function}: {name} must have at least one axis, got a number")
    return value
