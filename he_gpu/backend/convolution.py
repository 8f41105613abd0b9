"""The geometry of a convolution: which word of an image meets which word of a window.

Layer: backend, under the definition and the launcher of the family `conv`; schemes pass it on as
the name of their operation. Knows sizes, and no words.
"""

from __future__ import annotations

from typing import NamedTuple

from he_gpu.errors import ArgumentValueError

Pair = tuple[int, int]


class Convolution(NamedTuple):
    """A cross-correlation over two axes, as PyTorch's `conv2d` computes it.

    With images x (B, C, H, W) and windows w (O, C / groups, h, w), the result for o of group g is
    ``out[b, o, p, q] = sum over c, i, j of X[b, g C / groups + c, p s + i d, q s + j d] w[o, c, i,
    j]``, where X is x with ``input_dilation - 1`` zeros between neighbours, then padded by zeros.

    Attributes:
        stride: s, of rows and of columns, as everything here.
        padding: (low, high) lines of zeros around; a negative number crops as many.
        dilation: d, distance of the window's neighbours.
        input_dilation: distance that neighbours of the image are given.
        groups: of channels, each with windows of its own.
    """

    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    input_dilation: Pair = (1, 1)
    groups: int = 1

    def spread(self, axis: int, size: int) -> int:
        """Return the length of an image's axis (0 rows, 1 columns) with the zeros in between."""
        return (size - 1) * self.input_dilation[axis] + 1 if size else 0

    def extent(self, axis: int, size: int, window: int) -> int:
        """Return the length of the result's axis, 0 where the window does not fit."""
        reach = (window - 1) * self.dilation[axis] + 1
        room = self.spread(axis, size) + sum(self.padding[axis]) - reach
        return room // self.stride[axis] + 1 if room >= 0 else 0

    def result_shape(
        self, x: tuple[int, ...], weight: tuple[int, ...]
    ) -> tuple[int, int, int, int]:
        """Return (B, O, P, Q) of images (..., B, C, H, W) and windows (..., O, C / groups, h, w).

        Raises:
            ArgumentValueError: fewer than 4 axes, channels that do not fit, an empty window.
        """
        if len(x) < 4 or len(weight) < 4:
            raise ArgumentValueError(
                f"conv: x and weight must have at least 4 axes, got shapes {x} and {weight}"
            )
        batch, channels, height, width = x[-4:]
        n_out, per_group, *window = weight[-4:]
        if channels != per_group * self.groups or n_out % self.groups or 0 in window:
            raise ArgumentValueError(
                f"conv: x (..., B, C, H, W) and weight (..., O, C / groups, h, w) must fit for "
                f"groups = {self.groups}, got shapes {x} and {weight}"
            )
        rows = self.extent(0, height, window[0])
        return batch, n_out, rows, self.extent(1, width, window[1])
