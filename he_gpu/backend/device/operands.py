"""Checks of the arrays that launchers take, and how their words lie in memory.

Layer: backend, under the launchers of every family. A step is a distance in words between
neighbours along an axis; a step of 0 repeats. Knows shapes and dtypes, and no ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from he_gpu.backend.definition.words import Array
from he_gpu.backend.launch import KernelDevice
from he_gpu.errors import ArgumentTypeError, ArgumentValueError

Steps = tuple[int, ...]

_WORD = np.dtype(np.uint64)


def operand(
    device: KernelDevice, function: str, name: str, value: Any, dtype: np.dtype[Any]
) -> Array:
    """Return an input as an array whose words are aligned, a copy only where they are not.

    Raises:
        ArgumentTypeError: value is no array of the device, or has another dtype.
    """
    if device.xp is np and isinstance(value, np.generic):
        value = np.asarray(value)  # what NumPy makes of an element, and CuPy of none
    if not isinstance(value, device.xp.ndarray):
        raise ArgumentTypeError(
            f"{function}: {name} must be an array of {device.name}, got "
            f"{type(value).__module__}.{type(value).__name__}"
        )
    if value.dtype != dtype:
        raise ArgumentTypeError(f"{function}: {name} must have dtype {dtype}, got {value.dtype}")
    aligned = device.xp is not np or value.flags.aligned
    if not aligned or any(stride % dtype.itemsize for stride in value.strides):
        return value.copy()
    return value


def exact(
    device: KernelDevice,
    function: str,
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] = _WORD,
) -> Array:
    """Return an operand of an exact shape: nothing broadcasts.

    Raises:
        ArgumentTypeError: value is no array of the device, or has another dtype.
        ArgumentValueError: another shape.
    """
    value = operand(device, function, name, value, dtype)
    if value.shape != shape:
        raise ArgumentValueError(f"{function}: {name} must have shape {shape}, got {value.shape}")
    return value


def packed(
    device: KernelDevice,
    function: str,
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] = _WORD,
) -> Array:
    """Return an `exact` operand, contiguous, a copy only where it must be."""
    return contiguous(exact(device, function, name, value, shape, dtype))


def contiguous(value: Array) -> Array:
    """Return an array whose words lie side by side, a copy only where it must be."""
    return value if value.flags.c_contiguous else value.copy()


def writable(
    device: KernelDevice,
    function: str,
    name: str,
    value: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> Array:
    """Return an array that a kernel writes in place.

    Raises:
        ArgumentTypeError: value is no array of the device, or has another dtype.
        ArgumentValueError: another shape, or not C-contiguous.
    """
    checked = exact(device, function, name, value, shape, dtype)
    if checked is not value or not value.flags.c_contiguous:
        raise ArgumentValueError(f"{function}: {name} must be an aligned, C-contiguous array")
    return value


def target(
    device: KernelDevice,
    function: str,
    out: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> Array:
    """Return the array that takes a result: a new one for None, else ``out``, `writable`."""
    if out is None:
        return device.xp.empty(shape, dtype)
    return writable(device, function, "out", out, shape, dtype)


def stack_of(
    device: KernelDevice, function: str, name: str, value: Any, dtype: np.dtype[Any]
) -> Array:
    """Return a share stack as `operand` does; it has a party axis, which is not empty."""
    value = operand(device, function, name, value, dtype)
    if value.ndim == 0 or len(value) == 0:
        raise ArgumentValueError(
            f"{function}: {name} must have shape (parties, ...) with a party, got {value.shape}"
        )
    return value


def word_type(function: str, name: str, value: Any) -> np.dtype[Any]:
    """Return the dtype of words that wrap, uint64 or uint32.

    Raises:
        ArgumentTypeError: value has another dtype, or none.
    """
    dtype = getattr(value, "dtype", None)
    for word in (np.uint64, np.uint32):
        if dtype == word:
            return np.dtype(word)
    raise ArgumentTypeError(
        f"{function}: {name} must have dtype uint64 or uint32, got {dtype or type(value).__name__}"
    )


def broadcast_shape(function: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that NumPy gives to operands of these shapes.

    Raises:
        ArgumentValueError: they do not broadcast.
    """
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = " and ".join(map(str, shapes))
        raise ArgumentValueError(f"{function}: shapes {listed} do not broadcast") from None


def spread(
    device: KernelDevice, function: str, name: str, value: Array, shape: tuple[int, ...]
) -> Array:
    """Return a view of an array, broadcast to a shape.

    Raises:
        ArgumentValueError: it does not broadcast to that shape.
    """
    try:
        return device.xp.broadcast_to(value, shape)
    except ValueError:
        raise ArgumentValueError(
            f"{function}: {name} must broadcast to {shape}, got {value.shape}"
        ) from None


def full(
    device: KernelDevice, function: str, name: str, value: Array, shape: tuple[int, ...]
) -> Array:
    """Return an array broadcast to a shape and C-contiguous, a copy only where it must be."""
    return contiguous(spread(device, function, name, value, shape))


def repeated(
    device: KernelDevice, function: str, name: str, value: Array, shape: tuple[int, ...]
) -> tuple[Array, np.uint64]:
    """Return a public operand and its step: one word for all of a shape (0), or all words (1)."""
    if value.size == 1 and value.ndim <= len(shape):
        return value, np.uint64(0)
    return full(device, function, name, value, shape), np.uint64(1)


def overlaps(device: KernelDevice, value: Array, out: Array) -> bool:
    """Tell whether two arrays may share memory."""
    return bool(device.xp.may_share_memory(value, out))


def coincides(value: Array, out: Array) -> bool:
    """Tell whether two arrays are the same words in the same order."""
    return value is out or (
        value.shape == out.shape
        and value.flags.c_contiguous
        and out.flags.c_contiguous
        and _address(value) == _address(out)
    )


def _address(array: Array) -> int:
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return int(interface["data"][0])


def steps(array: Array) -> Steps:
    """Return an array's steps, 0 along an axis of one element."""
    size = array.dtype.itemsize
    return tuple(
        0 if n == 1 else stride // size
        for n, stride in zip(array.shape, array.strides, strict=True)
    )


def fold(shape: Sequence[int], *each: Steps) -> list[tuple[int, Steps]]:
    """Merge neighbouring axes along which the words of every operand follow one another.

    Args:
        shape: the sizes of the axes.
        each: the steps of each operand along these axes.

    Returns:
        The merged axes, outermost first: the size, and the step of each operand. Axes of one
        element are gone, so a single word has none.
    """
    axes: list[tuple[int, Steps]] = []
    for size, inner in zip(shape, zip(*each, strict=True), strict=True):
        if size == 1:
            continue
        if axes and all(o == size * i for o, i in zip(axes[-1][1], inner, strict=True)):
            axes[-1] = (size * axes[-1][0], inner)
        else:
            axes.append((size, inner))
    return axes
