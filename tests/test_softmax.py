"""softmax, log_softmax and logsumexp: errors, ties, extremes, axes, costs, on every session."""

import math

import numpy as np
import pytest

import he_gpu as he
from he_gpu.ring.fixedpoint import word_bits
from he_gpu.tensor.curves import exponential
from he_gpu.tensor.normalisation import precision
from he_gpu.tensor.range_curves import range_curve
from he_gpu.tensor.softmax import _MOST, _exponential_bits, _ranges
from tests.conftest import require_device
from tests.sessions import SESSIONS, cost_of, end, of_integers, open_session, total

HOSTED = [name for name in SESSIONS if not name.startswith(("emulator", "cuda"))]
SIZES = (2, 3, 4, 5, 6, 9, 10, 17, 18, 64, 272, 273, 1000)


@pytest.fixture(params=SESSIONS)
def session(request):
    with open_session(request.param) as session:
        yield session


def logarithm(x, axis=-1):
    """The definition of logsumexp, with its axes kept."""
    largest = x.max(axis, keepdims=True)
    return largest + np.log(np.exp(x - largest).sum(axis, keepdims=True))


def relative(n, session):
    """The derived relative error of the sum of n exponentials, and of its normalisation.

    The largest exponential is 1. The sum of the errors over the sum of the others' values is linear
    in how many lie where, above and below, so it is largest where all lie at the same place.
    """
    fine = _exponential_bits(n, word_bits(session.modulus))
    x = np.linspace(-40, 0, 4001)
    error = exponential(fine, session.modulus, 0.0).error(x, session.frac_bits)
    of_sum = ((error[-1] + (n - 1) * error) / (1 + (n - 1) * np.exp(x))).max()
    step = _ranges(n, fine).step
    return of_sum + 2.0 ** (step - 1 - precision(session.modulus))


def errors(n, session, frac_bits):
    """Derived bounds: relative and absolute of softmax, absolute of the logarithms."""
    modulus, k = session.modulus, word_bits(session.modulus)
    fine = _exponential_bits(n, k)
    ranges = _ranges(n, fine)
    inverse = range_curve("reciprocal", ranges.step)
    u = np.cos(np.linspace(0, np.pi, 20001))
    t = 1 + 2.0 ** (ranges.step - 1) * (1 + u)
    fitted = np.polynomial.chebyshev.chebval(u, inverse.coefficients)
    bits = precision(modulus)
    # Of 1 / sum: its polynomial, its roundings, a scaling; of what it multiplies: a unit, cut.
    rounding = inverse.error(_MOST[k], modulus, bits) - inverse.approximation_error
    kept = min(fine, k - 4 - _MOST[k])
    spread = relative(n, session)
    of_softmax = np.abs(fitted * t - 1).max() + spread
    absolute = rounding + 2.0 ** -_MOST[k] + 3.1 * 2.0**-kept + 2.0**-frac_bits
    curve = range_curve("log", ranges.step)
    of_logarithm = curve.error(frac_bits, modulus, bits) + 0.5 * 2.0**-frac_bits + spread
    return of_softmax, absolute, of_logarithm


def close(tensor, expected, tolerance, frac_bits):
    assert isinstance(tensor, he.SecretTensor)
    assert tensor.frac_bits == frac_bits
    revealed = tensor.reveal()
    assert revealed.shape == np.shape(expected)
    assert np.isfinite(revealed).all()
    excess = np.abs(revealed - expected) - tolerance
    assert excess.max(initial=-1.0) <= 0, (n_of(expected), excess.max(), tolerance)


def n_of(x):
    return np.shape(x)[-1] if np.ndim(x) else 1


def rows(n, session):
    """Close together, spread out, tied, one ahead, and rising, on the encoding's grid."""
    rng, f = np.random.default_rng(n), session.frac_bits
    top = 2.0 ** (word_bits(session.modulus) - 3 - 2 * f)
    found = [rng.normal(0, width, n) for width in (0.02, 1, 4, 40)]
    found += [np.zeros(n), np.full(n, -top / 2), top / 2 * (np.arange(n) == n // 2)]
    found += [np.linspace(-12, 0, n), np.where(np.arange(n) % 3, -3.0, 3.0)]
    x = np.clip(np.asarray(found), -top, top)
    return np.rint(np.ldexp(x, f)) / 2.0**f


@pytest.mark.parametrize("n", SIZES)
def test_every_size(session, n):
    if session.device != "cpu" and n > 18:
        pytest.skip("long sums on kernels are those of the CPU's definition")
    x, f = rows(n, session), session.frac_bits
    X = session.share(x)
    total_log = logarithm(x)
    exact = np.exp(x - total_log)
    of_softmax, absolute, of_logarithm = errors(n, session, f)
    close(he.softmax(X), exact, absolute + of_softmax * exact, f)
    close(he.log_softmax(X), x - total_log, of_logarithm, f)
    close(he.logsumexp(X, axis=1), total_log[:, 0], of_logarithm, f)


def test_the_documented_errors_are_above_the_derived_ones():
    with open_session("plain-64") as s:
        for n in (*SIZES[:-1], 1024):
            of_softmax, absolute, of_logarithm = errors(n, s, 16)
            assert of_softmax + absolute - 2.0**-16 < 5e-5
            assert of_logarithm - 1.5 * 2.0**-16 < 1.5e-5
    with open_session("plain-32") as s:
        for n in (*SIZES[:-1], 1024):
            of_softmax, absolute, of_logarithm = errors(n, s, 10)
            stated = 2e-3 + n**0.5 * 2.0**-12
            assert of_softmax + absolute - 2.0**-10 < stated
            assert of_logarithm - 1.5 * 2.0**-10 < stated


@pytest.mark.parametrize("protocol", ["plain-64", "additive-64", "replicated-64"])
def test_a_thousand_classes(protocol):
    """1e-3 asked; a unit and 5e-5 of the largest stated."""
    with open_session(protocol) as s:
        rng = np.random.default_rng(1)
        x = np.concatenate([rng.normal(0, width, (4, 1000)) for width in (0.1, 1, 3, 10, 100)])
        X = s.share(x)
        x = X.reveal()
        error = np.abs(he.softmax(X).reveal() - np.exp(x - logarithm(x)))
        assert error.max() < 2.0**-16 + 5e-5
        fine = he.softmax(X, frac_bits=28).reveal()
        assert np.abs(fine - np.exp(x - logarithm(x))).max() < 5e-5
        assert np.abs(fine.sum(axis=1) - 1).max() < 6e-5


@pytest.mark.parametrize("protocol", HOSTED)
def test_the_ends_of_the_encoding(protocol):
    """Ties at any magnitude, and gaps up to the whole range, are exact to a unit or two."""
    with open_session(protocol) as s:
        f, most = s.frac_bits, end(s)
        low = -most + 64 * 2**f
        ties = of_integers(s, [[most, most, most, most], [low, low, low, low]])
        units = 2 * 2.0**-f + errors(4, s, f)[0]
        assert np.abs(he.softmax(ties).reveal() - 0.25).max() <= units
        gaps = of_integers(s, [[most, low, 0, low], [0, low, low, low], [low, low + 1, most, 0]])
        winners = [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
        assert np.abs(he.softmax(gaps).reveal() - winners).max() <= units
        # The logarithms need half of it, and room for that of n.
        most = most // 2 - 2**f
        half = of_integers(s, [[most, -most, 0, most]])
        x = half.reveal()
        tolerance = 2.0**-52 * most / 2**f + errors(4, s, f)[2]
        close(he.log_softmax(half), x - logarithm(x), tolerance, f)
        close(he.logsumexp(half, axis=1), logarithm(x)[:, 0], tolerance, f)


def test_large_equal_values_keep_their_logarithm():
    with he.Session(device="cpu", seed=2) as s:
        x = 2.0**40 + np.asarray([0.0, 1.0, 2.0])
        X = of_integers(s, np.rint(np.ldexp(x, 16)).astype(np.int64))
        exact = x - logarithm(x)
        # float64 has 12 bits after the point at 2**40, so its own result is off by 2**-12.
        assert np.abs(he.log_softmax(X).reveal() - exact).max() < 2.0**-11
        near = np.asarray([0.0, 1.0, 2.0])
        close(he.log_softmax(X), near - logarithm(near), errors(3, s, 16)[2], 16)


@pytest.mark.parametrize("protocol", HOSTED)
def test_the_order_is_kept_but_for_a_unit(protocol):
    with open_session(protocol) as s:
        f = s.frac_bits
        x = np.sort(np.random.default_rng(3).normal(0, 3, (4, 50)))
        y = he.softmax(s.share(x)).reveal()
        assert np.diff(y).min() >= -(2 * 2.0**-f)
        assert y.min() >= 0


AXES = [-1, 0, 1, 2, (0, 2), (2, 0), (1, -1), None]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("protocol", HOSTED)
def test_axes(protocol, axis):
    with open_session(protocol) as s:
        f = s.frac_bits
        x = np.random.default_rng(4).normal(0, 1.5, (2, 3, 4))
        X = s.share(x)
        x = X.reveal()
        axes = (0, 1, 2) if axis is None else axis
        n = math.prod(x.shape[at] for at in np.atleast_1d(axes))
        log = logarithm(x, axes)
        of_softmax, absolute, of_logarithm = errors(n, s, f)
        close(X.softmax(axis), np.exp(x - log), of_softmax + absolute, f)
        close(X.log_softmax(axis), x - log, of_logarithm, f)
        close(X.logsumexp(axis, keepdims=True), log, of_logarithm, f)
        close(X.logsumexp(axis), log.squeeze(axes), of_logarithm, f)


def test_defaults_are_scipys_and_pytorchs():
    with he.Session(device="cpu", seed=5) as s:
        x = np.random.default_rng(5).normal(size=(2, 3))
        X = s.share(x)
        log = logarithm(x)
        assert np.abs(he.softmax(X).reveal() - np.exp(x - log)).max() < 1e-4
        assert np.abs(he.log_softmax(X).reveal() - (x - log)).max() < 1e-4
        assert he.logsumexp(X).shape == ()
        assert he.logsumexp(X, keepdims=True).shape == (1, 1)
        assert he.logsumexp(X, axis=-1).shape == (2,)


def test_one_element_is_exact(session):
    x = np.asarray([[1.5], [-3.0]])
    X, before = session.share(x), session.cost
    results = he.softmax(X), he.log_softmax(X), he.logsumexp(X, axis=1)
    assert session.cost == before
    expected = np.ones((2, 1)), np.zeros((2, 1)), x[:, 0]
    for result, value in zip(results, expected, strict=True):
        assert result.reveal().tolist() == value.tolist()
        assert result.frac_bits == session.frac_bits


def test_no_rows():
    with he.Session(device="cpu", seed=6) as s:
        X = s.share(np.zeros((0, 3)))
        assert he.softmax(X).reveal().shape == (0, 3)
        assert he.log_softmax(X).reveal().shape == (0, 3)
        assert he.logsumexp(X, axis=1).reveal().shape == (0,)


@pytest.mark.parametrize("frac_bits", [0, 4, 20, 30])
@pytest.mark.parametrize("protocol", ["plain", "additive"])
def test_fraction_bits_of_x(protocol, frac_bits):
    with he.Session(protocol=protocol, device="cpu", seed=7) as s:
        x = np.rint(np.ldexp(np.random.default_rng(8).normal(0, 3, (3, 7)), frac_bits))
        X = of_integers(s, x.astype(np.int64), frac_bits)
        x = X.reveal()
        of_softmax, absolute, _ = errors(7, s, 16)
        close(X.softmax(), np.exp(x - logarithm(x)), of_softmax + absolute, 16)
        finer = max(frac_bits, 16)
        of_logarithm = errors(7, s, finer)[2]
        close(X.log_softmax(), x - logarithm(x), of_logarithm, finer)
        close(X.logsumexp(1), logarithm(x)[:, 0], of_logarithm, finer)
        of_one = X[:, :1]
        assert of_one.log_softmax().frac_bits == finer
        assert of_one.logsumexp(1).reveal().tolist() == x[:, 0].tolist()


@pytest.mark.parametrize("ring", [{}, {"modulus": 2**32, "frac_bits": 10}])
@pytest.mark.parametrize("protocol", ["plain", "additive", "replicated"])
def test_values_with_few_bits_before_the_point(protocol, ring):
    with he.Session(protocol=protocol, device="cpu", seed=7, **ring) as s:
        k = 64 if s.modulus == 2**64 else 32
        tolerance = (1e-4 if k == 64 else 1e-2) + 2.0**-s.frac_bits
        for frac_bits in (k - 8, k - 7, k - 5, k - 3):
            words = np.asarray([[end(s), 0, -end(s)], [-end(s), -end(s), -end(s) // 2]])
            X = of_integers(s, words, frac_bits)
            x = X.reveal()
            close(X.softmax(), np.exp(x - logarithm(x)), tolerance, s.frac_bits)
            half = of_integers(s, words // 4, frac_bits)
            x = half.reveal()
            close(half.logsumexp(1), logarithm(x)[:, 0], tolerance, k - 8)
            close(half.log_softmax(), x - logarithm(x), tolerance, k - 8)


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_small_results_with_30_fraction_bits(protocol):
    with he.Session(protocol=protocol, device="cpu", frac_bits=30, seed=9) as s:
        x = np.concatenate([np.zeros((200, 1)), np.linspace(-60, -10, 1800).reshape(200, 9)], 1)
        y, exact = of_integers(s, x * 2**30).softmax().reveal(), np.exp(x - logarithm(x))
        assert (np.abs(y - exact) <= 2.0**-30 + 2.0**-26 + 5e-5 * exact).all()
        assert (y[x < -19] <= 2.0**-26).all()


@pytest.mark.parametrize("frac_bits", [0, 8, 24, 30])
def test_fraction_bits_of_the_result(frac_bits):
    with he.Session(device="cpu", seed=9) as s:
        x = np.random.default_rng(9).normal(0, 2, (3, 20))
        X = s.share(x)
        x = X.reveal()
        of_softmax, absolute, _ = errors(20, s, frac_bits)
        exact = np.exp(x - logarithm(x))
        close(X.softmax(frac_bits=frac_bits), exact, absolute + of_softmax * exact, frac_bits)


@pytest.mark.parametrize("n", [5000, 100_000])
def test_many_elements(n):
    """Of which most count for nothing: what is limited adds up to less than 2**-17."""
    with he.Session(device="cpu", seed=10) as s:
        for far in (0.0, 8.0, 100.0):
            x = np.full(n, -far)
            x[n // 2] = 0
            exact = np.exp(x - logarithm(x))
            X = s.share(x)
            assert np.abs(he.softmax(X).reveal() - exact).max() < 2.0**-16 + 5.5e-5
            assert abs(he.logsumexp(X).reveal() - logarithm(x)[0]) < 1.5 * 2.0**-16 + 2e-5


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
@pytest.mark.parametrize("ring", [{}, {"modulus": 2**32, "frac_bits": 10}])
def test_emulator_equals_cpu(protocol, ring):
    def stacks(device):
        with he.Session(protocol=protocol, device=require_device(device), seed=11, **ring) as s:
            X = s.share(np.random.default_rng(12).normal(0, 2, (2, 3, 6)))
            results = [X.softmax(), X.softmax(axis=None), X.log_softmax((0, 1)), X.logsumexp()]
            return [s.backend.to_numpy(result.shares) for result in results]

    for ours, definition in zip(stacks("emulator"), stacks("cpu"), strict=True):
        np.testing.assert_array_equal(ours, definition)


@pytest.mark.parametrize("n", [2, 5, 10, 17, 18, 300])
@pytest.mark.parametrize("name", HOSTED)
def test_counted_cost_equals_the_documented_one(name, n):
    with open_session(name) as s:
        m, k = 5, word_bits(s.modulus)
        X = s.share(np.zeros((m, n)))
        fine = _exponential_bits(n, k)
        ranges, word = _ranges(n, fine), k // 8
        others, plain = s.n_parties - 1, s.protocol == "plain"

        def truncation(size):
            if plain:
                return total()
            if s.protocol == "replicated":
                return he.Cost(2, 2 * word * size, 0)
            return he.Cost(1, word * size * others, 3 * word * size)

        def product(size, opened):
            if plain or s.protocol == "replicated":
                return truncation(size)
            return total(truncation(size), he.Cost(1, word * opened * others, 0))

        def thresholds():
            values = [[0] * (len(ranges.ends) + 1)] * 2
            s.scheme.steps(X[:, :1].transpose()._stack, ranges.ends, values)

        positive = cost_of(s, lambda: s.scheme.positive_part(X.transpose()._stack))
        largest = cost_of(s, lambda: X.max(axis=1))
        exp = exponential(fine, s.modulus, 0.0).cost(s, m * n, s.frac_bits)
        if ranges.n_intervals > 1:
            normal = total(cost_of(s, thresholds), product(m, 2 * m))
        else:
            dropped = ranges.high - 1 - precision(s.modulus)
            normal = truncation(m) if dropped > 0 else total()
        common = total(largest, positive, exp, normal)

        def curve(function):
            return range_curve(function, ranges.step).cost(s, m, precision(s.modulus))

        scaled = product(m, 2 * m) if ranges.n_intervals > 1 else total()
        cut = truncation(m * n) if fine + _MOST[k] > k - 4 else total()
        last = product(m * n, m * n + m)
        assert cost_of(s, X.softmax) == total(common, curve("reciprocal"), scaled, cut, last)
        assert cost_of(s, X.log_softmax) == total(common, curve("log"))
        assert cost_of(s, lambda: X.logsumexp(1)) == total(common, curve("log"))


DOCUMENTED = {
    2: (39, 229.625, 44, 257.625),
    10: (46, 257.3875, 50, 282.9875),
    100: (78, 209.61125, 86, 240.65125),
    1000: (99, 200.992375, 110, 232.880375),
}


@pytest.mark.parametrize("n", DOCUMENTED)
def test_the_table_of_rounds_and_bytes(n):
    text = " ".join((he.tensor.softmax.Softmax.__doc__ or "").split())
    assert " ".join(map(str, (n, *DOCUMENTED[n]))) in text
    for place, protocol in enumerate(("additive", "replicated")):
        with he.Session(protocol=protocol, device="cpu", seed=1) as s:
            cost = cost_of(s, s.share(np.zeros((64, n))).softmax)
        found = cost.rounds, cost.bytes_sent / 64 / n
        assert found == DOCUMENTED[n][2 * place : 2 * place + 2]


FUNCTIONS = {"softmax": he.softmax, "log_softmax": he.log_softmax, "logsumexp": he.logsumexp}


@pytest.fixture
def X():  # noqa: N802 - as in the contract
    with he.Session(device="cpu", seed=13) as s:
        yield s.share(np.zeros((2, 3)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_refusals(X, name):
    function = FUNCTIONS[name]
    for axis, message in ((2, r"axis must be in \[-2, 2\), got 2"), ((0, -2), "axes must differ")):
        with pytest.raises(he.errors.ArgumentValueError, match=f"^{name}: {message}"):
            function(X, axis=axis)
    with pytest.raises(he.errors.ArgumentTypeError, match=f"^{name}: axis must be an integer, got"):
        function(X, axis=1.0)
    with pytest.raises(he.errors.ArgumentValueError, match=rf"^{name}: at least 1 element .*got 0"):
        function(X[:, :0], axis=1)
    with pytest.raises(TypeError, match=rf"^{name}: .* for public arrays use scipy\.special"):
        function(np.zeros(3))
    session = he.Session(device="cpu", seed=1)
    x = session.share(np.zeros(3))
    session.close()
    with pytest.raises(he.errors.SessionClosedError, match=f"^{name}: the session is closed"):
        function(x)


def test_bad_fraction_bits(X):
    for frac_bits in (-1, 31):
        with pytest.raises(ValueError, match=r"softmax: frac_bits must be in \[0, 30\], got"):
            he.softmax(X, frac_bits=frac_bits)
    with pytest.raises(TypeError, match="softmax: frac_bits must be an integer, got float"):
        he.softmax(X, frac_bits=8.0)
