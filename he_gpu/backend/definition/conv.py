"""The exact convolution modulo 2^64, 2^32 or any 2 <= q <= 2^63, on NumPy arrays.

Layer: backend; the definition of ``kernels/conv.cu`` and ``kernels/conv_limb.cu``. Windows of the
padded image are laid side by side, by strides, and multiplied by the exact matrix product of
`matmul`; the copies that this makes are bounded, a few images at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod

import numpy as np

from he_gpu.backend.convolution import Convolution
from he_gpu.backend.definition.elementwise import add as add_mod
from he_gpu.backend.definition.matmul import matmul, matmul_pair
from he_gpu.backend.definition.protocol import reconstruct
from he_gpu.backend.definition.words import Array
from he_gpu.backend.kept import Kept
from he_gpu.errors import ArgumentValueError

PATCH_WORDS = 2**22
"""Words of the patches that are multiplied at a time, unless one image has more."""


def conv(
    x: Array | Kept,
    weight: Array | Kept,
    convolution: Convolution,
    modulus: int,
    add: Array | None = None,
    out: Array | None = None,
) -> Array:
    """Return the convolution of x with weight, plus add, modulo the modulus.

    Args:
        x: (..., B, C, H, W) words in [0, modulus); axes before the last four broadcast.
        weight: (..., O, C / groups, h, w) words in [0, modulus), likewise.
        convolution: stride, padding, dilations and groups.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to the result, or None.
        out: array of the result's shape that takes it.

    Returns:
        (..., B, O, P, Q) words in [0, modulus), see `Convolution`.

    Raises:
        ArgumentValueError: shapes that do not fit.
    """
    return _sum_of_convolutions(((x, weight),), convolution, modulus, add, out, total=False)


def conv_pair(
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
    """Return conv(x, weight) + conv(x2, weight2) + add modulo the modulus.

    Args:
        x: (..., B, C, H, W) words in [0, modulus).
        weight: (..., O, C / groups, h, w) words.
        x2: words of x's last four axes.
        weight2: words of weight's last four axes.
        convolution: stride, padding, dilations and groups of both.
        modulus: 2^64, 2^32 or 2 <= q <= 2^63.
        add: words that broadcast to the result, or None.
        out: array of the result's shape that takes it.
        total: return the sum over the first axis of those before the last four, the parties; add is
            summed with them.

    Returns:
        (..., B, O, P, Q) words in [0, modulus), with the leading axes of all four, in a total
        without the first.

    Raises:
        ArgumentValueError: shapes that do not fit.
    """
    check_pair(x.shape, weight.shape, x2.shape, weight2.shape)
    pairs = ((x, weight), (x2, weight2))
    return _sum_of_convolutions(pairs, convolution, modulus, add, out, total)


def check_pair(
    x: tuple[int, ...], weight: tuple[int, ...], x2: tuple[int, ...], weight2: tuple[int, ...]
) -> None:
    """Refuse shapes of two convolutions that differ in more than their leading axes."""
    if x[-4:] != x2[-4:] or weight[-4:] != weight2[-4:]:
        raise ArgumentValueError(
            f"conv_pair: x2 and weight2 must have the last four axes of x and weight, got shapes "
            f"{x}, {weight}, {x2} and {weight2}"
        )


def convolve(
    x: Array, weight: Array, convolution: Convolution, multiply: Callable[[Array, Array], Array]
) -> Array:
    """Return the convolution of arrays of any kind of number, by a matrix product of that kind.

    Args:
        x: (..., B, C, H, W).
        weight: (..., O, C / groups, h, w).
        convolution: stride, padding, dilations and groups.
        multiply: (..., n, k) times (..., k, m), with NumPy's batch axes.
    """
    batch, n_out, rows, columns = convolution.result_shape(x.shape, weight.shape)
    windows = columns_of(weight, convolution.groups)
    product = multiply(patches(x, convolution, weight.shape[-2:]), windows)
    product = product.reshape(*product.shape[:-2], batch, rows, columns, product.shape[-1])
    # (..., groups, B, P, Q, O / groups) -> (..., B, groups, O / groups, P, Q)
    product = np.moveaxis(product, (-5, -1), (-4, -3))
    return product.reshape(*product.shape[:-5], batch, n_out, rows, columns)


def patches(x: Array, convolution: Convolution, window: tuple[int, int]) -> Array:
    """Return the windows of images as rows: (..., groups, B P Q, C / groups h w).

    Args:
        x: (..., B, C, H, W).
        convolution: stride, padding, dilations and groups.
        window: (h, w).
    """
    *lead, batch, channels, height, width = x.shape
    sizes = [convolution.spread(0, height), convolution.spread(1, width)]
    extents = [convolution.extent(i, n, window[i]) for i, n in enumerate((height, width))]
    around = [[max(0, n) for n in convolution.padding[i]] for i in range(2)]
    padded = np.zeros(
        (*lead, batch, channels, *(n + sum(pad) for n, pad in zip(sizes, around, strict=True))),
        x.dtype,
    )
    inner = tuple(
        slice(low, low + n, step)
        for (low, _), n, step in zip(around, sizes, convolution.input_dilation, strict=True)
    )
    padded[..., inner[0], inner[1]] = x
    rows, columns = (slice(max(0, -low), None) for low, _ in convolution.padding)
    padded = padded[..., rows, columns]
    steps = padded.strides[-2:]
    shape = (*lead, convolution.groups, channels // convolution.groups, batch, *extents, *window)
    image, channel = padded.strides[-4:-2]
    strides = (
        *padded.strides[:-4],
        channel * (channels // convolution.groups),
        channel,
        image,
        *(step * stride for step, stride in zip(steps, convolution.stride, strict=True)),
        *(step * apart for step, apart in zip(steps, convolution.dilation, strict=True)),
    )
    seen = np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)
    n = len(lead)  # (..., groups, C / groups, B, P, Q, h, w): channels go before the window
    order = (*range(n + 1), n + 2, n + 3, n + 4, n + 1, n + 5, n + 6)
    depth = channels // convolution.groups * prod(window)
    return seen.transpose(order).reshape(*shape[: n + 1], batch * prod(extents), depth)


def columns_of(weight: Array, groups: int) -> Array:
    """Return windows (..., O, C / groups, h, w) as columns (..., groups, C / groups h w, m)."""
    *lead, n_out, channels, height, width = weight.shape
    flat = weight.reshape(*lead, groups, n_out // groups, channels * height * width)
    return flat.swapaxes(-1, -2)


def _sum_of_convolutions(
    pairs: tuple[tuple[Array | Kept, Array | Kept], ...],
    convolution: Convolution,
    modulus: int,
    add: Array | None,
    out: Array | None,
    total: bool,
) -> Array:
    """Return the sum of the convolutions and ``add``; with total over the first axis."""
    words = [[v.words if isinstance(v, Kept) else v for v in pair] for pair in pairs]
    batch, *result = convolution.result_shape(words[0][0].shape, words[0][1].shape)
    leads = np.broadcast_shapes(*(v.shape[:-4] for pair in words for v in pair))
    depth = prod(words[0][1].shape[-3:])
    images = max(1, PATCH_WORDS // max(1, prod(leads) * depth * prod(result[1:])))
    windows = [Kept(columns_of(weight, convolution.groups)) for _, weight in words]
    if out is None:
        out = np.empty((*leads[int(total) :], batch, *result), words[0][0].dtype)
    for first in range(0, batch, images):
        some = slice(first, first + images)

        def product(rows: Array, columns: Array, some: slice = some) -> Array:
            if len(words) == 1:
                return matmul(rows, windows[0], modulus)
            rows2 = patches(words[1][0][..., some, :, :, :], convolution, words[1][1].shape[-2:])
            return matmul_pair(rows, windows[0], rows2, windows[1], modulus, total=total)

        part = words[0][0][..., some, :, :, :]
        out[..., some, :, :, :] = convolve(part, words[0][1], convolution, product)
    if add is None:
        return out
    if total:
        add = reconstruct(np.broadcast_to(add, (*leads, batch, *result)), modulus)
    return add_mod(out, add, modulus, out=out)


convolve_reals = partial(convolve, multiply=np.matmul)
"""The convolution of floating point numbers, with rounding."""
