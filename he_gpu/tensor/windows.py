"""Arguments of convolutions as a geometry: PyTorch's rules, checked before anything is computed.

Layer: tensor, under `convolution`. Knows shapes, and no tensor. One axis (`conv1d`) is two, of
which the first has length 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from he_gpu.backend import Convolution
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.tensor.layout import check_integer

Shape = tuple[int, ...]
Numbers = int | tuple[int, ...]
"""One number for all axes, or one for each."""
Padding = int | tuple[int, ...] | str
"""Lines of zeros on both sides of each axis, "valid" for none, "same" for the image's extent."""


class Geometry(NamedTuple):
    """Images (B, C, H, W) or (B, C, L), windows and results of a convolution that fits.

    Attributes:
        images: their shape, with a batch axis and two axes that windows slide over.
        windows: likewise.
        results: likewise.
        convolution: what takes images and windows to results.
    """

    images: Shape
    windows: Shape
    results: Shape
    convolution: Convolution

    def input_gradient(self) -> Convolution:
        """Return what takes the gradient of the results and `turned_windows` to the images'."""
        own, padding = self.convolution, []
        for axis in range(2):
            reach = (self.windows[axis - 2] - 1) * own.dilation[axis]
            low = reach - own.padding[axis][0]
            spread = (self.results[axis - 2] - 1) * own.stride[axis] + 1
            padding.append((low, self.images[axis - 2] + reach - spread - low))
        return Convolution(
            padding=(padding[0], padding[1]),
            dilation=own.dilation,
            input_dilation=own.stride,
            groups=own.groups,
        )

    def weight_gradient(self) -> Convolution:
        """Return what takes `channels_first` images and gradients of results to the windows'."""
        own, padding = self.convolution, []
        for axis in range(2):
            low = own.padding[axis][0]
            last = (self.windows[axis - 2] - 1) * own.dilation[axis]
            reach = (self.results[axis - 2] - 1) * own.stride[axis] + 1
            padding.append((low, last + reach - self.images[axis - 2] - low))
        return Convolution(
            stride=own.dilation,
            padding=(padding[0], padding[1]),
            dilation=own.stride,
            groups=own.groups,
        )


def geometry(
    function: str,
    n_axes: int,
    images: Shape,
    windows: Shape,
    stride: Numbers,
    padding: Padding,
    dilation: Numbers,
    groups: int,
    names: tuple[str, str] = ("x", "weight"),
) -> Geometry:
    """Return the geometry of a convolution over the last n_axes, or refuse it.

    Args:
        function: for messages.
        n_axes: 1 or 2.
        images: (B, C, ...) or (C, ...).
        windows: (O, C / groups, ...).
        stride: as PyTorch takes it, like the others.
        padding: numbers, "same" or "valid".
        dilation: of the window.
        groups: of channels.
        names: of the arguments that have those shapes.

    Raises:
        ArgumentTypeError: no integers.
        ArgumentValueError: numbers out of range, shapes that do not fit.
    """
    _check_shapes(function, n_axes, images, windows, names)
    strides, dilations = (
        numbers(function, name, value, n_axes, 1)
        for name, value in (("stride", stride), ("dilation", dilation))
    )
    check_integer(groups, f"{function}: groups")
    batch, channels, *sizes = images[-n_axes - 2 :] if len(images) > n_axes + 1 else (1, *images)
    n_out, per_group, *window = windows
    if groups < 1 or channels % groups or n_out % groups:
        raise ArgumentValueError(
            f"{function}: groups must divide the {channels} channels of {names[0]} and the {n_out} "
            f"of {names[1]}, got {groups}"
        )
    if per_group * groups != channels:
        raise ArgumentValueError(
            f"{function}: {names[1]} must have {channels // groups} channels, those of {names[0]} "
            f"over groups = {groups}, got shapes {images} and {windows}"
        )
    paddings = _paddings(function, padding, window, strides, dilations)
    convolution = Convolution(
        (1 if n_axes == 1 else strides[0], strides[-1]),
        ((0, 0) if n_axes == 1 else paddings[0], paddings[-1]),
        (1 if n_axes == 1 else dilations[0], dilations[-1]),
        groups=int(groups),
    )
    spare = (1,) * (2 - n_axes)
    whole = Geometry(
        (batch, channels, *spare, *sizes), (n_out, per_group, *spare, *window), (), convolution
    )
    results = convolution.result_shape(whole.images, whole.windows)
    if 0 in results[2:]:
        raise ArgumentValueError(
            f"{function}: {names[1]}'s window must fit into {names[0]}, dilation {dilations} and "
            f"padding {paddings} included, got shapes {windows} and {images}"
        )
    return whole._replace(results=results)


def numbers(function: str, name: str, value: Any, n_axes: int, least: int) -> Shape:
    """Return one number for each axis, or refuse what is none, or below the least."""
    given = tuple(value) if isinstance(value, tuple | list) else (value,) * n_axes
    if len(given) != n_axes:
        raise ArgumentValueError(
            f"{function}: {name} must be one number or {n_axes}, got {len(given)}"
        )
    for number in given:
        check_integer(number, f"{function}: {name}")
        if number < least:
            raise ArgumentValueError(f"{function}: {name} must be at least {least}, got {number}")
    return tuple(int(number) for number in given)


def size(function: str, name: str, value: Any) -> Shape:
    """Return a shape given as a sequence of integers."""
    if not isinstance(value, tuple | list) or not all(
        isinstance(n, int | np.integer) and not isinstance(n, bool) for n in value
    ):
        raise ArgumentTypeError(f"{function}: {name} must be a tuple of integers, got {value!r}")
    return tuple(int(n) for n in value)


def _check_shapes(
    function: str, n_axes: int, images: Shape, windows: Shape, names: tuple[str, str]
) -> None:
    """Refuse numbers of axes that mean nothing here, and axes without elements but the batch."""
    letters = "L" if n_axes == 1 else "H, W"
    if len(images) not in (n_axes + 1, n_axes + 2):
        raise ArgumentValueError(
            f"{function}: {names[0]} must have shape (B, C, {letters}) or (C, {letters}), got "
            f"{images}"
        )
    if len(windows) != n_axes + 2:
        raise ArgumentValueError(
            f"{function}: {names[1]} must have shape (O, C / groups, {letters.lower()}), got "
            f"{windows}"
        )
    for name, shape, inner in zip(
        names, (images, windows), (images[-n_axes - 1 :], windows), strict=True
    ):
        if min(inner) < 1:
            raise ArgumentValueError(
                f"{function}: {name} must have no empty axis but the batch, got shape {shape}"
            )


def _paddings(
    function: str, padding: Any, window: list[int], strides: Shape, dilations: Shape
) -> tuple[tuple[int, int], ...]:
    """Return (low, high) for each axis."""
    if not isinstance(padding, str):
        return tuple(
            (number, number) for number in numbers(function, "padding", padding, len(window), 0)
        )
    if padding == "valid":
        return ((0, 0),) * len(window)
    if padding != "same":
        raise ArgumentValueError(
            f"{function}: padding must be numbers, 'same' or 'valid', got {padding!r}"
        )
    if max(strides) > 1:
        raise ArgumentValueError(f"{function}: padding 'same' needs stride 1, got {strides}")
    totals = [apart * (n - 1) for apart, n in zip(dilations, window, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)
