"""Adam, with moments fine enough for squares of small gradients.

Layer: nn, above optimizer. Squares, roots and quotients of all parameters are taken of one vector,
so that their rounds are shared.
Source: Kingma and Ba 2015.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.functions import concatenate
from he_gpu.nn.arguments import real
from he_gpu.nn.combination import Combination, combined
from he_gpu.nn.module import Parameter
from he_gpu.nn.optimizer import Optimizer
from he_gpu.nn.precision import weight_bits
from he_gpu.nn.tape import Gradient
from he_gpu.nn.values import Value, is_secret, session_of
from he_gpu.session import Session

GRADIENT, FIRST, SECOND, INVERSE = 26, 32, 40, 20
"""Fraction bits of gradients, of their mean, of the mean of their squares, and of 1 / root."""
SIGNIFICANT = 12
"""Bits of the weight of a square, which leave more for the square itself."""
LEAST_EPS = 2.0 ** -(SECOND // 2)


class _State(NamedTuple):
    """What Adam remembers of a parameter."""

    first: Value
    second: Value
    n_steps: int


class Adam(Optimizer):
    """Gradients divided by the root of their mean square; PyTorch's arguments.

    With g the gradient plus weight_decay w, m and v are the means of g and g**2 with weights that
    fall by b1 and b2 from step to step and add up to 1: m <- m + c (g - m) for c = (1 - b1) / (1 -
    b1**t), and v likewise, which are the corrected moments of the paper; corrected as they are
    kept, they need no bits that a later division by 1 - b2**t would blow up. Then w <- w - lr m /
    sqrt(v + eps**2). PyTorch adds eps to the root instead: that is the same where one of them is
    small beside the other.

    Args:
        params: as `Module.parameters` returns them.
        lr: learning rate, > 0.
        betas: b1 and b2, in [0, 1).
        eps: at least 2**-20 (9.5e-07) for secret parameters, because v has 40 fraction bits.
        weight_decay: at least 0.

    Raises:
        ValueError: a session modulo 2**32, whose words have no room for v; at the first step an eps
            that is too small.

    Range: gradients below 32, public factors included; before them below 2**18 by default.
    Error: one unit of a weight's 2**-frac_bits, and 1e-5 of a step; gradients count in units of
        2**-26, m of 2**-32 and v of 2**-40. Without gradient a parameter stays where it is, exactly
        but for one unit.
    Cost: for all parameters together a square, an `rsqrt`, a product and two truncations one after
        another.
    Leaks: nothing.
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, lr)
        if len(betas) != 2:
            raise ArgumentTypeError(f"Adam: betas must be two numbers, got {betas!r}")
        b1, b2 = (real("Adam", "betas", beta, 0.0, 1.0) for beta in betas)
        self.betas = b1, b2
        self.eps = real("Adam", "eps", eps, 0.0)
        self.weight_decay = real("Adam", "weight_decay", weight_decay, 0.0)
        self._states: dict[int, _State] = {}

    def step(self) -> None:
        """Change the parameters by their gradients."""
        groups: dict[tuple[int, bool], list[tuple[int, Parameter, Gradient]]] = {}
        for index, parameter, gradient in self._learning():
            before = self._states.get(index)
            hidden = is_secret(gradient.value) or (
                self.weight_decay > 0 and is_secret(parameter.value)
            )
            key = (0 if before is None else before.n_steps, hidden)
            groups.setdefault(key, []).append((index, parameter, gradient))
        for (n_steps, _), group in groups.items():
            self._step(group, n_steps + 1)

    def _step(self, group: list[tuple[int, Parameter, Gradient]], t: int) -> None:
        """Change parameters that have taken equally many steps."""
        values = [v for _, p, gradient in group for v in (p.value, gradient.value)]
        session = session_of(values, "Adam")
        if session is not None:
            self._check(session)
        sums = []
        for _, parameter, gradient in group:
            decay = [(parameter.value, self.weight_decay)] if self.weight_decay else []
            sums.append(Combination(((gradient.value, gradient.factor), *decay), GRADIENT))
        g = _joined(combined(sums, "Adam"))
        m, v = (self._moments(group, which) for which in (0, 1))
        square = g._product("mul", g, SECOND) if is_secret(g) else g * g
        b1, b2 = self.betas
        new1, new2 = (1 - b1) / (1 - b1**t), (1 - b2) / (1 - b2**t)
        first = ((g, 1.0),) if m is None else ((m, 1 - new1), (g, new1))
        sums = [
            Combination(first, FIRST),
            Combination(tuple((x, weight * self.lr) for x, weight in first), FIRST),
        ]
        if v is not None:  # rounding the weight of a difference from v moves v nowhere else
            sums.append(Combination(((square - v, new2),), SECOND, SIGNIFICANT))
        m, scaled, *gain = combined(sums, "Adam")
        v = square if v is None else v + gain[0]
        spread = v + self.eps**2
        if is_secret(spread):
            change = scaled._product("mul", spread.rsqrt(INVERSE), weight_bits(spread.session))
        else:
            change = scaled / np.sqrt(spread)
        shapes = [parameter.shape for _, parameter, _ in group]
        parts = (_parted(x, shapes) for x in (change, m, v))
        for (index, parameter, _), part, first_, second_ in zip(group, *parts, strict=True):
            parameter.assign(parameter.value - part)
            self._states[index] = _State(first_, second_, t)

    def _check(self, session: Session) -> None:
        if session.modulus != 2**64:
            raise ArgumentValueError(
                f"Adam: the session's modulus must be 2**64 to hold squares of gradients, got "
                f"{session.modulus}"
            )
        if self.eps < LEAST_EPS:
            raise ArgumentValueError(
                f"Adam: eps must be at least 2**-{SECOND // 2} ({LEAST_EPS:.2g}), the root of one "
                f"unit of the mean square, got {self.eps:g}"
            )

    def _moments(self, group: list[tuple[int, Parameter, Gradient]], which: int) -> Value | None:
        """Return a moment of all parameters of a group, or None before the first step."""
        known = [self._states[index][which] for index, _, _ in group if index in self._states]
        return _joined(known) if known else None


def _joined(values: Sequence[Value]) -> Value:
    """Return the elements of all values in one axis."""
    flat = [value.reshape(-1) for value in values]
    if len(flat) == 1:
        return flat[0]
    return concatenate(flat) if any(map(is_secret, flat)) else np.concatenate(flat)


def _parted(x: Value, shapes: Sequence[tuple[int, ...]]) -> list[Value]:
    """Return the elements of one axis as arrays of shapes."""
    parts, start = [], 0
    for shape in shapes:
        stop = start + prod(shape)
        parts.append(x[start:stop].reshape(shape))
        start = stop
    return parts
