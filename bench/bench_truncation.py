"""Truncation of hundreds of millions of secrets: each off by less than a unit, none biased."""

import numpy as np
import pytest

import he_gpu as he
from bench.operands import SCHEMES, by_device

PRODUCTS = {"cpu": 200_000_000, "cuda": 200_000_000, "emulator": 100_000}
TRUNCATIONS = {"cpu": 100_000_000, "cuda": 100_000_000, "emulator": 100_000}
CHUNK = 500_000
FRAC_BITS = 16
LARGEST_FACTOR = 1000
"""Products have magnitudes up to its square, 10^6."""
MAGNITUDES = tuple(10**decade for decade in range(7))
STANDARD_ERRORS = 4
"""What the mean error may be off 0 by: a right truncation fails with a probability of 6e-5."""
STANDARD_ERRORS_OF_ONE = 5
"""The same at each magnitude: 6e-7 each."""


class Errors:
    """Counts how far truncated values are off, in units of the last place."""

    def __init__(self):
        self.down = self.up = self.worse = 0
        self.bias = self.variance = 0.0

    def __add__(self, other):
        total = Errors()
        for name in vars(total):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        return total

    def add(self, units, exact):
        """Take truncated values, in units, and the integers that they come from, below 2^53."""
        fraction = np.ldexp((exact & (2**FRAC_BITS - 1)).astype(np.float64), -FRAC_BITS)
        off = units - (exact >> FRAC_BITS)  # 0 is floor, 1 is floor + 1
        down, up = off == 0, off == 1
        self.down += int(down.sum())
        self.up += int(up.sum())
        self.worse += int((~(down | up)).sum()) + int((up & (fraction == 0)).sum())
        self.bias += float((off - fraction).sum())
        self.variance += float((fraction * (1 - fraction)).sum())

    @property
    def standard_errors(self):
        """The mean error, in standard errors of an unbiased rounding."""
        return float(self.bias / np.sqrt(self.variance))

    def checked(self, n):
        """What is found of n values; none was wrong."""
        assert self.worse == 0
        assert self.down + self.up == n
        assert abs(self.standard_errors) <= STANDARD_ERRORS
        return {
            "rounded_down": self.down,
            "rounded_up": self.up,
            "off_by_more": self.worse,
            "mean_error_units": self.bias / n,
            "standard_error_units": float(np.sqrt(self.variance)) / n,
            "mean_in_standard_errors": self.standard_errors,
        }


def operands(rng, n):
    """Encoded factors: half of them anything up to 1000, half within 1 % of it."""
    most = LARGEST_FACTOR << FRAC_BITS
    anything = rng.integers(-most, most, n // 2, endpoint=True)
    near = rng.integers(most - most // 100, most, n - n // 2, endpoint=True)
    return np.concatenate([anything, near * rng.choice([-1, 1], near.size)])


def chunks(n):
    return [min(CHUNK, n - start) for start in range(0, n, CHUNK)]


def test_products(device, backend, record):
    n_products = by_device(backend, **PRODUCTS)

    def multiply():
        rng = np.random.default_rng(0)
        errors, largest = Errors(), 0.0
        with he.Session(parties=2, device=device) as session:
            for n in chunks(n_products):
                x, y = operands(rng, n), operands(rng, n)
                left, right = (session.share(np.ldexp(factor, -FRAC_BITS)) for factor in (x, y))
                exact = x * y
                errors.add(np.ldexp((left * right).reveal(), FRAC_BITS), exact)
                largest = max(largest, float(np.abs(np.ldexp(exact, -2 * FRAC_BITS)).max()))
        found = errors.checked(n_products)
        return {"products": n_products, "largest_magnitude": largest, **found}

    record.check(f"{n_products} secret products, 2 parties", multiply, parties=2)


@pytest.mark.parametrize("scheme", ["2 parties", "replicated"])
def test_truncations(scheme, device, backend, record):
    """Words with the fraction bits of a product, shared as they are."""
    n_truncations = by_device(backend, **TRUNCATIONS)

    def truncate():
        rng = np.random.default_rng(1)
        each = {magnitude: Errors() for magnitude in MAGNITUDES}
        with he.Session(device=device, **SCHEMES[scheme]) as session:
            for i, n in enumerate(chunks(n_truncations)):
                magnitude = MAGNITUDES[i % len(MAGNITUDES)]
                most = magnitude << 2 * FRAC_BITS
                exact = rng.integers(-most, most, n, endpoint=True)
                words = backend.asarray(exact.view(np.uint64))
                stack = session.scheme.share(words, 0)
                secret = he.SecretTensor(session, stack, 2 * FRAC_BITS)
                units = np.ldexp(secret.with_frac_bits(FRAC_BITS).reveal(), FRAC_BITS)
                each[magnitude].add(units, exact)
        standard_errors = {
            str(magnitude): found.standard_errors
            for magnitude, found in each.items()
            if found.variance
        }
        assert max(map(abs, standard_errors.values())) <= STANDARD_ERRORS_OF_ONE
        return {
            "truncations": n_truncations,
            **sum(each.values(), Errors()).checked(n_truncations),
            "mean_in_standard_errors_by_magnitude": standard_errors,
        }

    record.check(
        f"{n_truncations} truncations at magnitudes from {MAGNITUDES[0]} to {MAGNITUDES[-1]}, "
        f"{scheme}",
        truncate,
        **SCHEMES[scheme],
    )
