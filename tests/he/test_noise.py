"""Bounds on errors against measured ones: held in every trial, and not loose."""

import math
from fractions import Fraction

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.errors import ArgumentValueError
from he_gpu.he import noise
from he_gpu.he.chain import plan
from he_gpu.he.embedding import to_slots
from he_gpu.he.encoding import decode, encode
from he_gpu.he.sampling import ERROR_VARIANCE, TERNARY_VARIANCE, error, ternary
from he_gpu.ring import Prg, RnsRing
from tests.he.roots_of_unity import powers_of_five

N = 2048
CHAIN = plan(3, 40, N, 3)
TRIALS = 12
LOOSE = 2**6
"""A bound may be so much above the mean of the largest errors of the trials."""


class Parties:
    """A secret key and what RLWE does with it, in a dozen lines and without the package's own."""

    def __init__(self, key):
        self.prg = Prg(bytes([key] * 32), get_backend("cpu"))
        self.rng = np.random.default_rng(key)
        self.s = ternary(self.prg, (N,))

    def ring(self, level, special=False):
        moduli = CHAIN.moduli(level) + (CHAIN.special if special else ())
        return RnsRing(N, moduli, "cpu")

    def uniform(self, ring):
        q = np.array(ring.moduli)[:, None]
        return self.rng.integers(0, q, (len(q), N)).astype(np.uint32)

    def values(self, ring, small):
        return ring.ntt(ring.asarray(small))

    def encrypt(self, level, message):
        """(b, a) with b = m + e - a s, from residues of coefficients; values."""
        ring = self.ring(level)
        a, s = self.uniform(ring), self.values(ring, self.s)
        noisy = ring.add(message, ring.asarray(error(self.prg, (N,))))
        return np.stack([ring.sub(ring.ntt(noisy), ring.mul(a, s)), a])

    def phase(self, level, pair):
        """b + a s, the integers."""
        ring = self.ring(level)
        total = ring.add(pair[0], ring.mul(pair[1], self.values(ring, self.s)))
        return ring.to_integers(ring.intt(total))

    def switching_key(self, source):
        """For each digit (b, a) with b = e - a s + P T source, over all primes."""
        ring, special = self.ring(CHAIN.depth, True), math.prod(CHAIN.special)
        modulus, keys = math.prod(CHAIN.moduli(CHAIN.depth)), []
        for digit in CHAIN.digits(CHAIN.depth):
            own = math.prod(digit)
            other = modulus // own
            factor = special * other * pow(other, -1, own)
            a = self.uniform(ring)
            b = self.values(ring, error(self.prg, (N,)))
            b = ring.sub(b, ring.mul(a, self.values(ring, self.s)))
            keys.append(np.stack([ring.add(b, ring.mul_integer(source(ring), factor)), a]))
        return np.stack(keys)

    def switch(self, level, values, keys):
        ring, wide = self.ring(level), self.ring(level, True)
        coefficients, at = ring.intt(values), 0
        sums = np.zeros((2, len(wide.moduli), N), np.uint32)
        kept = [*range(len(ring.moduli)), *range(-len(CHAIN.special), 0)]
        for digit, key in zip(CHAIN.digits(level), keys, strict=False):
            part = wide.over(digit).extend(coefficients[at : at + len(digit)], wide.moduli)
            sums = wide.add(sums, wide.mul(key[:, kept], wide.ntt(part)))
            at += len(digit)
        return wide.mod_down(sums, len(CHAIN.special), values=True)


def slots_of(integers, scale):
    """The slots of integer coefficients over a scale, in float64; the integers are small."""
    return to_slots(np.array([float(Fraction(int(c)) / scale) for c in integers]))


def largest(errors):
    return float(np.abs(errors).max())


def assert_bounds(bound, measured):
    assert max(measured) <= bound
    assert bound <= LOOSE * np.mean(measured)


# What is random


@pytest.mark.parametrize("n", [1024, 16384])
def test_one_random_polynomial(n):
    prg = Prg(bytes(32), get_backend("cpu"))
    for variance, draw in ((ERROR_VARIANCE, error), (TERNARY_VARIANCE, ternary)):
        measured = [largest(to_slots(draw(prg, (n,)).astype(float))) for _ in range(20)]
        assert_bounds(noise.sup(variance, n), measured)
        assert noise.sup(variance, n) < 3 * np.mean(measured)  # the tail costs little


@pytest.mark.parametrize("terms", [1, 2, 8])
def test_sums_of_products(terms):
    prg = Prg(bytes(32), get_backend("cpu"))
    measured = []
    for _ in range(20):
        a = to_slots(ternary(prg, (terms, 1024)).astype(float))
        b = to_slots(error(prg, (terms, 1024)).astype(float))
        measured.append(largest((a * b).sum(axis=0)))
    bound = noise.sup_product(TERNARY_VARIANCE, ERROR_VARIANCE, terms, 1024)
    assert_bounds(bound, measured)
    assert bound < 8 * np.mean(measured)


@pytest.mark.parametrize("bits", [6, 10])
def test_the_tail_is_the_stated_one(bits, monkeypatch):
    """With a failure probability that can be observed, there are fewer failures than that."""
    monkeypatch.setattr(noise, "FAILURE_BITS", bits)
    noise._factor.cache_clear()
    noise._product_factor.cache_clear()
    try:
        rng, n, trials = np.random.default_rng(bits), 64, 2**bits * 40
        one = noise.sup(1.0, n)
        pairs = noise.sup_product(1.0, 1.0, 3, n)
    finally:
        noise._factor.cache_clear()
        noise._product_factor.cache_clear()
    a, b = (to_slots(rng.standard_normal((trials, 3, n))) for _ in range(2))
    expected = trials * 2.0**-bits
    # A number of failures above its mean by 5 deviations would be a bound that fails more often.
    assert (np.abs(a[:, 0]).max(axis=1) > one).sum() <= expected + 5 * math.sqrt(expected)
    sums = np.abs((a * b).sum(axis=1)).max(axis=1)
    assert (sums > pairs).sum() <= expected + 5 * math.sqrt(expected)


# Encoding


def test_encoding_at_worst():
    """Values chosen so that each coefficient is rounded by nearly half, all towards one slot."""
    scale = 2.0**40
    angles = np.cos(np.pi * np.arange(N) * powers_of_five(N)[3] / N)
    wanted = (np.rint(1000 * angles) + 0.499 * np.sign(angles)) / scale
    ring = RnsRing(N, CHAIN.moduli(1), "cpu")
    slots = to_slots(wanted)
    exact = to_slots(np.array([float(c) for c in ring.to_integers(encode(slots, scale, ring))]))
    measured = largest(exact / scale - slots)
    bound = noise.encoding(largest(slots), scale, N)
    assert 0.6 * bound < measured <= bound


def test_encoding_of_structured_values():
    ring = RnsRing(N, CHAIN.moduli(1), "cpu")
    half = N // 2
    for slots in (
        np.full(half, 1 / 3),
        np.eye(1, half)[0] / 3,
        np.arange(half) / half,
        (-1.0) ** np.arange(half) / 7,
        np.linspace(0, 1, half) ** 20,
    ):
        got = decode(encode(slots, 2**30, ring), 2**30, ring)
        assert largest(got - slots) <= noise.encoding(1, 2**30, N) + noise.transform(1, N)


# Operations


@pytest.fixture(scope="module")
def parties():
    return Parties(3)


def test_secret_key_encryption(parties):
    scale, slots = CHAIN.scales[-1], np.random.default_rng(1).uniform(-1, 1, N // 2)
    measured = []
    for _ in range(TRIALS):
        pair = parties.encrypt(3, encode(slots, scale, parties.ring(3)))
        measured.append(largest(slots_of(parties.phase(3, pair), scale) - slots))
    assert_bounds(noise.fresh_secret(1, scale, N), measured)


@pytest.mark.parametrize("further", [False, True])
def test_public_key_encryption(parties, further):
    """Further: the encryption of zero has another limb and is divided by its prime."""
    scale, slots = CHAIN.scales[-1], np.random.default_rng(2).uniform(-1, 1, N // 2)
    low, prime, measured = parties.ring(3), CHAIN.special[-1] if further else 1, []
    ring = low.over((*low.moduli, prime)) if further else low
    a = parties.uniform(ring)
    for _ in range(TRIALS):
        b = parties.values(ring, error(parties.prg, (N,)))
        key = np.stack([ring.sub(b, ring.mul(a, parties.values(ring, parties.s))), a])
        v = parties.values(ring, ternary(parties.prg, (N,)))
        errors = parties.values(ring, error(parties.prg, (2, N)))
        pair = ring.add(ring.mul(key, v), errors)
        pair = ring.mod_down(pair, 1, values=True) if further else pair
        pair[0] = low.add(pair[0], low.ntt(encode(slots, scale, low)))
        measured.append(largest(slots_of(parties.phase(3, pair), scale) - slots))
    assert_bounds(noise.fresh_public(1, scale, N, prime), measured)


@pytest.mark.parametrize("count", [2, 4])
def test_rescaling(parties, count):
    """Rounding alone: against the phase before, divided exactly."""
    scale, measured = 2**20, []
    ring = parties.ring(3)
    lower, dropped = ring.moduli[:-count], math.prod(ring.moduli[-count:])
    s = parties.s
    for _ in range(TRIALS):
        pair = np.stack([parties.uniform(ring), parties.uniform(ring)])
        after = ring.mod_down(pair, count, values=True)
        before = ring.add(pair[0], ring.mul(pair[1], parties.values(ring, s)))
        low = ring.over(lower)
        total = low.add(after[0], low.mul(after[1], parties.values(low, s)))
        # The exact quotient may differ by multiples of the lower modulus, which are taken off.
        modulus = math.prod(lower)
        pairs = zip(
            ring.to_integers(ring.intt(before)), low.to_integers(low.intt(total)), strict=True
        )
        errors = [Fraction(int(y)) - Fraction(int(x), dropped) for x, y in pairs]
        errors = [e - modulus * round(e / modulus) for e in errors]
        measured.append(largest(slots_of_fractions(errors) / scale))
    assert_bounds(noise.rescaling(scale, N), measured)


def slots_of_fractions(coefficients):
    return to_slots(np.array([float(c) for c in coefficients]))


@pytest.mark.parametrize("level", [3, 1])
def test_key_switching(parties, level):
    other, scale, measured = ternary(parties.prg, (N,)), CHAIN.scales[level], []
    ring, modulus = parties.ring(level), math.prod(CHAIN.moduli(level))
    keys = parties.switching_key(lambda ring: parties.values(ring, other))
    for _ in range(TRIALS):
        values = parties.uniform(ring)
        pair = parties.switch(level, values, keys)
        wanted = ring.to_integers(ring.intt(ring.mul(values, parties.values(ring, other))))
        difference = [
            int(x) - int(y) for x, y in zip(parties.phase(level, pair), wanted, strict=True)
        ]
        difference = [d - modulus * round(Fraction(d, modulus)) for d in difference]
        measured.append(largest(slots_of(difference, scale)))
    assert_bounds(noise.key_switching(CHAIN, level, scale), measured)
    assert noise.rotation(1.0, CHAIN, level) == 1 + noise.key_switching(CHAIN, level, scale)


def test_multiplication_down_the_chain(parties):
    """Squares of fresh numbers, and of squares: the bound follows them through three levels."""
    rng = np.random.default_rng(4)
    keys = parties.switching_key(
        lambda ring: (s := parties.values(ring, parties.s), ring.mul(s, s))[1]
    )
    measured, bounds = [[], [], []], []
    for trial in range(4):
        slots = rng.choice([-1.0, 1.0], N // 2) * rng.uniform(0.9, 1, N // 2)
        pair = parties.encrypt(3, encode(slots, CHAIN.scales[3], parties.ring(3)))
        bound = noise.fresh_secret(1, CHAIN.scales[3], N)
        for level in (3, 2, 1):
            ring = parties.ring(level)
            b, a = pair
            linear = ring.add(ring.mul(a, b), ring.mul(b, a))
            switched = parties.switch(level, ring.mul(a, a), keys)
            pair = ring.add(switched, np.stack([ring.mul(b, b), linear]))
            pair = ring.mod_down(pair, len(CHAIN.levels[level - 1]), values=True)
            slots = slots**2
            got = slots_of(parties.phase(level - 1, pair), CHAIN.scales[level - 1])
            measured[3 - level].append(largest(got - slots))
            bound = noise.multiplication(1, bound, 1, bound, CHAIN, level)
            if trial == 0:
                bounds.append(bound)
    for bound, errors in zip(bounds, measured, strict=True):
        assert_bounds(bound, errors)


def test_plain_multiplication(parties):
    rng, measured = np.random.default_rng(5), []
    scale, ring = CHAIN.scales[2], parties.ring(2)
    for _ in range(TRIALS):
        slots, factor = rng.uniform(-1, 1, N // 2), rng.uniform(-3, 3, N // 2)
        pair = parties.encrypt(2, encode(slots, scale, ring))
        pair = ring.mul(pair, ring.ntt(encode(factor, scale, ring)))
        pair = ring.mod_down(pair, len(CHAIN.levels[1]), values=True)
        got = slots_of(parties.phase(1, pair), CHAIN.scales[1])
        measured.append(largest(got - slots * factor))
    fresh, rounding = noise.fresh_secret(1, scale, N), noise.encoding(3, scale, N)
    assert_bounds(noise.plain_multiplication(1, fresh, 3, rounding, CHAIN, 2), measured)


@pytest.mark.parametrize(("level", "lower"), [(3, 2), (3, 1), (2, 0), (3, 0)])
def test_alignment(parties, level, lower):
    scale, ring, measured = CHAIN.scales[level], parties.ring(level), []
    slots = np.random.default_rng(6).uniform(-1, 1, N // 2)
    factor = noise.alignment_factor(CHAIN, level, lower)
    middle = parties.ring(lower + 1)
    for _ in range(TRIALS):
        pair = parties.encrypt(level, encode(slots, scale, ring))[:, : len(middle.moduli)]
        pair = middle.mul_integer(np.ascontiguousarray(pair), factor)
        pair = middle.mod_down(pair, len(CHAIN.levels[lower]), values=True)
        got = slots_of(parties.phase(lower, pair), CHAIN.scales[lower])
        measured.append(largest(got - slots))
    fresh = noise.fresh_secret(1, scale, N)
    assert_bounds(noise.alignment(1, fresh, CHAIN, level, lower), measured)
    assert noise.alignment(1, fresh, CHAIN, level, level) == fresh


def test_sums():
    assert noise.addition(2.0**-20, 2.0**-21) == 1.5 * 2.0**-20


def test_products_of_exact_numbers():
    assert noise.product(3, 0, 5, 0) == 15 * 2.0**-80
    assert math.isclose(noise.product(3, 0.1, 5, 0.2), 3 * 0.2 + 5 * 0.1 + 0.02)


@pytest.mark.parametrize("function", [noise.multiplication, noise.plain_multiplication])
def test_level_zero_has_no_product(function):
    with pytest.raises(ArgumentValueError, match="level must be at least 1, got 0"):
        function(1, 0, 1, 0, CHAIN, 0)


@pytest.mark.parametrize(("level", "lower"), [(2, 2), (1, 2), (2, -1), (4, 1)])
def test_alignment_goes_down(level, lower):
    with pytest.raises(ArgumentValueError, match=r"alignment_factor: lower must be in \[0, "):
        noise.alignment_factor(CHAIN, level, lower)


def test_precision_bits():
    assert noise.precision_bits(2.0**-20) == 20
    assert noise.precision_bits(0.0) == math.inf


def test_decryption_adds_the_transform():
    assert noise.decryption(0.25, 3.0, N) == 0.25 + noise.transform(3.25, N)


def test_no_operation_has_less_error_than_the_least():
    for level, scale in enumerate(CHAIN.scales):
        least = noise.least(CHAIN, level)
        assert 0 < least < 2.0**-20
        if level == CHAIN.depth:
            assert least == noise.fresh_secret(1, scale, N) < noise.fresh_public(1, scale, N)
        else:
            exact = (0.0, 0.0, CHAIN, level + 1)
            assert noise.multiplication(1.0, 0.0, *exact) >= least
            assert noise.plain_multiplication(1.0, 0.0, *exact) >= least
            assert noise.alignment(0.0, 0.0, CHAIN, CHAIN.depth, level) >= least
