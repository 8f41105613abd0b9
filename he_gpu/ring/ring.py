"""The ring of integers modulo q on one device: the public face of the batched kernels.

Layer: ring. Operands are arrays of one device whose elements lie in [0, q).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from he_gpu.backend import Array, get_backend, word_dtype
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.ring.integers import check_modulus, reduce_integers


class Ring:
    """Integers modulo ``modulus`` on one device.

    Elements are kept in uint32 for the modulus 2**32 and in uint64 for every other one. Operands
    broadcast as in NumPy; a Python int stands for its residue.

    Args:
        modulus: 2 <= modulus <= 2**63, or exactly 2**64; need not be prime.
        device: "auto" (CUDA where it works, else the CPU), "cpu", "cuda", "cuda:N" or "emulator".

    Raises:
        ValueError: a modulus out of range, or an unknown device.
        TypeError: a modulus that is no integer.
        RuntimeError: a device that this machine lacks.

    Example:
        >>> ring = Ring(501337, device="cpu")
        >>> ring.device
        'cpu'
        >>> a = ring.asarray([[2, -1], [0, 3]])
        >>> ring.to_numpy(ring.mul(a, 10)).tolist()
        [[20, 501327], [0, 30]]
        >>> ring.to_numpy(ring.sub(ring.add(a, 1), ring.neg(a))).tolist()
        [[5, 501336], [1, 7]]
        >>> ring.to_numpy(ring.matmul(a, a)).tolist()
        [[4, 501332], [0, 9]]
    """

    def __init__(self, modulus: int, device: str = "auto"):
        self.modulus = check_modulus(modulus, "Ring")
        self.backend = get_backend(device)
        self.dtype = word_dtype(self.modulus)

    @property
    def device(self) -> str:
        """Name of the device, with "auto" resolved."""
        return self.backend.name

    def asarray(self, integers: Any) -> Array:
        """Return integers, reduced modulo the ring, as an array of the device.

        Args:
            integers: Python ints of any size, nested lists of them, or integer arrays of any
                shape; negative ones too.

        Raises:
            TypeError: floats or anything else that is no integer.
        """
        return self.backend.asarray(reduce_integers(integers, self.modulus, "Ring.asarray"))

    def to_numpy(self, a: Array) -> Array:
        """Return the elements as a uint64 ndarray; a copy of its own on every device."""
        return np.array(self.backend.to_numpy(self._element(a, "to_numpy", "a")), dtype=np.uint64)

    def add(self, a: Array, b: Array) -> Array:
        """Return ``a + b`` modulo the ring; shapes broadcast."""
        return self._binary(self.backend.add, a, b, "add")

    def sub(self, a: Array, b: Array) -> Array:
        """Return ``a - b`` modulo the ring; shapes broadcast."""
        return self._binary(self.backend.sub, a, b, "sub")

    def mul(self, a: Array, b: Array) -> Array:
        """Return the elementwise product ``a * b`` modulo the ring; shapes broadcast."""
        return self._binary(self.backend.mul, a, b, "mul")

    def neg(self, a: Array) -> Array:
        """Return ``-a`` modulo the ring."""
        return self._array(self.backend.neg(self._element(a, "neg", "a"), self.modulus))

    def matmul(self, a: Array, b: Array) -> Array:
        """Return the exact matrix product modulo the ring.

        Args:
            a: (..., m, k), or (k,) for a row vector, as in ``numpy.matmul``.
            b: (..., k, n), or (k,) for a column vector.

        Returns:
            (..., m, n), without the axes that a vector operand lacks.

        Raises:
            ValueError: inner dimensions that differ, a 0-d operand, batch axes that do not
                broadcast.
            TypeError: arrays of another type or device.

        Cost: m n k word products per batch; on the CPU as float64 products of short digits.
        """
        a, b = self._element(a, "matmul", "a"), self._element(b, "matmul", "b")
        if a.ndim == 0 or b.ndim == 0:
            raise ArgumentValueError("Ring.matmul: operands must have at least one axis, got a 0-d")
        left, right = a[None, :] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
        if left.shape[-1] != right.shape[-2]:
            raise ArgumentValueError(
                f"Ring.matmul: inner dimensions differ, got shapes {a.shape} and {b.shape}"
            )
        self._broadcast("matmul", left.shape[:-2], right.shape[:-2])
        product = self.backend.matmul(left, right, self.modulus)
        if a.ndim == 1:
            product = product[..., 0, :]
        return self._array(product[..., 0] if b.ndim == 1 else product)

    def __eq__(self, other: object) -> bool:
        """Two rings are equal where modulus and device are."""
        if not isinstance(other, Ring):
            return NotImplemented
        return self.modulus == other.modulus and self.backend is other.backend

    def __hash__(self) -> int:
        return hash((self.modulus, self.device))

    def __repr__(self) -> str:
        return f"Ring({self.modulus}, device={self.device!r})"

    def _binary(self, operation: Any, a: Array, b: Array, name: str) -> Array:
        a, b = self._element(a, name, "a"), self._element(b, name, "b")
        self._broadcast(name, a.shape, b.shape)
        return self._array(operation(a, b, self.modulus))

    def _broadcast(self, name: str, first: tuple[int, ...], second: tuple[int, ...]) -> None:
        try:
            np.broadcast_shapes(first, second)
        except ValueError:
            raise ArgumentValueError(
                f"Ring.{name}: shapes {first} and {second} do not broadcast"
            ) from None

    def _array(self, value: Array) -> Array:
        """NumPy's ufuncs return scalars for 0-d arrays; results here are always arrays."""
        return self.backend.xp.asarray(value)

    def _element(self, value: Any, name: str, argument: str) -> Array:
        """Check one operand: an array of this device, of the ring's word, below the modulus."""
        if isinstance(value, int | np.integer):
            return self.asarray(value)
        xp = self.backend.xp
        if not isinstance(value, xp.ndarray):
            raise ArgumentTypeError(
                f"Ring.{name}: {argument} must be an array of device {self.device!r} "
                f"(see Ring.asarray), got {type(value).__module__}.{type(value).__name__}"
            )
        if value.dtype != self.dtype:
            raise ArgumentTypeError(
                f"Ring.{name}: {argument} must have dtype {self.dtype} (see Ring.asarray), "
                f"got {value.dtype}"
            )
        if self.modulus not in (2**64, 2**32) and value.size:
            largest = int(value.max())
            if largest >= self.modulus:
                raise ArgumentValueError(
                    f"Ring.{name}: {argument} must lie below the modulus {self.modulus}, "
                    f"got {largest}"
                )
        return value
