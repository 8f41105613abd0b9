"""CkksParams: what is chosen, what is refused and why, and what identifies it."""

import copy
import math
import pickle
import re

import numpy as np
import pytest

from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    HeGpuError,
    InsecureParametersWarning,
)
from he_gpu.he import cost, flooding, noise
from he_gpu.he.chain import plans
from he_gpu.he.choice import PRECISION_BITS
from he_gpu.he.parameters import ALLOWED_BY, CkksParams
from he_gpu.he.security import DEGREES, modulus_bits

DIGEST = "dddd223c0bdcdde21254c2072e46c4c2ebff7c609767c84873f683734dbab284"
ASKED = [
    {"depth": 0},
    {"depth": 1},
    {"depth": 1, "scale_bits": 30},
    {"depth": 3},
    {"depth": 5},
    {"depth": 8},
    {"depth": 10, "scale_bits": 50},
    {"depth": 16},
    {"depth": 25},
    {"depth": 30},
    {"depth": 2, "security": 192},
    {"depth": 4, "security": 256},
    {"depth": 2, "scale_bits": 106},
    {"depth": 2, "public_queries": 1},
    {"depth": 4, "public_queries": 1000},
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_nothing_secure_and_precise_costs_less(asked):
    params = CkksParams(**asked)
    allowed = modulus_bits(params.ring_degree, params.security)
    assert params.chain.modulus_bits <= allowed
    assert params.chain.depth == asked["depth"]
    assert params.precision_bits >= PRECISION_BITS
    least = cost.computation(params.chain)
    for degree in DEGREES:
        try:
            other = CkksParams(**asked, ring_degree=degree)
        except ArgumentValueError:
            continue
        # The smallest degree wins where costs are equal.
        assert (least, params.ring_degree) <= (cost.computation(other.chain), degree)
    bits = params.scale_bits + params.flooding_bits
    for chain in plans(params.depth, bits, params.ring_degree, allowed):
        if chain.modulus_bits <= allowed:
            assert cost.computation(chain) >= least


def test_what_is_chosen():
    """The classical cases: as many levels as SEAL's users know, or more."""
    assert CkksParams(2).ring_degree == 8192
    assert CkksParams(3).ring_degree == 8192
    assert CkksParams(7).ring_degree == 16384
    assert CkksParams(16).ring_degree == 32768
    assert CkksParams(30).ring_degree == 65536


@pytest.mark.parametrize(("depth", "scale_bits"), [(17, 40), (5, 60)])
def test_a_larger_ring_in_place_of_many_digits(depth, scale_bits):
    params = CkksParams(depth, scale_bits)
    smaller = CkksParams(depth, scale_bits, ring_degree=params.ring_degree // 2)
    assert params.n_digits <= 3
    assert smaller.n_digits >= 18
    assert cost.computation(params.chain) < cost.computation(smaller.chain)


@pytest.mark.parametrize(("depth", "scale_bits"), [(8, 40), (7, 50)])
def test_many_digits_in_place_of_a_larger_ring(depth, scale_bits):
    params = CkksParams(depth, scale_bits)
    larger = CkksParams(depth, scale_bits, ring_degree=2 * params.ring_degree)
    assert params.n_digits >= 17
    assert larger.n_digits <= 3
    assert cost.computation(params.chain) < cost.computation(larger.chain)


def test_an_explicit_degree_is_respected():
    params = CkksParams(depth=2, ring_degree=32768)
    assert params.ring_degree == 32768
    assert params.n_slots == 16384
    assert params.n_digits == 1  # there is room


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"depth": 5, "ring_degree": 8192},
            r"depth 5 with scale_bits 40 needs a modulus of at least \d+ bits, special primes "
            r"included, and ring_degree 8192 allows 218 at security 128; take ring_degree 16384, "
            r"depth 3 or scale_bits 26$",
        ),
        ({"depth": 40}, r"needs a modulus of at least 2\d{3} bits"),
        ({"depth": 60}, r"ring_degree 65536 allows 1747 at security 128; take depth 32$"),
        ({"depth": 3, "security": 256, "ring_degree": 8192}, "allows 118 at security 256"),
        (
            {"depth": 3, "ring_degree": 8192, "public_queries": 5},
            r"scale_bits 40 and \d+ more for flooding needs",
        ),
        (
            {"depth": 2, "scale_bits": 20},
            r"scale_bits 20 at .* leaves .* take scale_bits 2\d$",
        ),
        (
            {"depth": 2, "public_queries": 2**40},
            r"flooded for 1099511627776 public_queries, -?\d+\.\d bits .* take public_queries \d+$",
        ),
        ({"depth": 2, "security": 127}, r"security must be one of \(128, 192, 256\), got 127"),
        ({"depth": 2, "security": 0}, "security=0 needs a ring_degree"),
        ({"depth": 2, "security": 0, "ring_degree": 100}, "power of two from 16 to 65536, got 100"),
        ({"depth": 2, "ring_degree": 12345}, "ring_degree must be one of .* got 12345"),
        ({"depth": -1}, r"depth must be in \[0, 64\], got -1"),
        ({"depth": 65}, r"depth must be in \[0, 64\], got 65"),
        ({"depth": 1, "scale_bits": 15}, r"scale_bits must be in \[16, 106\], got 15"),
        ({"depth": 1, "scale_bits": 107}, r"scale_bits must be in \[16, 106\], got 107"),
        ({"depth": 1, "public_queries": -1}, r"public_queries must be in \[0, 1099511627776\]"),
    ],
)
def test_refused(asked, message):
    with pytest.raises(ArgumentValueError, match=message) as caught:
        CkksParams(**asked)
    assert str(caught.value).startswith("CkksParams: ")
    assert isinstance(caught.value, HeGpuError)


@pytest.mark.parametrize(
    "asked",
    [
        {"depth": 5, "ring_degree": 8192},
        {"depth": 40},
        {"depth": 60, "scale_bits": 60},
        {"depth": 2, "scale_bits": 20},
        {"depth": 36, "scale_bits": 19},
        {"depth": 3, "security": 256, "ring_degree": 8192},
        {"depth": 44, "scale_bits": 101, "public_queries": 2**40},
        {"depth": 29, "scale_bits": 66, "public_queries": 1},
        {"depth": 8, "scale_bits": 30, "security": 256, "public_queries": 2**20},
        {"depth": 0, "scale_bits": 101, "ring_degree": 1024},
        {"depth": 37, "scale_bits": 106, "security": 256, "ring_degree": 4096},
        {"depth": 48, "scale_bits": 34},
    ],
    ids=str,
)
def test_advice_can_be_followed(asked):
    with pytest.raises(ArgumentValueError) as caught:
        CkksParams(**asked)
    advice = str(caught.value).split("; ")[1]
    if advice.startswith("leave out ring_degree and "):
        asked = {name: value for name, value in asked.items() if name != "ring_degree"}
    options = re.findall(r"(ring_degree|depth|scale_bits|public_queries) (\d+)", advice)
    if not options:
        assert advice == "take less depth and other scale_bits, as neither alone helps"
    for name, value in options:
        params = CkksParams(**{**asked, name: int(value)})
        assert params.precision_bits >= PRECISION_BITS
    for name, value in options:
        if name == "depth":  # no more than needed
            with pytest.raises(ArgumentValueError):
                CkksParams(**{**asked, "depth": int(value) + 1})


@pytest.mark.parametrize(
    "asked",
    [{"depth": 1.0}, {"depth": "3"}, {"depth": True}, {"depth": 1, "scale_bits": 40.5}],
)
def test_refused_types(asked):
    with pytest.raises(ArgumentTypeError, match="must be an integer, got"):
        CkksParams(**asked)


def test_insecure_parameters_warn():
    with pytest.warns(InsecureParametersWarning, match="security=0 hides nothing") as caught:
        params = CkksParams(depth=2, ring_degree=64, security=0)
    assert caught[0].filename == __file__
    assert params.n_slots == 32
    assert params.n_digits == 6  # calls take all the time, and digits share them
    assert "security=0" in repr(params)


@pytest.mark.parametrize("allowed", [None, "", "0", "yes"])
def test_insecure_parameters_are_refused_outside_tests(allowed, monkeypatch):
    monkeypatch.delenv(ALLOWED_BY)
    if allowed is not None:
        monkeypatch.setenv(ALLOWED_BY, allowed)
    refusal = r"security must be one of \(128, 192, 256\), got 0"
    with pytest.raises(ArgumentValueError, match=refusal):
        CkksParams(depth=2, ring_degree=4096, security=0)


def test_immutable_hashable_equal():
    params = CkksParams(depth=3)
    with pytest.raises(AttributeError):
        params.depth = 4
    assert params == CkksParams(3, 40, 128, 8192)
    assert hash(params) == hash(CkksParams(np.int64(3)))
    assert params != CkksParams(2)
    assert len({params, CkksParams(3), CkksParams(2)}) == 2
    assert pickle.loads(pickle.dumps(params)) == params
    assert copy.deepcopy(params).chain == params.chain


def test_repr():
    assert repr(CkksParams(depth=3)) == (
        "CkksParams(N=8192, levels=3, log2 QP=197, scale=2**40.0, digits=8, security=128)"
    )
    assert repr(CkksParams(depth=2, public_queries=9)).endswith("security=128, public_queries=9)")


def test_digest():
    """It is written into files: a change of it makes them unreadable."""
    assert CkksParams(3).digest.hex() == DIGEST
    assert CkksParams(3).digest == CkksParams(3, ring_degree=8192).digest
    digests = {CkksParams(**asked).digest for asked in ASKED}
    assert len(digests) == len(ASKED)
    assert all(len(digest) == 32 for digest in digests)


def test_largest():
    params = CkksParams(depth=3)
    for level in range(4):
        modulus = math.prod(params.chain.moduli(level))
        assert math.isclose(params.largest(level), modulus / 2 / params.chain.scales[level])
    assert params.largest() >= 2**9
    assert params.largest(1) > 2**40


def test_precision_is_that_of_a_fresh_number():
    params = CkksParams(depth=3)
    expected = -math.log2(noise.fresh_public(1.0, params.scale, 8192, params.chain.special[-1]))
    assert params.precision_bits == expected
    assert 40 - 13 - 3 < expected < 40 - 13


def test_flooding_is_paid_for():
    """What is published is as precise as scale_bits make what is not, but for float64 itself."""
    assert CkksParams(2).flooding_bits == 0
    flooded = CkksParams(2, 30, 128, 16384, 100)
    assert flooded.flooding_bits == math.ceil(flooding.lost_bits(100, 16384))
    assert flooded.chain.scales[-1] > 2 ** (29.5 + flooded.flooding_bits)
    assert (
        flooded.precision_bits >= -math.log2(noise.fresh_public(1.0, 2.0**29.5, 16384, 2**20)) - 1
    )
    # Beyond the float64 of encodings more scale would hide nothing better.
    large = CkksParams(2, 60, public_queries=100)
    assert large.flooding_bits < math.ceil(flooding.lost_bits(100, large.ring_degree))
    assert large.precision_bits >= PRECISION_BITS
