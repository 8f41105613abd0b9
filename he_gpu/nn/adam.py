"""Adam, with moments fine enough for squares of small gradients.

Layer: nn, above optimizer. Squares, roots and quotients of all parameters are taken of one vector,
so that their rounds are shared.
Source: Kingma and Ba 2015.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.functions import concatenate
from he_gpu.nn.arguments import positive, real
from he_gpu.nn.combination import Combination, combined
from he_gpu.nn.module import Parameter
from he_gpu.nn.optimizer import Check, Optimizer, Options, lifted
from he_gpu.nn.precision import weight_bits
from he_gpu.nn.tape import Gradient
from he_gpu.nn.values import Bits, Value, is_secret, session_of
from he_gpu.session import Session

GRADIENT, FIRST, SECOND, INVERSE = 26, 32, 40, 20
"""Fraction bits of gradients, of their mean, of the mean of their squares, and of 1 / root."""
SIGNIFICANT = 12
"""Bits of the weight of a square, which leave more for the square itself."""
LEAST_EPS = 2.0 ** -(SECOND // 2)
GRADIENT_LIMIT = (62 - 2 * GRADIENT) // 2
"""Gradients stay below 2**5, and so their squares in the word."""


class Adam(Optimizer):
    """Gradients divided by the root of their mean square; PyTorch's arguments.

    With g the gradient plus weight_decay w, m and v are the means of g and g**2 with weights that
    fall by b1 and b2 from step to step and add up to 1: m <- m + c (g - m) for c = (1 - b1) / (1 -
    b1**t), and v likewise, which are the corrected moments of the paper; corrected as they are
    kept, they need no bits that a later division by 1 - b2**t would blow up. Then w <- w - lr m /
    sqrt(v + eps**2). PyTorch adds eps to the root instead: that is the same where one of them is
    small beside the other.

    Args:
        params: as `Module.parameters` returns them, or groups; see `Optimizer`.
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

    `state_dict` has m as "mean", v as "mean_square", and "step". PyTorch's "exp_avg" is another
    number, m (1 - b1**t).
    """

    _tensors: ClassVar[dict[str, Bits]] = {
        "mean": lambda _: FIRST,
        "mean_square": lambda _: SECOND,
    }
    _numbers: ClassVar[dict[str, Check]] = {"step": lambda value: positive("Adam", "step", value)}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
    ):
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options)

    def _checked(self, options: Options) -> Options:
        options = super()._checked(options)
        betas = options["betas"]
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ArgumentTypeError(f"Adam: betas must be two numbers, got {betas!r}")
        b1, b2 = (real("Adam", "betas", beta, 0.0, 1.0) for beta in betas)
        return options | {"betas": (b1, b2), "eps": real("Adam", "eps", options["eps"], 0.0)}

    def step(self) -> None:
        """Change the parameters by their gradients."""
        alike: dict[_Alike, list[_Learning]] = {}
        for index, parameter, gradient, group in self._learning():
            before = self._state.get(index)
            hidden = is_secret(gradient.value) or (
                group["weight_decay"] > 0 and is_secret(parameter.value)
            )
            shared = _Alike(
                1 if before is None else int(before["step"]) + 1,
                hidden,
                group["lr"],
                group["betas"],
                group["eps"],
            )
            one = _Learning(index, parameter, gradient, group["weight_decay"])
            alike.setdefault(shared, []).append(one)
        for shared, learning in alike.items():
            self._step(learning, shared)

    def _step(self, group: list[_Learning], options: _Alike) -> None:
        """Change parameters whose options and number of steps are the same."""
        values = [v for one in group for v in (one.parameter.value, one.gradient.value)]
        session = session_of(values, "Adam")
        if session is not None:
            _check(session, options.eps)
        sums = []
        for _, parameter, gradient, decay in group:
            more = [(parameter.value, decay)] if decay else []
            sums.append(Combination(((gradient.value, gradient.factor), *more), GRADIENT))
        g = _joined(combined(sums, "Adam"))
        hidden = session if options.hidden else None
        m, v = (self._moments(group, name, hidden) for name in self._tensors)
        square = g._product("mul", g, SECOND) if is_secret(g) else g * g
        (b1, b2), t = options.betas, options.step
        new1, new2 = (1 - b1) / (1 - b1**t), (1 - b2) / (1 - b2**t)
        first = ((g, 1.0),) if m is None else ((m, 1 - new1), (g, new1))
        sums = [
            Combination(first, FIRST),
            Combination(tuple((x, weight * options.lr) for x, weight in first), FIRST),
        ]
        if v is not None:  # rounding the weight of a difference from v moves v nowhere else
            sums.append(Combination(((square - v, new2),), SECOND, SIGNIFICANT))
        m, scaled, *gain = combined(sums, "Adam")
        v = square if v is None else v + gain[0]
        spread = v + options.eps**2
        if is_secret(spread):
            change = scaled._product("mul", spread.rsqrt(INVERSE), weight_bits(spread.session))
        else:
            change = scaled / np.sqrt(spread)
        shapes = [one.parameter.shape for one in group]
        parts = (_parted(x, shapes) for x in (change, m, v))
        for one, part, first_, second_ in zip(group, *parts, strict=True):
            one.parameter.assign(one.parameter.value - part)
            self._state[one.at] = {"mean": first_, "mean_square": second_, "step": t}

    def _moments(self, group: list[_Learning], name: str, session: Session | None) -> Value | None:
        """Return a moment of all parameters of a group, or None before the first step."""
        known = [self._state[one.at][name] for one in group if one.at in self._state]
        if session is not None:
            known = [lifted(session, x, self._tensors[name](session)) for x in known]
        return _joined(known) if known else None


class _Alike(NamedTuple):
    """What parameters must have in common to be changed as one vector."""

    step: int
    hidden: bool
    lr: float
    betas: tuple[float, float]
    eps: float


class _Learning(NamedTuple):
    """A parameter that has a gradient."""

    at: int
    parameter: Parameter
    gradient: Gradient
    weight_decay: float


def _check(session: Session, eps: float) -> None:
    if session.modulus != 2**64:
        raise ArgumentValueError(
            f"Adam: the session's modulus must be 2**64 to hold squares of gradients, got "
            f"{session.modulus}"
        )
    if eps < LEAST_EPS:
        raise ArgumentValueError(
            f"Adam: eps must be at least 2**-{SECOND // 2} ({LEAST_EPS:.2g}), the root of one "
            f"unit of the mean square, got {eps:g}"
        )


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
