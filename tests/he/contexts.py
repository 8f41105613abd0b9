"""Small contexts that tests share, insecure by their size."""

from functools import cache

import numpy as np

from he_gpu.he.chain import plan
from he_gpu.he.context import Ckks
from he_gpu.he.parameters import INSECURE, CkksParams

DEGREE = 1024
SLOTS = DEGREE // 2


DIGITS = 3


def parameters(depth=3, degree=DEGREE, **changes):
    """Parameters with `DIGITS` digits of key switching, whatever would be chosen."""
    params = CkksParams(depth, security=INSECURE, ring_degree=degree, **changes)
    if not params.public_queries:
        chain = plan(depth, params.scale_bits, degree, DIGITS)
        object.__setattr__(params, "chain", chain)
    return params


@cache
def context(depth=3, device="cpu", seed=1):
    return Ckks(parameters(depth), device, seed)


def reals(n=SLOTS, seed=0, size=1.0):
    return np.random.default_rng(seed).uniform(-size, size, n)


def assert_within(holder, ciphertext, expected):
    """The values are within the stated bound, and the bound says something."""
    values = holder.decrypt(ciphertext)
    assert values.shape == np.shape(expected)
    assert values.dtype == (np.float64 if ciphertext.is_real else np.complex128)
    assert np.abs(values - expected).max() <= ciphertext.error < 1e-2
    assert np.abs(expected).max() <= ciphertext.size
