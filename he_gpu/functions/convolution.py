"""Convolutions and pooling as functions, with the names and arguments of PyTorch.

Layer: functions, above `tensor`. Each takes at least one SecretTensor among its arrays; the others
may be public. Plain arrays alone are refused.
"""

from __future__ import annotations

from typing import Any

from he_gpu.functions.comparison import _first
from he_gpu.tensor import SecretTensor, convolution
from he_gpu.tensor.windows import Numbers, Padding

__all__ = [
    "avg_pool2d",
    "conv1d",
    "conv1d_input",
    "conv1d_weight",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
]


def conv2d(
    x: Any,
    weight: Any,
    stride: Numbers = 1,
    padding: Padding = 0,
    dilation: Numbers = 1,
    groups: int = 1,
    frac_bits: int | None = None,
) -> SecretTensor:
    """Return the convolution of images with windows, as PyTorch's `conv2d` without bias.

    Args:
        x: images (B, C, H, W) or (C, H, W), secret or public.
        weight: windows (O, C / groups, h, w), secret or public.
        stride: of the windows, one number or (rows, columns).
        padding: rows and columns of zeros on both sides; "valid" for none, "same" (with stride 1)
            for results as large as x, of which the last side has the odd one.
        dilation: distance of a window's neighbours.
        groups: parts of the channels that do not mix; it divides C and O.
        frac_bits: of the result, the session's by default. Those of both operands together skip the
            truncation; more are refused.

    Returns:
        (B, O, P, Q) or (O, P, Q), P = (H + padding - dilation (h - 1) - 1) // stride + 1 with the
        padding of both sides, and Q likewise.

    Raises:
        TypeError: nothing secret; numbers that are no integers.
        ValueError: axes, channels, groups, numbers or windows that do not fit, an empty axis but
            the batch, two sessions, frac_bits out of range.

    Range: as `SecretTensor.matmul`, for sums over a window's C / groups h w products; exact modulo
        2**k for any number of them.
    Error: one unit of 2**-frac_bits; none where no truncation is needed.
    Cost: with two secrets that of the scheme's `product`: with "additive" 1 round in which each
        party sends the words of x and of weight to the others, less those masked before (see
        `SecretTensor.masked`), and for the truncation 1 round and the words of the result, of which
        the dealer sends 3 for each; with "replicated" 1 round and one word of the result from each
        party, 2 rounds and two words with truncation. With a public operand one truncation, none
        for integers.
    Leaks: nothing.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     x = s.share([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]])
    ...     w = s.share([[[[1, 0], [0, -1]]]])
    ...     he.conv2d(x, w, frac_bits=32).reveal().tolist()
    ...     he.conv2d(x, [[[[0.5]]]], stride=2).reveal().tolist()
    [[[-4.0, -4.0], [-4.0, -4.0]]]
    [[[0.5, 1.5], [3.5, 4.5]]]
    """
    found: SecretTensor = convolution.convolve(
        2, x, weight, stride, padding, dilation, groups, frac_bits
    )
    return found


def conv1d(
    x: Any,
    weight: Any,
    stride: Numbers = 1,
    padding: Padding = 0,
    dilation: Numbers = 1,
    groups: int = 1,
    frac_bits: int | None = None,
) -> SecretTensor:
    """Return the convolution over one axis, as PyTorch's `conv1d` without bias.

    Args:
        x: (B, C, L) or (C, L), secret or public.
        weight: (O, C / groups, l), secret or public.
        stride: and the others as in `conv2d`, one number for the one axis.
        padding: "same" and "valid" too.
        dilation: of the window.
        groups: of channels.
        frac_bits: of the result.

    Raises, Range, Error, Cost, Leaks: as `conv2d`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     x = s.share([[1, 2, 3, 4]])
    ...     he.conv1d(x, [[[1, -1]]], padding="same").reveal().tolist()
    [[-1.0, -1.0, -1.0, 4.0]]
    """
    found: SecretTensor = convolution.convolve(
        1, x, weight, stride, padding, dilation, groups, frac_bits
    )
    return found


def conv2d_input(
    input_size: tuple[int, ...],
    weight: Any,
    grad_output: Any,
    stride: Numbers = 1,
    padding: Padding = 0,
    dilation: Numbers = 1,
    groups: int = 1,
    frac_bits: int | None = None,
) -> SecretTensor:
    """Return the gradient of `conv2d` for its images, as `torch.nn.grad.conv2d_input`.

    Args:
        input_size: shape of the images, (B, C, H, W) or (C, H, W).
        weight: windows (O, C / groups, h, w), secret or public.
        grad_output: gradient of the results, of their shape, secret or public.
        stride: as in the convolution.
        padding: likewise.
        dilation: likewise.
        groups: likewise.
        frac_bits: of the result, the session's by default.

    Returns:
        A tensor of input_size.

    Raises: as `conv2d`; ValueError where grad_output has another shape than the results.
    Range, Error, Cost, Leaks: as `conv2d`, with grad_output for the images. A masked weight stays
        masked.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     w = s.share([[[[1, 2], [3, 4]]]])
    ...     he.conv2d_input((1, 2, 3), w, [[[1, 0]]]).reveal().tolist()
    [[[1.0, 2.0, 0.0], [3.0, 4.0, 0.0]]]
    """
    found: SecretTensor = convolution.input_gradient(
        2, input_size, weight, grad_output, stride, padding, dilation, groups, frac_bits
    )
    return found


def conv1d_input(
    input_size: tuple[int, ...],
    weight: Any,
    grad_output: Any,
    stride: Numbers = 1,
    padding: Padding = 0,
    dilation: Numbers = 1,
    groups: int = 1,
    frac_bits: int | None = None,
) -> SecretTensor:
    """Return the gradient of `conv1d` for its images, as `torch.nn.grad.conv1d_input`.

    Args, Raises, Range, Error, Cost, Leaks: as `conv2d_input`, with one axis.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.conv1d_input((1, 1, 3), s.share([[[1, 10]]]), [[[1, 2]]]).reveal().tolist()
    [[[1.0, 12.0, 20.0]]]
    """
    found: SecretTensor = convolution.input_gradient(
        1, input_size, weight, grad_output, stride, padding, dilation, groups, frac_bits
    )
    return found


def conv2d_weight(
    x: Any,
    weight_size: tuple[int, ...],
    grad_output: Any,
    stride: Numbers = 1,
    padding: Padding = 0,
    dilation: Numbers = 1,
    groups: int = 1,
    frac_bits: int | None = None,
) -> SecretTensor:
    """Return the gradient of `conv2d` for its windows, as `torch.nn.grad.conv2d_weight`.

    Args:
        x: images (B, C, H, W) or (C, H, W), secret or public.
        weight_size: shape of the windows, (O, C / groups, h, w).
        grad_output: gradient of the results, of their shape, secret or public.
        stride: as in the convolution.
        padding: likewise.
        dilation: likewise.
        groups: likewise.
        frac_bits: of the result, the session's by default.

    Returns:
        A tensor of weight_size.

    Raises: as `conv2d`; ValueError where grad_output has another shape than the results.
    Range, Error, Cost, Leaks: as `conv2d`, with grad_output for the windows; sums are over B P Q
        products. Masked images stay masked.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     x = s.share([[[1, 2, 3], [4, 5, 6]]])
    ...     he.conv2d_weight(x, (1, 1, 2, 2), [[[1, 10]]]).reveal().tolist()
    [[[[21.0, 32.0], [54.0, 65.0]]]]
    """
    found: SecretTensor = convolution.weight_gradient(
        2, x, weight_size, grad_output, stride, padding, dilation, groups, frac_bits
    )
    return found


def conv1d_weight(
    x: Any,
    weight_size: tuple[int, ...],
    grad_output: Any,
    stride: Numbers = 1,
    padding: Padding = 0,
    dilation: Numbers = 1,
    groups: int = 1,
    frac_bits: int | None = None,
) -> SecretTensor:
    """Return the gradient of `conv1d` for its windows, as `torch.nn.grad.conv1d_weight`.

    Args, Raises, Range, Error, Cost, Leaks: as `conv2d_weight`, with one axis.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.conv1d_weight(s.share([[[1, 2, 3]]]), (1, 1, 2), [[[1, 10]]]).reveal().tolist()
    [[[21.0, 32.0]]]
    """
    found: SecretTensor = convolution.weight_gradient(
        1, x, weight_size, grad_output, stride, padding, dilation, groups, frac_bits
    )
    return found


def avg_pool2d(
    x: SecretTensor,
    /,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    *,
    count_include_pad: bool = True,
) -> SecretTensor:
    """Return the mean of each window over the last two axes; as `SecretTensor.avg_pool2d`.

    >>> import he_gpu as he
    >>> with he.Session(device="cpu") as s:
    ...     he.avg_pool2d(s.share([[1, 2, 3, 4], [5, 6, 7, 8]]), 2).reveal().tolist()
    [[3.5, 5.5]]
    """
    first = _first("avg_pool2d", x, numpy="torch.nn.functional.avg_pool2d")
    return first.avg_pool2d(kernel_size, stride, padding, count_include_pad=count_include_pad)
