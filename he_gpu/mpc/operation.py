"""The bilinear operations that schemes multiply by: elementwise, matrix product, convolution.

Layer: mpc, under the schemes and the dealer, which need not tell them apart.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from he_gpu.backend import Array, Backend, Convolution, Kept
from he_gpu.mpc.scheme import Operation


def multiply(
    backend: Backend, operation: Operation, x: Array | Kept, y: Array | Kept, modulus: int
) -> Array:
    """Return x times y; for a convolution x are the images and y the windows."""
    if isinstance(operation, Convolution):
        return backend.conv(x, y, operation, modulus)
    if operation == "matmul":
        return backend.matmul(x, y, modulus)
    x, y = (v.words if isinstance(v, Kept) else v for v in (x, y))
    return backend.mul(x, y, modulus)


def multiply_pair(
    backend: Backend,
    operation: Operation,
    first: tuple[Array | Kept, Array | Kept],
    second: tuple[Array | Kept, Array | Kept],
    modulus: int,
    add: Array,
    total: bool = False,
) -> Array:
    """Return the sum of two matrix products or convolutions and ``add``, in one launch.

    Args:
        backend: the device.
        operation: "matmul" or a `Convolution`.
        first: the operands of one product.
        second: those of the other.
        modulus: of the ring.
        add: words of the result's shape.
        total: sum over the first axis, the parties.
    """
    if isinstance(operation, Convolution):
        return backend.conv_pair(*first, *second, operation, modulus, add=add, total=total)
    return backend.matmul_pair(*first, *second, modulus, add=add, total=total)


@lru_cache(maxsize=1024)
def product_shape(operation: Operation, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a product of operands of these shapes."""
    if isinstance(operation, Convolution):
        return (*np.broadcast_shapes(x[:-4], y[:-4]), *operation.result_shape(x, y))
    if operation == "mul":
        return np.broadcast_shapes(x, y)
    return (*np.broadcast_shapes(x[:-2], y[:-2]), x[-2], y[-1])
