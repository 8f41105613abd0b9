"""An encrypted vector and its operators.

Layer: he. A ciphertext is a pair of polynomials (c_0, c_1) in the evaluation domain, with
c_0 + c_1 s = scale * values + error. All but the pair is public: level, length, whether values are
real, a bound on their size and one on their error. What the operators do is in `arithmetic` and
`rotation`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NoReturn

from he_gpu.backend import Array
from he_gpu.errors import SecretAccessError
from he_gpu.he import arithmetic, linear, noise, polynomial, rotation, storage
from he_gpu.he.container import write
from he_gpu.he.evaluation_keys import EvaluationKeys


@dataclass(frozen=True, eq=False, repr=False)
class Ciphertext:
    """A vector that only the holder of the secret key can read; everybody can compute on it.

    ``+``, ``-`` and ``*`` take a ciphertext of the same key and length, a number, or a vector of
    numbers of that length; nothing else is broadcast. Ciphertexts of different levels are brought
    to the lower one. A product takes a level, but for one with an integer, which takes none; so
    does a quotient by a number or numbers. ``x ** k`` takes log2(k) levels, rounded up. ``@``
    multiplies by a matrix of numbers on either side (see `linear.product`), or is the inner product
    with a vector or with a ciphertext, which has length 1.

    Made by `Ckks.encrypt`; no operation changes one, and ``x += y`` makes another. What would need
    a value, as ``==``, ``float`` and NumPy's functions do, is refused.

    Raises:
        TypeError: an operand that is no ciphertext, number or numbers; what needs a value.
        ValueError: a ciphertext of other parameters, another key, device or length; numbers of
            another shape, NaN or infinity; no level left; a result that its level cannot hold.

    Attributes:
        components: (2, limbs, N) values of the two polynomials.
        level: how many products may follow.
        n_values: how many values the vector has; they stand in the first slots.
        span: slots from here on are zero; N / 2 where that is not known.
        is_real: whether decryption gives real numbers.
        size: no slot's value is larger in size, if no operand was larger than its own bound.
        error: bound on the error of each slot; see `noise` for how sure it is.
        keys: what computes on it.
        seed: of the second polynomial, where it is that of an encryption with the secret key.
        leftovers: whether slots behind the vector have parts of sums, which `sum` and `@` leave
            there. `rotate` refuses them; a product with a vector of ones clears them.
        packing: "slots", or "coefficients" for a polynomial of N real coefficients: ``*`` is then
            that of polynomials modulo X**N + 1, the negacyclic convolution, a vector operand holds
            coefficients, a number is a constant, and what moves slots is refused.

    Example:
        >>> from he_gpu.he.context import Ckks
        >>> from he_gpu.he.parameters import CkksParams
        >>> context = Ckks(CkksParams(depth=2, scale_bits=35), device="cpu")
        >>> x = context.encrypt([1.0, 2.0, 3.0])
        >>> y = 3 - x * x * [0.5, 0.25, 0]
        >>> (x.level, y.level), len(y), y.precision_bits > 10
        ((2, 0), 3, True)
        >>> context.decrypt(x.at_level(0) + y).round(3)
        array([3.5, 4. , 6. ])
        >>> context.decrypt(x.sum()).round(3), context.decrypt(x.rotate(-1) + 5).round(3)
        (array([6.]), array([5., 6., 7.]))
        >>> context.decrypt(x**2 / 4).round(3)
        array([0.25, 1.  , 2.25])
        >>> [context.decrypt(each + 5).round(3).tolist() for each in x.rotations([1, 2])]
        [[7.0, 8.0, 5.0], [8.0, 5.0, 5.0]]
        >>> context.decrypt((x * (1 + 1j)).conjugate()).round(3)
        array([1.-1.j, 2.-2.j, 3.-3.j])
        >>> context.decrypt(x.polynomial([1, 0, 0.5])).round(3)  # 1 + x**2 / 2
        array([1.5, 3. , 5.5])
        >>> context.decrypt(x.chebyshev([0, 0, 1], interval=(1, 3))).round(3)  # T_2(x - 2)
        array([ 1., -1.,  1.])
        >>> x.device, x.scale == context.params.scale
        ('cpu', True)
        >>> context.load_ciphertext(x.serialize())
        <Ciphertext of 3 values, level 2, ... bits, cpu>
        >>> y * x
        Traceback (most recent call last):
        ...
        he_gpu.errors.ExhaustedLevelError: Ciphertext.mul: the operand is at level 0, ...
    """

    components: Array
    level: int
    n_values: int
    span: int
    is_real: bool
    size: float
    error: float
    keys: EvaluationKeys
    seed: bytes | None = None
    leftovers: bool = False
    packing: str = "slots"

    __array_ufunc__ = None

    @property
    def scale(self) -> Fraction:
        """What a slot's 1 stands as, exactly; it follows from the level."""
        return self.keys.ladder.scale(self.level)

    @property
    def precision_bits(self) -> float:
        """How many bits behind the binary point of each value are right: -log2 of `error`."""
        return noise.precision_bits(self.error)

    @property
    def device(self) -> str:
        """Name of the device that holds it."""
        return self.keys.ladder.backend.name

    def __len__(self) -> int:
        return self.n_values

    # Arithmetic

    def __add__(self, other: Any) -> Ciphertext:
        return arithmetic.add(self, other)

    def __radd__(self, other: Any) -> Ciphertext:
        return arithmetic.add(self, other)

    def __sub__(self, other: Any) -> Ciphertext:
        return arithmetic.sub(self, other)

    def __rsub__(self, other: Any) -> Ciphertext:
        return arithmetic.add(-self, other)

    def __mul__(self, other: Any) -> Ciphertext:
        return arithmetic.mul(self, other)

    def __rmul__(self, other: Any) -> Ciphertext:
        return arithmetic.mul(self, other)

    def __truediv__(self, other: Any) -> Ciphertext:
        return arithmetic.truediv(self, other)

    def __pow__(self, exponent: Any) -> Ciphertext:
        return arithmetic.power(self, exponent)

    def __matmul__(self, other: Any) -> Ciphertext:
        return linear.matmul(self, other, left=False)

    def __rmatmul__(self, other: Any) -> Ciphertext:
        return linear.matmul(self, other, left=True)

    def __neg__(self) -> Ciphertext:
        return arithmetic.neg(self)

    def __pos__(self) -> Ciphertext:
        return self

    def at_level(self, level: int) -> Ciphertext:
        """Return the same values at a lower level, where computing is cheaper.

        Raises:
            TypeError: a level that is no integer.
            ValueError: a level above this one's, or below 0; values that it cannot hold.

        Error: see `noise`; a relative one of some 2**-scale_bits.
        """
        return arithmetic.at_level(self, level)

    # Slots

    def rotate(self, steps: int) -> Ciphertext:
        """Return the slots rotated to the left: slot 0 gets what stood in slot ``steps``.

        All N / 2 slots take part, and those behind the vector's length are zero at first, so that
        what leaves on the left comes back at the far end and not behind the last value.

        Args:
            steps: an integer of any sign and size; N / 2 steps change nothing.

        Raises:
            TypeError: steps that are no integer.
            ValueError: a rotation for which this context has no key; slots with leftovers.

        Error: that of a key switch for each key.

        Cost: a key switch where the rotation has its own key, otherwise one for each power of two
            that it is made of.
        """
        return rotation.rotate(self, steps)

    def rotations(self, steps: Iterable[int]) -> list[Ciphertext]:
        """Return several rotations; they share a part of the work where each has its own key."""
        return rotation.rotate_many(self, steps)

    def conjugate(self) -> Ciphertext:
        """Return the complex conjugates of all values; of real ones this ciphertext.

        Raises:
            ValueError: a context without the key of conjugation.

        Cost: a key switch.
        """
        return rotation.conjugate(self)

    def sum(self) -> Ciphertext:
        """Return the sum of the vector's values, as a vector of length 1.

        ``np.ones((n, 1)) @ x.sum()`` has it n times, a level lower.

        Raises:
            ValueError: a rotation for which this context has no key; a sum that the level cannot
                hold.

        Error: the values' errors, added up, and those of the rotations.
        Cost: a rotation for each doubling up to the vector's length. Where slots behind it are not
            zero, as after `rotate`, one more for each binary 1 of the length but the first.
        """
        return rotation.total(self)

    # Files

    def serialize(self) -> bytes:
        """Return this ciphertext as bytes, for `Ckks.load_ciphertext` of the same key.

        One of `Ckks.encrypt_with_secret_key` is half as large as others.
        """
        return storage.of_ciphertext(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what `serialize` returns to a file, whole or not at all.

        Raises:
            OSError: it cannot be written.

        Example:
            >>> import tempfile
            >>> from he_gpu import Ckks, CkksParams
            >>> context = Ckks(CkksParams(depth=0, scale_bits=24), "cpu")
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     context.encrypt([1.0, 2.0]).save(f"{folder}/x.ct")
            ...     context.decrypt(context.load_ciphertext(f"{folder}/x.ct")).round(1)
            array([1., 2.])
        """
        write(path, self.serialize(), private=False)

    # Functions

    def polynomial(self, coefficients: Any) -> Ciphertext:
        """Return ``c_0 + c_1 x + c_2 x**2 + ...`` of each value; see `polynomial.power_series`."""
        return polynomial.power_series(self, coefficients)

    def chebyshev(
        self, coefficients: Any, interval: tuple[float, float] = (-1.0, 1.0)
    ) -> Ciphertext:
        """Return a sum of Chebyshev polynomials; see `polynomial.chebyshev_series`.

        Better than powers for a function's approximation: its coefficients stay small.
        """
        return polynomial.chebyshev_series(self, coefficients, interval)

    # What a ciphertext is not

    def replace(self, **changes: Any) -> Ciphertext:
        """Return a ciphertext that differs in some attributes, and in its seed.

        Nothing is checked before decryption, which refuses values beyond the size that is stated:
        it is for who knows a closer bound than operators can, as that values
        in [0, 1] stay there.

        Example:
            >>> from he_gpu import Ckks, CkksParams
            >>> x = Ckks(CkksParams(depth=1, scale_bits=30), "cpu").encrypt([0.25, 3.0])
            >>> x.size, x.replace(size=3.0).size
            (4.0, 3.0)
        """
        return replace(self, **{"seed": None, **changes})

    def __eq__(self, other: object) -> NoReturn:
        self._refuse("compared")

    def __bool__(self) -> NoReturn:
        self._refuse("compared")

    def __float__(self) -> NoReturn:
        self._refuse("made a number")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse("made an array")

    def __array_function__(self, function: Any, *_: Any) -> NoReturn:
        raise SecretAccessError(
            f"Ciphertext: numpy.{function.__name__} takes none; there are + - * / ** @ and the "
            "methods sum, rotate, conjugate, polynomial and chebyshev"
        )

    def __iter__(self) -> NoReturn:
        self._refuse("iterated")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretAccessError("Ciphertext: cannot be pickled, for its keys would go with it")

    def __repr__(self) -> str:
        what = "values" if self.packing == "slots" else self.packing
        return (
            f"<Ciphertext of {self.n_values} {what}, level {self.level}, "
            f"{self.precision_bits:.1f} bits, {self.device}>"
        )

    def _refuse(self, what: str) -> NoReturn:
        raise SecretAccessError(f"Ciphertext: cannot be {what}; decrypt it first")
