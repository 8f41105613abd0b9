"""What each function of secret reals promises, and the arguments that put it to the test.

A promise names an interval, the largest error on it and what the function gives beyond it. The
arguments are encodings: a dense grid inside, and beyond it encodings out to the ends of the word.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import he_gpu as he
from he_gpu.tensor.curves import curve

FRAC_BITS = 16
UNIT = 2.0**-FRAC_BITS
END = 2**62 - 1
"""The largest encoding modulo 2^64."""
NEAR = 64
"""Neighbours of each end that a grid holds."""
FINE = 36
"""Fraction bits of results whose relative error is promised."""
NUMERATOR = 10.0
"""What is divided by secrets."""

erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x):
    """1 / (1 + exp(-x)) in float64, without overflow and with small values right."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


def gelu(x):
    return x / 2 * (1 + erf(x / math.sqrt(2)))


def quickly(xp, x):
    """The sigmoid as quickly as an array module can: in place, and of x that is not far from 0."""
    y = xp.negative(x)
    xp.exp(y, out=y)
    xp.add(y, 1, out=y)
    return xp.reciprocal(y, out=y)


@dataclass(frozen=True)
class Promise:
    """A function's interval, error and manner beyond it.

    Attributes:
        name: of the function in `he_gpu` and of the method.
        low, high: the interval.
        bound: the largest error on it.
        exact: the function in float64.
        relative: whether errors are relative to the value, or to the least value of the interval
            where that is larger.
        instead: by an argument beyond, the one of which the function gives the value.
        keywords: arguments of the method.
        operand: the other operand, of a function that takes two secrets.
        end: the largest encoding of an argument; None where the function is not for arguments
            beyond the interval.
        crypten: CrypTen's method, where it has one.
        quick: by array module and array, a quicker way in the clear than `exact`.
    """

    name: str
    low: float
    high: float
    bound: float
    exact: Callable[[Any], Any]
    relative: bool = False
    instead: Callable[[Any], Any] = np.asarray
    keywords: tuple[tuple[str, Any], ...] = ()
    operand: float | None = None
    end: int | None = END
    crypten: str | None = None
    quick: Callable[[Any, Any], Any] | None = None

    counted_shape = (640,)
    """Elements of which the cost is counted: bits fill words of 64, so that no byte is left."""

    @property
    def logarithmic(self):
        """Whether arguments are spread by their magnitude."""
        return self.low > 0

    def job(self, secret):
        """The function of a secret tensor, to be called without arguments."""
        if self.operand is None:
            return partial(getattr(secret, self.name), **dict(self.keywords))
        other = secret.session.share(np.full(secret.shape, self.operand))
        return partial(getattr(other, self.name), secret, **dict(self.keywords))

    def promised(self, x):
        """What the function gives but for its error, beyond the interval too."""
        return self.exact(self.instead(x))

    def error(self, found, expected):
        """Absolute or relative errors; a step of float64, which takes both, is none."""
        step = np.spacing(np.abs(expected))
        difference = np.maximum(np.abs(found - expected) - step, 0.0)
        if not self.relative:
            return difference
        return difference / np.maximum(np.abs(expected), self.least)

    @property
    def least(self):
        """The least magnitude on the interval, of a function that is monotone on it."""
        return min(abs(float(self.exact(np.float64(end)))) for end in (self.low, self.high))

    def typical(self, n):
        """Arguments to time with, all over the interval."""
        rng = np.random.default_rng(0)
        if not self.logarithmic:
            return rng.uniform(self.low, self.high, n)
        return np.exp2(rng.uniform(math.log2(self.low), math.log2(self.high), n))

    def in_the_clear(self, xp, x):
        """A name for a way in the clear to do it with an array of a module, and that way."""
        if self.quick is None:
            host = x if isinstance(x, np.ndarray) else x.get()
            return "math.erf, one by one", lambda: self.exact(host)
        return "the same in the clear", lambda: self.quick(xp, x)

    def facts(self):
        """What a row tells of the promise."""
        return {
            "function": self.name,
            "low": self.low,
            "high": self.high,
            "promised": self.bound,
            "relative": self.relative,
            "keywords": ", ".join(f"{key}={value}" for key, value in self.keywords),
        }


def positive(x):
    """The argument that logarithm and roots take: what has no value counts as one unit."""
    return np.maximum(x, UNIT)


def divisor(x):
    """Likewise that of inverses: 0 counts as one unit."""
    return np.where(np.abs(x) < UNIT, UNIT, x)


def curves():
    """The promises of `he_gpu.tensor.curves`, over the intervals of their polynomials."""
    functions = {
        "sigmoid": (sigmoid, quickly),
        "tanh": (np.tanh, lambda xp, x: xp.tanh(x)),
        "erf": (erf, None),
        "gelu": (gelu, None),
        "silu": (lambda x: x * sigmoid(x), lambda xp, x: x * quickly(xp, x)),
        "softplus": (lambda x: np.logaddexp(x, 0), lambda xp, x: xp.logaddexp(x, 0)),
    }
    for name, (exact, quick) in functions.items():
        low, high = curve(name, FRAC_BITS).interval
        ramp = name in ("gelu", "silu", "softplus")
        yield Promise(
            name,
            low,
            high,
            3e-5,
            exact,
            end=END // 2 if ramp else END,
            crypten=None if ramp else name,
            quick=quick,
        )


FINELY = (("frac_bits", FINE),)
WIDE = (2.0**-8, 2.0**12)
PROMISES = (
    *curves(),
    Promise(
        "exp",
        -16.0,
        10.0,
        7e-4,
        np.exp,
        relative=True,
        instead=lambda x: np.minimum(x, 10.0),
        keywords=FINELY,
        crypten="exp",
        quick=lambda xp, x: xp.exp(x),
    ),
    Promise(
        "log",
        *WIDE,
        1.5 * UNIT + 3e-6,
        np.log,
        instead=positive,
        crypten="log",
        quick=lambda xp, x: xp.log(x),
    ),
    Promise(
        "log1p",
        -0.5,
        2.0**12,
        1.5 * UNIT + 3e-6,
        np.log1p,
        instead=lambda x: positive(x + 1) - 1,
        quick=lambda xp, x: xp.log1p(x),
    ),
    Promise(
        "reciprocal",
        *WIDE,
        4e-5 + 2.0 ** (12 - FINE),
        lambda x: 1 / x,
        relative=True,
        instead=divisor,
        keywords=FINELY,
        crypten="reciprocal",
        quick=lambda xp, x: xp.reciprocal(x),
    ),
    Promise(
        "divide",
        2.0**-8,
        2.0**3,
        4e-5 + 2 * UNIT * 2.0**3 / NUMERATOR,
        lambda x: NUMERATOR / x,
        relative=True,
        instead=divisor,
        operand=NUMERATOR,
        quick=lambda xp, x: xp.divide(NUMERATOR, x),
    ),
    Promise(
        "sqrt",
        *WIDE,
        6e-6 + 2.0 ** (4 - FINE),
        np.sqrt,
        relative=True,
        instead=lambda x: np.maximum(x, 0.0),
        keywords=(("frac_bits", 32),),
        crypten="sqrt",
        quick=lambda xp, x: xp.sqrt(x),
    ),
    Promise(
        "rsqrt",
        *WIDE,
        6e-6 + 2.0 ** (6 - FINE),
        lambda x: 1 / np.sqrt(x),
        relative=True,
        instead=positive,
        keywords=FINELY,
        crypten="inv_sqrt",
        quick=lambda xp, x: 1 / xp.sqrt(x),
    ),
    Promise(
        "power",
        -16.0,
        16.0,
        2 * 16 * UNIT,
        lambda x: x**3,
        keywords=(("exponent", 3),),
        end=None,
        quick=lambda xp, x: x * x * x,
    ),
)


def inside(promise, n):
    """Encodings of a promise's interval: all of them, or n with both ends."""
    first, last = ends(promise)
    if last - first < n:
        return np.arange(first, last + 1)
    spread = np.geomspace if promise.logarithmic else np.linspace
    return np.unique(np.clip(np.rint(spread(first, last, n)).astype(np.int64), first, last))


def beyond(promise, n):
    """Encodings outside the interval, n by their magnitude on each side, out to the last ones."""
    if promise.end is None:
        return np.zeros(0, np.int64)
    first, last = ends(promise)
    parts = [magnitudes(last + 1, promise.end, n)]
    if first <= 0:
        parts.append(-magnitudes(1 - first, promise.end, n))
    else:
        parts += [magnitudes(1, first - 1, n), [0], -magnitudes(1, promise.end, n)]
    return np.unique(np.concatenate(parts))


def ends(promise):
    """The first and the last encoding of the interval."""
    first, last = np.ldexp([promise.low, promise.high], FRAC_BITS)
    return math.ceil(first), math.floor(last)


def magnitudes(low, high, n):
    """Integers from low to high, even by their logarithms, with the neighbours of both ends."""
    near = np.arange(min(NEAR, high - low + 1))
    spread = np.rint(np.geomspace(low, high, n)[1:-1]).astype(np.int64)
    return np.unique(np.clip(np.concatenate([spread, low + near, high - near]), low, high))


def reals(words):
    """The numbers that encodings stand for; those beyond 2^53 units are rounded to float64."""
    return np.ldexp(np.asarray(words, np.float64), -FRAC_BITS)


def of_words(session, words):
    """A secret tensor of any encodings, also of those that `share` does not take."""
    stack = session.scheme.share(session.backend.asarray(words.astype(np.uint64)), 0)
    return he.SecretTensor(session, stack, session.frac_bits)
