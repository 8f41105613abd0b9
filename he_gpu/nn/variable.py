"""`Variable`: a secret or public array whose operators remember how to differentiate themselves.

Layer: nn, above tape. Each operator computes on values and records one node; what needs no gradient
is neither recorded nor computed backwards. Operands of two secret products are masked once, for the
product forward and for those backward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NoReturn

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, ArgumentValueError, SecretAccessError
from he_gpu.nn.precision import gradient_bits
from he_gpu.nn.tape import Node, Traced, recording
from he_gpu.nn.values import (
    Value,
    broadcast,
    is_secret,
    matmul,
    product,
    scattered,
    summed_to,
)
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.layout import check_axes

Axes = int | tuple[int, ...] | None


class Variable(Traced):
    """A SecretTensor or a float64 ndarray with gradients, as PyTorch's tensors have them.

    Operators take Variables, SecretTensors and public arrays on either side. Where all operands
    are public nothing enters the protocol.

    Args:
        value: secret or public.
        requires_grad: whether `backward` shall leave a gradient here.

    Attributes:
        value: the SecretTensor or float64 ndarray.
        grad: the gradient that `backward` left here, or None.
        requires_grad: as given, or that of what the value was made of.

    Error: as the operators of `SecretTensor`; gradients carry 4 fraction bits more than the session
        (1 modulo 2**32) and a public factor that is exact.
    Cost: backward, one product for each secret factor of a product that needs a gradient. A secret
        operand of a matrix product is opened once, whatever it is multiplied with.
    Leaks: nothing; `reveal` reveals.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     w = he.nn.Variable(s.share([1.0, -2.0]), requires_grad=True)
        ...     loss = ((w * 3 - 1) ** 2).mean()
        ...     loss.backward()
        ...     round(float(loss.reveal()), 2), w.grad.reveal().round(2).tolist()
        (26.5, [6.0, -21.0])
    """

    __slots__ = ()
    __array_ufunc__ = None
    """NumPy's arrays leave their operators to those here."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        """Number of its axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of its elements."""
        return prod(self.shape)

    @property
    def is_secret(self) -> bool:
        """Whether the value is secret."""
        return is_secret(self.value)

    def reveal(self) -> Array:
        """Open the value to every party. Leaks: the value, if it is secret."""
        return self.value.reveal() if is_secret(self.value) else np.array(self.value)

    def detach(self) -> Variable:
        """Return the same value without its history."""
        return Variable(self.value)

    def __len__(self) -> int:
        return len(self.value)

    def __repr__(self) -> str:
        kind = repr(self.value) if self.is_secret else f"shape={self.shape}, public"
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"{type(self).__name__}({kind}{grad})"

    def _refuse(self, *args: Any) -> NoReturn:
        raise SecretAccessError("a Variable may be secret; use reveal(), or value where it is not")

    __array__ = __bool__ = __float__ = __int__ = _refuse

    # Sums

    def __add__(self, other: Any) -> Variable:
        """Return the sum."""
        return _summed(self, _variable(other), 1.0)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Variable:
        """Return the difference."""
        return _summed(self, _variable(other), -1.0)

    def __rsub__(self, other: Any) -> Variable:
        """Return the difference."""
        return _summed(_variable(other), self, -1.0)

    def __neg__(self) -> Variable:
        """Return ``-x``."""
        return record(-self.value, [self], lambda g: (g,), [-1.0])

    def sum(self, axis: Axes = None, keepdims: bool = False) -> Variable:
        """Return the sum over axes, over all by default."""
        axes, kept = self._reduced(axis, "sum")
        value = self.value.sum(axes, keepdims=keepdims)
        return record(value, [self], lambda g: (broadcast(g.reshape(kept), self.shape),))

    def mean(self, axis: Axes = None, keepdims: bool = False) -> Variable:
        """Return the mean over axes, over all by default. Backward the count is a factor."""
        axes, kept = self._reduced(axis, "mean")
        count = prod(self.shape[at] for at in axes)
        if not count:
            raise ArgumentValueError(f"mean: no elements over axes {axes} of shape {self.shape}")
        value = self.value.mean(axes, keepdims=keepdims)
        back = [1.0 / count]
        return record(value, [self], lambda g: (broadcast(g.reshape(kept), self.shape),), back)

    # Products

    def __mul__(self, other: Any) -> Variable:
        """Return the elementwise product; a public number is a factor of the gradient."""
        return _multiplied(self, _variable(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Variable:
        """Return the quotient; the gradient of a secret divisor has the session's fraction bits."""
        return _divided(self, _variable(other))

    def __rtruediv__(self, other: Any) -> Variable:
        """Return the quotient."""
        return _divided(_variable(other), self)

    def __matmul__(self, other: Any) -> Variable:
        """Return the matrix product of at least one axis each; batches as NumPy has them."""
        return _matrix_product(self, _variable(other))

    def __rmatmul__(self, other: Any) -> Variable:
        """Return the matrix product."""
        return _matrix_product(_variable(other), self)

    def __pow__(self, exponent: int) -> Variable:
        """Return x**n for a public integer n, at least 1."""
        if isinstance(exponent, bool) or not isinstance(exponent, int | np.integer):
            raise ArgumentTypeError(f"power: exponent must be an integer, got {exponent!r}")
        if exponent < 1:
            raise ArgumentValueError(f"power: exponent must be at least 1, got {exponent}")
        n = int(exponent)
        if n == 1:
            return self
        x = self.masked_value() if n == 2 and recording(self) else self.value
        value = product(x, x) if n == 2 else x**n

        def backward(g: Value) -> Sequence[Value]:
            return (product(g, x ** (n - 1) if n > 2 else x, gradient_bits),)

        return record(value, [self], backward, [float(n)])

    # Shapes

    @property
    def T(self) -> Variable:  # noqa: N802 - NumPy's name
        """The Variable with its axes reversed."""
        return self.transpose()

    def transpose(self, *axes: int) -> Variable:
        """Return the Variable with permuted axes, reversed by default."""
        order = check_axes(axes or tuple(reversed(range(self.ndim))), self.ndim, "transpose")
        if len(order) != self.ndim:
            raise ArgumentValueError(f"transpose: {self.ndim} axes expected, got {order}")
        back = tuple(order.index(at) for at in range(self.ndim))
        return record(self.value.transpose(*order), [self], lambda g: (g.transpose(*back),))

    def reshape(self, *shape: Any) -> Variable:
        """Return the elements in another shape; one length may be -1."""
        own = self.shape
        try:
            value = self.value.reshape(*shape)
        except ValueError as error:
            raise ArgumentValueError(f"reshape: {error}") from None
        return record(value, [self], lambda g: (g.reshape(own),))

    def __getitem__(self, key: Any) -> Variable:
        """Index with public integers, slices, ellipses, None, integer or boolean arrays."""
        own = self.shape
        return record(self.value[key], [self], lambda g: (scattered(g, key, own),))

    def _reduced(self, axis: Axes, function: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return axes, and the shape with length 1 along them."""
        axes = check_axes(range(self.ndim) if axis is None else axis, self.ndim, function)
        return axes, tuple(1 if at in axes else n for at, n in enumerate(self.shape))


def record(
    value: Value | Callable[[], Value],
    parents: Sequence[Traced],
    backward: Callable[[Value], Sequence[Value | None]],
    factors: Sequence[float] | None = None,
) -> Variable:
    """Return a Variable of a value made of others, and how gradients go back to them.

    Args:
        value: the result; or a function that returns it when it is first asked for.
        parents: what it was made of.
        backward: from the gradient of the result to those of the parents, None for one that needs
            none.
        factors: public numbers that the parents' gradients are still to be multiplied by, 1 each by
            default.
    """
    result = Variable(value)
    if recording(*parents):
        result.requires_grad = True
        result.node = Node(tuple(parents), backward, tuple(factors or (1.0,) * len(parents)))
    return result


def as_variable(given: Any, function: str) -> Variable:
    """Return a Variable as it is, and anything else as a Variable that needs no gradient."""
    if isinstance(given, Variable):
        return given
    if isinstance(given, SecretTensor | np.ndarray | list | tuple | float | int | np.generic):
        return Variable(given)
    if type(given).__module__.partition(".")[0] == "cupy":
        return Variable(given)
    raise ArgumentTypeError(
        f"{function}: a Variable, a SecretTensor or a public array expected, got "
        f"{type(given).__name__}"
    )


def _variable(other: Any) -> Variable:
    return as_variable(other, "operand")


def operands(x: Traced, y: Traced) -> tuple[Value, Value]:
    """Return the operands of a product, those masked that the gradient will multiply again."""
    pair = is_secret(x.value) and is_secret(y.value)
    left = x.masked_value() if pair and recording(y) else x.value
    right = y.masked_value() if pair and recording(x) else y.value
    return left, right


def _summed(x: Variable, y: Variable, sign: float) -> Variable:
    value = x.value + y.value if sign > 0 else x.value - y.value
    shapes = x.shape, y.shape

    def backward(g: Value) -> Sequence[Value | None]:
        return tuple(
            summed_to(g, shape) if parent.requires_grad else None
            for parent, shape in zip((x, y), shapes, strict=True)
        )

    return record(value, [x, y], backward, [1.0, sign])


def _multiplied(x: Variable, y: Variable) -> Variable:
    if not x.is_secret and x.ndim == 0 and not x.requires_grad:
        x, y = y, x
    if not y.is_secret and y.ndim == 0 and not y.requires_grad:
        number = float(y.value)
        return record(x.value * number, [x], lambda g: (g,), [number])
    left, right = operands(x, y)
    shapes = x.shape, y.shape

    def backward(g: Value) -> Sequence[Value | None]:
        if x.requires_grad and y.requires_grad and is_secret(g):
            g = g.masked()
        return (
            summed_to(product(g, right, gradient_bits), shapes[0]) if x.requires_grad else None,
            summed_to(product(g, left, gradient_bits), shapes[1]) if y.requires_grad else None,
        )

    return record(product(left, right), [x, y], backward)


def _divided(x: Variable, y: Variable) -> Variable:
    if not y.is_secret and not y.requires_grad:
        if not np.all(y.value):
            raise ArgumentValueError("division: divisor must not be 0, got 0")
        return _multiplied(x, Variable(1.0 / y.value))
    value = x.value / y.value
    shapes = x.shape, y.shape

    def backward(g: Value) -> Sequence[Value | None]:
        inverse = y.value.reciprocal() if is_secret(y.value) else 1.0 / y.value
        part = product(g, inverse, gradient_bits)
        return (
            summed_to(part, shapes[0]) if x.requires_grad else None,
            summed_to(product(part, value, gradient_bits), shapes[1]) if y.requires_grad else None,
        )

    return record(value, [x, y], backward, [1.0, -1.0])


def _matrix_product(x: Variable, y: Variable) -> Variable:
    if not x.ndim or not y.ndim:
        raise ArgumentValueError("matmul: operands must have at least one axis, got a 0-d")
    if x.ndim == 1:
        return _matrix_product(x.reshape(1, -1), y)[..., 0, :]
    if y.ndim == 1:
        return _matrix_product(x, y.reshape(-1, 1))[..., 0]
    left, right = operands(x, y)
    value = matmul(left, right)
    shapes = x.shape, y.shape

    def backward(g: Value) -> Sequence[Value | None]:
        if x.requires_grad and y.requires_grad and is_secret(g):
            g = g.masked()
        to_x = to_y = None
        if x.requires_grad:
            to_x = summed_to(matmul(g, flipped(right), gradient_bits), shapes[0])
        if y.requires_grad:
            to_y = summed_to(matmul(flipped(left), g, gradient_bits), shapes[1])
        return to_x, to_y

    return record(value, [x, y], backward)


def flipped(x: Value) -> Value:
    """Return a value with its last two axes swapped; a masked one stays masked."""
    return x.mT if is_secret(x) else np.swapaxes(x, -1, -2)
