"""sigmoid, tanh, erf, GELU, SiLU, softplus and exp: errors, ends, costs, on every session."""

import math
import re

import numpy as np
import pytest

import he_gpu as he
from he_gpu.tensor.curves import CURVES, Curves, curve, exponential
from tests.conftest import require_device
from tests.sessions import SESSIONS, cost_of, end, of_integers, open_session, total

NAMES = sorted(CURVES)
HOSTED = [name for name in SESSIONS if not name.startswith(("emulator", "cuda"))]


@pytest.fixture(params=SESSIONS)
def session(request):
    with open_session(request.param) as session:
        yield session


def call(name, x):
    return he.gelu(x, "tanh") if name == "gelu_tanh" else getattr(he, name)(x)


def exact(name, x):
    """The function in float64, written otherwise than in the library where that is possible."""
    x = np.asarray(x, np.float64)
    near = np.clip(x, -700, 700)
    if name == "sigmoid":
        return np.where(x < 0, np.exp(np.minimum(near, 0)), 1) / (1 + np.exp(-np.abs(near)))
    if name == "tanh":
        return 1 - 2 / (np.exp(2 * np.clip(x, -300, 300)) + 1)
    if name == "erf":
        return 1 - np.vectorize(math.erfc)(near)
    if name == "gelu":
        return np.where(x > 700, x, near / 2 * np.vectorize(math.erfc)(-near / math.sqrt(2)))
    if name == "gelu_tanh":
        inner = math.sqrt(2 / math.pi) * (near + 0.044715 * near**3)
        return np.where(x > 700, x, near / (1 + np.exp(-2 * np.clip(inner, -350, 350))))
    if name == "silu":
        return np.where(x > 700, x, near / (1 + np.exp(-near)))
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(near)))


def bound(name, session, frac_bits=None):
    """The derived error: approximation and roundings; exact beyond float64's 53 bits."""
    fit = curve(name, session.frac_bits)
    tolerance = 0.95 * 2.0**-session.frac_bits  # of the approximation, beyond the ends too
    rounding = fit.error(session.frac_bits, session.modulus, frac_bits) - fit.approximation_error
    return tolerance + rounding


def far(session):
    """Encodings up to the ends of the word, less the two units that a curve may add."""
    most = end(session) - 2
    words = [most, most - 1, most // 2, most // 3]
    words += [2**n for n in range(1, most.bit_length() - 1, 3)]
    return np.asarray(words + [-word for word in words], np.int64)


# Errors


@pytest.mark.parametrize("name", NAMES)
def test_the_error_on_a_dense_grid_and_at_the_ends_of_the_word(session, name):
    fine = session.device == "cpu"
    f, reach = session.frac_bits, curve(name, session.frac_bits).interval[1]
    x = [np.linspace(-1.3 * reach, 1.3 * reach, 4001 if fine else 101)]
    x += [side * reach + np.arange(-40, 41) * 2.0**-f for side in (-1, 1)]
    words = np.concatenate([np.rint(np.concatenate(x) * 2**f).astype(np.int64), far(session)])
    x = words / 2.0**f
    X = of_integers(session, words)
    y = call(name, X)
    assert (y.frac_bits, y.shape) == (f, X.shape)
    # float64 holds encodings beyond 2^53 to 2^(62 - 53) units: what is exact there is compared so.
    slack = np.where(np.abs(words) > 2**52, np.abs(x) * 2.0**-52, 0)
    assert (np.abs(y.reveal() - exact(name, x)) <= bound(name, session) + slack).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_errors(name):
    with he.Session() as s:
        assert bound(name, s) <= 1.96 * 2.0**-16 < 3e-5
    with he.Session(modulus=2**32, frac_bits=10) as s:
        assert bound(name, s) <= (4.9 if name == "silu" else 2.9) * 2.0**-10


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("session_name", ["additive-64", "additive-32", "replicated-64"])
def test_monotone_up_to_the_error_and_within_its_values(name, session_name):
    with open_session(session_name) as s:
        unit = 2.0**-s.frac_bits
        x = np.linspace(-16, 16, 4001)
        if name.startswith("gelu"):
            x = x[x > -0.7]  # the least value lies at -0.75
        if name == "silu":
            x = x[x > -1.2]  # and at -1.28
        y = call(name, s.share(x)).reveal()
        assert (np.diff(y) >= -2 * bound(name, s)).all()
        if name == "sigmoid":
            assert -2 * unit <= y.min() <= y.max() <= 1 + 2 * unit
        if name in ("tanh", "erf"):
            assert -1 - 2 * unit <= y.min() <= y.max() <= 1 + 2 * unit


@pytest.mark.parametrize("session_name", HOSTED)
@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_arguments_of_other_fraction_bits(session_name, name):
    with open_session(session_name) as s:
        k = 64 if s.modulus == 2**64 else 32
        for bits in (0, 2, s.frac_bits + 4, k // 2 + 1):
            words = np.rint(np.linspace(-9, 9, 73) * 2.0**bits).astype(np.int64)
            y = call(name, of_integers(s, words, bits))
            assert y.frac_bits == s.frac_bits
            error = np.abs(y.reveal() - exact(name, words / 2.0**bits)).max()
            # the part beyond is truncated where it has more bits than the result
            assert error <= bound(name, s, max(bits, s.frac_bits)) + 2.0**-s.frac_bits


@pytest.mark.parametrize("frac_bits", [0, 1, 4, 20, 24])
def test_other_fraction_bits_of_the_session(frac_bits):
    x = np.linspace(-25, 25, 501)
    with he.Session(frac_bits=frac_bits, seed=5) as s:
        words = np.rint(x * 2**frac_bits)
        for name in NAMES:
            y = call(name, of_integers(s, words)).reveal()
            error = np.abs(y - exact(name, words / 2**frac_bits)).max()
            assert error <= bound(name, s) + (0.5 if frac_bits < 2 else 0)  # L is rounded there


@pytest.mark.parametrize("session_name", HOSTED)
@pytest.mark.parametrize("name", NAMES)
def test_arguments_with_nearly_all_bits_behind_the_point(session_name, name):
    with open_session(session_name) as s:
        k = 64 if s.modulus == 2**64 else 32
        for bits in (k - 24, k - 12, k - 6, k - 4, k - 3):
            words = (np.linspace(-1, 1, 101) * end(s)).astype(np.int64)
            words = words[np.abs(words) <= min(end(s), 40.0 * 2**bits)] // 2
            X = of_integers(s, words, bits)
            derived = bound(name, s, bits)
            assert derived <= (5.5 if k == 32 else 2.1) * 2.0**-s.frac_bits
            error = np.abs(call(name, X).reveal() - exact(name, X.reveal())).max()
            assert error <= derived + 2.0**-s.frac_bits  # the part beyond is truncated


# exp


@pytest.mark.parametrize("session_name", HOSTED)
def test_exp_of_many_fraction_bits_and_of_ends_between_two_encodings(session_name):
    with open_session(session_name) as s:
        k, f = 64 if s.modulus == 2**64 else 32, s.frac_bits
        for bits, high in [(k - 24, 10.0), (k - 10, 3.3), (f, 9.9999), (0, 7.5), (f, 1e-9)]:
            words = np.rint(np.linspace(-30, 30, 121) * 2.0**bits)
            words = words[np.abs(words) <= end(s)].astype(np.int64)
            grid = max(bits, f)
            x = np.minimum(words / 2.0**bits, np.floor(high * 2.0**grid) / 2.0**grid)
            y = he.exp(of_integers(s, words, bits), high=high)
            derived = exponential(f, s.modulus, high)
            assert (np.abs(y.reveal() - np.exp(x)) <= derived.error(x, grid)).all(), (bits, high)
            usual = derived.error(np.asarray(0.0), f)
            assert derived.error(np.asarray(0.0), grid) <= 4 * usual  # it was 1e3 times that


@pytest.mark.parametrize("high", [10.0, 2.0, 0.0])
@pytest.mark.parametrize("frac_bits", [None, 36])
def test_exp_keeps_its_derived_error(session, high, frac_bits):
    f, large = session.frac_bits, session.modulus == 2**64
    if frac_bits and not large:
        frac_bits = 14
    out = frac_bits or f
    words = np.rint(np.linspace(-26, high + 3, 1201 if session.device == "cpu" else 61) * 2**f)
    words = np.concatenate([words.astype(np.int64), far(session)])
    x = np.minimum(words / 2.0**f, high)
    y = he.exp(of_integers(session, words), frac_bits, high=high)
    assert y.frac_bits == out
    derived = exponential(out, session.modulus, high).error(x, f)
    assert (np.abs(y.reveal() - np.exp(x)) <= derived).all()


@pytest.mark.parametrize("session_name", ["plain-64", "additive-64", "additive-3-64",
                                          "replicated-64"])  # fmt: skip
def test_exp_relative_to_its_value(session_name):
    with open_session(session_name) as s:
        x = np.rint(np.linspace(-16, 10, 5001) * 2**16) / 2**16
        X = s.share(x)
        # the line: relative 1e-3 over the whole interval, with fraction bits to show it
        assert np.abs(he.exp(X, 36).reveal() / np.exp(x) - 1).max() <= 1e-3
        # by default a unit and a relative 5e-5, wherever the result is a unit or more
        error = np.abs(X.exp().reveal() - np.exp(x)) - 2.0**-16
        seen = np.exp(x) >= 2.0**-16
        assert (error[seen] <= 5e-5 * np.exp(x[seen])).all()
        assert (np.diff(X.exp().reveal()) >= -(2.0**-15) - 1e-7 * np.exp(x[1:])).all()


def test_the_derived_errors_of_exp_are_those_stated():
    x = np.linspace(-16, 10, 2001)
    assert (exponential(36, 2**64).error(x, 16) <= 1e-3 * np.exp(x)).all()
    seen = x >= -16 * math.log(2)
    excess = exponential(16, 2**64).error(x, 16)[seen] - 2.0**-16
    assert (excess <= 5e-5 * np.exp(x[seen])).all()
    for high, units in ((10.0, 27), (2.0, 2)):
        excess = exponential(10, 2**32, high).error(np.asarray([0.0]), 10) - 2.0**-10
        assert (excess <= units * 2.0**-10).all()


def test_bad_arguments():
    with he.Session(seed=2) as s:
        X = s.share([1.0])
        with pytest.raises(ValueError, match="approximate must be one of"):
            he.gelu(X, approximate="fast")
        with pytest.raises(ValueError, match="exp: frac_bits must be in"):
            X.exp(60)
        with pytest.raises(ValueError, match="exp: frac_bits must be in"):
            X.exp(high=40)
        for high in (100, 42.3, -65, -1e300):
            with pytest.raises(ValueError, match=r"exp: high must be in \[-64, 42.28\)"):
                X.exp(high=high)
        for high in (np.inf, np.nan, 10**400):
            with pytest.raises(ValueError, match="exp: high"):
                X.exp(high=high)
        for high in ("10", None, 1j, True, [10.0], X):
            with pytest.raises(TypeError) as caught:
                X.exp(high=high)
            assert isinstance(caught.value, he.errors.HeGpuError)
        with pytest.raises(TypeError, match="frac_bits must be an integer"):
            X.exp(1.5)
        for name in ("sigmoid", "tanh", "erf", "gelu", "silu", "softplus", "exp"):
            with pytest.raises(TypeError, match=f"{name}: a SecretTensor expected"):
                getattr(he, name)(np.ones(2))
    with pytest.raises(RuntimeError, match="closed"):
        X.sigmoid()
    with pytest.raises(RuntimeError, match="closed"):
        X.exp()


def test_shapes(session):
    for shape in ((), (0,), (2, 0), (2, 3)):
        x = session.share(np.full(shape, 0.25))
        for name in ("sigmoid", "softplus"):
            y = call(name, x)
            assert y.shape == shape
            error = np.abs(y.reveal() - exact(name, 0.25)).max(initial=0.0)
            assert error <= bound(name, session)
        assert x.exp().shape == shape


# Costs


def beyond_cost(session, X, interval):
    """What the scheme takes for clipping, which depends on the bounds' bits."""
    words = np.rint(np.ldexp(interval, X.frac_bits)).astype(np.int64).astype(X._stack.dtype)
    ends = words.reshape(2, *(1,) * X.ndim)
    return cost_of(session, lambda: session.scheme.beyond(X._stack, *ends))


def test_the_cost_is_the_documented_one(session):
    X = session.share(np.zeros((5, 7)))
    for name in NAMES:
        fit = curve(name, session.frac_bits)
        clipped = beyond_cost(session, X, fit.interval)
        expected = total(clipped, fit.cost(session, X.size))
        assert cost_of(session, lambda name=name: call(name, X)) == expected
    steps = exponential(session.frac_bits, session.modulus)
    clipped = beyond_cost(session, X, steps.polynomial.interval)
    assert cost_of(session, X.exp) == total(clipped, steps.cost(session, X.size))


def test_the_table_of_costs():
    rows = re.findall(r"^ +([a-z]+) +([\d.]+) +(\d+) +(\d+) +([\d.]+) +(\d+) +([\d.]+)$",
                      Curves.__doc__, re.MULTILINE)  # fmt: skip
    assert {row[0] for row in rows} == {*CURVES, "exp"} - {"gelu_tanh"}
    for name, high, degree, *numbers in rows:
        fit = exponential(16, 2**64).polynomial if name == "exp" else curve(name, 16)
        assert (fit.interval[1], fit.degree) == (float(high), int(degree))
        for protocol, rounds, sent in zip(
            ("additive", "replicated"), numbers[::2], numbers[1::2], strict=True
        ):
            with he.Session(protocol, seed=1) as s:
                X = s.share(np.zeros(640))
                cost = cost_of(s, getattr(X, name))
                assert (cost.rounds, cost.bytes_sent) == (int(rounds), 640 * float(sent))


# Devices


@pytest.mark.parametrize("name", ["additive-64", "replicated-64", "replicated-32", "additive-3-64"])
def test_devices_make_the_same_shares(name):
    x = np.random.default_rng(7).uniform(-12, 12, (5, 13))
    results = []
    for device in ("cpu", "emulator"):
        arguments = SESSIONS[name][1]
        with he.Session(device=require_device(device), seed=12, **arguments) as s:
            X = s.share(x)
            made = [X.sigmoid(), X.gelu(), X.exp()]
            results.append([s.backend.to_numpy(y.shares) for y in made])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)
