"""The exact convolution modulo 2^64, 2^32 or any 2 <= q <= 2^63, on NumPy arrays.

Layer: backend; the definition of ``kernels/conv.cu`` and ``kernels/conv_limb.cu``. Windows of the
padded image are laid side by side, by strides, and multiplied by the exact matrix product of
`matmul`; the copies that this makes are bounded, a few images at a time. Where the result is larger
than the image, as a gradient by the image is, the image is multiplied by the windows instead, and
the products are added where they belong: no zero of the padding is ever multiplied.
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
    batch, _, rows, columns = convolution.result_shape(x.shape, weight.shape)
    windows = columns_of(weight, convolution.groups)
    product = multiply(patches(x, convolution, weight.shape[-2:]), windows)
    product = product.reshape(*product.shape[:-2], batch, rows, columns, product.shape[-1])
    return _as_images(product)


def _as_images(product: Array) -> Array:
    """Return (..., groups, B, P, Q, O / groups) as (..., B, O, P, Q)."""
    product = np.moveaxis(product, (-5, -1), (-4, -3))  # (..., B, groups, O / groups, P, Q)
    *lead, groups, n_out, rows, columns = product.shape
    return product.reshape(*lead, groups * n_out, rows, columns)


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


def _pixels(x: Array, groups: int) -> Array:
    """Return images (..., B, C, H, W) as rows of channels (..., groups, B H W, C / groups)."""
    *lead, batch, channels, height, width = x.shape
    apart = x.reshape(*lead, batch, groups, channels // groups, height * width)
    apart = np.moveaxis(apart, (-3, -2), (-4, -1))  # (..., groups, B, H W, C / groups)
    return apart.reshape(*lead, groups, batch * height * width, channels // groups)


def _window_columns(weight: Array, groups: int) -> Array:
    """Return windows (..., O, C / groups, h, w) as (..., groups, C / groups, h w O / groups)."""
    *lead, n_out, channels, height, width = weight.shape
    apart = weight.reshape(*lead, groups, n_out // groups, channels, height * width)
    apart = np.moveaxis(apart, (-3, -1), (-1, -2))  # (..., groups, C / groups, h w, O / groups)
    return apart.reshape(*lead, groups, channels, height * width * (n_out // groups))


def _spread(
    products: Array,
    image: tuple[int, int],
    window: tuple[int, int],
    convolution: Convolution,
    modulus: int,
) -> Array:
    """Return the sum of products of images and windows, each added where it belongs.

    Args:
        products: (..., groups, B H W, h w O / groups) of each word with each of a window.
        image: (H, W).
        window: (h, w).
        convolution: of stride 1.
        modulus: of the ring.

    Returns:
        (..., B, O, P, Q).
    """
    *lead, rows, columns = products.shape
    batch, n_out = rows // prod(image), columns // prod(window)
    products = products.reshape(*lead, batch, *image, *window, n_out)
    extents = [convolution.extent(axis, image[axis], window[axis]) for axis in range(2)]
    result = np.zeros((*lead, batch, *extents, n_out), products.dtype)
    for i, j in np.ndindex(*window):
        y, p = _meeting(convolution, 0, image[0], extents[0], i)
        x, q = _meeting(convolution, 1, image[1], extents[1], j)
        part = result[..., p, q, :]
        add_mod(part, products[..., y, x, i, j, :], modulus, out=part)
    return _as_images(result)


def _meeting(
    convolution: Convolution, axis: int, size: int, extent: int, offset: int
) -> tuple[slice, slice]:
    """Return which places of an image's axis meet an offset of the window, and in which results."""
    step = convolution.input_dilation[axis]
    shift = convolution.padding[axis][0] - offset * convolution.dilation[axis]
    first = max(0, -(shift // step))  # the least y with y step + shift >= 0
    last = min(size, -((shift - extent) // step))  # and the one after the last below the extent
    last = max(first, last)
    return slice(first, last), slice(first * step + shift, last * step + shift, step)


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
    image, window = words[0][0].shape[-2:], words[0][1].shape[-2:]
    spread = convolution.stride == (1, 1) and 0 < prod(image) < prod(result[1:])
    each = prod(image) * prod(window) * result[0] if spread else depth * prod(result[1:])
    images = max(1, PATCH_WORDS // max(1, prod(leads) * each))
    columns_by = _window_columns if spread else columns_of
    windows = [Kept(columns_by(weight, convolution.groups)) for _, weight in words]
    if out is None:
        out = np.empty((*leads[int(total) :], batch, *result), words[0][0].dtype)
    for first in range(0, batch, images):
        some = slice(first, first + images)

        parts = [x[..., some, :, :, :] for x, _ in words]
        if spread:
            rows = [_pixels(part, convolution.groups) for part in parts]
        else:
            rows = [patches(part, convolution, window) for part in parts]
        if len(words) == 1:
            product = matmul(rows[0], windows[0], modulus)
        else:
            four = rows[0], windows[0], rows[1], windows[1]
            product = matmul_pair(*four, modulus, total=total)
        if spread:
            out[..., some, :, :, :] = _spread(product, image, window, convolution, modulus)
        else:
            n = parts[0].shape[-4]
            product = product.reshape(*product.shape[:-2], n, *result[1:], product.shape[-1])
            out[..., some, :, :, :] = _as_images(product)
    if add is None:
        return out
    if total:
        add = reconstruct(np.broadcast_to(add, (*leads, batch, *result)), modulus)
    return add_mod(out, add, modulus, out=out)


convolve_reals = partial(convolve, multiply=np.matmul)
"""The convolution of floating point numbers, with rounding."""
