"""ReLU, sigmoid, tanh and GELU.

Layer: nn, above module. The derivative of each is made of what the function has computed where that
is possible: ReLU keeps the bit of its one comparison, sigmoid and tanh their result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError
from he_gpu.nn.module import Module
from he_gpu.nn.precision import gradient_bits
from he_gpu.nn.tape import recording
from he_gpu.nn.values import Value, chosen, is_secret, product
from he_gpu.nn.variable import Variable, record
from he_gpu.tensor import Polynomial, approximate
from he_gpu.tensor.curves import CURVES, GELUS


class ReLU(Module):
    """``max(x, 0)``, with slope 0 at 0.

    Error: none.
    Cost: in training one comparison, which gives the bit [x > 0], and one product with it without
        truncation, forward and backward each; without gradients that of `SecretTensor.relu`.
    Leaks: nothing.
    """

    def forward(self, x: Variable) -> Variable:
        """Return the result, elementwise."""
        return relu(x)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``.

    Error, Range: as `SecretTensor.sigmoid`.
    Cost: forward that; backward a square and a product.
    Leaks: nothing.
    """

    def forward(self, x: Variable) -> Variable:
        """Return the result, elementwise."""
        value = _curve("sigmoid", x.value)

        def backward(g: Value) -> Sequence[Value]:
            return (product(g, value - _square(value), gradient_bits),)

        return record(value, [x], backward)


class Tanh(Module):
    """The hyperbolic tangent.

    Error, Range: as `SecretTensor.tanh`.
    Cost: forward that; backward a square and a product.
    Leaks: nothing.
    """

    def forward(self, x: Variable) -> Variable:
        """Return the result, elementwise."""
        value = _curve("tanh", x.value)

        def backward(g: Value) -> Sequence[Value]:
            return (product(g, 1.0 - _square(value), gradient_bits),)

        return record(value, [x], backward)


class GELU(Module):
    """x times the normal distribution function.

    Args:
        approximate: "none", or "tanh" for the other function that goes by this name.

    Error, Range: as `SecretTensor.gelu`; the slope is within two units of 2**-frac_bits.
    Cost: forward that; backward a polynomial for the slope and a product.
    Leaks: nothing.
    """

    def __init__(self, approximate: str = "none"):
        super().__init__()
        if approximate not in GELUS:
            raise ArgumentValueError(
                f"GELU: approximate must be one of {GELUS}, got {approximate!r}"
            )
        self.approximate = approximate

    def forward(self, x: Variable) -> Variable:
        """Return the result, elementwise."""
        tanh = self.approximate == "tanh"
        slope = _gelu_tanh_slope if tanh else _gelu_slope
        value = _curve("gelu_tanh" if tanh else "gelu", x.value)

        def backward(g: Value) -> Sequence[Value]:
            if not is_secret(x.value):
                return (g * slope(x.value),)
            return (product(g, _fitted(slope, x.value.session.frac_bits)(x.value), gradient_bits),)

        return record(value, [x], backward)

    def extra_repr(self) -> str:
        """Return the argument."""
        return f"approximate={self.approximate!r}"


def relu(x: Variable) -> Variable:
    """Return ``max(x, 0)``; see `ReLU`."""
    if not is_secret(x.value):
        positive = (x.value > 0).astype(np.float64)
        return record(x.value * positive, [x], lambda g: (product(g, positive),))
    if not recording(x):
        return Variable(x.value.relu())
    bit = (x.value > 0).masked()
    return record(chosen(x.value, bit), [x], lambda g: (chosen(g, bit),))


def _curve(name: str, x: Value) -> Value:
    """Return a curve of `he_gpu.tensor.curves` of a secret or public value."""
    if not is_secret(x):
        return CURVES[name].f(x.reshape(-1)).reshape(x.shape)
    return x.gelu("tanh") if name == "gelu_tanh" else getattr(x, name)()


def _square(x: Value) -> Value:
    return x.square() if is_secret(x) else x * x


def _gelu_slope(x: Array) -> Array:
    x = np.asarray(x, np.float64)
    normal = [0.5 * math.erfc(-value / math.sqrt(2)) for value in x.reshape(-1)]
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return np.asarray(normal).reshape(x.shape) + x * density


def _gelu_tanh_slope(x: Array) -> Array:
    x = np.asarray(x, np.float64)
    rate = math.sqrt(2 / math.pi)
    tanh = np.tanh(rate * (x + 0.044715 * x**3))
    return 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh**2) * rate * (1 + 3 * 0.044715 * x**2)


@lru_cache(maxsize=64)
def _fitted(slope: Callable[[Array], Array], frac_bits: int) -> Polynomial:
    """Return the polynomial of a slope on [-L, L], beyond which it is 0 or 1 within half a unit."""
    half = math.ldexp(0.5, -frac_bits)
    ends = np.arange(4, 60) / 4
    outside = np.maximum(np.abs(slope(-ends)), np.abs(slope(ends) - 1))
    reach = float(ends[np.argmax(outside <= half)])
    return approximate(slope, (-reach, reach), max_error=half)
