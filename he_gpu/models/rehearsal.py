"""Whether a training's numbers will fit the word, where data are plaintext: tried in float64.

Layer: models, above nn. Shares cannot see an overflow; who holds plaintext can see it coming.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import RangeError
from he_gpu.models.objective import Objective
from he_gpu.nn import Linear, ReLU, Sequential, Variable
from he_gpu.nn.adam import GRADIENT_LIMIT, Adam
from he_gpu.nn.optimizer import Optimizer
from he_gpu.nn.precision import gradient_bits, weight_bits
from he_gpu.nn.values import PIECE
from he_gpu.ring.fixedpoint import FACTOR_BITS, word_bits
from he_gpu.session import Session


def check_ranges(
    network: Sequential,
    loss: Objective,
    optimizer: Optimizer,
    X: Array,
    y: Array,
    batch_size: int,
    session: Session,
    function: str,
) -> None:
    """Refuse plaintext whose first epoch would leave the word, before anything is shared.

    Every batch, in the order given, goes forward and backward through the public network, which is
    left as it is. Results of layers, gradients before their public factor, for Adam with it too,
    and the squares of residuals are compared with their ranges. Later weights are not known.

    Raises:
        RangeError: with what, the bound and the value.

    Cost: a plaintext epoch.
    """
    k, f, weight = word_bits(session.modulus), session.frac_bits, weight_bits(session)
    gradient = k - 2 - FACTOR_BITS[k] - gradient_bits(session)
    for start in range(0, X.shape[0], batch_size):
        x, bits = Variable(X[start : start + batch_size]), f
        for module in network:
            x = module(x)
            if isinstance(module, Linear):
                _check(function, "a layer's result", x.value, k - 2 - weight - bits)
            bits = weight if isinstance(module, Linear | ReLU) else f
        batch = y[start : start + batch_size]
        if loss.output == "identity":
            squares = ((x.value - batch) ** 2).mean() * max(PIECE, batch.size)
            _check(function, "the sum of squared residuals", squares, k - 2 - 2 * f)
        loss(x, batch).backward()
        for parameter in network.parameters():
            if parameter.gradient is not None:
                found, factor = parameter.gradient
                _check(function, "a gradient's sum over a batch", found, gradient)
                if isinstance(optimizer, Adam):
                    _check(function, "a gradient", found * factor, GRADIENT_LIMIT)
        network.zero_grad()


def _check(function: str, what: str, values: Any, bits: int) -> None:
    largest = float(np.abs(values).max(initial=0.0))
    if largest >= 2.0**bits:
        raise RangeError(
            f"{function}: {what} must stay below 2**{bits}, got {largest:g}; scale X and y, to "
            "mean 0 and deviation 1, or use smaller batches"
        )
