"""The table of security: the standard's numbers, and what is not in it."""

from itertools import pairwise

import pytest

from he_gpu.errors import ArgumentValueError
from he_gpu.he.sampling import ERROR_VARIANCE
from he_gpu.he.security import DEGREES, ERROR_DEVIATION, LEVELS, modulus_bits

# Homomorphic Encryption Standard, 2018, table 1, ternary secrets: N, then log2 q at 128, 192, 256.
STANDARD = """
1024 27 19 14
2048 54 37 29
4096 109 75 58
8192 218 152 118
16384 438 305 237
32768 881 611 476
"""


@pytest.mark.parametrize("row", STANDARD.split("\n")[1:-1])
def test_bits_of_the_standard(row):
    degree, *bits = map(int, row.split())
    assert [modulus_bits(degree, level) for level in (128, 192, 256)] == bits


def test_the_table_grows_in_proportion():
    for level in LEVELS:
        bits = [modulus_bits(degree, level) for degree in DEGREES]
        for small, large in pairwise(bits):
            assert 1.9 < large / small < 2.1
    for degree in DEGREES:
        assert modulus_bits(degree, 128) > modulus_bits(degree, 192) > modulus_bits(degree, 256)


def test_errors_are_as_large_as_the_table_wants():
    assert ERROR_VARIANCE >= ERROR_DEVIATION**2


@pytest.mark.parametrize("security", [0, 80, 127, 129, 112, None])
def test_other_levels_are_refused(security):
    with pytest.raises(ArgumentValueError, match=r"security must be one of \(128, 192, 256\), got"):
        modulus_bits(8192, security)


@pytest.mark.parametrize("degree", [0, 512, 8191, 131072])
def test_other_degrees_are_refused(degree):
    with pytest.raises(ArgumentValueError, match=f"ring_degree must be one of .* got {degree}"):
        modulus_bits(degree, 128)
