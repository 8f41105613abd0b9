"""Layers with inputs that sharing keeps exactly, and how far shares may be from float64.

Every number is an odd multiple of 2^-9 below 2, so that 9 fraction bits hold it, no two inputs are
equal and none is 0: nothing is rounded on the way in, and no slope jumps within a step of a
difference. Parameters are multiples of 2^-8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import he_gpu as he
from he_gpu import nn
from he_gpu.tensor.curves import curve


class Case(NamedTuple):
    """A layer, an input's shape, and bounds in units of the session's 2^-frac_bits.

    value, slope: of the result and of the input's gradient, for gradients below 1 of the result.
    weights: of the gradients of weights; those of biases are exact.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    value: float = 0
    slope: float = 0
    weights: float = 0


def curve_units(session: he.Session, name: str) -> float:
    """Units that a smooth function may be off."""
    fit = curve(name, session.frac_bits)
    rounding = fit.error(session.frac_bits, session.modulus) - fit.approximation_error
    return 0.95 + rounding * 2**session.frac_bits


CASES = {
    # Products have one truncation each: one unit of their own bits, which are no fewer.
    "linear": Case(lambda: nn.Linear(5, 3, random_state=0), (4, 5), 1, 1, 1),
    "linear-3d": Case(lambda: nn.Linear(5, 3, bias=False, random_state=0), (2, 4, 5), 1, 1, 1),
    "conv": Case(lambda: nn.Conv2d(2, 4, 3, random_state=0), (2, 2, 5, 4), 1, 1, 1),
    "conv-strided": Case(
        lambda: nn.Conv2d(2, 4, (3, 2), 2, 1, groups=2, bias=False, random_state=0),
        (2, 2, 5, 6), 1, 1, 1,
    ),
    "conv-same": Case(
        lambda: nn.Conv2d(2, 4, 3, padding="same", random_state=0), (2, 5, 4), 1, 1, 1
    ),
    # Bits choose, and views move words: nothing is rounded.
    "relu": Case(nn.ReLU, (4, 5)),
    "flatten": Case(nn.Flatten, (2, 3, 4)),
    "max-pool": Case(lambda: nn.MaxPool2d(2), (2, 2, 5, 4)),
    "max-pool-padded": Case(lambda: nn.MaxPool2d(3, 2, 1), (2, 2, 5, 6)),
    "max-pool-of-four": Case(lambda: nn.MaxPool2d((4, 1), (1, 2)), (1, 2, 5, 6)),
    # One truncation by a public factor, of 12 significant bits modulo 2^32, of sums below 12.
    "avg-pool": Case(lambda: nn.AvgPool2d(2), (2, 2, 5, 4), 1),
    "avg-pool-padded": Case(lambda: nn.AvgPool2d((3, 2), (2, 1), 1), (2, 2, 5, 4), 2, 2),
    "dropout": Case(lambda: nn.Dropout(0.4, random_state=0), (4, 5), 2, 2),
    # c is off by 2 units for its mean; times the weight over the deviation, below 2, it is 4, its
    # truncation 1, and the inverse root's relative 6e-6 (2e-3) of a value below 4 are under 1 (8).
    # q is off by |g| 2 units, half of it on the average, and by 2 units of 4 (1) bits more; the
    # slope r q by 2 (3), which the weight's gradient has n = 12 to 20 times; the input's has 2 of
    # c's for |r q| < 1 and 2 (3) of the slope's times |r c| < 3, the product twice that.
    "batch-norm": Case(lambda: nn.BatchNorm1d(3, eps=0.001), (12, 3), 6, 16, 24),
    "batch-norm-3d": Case(lambda: nn.BatchNorm1d(3, eps=0.001), (4, 3, 5), 6, 16, 40),
    "batch-norm-2d": Case(
        lambda: nn.BatchNorm2d(3, eps=0.001), (2, 3, 3, 2), 6, 16, 24
    ),
    "layer-norm": Case(lambda: nn.LayerNorm(6, eps=0.001), (4, 6), 6, 16, 6),
    "layer-norm-2d": Case(lambda: nn.LayerNorm((3, 2), eps=0.001), (4, 3, 2), 6, 16, 6),
}  # fmt: skip
CURVED = {
    "sigmoid": Case(nn.Sigmoid, (4, 5)),
    "tanh": Case(nn.Tanh, (4, 5)),
    "gelu": Case(nn.GELU, (4, 5)),
    "gelu_tanh": Case(lambda: nn.GELU("tanh"), (4, 5)),
}


def grid(shape: Any, top: float = 2, seed: int = 1) -> Any:
    """Distinct odd multiples of 2^-9 below top."""
    steps = np.arange(-int(top * 256), int(top * 256))
    chosen = np.random.default_rng(seed).choice(steps, int(np.prod(shape)), replace=False)
    return ((2 * chosen + 1) / 512).reshape(shape)


def rounded(module: nn.Module) -> nn.Module:
    """The module with parameters on the grid, none of them all ones or zeros."""
    shifted = {
        name: np.round(value * 256) / 256 + 0.25 * (value.ndim == 1)
        for name, value in module.state_dict().items()
    }
    module.load_state_dict(shifted)
    return module


def flowed(
    case: Case, session: he.Session | None = None, secret: tuple[str, ...] = ("model", "data")
) -> tuple[nn.Module, list[Any]]:
    """The result of a layer, the gradient of its input and those of its parameters.

    Where there is a session, the gradient that comes in is secret, and so is what is named.
    """
    module = rounded(case.make())
    if session is not None and "model" in secret:
        module.share(session)
    hidden = session is not None and "data" in secret
    x = nn.Variable(session.share(grid(case.shape)) if hidden else grid(case.shape), True)
    y = module(x)
    g = grid(y.shape, 1, seed=3)
    y.backward(g if session is None else session.share(g))
    found = [y.value, x.grad, *(parameter.grad for parameter in module.parameters())]
    return module, [v.reveal() if isinstance(v, he.SecretTensor) else v for v in found]


def differences(case: Case, step: float = 1e-4) -> list[Any]:
    """Central differences of the input and of the parameters, in float64."""
    values = [grid(case.shape), *(p.value for p in rounded(case.make()).parameters())]
    weights = grid(rounded(case.make())(values[0]).shape, 1, seed=3)

    def total(changed: list[Any]) -> float:
        module = rounded(case.make())
        for parameter, value in zip(module.parameters(), changed[1:], strict=True):
            parameter.assign(value)
        return float((module(changed[0]).value * weights).sum())

    found = []
    for index, value in enumerate(values):
        slopes = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            sides = []
            for sign in (1, -1):
                changed = [v.copy() for v in values]
                changed[index][place] += sign * step
                sides.append(total(changed))
            slopes[place] = (sides[0] - sides[1]) / (2 * step)
        found.append(slopes)
    return found
