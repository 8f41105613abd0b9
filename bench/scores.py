"""What softmax and its like promise, and scores of 1,000 classes that lie ever farther apart.

Their curves show the largest error over the half width of the interval that scores are drawn from;
each spread is a row of the grid, from classes all alike to the ends of the word.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.errors import rounded
from bench.promises import END, UNIT

CLASSES = 1000
NARROWEST, WIDE, WIDEST = 2.0**-8, 2.0**10, 2.0**45
"""Half widths: a grid's first, the interval's last, and the last whose differences are numbers."""


def shifted(x):
    return x - x.max(axis=-1, keepdims=True)


def logsumexp(x):
    return x.max(axis=-1) + np.log(np.exp(shifted(x)).sum(axis=-1))


def log_softmax(x):
    below = shifted(x)
    return below - np.log(np.exp(below).sum(axis=-1, keepdims=True))


def softmax(x):
    powers = np.exp(shifted(x))
    return powers / powers.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Scores:
    """A function of the scores along the last axis; see `bench.promises.Promise`."""

    name: str
    bound: float
    exact: Callable[[Any], Any]
    crypten: str | None = None

    low, high = NARROWEST, WIDE
    counted_shape = (6400, 10)

    def job(self, secret):
        """The function along the last axis, to be called without arguments."""
        return partial(getattr(secret, self.name), -1)

    def error(self, found, expected):
        """The largest error of each row; a step of float64, which takes both, is none."""
        off = np.maximum(np.abs(found - expected) - np.spacing(np.abs(expected)), 0.0)
        return off.reshape(len(off), -1).max(axis=1)

    def facts(self):
        """What a row tells of the promise."""
        return {
            "function": self.name,
            "low": self.low,
            "high": self.high,
            "promised": self.bound,
            "relative": False,
            "keywords": "",
            "classes": CLASSES,
        }


SOFTMAX = (
    Scores("softmax", UNIT + 4e-5 + CLASSES * 2.0**-26, softmax, "softmax"),
    Scores("log_softmax", 1.5 * UNIT + 2e-5 + CLASSES * 2.0**-26, log_softmax, "log_softmax"),
    Scores("logsumexp", 1.5 * UNIT + 2e-5 + CLASSES * 2.0**-26, logsumexp),
)


def spreads(times):
    """Half widths by powers of two, each so many times."""
    first, last = (round(math.log2(width)) for width in (NARROWEST, WIDEST))
    return np.repeat(np.exp2(np.arange(first, last + 1)), times)


def scores(widths):
    """Encodings of scores, a row of 1,000 classes for each half width, both ends among them."""
    u = np.random.default_rng(0).uniform(-1, 1, (len(widths), CLASSES))
    u[:, :2] = -1, 1
    words = np.rint(u * widths[:, None] / UNIT).astype(np.int64)
    return np.clip(words, -(END // 2), END // 2)


def summary(promise, widths, errors):
    """The largest errors in and beyond the interval, and the curve over the widths."""
    inside = widths <= promise.high
    kept = np.unique(widths)
    curve = [errors[widths == width].max() for width in kept]
    return {
        "points_inside": int(inside.sum()) * CLASSES,
        "error_inside": float(errors[inside].max()),
        "error_beyond": float(errors[~inside].max()),
        "median_error_inside": float(np.median(errors[inside])),
        "curve": {"x": rounded(kept, 6), "error": rounded(curve, 3)},
    }
