"""Reverse-mode differentiation: what was computed from what, and the gradients that flow back.

Layer: nn, above values. Knows nodes and gradients; what a node computes is `variable`'s and the
layers'. A gradient is a value and a public factor: public scalars of the graph (means, learning
rates, halves) multiply the factor, which is exact and costs nothing.
Source: Linnainmaa 1970; the vector-Jacobian products of Griewank and Walther, Evaluating
Derivatives, 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.values import Value, as_value, is_secret, masked
from he_gpu.ring.fixedpoint import word_bits

_recording: ContextVar[bool] = ContextVar("he_gpu_recording", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Within it nothing is recorded, so that results have no gradients, and layers cost less.

    Example:
        >>> from he_gpu import nn
        >>> w = nn.Variable([1.0], requires_grad=True)
        >>> with nn.no_grad():
        ...     (w * 2).requires_grad
        False
        >>> (w * 2).requires_grad
        True
    """
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def recording(*parents: Traced) -> bool:
    """Tell whether what is made of these is recorded: one of them needs a gradient."""
    return _recording.get() and any(parent.requires_grad for parent in parents)


class Gradient(NamedTuple):
    """The gradient ``factor * value``.

    Attributes:
        value: secret or public.
        factor: public.
    """

    value: Value
    factor: float = 1.0

    def plus(self, other: Gradient) -> Gradient:
        """Return the sum of two gradients.

        Cost: none where the factors are equal; else one truncation.
        """
        if self.factor == other.factor:
            return Gradient(self.value + other.value, self.factor)
        large, small = self, other
        if abs(small.factor) > abs(large.factor):
            large, small = small, large
        ratio = small.factor / large.factor
        if not is_secret(small.value):
            return Gradient(large.value + small.value * ratio, large.factor)
        bits = small.value.frac_bits
        if is_secret(large.value):
            bits = max(bits, large.value.frac_bits)
        scaled = small.value.with_frac_bits(bits).scaled(ratio, bits)
        return Gradient(large.value + scaled, large.factor)

    def resolved(self) -> Value:
        """Return the gradient as one value.

        A secret gets as many fraction bits more as the factor has zeros after the point, up to
        half the word's.

        Cost: none where the factor is a power of two; else one truncation.
        """
        if self.factor == 1.0:
            return self.value
        if not is_secret(self.value):
            return self.value * self.factor
        zeros = max(0, 1 - int(np.frexp(self.factor)[1])) if self.factor else 0
        own, half = self.value.frac_bits, word_bits(self.value.session.modulus) // 2
        return self.value.scaled(self.factor, min(own + zeros, max(own, half)))


class Node(NamedTuple):
    """How a value was made.

    Attributes:
        parents: of what.
        backward: from the gradient of the result to those of the parents, None for one that needs
            none.
        factors: public factors of the parents' gradients, which `backward` leaves out.
    """

    parents: tuple[Traced, ...]
    backward: Callable[[Value], Sequence[Value | None]]
    factors: tuple[float, ...]


class Traced:
    """A value, whether it needs a gradient, and how it was made.

    Args:
        value: secret or public; or a function that returns it when it is first asked for, which
            nobody may do.
        requires_grad: whether `backward` shall leave a gradient here.

    Attributes:
        requires_grad: as given, or that of what the value was made of.
        node: how it was made; None for a leaf.
        gradient: what `backward` left here, with its public factor, or None.
    """

    __slots__ = ("_value", "gradient", "node", "requires_grad")

    def __init__(self, value: Value | Callable[[], Value], requires_grad: bool = False) -> None:
        self._value = value if callable(value) else as_value(value, type(self).__name__, "value")
        self.requires_grad = bool(requires_grad)
        self.node: Node | None = None
        self.gradient: Gradient | None = None

    @property
    def value(self) -> Value:
        """The SecretTensor or float64 ndarray."""
        if callable(self._value):
            self._value = self._value()
        return self._value

    @property
    def grad(self) -> Value | None:
        """The gradient that `backward` left here, or None. Cost: that of `Gradient.resolved`."""
        return None if self.gradient is None else self.gradient.resolved()

    def masked_value(self) -> Value:
        """Return the value, masked if it is secret; the mask is kept for later products."""
        self._value = masked(self.value)
        return self._value

    def backward(self, gradient: Value | None = None) -> None:
        """Add the gradients of this value to every leaf that needs one and that it was made of.

        Args:
            gradient: that of what follows, of this value's shape; for a single number it is 1.

        Raises:
            ValueError: nothing to differentiate; a gradient of another shape, or none for several
                numbers.

        Leaks: nothing.
        """
        function = "backward"
        if not self.requires_grad:
            raise ArgumentValueError(f"{function}: nothing that needs a gradient made this value")
        if gradient is None:
            if not callable(self._value) and self.value.size != 1:
                raise ArgumentValueError(
                    f"{function}: gradient must be given for more than one number, got none for "
                    f"shape {self.value.shape}"
                )
            gradient = np.ones(() if callable(self._value) else self.value.shape)
        else:
            if isinstance(gradient, Traced):
                raise ArgumentTypeError(f"{function}: gradient must be a value, got a Variable")
            gradient = as_value(gradient, function, "gradient")
            if tuple(gradient.shape) != tuple(self.value.shape):
                raise ArgumentValueError(
                    f"{function}: gradient must have shape {tuple(self.value.shape)}, got "
                    f"{tuple(gradient.shape)}"
                )
        pending = {id(self): Gradient(gradient)}
        for traced in reversed(_in_order(self)):
            incoming = pending.pop(id(traced), None)
            if incoming is None:
                continue
            node = traced.node
            if node is None:
                before = traced.gradient
                traced.gradient = incoming if before is None else before.plus(incoming)
                continue
            parts = node.backward(incoming.value)
            for parent, factor, part in zip(node.parents, node.factors, parts, strict=True):
                if part is None or not parent.requires_grad:
                    continue
                more = Gradient(part, incoming.factor * factor)
                known = pending.get(id(parent))
                pending[id(parent)] = more if known is None else known.plus(more)


def _in_order(root: Traced) -> list[Traced]:
    """Return all that a value was made of and that needs a gradient, each behind its parents."""
    order: list[Traced] = []
    seen: set[int] = set()
    stack: list[tuple[Traced, bool]] = [(root, False)]
    while stack:
        traced, ready = stack.pop()
        if ready:
            order.append(traced)
        elif id(traced) not in seen:
            seen.add(id(traced))
            stack.append((traced, True))
            if traced.node is not None:
                stack += [(parent, False) for parent in traced.node.parents if parent.requires_grad]
    return order
