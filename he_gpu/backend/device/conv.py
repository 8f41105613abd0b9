"""Launcher of ``kernels/conv.cu`` and ``kernels/conv_limb.cu``: exact convolutions.

Layer: backend. Same names and results as in `he_gpu.backend.definition.conv`. Images may be
transposed, sliced or broadcast: the kernels gather windows by steps, so no copy of them is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend.convolution import Convolution
from he_gpu.backend.definition.conv import check_pair
from he_gpu.backend.definition.words import Array, word_dtype, wraps
from he_gpu.backend.device.crossovers import LIMB_CROSSOVERS
from he_gpu.backend.device.domain import domain, reciprocal_arguments
from he_gpu.backend.device.matmul_limb import (
    CAPABILITY,
    COLUMNS,
    LARGEST_DEPTH,
    LIMB_RESIDENT,
    limb_kernel,
)
from he_gpu.backend.device.operands import (
    Steps,
    broadcast_shape,
    fold,
    full,
    operand,
    overlaps,
    spread,
    steps,
    target,
)
from he_gpu.backend.device.splits import clear, splits
from he_gpu.backend.kept import Kept
from he_gpu.backend.launch import MAX_GRID, KernelDevice
from he_gpu.errors import ArgumentValueError

THREADS = 256
SIDE = 32
"""Rows and columns of a tile of words."""
RESIDENT = 4
"""Blocks of words that share a multiprocessor and hide each other's waits."""
ORIGIN_BYTES = 12
"""Shared memory of a column of limbs, for where its window begins."""
LARGEST = 2**31 - 1
"""The kernels count results of a row, places in a window and offsets in an image in 32 bits."""
LARGEST_LINES = 2**30 - 1
"""Of an image with all zeros in between and around; sums of two such numbers are taken."""
KERNELS = ("conv", "conv_limb")

_forced: ContextVar[str | None] = ContextVar("forced convolution", default=None)


class Problem(NamedTuple):
    """A sum of one or two convolutions of one geometry as a kernel sees it.

    Attributes:
        weights: (parties, *leads, O, C / groups, h, w), one or two; the last four contiguous.
        images: (parties, *leads, B, C, H, W), as many.
        add: (parties, *leads, B, O, P, Q), contiguous, or None.
        out: (*leads, B, O, P, Q), the last four contiguous.
        convolution: the geometry.
        modulus: the ring.
    """

    weights: tuple[Array, ...]
    images: tuple[Array, ...]
    add: Array | None
    out: Array
    convolution: Convolution
    modulus: int


@contextmanager
def forced(kernel: str) -> Iterator[None]:
    """Within this context take one kernel whatever the shape: for tests and benchmarks.

    Args:
        kernel: one of `KERNELS`. "conv_limb" needs the modulus 2^64 or 2^32.

    Raises:
        ArgumentValueError: no such kernel; at the convolution, a modulus that it does not serve.
    """
    if kernel not in KERNELS:
        raise ArgumentValueError(f"forced: kernel must be in {KERNELS}, got {kernel!r}")
    token = _forced.set(kernel)
    try:
        yield
    finally:
        _forced.reset(token)


def conv(
    device: KernelDevice,
    x: Array | Kept,
    weight: Array | Kept,
    convolution: Convolution,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
) -> Array:
    """Return the convolution of x with weight, plus add, modulo the modulus.

    Args:
        device: where the arrays lie.
        x: (..., B, C, H, W) words in [0, modulus).
        weight: (..., O, C / groups, h, w) words in [0, modulus).
        convolution: stride, padding, dilations and groups.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to the result, or None.
        out: contiguous array of the result's shape that takes it.

    Returns:
        (..., B, O, P, Q) words in [0, modulus).
    """
    return _sum(device, "conv", [x], [weight], convolution, modulus, add, out, total=False)


def conv_pair(
    device: KernelDevice,
    x: Array | Kept,
    weight: Array | Kept,
    x2: Array | Kept,
    weight2: Array | Kept,
    convolution: Convolution,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
    total: bool = False,
) -> Array:
    """Return conv(x, weight) + conv(x2, weight2) + add modulo the modulus, in one launch.

    Args:
        device: where the arrays lie.
        x: (..., B, C, H, W) words in [0, modulus).
        weight: (..., O, C / groups, h, w) words.
        x2: words of x's last four axes.
        weight2: words of weight's last four axes.
        convolution: stride, padding, dilations and groups of both.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to the result, or None.
        out: contiguous array that takes the result.
        total: sum the results over the first leading axis, the parties; add is summed with them.

    Returns:
        (..., B, O, P, Q) words in [0, modulus), with the leading axes of all four, in a total
        without the first.
    """
    check_pair(x.shape, weight.shape, x2.shape, weight2.shape)
    images, weights = [x, x2], [weight, weight2]
    return _sum(device, "conv_pair", images, weights, convolution, modulus, add, out, total)


def _sum(
    device: KernelDevice,
    function: str,
    images: list[Array | Kept],
    weights: list[Array | Kept],
    convolution: Convolution,
    modulus: int,
    add: Array | None,
    out: Array | None,
    total: bool,
) -> Array:
    """Check the operands of one or two convolutions, broadcast them and launch."""
    dtype = word_dtype(modulus)
    xs = _words(device, function, ("x", "x2"), images, dtype)
    ws = _words(device, function, ("weight", "weight2"), weights, dtype)
    shape = convolution.result_shape(xs[0].shape, ws[0].shape)
    leads = broadcast_shape(function, *(v.shape[:-4] for v in (*xs, *ws)))
    if total and not (leads and leads[0]):
        raise ArgumentValueError(
            f"{function}: total needs operands (parties, ...) with a party, got leading axes "
            f"{leads}"
        )
    if add is not None:
        add = operand(device, function, "add", add, dtype)
        add = full(device, function, "add", add, (*leads, *shape))
    result = target(device, function, out, (*leads[int(total) :], *shape), dtype)
    if not result.size:
        return result
    _check_sizes(function, convolution, xs[0].shape, ws[0].shape, shape)
    xs = [spread(device, function, "x", _near(x), (*leads, *x.shape[-4:])) for x in xs]
    ws = [_contiguous(device, w) for w in ws]
    ws = [spread(device, function, "weight", w, (*leads, *w.shape[-4:])) for w in ws]
    if out is not None:
        xs = [x.copy() if overlaps(device, x, out) else x for x in xs]
        ws = [w.copy() if overlaps(device, w, out) else w for w in ws]
        add = add.copy() if add is not None and overlaps(device, add, out) else add
    if not total:
        xs, ws = [x[None] for x in xs], [w[None] for w in ws]
        add = None if add is None else add[None]
    problem = Problem(tuple(ws), tuple(xs), add, result, convolution, modulus)
    _launch(device, problem)
    return result


def _words(
    device: KernelDevice,
    function: str,
    names: tuple[str, str],
    values: list[Array | Kept],
    dtype: np.dtype[Any],
) -> list[Array]:
    """Return one or two operands as checked arrays."""
    words = (v.words if isinstance(v, Kept) else v for v in values)
    return [
        operand(device, function, name, v, dtype) for name, v in zip(names, words, strict=False)
    ]


def _check_sizes(
    function: str,
    convolution: Convolution,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    result: tuple[int, ...],
) -> None:
    """Refuse sizes that the kernels cannot count."""
    lines = [
        convolution.spread(i, x[i - 2]) + sum(map(abs, convolution.padding[i])) for i in range(2)
    ]
    counted = {
        "results of a channel": result[0] * prod(result[2:]),
        "output channels": result[1],
        "places of a window": prod(weight[-3:]),
        "words of an image's channel": prod(x[-2:]),
        "strides and dilations": max(
            *convolution.stride, *convolution.dilation, *convolution.input_dilation
        ),
    }
    for what, number in counted.items():
        if number > LARGEST:
            raise ArgumentValueError(f"{function}: {what} must be at most {LARGEST}, got {number}")
    if max(lines) > LARGEST_LINES:
        raise ArgumentValueError(
            f"{function}: lines of an image, zeros included, must be at most {LARGEST_LINES}, got "
            f"{max(lines)}"
        )


def _near(x: Array) -> Array:
    """Return images whose channels' offsets fit 32 bits, a copy only where they do not."""
    far = sum((n - 1) * abs(step) for n, step in zip(x.shape[-2:], steps(x)[-2:], strict=True))
    return x if far <= LARGEST else x.copy()


def _contiguous(device: KernelDevice, weight: Array) -> Array:
    """Return windows whose last four axes are contiguous, a copy only where they are not."""
    inner = weight[(0,) * (weight.ndim - 4)] if prod(weight.shape[:-4]) else weight
    return weight if inner.flags.c_contiguous else device.xp.ascontiguousarray(weight)


def _launch(device: KernelDevice, problem: Problem) -> None:
    """Fold leading axes and groups into one and launch; axes that do not fold are walked."""
    weights, images, add, out, convolution, modulus = problem
    groups, leads = convolution.groups, out.shape[:-4]
    n_images, n_out, *pixels = out.shape[-4:]
    channels = images[0].shape[-3] // groups
    area = weights[0].shape[-2:]
    m, n, k = n_out // groups, n_images * prod(pixels), channels * prod(area)
    each: list[Steps] = [(*steps(w)[1:-4], m * k) for w in weights]
    each += [(*steps(x)[1:-4], channels * steps(x)[-3]) for x in images]
    each.append((*steps(out)[:-4], m * prod(pixels)))
    axes = fold((*leads, groups), *each)
    if len(axes) > 1 and leads:
        for index in range(leads[0]):
            _launch(
                device,
                problem._replace(
                    weights=tuple(w[:, index] for w in weights),
                    images=tuple(x[:, index] for x in images),
                    add=None if add is None else add[:, index],
                    out=out[index],
                ),
            )
        return
    batches, batch_steps = axes[0] if axes else (1, (0,) * len(each))
    count = len(weights)
    arguments: list[object] = []
    for i in range(2):
        if i == count:
            arguments += (None, *map(np.int64, (0,) * 3), None, *map(np.int64, (0,) * 4))
            arguments += map(np.int32, (0, 0))
            continue
        arguments += (weights[i], *map(np.int64, (steps(weights[i])[0], batch_steps[i], k)))
        party, (image, channel, *lines) = steps(images[i])[0], steps(images[i])[-4:]
        arguments += (images[i], *map(np.int64, (party, batch_steps[count + i], image, channel)))
        arguments += map(np.int32, lines)
    arguments += (add, np.int64(0 if add is None else steps(add)[0]), out)
    arguments += map(np.int64, (batch_steps[-1], n_out * prod(pixels), prod(pixels)))
    parties = weights[0].shape[0]
    sizes = (batches, parties, m, n, k, k if count == 2 else 0)
    arguments += (*map(np.uint64, sizes), *geometry(convolution, images[0].shape, area, *pixels))
    blocks, family, shared_bytes, parts = _choose(device, sizes, modulus)
    clear(out, parts)
    device.launch(
        family,
        f"{family}_{domain(modulus)}",
        (blocks, min(batches, MAX_GRID[1]), parts),
        (THREADS,),
        (*arguments, *reciprocal_arguments(modulus)),
        shared_bytes=shared_bytes,
    )


def _choose(
    device: KernelDevice, sizes: tuple[int, int, int, int, int, int], modulus: int
) -> tuple[int, str, int, int]:
    """Return the kernel for a problem: blocks, family, shared memory and parts of the inner sums.

    Limbs from where on they serve matrix products: the tiles are the same.
    """
    kernel = _forced.get()
    batches, parties, m, n, k, k2 = sizes
    limbs, parts = limb_kernel(modulus) if wraps(modulus) else None, 1
    if limbs is not None:
        tiles = limbs.blocks(m, n) * batches
        parts = splits(device, modulus, tiles, parties * (k + k2), LIMB_RESIDENT)
    if kernel is None:
        bound = LIMB_CROSSOVERS[domain(modulus)]
        serves = (
            limbs is not None
            and device.compute_capability >= CAPABILITY
            and min(m, n) >= bound.side
            and k + k2 >= bound.depth
            and batches * m * n * parts >= bound.results
            and parties * (k + k2) <= LARGEST_DEPTH
        )
        kernel = "conv_limb" if serves else "conv"
    if kernel == "conv":
        blocks = -(-m // SIDE) * -(-n // SIDE)
        parts = splits(device, modulus, blocks * batches, k + k2, RESIDENT)
        return blocks, kernel, 0, parts
    if limbs is None:
        raise ArgumentValueError(
            f"conv: kernel {kernel!r} serves the moduli 2^64 and 2^32, got {modulus}"
        )
    return limbs.blocks(m, n), kernel, limbs.shared_bytes + ORIGIN_BYTES * COLUMNS, parts


@lru_cache(maxsize=1024)
def geometry(
    convolution: Convolution,
    x: tuple[int, ...],
    window: tuple[int, int],
    n_rows: int,
    n_columns: int,
) -> tuple[np.generic, ...]:
    """Return what a kernel takes of the geometry: both axes, and what it divides by."""
    arguments: list[np.generic] = []
    for axis in range(2):
        arguments.append(np.uint32(convolution.spread(axis, x[axis - 2])))
        low = convolution.padding[axis][0]
        numbers = (convolution.stride[axis], convolution.dilation[axis], low)
        arguments += map(np.int32, numbers)
        arguments += divisor(convolution.input_dilation[axis])
    for number in (prod(window), window[1], n_rows * n_columns, n_columns):
        arguments += divisor(number)
    return tuple(arguments)


def divisor(value: int) -> tuple[np.uint32, np.uint32, np.uint32]:
    """Return (value, multiplier, shift) with n // value = n * multiplier >> shift for n < 2^31.

    With l = ceil(log2 value) the shift is 31 + l. The multiplier is 2^shift / value rounded up, so
    the product passes n / value by less than n / 2^shift < 2^-l <= 1 / value: too little to reach
    the next integer.
    """
    shift = 31 + (value - 1).bit_length()
    return np.uint32(value), np.uint32(-(-(1 << shift) // value)), np.uint32(shift)
