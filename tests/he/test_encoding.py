"""Encoding and decoding: against Python's integers and fractions, and SEAL's own encodings."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError
from he_gpu.he import noise
from he_gpu.he.embedding import to_coefficients
from he_gpu.he.encoding import (
    constant,
    decode,
    decode_coefficients,
    encode,
    encode_coefficients,
    encode_constant,
    limbs_for,
    reduced,
)
from he_gpu.ring import RnsRing, ntt_primes
from tests.he.seal_form import our_order, seal_values
from tests.ring.polynomials import integers, negacyclic

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "ckks_encoding_tenseal.json").read_text()
)
PRIMES = ntt_primes(1024, 2**27, 3) + ntt_primes(1024, 2**20, 2) + ntt_primes(1024, 2**25, 2)
SCALES = [2**20, 2.0**40, Fraction(3 * 2**60, 7), 2**53, Fraction(2**110, 3), 2**130]


def ring_of(count=7, device="cpu"):
    return RnsRing(1024, PRIMES[:count], device)


# Against another tool


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_encodings_of_seal(case, device):
    n, moduli = VECTORS["ring_degree"], VECTORS["moduli"]
    ring, scale = RnsRing(n, moduli, device), 2 ** case["scale_bits"]
    rows = [seal_values(row, q, n) for row, q in zip(case["data"], moduli, strict=True)]
    expected = integers([np.array(row) for row in rows], moduli)
    values = [complex(*pair) for pair in case["values"]]
    if case["constant"]:
        words = encode_constant(values[0], scale, ring)
    else:
        padded = values + [0j] * (n // 2 - len(values))
        words = encode(our_order(padded, n, VECTORS["generator"]), scale, ring)
    got = ring.to_integers(words).tolist()
    # Two transforms in float64; both round to the same integers at scales below 2^50.
    allowed = 2 * noise.transform(max(map(abs, values)), n) * scale
    assert max(abs(a - b) for a, b in zip(got, expected, strict=True)) <= allowed


# Reals to residues


@pytest.mark.parametrize("bits", [10, 51, 52, 53, 78, 79, 104, 130, 200])
def test_residues_are_exact(bits):
    rng = np.random.default_rng(bits)
    mantissas = rng.integers(-(2**53), 2**53, 1024).astype(float)
    values = np.rint(np.ldexp(mantissas, rng.integers(-60, bits - 52, 1024)))
    edges = [0, 1, -1, 2**25, -(2**25), 2**26 - 1, 2**52, 2**52 + 1, -(2**53), 2**bits, -(2**bits)]
    values[: len(edges)] = edges
    words = reduced(values, float(np.abs(values).max()), PRIMES)
    assert words.dtype == np.uint32
    for row, q in zip(words, PRIMES, strict=True):
        assert row.tolist() == [int(value) % q for value in values]


@given(st.lists(st.floats(-(2.0**300), 2.0**300), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_residues_of_any_float(values):
    whole = np.rint(np.array(values))
    words = reduced(whole, float(np.abs(whole).max()), (97, 134215681))
    assert words.tolist() == [[int(x) % q for x in whole] for q in (97, 134215681)]


@pytest.mark.parametrize("scale", SCALES)
def test_encoding_rounds_the_coefficients(scale, device):
    ring = ring_of(device=device)
    slots = np.random.default_rng(1).uniform(-5, 5, 512)
    scaled = to_coefficients(slots, 1024) * float(scale)
    assert ring.to_integers(encode(slots, scale, ring)).tolist() == [round(x) for x in scaled]


def test_short_vectors_are_padded():
    ring = ring_of(3)
    padded = np.zeros(512, complex)
    padded[:3] = [1, 2j, -3]
    assert np.array_equal(encode([1, 2j, -3], 2**30, ring), encode(padded, 2**30, ring))
    assert np.array_equal(encode([], 2**30, ring), np.zeros((3, 1024), np.uint32))


def test_batches():
    ring = ring_of(3)
    slots = np.random.default_rng(2).uniform(-1, 1, (2, 3, 500))
    words = encode(slots, 2**40, ring)
    assert words.shape == (2, 3, 3, 1024)
    assert np.array_equal(words[1, 2], encode(slots[1, 2], 2**40, ring))
    values = decode(words, 2**40, ring, 500)
    assert values.shape == (2, 3, 500)
    assert np.array_equal(values[1, 2], decode(words[1, 2], 2**40, ring, 500))


@pytest.mark.parametrize("values", [[True, False], [1, 2], np.array([1.5], np.float32)])
def test_kinds_of_numbers(values):
    ring = ring_of(3)
    expected = encode(np.asarray(values, float), 2**30, ring)
    assert np.array_equal(encode(values, 2**30, ring), expected)


def test_coefficients(device):
    ring = ring_of(device=device)
    values = np.random.default_rng(3).uniform(-1, 1, 1000)
    got = ring.to_integers(encode_coefficients(values, 2**70, ring))
    assert got.tolist() == [round(Fraction(x) * 2**70) for x in values.tolist()] + [0] * 24


def test_products_of_coefficients_convolve():
    ring = ring_of(4)
    rng = np.random.default_rng(4)
    a, b = rng.integers(-50, 50, (2, 1024))
    words = [ring.ntt(encode_coefficients(x, 2**20, ring)) for x in (a, b)]
    product = decode_coefficients(ring.intt(ring.mul(*words)), 2**40, ring)
    modulus = 2**40
    expected = [(x + modulus // 2) % modulus - modulus // 2 for x in negacyclic(a, b, modulus)]
    assert product.tolist() == expected


@pytest.mark.parametrize("value", [0, 1, -1 / 3, 2.5 - 1e-9j, 1j, 511])
@pytest.mark.parametrize("scale", [2**40, Fraction(2**91, 3)])
def test_constants(value, scale, device):
    ring = ring_of(5, device)
    coefficients = ring.to_integers(encode_constant(value, scale, ring)).tolist()
    parts = [round(Fraction(part) * scale) for part in (value.real, value.imag)]
    assert coefficients == [parts[0], *[0] * 511, parts[1], *[0] * 511]
    assert constant(value.real, scale) == parts[0]
    slots = decode(encode_constant(value, scale, ring), scale, ring)
    bound = noise.encoding_constant(abs(value), scale) + noise.transform(abs(value), 1024)
    assert np.abs(slots - value).max() <= bound


# Residues to reals


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_decoding_is_exact_to_the_last_bits(count, device):
    ring = ring_of(count, device)
    modulus, rng = ring.modulus, np.random.default_rng(count)
    parts = rng.integers(-(2**62), 2**62, 900).tolist()
    numbers = [round(part * Fraction(modulus, 2**63)) for part in parts]
    shifts = rng.integers(0, 180, 100).tolist()
    numbers += [n >> shift for n, shift in zip(numbers, shifts, strict=False)]
    numbers += [modulus // 2 - k for k in range(8)] + [k - modulus // 2 for k in range(8)]
    numbers += [0, 1, -1, 2, -2, ring.moduli[0], -ring.moduli[0] // 2, ring.moduli[0] // 2 + 1]
    numbers = [n if abs(n) <= modulus // 2 else 0 for n in numbers]
    scale = Fraction(2**41, 3)
    got = decode_coefficients(ring.asarray(numbers), scale, ring)
    for number, value in zip(numbers, got.tolist(), strict=True):
        # One rounding for each limb's digit, weight and sum, of terms at most twice the number.
        assert abs(Fraction(value) - number / scale) <= abs(number / scale) * 6 * count / 2**53


def test_only_the_limbs_that_a_bound_needs(device):
    ring = ring_of(device=device)
    slots = np.random.default_rng(5).uniform(-7, 7, 512)
    words = encode(slots, 2**40, ring)
    whole = decode(words, 2**40, ring)
    part = decode(words, 2**40, ring, largest=8.0)
    assert np.abs(part - whole).max() <= 2 * noise.transform(7, 1024)
    spoilt = ring.backend.asarray(ring.backend.to_numpy(words).copy())
    spoilt[limbs_for(8 * 2.0**40, ring.moduli) :] = 5
    assert np.array_equal(decode(spoilt, 2**40, ring, largest=8.0), part)
    assert not np.allclose(decode(spoilt, 2**40, ring), whole)


def test_limbs_for():
    assert limbs_for(0, PRIMES) == 1
    assert limbs_for(2**24, PRIMES) == 1
    assert limbs_for(2**26, PRIMES) == 2
    assert limbs_for(2**45, PRIMES) == 2
    assert limbs_for(math.inf, PRIMES) == len(PRIMES)
    many = ntt_primes(1024, 2**27, 60)
    assert 35 < limbs_for(math.inf, many) < 38  # what float64 holds at a scale of 1


def test_long_chains_decode():
    ring = RnsRing(1024, ntt_primes(1024, 2**27, 60), "cpu")
    words = encode([1.5, -2], 2**40, ring)
    error = noise.encoding(2, 2**40, 1024) + noise.transform(2, 1024)
    assert np.abs(decode(words, 2**40, ring, 2) - [1.5, -2]).max() < error


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("n", [1, 100, 512])
def test_round_trip(n, scale):
    ring = ring_of()
    rng = np.random.default_rng(n)
    slots = rng.uniform(-4, 4, n) + 1j * rng.uniform(-4, 4, n)
    got = decode(encode(slots, scale, ring), scale, ring, n)
    assert np.abs(got - slots).max() <= noise.encoding(6, scale, 1024) + noise.transform(6, 1024)


# What is refused


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros(513), ArgumentValueError, r"n at most 512, got \(513,\)"),
        (1.0, ArgumentValueError, r"values must have shape \(\.\.\., n\)"),
        ([1, math.nan], RangeError, "finite"),
        ([1, math.inf], RangeError, "finite"),
        (["1"], ArgumentTypeError, "must be numbers, got list \\(dtype <U1"),
        ([None], ArgumentTypeError, "must be numbers, got list \\(dtype object"),
        ([[1], [1, 2]], ArgumentValueError, "values must be numbers of one shape"),
    ],
)
def test_refused_values(values, error, message):
    with pytest.raises(error, match=message):
        encode(values, 2**40, ring_of(3))


def test_refused_coefficients():
    with pytest.raises(ArgumentTypeError, match="must be real"):
        encode_coefficients([1j], 2**40, ring_of(3))
    with pytest.raises(ArgumentValueError, match="n at most 1024"):
        encode_coefficients(np.zeros(1025), 2**40, ring_of(3))
    with pytest.raises(ArgumentTypeError, match="must be one number"):
        encode_constant([1.0], 2**40, ring_of(3))


@pytest.mark.parametrize("function", [encode, encode_coefficients])
def test_values_that_wrap_around_are_refused(function):
    ring = ring_of(1)
    half = ring.modulus // 2
    constant_slots = np.full(512, float(half)) if function is encode else [float(half)]
    got = decode_coefficients(function(constant_slots, 1, ring), 1, ring)
    assert got[0] == half
    with pytest.raises(RangeError, match=f"{function.__name__}: values times the scale 2\\*\\*0.0"):
        function(np.add(constant_slots, 1), 1, ring)
    with pytest.raises(RangeError, match="half the modulus 2"):
        function([1e300, -1e308, 1e308], 2**40, ring)
    with pytest.raises(RangeError, match="encode_constant: values"):
        encode_constant(half + 1, 1, ring)


def test_refused_counts():
    words = np.zeros((3, 1024), np.uint32)
    with pytest.raises(ArgumentValueError, match=r"decode: n must be in \[0, 512\], got 513"):
        decode(words, 2**40, ring_of(3), 513)
    with pytest.raises(ArgumentValueError, match=r"decode_coefficients: n must be in \[0, 1024\]"):
        decode_coefficients(words, 2**40, ring_of(3), -1)


@pytest.mark.parametrize("function", [encode, encode_coefficients, encode_constant, decode])
@pytest.mark.parametrize(
    ("scale", "error"),
    [
        (0, RangeError),
        (-1.0, RangeError),
        (math.nan, RangeError),
        (math.inf, RangeError),
        (2**2000, RangeError),
        (Fraction(3**900), RangeError),
        ("1", ArgumentTypeError),
        (None, ArgumentTypeError),
        (True, ArgumentTypeError),
    ],
    ids=lambda value: str(value)[:12],
)
def test_scales_that_are_none_are_refused(function, scale, error):
    ring = ring_of(2)
    value = {encode_constant: 1.0, decode: ring.asarray([0] * 1024)}.get(function, [1.0])
    with pytest.raises(error, match=f"^{function.__name__}: scale must be"):
        function(value, scale, ring)


def test_the_number_of_decoded_values_is_an_integer():
    words = ring_of(2).asarray([0] * 1024)
    for n in (1.5, "1", True):
        with pytest.raises(ArgumentTypeError, match="decode: n must be an integer, got"):
            decode(words, 2**20, ring_of(2), n)


@pytest.mark.parametrize("function", [encode, encode_coefficients])
def test_a_refusal_names_the_largest_value(function):
    with pytest.raises(RangeError, match=r"below half the modulus 2\*\*54.0, got 1e\+308$"):
        function([1.0, -1e308, 1e308], 2**40, ring_of(2))


def test_longer_floats_are_taken_as_float64():
    ring = ring_of(3)
    third = np.longdouble(1) / 3
    for function in (encode, encode_coefficients):
        expected = function([float(third)], 2**40, ring)
        assert np.array_equal(function(np.array([third]), 2**40, ring), expected)
        if np.finfo(np.longdouble).maxexp > 1024:
            with pytest.raises(RangeError, match="values must be finite"):
                function(np.array([np.longdouble(2) ** 1024]), 2**40, ring)
