"""The penalised mean log loss of a linear model on shares: values, gradients, curvature.

Layer: models, above tensor. Columns come centred and scaled, so that at 0 the Hessian's diagonal is
at most 1. Opens a loss where one is asked for, and nothing else.
Source: Böhning, "Multinomial logistic regression algorithm", 1992, for the bound that scales.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from he_gpu.nn.values import secret_constant
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.contraction import multiplied
from he_gpu.tensor.curves import curve

VECTOR_BITS, PENALTY_BITS, PROBABILITY_BITS = 24, 30, 20
"""Fraction bits of weights and directions, of the penalty's factors, and of probabilities."""
SQUARE_BITS = 40
"""Fraction bits of the squared norm of a gradient."""
DATA_BITS = 16
"""The most fraction bits of the scaled columns."""
_CURVATURE_FLOOR = {True: 18, False: 14}
"""2**-these go onto p (1 - p), by whether there are two classes: more than the error of p."""


class Point(NamedTuple):
    """Weights, and what the loss is there.

    Attributes:
        w: the weights (m, n_outputs).
        z: the scores (n, n_outputs).
        p: the probabilities, likewise.
        penalty: the gradient of the penalty, (m, n_outputs).
        gradient: of the objective, (m, n_outputs).
        squares: the sum of its squares, 0-d.
    """

    w: SecretTensor
    z: SecretTensor
    p: SecretTensor
    penalty: SecretTensor
    gradient: SecretTensor
    squares: SecretTensor


class LogLoss:
    """The sum of log losses plus half the penalty's factors times w**2, over N = 2**k >= n.

    A division by N is a shift of the point and costs nothing.

    Args:
        columns: (n, m), scaled; at most `DATA_BITS` fraction bits.
        y: 0 and 1 (n, 1) of two classes, or one-hot rows (n, n_classes).
        factors: (m, 1), of w**2 / 2, with `PENALTY_BITS`; in [0, 1].
    """

    def __init__(self, columns: SecretTensor, y: SecretTensor, factors: SecretTensor):
        self.session = columns.session
        self.columns = columns.masked()
        more = y.frac_bits > PROBABILITY_BITS
        self.y = y.with_frac_bits(PROBABILITY_BITS) if more else y
        self.factors = factors.masked()
        self.binary = y.shape[1] == 1
        self.n = columns.shape[0]
        self.halvings = (self.n - 1).bit_length()
        m = columns.shape[1]
        # Norms of gradients are below 2 (m)**0.5, and their squares fit the word.
        self.gradient_bits = min(27, (58 - m.bit_length()) // 2)
        # The sum over samples keeps 11 bits of room for what curvature makes of a direction.
        self.curved_bits = min(VECTOR_BITS, 62 - DATA_BITS - 11 - self.halvings)

    def start(self) -> Point:
        """Return the point of zero weights, at which every class is as probable. Cost: none."""
        n_outputs = self.y.shape[1]
        shape = (self.columns.shape[1], n_outputs)
        w = secret_constant(self.session, np.zeros(shape), VECTOR_BITS)
        z = secret_constant(self.session, np.zeros((self.n, n_outputs)), PROBABILITY_BITS)
        return self._point(w, z, z + (0.5 if self.binary else 1.0 / n_outputs))

    def at(self, w: SecretTensor) -> Point:
        """Return the point of weights.

        Cost: two products with the columns, one with the penalty's factors; sigmoid or softmax.
        """
        z = self.columns.matmul(w, frac_bits=PROBABILITY_BITS)
        if self.binary:
            p = curve("sigmoid", PROBABILITY_BITS)(z, PROBABILITY_BITS)
        else:
            p = z.softmax(1, PROBABILITY_BITS)
        return self._point(w, z, p)

    @property
    def noise(self) -> float:
        """The norm of the gradient that roundings of probabilities and scores may leave."""
        size = self.columns.shape[1] * self.y.shape[1]
        return float(2.0 ** (2 - PROBABILITY_BITS) * math.sqrt(size / self.n))

    def curvature(self, point: Point) -> Curvature:
        """Return the Hessian at a point. Cost: a square for two classes."""
        return Curvature(self, point)

    def reveal(self, point: Point) -> float:
        """Open the objective at a point, as a mean over the n samples.

        Cost: softplus or logsumexp, two products; 1 round to open it.
        Leaks: it.
        """
        total = point.z.softplus() if self.binary else point.z.logsumexp(1)
        hit = dot(point.z, self.y, self.session.frac_bits)
        squares = dot(point.w, point.penalty, PENALTY_BITS)
        loss = self.mean(total.sum() - hit) + squares.scaled(0.5)
        return float(loss.reveal()) * math.ldexp(1 / self.n, self.halvings)

    def _point(self, w: SecretTensor, z: SecretTensor, p: SecretTensor) -> Point:
        bits = self.gradient_bits
        penalty = multiplied("mul", self.factors, w, bits)
        gradient = self.back(p - self.y, bits) + penalty
        return Point(w, z, p, penalty, gradient, dot(gradient, gradient, SQUARE_BITS))

    def back(self, e: SecretTensor, frac_bits: int) -> SecretTensor:
        """Return the transposed columns times a tensor over the samples, over N."""
        bits = max(frac_bits - self.halvings, 0)
        return self.mean(self.columns.T.matmul(e, frac_bits=bits))

    def mean(self, total: SecretTensor) -> SecretTensor:
        """Return a sum over the samples divided by N. Cost: none."""
        return total.scaled(2.0**-self.halvings)


class Curvature:
    """The Hessian of a `LogLoss` at a point, as a matrix or as what it does to a direction.

    Weights of samples are p (1 - p) and 2**-14 or less, which outweighs the error of p, so that
    rounding makes no direction curve down.

    Args:
        loss: the loss.
        point: where.

    Range: scores of a direction below 2**18, its result below 2**11.
    """

    def __init__(self, loss: LogLoss, point: Point):
        self._loss, self._p = loss, point.p

    def matrix(self) -> SecretTensor:
        """Return it with `PENALTY_BITS`, (m n_outputs, m n_outputs), in the order of w.ravel().

        Eigenvalues are at most m, up to the floor of the weights and roundings.

        Cost: two products over the samples, the last of n_outputs**2 m for each; one with columns.
        """
        loss, p = self._loss, self._p
        n, n_outputs = p.shape
        m, unit = loss.columns.shape[1], np.eye(n_outputs)
        floor = unit * 2.0 ** -_CURVATURE_FLOOR[loss.binary]
        p = p.masked()
        pairs = multiplied("mul", p.reshape(n, -1, 1), p.reshape(n, 1, -1), PROBABILITY_BITS)
        weights = (self._p.reshape(n, -1, 1) * unit - pairs + floor).reshape(n, n_outputs**2, 1)
        columns = loss.columns.reshape(n, 1, m)
        weighted = multiplied("mul", columns, weights, loss.curved_bits).reshape(n, -1)
        whole = loss.back(weighted, PENALTY_BITS).reshape(m, n_outputs, n_outputs, m)
        size = m * n_outputs
        factors = loss.factors.reshape(-1, 1, 1, 1) * unit.reshape(1, n_outputs, 1, n_outputs)
        diagonal = factors * np.eye(m).reshape(m, 1, m, 1)
        matrix: SecretTensor = (whole.transpose(0, 1, 3, 2) + diagonal).reshape(size, size)
        return matrix

    @cached_property
    def _weights(self) -> SecretTensor:
        """The probabilities, or p (1 - p) of two classes, masked."""
        p = self._p
        if self._loss.binary:
            p = p - multiplied("mul", p, p, PROBABILITY_BITS)
        return p.masked()

    def __call__(self, v: SecretTensor) -> SecretTensor:
        """Return the Hessian times a direction (m, n_outputs).

        Cost: two products with the columns, one with the penalty's factors; one over the samples
            for two classes, else two.
        """
        loss, bits = self._loss, self._loss.curved_bits
        z = loss.columns.matmul(v, frac_bits=VECTOR_BITS)
        u = multiplied("mul", self._weights, z, bits)
        if not loss.binary:
            u = u - multiplied("mul", self._weights, u.sum(1, keepdims=True), bits)
        floor = z.scaled(2.0 ** -_CURVATURE_FLOOR[loss.binary], bits)
        penalty = multiplied("mul", loss.factors, v, VECTOR_BITS)
        product: SecretTensor = loss.back(u + floor, VECTOR_BITS) + penalty
        return product


def dot(x: SecretTensor, y: SecretTensor, frac_bits: int) -> SecretTensor:
    """Return the sum of the products of all elements, 0-d."""
    row = x.reshape(1, -1)
    if y is x:
        row = row.masked()
        column = row.T
    else:
        column = y.reshape(-1, 1)
    return row.matmul(column, frac_bits=frac_bits).reshape(())
