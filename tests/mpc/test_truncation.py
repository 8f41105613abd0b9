"""Truncation: floor or floor + 1 for every -2^(k-2) <= v < 2^(k-2), and unbiased."""

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend import get_backend
from he_gpu.channel import LocalChannel
from he_gpu.mpc import Additive, Plain
from he_gpu.ring import KeyRing
from tests.uniformity import LIMIT

SIGNED = {2**64: np.int64, 2**32: np.int32}
WORD = {2**64: np.uint64, 2**32: np.uint32}
rings = pytest.mark.parametrize("modulus", [2**64, 2**32])


def scheme(parties, modulus, device="cpu", seed=1):
    return Additive(KeyRing(seed), get_backend(device), modulus, LocalChannel(parties))


def bits_of(modulus):
    return modulus.bit_length() - 1


def edges(modulus, bits):
    """Signed values around every power of two and both ends of the range."""
    top = 2 ** (bits_of(modulus) - 2)
    near = {0, 1, 2**bits - 1, 2**bits, 2**bits + 1, 3 * 2**bits // 2, top // 3, top // 2}
    for power in range(bits_of(modulus) - 2):
        near |= {2**power - 1, 2**power, 2**power + 1}
    near |= {top - 1, top - 2, top - 2**bits, top - 2**bits - 1, top - 2**bits + 1}
    both = {sign * value for value in near for sign in (1, -1)} | {-top}
    return sorted(value for value in both if -top <= value < top)


def truncated(shares, values, bits):
    """Share signed integers, truncate, open, and return Python integers."""
    modulus = shares.modulus
    words = np.array(values, SIGNED[modulus]).view(WORD[modulus])
    stack = shares.share(shares.backend.asarray(words), 0)
    opened = shares.backend.to_numpy(shares.open(shares.truncate(stack, bits)))
    return opened.view(SIGNED[modulus]).tolist()


def check(values, results, bits):
    for value, result in zip(values, results, strict=True):
        floor = value >> bits
        assert result in (floor, floor + 1), f"{value} / 2^{bits} gave {result}"
        if value % 2**bits == 0:
            assert result == floor


@rings
@pytest.mark.parametrize("parties", [2, 3, 5])
def test_every_edge_rounds_to_a_neighbour(device, modulus, parties):
    last = bits_of(modulus) - 3
    repeats = 2 if device == "emulator" else 20
    shares = scheme(parties, modulus, device)
    for bits in (1, 2, 10, 16, 24, last // 2 + 8, last - 1, last):
        values = edges(modulus, bits) * repeats
        check(values, truncated(shares, values, bits), bits)


@rings
def test_random_values_of_every_magnitude(modulus):
    rng, k = np.random.default_rng(3), bits_of(modulus)
    shares = scheme(3, modulus)
    for bits in (1, 8, 13, k - 3):
        magnitudes = rng.integers(0, 2 ** (k - 2), 5000) >> rng.integers(0, k - 2, 5000)
        values = (magnitudes * rng.choice([-1, 1], 5000)).tolist()
        check(values, truncated(shares, values, bits), bits)


@rings
def test_both_roundings_happen(modulus):
    """Otherwise the checks above would accept a truncation that always rounds down."""
    shares = scheme(2, modulus)
    results = truncated(shares, [3 * 2**7] * 1000, 8)
    assert {1, 2} == set(results)


@rings
def test_out_of_range_goes_wrong(modulus):
    """The bound is real: beyond 2^(k-2) the documented range ends."""
    shares = scheme(2, modulus)
    top = 2 ** (bits_of(modulus) - 2)
    values = [top + top // 2] * 200
    assert any(r not in (v >> 8, (v >> 8) + 1) for v, r in
               zip(values, truncated(shares, values, 8), strict=True))  # fmt: skip


@rings
def test_the_chance_of_rounding_up_is_the_dropped_fraction(modulus):
    """For each sixteenth, 20,000 roundings are binomial with that fraction."""
    shares, n = scheme(2, modulus), 20_000
    for sixteenth in range(1, 16):
        value = -5 * 2**8 + 16 * sixteenth
        up = sum(r == (value >> 8) + 1 for r in truncated(shares, [value] * n, 8))
        p = sixteenth / 16
        assert abs(up - n * p) < LIMIT * np.sqrt(n * p * (1 - p))


@pytest.mark.parametrize(
    ("parties", "modulus", "frac_bits", "top", "n"),
    [(2, 2**64, 16, 1000.0, 2_000_000), (3, 2**64, 16, 1000.0, 200_000),
     (5, 2**64, 16, 1000.0, 200_000), (2, 2**32, 10, 30.0, 500_000)],
)  # fmt: skip
def test_products_are_unbiased_and_never_far_off(parties, modulus, frac_bits, top, n):
    """Products up to top^2. Per product the error has mean 0 and variance p (1 - p), p the dropped
    fraction; the mean of n must lie within 4 of its standard errors (a false alarm in 16,000).
    """
    rng, scale = np.random.default_rng(7), 2**frac_bits
    x, y = rng.integers(int(-top * scale), int(top * scale), (2, n))
    session = he.Session(
        parties=parties, modulus=modulus, frac_bits=frac_bits, device="cpu", seed=parties
    )
    piece, errors, fractions = 250_000, [], []
    for start in range(0, n, piece):
        a, b = x[start : start + piece], y[start : start + piece]
        product = (session.share(a / scale) * session.share(b / scale)).reveal() * scale
        exact = a * b  # below 2^53, so float64 and int64 both hold it
        assert np.abs(exact).max() < 2**53
        errors.append(product - np.floor_divide(exact, scale) - (exact % scale) / scale)
        fractions.append((exact % scale) / scale)
    error, p = np.concatenate(errors), np.concatenate(fractions)
    assert np.abs(error).max() < 1  # floor or floor + 1, so no catastrophe
    standard_error = np.sqrt((p * (1 - p)).sum()) / n
    assert abs(error.mean()) < 4 * standard_error
    assert standard_error < 0.42 / np.sqrt(n)
    # Signs of the product make no difference.
    for sign in (x * y > 0, x * y < 0):
        bound = 4 * np.sqrt((p[sign] * (1 - p[sign])).sum()) / sign.sum()
        assert abs(error[sign].mean()) < bound
    # Always rounding down would be found: its mean is -1/2.
    assert abs((-p).mean()) > 100 * standard_error


def test_the_share_local_shift_would_be_caught():
    """What most systems do instead: each of two parties shifts its own share.

    It is off by 2^(64 - f) with probability |v| / 2^64: for products of 10^6, v = 2^52, once in
    4096. The check above would see it in 200,000 products with certainty (48 are expected).
    """
    rng, n = np.random.default_rng(8), 200_000
    v = rng.integers(-(2**52), 2**52, n)
    share = rng.integers(0, 2**64, n, dtype=np.uint64)
    other = v.view(np.uint64) - share
    shifted = (share >> np.uint64(16)) - ((np.uint64(0) - other) >> np.uint64(16))
    error = shifted.view(np.int64) - (v >> 16)
    assert 5 < (np.abs(error) > 1).sum() < 200


@rings
def test_plain_rounds_to_nearest(modulus):
    plain = Plain(get_backend("cpu"), modulus)
    end = 2 ** (bits_of(modulus) - 2)
    for bits in (1, 8, bits_of(modulus) - 3):
        values = [value for value in [*edges(modulus, bits), end - 1, -end] if -end <= value < end]
        expected = [((value >> (bits - 1)) + 1) >> 1 for value in values]
        assert truncated(plain, values, bits) == expected
        for beyond in (end, -end - 1):
            with pytest.raises(he.errors.RangeError, match="truncate: values must stay below"):
                truncated(plain, [beyond], bits)


@rings
def test_plain_checks_products_exactly(modulus):
    """Also where float64 cannot tell 2^62 - 1 from 2^62."""
    plain, k = Plain(get_backend("cpu"), modulus), bits_of(modulus)
    end, dtype = 2 ** (k - 2), WORD[modulus]

    def word(value):
        return np.asarray([value % modulus], dtype)

    for x, y in ((end - 1, 1), (-end, 1), (end // 2 + 1, -1), (end // 4, -4), (end // 8 - 1, 8)):
        assert plain.product("mul", word(x)[None], word(y)[None], 0)[0] == word(x * y)
        assert plain.mul_public(word(x)[None], word(y))[0] == word(x * y)
    for x, y in ((end, 1), (end // 4, 4), (end // 2, 4), (-end // 8 - 1, 8), (end - 1, end - 1)):
        for call in (
            lambda x, y: plain.product("mul", word(x)[None], word(y)[None], 0),
            lambda x, y: plain.mul_public(word(x)[None], word(y)),
        ):
            with pytest.raises(he.errors.RangeError, match="mul: values must stay below"):
                call(x, y)


@rings
@pytest.mark.parametrize("drop", [1, 13])
def test_a_fused_product_is_a_product_and_a_truncation(modulus, drop):
    """product(drop) opens once less than product and truncate, and keeps the same bounds."""
    shares = scheme(3, modulus)
    rng, half = np.random.default_rng(9), 2 ** (bits_of(modulus) // 2 - 2)
    x, y = rng.integers(-half, half, (2, 2000))
    stacks = [shares.share(v.astype(SIGNED[modulus]).view(WORD[modulus]), 0) for v in (x, y)]
    before = shares.cost
    fused = shares.product("mul", *stacks, drop)
    between = shares.cost - before
    opened = shares.open(fused).view(SIGNED[modulus]).tolist()
    check((x * y).tolist(), opened, drop)
    assert between.rounds == 2


def test_the_number_of_bits_is_bounded_on_every_device(kernel_device):
    """Devices refuse what they cannot shift; the layers above never ask for it."""
    from he_gpu.backend.device import protocol

    words = kernel_device.xp.zeros((2, 4), np.uint64)
    for bits in (0, 62, 64, -1):
        with pytest.raises(he.errors.ArgumentValueError, match=r"bits must be in \(0, 62\), got"):
            protocol.truncate_finish(kernel_device, words[0].copy(), words, words.copy(), bits, 1)
