"""Comparison's results as functions, with NumPy's names and signatures where NumPy has them.

Layer: tensor, above `tensor`. Each takes a SecretTensor or several and is the method of that name;
see `Selection` and `Ordering` for ranges and costs. Plain arrays are refused: NumPy serves them.
"""

from __future__ import annotations

from typing import Any

from he_gpu.errors import ArgumentTypeError
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.selection import Axes, choose

__all__ = [
    "abs",
    "argmax",
    "argmin",
    "clip",
    "max",
    "max_pool2d",
    "maximum",
    "min",
    "minimum",
    "relu",
    "sign",
    "sort",
    "where",
]


def where(condition: Any, x: Any, y: Any, /) -> SecretTensor:
    """Return x where the condition holds and y elsewhere, elementwise.

    Args:
        condition: secret 0/1 with frac_bits 0, as a comparison gives it, or public, where all but 0
            holds.
        x: secret or public; what is public is rounded to nearest.
        y: likewise.

    Returns:
        SecretTensor of the broadcast shape, with the larger frac_bits of secret x and y, or those
        of the session.

    Raises:
        TypeError: nothing secret, or a secret condition with other frac_bits than 0.
        ValueError: shapes that do not broadcast, two sessions.

    Range: |x|, |y| and, for a secret condition, |x - y| < 2**(k - 2 - frac_bits). A secret
        condition must be 0 or 1, which nobody can check; others give y + condition * (x - y).
    Cost: for a secret condition and secret x or y, that of the scheme's `product` without
        truncation; else none.
    Leaks: nothing.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     x, y = s.share([1.0, 5.0]), s.share([3.0, 4.0])
        ...     he.where(x > y, x, y).reveal().tolist()
        [3.0, 5.0]
    """
    _first("where", condition, x, y)
    chosen: SecretTensor = choose(condition, x, y)
    return chosen


def sign(x: SecretTensor, /) -> SecretTensor:
    """Return -1, 0 or 1, with frac_bits 0. Cost: as `SecretTensor.sign`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.sign(s.share([-1.5, 0.0, 2.0])).reveal().tolist()
        [-1.0, 0.0, 1.0]
    """
    return _first("sign", x).sign()


def relu(x: SecretTensor, /) -> SecretTensor:
    """Return max(x, 0). Cost: as `SecretTensor.relu`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.relu(s.share([-1.5, 0.0, 2.0])).reveal().tolist()
        [0.0, 0.0, 2.0]
    """
    return _first("relu", x, numpy="numpy.maximum(x, 0)").relu()


def abs(x: SecretTensor, /) -> SecretTensor:
    """Return the absolute value. Cost: as `SecretTensor.abs`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.abs(s.share([-1.5, 0.0, 2.0])).reveal().tolist()
        [1.5, 0.0, 2.0]
    """
    return _first("abs", x).abs()


def maximum(x: Any, y: Any, /) -> SecretTensor:
    """Return the larger of x and y, elementwise; one may be public. As `SecretTensor.maximum`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.maximum(s.share([-1.5, 2.0]), [0.5, 0.5]).reveal().tolist()
        [0.5, 2.0]
    """
    first = _first("maximum", x, y)
    return first.maximum(y if first is x else x)


def minimum(x: Any, y: Any, /) -> SecretTensor:
    """Return the smaller of x and y, elementwise; one may be public. As `SecretTensor.minimum`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.minimum(s.share([-1.5, 2.0]), [0.5, 0.5]).reveal().tolist()
        [-1.5, 0.5]
    """
    first = _first("minimum", x, y)
    return first.minimum(y if first is x else x)


def clip(x: Any, /, low: Any = None, high: Any = None) -> SecretTensor:
    """Return x limited to [low, high], elementwise; None for no bound. As `SecretTensor.clip`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.clip(s.share([-1.5, 0.25, 2.0]), -1, 1).reveal().tolist()
        [-1.0, 0.25, 1.0]
    """
    first = _first("clip", x, low, high)
    tensor = first if first is x else first._constant(x, first.frac_bits, "clip")
    return tensor.clip(low, high)


def max(x: SecretTensor, /, axis: Axes = None, *, keepdims: bool = False) -> SecretTensor:
    """Return the largest over axes, over all by default; as `SecretTensor.max`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.max(s.share([[1.0, 4.0], [3.0, 2.0]]), axis=1).reveal().tolist()
        [4.0, 3.0]
    """
    return _first("max", x).max(axis, keepdims)


def min(x: SecretTensor, /, axis: Axes = None, *, keepdims: bool = False) -> SecretTensor:
    """Return the smallest over axes, over all by default; as `SecretTensor.min`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.min(s.share([[1.0, 4.0], [3.0, 2.0]]), axis=1).reveal().tolist()
        [1.0, 2.0]
    """
    return _first("min", x).min(axis, keepdims)


def argmax(x: SecretTensor, /, axis: int | None = None, *, keepdims: bool = False) -> SecretTensor:
    """Return the index of the first largest, with frac_bits 0; as `SecretTensor.argmax`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.argmax(s.share([[1.0, 4.0], [3.0, 2.0]]), axis=1).reveal().tolist()
        [1.0, 0.0]
    """
    return _first("argmax", x).argmax(axis, keepdims)


def argmin(x: SecretTensor, /, axis: int | None = None, *, keepdims: bool = False) -> SecretTensor:
    """Return the index of the first smallest, with frac_bits 0; as `SecretTensor.argmin`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.argmin(s.share([[1.0, 4.0], [3.0, 2.0]]), axis=1).reveal().tolist()
        [0.0, 1.0]
    """
    return _first("argmin", x).argmin(axis, keepdims)


def sort(x: SecretTensor, /, axis: int | None = -1) -> SecretTensor:
    """Return x sorted upwards along a small axis, or flattened for None; as `SecretTensor.sort`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.sort(s.share([3.0, -1.0, 2.5])).reveal().tolist()
        [-1.0, 2.5, 3.0]
    """
    return _first("sort", x).sort(axis)


def max_pool2d(
    x: SecretTensor,
    /,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
) -> SecretTensor:
    """Return the largest of each window over the last two axes; as `SecretTensor.max_pool2d`.

    Example:
        >>> import he_gpu as he
        >>> with he.Session(device="cpu") as s:
        ...     he.max_pool2d(s.share([[1.0, 4.0], [3.0, 2.0]]), 2).reveal().tolist()
        [[4.0]]
    """
    first = _first("max_pool2d", x, numpy="torch.nn.functional.max_pool2d")
    return first.max_pool2d(kernel_size, stride, padding)


def _first(function: str, *operands: Any, numpy: str | None = None) -> SecretTensor:
    """Return the first secret operand, or refuse where there is none."""
    for operand in operands:
        if isinstance(operand, SecretTensor):
            return operand
    raise ArgumentTypeError(
        f"{function}: a SecretTensor expected, got {type(operands[0]).__name__}; for public arrays "
        f"use {numpy or f'numpy.{function}'}"
    )
