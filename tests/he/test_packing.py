"""Vectors packed in coefficients: polynomials, their products, and what is refused of them."""

from __future__ import annotations

import numpy as np
import pytest

import he_gpu as he
from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from tests.he.contexts import DEGREE, context, reals

PACKED = {"packing": "coefficients"}


@pytest.fixture(scope="module")
def holder():
    return context()


def negacyclic(a, b):
    """Return the product of two polynomials modulo X**N + 1, in float64."""
    full = np.convolve(np.pad(a, (0, DEGREE - len(a))), np.pad(b, (0, DEGREE - len(b))))
    full = np.pad(full, (0, 2 * DEGREE - len(full)))
    return full[:DEGREE] - full[DEGREE:]


def assert_within(holder, ciphertext, expected):
    """Every coefficient is within the stated error, and the bound on slots within the size."""
    expected = np.pad(expected, (0, DEGREE - len(expected)))
    got = holder.decrypt(ciphertext)
    assert got.shape == (DEGREE,)
    assert got.dtype == np.float64
    assert np.abs(got - expected).max() <= ciphertext.error
    assert np.abs(expected).max() <= ciphertext.size


@pytest.mark.parametrize("n", [1, 3, DEGREE - 1, DEGREE])
@pytest.mark.parametrize("way", ["encrypt", "encrypt_with_secret_key"])
def test_a_polynomial_comes_back(holder, way, n):
    values = reals(n)
    packed = getattr(holder, way)(values, **PACKED)
    assert_within(holder, packed, values)
    assert (len(packed), packed.is_real, packed.packing) == (DEGREE, True, "coefficients")
    assert repr(packed).startswith(f"<Ciphertext of {DEGREE} coefficients, level")


@pytest.mark.parametrize(("m", "n"), [(3, 5), (DEGREE, 2), (DEGREE, DEGREE // 2 + 7)])
def test_products_are_negacyclic_convolutions(holder, m, n):
    a, b = reals(m), reals(n, 1)
    x, y = holder.encrypt(a, **PACKED), holder.encrypt(b, **PACKED)
    for product in (x * y, x * b, b * x):
        assert_within(holder, product, negacyclic(a, b))
        assert product.level == x.level - 1
    assert_within(holder, (x * y) ** 2, negacyclic(negacyclic(a, b), negacyclic(a, b)))


def test_sums_and_constants(holder):
    a, b = reals(9), reals(4, 1)
    x, y = holder.encrypt(a, **PACKED), holder.encrypt(b, **PACKED)
    b = np.pad(b, (0, 5))
    first = np.eye(9)[0]  # a number is a constant polynomial
    for got, expected in (
        (x + y, a + b),
        (x - y, a - b),
        (3 - x, 3 * first - a),
        (x + b, a + b),
        (b[:4] - x, b - a),
        (-2 * x, -2 * a),
        (x * 0.25, a / 4),
        (x / 8, a / 8),
        ((x * 1.5).at_level(0) + y, 1.5 * a + b),
    ):
        assert_within(holder, got, expected)


def test_the_size_bounds_slots(holder):
    """All coefficients 1 make a slot as large as their sum is, nearly."""
    x = holder.encrypt(np.ones(DEGREE), **PACKED)
    assert x.size == DEGREE
    roots = np.exp(1j * np.pi * (2 * np.arange(DEGREE) + 1) / DEGREE)
    signs = np.sign(np.cos(np.pi * np.arange(DEGREE) / DEGREE))
    largest = np.abs(np.polynomial.polynomial.polyval(roots, signs)).max()
    assert 0.5 * DEGREE < largest <= (x * signs).size


def test_files_keep_the_packing(holder):
    values = reals(5)
    for way in (holder.encrypt, holder.encrypt_with_secret_key):
        loaded = holder.load_ciphertext(way(values, **PACKED).serialize())
        assert_within(holder, loaded, values)
        with pytest.raises(ArgumentValueError, match="packed in coefficients"):
            loaded.rotate(1)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.rotate(1),
        lambda x: x.rotations([1, 2]),
        lambda x: x.conjugate(),
        lambda x: x.sum(),
        lambda x: np.ones((2, DEGREE)) @ x,
        lambda x: x @ np.ones((DEGREE, 2)),
        lambda x: x @ x,
        lambda x: np.ones(DEGREE) @ x,
        lambda x: he.he.PlainMatrix(np.ones((2, DEGREE))) @ x,
        lambda x: x.polynomial([0, 1, 2]),
        lambda x: x.chebyshev([0, 1, 2]),
        lambda x: x / np.ones(DEGREE),
    ],
)
def test_what_works_on_slots_is_refused(holder, call):
    with pytest.raises(ArgumentValueError, match="packed in coefficients, and this works on slots"):
        call(holder.encrypt([1.0, 2.0], **PACKED))


def test_what_cannot_be_meant_is_refused(holder):
    x = holder.encrypt([1.0, 2.0], **PACKED)
    slots = holder.encrypt(np.ones(DEGREE // 2))
    for packing in ("slot", "", None, 1, ["slots"]):
        with pytest.raises(ArgumentValueError, match=r"packing must be one of \('slots', 'coeff"):
            holder.encrypt([1.0], packing=packing)
    with pytest.raises(ArgumentValueError, match=rf"1 to {DEGREE} numbers"):
        holder.encrypt(np.ones(DEGREE + 1), **PACKED)
    for values in ([1j], np.ones(3, complex)):
        with pytest.raises(ArgumentTypeError, match="coefficients must be real"):
            holder.encrypt(values, **PACKED)
        with pytest.raises(ArgumentTypeError, match="must be real, as coefficients are"):
            x + values
    with pytest.raises(ArgumentTypeError, match="must be real, as coefficients are"):
        x * 1j
    for other in (np.ones(DEGREE + 1), np.ones((1, 2)), []):
        with pytest.raises(ArgumentValueError, match="must be a number or of shape"):
            x * other
    for mixed in (lambda: x + slots, lambda: slots * x):
        with pytest.raises(ArgumentValueError, match="one length"):
            mixed()


def test_a_published_polynomial_is_flooded_in_all_coefficients():
    """As much as one of N / 2 complex slots, which says as much."""
    params = he.CkksParams(depth=0, scale_bits=30, public_queries=4)
    holder = he.Ckks(params, "cpu")
    values = reals(8)
    noise = {}
    for name, x in (
        ("polynomial", holder.encrypt(values, **PACKED)),
        ("slots", holder.encrypt(np.ones(holder.slots))),
    ):
        expected = np.pad(values, (0, holder.ring_degree - 8)) if name == "polynomial" else 1
        noise[name] = (holder.decrypt_public(x) - expected).std() / x.error
    # A slot's real part has the noise of N / 2 coefficients; each deviation is known to 2 %.
    ratio = noise["slots"] / noise["polynomial"] / np.sqrt(holder.ring_degree / 2)
    assert abs(ratio - 1) < 0.15
