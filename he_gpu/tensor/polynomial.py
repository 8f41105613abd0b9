"""Polynomials of secret arrays: of any function on an interval, with a derived error.

Layer: tensor, above mpc. `fitting` finds the coefficients, `plan` the order of the products; here
words are scaled, multiplied level by level and rounded. Never reads a secret.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import numpy as np

from he_gpu.backend import Array
from he_gpu.channel import Cost
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.ring.fixedpoint import as_reals, word_bits
from he_gpu.tensor import fitting
from he_gpu.tensor.arithmetic import Arithmetic
from he_gpu.tensor.evaluation import Layout, Scaling, end_words, evaluate, openings, rounding_error
from he_gpu.tensor.layout import check_integer
from he_gpu.tensor.plan import Plan, plan

Tensor = TypeVar("Tensor", bound=Arithmetic)
BASES = ("chebyshev", "taylor")


def approximate(
    f: fitting.Function,
    interval: tuple[float, float],
    degree: int | None = None,
    max_error: float | None = None,
    basis: str = "chebyshev",
) -> Polynomial:
    """Return a polynomial near a public function on an interval, for use on secret tensors.

    Args:
        f: a function of one real number; one that takes float64 arrays is asked once.
        interval: its two ends, low < high.
        degree: of the polynomial, at most 256; or
        max_error: the largest difference from f that is allowed on the interval, before any
            rounding; the smallest degree that meets it is taken.
        basis: "chebyshev" for the Chebyshev series of f, whose error is near the least possible,
            or "taylor" for the Taylor series about the middle of the interval, of degree 64 at
            most. Its coefficients are found from values of f on a circle of complex numbers where
            f takes these, and else from real ones, which serve a dozen degrees.

    Returns:
        A `Polynomial`.

    Raises:
        ValueError: neither or both of degree and max_error, an empty interval, f not finite on
            it, a max_error that no degree meets, no derivatives found, another basis.
        TypeError: f is no function or gives no real numbers.

    >>> import numpy as np
    >>> import he_gpu as he
    >>> bump = he.approximate(lambda x: np.exp(-x * x), (-3, 3), max_error=1e-4)
    >>> bump.degree, bump.products, bool(bump.approximation_error <= 1e-4)
    (18, 6, True)
    >>> with he.Session() as s:
    ...     y = bump(s.share([0.0, 1.0, 100.0])).reveal()
    >>> bool(np.abs(y - np.exp([0.0, -1.0, -9.0])).max() < bump.error())
    True
    """
    if not callable(f):
        raise ArgumentTypeError(f"approximate: f must be a function, got {type(f).__name__}")
    low, high = _interval(interval)
    if basis not in BASES:
        raise ArgumentValueError(f"approximate: basis must be one of {BASES}, got {basis!r}")
    if (degree is None) == (max_error is None):
        raise ArgumentValueError(
            "approximate: one of degree and max_error expected, got "
            f"{'neither' if degree is None else 'both'}"
        )
    if degree is not None:
        check_integer(degree, "approximate: degree")
        most = fitting.MOST if basis == "chebyshev" else fitting.MOST // 4
        if not 0 <= degree <= most:
            raise ArgumentValueError(
                f"approximate: degree must be in [0, {most}] for {basis}, got {degree}"
            )
    else:
        allowed = as_reals(max_error, "approximate", "max_error")
        if allowed.ndim or not allowed > 0:
            raise ArgumentValueError(f"approximate: max_error must be above 0, got {max_error}")
        max_error = float(allowed)
    fit = getattr(fitting, basis)(f, low, high, degree, max_error)
    return Polynomial(fit, (low, high), basis)


class Polynomial:
    """A public polynomial on an interval; `approximate` makes it. Immutable.

    With u = (x - middle) / (half of the width) in [-1, 1] it is a sum of Chebyshev polynomials
    T_n(u), whichever basis it came from, so that no large terms cancel. On shares T_n has k / 2 - 2
    fraction bits, and the products follow Paterson and Stockmeyer.

    Attributes:
        coefficients: those of T_n(u), or for "taylor" of the powers of x - middle; read-only.
        interval: its two ends.
        basis: "chebyshev" or "taylor".
        degree: of the polynomial.
        approximation_error: the largest difference from the function on 16,386 points of the
            interval, in float64: no proof between them, and no rounding of shares; see `error`.
        levels: steps of products that follow one another.
        products: of secrets, squares included.

    Example:
        >>> import he_gpu as he
        >>> p = he.approximate(lambda x: 1 + x**3, (-2, 2), degree=3)
        >>> p.degree, p.levels, p.products, p(1.5).round(6).tolist()
        (3, 2, 2, 4.375)
        >>> with he.Session(device="cpu") as s:
        ...     x = s.share([0.5, 1.5])
        ...     y, cost = p.evaluate(x).reveal(), p.cost(s, x.size)
        >>> bool(abs(y - [1.125, 4.375]).max() < p.error()), cost.rounds
        (True, 4)
    """

    __slots__ = ("_plan", "_series", "approximation_error", "basis", "coefficients", "interval")

    _plan: Plan | None
    _series: Array
    approximation_error: float
    basis: str
    coefficients: Array
    interval: tuple[float, float]

    def __init__(self, fit: fitting.Fit, interval: tuple[float, float], basis: str):
        series = np.array(fit.chebyshev, np.float64)
        coefficients = np.array(fit.coefficients, np.float64)
        series.flags.writeable = coefficients.flags.writeable = False
        values = {
            "_series": series,
            "_plan": plan(series) if series[1:].any() else None,
            "approximation_error": fit.error,
            "basis": basis,
            "coefficients": coefficients,
            "interval": interval,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def degree(self) -> int:
        """The degree of the polynomial."""
        return len(self.coefficients) - 1

    @property
    def levels(self) -> int:
        """Steps that follow one another, each of 2 rounds at most."""
        return self._plan.levels if self._plan else 0

    @property
    def products(self) -> int:
        """Products of secrets that are taken, squares included."""
        return self._plan.products if self._plan else 0

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise ArgumentTypeError(f"a Polynomial is immutable: {name} cannot be set")

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"Polynomial(degree={self.degree}, interval=({low:g}, {high:g}), basis={self.basis!r}, "
            f"approximation_error={self.approximation_error:.3g})"
        )

    def __call__(self, x: Any, frac_bits: int | None = None, saturate: bool = True) -> Any:
        """Return the polynomial at x, or at the nearest end of the interval for x beyond it.

        The end of a secret x is the last of its encodings that lies in the interval.

        Args:
            x: a SecretTensor, or public reals.
            frac_bits: of a secret result, the session's by default.
            saturate: False for a tensor that is known to lie in the interval, which then is not
                clipped; beyond it the result is wrong, and protocol="plain" may raise.

        Returns:
            A SecretTensor of x's shape; a float64 ndarray for public x.

        Raises:
            ValueError: as `evaluate`; an interval in which no encoding of x lies.

        Range: |x| < 2**(k - 2 - frac_bits) of x, the whole encoding.
        Error: `error`.
        Cost: `SecretTensor.clip` with two public bounds, unless saturate is False, and `cost`.
        Leaks: nothing.
        Source: Paterson and Stockmeyer, SIAM J. Comput. 1973.
        """
        low, high = self.interval
        if isinstance(x, Arithmetic):
            x.session.check_open("polynomial")
            return self.evaluate(limited(x, self.interval)[0] if saturate else x, frac_bits)
        reals = as_reals(x, "polynomial", "x")
        u = fitting.to_unit(np.clip(reals, low, high) if saturate else reals, low, high)
        return np.asarray(np.polynomial.chebyshev.chebval(u, self._series))

    def evaluate(self, x: Tensor, frac_bits: int | None = None) -> Tensor:
        """Return the polynomial at a secret tensor that lies in the interval.

        Args:
            x: of any frac_bits.
            frac_bits: of the result, the session's by default.

        Raises:
            ValueError: more frac_bits than the word has room for beside the values.

        Range: x in the interval; shares cannot see a value beyond.
        Error: `error`. Cost: `cost`. Leaks: nothing.
        """
        session = x.session
        session.check_open("polynomial")
        out = session.frac_bits if frac_bits is None else frac_bits
        check_integer(out, "polynomial: frac_bits")
        if self._plan is None:
            return x._constant(np.full(x.shape, self._series[0]), int(out), "polynomial")
        layout = Layout(self._plan, session.modulus, int(out))
        unit = Scaling(self.interval, x.frac_bits, session.modulus).apply(session, x._stack)
        return type(x)(session, evaluate(session.scheme, self._plan, layout, unit), int(out))

    def error(
        self, frac_bits: int = 16, modulus: int = 2**64, frac_bits_in: int | None = None
    ) -> float:
        """Return a bound on the difference between a result on shares and the function.

        The approximation error, plus one unit for the result's rounding, plus every other rounding
        times the derivative of the polynomial by what is rounded, the largest sum over 513 points
        of the interval, with a margin for terms of second order.

        Args:
            frac_bits: of the result.
            modulus: 2**64 or 2**32.
            frac_bits_in: of x, the same by default; its own rounding is not counted.
        """
        of_x = frac_bits if frac_bits_in is None else frac_bits_in
        rounding = 2.0 ** -(frac_bits + 1)
        if self._plan is not None:
            layout = Layout(self._plan, modulus, frac_bits)
            scaling = Scaling(self.interval, of_x, modulus)
            rounding = rounding_error(self._plan, layout, scaling.error)
        return self.approximation_error + rounding

    def cost(self, session: Any, size: int, frac_bits: int | None = None) -> Cost:
        """Return what `evaluate` costs in a session.

        Each level takes 1 round, or 2 where "additive" opens factors that it did not before. A
        half width that is no power of two takes one truncation more; so do more fraction bits of x
        than the interval leaves room for. For each element "additive"
        sends one word to each other party for each opened factor and each truncation, of which the
        dealer sends three; "replicated" sends two words for each truncation.

        Args:
            session: whose protocol, parties and ring count.
            size: elements of the tensor.
            frac_bits: of the tensor, the session's by default.
        """
        if self._plan is None or session.protocol == "plain":
            return Cost()
        word = word_bits(session.modulus) // 8 * size
        of_x = session.frac_bits if frac_bits is None else frac_bits
        scaled = Scaling(self.interval, of_x, session.modulus).truncations
        truncations = scaled + self._plan.roundings
        if session.protocol == "replicated":
            return Cost(2 * (scaled + self.levels), 2 * word * truncations, 0)
        opened = openings(self._plan)
        rounds = scaled + self.levels + sum(1 for count in opened if count)
        sent = word * (truncations + sum(opened)) * (session.n_parties - 1)
        return Cost(rounds, sent, 3 * word * truncations)


def limited(x: Tensor, interval: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return a tensor limited to the encodings in an interval, and how far it lay above.

    Cost: the scheme's `beyond`.
    """
    x = x._refined(*interval)
    scheme = x.session.scheme
    dtype, ones = np.dtype(f"i{x._stack.dtype.itemsize}"), (1,) * x.ndim
    words = end_words(interval, x.frac_bits, x.session.modulus)
    beyond = scheme.beyond(
        x._stack, *(np.full(ones, word, dtype).view(x._stack.dtype) for word in words)
    )
    below, above = beyond[:, 0], beyond[:, 1]
    inside = scheme.sub(scheme.add(x._stack, below), above)
    return x._like(inside), x._like(above)


def _interval(interval: Any) -> tuple[float, float]:
    ends = as_reals(interval, "approximate", "interval")
    if ends.shape != (2,) or not ends[0] < ends[1]:
        raise ArgumentValueError(
            f"approximate: interval must be two ends, low < high, got {interval!r}"
        )
    low, high = float(ends[0]), float(ends[1])
    if not 0 < (high - low) / 2 < np.inf:
        raise ArgumentValueError(
            f"approximate: half of the interval's width must be a float64, got {interval!r}"
        )
    return low, high
