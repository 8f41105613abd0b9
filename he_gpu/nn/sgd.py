"""Stochastic gradient descent, with momentum, Nesterov's momentum and weight decay.

Layer: nn, above optimizer. Every new value is one public linear combination of the old ones, so a
step of all parameters takes one truncation's rounds.
Sources: Polyak 1964; Nesterov 1983; PyTorch's `torch.optim.SGD` for the form.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from he_gpu.errors import ArgumentValueError
from he_gpu.nn.arguments import real
from he_gpu.nn.combination import Combination, combined
from he_gpu.nn.optimizer import Check, Optimizer, Options
from he_gpu.nn.precision import gradient_bits, weight_bits
from he_gpu.nn.tape import Gradient
from he_gpu.nn.values import Bits, Value, session_of


class SGD(Optimizer):
    """``w <- w - lr d`` with d the gradient, or its running sum; PyTorch's arguments.

    With g the gradient plus weight_decay w, and b the buffer, g at first: b <- momentum b +
    (1 - dampening) g, and d = b, or with nesterov d = g + momentum b.

    Args:
        params: as `Module.parameters` returns them, or groups; see `Optimizer`.
        lr: learning rate, > 0.
        momentum: in [0, 1).
        dampening: in [0, 1).
        weight_decay: at least 0.
        nesterov: whether d looks ahead; needs momentum and no dampening.

    Range: gradients and buffers before their public factor below 2**(k - 26 - 20), 2**18 by default
        (2**7 modulo 2**32).
    Error: one unit of a weight's 2**-frac_bits (24 by default), unbiased, and lr to 24 significant
        bits (12 modulo 2**32); the factors of momentum and decay count in the same units.
    Cost: 1 round with "additive", 2 with "replicated", for all parameters together; one truncation
        for each word of a parameter, two with momentum.
    Leaks: nothing.

    `state_dict` has "momentum_buffer", before the public factor "factor".
    """

    _tensors: ClassVar[dict[str, Bits]] = {"momentum_buffer": gradient_bits}
    _numbers: ClassVar[dict[str, Check]] = {"factor": lambda value: _factor(value)}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, options)

    def _checked(self, options: Options) -> Options:
        options = super()._checked(options)
        momentum = real("SGD", "momentum", options["momentum"], 0.0, 1.0)
        dampening = real("SGD", "dampening", options["dampening"], 0.0, 1.0)
        nesterov = bool(options["nesterov"])
        if nesterov and (not momentum or dampening):
            raise ArgumentValueError(
                f"SGD: nesterov needs momentum and no dampening, got {momentum} and {dampening}"
            )
        return options | {"momentum": momentum, "dampening": dampening, "nesterov": nesterov}

    def step(self) -> None:
        """Change the parameters by their gradients."""
        learning = list(self._learning())
        values = [v for _, p, gradient, _ in learning for v in (p.value, gradient.value)]
        session = session_of(values, "SGD")
        fine, coarse = (weight_bits(session), gradient_bits(session)) if session else (0, 0)
        sums: list[Combination] = []
        for index, parameter, gradient, group in learning:
            d, buffer = self._direction(index, parameter.value, gradient, group)
            rate = group["lr"] * gradient.factor
            sums.append(Combination(tuple((x, rate * weight) for x, weight in d), fine))
            if buffer:
                sums.append(Combination(buffer, coarse))
        results = iter(combined(sums, "SGD"))
        for index, parameter, gradient, group in learning:
            change = next(results)
            if group["momentum"]:
                buffer = next(results)
                self._state[index] = {"momentum_buffer": buffer, "factor": gradient.factor}
            parameter.assign(parameter.value - change)

    def _direction(
        self, index: int, w: Value, gradient: Gradient, group: Options
    ) -> tuple[_Terms, _Terms]:
        """Return d and the new buffer as terms, in units of the gradient's factor."""
        momentum = group["momentum"]
        g: _Terms = ((gradient.value, 1.0),)
        if group["weight_decay"]:
            g += ((w, group["weight_decay"] / gradient.factor),)
        if not momentum:
            return g, ()
        before = self._state.get(index)
        if before is None:
            buffer = g
        else:
            kept = momentum * before["factor"] / gradient.factor
            buffer = ((before["momentum_buffer"], kept), *_times(g, 1 - group["dampening"]))
        if not group["nesterov"]:
            return buffer, buffer
        ahead = _times(buffer, momentum)
        return _merged(g + ahead), buffer


def _factor(value: Any) -> float:
    """Return the public factor of a buffer."""
    factor = real("SGD", "factor", value, -np.inf)
    if not factor:
        raise ArgumentValueError("SGD: factor must not be 0, got 0")
    return factor


_Terms = tuple[tuple[Value, float], ...]


def _times(terms: _Terms, factor: float) -> _Terms:
    return tuple((value, weight * factor) for value, weight in terms)


def _merged(terms: _Terms) -> _Terms:
    """Return the terms with the weights of one value added."""
    values = {id(value): value for value, _ in terms}
    weights = dict.fromkeys(values, 0.0)
    for value, weight in terms:
        weights[id(value)] += weight
    return tuple((values[key], weights[key]) for key in values)
