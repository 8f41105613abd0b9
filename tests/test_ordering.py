"""Comparisons of secrets: exact for every pair of edge values, protocol, ring and device."""

import operator
import warnings
from fractions import Fraction

import numpy as np
import pytest

import he_gpu as he
from he_gpu.ring.fixedpoint import word_bits
from he_gpu.ring.thresholds import on_grid
from he_gpu.session import PROTOCOLS
from tests.sessions import (
    SESSIONS,
    cost_of,
    edges,
    end,
    exact,
    few,
    grid,
    of_integers,
    open_session,
    total,
)

COMPARISONS = {
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}
LOGIC = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}


@pytest.fixture(params=SESSIONS)
def session(request):
    with open_session(request.param) as session:
        yield session


@pytest.fixture(params=COMPARISONS)
def compare(request):
    return COMPARISONS[request.param]


@pytest.fixture
def X():  # noqa: N802 - as in the contract
    with open_session("additive-3-64") as session:
        yield session.share(np.arange(6.0).reshape(2, 3))


# Values


def test_every_pair_of_edges(session, compare):
    x = edges(session)
    left, right = of_integers(session, x[:, None]), of_integers(session, x)
    exact(compare(left, right), compare(x[:, None], x), 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("modulus", [2**64, 2**32])
def test_integers_to_the_ends_of_the_word(protocol, modulus):
    with he.Session(protocol, modulus=modulus, frac_bits=0, device="cpu", seed=2) as session:
        x = edges(session)
        X = of_integers(session, x)
        for compare in COMPARISONS.values():
            exact(compare(X[:, None], X), compare(x[:, None], x), 0)
            exact(compare(X[:, None], x), compare(x[:, None], x), 0)


def test_random_pairs_a_unit_apart_and_further(session, compare):
    rng = np.random.default_rng(5)
    n = 2000 if session.device == "cpu" else 200
    x = rng.integers(-end(session), end(session), n)
    apart = rng.choice([-2, -1, 0, 1, 2], n)
    near = np.clip(x + apart, -end(session), end(session))
    far = rng.integers(-end(session), end(session), n)
    small = rng.integers(-3, 4, (2, n))
    for a, b in ((x, near), (x, far), small):
        exact(compare(of_integers(session, a), of_integers(session, b)), compare(a, b), 0)


def thresholds(session):
    """Reals on units, halfway, next to them, beyond every range, and infinite."""
    scale = 2.0**session.frac_bits
    units = [*edges(session)[::3].astype(float), -2, -1, 0, 1, 2, 3 * scale]
    reals = [unit / scale for unit in units]
    for unit in units:
        reals += [(unit + 0.5) / scale, np.nextafter(unit / scale, np.inf)]
        reals += [(unit - 0.25) / scale, np.nextafter(unit / scale, -np.inf)]
    return np.asarray([*reals, 5e-324, -5e-324, -0.0, 1e300, -1e300, np.inf, -np.inf])


def test_real_thresholds_are_not_rounded(session, compare):
    """Held against fractions, which compare with floats exactly."""
    x, t = edges(session), thresholds(session)
    rational = [Fraction(int(value), 2**session.frac_bits) for value in x]
    secret = of_integers(session, x[:, None])
    expected = [[compare(value, bound) for bound in t.tolist()] for value in rational]
    exact(compare(secret, t), expected, 0)
    mirrored = [[compare(bound, value) for bound in t.tolist()] for value in rational]
    exact(compare(t, secret), mirrored, 0)
    exact(compare(secret[:, 0], float(t[-9])), [row[-9] for row in expected], 0)


def test_thresholds_of_every_kind(session):
    x = grid(session, (2, 3))
    secret = session.share(x)
    for t in (0, 0.5, True, np.float32(0.1), np.float16(-1.5), [1, -1, 0.25], x[0],
              np.arange(3, dtype="u1"), np.uint64(2**64 - 1), 2**100, [-(2**70), 0, 2**70],
              np.longdouble(0.1)):  # fmt: skip
        numbers = np.asarray(t)
        numbers = numbers if numbers.dtype.kind == "f" else numbers.astype(np.float64)
        exact(secret < t, x < numbers, 0)
        exact(t <= secret, numbers <= x, 0)
        exact(t != secret, x != numbers, 0)


def test_integer_thresholds_beyond_float64_are_not_rounded():
    with he.Session(frac_bits=0, device="cpu", seed=1) as s:
        x = 2**60 + np.arange(-3, 4)
        secret = of_integers(s, x)
        for t in (2**60 - 1, 2**60, 2**60 + 1, np.int64(2**60 + 1), np.longdouble(2**60) + 1):
            exact(secret < t, x < int(t), 0)
            exact(secret == t, x == int(t), 0)


BROADCASTS = [((), (3,)), ((3,), ()), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 1), (1, 3)), ((), ()),
              ((4, 1, 3), (2, 1)), ((0, 3), (3,)), ((3,), (0, 3)), ((1,), (0,))]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), BROADCASTS)
def test_broadcasting(session, left, right):
    x, y = few(left, 1), few(right, 2)
    X, Y = session.share(x), session.share(y)
    for compare in COMPARISONS.values():
        expected = compare(x, y)
        exact(compare(X, Y), expected, 0)
        exact(compare(X, y), expected, 0)
        exact(compare(x, Y), expected, 0)
    p, q = x > 0, y > 0
    for combine in LOGIC.values():
        exact(combine(X > 0, Y > 0), combine(p, q), 0)
        exact(combine(X > 0, q), combine(p, q), 0)
        exact(combine(p, Y > 0), combine(p, q), 0)


def test_different_frac_bits_are_aligned_without_rounding(session, compare):
    f = session.frac_bits
    x, y = few((40,), 1), few((40,), 2) + 2.0 ** -(f + 3)
    X, Y = session.share(x), of_integers(session, np.rint(y * 2 ** (f + 3)), f + 3)
    exact(compare(X, Y), compare(x, y), 0)
    exact(compare(Y, X), compare(y, x), 0)
    exact(compare(Y, 0.0), compare(y, 0.0), 0)
    exact(compare(X > 0, X), compare((x > 0) * 1.0, x), 0)


def test_views_and_masked_operands_compare_too(session, compare):
    x, y = few((4, 3), 1), few((3, 4), 2)
    X, Y = session.share(x), session.share(y)
    exact(compare(X.T, Y), compare(x.T, y), 0)
    exact(compare(X[::-1, 1], Y[1]), compare(x[::-1, 1], y[1]), 0)
    exact(compare(X.masked(), 0.5), compare(x, 0.5), 0)


# Logic


def test_logic_of_bits(session):
    p, q = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    P, Q = session.share(p) > 0.5, session.share(q) > 0.5
    for combine in LOGIC.values():
        exact(combine(P, Q), combine(p, q), 0)
        for public in (q, q.tolist(), q.astype(int)):
            exact(combine(P, public), combine(p, q), 0)
            exact(combine(public, P), combine(p, q), 0)
        for public in (True, False, 1, 0, np.True_):
            exact(combine(P, public), combine(p, bool(public)), 0)
            exact(combine(public, P), combine(p, bool(public)), 0)
    exact(~P, ~p, 0)
    exact(~(P & ~Q) ^ (P | Q), ~(p & ~q) ^ (p | q), 0)


def test_bits_are_numbers_too(session):
    x = grid(session, (3, 4))
    X = session.share(x)
    exact((X > 0) * X, np.where(x > 0, x, 0))
    exact((X > 0).sum(axis=0), (x > 0).sum(axis=0), 0)
    exact(((X > 0) & (X < 1)).sum(), ((x > 0) & (x < 1)).sum(), 0)


# Costs


@pytest.mark.parametrize("name", [name for name in SESSIONS if not name.startswith("cuda")])
def test_counted_cost_equals_the_documented_one(name):
    with open_session(name) as s:
        x = s.share(np.ones((3, 4)))
        y, bits = s.share(np.ones(4)), x > 0.5
        stack, zero = x._stack, s.backend.asarray(np.zeros((1, 1, 1), x._stack.dtype))
        below = cost_of(s, lambda: s.scheme.below(stack, zero))
        is_zero = cost_of(s, lambda: s.scheme.is_zero(stack))
        product = cost_of(s, lambda: s.scheme.product("mul", stack, stack, 0))
        if s.protocol != "plain":
            assert below.rounds > 0 < is_zero.rounds
        for compare in (operator.lt, operator.le, operator.gt, operator.ge):
            assert cost_of(s, lambda compare=compare: compare(x, y)) == below
            assert cost_of(s, lambda compare=compare: compare(x, 0.3)) == below
        for compare in (operator.eq, operator.ne):
            assert cost_of(s, lambda compare=compare: compare(x, y)) == is_zero
            assert cost_of(s, lambda compare=compare: compare(x, [0.3, 1, 1, 2])) == is_zero
        for combine in LOGIC.values():
            assert cost_of(s, lambda combine=combine: combine(bits, bits)) == product
            assert cost_of(s, lambda combine=combine: combine(bits, [0, 1, 1, 0])) == total()
        assert cost_of(s, lambda: ~bits) == total()


# Refusals


def test_a_bit_is_no_bool(X):
    for access in (bool, float, int, hash, np.asarray, lambda X: 1 if X else 0,
                   lambda X: 1 in X, lambda X: {X: 1}, lambda X: 0 < X < 1,
                   lambda X: (X > 0) and X, lambda X: not X, lambda X: X in [1, X]):  # fmt: skip
        for tensor in (X, X > 1):
            with pytest.raises(he.errors.SecretAccessError, match="reveal"):
                access(tensor)


BAD = [(np.nan, ValueError, "must not be NaN"), ([0, np.nan, 0], ValueError, "NaN"),
       (1j, TypeError, "real"), ("1", TypeError, "real"), (None, TypeError, "real"),
       ([[1, 2], [3]], ValueError, "no array"), ([object()] * 3, TypeError, "real"),
       (np.ma.array([1.0, 2, 3]), TypeError, "masked array"),
       (np.zeros(2), ValueError, "broadcast"), (np.zeros((3, 2)), ValueError, "broadcast")
       ]  # fmt: skip


@pytest.mark.parametrize(("bad", "error", "message"), BAD)
def test_bad_operands(X, compare, bad, error, message):
    with pytest.raises(he.errors.HeGpuError, match=message) as caught:
        compare(X, bad)
    assert isinstance(caught.value, error)
    assert str(caught.value).startswith(
        next(name for name, function in COMPARISONS.items() if function is compare)
    )


def test_secret_shapes_that_do_not_broadcast(X, compare):
    with pytest.raises(he.errors.ArgumentValueError, match=r"shapes \(2, 3\) and \(2,\)"):
        compare(X, X[:, 0])


def test_two_sessions(X, compare):
    with he.Session(parties=3, device="cpu", seed=21) as session:
        with pytest.raises(he.errors.ArgumentValueError, match="two different sessions"):
            compare(X, session.share(np.ones((2, 3))))
        for combine in LOGIC.values():
            with pytest.raises(he.errors.ArgumentValueError, match="two different sessions"):
                combine(X > 0, session.share(np.ones((2, 3))) > 0)


def test_a_closed_session():
    session = he.Session(device="cpu", seed=1)
    X = session.share(np.ones((2, 2)))
    bits = X > 0
    session.close()
    calls = [lambda c=c, y=y: c(X, y) for c in COMPARISONS.values() for y in (X, 1.0)]
    calls += [lambda c=c, y=y: c(bits, y) for c in LOGIC.values() for y in (bits, True)]
    for call in (*calls, lambda: ~bits):
        with pytest.raises(he.errors.SessionClosedError, match="the session is closed"):
            call()


@pytest.mark.parametrize("combine", LOGIC.values())
def test_logic_wants_bits(X, combine):
    for call in (lambda: combine(X, X > 1), lambda: combine(X > 1, X), lambda: combine(X, 1)):
        with pytest.raises(TypeError, match=r"0/1 tensor with frac_bits 0, got frac_bits 16"):
            call()
    for bad in (2, -1, 0.5, [0, 1, 3]):
        with pytest.raises(ValueError, match="operand must be 0 or 1, got"):
            combine(X > 1, bad)
    with pytest.raises(TypeError, match="real"):
        combine(X > 1, "yes")
    with pytest.raises(TypeError, match="invert: operand must be a 0/1 tensor"):
        operator.invert(X)


def test_no_warning_of_numpys_reaches_the_caller(session):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X = session.share(1.0)
        for t in (1e308, -np.inf, 5e-324, 2**200):
            for compare in COMPARISONS.values():
                compare(X, t).reveal()


# Thresholds


def test_thresholds_lie_on_the_grid_where_fractions_say():
    values = [0.3, -0.3, 2.5, -2.5, 0.0, 3, -7, 2**80, -(2**80), np.inf, -np.inf, 1e-300, -1e-300]
    for modulus in (2**64, 2**32):
        for frac_bits in (0, 1, 10):
            most = 2 ** (word_bits(modulus) - 2)
            for value in values:
                floor, inside = on_grid(value, frac_bits, modulus, "test")
                if value in (np.inf, -np.inf):
                    assert (int(floor), bool(inside)) == (int(np.sign(value)) * most, False)
                    continue
                scaled = Fraction(value) * 2**frac_bits
                assert int(floor) == max(-most, min(most, scaled.__floor__()))
                assert bool(inside) == (scaled.denominator == 1 and abs(scaled) < most)


def test_integers_against_more_fraction_bits_than_the_word_has(compare):
    with he.Session(device="cpu", seed=1) as s:
        x = s.share([2.0**-10, -(2.0**-10), 0.0]).reshape(3, 1).with_frac_bits(40)
        z = x.matmul(s.share([[2.0**-10]]).with_frac_bits(40), frac_bits=80)
        for t in (3, -3, 0, [1, 0, -1], 2**70, np.uint64(2**63)):
            exact(compare(z, t), compare(z.reveal(), np.asarray(t, np.float64)), 0)


def test_lists_of_integers_beyond_float64_are_not_rounded(compare):
    with he.Session(frac_bits=0, device="cpu", seed=1) as s:
        x = s.share(-(2.0**53)) - 1
        for t in ([2**63, -(2**53 + 1)], (2**63, -(2**53)), [np.uint64(2**63), np.int64(-(2**53))],
                  [[2**63, -(2**53 + 2)]], [np.uint64(2**63), -(2**53 + 1), True]):  # fmt: skip
            expected = compare(-(2**53) - 1, np.array(t, dtype=object))
            exact(compare(x, t), expected.astype(bool), 0)
