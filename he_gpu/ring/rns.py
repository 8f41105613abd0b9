"""Polynomials modulo X^N + 1 and a product of word-size primes: what RLWE schemes compute in.

Layer: ring. Knows no key, scale or scheme. A polynomial is an array (..., limbs, N) of uint32, its
residues modulo each prime: of its coefficients, or of its values at the odd powers of a root of
unity (`RnsRing.ntt`), where a product is one word by word. Leading axes are a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from he_gpu.backend import Array, Backend, get_backend
from he_gpu.backend.definition.rns import automorphism_index
from he_gpu.backend.definition.roots import check_moduli
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.ring.integers import reduce_integers
from he_gpu.ring.primes import is_prime


class RnsRing:
    """Polynomials of degree below N over the integers modulo Q, on one device.

    Words must lie in [0, q) of their limb, as every method returns them; that is not checked.

    Args:
        ring_degree: N, a power of two in [16, 65536].
        moduli: different primes q = 1 mod 2N below 2^27; Q is their product.
        device: "auto" (CUDA where it works, else the CPU), "cpu", "cuda", "cuda:N" or "emulator".

    Raises:
        ValueError: a degree or moduli that are none of these, or an unknown device.
        RuntimeError: a device that this machine lacks.

    Example:
        >>> ring = RnsRing(16, (97, 193), device="cpu")
        >>> x = ring.asarray([0, 1] + [0] * 14)
        >>> values = ring.ntt(x)
        >>> for _ in range(4):
        ...     values = ring.mul(values, values)
        >>> ring.to_integers(ring.intt(values)).tolist()
        [-1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    """

    def __init__(self, ring_degree: int, moduli: Sequence[int], device: str = "auto"):
        self.ring_degree, self.moduli = ring_degree, _checked(ring_degree, tuple(moduli))
        self.backend: Backend = get_backend(device)

    @property
    def device(self) -> str:
        """Name of the device, with "auto" resolved."""
        return self.backend.name

    @cached_property
    def modulus(self) -> int:
        """Q, the product of the moduli."""
        return math.prod(self.moduli)

    def over(self, moduli: Sequence[int]) -> RnsRing:
        """Return the ring over other primes, of the same degree and device."""
        return RnsRing(self.ring_degree, moduli, self.device)

    # To and from integers

    def asarray(self, coefficients: Any) -> Array:
        """Return the residues of integer coefficients, as an array of the device.

        Args:
            coefficients: (..., N) Python ints of any size, nested lists of them, or an integer
                array; negative ones too.

        Raises:
            TypeError: floats or anything else that is no integer.
            ValueError: the last axis is not of length N.
        """
        limbs = [reduce_integers(coefficients, q, "RnsRing.asarray") for q in self.moduli]
        if limbs[0].ndim == 0 or limbs[0].shape[-1] != self.ring_degree:
            raise ArgumentValueError(
                f"RnsRing.asarray: coefficients must have shape (..., {self.ring_degree}), got "
                f"{limbs[0].shape}"
            )
        return self.backend.asarray(np.stack(limbs, axis=-2).astype(np.uint32))

    def to_integers(self, a: Array) -> Array:
        """Return the coefficients in [-Q/2, Q/2) as an array (..., N) of Python ints."""
        words = self.backend.to_numpy(self._element(a, "to_integers", "a")).astype(object)
        total = np.zeros((*words.shape[:-2], self.ring_degree), object)
        modulus = self.modulus
        for limb, q in enumerate(self.moduli):
            part = modulus // q
            total += words[..., limb, :] * (part * pow(part, -1, q))
        return (total + modulus // 2) % modulus - modulus // 2

    # Transforms

    def ntt(self, a: Array) -> Array:
        """Return the values of polynomials, in bit-reversed order; see `backend.definition.ntt`."""
        return self.backend.ntt(self._element(a, "ntt", "a"), self.moduli)

    def intt(self, a: Array) -> Array:
        """Return the coefficients of polynomials from their values."""
        return self.backend.intt(self._element(a, "intt", "a"), self.moduli)

    # Arithmetic, alike on coefficients and on values but for the product

    def add(self, a: Array, b: Array) -> Array:
        """Return ``a + b``; b broadcasts to a's shape."""
        return self.backend.add_rns(*self._pair("add", a, b), self.moduli)

    def sub(self, a: Array, b: Array) -> Array:
        """Return ``a - b``; b broadcasts to a's shape."""
        return self.backend.sub_rns(*self._pair("sub", a, b), self.moduli)

    def neg(self, a: Array) -> Array:
        """Return ``-a``."""
        return self.backend.neg_rns(self._element(a, "neg", "a"), self.moduli)

    def mul(self, a: Array, b: Array) -> Array:
        """Return the product of values word by word; b broadcasts to a's shape."""
        return self.backend.mul_rns(*self._pair("mul", a, b), self.moduli)

    def mul_integer(self, a: Array, factor: int) -> Array:
        """Return a times an integer of any size and sign."""
        a = self._element(a, "mul_integer", "a")
        column = _column(self.backend, factor % self.modulus, self.moduli)
        return self.backend.mul_rns(a, column, self.moduli)

    def dot(
        self,
        a: Array,
        b: Array,
        base: Array | None = None,
        factor: int = 1,
        head: int | None = None,
    ) -> Array:
        """Return ``out[k, p] = sum over d of a[d, p] b[d, k]`` of values, reduced once.

        Args:
            a: (D, P, limbs, N) values, D at most 1024, or 1023 with a base.
            b: (D, K, limbs, N) values, or more limbs with a head.
            base: (K', P, limbs', N) values, or None: ``factor base[k, p]`` is added to the first
                limbs' of the first K' results.
            factor: an integer of any size and sign.
            head: b's first limbs, so many, and its last stand for all of this ring; those between
                are passed over. None where b has this ring's limbs.

        Returns:
            (K, P, limbs, N) values.
        """
        a, b = self._element(a, "dot", "a"), self._words(b, "dot", "b")
        if base is not None:
            self._words(base, "dot", "base")
        return self.backend.dot_rns(a, b, self.moduli, base, factor, head)

    def tensor(self, a: Array, b: Array) -> Array:
        """Return ``(a0 b0, a0 b1 + a1 b0, a1 b1)`` of values, summed over pairs and reduced once.

        Args:
            a: (D, 2, limbs, N) values, D at most 512.
            b: as many.

        Returns:
            (3, limbs, N) values: the coefficients of ``(a0 + a1 Y) (b0 + b1 Y)``.
        """
        a, b = self._element(a, "tensor", "a"), self._element(b, "tensor", "b")
        return self.backend.tensor_rns(a, b, self.moduli)

    def digits(self, a: Array, special: Sequence[int], digit_limbs: int) -> Array:
        """Return the digits of a polynomial's values, modulo Q and further primes.

        Args:
            a: (limbs, N) values.
            special: further primes.
            digit_limbs: limbs of a digit, of which the last may have fewer.

        Returns:
            (digits, limbs + special, N) values of ``over(moduli + special)``. Digit j is the
            integer nearest to zero with the residues of limbs j digit_limbs and on.

        Error: that of `extend`.
        Cost: the inverse transform of all limbs, and of each digit a transform of all but its own.
        """
        every = _checked(self.ring_degree, (*self.moduli, *special))
        special, a = every[len(self.moduli) :], self._element(a, "digits", "a")
        return self.backend.digits_rns(a, self.moduli, special, digit_limbs)

    def automorphism(self, a: Array, power: int, *, values: bool) -> Array:
        """Return polynomials with X^power in place of X.

        Args:
            a: polynomials.
            power: odd, any sign.
            values: whether a holds values, whose order changes, or coefficients.

        Raises:
            ValueError: power is even.
        """
        a = self._element(a, "automorphism", "a")
        power %= 2 * self.ring_degree
        index = _index(self.backend, self.ring_degree, power, values)
        return self.backend.automorphism_rns(a, index, self.moduli)

    # Other primes

    def extend(self, a: Array, others: Sequence[int]) -> Array:
        """Return the residues modulo other primes of coefficients in [-Q/2, Q/2).

        Args:
            a: (..., limbs, N) coefficients.
            others: primes.

        Returns:
            (..., others, N) coefficients of ``over(others)``.

        Error: none for |x| < Q (1/2 - limbs 2^-36); x may stand as x + Q nearer to -Q/2.
        """
        others = _checked(self.ring_degree, tuple(others))
        return self.backend.extend_rns(self._element(a, "extend", "a"), self.moduli, others)

    def mod_up(self, a: Array, others: Sequence[int]) -> Array:
        """Return the same coefficients modulo Q and further primes: a and its `extend` behind it.

        Error: that of `extend`.
        """
        further = self.extend(a, others)
        return self.backend.xp.concatenate((a, further), axis=-2)

    def mod_raise(self, a: Array, others: Sequence[int]) -> Array:
        """Return P a modulo Q P, where P is the product of further primes; exact in both domains.

        ``over(moduli + others).mod_down`` by as many primes gives a back.
        """
        others = _checked(self.ring_degree, tuple(others))
        scaled = self.mul_integer(a, math.prod(others))
        zeros = self.backend.xp.zeros((*a.shape[:-2], len(others), self.ring_degree), np.uint32)
        return self.backend.xp.concatenate((scaled, zeros), axis=-2)

    def mod_down(self, a: Array, count: int = 1, *, values: bool) -> Array:
        """Return a / P, rounded to the nearest integer, where P is the product of the last primes.

        One prime is a rescaling; the special primes of a key switch go together.

        Args:
            a: (..., limbs, N) polynomials.
            count: how many primes go, at least 1 and fewer than there are.
            values: whether a holds values, or coefficients.

        Returns:
            (..., limbs - count, N) polynomials of ``over(moduli[:-count])``, of the same kind.

        Raises:
            ValueError: count out of range.

        Error: below 1/2 + count 2^-36.
        Cost: with values, the inverse transform of count limbs, and a transform of the others.
        """
        a = self._element(a, "mod_down", "a")
        kept = len(self.moduli) - count
        if not 0 < kept < len(self.moduli):
            raise ArgumentValueError(
                f"RnsRing.mod_down: count must be in [1, {len(self.moduli)}), got {count}"
            )
        moduli, dropped = self.moduli[:kept], self.moduli[kept:]
        top, rest = a[..., :kept, :], a[..., kept:, :]
        if values:
            rest = self.backend.intt(rest, dropped)
        rest = self.backend.extend_rns(rest, dropped, moduli)
        if values:
            rest = self.backend.ntt(rest, moduli)
        factors = _inverses(dropped, moduli)
        return self.backend.sub_scale_rns(top, rest, factors, moduli)

    def __eq__(self, other: object) -> bool:
        """Two rings are equal where degree, moduli and device are."""
        if not isinstance(other, RnsRing):
            return NotImplemented
        same = (self.ring_degree, self.moduli) == (other.ring_degree, other.moduli)
        return same and self.backend is other.backend

    def __hash__(self) -> int:
        return hash((self.ring_degree, self.moduli, self.device))

    def __repr__(self) -> str:
        return f"RnsRing({self.ring_degree}, {self.moduli}, device={self.device!r})"

    def _pair(self, name: str, a: Array, b: Array) -> tuple[Array, Array]:
        a = self._element(a, name, "a")
        return a, self._words(b, name, "b")

    def _element(self, value: Any, name: str, argument: str) -> Array:
        """Check one operand: an array of this device, uint32 of shape (..., limbs, N)."""
        shape = (len(self.moduli), self.ring_degree)
        if self._words(value, name, argument).shape[-2:] != shape:
            raise ArgumentValueError(
                f"RnsRing.{name}: {argument} must have shape (..., {shape[0]}, {shape[1]}), got "
                f"{value.shape}"
            )
        return value

    def _words(self, value: Any, name: str, argument: str) -> Array:
        """Check one operand of any shape: a uint32 array of this device."""
        if not isinstance(value, self.backend.xp.ndarray) or value.dtype != np.uint32:
            got = getattr(value, "dtype", None) or type(value).__name__
            raise ArgumentTypeError(
                f"RnsRing.{name}: {argument} must be a uint32 array of device {self.device!r} "
                f"(see RnsRing.asarray), got {got}"
            )
        return value


@lru_cache(maxsize=1024)
def _checked(ring_degree: int, moduli: tuple[int, ...]) -> tuple[int, ...]:
    """Return moduli that are fit for a ring, or refuse them."""
    if not moduli or len(set(moduli)) != len(moduli):
        raise ArgumentValueError(
            f"RnsRing: moduli must be different primes, one at least, got {moduli}"
        )
    check_moduli("RnsRing", ring_degree, moduli)
    for modulus in moduli:
        if not is_prime(modulus):
            raise ArgumentValueError(f"RnsRing: moduli must be primes, got {modulus}")
    return moduli


@lru_cache(maxsize=1024)
def _inverses(dropped: tuple[int, ...], moduli: tuple[int, ...]) -> tuple[int, ...]:
    """Return the inverse of a product modulo each prime."""
    product = math.prod(dropped)
    return tuple(pow(product, -1, q) for q in moduli)


@lru_cache(maxsize=256)
def _column(backend: Backend, integer: int, moduli: tuple[int, ...]) -> Array:
    """Return the residues of an integer on the device, a column."""
    return backend.asarray(np.array([integer % q for q in moduli], np.uint32)[:, None])


@lru_cache(maxsize=256)
def _index(backend: Backend, ring_degree: int, power: int, values: bool) -> Array:
    """Return the index of an automorphism on the device."""
    return backend.asarray(automorphism_index(ring_degree, power, values))
