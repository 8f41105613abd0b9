"""Softmax and its like: what they promise, over scores that lie ever farther apart.

A curve of theirs shows the largest error over the half width of the interval that scores are drawn
from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.errors import largest, rounded
from bench.promises import FRAC_BITS

CLASSES = 1000


def shifted(x):
    return x - x.max(axis=-1, keepdims=True)


def logsumexp(x):
    return x.max(axis=-1) + np.log(np.exp(shifted(x)).sum(axis=-1))


def log_softmax(x):
    return x - logsumexp(x)[..., None]


def softmax(x):
    powers = np.exp(shifted(x))
    return powers / powers.sum(axis=-1, keepdims=True)
