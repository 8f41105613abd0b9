"""Stochastic gradient descent, with momentum, Nesterov's momentum and weight decay.

Layer: nn, above optimizer. Every new value is one public linear combination of the old ones, so a
step of all parameters takes one truncation's rounds.
Sources: Polyak 1964; Nesterov 1983; PyTorch's `torch.optim.SGD` for the form.
"""

from __future__ import annotations

from collections.abc import Iterable

from he_gpu.errors import ArgumentValueError
from he_gpu.nn.arguments import real
from he_gpu.nn.combination import Combination, combined
from he_gpu.nn.module import Parameter
from he_gpu.nn.optimizer import Optimizer
from he_gpu.nn.precision import gradient_bits, weight_bits
from he_gpu.nn.tape import Gradient
from he_gpu.nn.values import Value, session_of


class SGD(Optimizer):
    """``w <- w - lr d`` with d the gradient, or its running sum; PyTorch's arguments.

    With g the gradient plus weight_decay w, and b the buffer, g at first: b <- momentum b +
    (1 - dampening) g, and d = b, or with nesterov d = g + momentum b.

    Args:
        params: as `Module.parameters` returns them.
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
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        super().__init__(params, lr)
        self.momentum = real("SGD", "momentum", momentum, 0.0, 1.0)
        self.dampening = real("SGD", "dampening", dampening, 0.0, 1.0)
        self.weight_decay = real("SGD", "weight_decay", weight_decay, 0.0)
        if nesterov and (not momentum or dampening):
            raise ArgumentValueError(
                f"SGD: nesterov needs momentum and no dampening, got {momentum} and {dampening}"
            )
        self.nesterov = bool(nesterov)
        self._buffers: dict[int, Gradient] = {}

    def step(self) -> None:
        """Change the parameters by their gradients."""
        learning = list(self._learning())
        values = [v for _, p, gradient in learning for v in (p.value, gradient.value)]
        session = session_of(values, "SGD")
        fine, coarse = (weight_bits(session), gradient_bits(session)) if session else (0, 0)
        sums: list[Combination] = []
        for index, parameter, gradient in learning:
            d, buffer = self._direction(index, parameter.value, gradient)
            rate = self.lr * gradient.factor
            sums.append(Combination(tuple((x, rate * weight) for x, weight in d), fine))
            if buffer:
                sums.append(Combination(buffer, coarse))
        results = iter(combined(sums, "SGD"))
        for index, parameter, gradient in learning:
            change = next(results)
            if self.momentum:
                self._buffers[index] = Gradient(next(results), gradient.factor)
            parameter.assign(parameter.value - change)

    def _direction(self, index: int, w: Value, gradient: Gradient) -> tuple[_Terms, _Terms]:
        """Return d and the new buffer as terms, in units of the gradient's factor."""
        g: _Terms = ((gradient.value, 1.0),)
        if self.weight_decay:
            g += ((w, self.weight_decay / gradient.factor),)
        if not self.momentum:
            return g, ()
        before = self._buffers.get(index)
        if before is None:
            buffer = g
        else:
            kept = self.momentum * before.factor / gradient.factor
            buffer = ((before.value, kept), *_times(g, 1 - self.dampening))
        if not self.nesterov:
            return buffer, buffer
        ahead = _times(buffer, self.momentum)
        return _merged(g + ahead), buffer


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
