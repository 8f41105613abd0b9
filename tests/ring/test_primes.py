"""Primes of limbs and their roots of unity, against trial division and Python's powers."""

import math

import pytest

from he_gpu.backend.definition.roots import bit_reversal, powers, primitive_root
from he_gpu.errors import ArgumentValueError
from he_gpu.ring.primes import LARGEST, is_prime, ntt_primes, root_of_unity


def by_division(n):
    return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))


def test_small_numbers():
    assert [n for n in range(5000) if is_prime(n)] == [n for n in range(5000) if by_division(n)]
    assert not is_prime(-7)


# Carmichael numbers, and the smallest liars to the bases 2, 2 to 3, ..., 2 to 37 (OEIS A014233).
LIARS = (561, 41041, 825265, 2047, 1373653, 25326001, 3215031751, 2152302898747, 3474749660383)
LIARS += (341550071728321, 3825123056546413051, 318665857834031151167461)


@pytest.mark.parametrize("n", LIARS)
def test_liars_are_found(n):
    assert not is_prime(n)


@pytest.mark.parametrize("n", [2**31 - 1, 2**61 - 1, 2**64 - 59, 132120577, 67280421310721])
def test_known_primes(n):
    assert is_prime(n)
    assert not is_prime(n * (2**13 - 1))


def test_what_cannot_be_decided_is_refused():
    with pytest.raises(ArgumentValueError, match=f"n must be at most {LARGEST}"):
        is_prime(LARGEST + 1)


@pytest.mark.parametrize("near", [2**27, 2**26.67, 2**20, 1, 2**40])
@pytest.mark.parametrize("degree", [16, 4096, 65536])
def test_primes_are_the_nearest(degree, near):
    count = 12
    found = ntt_primes(degree, near, count)
    assert len(set(found)) == count
    distances = [abs(q - near) for q in found]
    assert distances == sorted(distances)
    for q in found:
        assert q % (2 * degree) == 1
        assert q < 2**27
        assert by_division(q)
    # Nothing nearer was left out.
    step, reach = 2 * degree, distances[-1]
    low, high = max(0, int((near - reach) // step)), int(min(2**27, near + reach) // step) + 1
    nearer = [k * step + 1 for k in range(low, high + 1) if abs(k * step + 1 - near) < reach]
    if len(nearer) < 10_000:
        assert {q for q in nearer if q < 2**27 and by_division(q)} <= set(found)


def test_chains_do_not_repeat():
    chain = ntt_primes(8192, 2**26, 20)
    longer = chain + ntt_primes(8192, 2**26, 20, exclude=chain)
    assert longer == ntt_primes(8192, 2**26, 40)
    assert ntt_primes(8192, 2**26, 0) == ()


def test_more_primes_than_there_are():
    largest = ntt_primes(65536, 2**27, 120)
    assert min(largest) == 786433
    with pytest.raises(ArgumentValueError, match=r"121 primes .* do not exist .* got 120"):
        ntt_primes(65536, 2**27, 121)


@pytest.mark.parametrize("degree", [0, 8, 24, 2**17, -16])
def test_degrees_out_of_range(degree):
    with pytest.raises(ArgumentValueError, match="ring_degree must be a power of two"):
        ntt_primes(degree, 2**20, 1)
    with pytest.raises(ArgumentValueError, match="ring_degree must be a power of two"):
        root_of_unity(786433, degree)


def test_counts_out_of_range():
    with pytest.raises(ArgumentValueError, match="count must be at least 0, got -1"):
        ntt_primes(16, 2**20, -1)


@pytest.mark.parametrize("degree", [16, 1024, 65536])
def test_roots_have_the_order_that_they_should(degree):
    for q in ntt_primes(degree, 2**27, 5) + ntt_primes(degree, 1, 3):
        psi = root_of_unity(q, degree)
        assert pow(psi, degree, q) == q - 1
        assert psi == primitive_root(q, 2 * degree)


def test_what_has_no_root():
    with pytest.raises(ArgumentValueError, match="modulus must be a prime, got 33"):
        root_of_unity(33, 16)
    with pytest.raises(ArgumentValueError, match="modulus must be 1 modulo the order"):
        primitive_root(97, 64)
    with pytest.raises(ArgumentValueError, match="modulus must be a prime, got 33"):
        primitive_root(33, 32)  # 33 = 1 mod 32, and no power of any base is -1


@pytest.mark.parametrize("count", [1, 2, 5, 64, 100])
def test_powers(count):
    q = 132120577
    assert powers(12345678, count, q).tolist() == [pow(12345678, i, q) for i in range(count)]


def test_bit_reversal():
    assert bit_reversal(1).tolist() == [0]
    assert bit_reversal(8).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]
    order = bit_reversal(2**12)
    assert order[order].tolist() == list(range(2**12))
