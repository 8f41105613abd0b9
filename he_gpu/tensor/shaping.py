"""Secret arrays split, padded, picked from and turned, as NumPy does it.

Layer: tensor, above mpc. Every operation here is local and exact: it moves shares, or adds them.
Never reads a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import ArgumentValueError, IndexRangeError
from he_gpu.ring.fixedpoint import as_reals
from he_gpu.tensor.arguments import clamped, pairs, public_integers, public_numbers
from he_gpu.tensor.arithmetic import Arithmetic
from he_gpu.tensor.layout import check_axes, check_integer

Self = TypeVar("Self", bound="Shaping")
Axes = int | tuple[int, ...] | None
PadMode = Literal["constant", "edge", "reflect", "symmetric", "wrap"]


class Shaping(Arithmetic):
    """The methods of a `SecretTensor` that rearrange its elements, with NumPy's meanings.

    Each returns a tensor of the same fraction bits. What is public in the arguments (shapes, axes,
    indices) is public in the result. Where elements are moved, dropped or repeated alone, a masked
    tensor stays masked; not where zeros come in, or sums.

    Cost: none. Leaks: nothing. Error: none.
    """

    __slots__ = ()

    # Axes

    def broadcast_to(self: Self, shape: int | Sequence[int]) -> Self:
        """Return the tensor repeated along axes of length 1 and new first axes.

        Raises:
            ValueError: a shape that the tensor's does not broadcast to.
        """
        self.session.check_open("broadcast_to")
        wanted = public_numbers(shape, "broadcast_to: shape")
        try:
            fits = np.broadcast_shapes(self.shape, wanted) == wanted
        except ValueError:
            fits = False
        if not fits:
            raise ArgumentValueError(
                f"broadcast_to: shape must be one that {self.shape} broadcasts to, got {wanted}"
            )
        xp, x = self.session.backend.xp, self._padded_to(len(wanted))

        def change(words: Array) -> Array:
            return xp.broadcast_to(words, (*words.shape[: words.ndim - x.ndim], *wanted))

        return x._viewed(change, "broadcast", wanted)

    def expand_dims(self: Self, axis: int | tuple[int, ...]) -> Self:
        """Return the tensor with axes of length 1 put where ``axis`` says, in the result.

        Raises:
            ValueError: an axis out of range, or the same one twice.
        """
        self.session.check_open("expand_dims")
        ndim = self.ndim + (len(axis) if isinstance(axis, tuple | list) else 1)
        new = check_axes(axis, ndim, "expand_dims")
        lengths = iter(self.shape)
        return self.reshape(tuple(1 if at in new else next(lengths) for at in range(ndim)))

    def squeeze(self: Self, axis: Axes = None) -> Self:
        """Return the tensor without axes of length 1, without all of them by default.

        Raises:
            ValueError: an axis out of range, or of another length.
        """
        self.session.check_open("squeeze")
        if axis is None:
            return self.reshape(tuple(length for length in self.shape if length != 1))
        gone = self._axes(axis, "squeeze")
        for at in gone:
            if self.shape[at] != 1:
                raise ArgumentValueError(
                    f"squeeze: axis {at} must have length 1, got {self.shape[at]}"
                )
        return self.reshape(tuple(n for at, n in enumerate(self.shape) if at not in gone))

    def swapaxes(self: Self, axis1: int, axis2: int) -> Self:
        """Return the tensor with two axes interchanged."""
        self.session.check_open("swapaxes")
        first, second = self._axis(axis1, "swapaxes"), self._axis(axis2, "swapaxes")
        order = list(range(self.ndim))
        order[first], order[second] = second, first
        return self.transpose(*order)

    def moveaxis(self: Self, source: int | Sequence[int], destination: int | Sequence[int]) -> Self:
        """Return the tensor with axes moved to new places, the others in their order.

        Raises:
            ValueError: axes out of range, repeated, or not as many of one as of the other.
        """
        self.session.check_open("moveaxis")
        old, new = self._axes(source, "moveaxis"), self._axes(destination, "moveaxis")
        if len(old) != len(new):
            raise ArgumentValueError(
                f"moveaxis: source and destination must have as many axes, got {len(old)} and "
                f"{len(new)}"
            )
        order = [axis for axis in range(self.ndim) if axis not in old]
        for to, axis in sorted(zip(new, old, strict=True)):
            order.insert(to, axis)
        return self.transpose(*order)

    def ravel(self: Self) -> Self:
        """Return the elements in one axis."""
        self.session.check_open("ravel")
        return self.reshape((self.size,))

    def flatten(self: Self) -> Self:
        """Return the elements in one axis."""
        self.session.check_open("flatten")
        return self.reshape((self.size,))

    # Elements

    def flip(self: Self, axis: Axes = None) -> Self:
        """Return the elements in reverse order along axes, along all by default."""
        self.session.check_open("flip")
        turned = self._axes(range(self.ndim) if axis is None else axis, "flip")
        steps = (slice(None, None, -1 if at in turned else None) for at in range(self.ndim))
        return self[tuple(steps)]

    def roll(self: Self, shift: int | tuple[int, ...], axis: Axes = None) -> Self:
        """Return the elements shifted along axes, those that leave at an end back at the other.

        Args:
            shift: by how many places, or one number for each axis.
            axis: along which; None for all elements as in one axis.

        Raises:
            ValueError: an axis out of range; more numbers than axes, or the other way round.
        """
        self.session.check_open("roll")
        if axis is None:
            return self.ravel().roll(shift, 0).reshape(self.shape)
        shifts = public_numbers(shift, "roll: shift")
        axes = [self._axis(at, "roll") for at in public_numbers(axis, "roll: axis")]
        if len(shifts) != len(axes) and 1 not in (len(shifts), len(axes)):
            raise ArgumentValueError(
                f"roll: shift and axis must have as many numbers, got {len(shifts)} and {len(axes)}"
            )
        count = max(len(shifts), len(axes)) if shifts and axes else 0
        moved = dict.fromkeys(axes, 0)
        for i in range(count):
            moved[axes[i % len(axes)]] += shifts[i % len(shifts)]
        tensor = self
        for at, by in moved.items():
            n = self.shape[at]
            if n and by % n:
                tensor = tensor._picked((np.arange(n) - by % n) % n, at)
        return tensor

    def take(self: Self, indices: Any, axis: int | None = None) -> Self:
        """Return the elements at public indices along an axis.

        Args:
            indices: integers of any shape, which takes the place of the axis.
            axis: along which; None for all elements as in one axis.

        Raises:
            IndexError: an index outside [-n, n), for n elements along the axis.
            TypeError: indices that are no public integers.
            ValueError: an axis out of range.
        """
        self.session.check_open("take")
        if axis is None:
            return self.ravel().take(indices, 0)
        at = self._axis(axis, "take")
        places, n = public_integers(indices, "take: indices"), self.shape[at]
        outside = (places < -n) | (places >= n)
        if outside.any():
            raise IndexRangeError(
                f"take: indices must be in [{-n}, {n}) along axis {at}, got {places[outside][0]}"
            )
        return self._picked(np.where(places < 0, places + n, places), at)

    def repeat(self: Self, repeats: int | Sequence[int], axis: int | None = None) -> Self:
        """Return the elements along an axis each repeated where it stands.

        Args:
            repeats: how often, for all or for each along the axis.
            axis: along which; None for all elements as in one axis.

        Raises:
            ValueError: an axis out of range, a negative number, not one number or as many as
                elements.
        """
        self.session.check_open("repeat")
        if axis is None:
            return self.ravel().repeat(repeats, 0)
        at = self._axis(axis, "repeat")
        counts = public_integers(repeats, "repeat: repeats")
        n = self.shape[at]
        if counts.ndim > 1 or counts.size not in (1, n):
            raise ArgumentValueError(
                f"repeat: repeats must be one number or {n}, got an array of shape {counts.shape}"
            )
        if (counts < 0).any():
            raise ArgumentValueError(f"repeat: repeats must be at least 0, got {counts.min()}")
        return self._picked(np.repeat(np.arange(n), counts), at)

    def tile(self: Self, reps: int | Sequence[int]) -> Self:
        """Return the whole tensor repeated along each axis; more numbers than axes add axes.

        Raises:
            ValueError: a negative number.
        """
        self.session.check_open("tile")
        counts = public_numbers(reps, "tile: reps")
        if min(counts, default=0) < 0:
            raise ArgumentValueError(f"tile: reps must be at least 0, got {min(counts)}")
        ndim = max(self.ndim, len(counts))
        tensor = self._padded_to(ndim)
        for at, count in enumerate((1,) * (ndim - len(counts)) + counts):
            if count != 1:
                tensor = tensor._picked(np.tile(np.arange(tensor.shape[at]), count), at)
        return tensor

    def pad(
        self: Self, pad_width: Any, mode: PadMode = "constant", constant_values: Any = 0
    ) -> Self:
        """Return the tensor with elements put before and behind those of each axis.

        Args:
            pad_width: how many: one number, (before, after), or such a pair for each axis.
            mode: "constant", or a copy of elements as `numpy.pad` takes them: "edge" repeats the
                last, "reflect" mirrors at it, "symmetric" behind it, "wrap" goes on at the other
                end.
            constant_values: public numbers for "constant", given as pad_width is; rounded to the
                tensor's fraction bits, or to the session's where the tensor has fewer and a number
                needs them.

        Raises:
            ValueError: a negative width, a mode that is not listed, nothing to copy from.
        """
        self.session.check_open("pad")
        modes = ("constant", "edge", "reflect", "symmetric", "wrap")
        if mode not in modes:
            raise ArgumentValueError(f"pad: mode must be one of {', '.join(modes)}, got {mode!r}")
        widths = pairs(
            public_integers(pad_width, "pad: pad_width"), self.ndim, "pad_width"
        ).tolist()
        least = min((number for pair in widths for number in pair), default=0)
        if least < 0:
            raise ArgumentValueError(f"pad: pad_width must be at least 0, got {least}")
        if mode != "constant":
            return self._padded(widths, mode)
        values = pairs(as_reals(constant_values, "pad", "constant_values"), self.ndim,
                        "constant_values")  # fmt: skip
        self = self._refined(values)
        shape = tuple(
            n + before + after for n, (before, after) in zip(self.shape, widths, strict=True)
        )
        xp, rows = self.session.backend.xp, self._stack.shape[0]
        stack = xp.zeros((rows, *shape), self._stack.dtype)
        inside = (
            slice(before, before + n) for n, (before, _) in zip(self.shape, widths, strict=True)
        )
        behind_parties = (slice(None), *inside)
        stack[behind_parties] = self._stack
        if not values.any():
            return self._like(stack)
        frame = np.pad(np.zeros(self.shape), widths, constant_values=values.tolist())
        return self._like(stack) + frame

    def _padded(self: Self, widths: list[list[int]], mode: Any) -> Self:
        """Return the tensor padded by copies of its own elements."""
        tensor = self
        for at, (before, after) in enumerate(widths):
            n = self.shape[at]
            if not before and not after:
                continue
            if not n:
                raise ArgumentValueError(
                    f"pad: mode {mode} needs elements to copy, got 0 along axis {at}"
                )
            tensor = tensor._picked(np.pad(np.arange(n), (before, after), mode=mode), at)
        return tensor

    def split(self: Self, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Self]:
        """Return the parts of the tensor along an axis.

        Args:
            indices_or_sections: the number of equal parts, or the places between them.
            axis: along which.

        Raises:
            ValueError: an axis out of range, a number of parts that does not divide its length.
        """
        self.session.check_open("split")
        at = self._axis(axis, "split")
        n = self.shape[at]
        if isinstance(indices_or_sections, int | np.integer):
            check_integer(indices_or_sections, "split: indices_or_sections")
            count = int(indices_or_sections)
            if count < 1 or n % count:
                raise ArgumentValueError(
                    f"split: indices_or_sections must be at least 1 and divide {n}, got {count}"
                )
            places = [n // count * i for i in range(1, count)]
        else:
            places = list(public_numbers(indices_or_sections, "split: indices_or_sections"))
        every, ends = (slice(None),) * at, zip([0, *places], [*places, n], strict=True)
        parts = [(*every, slice(first, last)) for first, last in ends]
        return [self[part] for part in parts]

    def diagonal(self: Self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Self:
        """Return the diagonals of the matrices of two axes, along a new last axis.

        Args:
            offset: 0 for the main diagonal, positive above it.
            axis1: of the rows.
            axis2: of the columns.

        Raises:
            ValueError: fewer than 2 axes, axes out of range or equal.
        """
        self.session.check_open("diagonal")
        self._check_matrix("diagonal")
        rows, columns = self._axes((axis1, axis2), "diagonal")
        at = clamped(offset, "diagonal: offset", self.shape[rows], self.shape[columns])
        xp, ndim = self.session.backend.xp, self.ndim

        def change(words: Array) -> Array:
            lead = words.ndim - ndim
            return xp.diagonal(words, at, lead + rows, lead + columns)

        return self._viewed(change, "diagonal", at, rows, columns)

    def tril(self: Self, k: int = 0) -> Self:
        """Return the matrices of the last two axes with 0 above diagonal k.

        Raises:
            ValueError: fewer than 2 axes.
        """
        self.session.check_open("tril")
        return self._triangle(k, "tril")

    def triu(self: Self, k: int = 0) -> Self:
        """Return the matrices of the last two axes with 0 below diagonal k. Raises: as `tril`."""
        self.session.check_open("triu")
        return self._triangle(k, "triu")

    # Sums along

    def cumsum(self: Self, axis: int | None = None) -> Self:
        """Return the sums of the first 1, 2, ... elements along an axis.

        Args:
            axis: along which; None for all elements as in one axis.

        Raises:
            ValueError: an axis out of range.

        Range: every sum, |v| < 2**(k - 2 - frac_bits); protocol="plain" raises beyond.
        """
        self.session.check_open("cumsum")
        if axis is None:
            return self.ravel().cumsum(0)
        at = self._axis(axis, "cumsum")
        return self._like(self.session.scheme.cumsum(self._stack, at + 1))

    # Parts of the above

    def _picked(self: Self, indices: Array, axis: int) -> Self:
        """Return the elements at indices in range along an axis."""
        xp, ndim = self.session.backend.xp, self.ndim
        places = self.session.backend.asarray(indices)
        return self._viewed(lambda words: xp.take(words, places, axis=words.ndim - ndim + axis))

    def _padded_to(self: Self, ndim: int) -> Self:
        """Return the tensor with axes of length 1 put before its own, up to ndim."""
        return self._reshaped((1,) * (ndim - self.ndim) + self.shape)

    def _triangle(self: Self, k: Any, function: str) -> Self:
        self._check_matrix(function)
        rows, columns = self.shape[-2:]
        k = clamped(k, f"{function}: k", rows + 1, columns + 1)
        lower = np.tri(rows, columns, k - (function == "triu"), np.bool_)
        kept = lower if function == "tril" else ~lower
        backend = self.session.backend
        zero = backend.xp.zeros((), self._stack.dtype)
        return self._like(backend.xp.where(backend.asarray(kept), self._stack, zero))

    def _check_matrix(self, function: str) -> None:
        if self.ndim < 2:
            raise ArgumentValueError(
                f"{function}: x must have at least 2 axes, got shape {self.shape}"
            )

    def _axis(self, axis: Any, function: str) -> int:
        """Return one axis as a non-negative number."""
        check_integer(axis, f"{function}: axis")
        return self._axes(axis, function)[0]
