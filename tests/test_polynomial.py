"""Polynomials of any function: their fits, their plans, and their values on shares."""

import math

import numpy as np
import pytest

import he_gpu as he
from he_gpu.tensor import fitting
from he_gpu.tensor.plan import plan
from tests.conftest import require_device
from tests.sessions import SESSIONS, cost_of, end, of_integers, open_session


@pytest.fixture(params=SESSIONS)
def session(request):
    with open_session(request.param) as session:
        yield session


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def within(low, high, session, n=301):
    """Encodings of points of an interval, and the points."""
    scale = 2.0**session.frac_bits
    words = np.clip(np.rint(np.linspace(low, high, n) * scale),
                    math.ceil(low * scale), math.floor(high * scale))  # fmt: skip
    return words.astype(np.int64), words / scale


# Fits


FUNCTIONS = [
    (np.exp, (-1, 1)),
    (sigmoid, (-8, 8)),
    (np.log, (0.5, 4)),
    (np.cosh, (-2, 2)),
    (lambda x: np.sin(3 * x) + x, (-1.5, 2.0)),
    (np.abs, (-1, 1)),
    (math.erf, (-2, 2)),
]


@pytest.mark.parametrize(("f", "interval"), FUNCTIONS)
def test_the_smallest_degree_that_meets_the_error(f, interval):
    wanted = 2e-2 if f is np.abs else 1e-6
    fit = he.approximate(f, interval, max_error=wanted)
    x = np.random.default_rng(0).uniform(*interval, 20000)
    error = np.abs(fit(x) - np.vectorize(f)(x)).max()
    # Between points of the grid the difference moves by less than its slope times their distance.
    assert error <= fit.approximation_error * 1.001 <= wanted * 1.001
    assert he.approximate(f, interval, degree=fit.degree - 1).approximation_error > wanted
    assert len(fit.coefficients) == fit.degree + 1


@pytest.mark.parametrize(("f", "interval"), FUNCTIONS[:5])
def test_the_coefficients_are_those_of_numpys_interpolation(f, interval):
    fit = he.approximate(f, interval, degree=9)
    numpys = np.polynomial.Chebyshev.interpolate(f, 100, domain=interval).coef[:10]
    np.testing.assert_allclose(fit.coefficients, numpys, rtol=0, atol=1e-12)


def test_taylor_coefficients_are_the_derivatives():
    factorials = np.asarray([math.factorial(n) for n in range(21)], float)
    fit = he.approximate(np.exp, (1, 3), degree=20, basis="taylor")
    np.testing.assert_allclose(fit.coefficients, np.exp(2) / factorials, rtol=1e-9, atol=1e-12)
    fit = he.approximate(sigmoid, (-8, 8), degree=7, basis="taylor")  # its radius is pi
    series = [1 / 2, 1 / 4, 0, -1 / 48, 0, 1 / 480, 0, -17 / 80640]
    np.testing.assert_allclose(fit.coefficients, series, rtol=1e-9, atol=1e-12)
    fit = he.approximate(math.erf, (-1, 1), degree=5, basis="taylor")  # takes no complex numbers
    series = np.asarray([0, 1, 0, -1 / 3, 0, 1 / 10]) * 2 / math.sqrt(math.pi)
    np.testing.assert_allclose(fit.coefficients, series, rtol=1e-6, atol=1e-9)
    fit = he.approximate(np.abs, (4, 6), degree=3, basis="taylor")
    np.testing.assert_allclose(fit.coefficients, [5, 1, 0, 0], atol=1e-9)


def test_taylor_takes_the_first_degree_that_meets_the_error():
    fit = he.approximate(np.exp, (-1, 1), max_error=1e-3, basis="taylor")
    remainder = math.e - sum(1 / math.factorial(n) for n in range(fit.degree + 1))
    assert fit.approximation_error == pytest.approx(remainder, rel=1e-6)
    assert remainder <= 1e-3 < remainder + 1 / math.factorial(fit.degree)


def test_bad_arguments():
    approximate = he.approximate
    refused = [
        ((np.exp, (1, 1), 3), {}, "low < high"),
        ((np.exp, (2, 1), 3), {}, "low < high"),
        ((np.exp, (0, np.inf), 3), {}, "finite"),
        ((np.exp, (0, 1, 2), 3), {}, "two ends"),
        ((np.exp, (0, 1)), {}, "neither"),
        ((np.exp, (0, 1), 3, 1e-3), {}, "both"),
        ((np.exp, (0, 1), -1), {}, "degree"),
        ((np.exp, (0, 1), 300), {}, "degree"),
        ((np.exp, (0, 1), 65), {"basis": "taylor"}, "degree"),
        ((np.exp, (0, 1)), {"max_error": 0.0}, "max_error"),
        ((np.exp, (0, 1)), {"max_error": np.nan}, "max_error"),
        ((np.exp, (0, 1), 3), {"basis": "legendre"}, "legendre"),
        ((np.sqrt, (-1, 1), 3), {}, "finite on the interval"),
        ((lambda x: 1 / x, (0, 1), 3), {}, "finite on the interval"),
        ((np.abs, (-1, 1)), {"max_error": 1e-6}, "shorter interval"),
        ((sigmoid, (-8, 8)), {"max_error": 1e-3, "basis": "taylor"}, "chebyshev"),
        ((np.abs, (-1, 1), 3), {"basis": "taylor"}, "derivatives"),
    ]
    for arguments, named, message in [
        *refused,
        ((np.sin, (0, 5e-324), 3), {}, "width"),
        ((np.sin, (-1.7e308, 1.7e308), 3), {}, "width"),
        ((np.sin, (0, 1)), {"max_error": [1e-3]}, "max_error"),
    ]:
        with pytest.raises(ValueError, match=message):
            approximate(*arguments, **named)
    for max_error in ("1e-3", 1j):
        with pytest.raises(TypeError, match="max_error"):
            approximate(np.sin, (0, 1), max_error=max_error)
    with pytest.raises(TypeError, match="must be a function"):
        approximate(None, (0, 1), 3)
    with pytest.raises(TypeError, match="real numbers"):
        approximate(lambda x: x + 1j, (0, 1), 3)
    with pytest.raises(TypeError, match="integer"):
        approximate(np.exp, (0, 1), 2.5)
    with pytest.raises(TypeError, match="one number for each"):
        approximate(lambda x: np.asarray([1.0, 2.0]), (0, 1), 2)


def test_a_polynomial_is_immutable_and_shows_what_it_is():
    fit = he.approximate(np.exp, (-1, 1), degree=4)
    with pytest.raises(TypeError, match="immutable"):
        fit.interval = (0, 1)
    with pytest.raises(ValueError, match="read-only"):
        fit.coefficients[0] = 1
    assert "degree=4" in repr(fit)
    assert "(-1, 1)" in repr(fit)


# Plans


def value(steps, u):
    """What a plan computes, in float64."""
    basis, sums = {0: np.ones_like(u), 1: u}, {}
    for level, products in enumerate(steps.basis, 1):
        before = dict(basis)
        for place, part in enumerate(steps.sums):
            if part.level == level:
                total = sum(c * before[n] for n, c in part.terms)
                sums[place] = total + sum(before[n] * sums[q] for n, q in part.products)
        for a, b in products:
            basis[a + b] = 2 * before[a] * before[b] - before[a - b]
    return sums[len(steps.sums) - 1]


@pytest.mark.parametrize("parity", ["full", "odd", "even"])
def test_every_plan_computes_its_polynomial_with_few_products(parity):
    rng, u = np.random.default_rng(1), np.cos(np.linspace(0, np.pi, 33))
    first = {"full": 1, "odd": 1, "even": 2}[parity]
    for degree in range(first, 48, 1 if parity == "full" else 2):
        series = rng.uniform(-1, 1, degree + 1)
        if parity == "odd":
            series[2::2] = 0
        if parity == "even":
            series[3::2] = 0  # a multiple of T_1 changes nothing
        steps = plan(series)
        expected = np.polynomial.chebyshev.chebval(u, series)
        np.testing.assert_allclose(value(steps, u), expected, atol=1e-9)
        # Paterson and Stockmeyer: sqrt(2 n) products and log2(n) squares, n of them for T_2.
        n = degree / 2 if parity == "even" else degree
        bound = math.sqrt(2 * n) + math.log2(n + 1) + (parity == "even")
        if parity == "odd":
            bound = math.sqrt(degree) + math.log2(degree + 1) + 1
        assert steps.products <= bound, (degree, steps.products, bound)
        if degree > 2:
            assert steps.levels <= 2 * math.ceil(math.log2(degree)), (degree, steps.levels)


# On shares


CASES = [
    (sigmoid, (-8, 8), 21),
    (np.exp, (-1.3, 0.4), 6),
    (np.cosh, (-2, 2), 8),
    (lambda x: x / 3 + 1, (-3, 5), 1),
    (lambda x: 0 * x + 0.75, (-3, 5), 0),
    (np.log, (0.3, 3.7), 12),
    (lambda x: (x - 300.0) ** 3 / 8, (299, 301), 3),
]


@pytest.mark.parametrize(("f", "interval", "degree"), CASES)
def test_values_on_shares_keep_the_derived_error(session, f, interval, degree):
    fit = he.approximate(f, interval, degree=degree)
    words, x = within(*interval, session)
    X = of_integers(session, words)
    results = {}
    cost = cost_of(session, lambda: results.update(y=fit.evaluate(X)))
    y = results["y"]
    assert (y.frac_bits, y.shape) == (session.frac_bits, X.shape)
    bound = fit.error(session.frac_bits, session.modulus)
    assert np.abs(y.reveal() - f(x)).max() <= bound
    assert cost == fit.cost(session, x.size)
    if degree <= 8 and session.modulus == 2**64:  # what rounding adds
        assert bound - fit.approximation_error < 1.02 * 2.0**-session.frac_bits


def test_beyond_the_interval_the_end_counts(session):
    fit = he.approximate(np.exp, (-1.25, 0.5), degree=6)
    most = end(session)
    words = np.asarray([-most, -(most // 2), -(2**14), 2**14, most // 2, most])
    words[2:4] = np.rint(np.asarray([-1.5, 0.75]) * 2**session.frac_bits)
    y = fit(of_integers(session, words)).reveal()
    expected = np.exp([-1.25] * 3 + [0.5] * 3)
    assert np.abs(y - expected).max() <= fit.error(session.frac_bits, session.modulus)


@pytest.mark.parametrize("bits", [(16, 30), (28, 16), (0, 20), (40, 40), (16, 0)])
def test_fraction_bits_of_argument_and_result(bits):
    fit = he.approximate(np.cos, (-3, 3), max_error=1e-9)
    x = np.linspace(-3, 3, 41)
    for protocol in ("plain", "additive", "replicated"):
        with he.Session(protocol, seed=3) as s:
            words = np.rint(x * 2.0 ** bits[0]).astype(np.int64)
            X = of_integers(s, words, bits[0])
            y = fit.evaluate(X, bits[1])
            assert y.frac_bits == bits[1]
            bound = fit.error(bits[1], 2**64, bits[0])
            assert np.abs(y.reveal() - np.cos(words / 2.0 ** bits[0])).max() <= bound
            assert cost_of(s, lambda X=X: fit.evaluate(X, bits[1])) == fit.cost(s, 41, bits[0])


@pytest.mark.parametrize("ring", [{}, {"modulus": 2**32, "frac_bits": 10}])
@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
def test_arguments_of_any_fraction_bits_keep_the_error_of_the_result(protocol, ring):
    with he.Session(protocol, seed=3, **ring) as s:
        most, f = end(s), s.frac_bits
        fit = he.approximate(sigmoid, (-6.5, 7.25), degree=13)
        for bits in range(0, most.bit_length(), 3):
            reach = most / 2.0**bits  # the interval may be wider than the encoding
            x = np.clip(np.linspace(-8, 8, 61), -reach, reach)
            words = np.clip(np.rint(np.ldexp(x, bits)), -(2.0**53), 2.0**53)
            words, top = np.append(words.astype(np.int64), most), most >> max(0, f - bits)
            X = of_integers(s, np.clip(words, -top, top), bits)
            inside = np.clip(X.reveal(), -6.5, 7.25)
            bound = fit.error(f, s.modulus, max(bits, f))
            assert bound - fit.approximation_error < 3.1 * 2.0**-f, bits
            assert np.abs(fit(X).reveal() - sigmoid(inside)).max() <= bound, bits
            near = X.clip(-6, 7) if 7 * 2**bits < most else X
            cost = fit.cost(s, 62, near.frac_bits)
            assert cost_of(s, lambda near=near: fit.evaluate(near)) == cost


def test_beyond_ends_between_two_encodings_the_last_one_inside_counts(session):
    unit = 2.0**-session.frac_bits
    x = of_integers(session, [-(2**20), 0, 1, 2, 3, 2**20])
    fit = he.approximate(lambda x: np.sin(3 * x / unit), (0.4 * unit, 1.6 * unit), degree=9)
    error = np.abs(fit(x).reveal() - fit([unit])).max()
    assert error <= fit.error(session.frac_bits, session.modulus)
    nowhere = he.approximate(np.sin, (0.4 * unit, 0.6 * unit), degree=1)
    with pytest.raises(ValueError, match="holds no encoding"):
        nowhere(x)


def test_a_result_without_room_is_refused():
    fit = he.approximate(np.exp, (0, 10), degree=12)
    with he.Session(seed=1) as s:
        X = s.share([1.0])
        with pytest.raises(ValueError, match="frac_bits must be in"):
            fit(X, frac_bits=50)
        with pytest.raises(ValueError, match="frac_bits must be in"):
            fit(X, frac_bits=-1)
        with pytest.raises(TypeError, match="frac_bits"):
            fit(X, frac_bits=1.5)
        for interval in ((0.0, 3e-14), (-(2.0**120), 2.0**120)):
            unfit = he.approximate(np.arctan, interval, degree=3)
            with pytest.raises(ValueError, match="too wide"):
                unfit.evaluate(X)
    with pytest.raises(RuntimeError, match="closed"):
        fit(X)


def test_shapes_and_public_arguments(session):
    fit = he.approximate(np.sin, (-2, 2), degree=7)
    for shape in ((), (0,), (1,), (2, 3), (2, 0, 3)):
        y = fit(session.share(np.full(shape, 0.5)))
        assert y.shape == shape
        error = np.abs(y.reveal() - np.sin(0.5)).max(initial=0.0)
        assert error <= fit.error(session.frac_bits, session.modulus)
    np.testing.assert_allclose(fit([0.5, -7.0]), np.sin([0.5, -2.0]), atol=1e-3)
    assert abs(fit([3.0], saturate=False)[0] - np.sin(3.0)) > abs(fit([2.0])[0] - np.sin(2.0))


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
@pytest.mark.parametrize("ring", [{}, {"modulus": 2**32, "frac_bits": 10}])
def test_devices_make_the_same_shares(protocol, ring):
    fit = he.approximate(sigmoid, (-7, 8.5), degree=13)
    x = np.random.default_rng(5).uniform(-20, 20, (3, 11))
    shares = []
    for device in ("cpu", "emulator"):
        with he.Session(protocol, device=require_device(device), seed=8, **ring) as s:
            shares.append(s.backend.to_numpy(fit(s.share(x)).shares))
    np.testing.assert_array_equal(*shares)


def test_equal_steps_may_be_announced():
    fit = he.approximate(np.tanh, (-4, 4), degree=9)
    x = np.linspace(-4, 4, 20)
    with he.Session(seed=9) as s:
        for _ in s.steps(3):
            y = fit(s.share(x)).reveal()
            assert np.abs(y - np.tanh(x)).max() <= fit.error() + 2.0**-17  # x is rounded too


def test_a_fit_of_rounding_noise_is_none():
    series = fitting.chebyshev(lambda x: x**3, -2, 2, 9, None).chebyshev
    np.testing.assert_allclose(series, [0, 6, 0, 2] + [0] * 6, atol=1e-12)
    assert not series[4:].any()
    assert not series[::2].any()
