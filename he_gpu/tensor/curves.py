"""Smooth functions of secret arrays: sigmoid, tanh, erf, GELU, SiLU, softplus and exp.

Layer: tensor, above `polynomial`. Interval and degree follow from the fraction bits by computation;
beyond the interval a function is its constant or its asymptote. Never reads a secret.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from he_gpu.backend import Array
from he_gpu.channel import Cost
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.mpc.sums import Operand, SumOfProducts
from he_gpu.ring.fixedpoint import as_reals, word_bits
from he_gpu.tensor.arithmetic import Arithmetic
from he_gpu.tensor.layout import check_integer
from he_gpu.tensor.polynomial import Polynomial, approximate, limited

Self = TypeVar("Self", bound="Curves")

APPROXIMATION = 0.95
"""Units of the result that the approximation of a curve may be off, its ends included."""
GELUS = ("none", "tanh")


class Curve(NamedTuple):
    """A function that far from 0 is constant, or 0 to the left and x to the right.

    Attributes:
        f: of float64 arrays.
        ramp: whether it is x to the right.
    """

    f: Callable[[Array], Array]
    ramp: bool


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 + 0.5 * np.tanh(x / 2))


def _erf(x: Array) -> Array:
    return np.asarray([math.erf(value) for value in x.reshape(-1)]).reshape(x.shape)


CURVES = {
    "sigmoid": Curve(_sigmoid, False),
    "tanh": Curve(np.tanh, False),
    "erf": Curve(_erf, False),
    "gelu": Curve(lambda x: x / 2 * (1 + _erf(x / math.sqrt(2))), True),
    "gelu_tanh": Curve(
        lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), True
    ),
    "silu": Curve(lambda x: x * _sigmoid(x), True),
    "softplus": Curve(lambda x: np.logaddexp(x, 0), True),
}


class Curves(Arithmetic):
    """The smooth functions of a `SecretTensor`.

    All but `exp` are a polynomial on [-L, L] of the value clipped to it, plus max(x - L, 0) for
    those that grow like x. L and the degree are computed for the session's frac_bits, so that the
    approximation is within 0.95 units of the result, on the whole real line. With 16 fraction bits
    modulo 2^64, and x of as many:

        function  L      degree  rounds, bytes per element     rounds, bytes per element
                                 of "additive", two parties    of "replicated"
        sigmoid   11     37      22      204.875               24      236.875
        tanh      6      45      22      220.875               24      268.875
        erf       3.25   19      21      158                   24      190
        gelu      4.75   22      18      158                   20      190
        silu      13.75  54      22      214                   24      254
        softplus  11.25  36      20      182                   22      222
        exp       10     10      23      172.875               26      204.875

    Range: |x| < 2**(k - 2 - frac_bits), for the larger frac_bits of x and the session; for those
        that grow like x less by their error.
    Error: `Polynomial.error` of `curve`: the approximation, and roundings that add 1.01 units or
        less modulo 2^64 with 16 fraction bits: 1.96 units, 3e-5, on the whole real line. With 10
        modulo 2^32 it is 2.9 units, 2.8e-3, but 4.9 of `silu`.
    Cost: the scheme's `beyond`, and `Polynomial.cost` of `curve`; where x has more frac_bits than
        the session one truncation more for those that grow like x.
    Leaks: nothing.
    Source: Chebyshev series by Paterson and Stockmeyer, see `Polynomial`.
    """

    __slots__ = ()

    def sigmoid(self: Self) -> Self:
        """Return 1 / (1 + exp(-x)); see `Curves`."""
        return self._curve("sigmoid")

    def tanh(self: Self) -> Self:
        """Return the hyperbolic tangent; see `Curves`."""
        return self._curve("tanh")

    def erf(self: Self) -> Self:
        """Return the error function; see `Curves`."""
        return self._curve("erf")

    def gelu(self: Self, approximate: str = "none") -> Self:
        """Return x times the normal distribution function, as PyTorch does; see `Curves`.

        Args:
            approximate: "none" for the function itself, by erf, or "tanh" for the other function
                that goes by this name.
        """
        if approximate not in GELUS:
            raise ArgumentValueError(
                f"gelu: approximate must be one of {GELUS}, got {approximate!r}"
            )
        return self._curve("gelu" if approximate == "none" else "gelu_tanh")

    def silu(self: Self) -> Self:
        """Return x * sigmoid(x); see `Curves`."""
        return self._curve("silu")

    def softplus(self: Self) -> Self:
        """Return log(1 + exp(x)); see `Curves`."""
        return self._curve("softplus")

    def exp(self: Self, frac_bits: int | None = None, high: float = 10.0) -> Self:
        """Return e to the power of x, or of high, rounded down to a unit of x, where x is above.

        With b = k / 2 - 1 and top the next multiple of log(2) from high on, it is a polynomial of
        exp((x - top) / 2**m) and m squares, the values of which are below 1 and keep b fraction
        bits. The last square is shifted to exp(top) times it.

        Args:
            frac_bits: of the result, the session's by default. More are needed where small results
                are to have a small relative error.
            high: from where on the result stays exp(high). A smaller one makes the rest more
                precise.

        Raises:
            ValueError: exp(high) with frac_bits does not fit: more than k - 4 bits altogether; a
                high that is not finite.
            TypeError: a high that is no number.

        Range: |x| < 2**(k - 2 - frac_bits), for the larger frac_bits of x and the session.
        Error: `Exponential.error` of `exponential`: a unit of 2**-frac_bits, and relative to the
            result some 2**(1 - b) * exp((top - x) / 2). With high = 10 modulo 2^64 that is less
            than a relative 1e-3 on [-16, 10] for frac_bits=36, and for 16 less than a unit and a
            relative 5e-5 of results of a unit or more. Modulo 2^32 the second term is 26 units of
            10 fraction bits at x = 0, and 1.4 with high = 2. To the far left the result is 0 or a
            unit.
        Cost: the scheme's `beyond` and `Exponential.cost`; see the table of `Curves`.
        Leaks: nothing.
        """
        session = self.session
        session.check_open("exp")
        out = session.frac_bits if frac_bits is None else frac_bits
        check_integer(out, "exp: frac_bits")
        if isinstance(high, bool) or as_reals(high, "exp", "high").ndim:
            raise ArgumentTypeError(f"exp: high must be a number, got {high!r}")
        steps = exponential(int(out), session.modulus, float(high))
        x, _ = limited(self, steps.polynomial.interval)
        return type(self)(session, steps.evaluate(x), int(out))

    def _curve(self: Self, name: str) -> Self:
        """Return a curve: its polynomial inside, its constants or asymptotes outside."""
        session = self.session
        session.check_open(name)
        polynomial = curve(name, session.frac_bits)
        x, above = limited(self, polynomial.interval)
        y = polynomial.evaluate(x)
        if not CURVES[name].ramp:
            return y
        if above.frac_bits > y.frac_bits:
            above = above.with_frac_bits(y.frac_bits)
        return y + above


@lru_cache(maxsize=256)
def curve(name: str, frac_bits: int) -> Polynomial:
    """Return the polynomial of a curve on [-L, L] for results of some fraction bits.

    L runs over quarters, from where the curve is 1.6 times the tolerance from its asymptote to
    where it is 0.2 times; of the smallest degrees that meet the tolerance the one with the cheapest
    plan is taken. The tolerance also holds for the asymptotes beyond both ends.
    """
    f, ramp = CURVES[name]
    tolerance = math.ldexp(APPROXIMATION, -frac_bits)

    def tail(at: float) -> float:
        right, left = f(np.asarray([40.0, at, -at, -40.0]))[[1, 2]] - (at if ramp else 1, 0)
        return max(abs(float(right)), abs(float(left)) if ramp else 0.0)

    quarters = [n / 4 for n in range(4, 160)]
    best: tuple[float, Polynomial] | None = None
    for at in quarters:
        if tail(at) > 1.6 * tolerance:
            continue
        limits = np.asarray([0.0, at]) if ramp else f(np.asarray([-40.0, 40.0]))
        for part in (1.0, 0.8):
            found = approximate(f, (-at, at), max_error=part * tolerance)
            ends = np.abs(found(np.asarray([-at, at])) - limits).max()
            if ends <= tolerance:
                cost = found.products + 0.3 * found.levels
                if best is None or cost < best[0] - 1e-9:
                    best = cost, found
                break
        if tail(at) <= 0.2 * tolerance:
            break
    if best is None:
        raise ArgumentValueError(f"{name}: {frac_bits} fraction bits are too many")
    return best[1]


class Exponential(NamedTuple):
    """How exp is computed for a ring, fraction bits and an end.

    Attributes:
        polynomial: of exp((x - top) / 2**squares) on the interval of x that counts.
        squares: m.
        bits: fraction bits of every value but the last.
        drop: bits that the last square drops.
        exponent: the power of 2 that exp(top) is.
        frac_bits: of the result.
    """

    polynomial: Polynomial
    squares: int
    bits: int
    drop: int
    exponent: int
    frac_bits: int

    def error(self, x: Array, frac_bits_in: int | None = None) -> Array:
        """Return for each x up to the end a bound on the difference of the result from exp(x).

        Each square doubles the relative error that it finds and adds a unit.

        Args:
            x: public reals.
            frac_bits_in: of the secret x, those of the result by default.
        """
        modulus = 4 ** (self.bits + 1)
        of_x = self.frac_bits if frac_bits_in is None else frac_bits_in
        error = self.polynomial.error(self.bits, modulus, of_x)
        log = np.maximum(x, self.polynomial.interval[0]) - self.exponent * math.log(2)
        for step in range(self.squares):
            value = np.exp(log / 2 ** (self.squares - step))
            error = 2 * value * error + error**2 + math.ldexp(1, -self.bits)
        exact = error - math.ldexp(1, -self.bits)  # the last one has its own unit
        shift = np.exp(np.maximum(x, self.polynomial.interval[0])) - np.exp(x)
        return np.asarray(np.ldexp(exact, self.exponent) + math.ldexp(1, -self.frac_bits) + shift)

    def cost(self, session: Any, size: int, frac_bits: int | None = None) -> Cost:
        """Return what `evaluate` costs in a session; see `Polynomial.cost`."""
        whole = self.polynomial.cost(session, size, frac_bits)
        if session.protocol == "plain":
            return whole
        word = word_bits(session.modulus) // 8 * size * self.squares
        if session.protocol == "replicated":
            return Cost(whole.rounds + 2 * self.squares, whole.bytes_sent + 2 * word, 0)
        return Cost(
            whole.rounds + 2 * self.squares,
            whole.bytes_sent + 2 * word * (session.n_parties - 1),
            whole.dealer_bytes + 3 * word,
        )

    def evaluate(self, x: Arithmetic) -> Array:
        """Return the stack of the exponential of a tensor that lies in the interval."""
        scheme = x.session.scheme
        stack = self.polynomial.evaluate(x, self.bits)._stack
        for step in range(self.squares):
            last = step == self.squares - 1
            factor = Operand(stack)
            square = SumOfProducts(((factor, factor),), None, 0, self.drop if last else self.bits)
            (stack,) = scheme.sums_of_products([square])
        return stack


@lru_cache(maxsize=256)
def exponential(frac_bits: int, modulus: int, high: float = 10.0) -> Exponential:
    """Return the cheapest way to exp, see `Curves.exp`, for results of some fraction bits."""
    k = word_bits(modulus)
    bits = k // 2 - 1
    most = (2 * bits - 1) * math.log(2)
    if not -k <= high < most:
        raise ArgumentValueError(
            f"exp: high must be in [{-k}, {most:.2f}) modulo 2**{k}, got {high:g}"
        )
    exponent = math.floor(high / math.log(2)) + 1
    top = exponent * math.log(2)
    if top - high < 0.01:  # squares must stay below 2**(k - 2)
        exponent, top = exponent + 1, top + math.log(2)
    drop = 2 * bits - exponent - frac_bits
    if frac_bits < 0 or not 0 < drop < k - 2:
        least = max(0, 2 * bits - exponent - (k - 3))
        raise ArgumentValueError(
            f"exp: frac_bits must be in [{least}, {2 * bits - exponent - 1}] for high {high:g} "
            f"modulo 2**{k}, got {frac_bits}"
        )
    part = 4 if frac_bits > 1 else 1  # low is an encoding of x
    low = min(-math.ceil(part * (frac_bits + 1) * math.log(2)) / part, math.floor(high) - 1.0)
    best: tuple[float, Exponential] | None = None
    for squares in range(2, 7):  # the more, the less what the polynomial is off by counts

        def root(x: Any, squares: int = squares) -> Any:
            return np.exp((x - top) / 2**squares)

        polynomial = approximate(root, (low, high), max_error=2.0 ** -(bits + 1))
        cost = polynomial.products + 0.3 * polynomial.levels + 1.3 * squares
        if best is None or cost < best[0] - 1e-9:
            best = cost, Exponential(polynomial, squares, bits, drop, exponent, frac_bits)
    if best is None:
        raise AssertionError("no number of squares was tried")
    return best[1]
