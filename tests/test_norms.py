"""Variances and norms keep to the errors that they document, under every protocol and ring."""

from math import inf

import numpy as np
import pytest

import he_gpu as he
from he_gpu.ring.fixedpoint import FACTOR_BITS, word_bits
from tests.sessions import SESSIONS, cost_of, exact, few, grid, of_integers, open_session, total


@pytest.fixture(params=SESSIONS)
def session(request):
    with open_session(request.param) as session:
        yield session


@pytest.fixture
def X():  # noqa: N802 - as in the contract
    with open_session("additive-3-64") as session:
        yield session.share(np.arange(6.0).reshape(2, 3))


def is_power(number):
    return np.frexp(number)[0] == 0.5


def documented_error(session, x, axis, ddof=0, frac_bits=None):
    """What `SecretTensor.var` says of its error."""
    unit, relative = 2.0**-session.frac_bits, 2.0 ** -FACTOR_BITS[word_bits(session.modulus)]
    axes = tuple(range(x.ndim)) if axis is None else axis
    count = np.prod([x.shape[at] for at in np.atleast_1d(axes).astype(int)])
    mean = unit if is_power(count) else 2 * unit + relative * np.abs(x.mean(axes))
    of_mean = count / (count - ddof) * np.square(mean)
    result = unit if frac_bits is None else 2.0**-frac_bits
    if is_power(count - ddof):
        return result + of_mean
    return 2 * result + relative * np.var(x, axes, ddof=ddof) + of_mean


CASES = [
    ((8,), None, 0), ((7,), None, 1), ((3, 5), None, 0), ((3, 5), 0, 1), ((4, 5), -1, 0.5),
    ((2, 3, 4), (0, 2), 0), ((2, 3, 4), (2, 0), 3), ((1, 3), 0, 0), ((4,), (), 0), ((), None, 0),
    ((1,), None, 0), ((0, 3), 1, 0), ((100,), None, -28),
]  # fmt: skip


@pytest.mark.parametrize("shape", [(8,), (7,), (3, 5), (1,), ()], ids=str)
def test_means(session, shape):
    x = grid(session, shape, top=2) - 0.75
    X = session.share(x)
    axes = tuple(range(x.ndim))
    unit, relative = 2.0**-session.frac_bits, 2.0 ** -FACTOR_BITS[word_bits(session.modulus)]
    bound = unit if is_power(x.size) else 2 * unit + relative * np.abs(x.mean())
    truncations = 0 if x.size == 1 else 1 if is_power(x.size) else 2
    one = cost_of(session, lambda: session.scheme.truncate(X.sum()._stack, 1))
    spent = cost_of(session, lambda: X.mean(axes))
    assert spent.rounds == truncations * one.rounds
    assert spent.bytes_sent == truncations * one.bytes_sent
    assert np.abs(X.mean().reveal() - x.mean()) <= bound


def test_a_mean_has_the_range_of_the_sum():
    with open_session("additive-64") as session:
        X = session.share(np.full((3, 1024), 2.0**20))  # the sum alone is beyond 2**22
        assert abs(X.mean().reveal() / 2.0**20 - 1) <= 2.0**-23


@pytest.mark.parametrize("case", CASES, ids=str)
def test_variances(session, case):
    shape, axis, ddof = case
    x = grid(session, shape, top=2 if word_bits(session.modulus) == 64 else 1) + 0.25
    X = session.share(x)
    for keepdims in (False, True):
        expected = np.var(x, axis, ddof=ddof, keepdims=keepdims)
        found = X.var(axis, ddof, keepdims)
        assert found.frac_bits == session.frac_bits
        assert found.shape == expected.shape
        error = np.abs(found.reveal() - expected).reshape(np.var(x, axis).shape)
        assert (error <= documented_error(session, x, axis, ddof)).all()
    assert he.var(X, axis, correction=ddof).shape == np.var(x, axis).shape


def test_variances_with_other_fraction_bits(session):
    x = grid(session, (6,), top=1)
    for frac_bits in (session.frac_bits - 2, session.frac_bits + 3):
        found = session.share(x).var(frac_bits=frac_bits)
        assert found.frac_bits == frac_bits
        error = abs(found.reveal() - np.var(x))
        assert error <= documented_error(session, x, None, frac_bits=frac_bits)
    bits = session.share(few((8,), values=2) + 1) > 0.5  # 0 and 1, with no fraction bits
    assert bits.frac_bits == 0
    found = bits.var()
    assert found.frac_bits == session.frac_bits
    assert abs(found.reveal() - np.var(bits.reveal())) <= documented_error(session, few((8,)), None)


def test_variances_of_many_large_numbers(session):
    """The range does not shrink with the number of elements, as one truncation's would."""
    if word_bits(session.modulus) == 64:
        x = np.random.default_rng(1).normal(500, 3, 3001)  # the sum is beyond 2**20
    else:
        x = np.random.default_rng(1).normal(20, 0.5, 301)
    x = np.rint(x * 2**session.frac_bits) / 2**session.frac_bits
    error = abs(he.var(session.share(x), ddof=1).reveal() - np.var(x, ddof=1))
    assert error <= documented_error(session, x, None, 1)


def test_variances_are_not_negative(session):
    for value in (0.0, 1.0, -1.5):
        assert (session.share(np.full((2, 5), value)).var(axis=1).reveal() >= 0).all()


def root_error(session, root, frac_bits=None):
    """What `SecretTensor.sqrt` says of its error."""
    fine = session.frac_bits if frac_bits is None else frac_bits
    return (6e-6 if word_bits(session.modulus) == 64 else 2e-3) * root + 2.0**-fine


def test_standard_deviations(session):
    for shape, axis, ddof in (((8,), None, 0), ((3, 5), 0, 1), ((2, 3, 4), (0, 2), 0)):
        x = grid(session, shape, top=1)
        found = he.std(session.share(x), axis, ddof)
        expected = np.std(x, axis, ddof=ddof)
        assert found.frac_bits == session.frac_bits
        assert found.shape == expected.shape
        count = x.size // expected.size
        unit, relative = 2.0**-session.frac_bits, 2.0 ** -FACTOR_BITS[word_bits(session.modulus)]
        # |sqrt(v + e**2) - sqrt(v)| <= e for the mean's error e times sqrt(n / (n - ddof))
        mean = 2 * unit + relative * np.abs(x.mean(axis))
        root = root_error(session, expected * np.sqrt(count - ddof)) / np.sqrt(count - ddof)
        bound = root + unit + relative * expected + mean * np.sqrt(count / (count - ddof))
        assert (np.abs(found.reveal() - expected) <= bound).all()
        kept = session.share(x).std(axis, keepdims=True)
        assert kept.shape == np.std(x, axis, keepdims=True).shape


def test_euclidean_norms(session):
    x = grid(session, (2, 3, 4), top=1)
    X = session.share(x)
    for arguments in ((), (None, 1), (2, -1), ("fro", (0, 2)), (None, (1, 2)), (None, (0,))):
        for keepdims in (False, True):
            axis = arguments[1] if len(arguments) > 1 else None
            expected = np.sqrt(np.square(x).sum(axis, keepdims=keepdims))
            found = he.norm(X, *arguments, keepdims=keepdims)
            assert found.shape == expected.shape
            bound = root_error(session, expected)
            assert (np.abs(found.reveal() - expected) <= bound).all()
    exact(he.norm(session.share(np.zeros(3))), 0)
    fine = he.norm(X[0], frac_bits=session.frac_bits + 4)
    expected = np.sqrt(np.square(x[0]).sum())
    assert fine.frac_bits == session.frac_bits + 4
    bound = root_error(session, expected, session.frac_bits + 4)
    assert abs(fine.reveal() - expected) <= bound


def test_norms_of_tensors_with_many_fraction_bits():
    """Of the 80 fraction bits of a square 61 are kept; the squares must be below 2**-18."""
    with open_session("additive-64") as s:
        fine = s.share(np.array([3.0, -4.0])).with_frac_bits(40)
        small = he.SecretTensor(s, fine.with_frac_bits(27)._stack, 40)  # 2**-13 of it
        expected = 5 * 2.0**-13
        error = abs(small.norm(frac_bits=30).reveal() - expected)
        assert error <= root_error(s, expected, 30) + 2.0**-61 / expected


def test_norms_from_sums_and_extremes(session):
    x = grid(session, (3, 4))
    X = session.share(x)
    for order in (1, inf, -inf):
        exact(he.norm(X[0], order), np.linalg.norm(x[0], order))
        for keepdims in (False, True):
            expected = np.linalg.norm(x, order, axis=1, keepdims=keepdims)
            exact(he.norm(X, order, 1, keepdims), expected)
    for order in (1, -1, inf, -inf):
        exact(X.norm(order), np.linalg.norm(x, order))
        exact(X.norm(order, axis=(1, 0)), np.linalg.norm(x, order, axis=(1, 0)))
        cube = np.stack([x, -x / 2 + x % 1 / 2])
        cube = np.rint(cube * 2**session.frac_bits) / 2**session.frac_bits
        for keepdims in (False, True):
            expected = np.linalg.norm(cube, order, axis=(0, 2), keepdims=keepdims)
            exact(session.share(cube).norm(order, (0, 2), keepdims), expected)
    exact(he.norm(session.share([0.0, 1, 0, -2]), 0), 2, 0)


# Ranges and costs


@pytest.mark.parametrize("name", ["plain-64", "plain-32"])
def test_squares_out_of_range(name):
    with open_session(name) as s:
        x = s.share(np.array([1, -1]) * 2.0 ** (15 if name == "plain-64" else 5))
        for call in (x.var, x.std, x.norm):
            with pytest.raises(he.errors.RangeError, match="values must stay below"):
                call()
        with pytest.raises(he.errors.RangeError, match="values must stay below"):
            of_integers(s, [2 ** (word_bits(s.modulus) - 3)] * 2).var()


@pytest.mark.parametrize("name", ["additive-64", "additive-3-64", "replicated-64", "additive-32"])
def test_counted_cost_equals_the_documented_one(name):
    with open_session(name) as s:

        def shared(*shape):
            return s.share(np.zeros(shape))

        def truncation(*shape):
            words = shared(*shape)._stack
            return cost_of(s, lambda: s.scheme.truncate(words, 1))

        def squares(*shape, drop=s.frac_bits):  # sums over the last axis
            rows = shared(*shape)[..., None, :]

            def multiply():
                masked = rows.masked()
                pair = masked._operand_as(rows.ndim), masked.mT._operand_as(rows.ndim)
                s.scheme.product("matmul", *pair, drop)

            return cost_of(s, multiply)

        x = shared(3, 4)
        table = {
            "var of 4": (lambda: x.var(axis=1), total(truncation(3, 1), squares(3, 4))),
            "var of 3": (
                lambda: x.var(axis=0),
                total(truncation(1, 4), truncation(1, 4), squares(4, 3), truncation(4)),
            ),
            "var of 3 less 1": (
                lambda: x.var(axis=0, ddof=1),
                total(truncation(1, 4), truncation(1, 4), squares(4, 3)),
            ),
            "norm 1": (lambda: x.norm(1, 1), cost_of(s, x.abs)),
            "norm inf": (
                lambda: x.norm(inf, 1), total(cost_of(s, x.abs), cost_of(s, lambda: x.max(axis=1)))
            ),
            "norm 2": (
                lambda: x.norm(2, 1), total(squares(3, 4, drop=0), cost_of(s, shared(3).sqrt))
            ),
            "std": (
                lambda: x.std(axis=1),
                total(truncation(3, 1), squares(3, 4, drop=0), cost_of(s, shared(3).sqrt),
                      truncation(3)),
            ),
        }  # fmt: skip
        counted = {name: cost_of(s, action) for name, (action, _) in table.items()}
        assert counted == {name: documented for name, (_, documented) in table.items()}
        if name.startswith("additive"):  # x - mean is sent once, and then the sums
            words, size = (3 * 4 + 3) * (s.scheme.n_parties - 1), word_bits(s.modulus) // 8
            assert squares(3, 4).bytes_sent == words * size


# Refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: X.var(axis=2), r"^var: axis must be in \[-2, 2\), got 2"),
        (lambda X: X.std(axis=(0, 0)), "^std: axes must differ"),
        (lambda X: X.var(ddof=6), r"^var: more elements than ddof 6 .* got 6 of shape \(2, 3\)"),
        (lambda X: X.std(0, correction=2), "^std: more elements than ddof 2"),
        (lambda X: X[:0].var(0), "^var: more elements than ddof 0"),
        (lambda X: X[:0].var(0, -1), "^var: more elements than ddof -1"),
        (lambda X: X.var(ddof=1, correction=1), "^var: ddof and correction are the same"),
        (lambda X: X.var(ddof=np.inf), "^var: ddof must be finite, got inf"),
        (lambda X: X.var(frac_bits=33), r"^var: frac_bits must be in \[0, 32\]"),
        (
            lambda X: X.norm(3),
            r"^norm: ord must be one of 'fro', 1, -1, inf, -inf over 2 axes, got",
        ),
        (lambda X: X.norm(2), "^norm: ord must be one of 'fro', 1, .* got 2"),
        (lambda X: X.norm("nuc"), "^norm: ord must be one of 'fro', 1, .* got 'nuc'"),
        (lambda X: X.norm(3, 1), "^norm: ord must be one of 2, 0, 1, inf, -inf over 1 axes, got 3"),
        (lambda X: X[0].norm("fro"), "^norm: ord must be one of 2, 0, 1"),
        (
            lambda X: X[None].norm(1),
            r"^norm: 1 or 2 axes expected for ord 1, got shape \(1, 2, 3\)",
        ),
        (
            lambda X: X[None].norm(axis=(0, 1, 2)),
            r"^norm: axis must be one or two, got \(0, 1, 2\)",
        ),
        (lambda X: X.norm(axis=()), r"^norm: axis must be one or two, got \(\)"),
        (lambda X: X.norm(np.asarray([1, 2])), "^norm: ord must be one of"),
        (lambda X: X.norm(axis=2), r"^norm: axis must be in \[-2, 2\), got 2"),
        (lambda X: X[:, :0].norm(inf, 1), "at least 1 element expected"),
    ],
)
def test_values_that_are_refused(X, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(X)
    assert isinstance(caught.value, he.errors.HeGpuError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: X.var(axis=1.5), "^var: axis must be an integer, got float"),
        (lambda X: X.var(ddof="1"), "^var: ddof must hold real numbers"),
        (lambda X: X.std(ddof=[1, 2]), r"^std: ddof must be a number, got shape \(2,\)"),
        (lambda X: X.norm(1, frac_bits=3), "^norm: frac_bits is for roots, got ord 1"),
        (lambda X: he.var([1, 2]), "^var: a SecretTensor expected, .* use numpy.var"),
        (lambda X: he.std([1, 2]), "^std: a SecretTensor expected, .* use numpy.std"),
        (lambda X: he.norm([1, 2]), "^norm: a SecretTensor expected, .* use numpy.linalg.norm"),
    ],
)
def test_types_that_are_refused(X, call, message):
    with pytest.raises(TypeError, match=message) as caught:
        call(X)
    assert isinstance(caught.value, he.errors.HeGpuError)


@pytest.mark.parametrize("name", ["var", "std", "norm"])
def test_a_closed_session(name):
    session = he.Session(device="cpu", seed=1)
    x = session.share(np.ones(2))
    session.close()
    with pytest.raises(he.errors.SessionClosedError, match=rf"^{name}: the session is closed"):
        getattr(he, name)(x)
