"""The fully connected layer.

Layer: nn, above module. Forward and backward are three matrix products with one truncation each, in
which the input and the weight are masked once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from he_gpu.errors import ArgumentValueError
from he_gpu.nn.arguments import positive
from he_gpu.nn.initial import generator_of, uniform
from he_gpu.nn.module import Module, Parameter
from he_gpu.nn.precision import gradient_bits
from he_gpu.nn.values import Value, is_secret, matmul
from he_gpu.nn.variable import Variable, flipped, operands, record


class Linear(Module):
    """``x @ weight.T + bias`` over the last axis, as PyTorch's.

    Args:
        in_features: length of the input's last axis.
        out_features: of the result's.
        bias: whether there is a bias.
        random_state: seed or generator of the initial values, uniform in +-1 / sqrt(in_features);
            None draws others each time. They are public until `share`.

    Attributes:
        weight: Parameter (out_features, in_features).
        bias: Parameter (out_features,), or None.

    Range: with f fraction bits of the session (16), weights have f + 8 and results too, so that the
        bias adds exactly: |x @ weight.T| < 2**(54 - f - those of x), 2**22 for shared data. Sums of
        gradients over the batch likewise, before any mean.
    Error: one unit of 2**-(f + 8); of gradients, of 2**-(f + 4).
    Cost: forward one `SecretTensor.matmul`; backward one for the weight and, where the input needs
        a gradient, one more. The input, the weight and the gradient are opened once each.
    Leaks: nothing.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, random_state: Any = None
    ):
        super().__init__()
        self.in_features = positive("Linear", "in_features", in_features)
        self.out_features = positive("Linear", "out_features", out_features)
        generator, bound = generator_of(random_state), in_features**-0.5
        self.weight = Parameter(uniform(generator, bound, (out_features, in_features)))
        values = uniform(generator, bound, (out_features,)) if bias else None
        self.register_parameter("bias", None if values is None else Parameter(values))

    def forward(self, x: Variable) -> Variable:
        """Return the layer's result for (..., in_features)."""
        if not x.ndim or x.shape[-1] != self.in_features:
            raise ArgumentValueError(
                f"Linear: x must have shape (..., {self.in_features}), got {x.shape}"
            )
        if x.ndim == 2:
            return affine(x, self.weight, self.bias)
        flat = affine(x.reshape(-1, self.in_features), self.weight, self.bias)
        return flat.reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Return the shape."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


def affine(x: Variable, weight: Variable, bias: Variable | None) -> Variable:
    """Return ``x @ weight.T + bias`` for a matrix x."""
    left, right = operands(x, weight)
    value = matmul(left, flipped(right))
    if bias is not None:
        value = value + bias.value

    def backward(g: Value) -> Sequence[Value | None]:
        to_bias = g.sum(0) if bias is not None and bias.requires_grad else None
        if x.requires_grad and weight.requires_grad and is_secret(g):
            g = g.masked()
        return (
            matmul(g, right, gradient_bits) if x.requires_grad else None,
            matmul(flipped(g), left, gradient_bits) if weight.requires_grad else None,
            to_bias,
        )[: 2 + (bias is not None)]

    return record(value, [x, weight, *([] if bias is None else [bias])], backward)
