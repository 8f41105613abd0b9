"""Polynomials of encrypted vectors against NumPy, the levels they take, and what they refuse."""

import doctest

import numpy as np
import pytest
from numpy.polynomial import chebyshev, polynomial

from he_gpu.backend import get_backend
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ExhaustedLevelError,
    RangeError,
)
from he_gpu.he import key_switch, noise, series
from he_gpu.he.context import Ckks
from he_gpu.he.series import best_babies, cuts, depth, divided, halves, trimmed
from tests.he.contexts import SLOTS, assert_within, context, parameters, reals

DEPTH = 5
BASES = {
    "powers": (polynomial.polyval, lambda X, c: X.polynomial(c)),
    "Chebyshev": (chebyshev.chebval, lambda X, c: X.chebyshev(c)),
}


def coefficients(degree, seed=0):
    return np.random.default_rng([seed, degree]).uniform(-1, 1, degree + 1)


@pytest.fixture(scope="module")
def holder():
    return context(DEPTH)


# Cuts


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("is_chebyshev", [False, True])
def test_quotient_and_rest_make_the_polynomial(seed, is_chebyshev):
    rng = np.random.default_rng(seed)
    at = 2 ** int(rng.integers(0, 6))
    p = coefficients(int(rng.integers(at, 2 * at)), seed)
    quotient, rest = divided(p, at, is_chebyshev)
    x = np.linspace(-1, 1, 50)
    value = chebyshev.chebval if is_chebyshev else polynomial.polyval
    element = value(x, np.eye(at + 1)[at])
    result = value(x, quotient) * element + value(x, rest)
    np.testing.assert_allclose(result, value(x, p), rtol=0, atol=1e-12)
    assert len(rest) <= at >= len(quotient)


@pytest.mark.parametrize("is_chebyshev", [False, True])
@pytest.mark.parametrize("degree", [*range(1, 40), 63, 64, 100, 127, 255])
def test_cuts_stay_within_the_levels(degree, is_chebyshev):
    def check(p, below, babies):
        """Every element and quotient is there at its level; the last rest is a sum."""
        rest = p
        for cut in cuts(p, below, babies, is_chebyshev):
            assert cut.at.bit_length() - 1 <= below
            if len(cut.quotient) > 1:
                check(cut.quotient, below - 1, babies)
            rest = cut.rest
        assert below >= 0
        assert len(rest) == 1 or (len(rest) - 2).bit_length() <= below

    whole = trimmed(coefficients(degree).tolist())
    levels = depth(degree)
    assert levels == np.ceil(np.log2(degree + 1))
    for log in range(1, levels + 1):
        check(whole, levels - 1, 2**log - 1)
    assert 1 <= best_babies(whole, is_chebyshev) < 2**levels


def test_an_element_that_is_there_is_not_cut():
    """The fourth is there two levels down, the fifth is not."""
    assert cuts((0, 0, 0, 0, 1), 2, 7, False) == ()
    assert [cut.at for cut in cuts((0, 0, 0, 0, 0, 1), 2, 7, False)] == [4]
    assert cuts((0, 0, 0, 0, 0, 1), 3, 7, False) == ()


def test_halves_take_the_fewest_levels():
    for k in range(2, 200):
        half, other = halves(k)
        assert half + other == k
        assert half >= other > 0
        assert max(map(depth, (half - 1, other - 1))) + 1 == depth(k - 1)


# Values


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("degree", [*range(1, 16), 22, 31])
def test_random_polynomials(holder, degree, basis):
    value, call = BASES[basis]
    x, c = reals([SLOTS, 77][degree % 2], degree), coefficients(degree)
    X = holder.encrypt(x)
    result = call(X, c)
    assert X.level - result.level == depth(degree) == np.ceil(np.log2(degree + 1))
    assert result.scale == holder.params.chain.scales[result.level]
    assert_within(holder, result, value(x, c))


@pytest.mark.parametrize("basis", BASES)
def test_sparse_polynomials(holder, basis):
    value, call = BASES[basis]
    x = reals(100)
    X = holder.encrypt(x)
    for places in ([8], [0, 8], [1, 9], [3], [2, 4, 6], [15], [1, 3, 5, 7], [1, 31]):
        c = np.zeros(max(places) + 1)
        c[places] = coefficients(len(places) - 1)
        result = call(X, c)
        assert result.level == DEPTH - depth(max(places))
        assert_within(holder, result, value(x, c))


@pytest.mark.parametrize("basis", BASES)
def test_constants(holder, basis):
    _, call = BASES[basis]
    X = holder.encrypt(reals(10))
    for c in ([0.5], [0.5, 0, 0], [0.0], [3]):
        result = call(X, c)
        assert result.level == DEPTH
        assert_within(holder, result, np.full(10, c[0], float))


def test_constants_of_rotated_vectors_stand_in_the_vector_alone(holder):
    moved = holder.encrypt(reals(10)).rotate(2)
    for call in (moved.polynomial, moved.chebyshev):
        result = call([0.5])
        assert_within(holder, result.rotate(9), np.r_[0.5, np.zeros(9)])


def test_without_a_constant_rotated_vectors_can_be_rotated_back(holder):
    x = reals(10)
    result = holder.encrypt(x).rotate(2).polynomial([0, 0.5, 0, 1]).rotate(-2)
    assert_within(holder, result, x / 2 + x**3)


@pytest.mark.parametrize("basis", BASES)
def test_complex_coefficients_and_values(holder, basis):
    value, call = BASES[basis]
    x, c = reals(60), coefficients(6) + 1j * coefficients(6, 1)
    assert_within(holder, call(holder.encrypt(x), c), value(x, c))
    z = (x + 1j * reals(60, 1)) / 2
    assert_within(holder, holder.encrypt(z).polynomial(c.real), polynomial.polyval(z, c.real))


def test_lower_levels_and_larger_values(holder):
    x = 3 * reals(50)
    X = holder.encrypt(x).at_level(3)
    c = coefficients(5) / 10
    result = X.polynomial(c)
    assert result.level == 0
    assert_within(holder, result, polynomial.polyval(x, c))


@pytest.mark.parametrize("interval", [(-8, 8), (-0.5, 0.5), (0, 1), (-1, 3), (2, 5.5)])
def test_intervals(holder, interval):
    low, high = interval
    x, c = np.linspace(low, high, 60), coefficients(6)
    X = holder.encrypt(x)
    result = X.chebyshev(c, interval)
    expected = chebyshev.chebval((2 * x - low - high) / (high - low), c)
    further = 0 if (2 / (high - low)).is_integer() else 1
    assert X.level - result.level == depth(6) + further
    assert_within(holder, result, expected)


def test_sigmoid(holder):
    """The interpolation has error 4.7e-4 on [-4, 4]; encryption adds less than its bound."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    found = chebyshev.Chebyshev.interpolate(sigmoid, 9, domain=(-4, 4))
    x = np.linspace(-4, 4, 300)
    result = holder.encrypt(x).chebyshev(found.coef, (-4, 4))
    assert result.level == 0
    assert_within(holder, result, found(x))
    approximation = np.abs(found(x) - sigmoid(x)).max()
    assert 4e-4 < approximation < 5e-4
    assert np.abs(holder.decrypt(result) - sigmoid(x)).max() < approximation + result.error


def test_slots_behind_the_vector_stay_zero(holder):
    x, c = reals(6), coefficients(7)
    for basis, (value, call) in BASES.items():
        result = call(holder.encrypt(x), c)
        assert not result.leftovers, basis
        moved = np.append(value(x, c)[2:], [0, 0])
        assert_within(holder, result.rotate(2), moved)
        assert_within(holder, result.sum(), [value(x, c).sum()])


def test_rotated_vectors(holder):
    x, c = reals(6), coefficients(5)
    moved, expected = holder.encrypt(x).rotate(1), np.append(x[1:], 0)
    result = moved.polynomial(c)
    assert_within(holder, result, polynomial.polyval(expected, c))
    assert_within(holder, result.sum(), [polynomial.polyval(expected, c).sum()])
    with pytest.raises(ArgumentValueError, match="parts of sums"):
        result.rotate(1)
    result = moved.chebyshev(c)
    assert result.level == DEPTH - depth(5) - 1
    assert_within(holder, result, chebyshev.chebval(expected, c))
    assert_within(holder, result.sum(), [chebyshev.chebval(expected, c).sum()])


def test_after_a_matrix(holder):
    x, c = reals(80), coefficients(3)
    values = np.random.default_rng(5).uniform(-1, 1, (4, 80)) / 40
    assert_within(
        holder, (values @ holder.encrypt(x)).polynomial(c), polynomial.polyval(values @ x, c)
    )


@pytest.mark.parametrize(("degree", "most"), [(3, 2), (7, 4), (15, 7), (31, 11)])
def test_products_are_relinearised_together(holder, monkeypatch, degree, most):
    X, calls = holder.encrypt(reals(10)), []
    original = key_switch.relinearise
    monkeypatch.setattr(
        "he_gpu.he.polynomial.relinearise", lambda *a: calls.append(a) or original(*a)
    )
    X.polynomial(coefficients(degree))
    assert 0 < len(calls) <= most


# Bounds


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 6, 8, 16])
def test_an_argument_s_error_grows_with_the_derivative(holder, degree):
    """That is k in 1 for x**k and k**2 for T_k, and the bound says little more."""
    error, c = 1e-5, np.eye(degree + 1)[degree]
    X = holder.encrypt(np.ones(4)).replace(error=error)
    assert 0.99 <= X.polynomial(c).error / error / degree <= 1.01
    assert 0.99 <= X.chebyshev(c).error / error / degree**2 <= 1.5


@pytest.mark.parametrize("name", ["key_switching", "rescaling"])
def test_every_division_is_in_the_bound(holder, monkeypatch, name):
    """x**4 has the error of a square twice, and another; the coefficient's product is rescaled.

    A key switch divides too.
    """
    X, counted = holder.encrypt(np.ones(4)), {"key_switching": 3, "rescaling": 3 + 3 + 1}[name]
    c = np.eye(5)[4]
    exact = X.polynomial(c).error
    monkeypatch.setattr(noise, name, lambda *_: 1e-3)
    assert X.polynomial(c).error - exact == pytest.approx(counted * 1e-3, rel=1e-2)


# Refusals


@pytest.mark.parametrize("name", ["polynomial", "chebyshev"])
def test_coefficients_that_are_none(holder, name):
    call = getattr(holder.encrypt(reals(4)), name)
    for value, message in (
        ([], "shape"),
        (1.0, "shape"),
        (np.eye(2), "shape"),
        ([[1], 2], "one shape"),
    ):
        with pytest.raises(ArgumentValueError, match=f"{name}: coefficients .*{message}"):
            call(value)
    with pytest.raises(ArgumentValueError, match=r"1 to 1024 numbers, got shape \(1025,\)"):
        call(np.ones(1025))
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    for value in ("abc", None, ["a"], masked):
        with pytest.raises(ArgumentTypeError, match=f"{name}: coefficients must be numbers"):
            call(value)
    with pytest.raises(ArgumentTypeError, match=f"{name}: coefficients must begin with the lowest"):
        call(np.poly1d([1, 2]))
    for value in (np.nan, -np.inf, np.longdouble("1e4000")):
        with pytest.raises(RangeError, match="must be finite"):
            call([1, value])


def test_too_few_levels(holder, monkeypatch):
    X = holder.encrypt(reals(4)).at_level(2)
    moved = X.rotate(1)
    monkeypatch.setattr(type(X.keys.ladder), "ring", lambda *_: pytest.fail("computed"))
    for call, message in (
        (lambda: X.polynomial(np.ones(5)), "4 needs an operand at level 3, got level 2"),
        (lambda: X.chebyshev(np.ones(5)), "degree 4 needs an operand at level 3"),
        (lambda: X.chebyshev(np.ones(4), (-2, 2)), "level 3, as bringing values from the interval"),
        (lambda: moved.chebyshev(np.ones(4)), "degree 3 needs an operand at level 3"),
    ):
        with pytest.raises(ExhaustedLevelError, match=message):
            call()


def test_intervals_that_are_none(holder):
    X = holder.encrypt(reals(4))
    for interval in ((1, 1), (2, 1), (0, np.inf), (np.nan, 1), (-1.7e308, 1.7e308), (0, 5e-324)):
        with pytest.raises(ArgumentValueError, match="interval must rise"):
            X.chebyshev([1, 2], interval)
    for interval in (3, (1, 2, 3), ("a", "b")):
        with pytest.raises(ArgumentTypeError, match="interval must be two real numbers"):
            X.chebyshev([1, 2], interval)


def test_complex_values_have_no_chebyshev_bounds(holder):
    with pytest.raises(ArgumentValueError, match="chebyshev: the values must be real"):
        holder.encrypt([0.5j]).chebyshev([0, 1])


def test_examples():
    assert doctest.testmod(series).failed == 0 < doctest.testmod(series).attempted


def test_values_that_a_level_cannot_hold(holder):
    X = holder.encrypt(30 * reals(4)).at_level(2)
    with pytest.raises(RangeError, match="polynomial: level 0 holds values below"):
        X.polynomial([0, 0, 1])
    doubtful = holder.encrypt(reals(4)).at_level(1).replace(error=1.0)
    with pytest.raises(RangeError, match=r"polynomial: level 0 .* result may reach 8"):
        doubtful.polynomial([0, 400])


@pytest.mark.parametrize("basis", BASES)
def test_values_that_no_level_can_hold_are_refused_before_any_work(holder, monkeypatch, basis):
    X = holder.encrypt(1000 * reals(4))
    monkeypatch.setattr(key_switch, "multiply", lambda *_: pytest.fail("computed"))
    power = np.zeros(31)
    power[-1] = 1e300
    for c in ([1e300, 1], [1.7e308, 1.7e308], [1.7e308 * (1 + 1j), 1], [1e300], power):
        with pytest.raises(RangeError, match=r"(chebyshev|polynomial): level \d holds values"):
            BASES[basis][1](X.replace(size=X.size**10), c)


# Devices


def test_emulator_computes_the_same_words(require_emulator):
    c, x = coefficients(3), reals(9)
    results = []
    for device in ("cpu", "emulator"):
        X = Ckks(parameters(2), device, 31).encrypt(x)
        to_numpy = get_backend(device).to_numpy
        results.append([to_numpy(X.polynomial(c).components), to_numpy(X.chebyshev(c).components)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)
