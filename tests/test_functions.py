"""The functions that rest on comparison equal NumPy's, exactly, under every protocol and ring."""

import itertools

import numpy as np
import pytest

import he_gpu as he
from he_gpu.ring.fixedpoint import word_bits
from he_gpu.tensor.tournament import layers
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


@pytest.fixture(params=SESSIONS)
def session(request):
    with open_session(request.param) as session:
        yield session


@pytest.fixture
def X():  # noqa: N802 - as in the contract
    with open_session("additive-3-64") as session:
        yield session.share(np.arange(6.0).reshape(2, 3))


def pool(x, kernel, stride=None, padding=0):
    """The definition: the largest of each window, where what lies outside never wins."""
    (kh, kw), (ph, pw) = np.broadcast_to(kernel, 2), np.broadcast_to(padding, 2)
    sh, sw = np.broadcast_to(kernel if stride is None else stride, 2)
    width = [(0, 0)] * (x.ndim - 2) + [(ph, ph), (pw, pw)]
    padded = np.pad(x, width, constant_values=-np.inf)
    seen = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(-2, -1))
    return seen[..., ::sh, ::sw, :, :].max(axis=(-2, -1))


def relu(x):
    return np.maximum(x, 0)


# Elementwise


def test_functions_of_one_value_at_every_edge(session):
    integers, scale = edges(session), 2.0**session.frac_bits
    x, X = integers / scale, of_integers(session, integers)
    exact(he.relu(X), relu(x))
    exact(X.relu(), relu(x))
    exact(he.sign(X), np.sign(x), 0)
    exact(X.sign(), np.sign(x), 0)
    exact(he.abs(X), np.abs(x))
    exact(abs(X), np.abs(x))
    exact(X.abs(), np.abs(x))


def test_functions_of_two_values_at_every_pair_of_edges(session):
    integers, scale = edges(session), 2.0**session.frac_bits
    x, X = integers / scale, of_integers(session, integers)
    exact(he.maximum(X[:, None], X), np.maximum(x[:, None], x))
    exact(he.minimum(X[:, None], X), np.minimum(x[:, None], x))
    half = integers[np.abs(integers) < end(session) // 2]  # so that differences keep their range
    h, H = half / scale, of_integers(session, half)
    for condition in (H[:, None] > H, h[:, None] > h):
        exact(he.where(condition, H[:, None], H), np.maximum(h[:, None], h))
    exact(he.max(H[[[i, j] for i in range(len(h)) for j in range(len(h))]], axis=1),
          np.maximum(h[:, None], h).ravel())  # fmt: skip


SHAPES = [((), (3,)), ((3,), ()), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 1), (1, 3)), ((), ()),
          ((4, 1, 3), (2, 1)), ((0, 3), (3,)), ((3,), (0, 3)), ((1,), (0,))]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_two_operands_broadcast_and_one_may_be_public(session, left, right):
    x, y = grid(session, left, 1), grid(session, right, 2)
    X, Y = session.share(x), session.share(y)
    for ours, numpys in ((he.maximum, np.maximum), (he.minimum, np.minimum)):
        for a, b in ((X, Y), (X, y), (x, Y)):
            exact(ours(a, b), numpys(x, y))
    exact(X.maximum(y), np.maximum(x, y))
    exact(X.minimum(Y), np.minimum(x, y))


WHERE_SHAPES = [((3,), (3,), (3,)), ((2, 1), (3,), ()), ((), (2, 3), (3,)), ((2, 3), (), ()),
                ((), (), ()), ((0, 3), (1, 3), ()), ((3,), (0, 3), (3,)), ((4, 1, 1), (2, 1), (3,))
                ]  # fmt: skip


@pytest.mark.parametrize("shapes", WHERE_SHAPES)
def test_where_with_each_operand_secret_or_public(session, shapes):
    c = few(shapes[0], 1) > 0
    x, y = grid(session, shapes[1], 2), grid(session, shapes[2], 3)
    C, X, Y = session.share(c) > 0.5, session.share(x), session.share(y)
    expected = np.where(c, x, y)
    for condition, one, other in itertools.product((C, c), (X, x), (Y, y)):
        if any(isinstance(value, he.SecretTensor) for value in (condition, one, other)):
            exact(he.where(condition, one, other), expected)
    exact(X.where(C, Y), expected)
    exact(X.where(c, y), expected)
    exact(he.where(c * 2.5, X, y), expected)  # all but 0 holds


def test_where_of_numbers(session):
    c = np.array([True, False])
    C = session.share(c) > 0.5
    exact(he.where(C, 2, -1), np.where(c, 2.0, -1.0))
    exact(he.where(C, [1, 2], session.share(0.5)), np.where(c, [1, 2], 0.5))
    most = 2.0 ** (word_bits(session.modulus) - 3 - session.frac_bits) - 1
    exact(he.where(C, most, -1.0), np.where(c, most, -1.0))


BOUNDS = [(-1.0, 1.0), (None, 0.5), (-0.5, None), (None, None), (1.0, -1.0), ([-1, 0, 1], 1.5),
          (0.0, [[0.5], [1.5]]), ([0.0, 0.5, 1.0], [[0.25], [0.75]]), (-1, 0)]  # fmt: skip


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_clip(session, low, high):
    x = grid(session, (2, 3))
    X = session.share(x)
    expected = x if low is None and high is None else np.clip(x, low, high)
    exact(he.clip(X, low, high), expected)
    exact(X.clip(low=low, high=high), expected)
    secret_low = None if low is None else session.share(low)
    secret_high = None if high is None else session.share(high)
    exact(X.clip(secret_low, secret_high), expected)
    if low is not None and high is not None:
        exact(X.clip(low, secret_high), expected)
        exact(he.clip(x, secret_low, high), expected)


def test_clip_at_the_edges(session):
    integers, scale = edges(session), 2.0**session.frac_bits
    x, X = integers / scale, of_integers(session, integers)
    bounds = x[np.abs(integers) < 2**53]  # which float64 holds
    for low, high in itertools.product(bounds[::5], bounds[1::6]):
        exact(X.clip(low, high), np.clip(x, low, high))


def test_different_frac_bits_give_the_finer(session):
    f = session.frac_bits
    x, y = few((30,), 1), few((30,), 2) + 2.0 ** -(f + 2)
    X, Y = session.share(x), of_integers(session, np.rint(y * 2 ** (f + 2)), f + 2)
    C = session.share(x) > y
    for a, b in ((X, Y), (Y, X)):
        exact(he.maximum(a, b), np.maximum(x, y), f + 2)
        exact(he.minimum(a, b), np.minimum(x, y), f + 2)
    exact(X.clip(Y, 1), np.clip(x, y, 1), f + 2)
    exact(he.where(C, X, Y), np.maximum(x, y), f + 2)
    exact(he.where(C, 1, Y), np.where(x > y, 1, y), f + 2)
    exact(he.where(x > y, Y, X), np.minimum(x, y), f + 2)
    exact(he.maximum(C, 0), (x > y) * 1.0, 0)


# Reductions

AXES = [None, 0, 1, -1, (0, 2), (-1, 0), (0, 1, 2), ()]


@pytest.mark.parametrize("axis", AXES)
def test_max_and_min(session, axis):
    for x in (grid(session, (2, 3, 5)), few((2, 3, 5))):
        X = session.share(x)
        exact(he.max(X, axis), x.max(axis=axis))
        exact(he.min(X, axis=axis, keepdims=True), x.min(axis=axis, keepdims=True))
        exact(X.max(axis, True), x.max(axis=axis, keepdims=True))


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_argmax_and_argmin_take_the_first(session, axis):
    for x in (grid(session, (2, 3, 5)), few((2, 3, 5)), np.zeros((2, 3, 5))):
        X = session.share(x)
        exact(he.argmax(X, axis), x.argmax(axis), 0)
        exact(he.argmin(X, axis=axis, keepdims=True), x.argmin(axis, keepdims=True), 0)
        exact(X.argmax(axis, True), x.argmax(axis, keepdims=True), 0)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16])
def test_lengths_and_ties(session, n):
    x = few((12, n), n, values=2)
    X = session.share(x)
    exact(X.argmax(axis=1), x.argmax(axis=1), 0)
    exact(X.argmin(axis=1), x.argmin(axis=1), 0)
    exact(X.max(axis=1), x.max(axis=1))
    exact(X.min(axis=1), x.min(axis=1))
    exact(X.sort(axis=1), np.sort(x, axis=1))


def test_all_ties_of_four(session):
    x = np.asarray(list(itertools.product((0.0, 1.0), repeat=4)))
    X = session.share(x)
    exact(X.argmax(axis=1), x.argmax(axis=1), 0)
    exact(X.argmin(axis=1), x.argmin(axis=1), 0)


def test_extremes_of_the_whole_range(session):
    integers = edges(session)
    x, X = integers / 2.0**session.frac_bits, of_integers(session, integers)
    exact(X.max(), x.max())
    exact(X.min(), x.min())
    exact(he.sort(X[::-1]), np.sort(x))
    half = integers[np.abs(integers) < end(session) // 2]
    exact(of_integers(session, half).argmax(), half.argmax(), 0)
    exact(of_integers(session, half).argmin(), half.argmin(), 0)


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_sort(session, axis):
    for x in (grid(session, (3, 2, 7)), few((3, 2, 7))):
        X = session.share(x)
        exact(he.sort(X, axis), np.sort(x, axis))
        exact(X.sort(axis=axis), np.sort(x, axis))
        exact(X, x)  # nothing is sorted in place
    exact(session.share([2.0, 1.0]).sort(), [1.0, 2.0])


def test_scalars_and_empty_arrays(session):
    scalar = session.share(-1.5)
    for tensor in (scalar.max(), scalar.min(), scalar.clip(-2, 0), he.where(True, scalar, 0)):
        exact(tensor, -1.5)
    exact(scalar.relu(), 0.0)
    exact(scalar.sign(), -1.0, 0)
    exact(scalar.argmax(), 0, 0)
    exact(scalar.sort(None), [-1.5])
    x = np.zeros((0, 3))
    X = session.share(x)
    for tensor in (X.relu(), abs(X), X.maximum(1), X.minimum(X), X.clip(-1, 1), X.sort(), X.sort(0),
                   he.where(X > 0, X, 1)):  # fmt: skip
        exact(tensor, x)
    exact(X.sign(), x, 0)
    exact(X.max(axis=1), np.zeros(0))
    exact(X.max(axis=1, keepdims=True), np.zeros((0, 1)))
    exact(X.argmin(axis=1), np.zeros(0), 0)
    exact(X.sort(axis=None), np.zeros(0))
    exact(session.share(np.zeros((0, 2, 4, 4))).max_pool2d(2), np.zeros((0, 2, 2, 2)))


@pytest.mark.parametrize("n", [*range(10), 15, 16, 17, 31, 33, 64])
def test_the_network_sorts_every_sequence_of_zeros_and_ones(n):
    """Which sorts all others, by the 0-1 principle; random ones stand for all from n = 10."""
    if n < 10:
        x = np.asarray(list(itertools.product((0, 1), repeat=n)), np.int64).reshape(2**n, n)
    else:
        x = np.random.default_rng(n).integers(0, 2, (3000, n))
    count = 0
    for i, j in layers(n):
        assert (i < j).all()
        assert np.unique(np.concatenate([i, j])).size == 2 * i.size > 0
        x[:, i], x[:, j] = np.minimum(x[:, i], x[:, j]), np.maximum(x[:, i], x[:, j])
        count += 1
    assert (np.diff(x, axis=1) >= 0).all()
    depth = max(n - 1, 0).bit_length()
    assert count == depth * (depth + 1) // 2


# Pooling

POOLS = [(2, None, 0), (2, 1, 0), (3, 2, 1), ((2, 3), (1, 2), (1, 0)), (1, 1, 0), (1, 3, 0),
         ((3, 1), 2, 0), (4, 3, 2), ((5, 6), None, (2, 3)), ([2, 2], [2, 2], [1, 1]), (3, 1, 1)
         ]  # fmt: skip


@pytest.mark.parametrize(("kernel", "stride", "padding"), POOLS)
def test_max_pool2d(session, kernel, stride, padding):
    for x in (grid(session, (2, 5, 6)) - 4, few((2, 5, 6), values=2)):
        X = session.share(x)
        exact(he.max_pool2d(X, kernel, stride, padding), pool(x, kernel, stride, padding))
    exact(X[0].max_pool2d(kernel, stride, padding), pool(x[0], kernel, stride, padding))


def test_max_pool2d_of_batches_and_channels(session):
    x = few((2, 3, 6, 4), values=4)
    exact(he.max_pool2d(session.share(x), 2), pool(x, 2))
    exact(he.max_pool2d(session.share(x), kernel_size=3, stride=2, padding=1), pool(x, 3, 2, 1))


# Costs


@pytest.mark.parametrize("name", [name for name in SESSIONS if not name.startswith("cuda")])
def test_counted_cost_equals_the_documented_one(name):
    with open_session(name) as s:
        x = s.share(few((3, 4)))
        bits, y = x > 0, s.share(few((3, 4)))

        def stack(*shape):
            return s.share(np.zeros(shape))._stack

        def positive_part(*shape):
            words = stack(*shape)
            return cost_of(s, lambda: s.scheme.positive_part(words))

        def below(*shape):
            words = stack(*shape)
            return cost_of(s, lambda: s.scheme.below(words, np.zeros(1, words.dtype)))

        def steps(*shape, ends):
            words = stack(*shape)
            return cost_of(s, lambda: s.scheme.steps(words, ends, [range(len(ends) + 1)]))

        def beyond(*shape):
            words = stack(*shape)
            ends = (np.asarray(words.dtype.type(end)) for end in (0, 2 ** (s.frac_bits - 1)))
            return cost_of(s, lambda: s.scheme.beyond(words, *ends))

        def product(left, right):
            a, b = stack(*left), stack(*right)
            return cost_of(s, lambda: s.scheme.product("mul", a, b, 0))

        def largest(*shape):
            words = stack(*shape)
            return cost_of(s, lambda: s.scheme.largest(words))

        part, free = positive_part(3, 4), total()
        table = {
            "relu": (lambda: x.relu(), part),
            "abs": (lambda: abs(x), part),
            "sign": (lambda: x.sign(), steps(3, 4, ends=(0, 1))),
            "maximum": (lambda: he.maximum(x, y), part),
            "maximum public": (lambda: he.maximum(0.5, y), part),
            "minimum": (lambda: he.minimum(x, y), part),
            "clip one": (lambda: x.clip(0.5), part),
            "clip two": (lambda: x.clip(0, 0.5), beyond(3, 4)),
            "clip secret": (lambda: x.clip(0, y), total(part, part)),
            "clip none": (lambda: x.clip(), free),
            "where": (lambda: he.where(bits, x, y), product((3, 4), (3, 4))),
            "where numbers": (lambda: he.where(bits, 1, 0.5), free),
            "where public": (lambda: he.where([True, False] * 2, x, y), free),
            "max": (lambda: x.max(axis=1), largest(4, 3)),
            "max of 2": (lambda: x[:2].max(axis=0), positive_part(1, 4)),
            "min all": (lambda: x.min(), largest(12)),
            "argmax": (
                lambda: x.argmax(axis=0),
                total(
                    below(1, 4), product((1, 1, 4), (1, 1, 4)), below(1, 4),
                    product((1, 1, 4), (1, 1, 4)),
                ),
            ),
            "argmin of 4": (
                lambda: x.argmin(axis=1),
                total(
                    below(2, 3), product((1, 2, 3), (1, 2, 3)), below(1, 3),
                    product((1, 1, 3), (1, 1, 3)),
                ),
            ),
            "argmax of 2": (lambda: x[:2].argmax(axis=0), below(1, 4)),
            "sort": (
                lambda: x.sort(),
                total(positive_part(3, 2), positive_part(3, 2), positive_part(3, 1)),
            ),
            "pool": (
                lambda: x.max_pool2d((3, 2)),
                total(positive_part(1, 3, 2), largest(3, 1, 2)),
            ),
        }  # fmt: skip
        counted = {name: cost_of(s, action) for name, (action, _) in table.items()}
        assert counted == {name: documented for name, (_, documented) in table.items()}


# Refusals

FUNCTIONS = {
    "where": lambda x: he.where(x, x, x),
    "sign": he.sign,
    "relu": he.relu,
    "abs": he.abs,
    "maximum": lambda x: he.maximum(x, x),
    "minimum": lambda x: he.minimum(x, x),
    "clip": lambda x: he.clip(x, 0, 1),
    "max": he.max,
    "min": he.min,
    "argmax": he.argmax,
    "argmin": he.argmin,
    "sort": he.sort,
    "max_pool2d": lambda x: he.max_pool2d(x, 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_plain_arrays_are_numpys(name):
    for public in (np.zeros((2, 2)), 1.0, [1, 2]):
        with pytest.raises(TypeError, match=rf"^{name}: a SecretTensor expected, got .*; .*use "):
            FUNCTIONS[name](public)
    if hasattr(np, name):
        with pytest.raises(he.errors.ArgumentTypeError, match=f"use numpy.{name}"):
            FUNCTIONS[name](np.zeros((2, 2)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_closed_session(name):
    session = he.Session(device="cpu", frac_bits=0, seed=1)
    bits = session.share(np.ones((2, 2)))
    session.close()
    with pytest.raises(he.errors.SessionClosedError, match=rf"^{name}: the session is closed"):
        FUNCTIONS[name](bits)


def test_two_sessions(X):
    other = he.Session(parties=3, device="cpu", seed=21).share(np.ones((2, 3)))
    for call in (
        lambda: he.maximum(X, other),
        lambda: he.minimum(X, other),
        lambda: he.clip(X, other),
        lambda: he.clip(X, 0, other),
        lambda: he.where(X > 0, X, other),
        lambda: he.where(other > 0, X, 1),
        lambda: he.where(other > 0, 0, X),
        lambda: he.where([True] * 3, X, other),
    ):
        with pytest.raises(he.errors.ArgumentValueError, match="two different sessions"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: X.max(axis=2), r"max: axis must be in \[-2, 2\), got 2"),
        (lambda X: X.min(axis=-3), r"min: axis must be in \[-2, 2\), got -3"),
        (lambda X: X.max(axis=(0, -2)), r"max: axes must differ, got \(0, -2\)"),
        (lambda X: X.argmax(axis=2), r"argmax: axis must be in \[-2, 2\), got 2"),
        (lambda X: X.argmin(axis=-5), r"argmin: axis must be in \[-2, 2\), got -5"),
        (lambda X: X.sort(axis=2), r"sort: axis must be in \[-2, 2\), got 2"),
        (lambda X: X[0, 0].sort(), r"sort: axis must be in \[0, 0\), got -1"),
        (lambda X: X[:0].max(), r"max: at least 1 element .* axes \(0, 1\), got 0 of shape \(0, 3"),
        (lambda X: X[:0].min(axis=0), r"min: at least 1 element expected over axes \(0,\), got 0"),
        (lambda X: X[:0].argmax(axis=0), "argmax: at least 1 element"),
        (lambda X: X[:, :0].argmin(), "argmin: at least 1 element"),
        (lambda X: X[0].max_pool2d(1), r"x must have at least 2 axes, got shape \(3,\)"),
        (lambda X: X.max_pool2d(0), "kernel_size must be at least 1, got 0"),
        (lambda X: X.max_pool2d((1, -1)), "kernel_size must be at least 1, got -1"),
        (lambda X: X.max_pool2d((1, 2, 3)), "kernel_size must be one number or two, got 3"),
        (lambda X: X.max_pool2d(2, 0), "stride must be at least 1, got 0"),
        (lambda X: X.max_pool2d(2, 1, -1), "padding must be at least 0, got -1"),
        (lambda X: X.max_pool2d(2, 1, 2), "padding must be at most half of kernel_size 2, got 2"),
        (lambda X: X.max_pool2d((2, 1), 1, 1), "at most half of kernel_size 1, got 1"),
        (lambda X: X.max_pool2d(3), r"kernel_size must be in \[1, 2\], .* got 3 for shape \(2, 3"),
        (lambda X: X[:0].max_pool2d(2, 1, 1), r"kernel_size must be in \[1, 0\]"),
        (lambda X: X.maximum(np.ones(2)), r"maximum: shapes \(2, 3\) and \(2,\) do not broadcast"),
        (lambda X: X.minimum(X.T), "minimum: shapes"),
        (lambda X: X.clip(np.ones(2), 2), "clip: shapes"),
        (lambda X: X.clip(0, np.ones(2)), "clip: shapes"),
        (lambda X: X.clip(np.ones(3), np.ones((2, 2))), "clip: shapes"),
        (lambda X: he.where(X > 0, X, np.ones(2)), "where: shapes"),
        (lambda X: he.where(np.ones(2), X, 1), "where: shapes"),
        (lambda X: he.where(X > 0, np.ones(3), np.ones(2)), "where: shapes"),
        (lambda X: X.maximum(np.nan), "maximum: operand must be finite, got nan"),
        (lambda X: X.maximum(np.inf), "maximum: operand must be finite, got inf"),
        (lambda X: X.clip(np.nan, 1), "clip: low must be finite, got nan"),
        (lambda X: X.clip(0, np.inf), "clip: high must be finite, got inf"),
        (lambda X: X.clip(np.nan), "^clip: operand must be finite, got nan"),
        (lambda X: X.clip(X, np.inf), "^clip: operand must be finite, got inf"),
        (lambda X: X.clip(high=X.T), "^clip: shapes"),
        (lambda X: X.minimum(2.0**46), r"minimum: operand must satisfy \|x\| < 2\*\*46"),
        (lambda X: he.where(X > 0, np.nan, X), "where: operand must be finite, got nan"),
        (lambda X: he.where(np.nan, 0, X), "where: condition must be finite, got nan"),
    ],
)
def test_values_that_are_refused(X, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(X)
    assert isinstance(caught.value, he.errors.HeGpuError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: X.max(axis=1.5), "max: axis must be an integer, got float"),
        (lambda X: X.argmax(axis=(0, 1)), "argmax: axis must be an integer, got tuple"),
        (lambda X: X.argmin(axis="rows"), "argmin: axis must be an integer, got str"),
        (lambda X: X.sort(axis=(0,)), "sort: axis must be an integer, got tuple"),
        (lambda X: X.max_pool2d(2.0), "kernel_size must be an integer, got float"),
        (lambda X: X.max_pool2d(True), "kernel_size must be an integer, got bool"),
        (lambda X: X.max_pool2d(2, "1"), "stride must be an integer, got str"),
        (lambda X: X.max_pool2d(2, 1, None), "padding must be an integer, got NoneType"),
        (lambda X: he.where(X, X, 1), "where: condition must be a 0/1 tensor with frac_bits 0"),
        (lambda X: he.where("yes", X, 1), "where: condition must hold real numbers"),
        (lambda X: X.maximum("1"), "maximum: operand must hold real numbers"),
        (lambda X: X.minimum(None), "minimum: operand must hold real numbers"),
        (lambda X: X.clip(1j, 1), "clip: low must hold real numbers"),
    ],
)
def test_types_that_are_refused(X, call, message):
    with pytest.raises(TypeError, match=message) as caught:
        call(X)
    assert isinstance(caught.value, he.errors.HeGpuError)


def test_numpys_functions_are_those_of_he_gpu(X):
    """All others are in test_manners.py."""
    x = np.arange(6.0).reshape(2, 3)
    for name in ("argmax", "argmin", "clip", "max", "min", "sort"):
        arguments = (0, 1) if name == "clip" else ()
        frac_bits = 0 if name.startswith("arg") else None
        exact(getattr(np, name)(X, *arguments), getattr(np, name)(x, *arguments), frac_bits)
    exact(np.amax(X), np.max(x))
    exact(np.where(X > 1, 1, 0), np.where(x > 1, 1, 0))
    exact(np.sum(X), np.sum(x))
    exact(np.reshape(X, (3, 2)), x.reshape(3, 2))
    for call in (
        np.median,
        np.copy,
        np.linalg.inv,
        lambda X: np.hstack([X, X]),
        lambda X: np.sum(np.ones(3), out=X[0]),
    ):
        with pytest.raises(
            he.errors.SecretAccessError, match=r"^numpy\.(median|copy|linalg\.inv|hstack|sum): "
        ):
            call(X)
    with pytest.raises(
        he.errors.SecretAccessError, match=r"numpy\.linalg\.inv.*reveal\(\) it first"
    ):
        np.linalg.inv(X)


def test_numpys_functions_of_shape_know_secrets(X):
    assert (np.shape(X), np.ndim(X), np.size(X), np.size(X, axis=1)) == ((2, 3), 2, 6, 3)
    exact(np.transpose(X), np.arange(6.0).reshape(2, 3).T)
    exact(np.transpose(X, axes=(1, 0)), np.arange(6.0).reshape(2, 3).T)


@pytest.mark.parametrize("stride", [2**70, (2**64, 2**63), (2**63 - 1, 1)])
def test_strides_beyond_every_window(X, stride):
    x = np.arange(6.0).reshape(2, 3)
    near = tuple(min(number, 100) for number in np.broadcast_to(np.array(stride, object), 2))
    exact(he.max_pool2d(X, 2, stride), pool(x, 2, near))
    exact(he.max_pool2d(X, 2, stride, 1), pool(x, 2, near, 1))


@pytest.mark.parametrize(("kernel", "padding"), [(8, 4), (9, 4), (10, 4), (7, 3), (8, 3)])
def test_padding_beyond_the_length(X, kernel, padding):
    x = np.arange(6.0).reshape(2, 3)
    exact(he.max_pool2d(X, kernel, 1, padding), pool(x, kernel, 1, padding))
    exact(he.max_pool2d(X, kernel, 2, padding), pool(x, kernel, 2, padding))
    exact(he.max_pool2d(X, 2**70 + kernel, 1, 2**69 + padding), pool(x, kernel, 1, padding))


def test_a_masked_matrix_of_a_closed_session_is_not_transposed():
    session = he.Session(device="cpu", seed=1)
    masked = session.share(np.ones((2, 2))).masked()
    session.close()
    with pytest.raises(he.errors.SessionClosedError, match=r"^T: the session is closed"):
        _ = masked.T
