"""The fixed-point encoding and the encoding of public factors, against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from he_gpu.errors import ArgumentTypeError, ArgumentValueError, RangeError
from he_gpu.ring.fixedpoint import (
    FACTOR_BITS,
    as_reals,
    check_frac_bits,
    decode,
    encode,
    encode_factor,
    word_bits,
)

MODULI = (2**32, 2**64)


@st.composite
def encodings(draw):
    """A modulus, fraction bits and reals that the range of `Session.share` accepts."""
    modulus = draw(st.sampled_from(MODULI))
    k = word_bits(modulus)
    frac_bits = draw(st.integers(0, (k - 3) // 2))
    limit = 2.0 ** (k - 2 - 2 * frac_bits)
    real = st.floats(-limit, limit, exclude_min=True, exclude_max=True)
    return modulus, frac_bits, np.array(draw(st.lists(real, max_size=20)))


@given(encodings())
def test_decode_inverts_encode_within_half_a_unit(case):
    modulus, frac_bits, reals = case
    k = word_bits(modulus)
    words = encode(reals, frac_bits, k - 2 - 2 * frac_bits, modulus, "f", "x")
    assert words.dtype == (np.uint32 if modulus == 2**32 else np.uint64)
    assert words.shape == reals.shape
    for real, word in zip(reals.tolist(), words.tolist(), strict=True):
        signed = word - modulus if word >= modulus // 2 else word
        # Half a unit, and nothing for the float64 itself: scaling by 2^f and rint are exact.
        assert abs(Fraction(real) * 2**frac_bits - signed) <= Fraction(1, 2)
    back = decode(words, frac_bits, modulus)
    assert back.dtype == np.float64
    # decode is exact up to 53 significant bits; |signed| < 2^(62 - f), so the rest is 2^-53 of it.
    slack = 2.0 ** -(frac_bits + 1) + np.abs(reals) * 2.0**-53
    assert (np.abs(back - reals) <= slack).all()


@given(st.sampled_from(MODULI), st.data())
def test_every_word_decodes_to_its_signed_value(modulus, data):
    k = word_bits(modulus)
    words = data.draw(st.lists(st.integers(0, modulus - 1), min_size=1, max_size=8))
    frac_bits = data.draw(st.integers(0, k - 3))
    real = decode(np.array(words, np.uint64 if k == 64 else np.uint32), frac_bits, modulus)
    for word, value in zip(words, real.tolist(), strict=True):
        signed = word - modulus if word >= modulus // 2 else word
        assert Fraction(value) == Fraction(float(signed)) / 2**frac_bits


@pytest.mark.parametrize("modulus", MODULI)
def test_the_limit_itself_is_refused(modulus):
    limit = word_bits(modulus) - 2 - 2 * 8
    just_below = np.nextafter(2.0**limit, 0)
    encode(np.array([just_below, -just_below]), 8, limit, modulus, "share", "x")
    for value in (2.0**limit, -(2.0**limit), 1e300):
        with pytest.raises(RangeError, match=rf"share: x must satisfy \|x\| < 2\*\*{limit} .* got"):
            encode(np.array([0.0, value]), 8, limit, modulus, "share", "x")


@st.composite
def factors(draw):
    modulus = draw(st.sampled_from(MODULI))
    top = 2.0 ** min(word_bits(modulus) - 2, 53)
    magnitude = st.floats(-12, np.log2(top) - 0.01)
    real = st.builds(lambda e, m, s: s * m * 2.0**e, magnitude, st.floats(0.5, 1.0),
                     st.sampled_from([-1, 1]))  # fmt: skip
    return modulus, np.array(draw(st.lists(real, min_size=1, max_size=10)))


@given(factors())
def test_factor_error_is_bounded_by_the_largest(case):
    """At b bits the largest mantissa is 2^(b-1) or more, so half a unit is 2^-b of it at most."""
    modulus, reals = case
    factor = encode_factor(reals, modulus, "mul")
    largest = max(abs(Fraction(real)) for real in reals.tolist())
    signed = factor.mantissa.astype(np.uint64).astype(object)
    signed = np.where(signed >= modulus // 2, signed - modulus, signed)
    for real, mantissa in zip(reals.tolist(), signed.tolist(), strict=True):
        error = abs(Fraction(mantissa, 2**factor.shift) - Fraction(real))
        assert error <= largest / 2 ** FACTOR_BITS[word_bits(modulus)]
    assert factor.largest == max(abs(value) for value in signed.tolist())


def test_a_public_factor_keeps_24_bits():
    """DESIGN: 1e-3 as 66/65536 would be 0.7 % off."""
    assert FACTOR_BITS[64] >= 24
    factor = encode_factor(np.asarray(1e-3), 2**64, "mul")
    assert abs(int(factor.mantissa) / 2**factor.shift / 1e-3 - 1) <= 2.0**-24


@given(st.lists(st.integers(-(2**53) + 1, 2**53 - 1), min_size=1, max_size=10))
def test_integers_are_exact(values):
    factor = encode_factor(np.array(values, np.float64), 2**64, "mul")
    assert factor.shift == 0
    assert factor.mantissa.astype(np.int64).tolist() == values


@pytest.mark.parametrize("modulus", MODULI)
def test_dyadic_factors_drop_their_zeros(modulus):
    for value, mantissa, shift in ((0.5, 1, 1), (-0.75, -3, 2), (2.0**-10, 1, 10), (2.5, 5, 1)):
        factor = encode_factor(np.asarray(value), modulus, "mul")
        assert factor.shift == shift
        assert int(factor.mantissa) == mantissa % modulus


@pytest.mark.parametrize("modulus", MODULI)
def test_tiny_factors_end_at_the_word(modulus):
    """A shift beyond k - 3 could not be truncated; the rest of the factor counts as 0."""
    k = word_bits(modulus)
    for value in (1e-30, 5e-324, 2.0 ** -(k - 3)):
        factor = encode_factor(np.asarray(value), modulus, "mul")
        assert 0 <= factor.shift <= k - 3
        assert abs(int(factor.mantissa) / 2.0**factor.shift - value) <= 2.0 ** -(k - 2)


def test_zero_and_empty_factors():
    assert encode_factor(np.zeros(3), 2**64, "mul")[1:] == (0, 0)
    assert encode_factor(np.zeros((0, 2)), 2**64, "mul").mantissa.shape == (0, 2)


@pytest.mark.parametrize(("modulus", "bits"), [(2**64, 53), (2**32, 30)])
def test_factor_limits(modulus, bits):
    encode_factor(np.asarray(2.0**bits - 1), modulus, "mul")
    for value in (2.0**bits, -(2.0**bits), 1e308):
        with pytest.raises(RangeError, match=rf"mul: a public factor must .* 2\*\*{bits}, got"):
            encode_factor(np.asarray(value), modulus, "mul")


@pytest.mark.parametrize(("modulus", "largest"), [(2**64, 30), (2**32, 14)])
def test_frac_bits_leave_room_for_a_product(modulus, largest):
    for bits in (0, 1, largest, np.int64(largest)):
        assert check_frac_bits(bits, modulus, "Session") == bits
    for bits in (-1, largest + 1, 64):
        with pytest.raises(ArgumentValueError, match=rf"frac_bits must be in \[0, {largest}\]"):
            check_frac_bits(bits, modulus, "Session")
    for bits in (1.0, "8", None, True):
        with pytest.raises(ArgumentTypeError, match="frac_bits must be an integer"):
            check_frac_bits(bits, modulus, "Session")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ArgumentValueError, match="share: x must be finite, got"):
        as_reals([1.0, bad], "share", "x")


@pytest.mark.parametrize("bad", [1j, "1.0", None, [object()], np.array(["a"]), b"1", [1, "a"]])
def test_what_is_not_real_is_refused(bad):
    with pytest.raises(ArgumentTypeError, match="share: x must hold real numbers"):
        as_reals(bad, "share", "x")


def test_lists_of_unequal_lengths_are_refused():
    with pytest.raises(ArgumentValueError, match="x is no array"):
        as_reals([[1.0, 2.0], [3.0]], "share", "x")


def test_other_real_types_are_taken():
    for value in (True, 3, np.float16(0.5), np.uint8(200), [[1, 2.5]], np.arange(3)):
        assert as_reals(value, "share", "x").tolist() == np.asarray(value).tolist()
