"""Secret products and their truncation: 200 million of them, each off by less than a unit."""

import numpy as np

import he_gpu as he

PRODUCTS = 200_000_000
CHUNK = 500_000
FRAC_BITS = 16
LARGEST_FACTOR = 1000
"""Products have magnitudes up to its square, 10^6."""


def operands(rng, n):
    """Encoded factors: half of them anything up to 1000, half within 1 % of it."""
    most = LARGEST_FACTOR << FRAC_BITS
    anything = rng.integers(-most, most, n // 2, endpoint=True)
    near = rng.integers(most - most // 100, most, n - n // 2, endpoint=True)
    return np.concatenate([anything, near * rng.choice([-1, 1], near.size)])


def test_products(device, record):
    def multiply():
        rng = np.random.default_rng(0)
        down = up = worse = 0
        bias = variance = largest = 0.0
        with he.Session(parties=2, device=device) as session:
            for _ in range(PRODUCTS // CHUNK):
                x, y = operands(rng, CHUNK), operands(rng, CHUNK)
                reals = (session.share(np.ldexp(factor, -FRAC_BITS)) for factor in (x, y))
                left, right = reals
                units = np.ldexp((left * right).reveal(), FRAC_BITS)
                exact = x * y  # below 2^53
                fraction = np.ldexp((exact & (2**FRAC_BITS - 1)).astype(np.float64), -FRAC_BITS)
                off = units - (exact >> FRAC_BITS)  # 0 is floor, 1 is floor + 1
                down += int((off == 0).sum())
                up += int((off == 1).sum())
                worse += int(((off != 0) & (off != 1)).sum())
                worse += int(((off == 1) & (fraction == 0)).sum())
                bias += float((off - fraction).sum())
                variance += float((fraction * (1 - fraction)).sum())
                largest = max(largest, float(np.abs(np.ldexp(exact, -2 * FRAC_BITS)).max()))
        standard_errors = bias / np.sqrt(variance)
        assert worse == 0
        assert down + up == PRODUCTS
        assert abs(standard_errors) < 4
        return {
            "products": PRODUCTS,
            "rounded_down": down,
            "rounded_up": up,
            "off_by_more": worse,
            "largest_magnitude": largest,
            "mean_error_units": bias / PRODUCTS,
            "standard_error_units": float(np.sqrt(variance)) / PRODUCTS,
            "mean_in_standard_errors": float(standard_errors),
        }

    record.check(f"{PRODUCTS} secret products, 2 parties", multiply, parties=2)
