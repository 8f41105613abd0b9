"""SecretTensor against NumPy: one body for every scheme, number of parties, ring and device.

Tolerances are in units u = 2^-frac_bits. Most inputs are multiples of u below 8, whose products and
sums of products are exact in float64. So local operations must be exact, and a product must lie
within one unit of NumPy's: it is floor or floor + 1 of the exact value (nearest for `plain`).
"""

import copy
import operator
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import he_gpu as he
from he_gpu.ring.fixedpoint import FACTOR_BITS, word_bits
from tests.conftest import require_device

SESSIONS = {
    "plain": ("cpu", {"protocol": "plain"}),
    "additive-2": ("cpu", {"parties": 2}),
    "additive-3": ("cpu", {"parties": 3}),
    "additive-5": ("cpu", {"parties": 5}),
    "plain-32": ("cpu", {"protocol": "plain", "modulus": 2**32, "frac_bits": 10}),
    "additive-2-32": ("cpu", {"parties": 2, "modulus": 2**32, "frac_bits": 10}),
    "replicated": ("cpu", {"protocol": "replicated"}),
    "replicated-32": ("cpu", {"protocol": "replicated", "modulus": 2**32, "frac_bits": 10}),
    "emulator-plain": ("emulator", {"protocol": "plain"}),
    "emulator-2": ("emulator", {"parties": 2}),
    "emulator-3-32": ("emulator", {"parties": 3, "modulus": 2**32, "frac_bits": 10}),
    "emulator-replicated": ("emulator", {"protocol": "replicated"}),
    "cuda-plain": ("cuda", {"protocol": "plain"}),
    "cuda-2": ("cuda", {"parties": 2}),
    "cuda-replicated": ("cuda", {"protocol": "replicated"}),
    "cuda-3-32": ("cuda", {"parties": 3, "modulus": 2**32, "frac_bits": 10}),
}


@pytest.fixture(params=SESSIONS)
def session(request):
    device, arguments = SESSIONS[request.param]
    with he.Session(device=require_device(device), seed=20, **arguments) as session:
        yield session


@pytest.fixture
def additive():
    with he.Session(parties=3, device="cpu", seed=21) as session:
        yield session


def unit(session):
    return 2.0**-session.frac_bits


def grid(session, shape, seed=0, top=4):
    """Random multiples of the unit in [-top, top)."""
    scale = 2**session.frac_bits
    integers = np.random.default_rng(seed).integers(-top * scale, top * scale, shape)
    return np.asarray(integers / scale)


def exact(tensor, expected):
    revealed = tensor.reveal()
    assert isinstance(tensor, he.SecretTensor)
    assert isinstance(revealed, np.ndarray)
    assert revealed.dtype == np.float64
    assert tensor.shape == revealed.shape == np.shape(expected)
    np.testing.assert_array_equal(revealed, expected)


def within(tensor, expected, bound):
    """The bound is strict, and 2^-40 of it is left to float64."""
    revealed = tensor.reveal()
    assert tensor.shape == revealed.shape == np.shape(expected)
    error = np.abs(revealed - expected)
    assert (error < bound * (1 + 2.0**-40)).all(), f"error {error.max()} of {np.max(bound)}"


def one_unit(tensor, expected):
    within(tensor, expected, unit(tensor.session))


def by_factor(tensor, expected, magnitude, factors):
    """A public real p has an error of 2^-b of the largest; a truncation adds one unit."""
    bits = FACTOR_BITS[word_bits(tensor.session.modulus)]
    largest = np.abs(np.asarray(factors)).max(initial=0.0)
    within(tensor, expected, magnitude * largest * 2.0**-bits + unit(tensor.session))


# Sharing


def test_share_and_reveal(session):
    for shape in ((), (1,), (5,), (2, 3), (2, 0, 3), (2, 1, 3, 2)):
        x = grid(session, shape)
        X = session.share(x)
        exact(X, x)
        assert X.ndim == x.ndim
        assert X.size == x.size
        assert X.frac_bits == session.frac_bits
        words = (2,) if session.protocol == "replicated" else ()
        assert X.shares.shape == (session.n_parties, *words, *shape)
        assert X.shares.dtype == np.uint64


def test_share_rounds_to_nearest(session):
    x = np.random.default_rng(1).uniform(-8, 8, 500)
    within(session.share(x), x, unit(session) / 2 * (1 + 2.0**-30))
    exact(session.share(x), np.rint(x / unit(session)) * unit(session))


def test_what_can_be_shared(session):
    for x in (3, -2.5, True, [1, 2], [[0.5], [1.5]], np.float32(0.25), np.arange(4, dtype=np.int8)):
        exact(session.share(x), np.asarray(x, np.float64))


def test_every_party_may_own_an_input(session):
    x = grid(session, (3, 2))
    for owner in session.parties:
        exact(session.share(x, owner=owner), x)


def test_shares_sum_to_the_encoding(session):
    x = grid(session, (4,))
    stack = session.backend.to_numpy(session.share(x).shares)
    if session.protocol == "replicated":  # the second word of each is the next one's first
        np.testing.assert_array_equal(stack[:, 1], np.roll(stack[:, 0], -1, axis=0))
        stack = stack[:, 0]
    total = stack.sum(0, dtype=np.uint64).astype(object) % session.modulus
    encoding = (x * 2**session.frac_bits).astype(np.int64).astype(object) % session.modulus
    assert total.tolist() == encoding.tolist()


def test_the_range_of_share_to_its_ends(session):
    limit = 2.0 ** (word_bits(session.modulus) - 2 - 2 * session.frac_bits)
    largest = limit - unit(session)
    x = np.array([largest, -largest, 0.0, unit(session), -unit(session)])
    exact(session.share(x), x)
    for value in (limit, -limit, 4 * limit):
        with pytest.raises(he.errors.RangeError, match=r"share: x must satisfy .* got"):
            session.share([0.0, value])


# Sums


def test_local_operations_are_exact(session):
    x, y = grid(session, (3, 4), 1), grid(session, (3, 4), 2)
    X, Y = session.share(x), session.share(y)
    before = session.cost
    exact_now = [(X + Y, x + y), (X - Y, x - y), (-X, -x), (+X, x), (X + X + X, 3 * x)]
    assert session.cost == before
    for tensor, expected in exact_now:
        exact(tensor, expected)


BROADCASTS = [((), (3,)), ((3,), ()), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 1), (1, 3)),
              ((4, 1, 3), (2, 1)), ((0, 3), (3,)), ((1,), (0,)), ((), ())]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), BROADCASTS)
def test_broadcasting(session, left, right):
    x, y = grid(session, left, 1), grid(session, right, 2)
    X, Y = session.share(x), session.share(y)
    exact(X + Y, x + y)
    exact(X - Y, x - y)
    exact(X + y, x + y)
    exact(x - Y, x - y)
    one_unit(X * Y, x * y)
    integers = np.rint(y)
    exact(X * integers, x * integers)
    exact(integers * X, x * integers)


def test_public_operands_on_either_side(session):
    x, p = grid(session, (2, 3), 1), grid(session, (2, 3), 2)
    X = session.share(x)
    for other in (p, p.tolist(), p[0], p[0].tolist(), 2, -1.5, np.float64(0.25), np.int8(-3),
                  np.array(2.5), True):  # fmt: skip
        array = np.asarray(other, np.float64)
        exact(X + other, x + array)
        exact(other + X, array + x)
        exact(X - other, x - array)
        exact(other - X, array - x)
        # Operands with no more significant bits than a factor keeps are exact but for a truncation.
        by_factor(X * other, x * array, np.abs(x), array)
        by_factor(other * X, array * x, np.abs(x), array)


def test_integer_factors_are_exact_and_free(session):
    x = grid(session, (3, 2))
    X, before = session.share(x), session.cost
    products = [(X * 3, 3 * x), (-7 * X, -7 * x), (X * [1, -2], x * [1, -2]), (X * 0, 0 * x)]
    assert session.cost == before
    for tensor, expected in products:
        exact(tensor, expected)


# Products


def test_elementwise_products(session):
    x, y = grid(session, (3, 4), 1), grid(session, (3, 4), 2)
    X, Y = session.share(x), session.share(y)
    one_unit(X * Y, x * y)
    one_unit(X * X, x * x)
    one_unit(session.share(2.5) * session.share(-1.5), np.asarray(-3.75))


def test_products_of_reals_with_their_rounding(session):
    """Inputs: |x~ y~ - x y| <= |x| u/2 + |y| u/2 + u^2/4; the product adds less than u."""
    rng, u = np.random.default_rng(3), unit(session)
    x, y = rng.uniform(-8, 8, (2, 300))
    bound = (np.abs(x) + np.abs(y)) * u / 2 + u * u / 4 + u
    within(session.share(x) * session.share(y), x * y, bound)
    a, b = rng.uniform(-4, 4, (5, 7)), rng.uniform(-4, 4, (7, 3))
    inputs = np.abs(a) @ np.ones((7, 3)) + np.ones((5, 7)) @ np.abs(b)
    bound = inputs * u / 2 + 7 * u * u / 4 + u
    within(session.share(a) @ session.share(b), a @ b, bound)


def test_real_factors(session):
    x = grid(session, (3, 4))
    X = session.share(x)
    for factor in (0.1, -1e-3, np.pi, 2.0**-12 / 3, 1e-30, [0.1, 7.3, -1e-3, 0.0]):
        p = np.asarray(factor)
        by_factor(X * factor, x * p, np.abs(x), p)
        by_factor(factor * X, p * x, np.abs(x), p)


def test_division_by_public_numbers(session):
    x = grid(session, (3, 4))
    X = session.share(x)
    for divisor in (3, -0.7, 8, np.array([1.0, 2.0, 3.0, 7.0]), [[2], [3], [5]]):
        d = np.asarray(divisor, np.float64)
        by_factor(X / divisor, x / d, np.abs(x), 1 / d)


MATRICES = [
    ((2, 3), (3, 4)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((3,), (3,)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((2, 1, 2, 3), (5, 3, 4)),
    ((3,), (5, 3, 4)),
    ((5, 2, 3), (3,)),
    ((1, 3), (3, 1)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
    ((0,), (0,)),
    ((0, 2, 3), (3, 2)),
]


@pytest.mark.parametrize(("left", "right"), MATRICES)
def test_matrix_products(session, left, right):
    x, y = grid(session, left, 1), grid(session, right, 2)
    X, Y = session.share(x), session.share(y)
    one_unit(X @ Y, x @ y)
    one_unit(X.masked() @ Y, x @ y)
    one_unit(X @ Y.masked(), x @ y)
    one_unit(X.masked() @ Y.masked(), x @ y)
    magnitude = np.abs(x) @ np.ones(right)
    by_factor(X @ y, x @ y, magnitude, y)
    by_factor(x @ Y, x @ y, np.ones(left) @ np.abs(y), x)
    integers = np.rint(y)
    exact(X @ integers, x @ integers)
    if y.size:  # a list keeps no axes beyond one of length 0
        exact(X @ integers.tolist(), x @ integers)


def test_matmul_frac_bits(session):
    x, y = grid(session, (2, 3), 1, top=2), grid(session, (3, 2), 2, top=2)
    X, Y = session.share(x), session.share(y)
    f = session.frac_bits
    whole = X.matmul(Y, frac_bits=2 * f)
    assert whole.frac_bits == 2 * f
    exact(whole, x @ y)
    for bits in (0, f - 3, f, f + 5):
        product = X.matmul(Y, frac_bits=bits)
        assert product.frac_bits == bits
        within(product, x @ y, 2.0**-bits)
    half = y.round() / 2
    assert X.matmul(half, frac_bits=f + 1).frac_bits == f + 1
    exact(X.matmul(half, frac_bits=f + 1), x @ half)
    within(X.matmul(half, frac_bits=f - 3), x @ half, 2.0 ** -(f - 3))


def test_with_frac_bits(session):
    x = grid(session, (2, 3), top=2)
    X, f = session.share(x), session.frac_bits
    before = session.cost
    fine = X.with_frac_bits(f + 6)
    assert fine.frac_bits == f + 6
    assert session.cost == before
    exact(fine, x)
    exact(X.with_frac_bits(f), x)
    for bits in (0, 1, f - 1):
        coarse = X.with_frac_bits(bits)
        assert coarse.frac_bits == bits
        within(coarse, x, 2.0**-bits)
    exact(fine.with_frac_bits(f), x)  # the dropped bits are 0, so nothing is rounded


def test_sums_of_different_frac_bits(session):
    x, y = grid(session, (3,), 1, top=2), grid(session, (3,), 2, top=2)
    X, Y = session.share(x), session.share(y).with_frac_bits(session.frac_bits + 4)
    for tensor, expected in ((X + Y, x + y), (Y - X, y - x), (X - Y, x - y), (Y + 1, y + 1)):
        assert tensor.frac_bits >= session.frac_bits
        exact(tensor, expected)
    one_unit(X * Y, x * y)


def test_masked_operands(session):
    f, y = grid(session, (4, 3), 1), grid(session, (4, 2), 2)
    w = grid(session, (3, 2), 3)
    F, Y, W = session.share(f), session.share(y), session.share(w)
    M = F.masked()
    assert M.is_masked == (session.protocol == "additive")
    assert not F.is_masked
    assert M.masked() is M
    exact(M, f)
    for _ in range(2):  # one mask serves several products and the transpose
        one_unit(M @ W, f @ w)
        one_unit(M.T @ Y, f.T @ y)
    assert M.T.is_masked == M.is_masked
    exact(M.T, f.T)
    exact(M.T.T, f)
    one_unit(M * F, f * f)
    one_unit(M.T @ M, f.T @ f)
    for left_over in (M + F, -M, M.tril(), M.cumsum(0), M.sum(0)):
        assert not left_over.is_masked  # the mask belongs to the value that it hid
    exact(M[1:], f[1:])
    exact(M + 1, f + 1)


ORDER = np.random.default_rng(8).permutation(6)
VIEWS = {
    "slice": lambda v: v[1:4],
    "steps": lambda v: v[::-2, 1:],
    "row": lambda v: v[2],
    "element": lambda v: v[2, 1],
    "new axis": lambda v: v[:, None, ..., 1:],
    "permuted": lambda v: v[ORDER],
    "batch": lambda v: v[ORDER][2:5],
    "batch of batches": lambda v: v[ORDER][ORDER][:2].T,
    "repeated": lambda v: v[np.array([3, 3, 0, -1])],
    "chosen": lambda v: v[np.arange(6) % 2 == 0],
    "columns": lambda v: v[:, [2, 0]],
    "rows and columns": lambda v: v[[1, 2, 1], [0, 2, 0]],
    "apart": lambda v: v.reshape(2, 3, 3)[[1, 0], :, [0, 2]],
    "entries": lambda v: v[np.arange(18).reshape(6, 3) % 5 == 0],
    "reshaped": lambda v: v.reshape(2, 9),
    "raveled": lambda v: v.ravel(),
    "transposed": lambda v: v.reshape(2, 3, 3).transpose(2, 0, 1),
    "repeat": lambda v: v.repeat(2, axis=0),
    "swapped": lambda v: v.reshape(2, 3, 3).swapaxes(0, 2),
    "squeezed": lambda v: v[:, :1].squeeze(1),
    "diagonal": lambda v: v.diagonal(),
    "taken": lambda v: v.take([4, 4, 1], axis=0),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_masked_operands_stay_masked(session, name):
    """Nothing is opened anew: the view's own mask and difference are those of its elements."""
    view = VIEWS[name]
    x = grid(session, (6, 3), 1)
    M, v = session.share(x).masked(), view(x)
    V, W, other = view(M), session.share(np.ones((2, 1))), session.share(np.ones(v.shape))
    masked = session.protocol == "additive"
    assert V.is_masked == masked
    exact(V, v)
    start = session.cost
    square = V * V
    between = session.cost
    product = V * other
    spent, end = between - start, session.cost - between
    one_unit(square, v * v)
    one_unit(product, v)
    if masked:
        size = v.size * word_bits(session.modulus) // 8
        sent = size * (session.n_parties - 1)
        assert spent == he.Cost(1, sent, 3 * size)
        assert end == he.Cost(2, 2 * sent, 3 * size)
    if v.ndim == 2:
        one_unit(V.T @ V, v.T @ v)
        one_unit(V[:, :1] @ W.T, v[:, :1] @ np.ones((1, 2)))


def test_a_masked_tensor_in_its_own_shape_is_itself(session):
    M = session.share(grid(session, (4, 3), 1)).masked()
    assert M.reshape(4, -1) is M


def test_scaled_operands(session):
    f, y = grid(session, (4, 3), 1), grid(session, (4, 2), 2)
    F, Y = session.share(f), session.share(y)
    bits = FACTOR_BITS[word_bits(session.modulus)]
    # Modulo 2^32 the word cannot hold a 12-bit factor beside both operands' fraction bits.
    rates = (1e-3, -0.3, 2.0, 0.0) if session.modulus == 2**64 else (0.5, 2.0, -0.25, 0.0)
    for rate in rates:
        before = session.cost
        S = F.scaled(rate)
        assert session.cost == before
        product = f.T @ y
        bound = np.abs(f).T @ np.abs(y) * abs(rate) * 2.0**-bits + unit(session)
        within(S.T @ Y, product * rate, bound)
        M = F.masked().T.scaled(rate)
        assert M.is_masked == (session.protocol == "additive")
        within(M @ Y, product * rate, bound)
        within(S, f * rate, np.abs(f) * abs(rate) * 2.0**-bits + 2.0**-60)


def test_scaling_twice_stays_defined(additive):
    """Whatever fraction bits pile up, a product is right or refused in the library's own words."""
    x = grid(additive, (2, 2))
    X = additive.share(x)
    for rate in (1e-3, 1e-6, 1e-12):
        try:
            result = X.scaled(rate).scaled(rate) @ X
        except he.errors.HeGpuError:
            continue
        within(result, rate * rate * (x @ x), 2.0**-16 + 1e-9)


def test_a_training_step(session):
    """The arithmetic of the main job, a few steps, with its error derived.

    A step errs by less than u in e, and by u in the gradient's product; the first enters the second
    through lr |F.T|. With |I - lr F F.T| <= 1 errors add up over the steps.
    """
    f, y = grid(session, (4, 3), 1, top=1), grid(session, (4, 1), 2, top=1)
    rate, n_steps, u = 0.125, 5, unit(session)
    F, Y = session.share(f).masked(), session.share(y)
    step = F.T.scaled(rate)
    w, W = np.zeros((3, 1)), session.share(np.zeros((3, 1)))
    assert np.linalg.norm(f, 2) ** 2 * rate < 2
    for _ in session.steps(n_steps):
        W = W - step @ (F @ W - Y)
        w = w - rate * f.T @ (f @ w - y)
    each = u * (1 + rate * np.abs(f).sum(0).max()) * np.sqrt(3)
    within(W, w, n_steps * each)


# Shape


def test_axes_and_shapes(session):
    x = grid(session, (2, 3, 4))
    X = session.share(x)
    scalar, single, empty = (
        session.share(2.5),
        session.share([2.5]),
        session.share(np.zeros((0, 3))),
    )
    before = session.cost
    pairs = [
        (X.T, x.T),
        (X.transpose(), x.transpose()),
        (X.transpose(1, 0, 2), x.transpose(1, 0, 2)),
        (X.transpose((2, 0, 1)), x.transpose(2, 0, 1)),
        (X.transpose([-1, 0, 1]), x.transpose(-1, 0, 1)),
        (X.reshape(6, 4), x.reshape(6, 4)),
        (X.reshape(-1), x.reshape(-1)),
        (X.reshape((4, -1)), x.reshape(4, -1)),
        (X.T.reshape(12, 2), x.T.reshape(12, 2)),
        (X.reshape(2, 1, 3, 1, 4), x.reshape(2, 1, 3, 1, 4)),
        (scalar.reshape(1, 1), np.full((1, 1), 2.5)),
        (scalar.T, np.asarray(2.5)),
        (single.reshape(()), np.asarray(2.5)),
        (empty.reshape(3, 0), np.zeros((3, 0))),
        (empty.T, np.zeros((3, 0))),
    ]
    assert session.cost == before
    for tensor, expected in pairs:
        exact(tensor, expected)


INDICES = {
    "integer": 1,
    "negative": -1,
    "numpy integer": np.int64(1),
    "integers": (1, 2, 0),
    "slice": slice(1, None),
    "steps": (slice(None, None, -1), slice(0, 3, 2)),
    "empty slice": slice(2, 2),
    "ellipsis": ...,
    "ellipsis and integer": (..., 1),
    "integer and ellipsis": (0, ..., slice(1, 3)),
    "new axis": None,
    "new axes": (None, 1, slice(None), None),
    "everything": (slice(None), None, ..., -2),
    "empty tuple": (),
    "list": [2, 0, 0],
    "array": np.array([1, -1]),
    "matrix of integers": np.array([[0, 1], [2, 0]]),
    "empty array": np.array([], dtype=np.int64),
    "two arrays": (np.array([0, 2]), np.array([1, 2])),
    "array and slice": (np.array([0, 2]), slice(1, 3)),
    "slice and array": (slice(None), np.array([0, 2])),
    "arrays around a slice": (np.array([0, 1]), slice(None), np.array([2, 3])),
    "integer around a slice": (0, slice(None), np.array([2, 3])),
    "array, new axis, array": (np.array([0, 1]), None, np.array([1, 2])),
    "broadcast arrays": (np.array([[0], [1]]), np.array([1, 2])),
    "mask": np.arange(60).reshape(3, 5, 4) % 7 == 0,
    "mask of one axis": np.array([True, False, True]),
    "mask of two axes": np.arange(15).reshape(3, 5) % 2 == 0,
    "mask on the second axis": (slice(None), np.array([True, False, True, False, True])),
    "empty mask": np.zeros(3, bool),
    "list mask": [True, False, True],
    "True": True,
    "False": False,
    "True beside a slice": (0, slice(None), True),
    "numpy bool": np.True_,
}


@pytest.mark.parametrize("name", INDICES)
def test_indexing(session, name):
    key, x = INDICES[name], grid(session, (3, 5, 4))
    X, before = session.share(x), session.cost
    part = X[key]
    assert session.cost == before
    exact(part, x[key])


def test_indices_as_arrays_of_zero_axes(session):
    x = grid(session, (3, 5))
    X = session.share(x)
    exact(X[np.array(1)], x[np.array(1)])
    exact(X[:, np.array(2)], x[:, np.array(2)])
    exact(session.share(1.5)[()], np.asarray(1.5))
    exact(session.share(1.5)[...], np.asarray(1.5))
    exact(session.share(1.5)[None], np.array([1.5]))


def test_length_and_iteration(session):
    x = grid(session, (3, 2))
    X = session.share(x)
    assert len(X) == 3
    for row, expected in zip(X, x, strict=True):
        exact(row, expected)
    assert list(session.share(np.zeros((0, 2)))) == []


AXES = [None, 0, 1, -1, (0, 2), (-1, 0), (0, 1, 2), ()]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_sum_and_mean(session, axis, keepdims):
    x = grid(session, (2, 3, 4))
    X, before = session.share(x), session.cost
    total = X.sum(axis=axis, keepdims=keepdims)
    assert session.cost == before
    exact(total, x.sum(axis=axis, keepdims=keepdims))
    expected = x.mean(axis=axis, keepdims=keepdims)
    magnitude = np.abs(x).sum(axis=axis, keepdims=keepdims)
    count = x.size / expected.size
    by_factor(X.mean(axis=axis, keepdims=keepdims), expected, magnitude, 1 / count)


def test_sums_of_scalars_and_of_nothing(session):
    X = session.share(1.5)
    exact(X.sum(), np.asarray(1.5))
    exact(X.mean(), np.asarray(1.5))
    empty = session.share(np.zeros((0, 3)))
    exact(empty.sum(), np.asarray(0.0))
    exact(empty.sum(axis=0), np.zeros(3))
    exact(empty.sum(axis=1), np.zeros(0))


def test_empty_arrays(session):
    X = session.share(np.zeros((0, 3)))
    for tensor in (X + X, X - 1.5, X * X, X * 0.3, X / 3, -X, X.with_frac_bits(3), X * [1, 2, 3]):
        exact(tensor, np.zeros((0, 3)))
    exact(X.masked() @ session.share(np.zeros((3, 2))), np.zeros((0, 2)))


def test_the_contract_snippet(session):
    X = session.share(np.array([[0.0, 1.0], [1.0, 1.0]]))
    W = session.share(np.ones((2, 1)))
    Y = (X @ W - 1.5) * X.sum(axis=1, keepdims=True)
    # X @ W errs by less than u and is multiplied by up to 2; the product adds another u.
    within(Y, np.array([[-0.5], [1.0]]), 3 * unit(session))


def test_operators_leave_their_operands_alone(session):
    x = grid(session, (2, 2))
    X = session.share(x)
    shares = session.backend.to_numpy(X.shares).tolist()
    Y = X
    Y += 1
    Y -= X
    Y *= 3
    X.shares[...] = 0  # a copy
    X.reveal()[...] = 0
    X[0] * X[1] + X.T
    assert session.backend.to_numpy(X.shares).tolist() == shares
    exact(X, x)
    exact(Y, np.full((2, 2), 3.0))


def test_views_do_not_change_with_the_input_array(session):
    x = grid(session, (2, 2))
    public = x.copy()
    X = session.share(public)
    public[...] = 0
    exact(X, x)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_random_expressions_equal_plain(additive, data):
    """A random chain of operations stays within the units that its steps may add."""
    plain = he.Session(protocol="plain", device="cpu")
    value = np.array(data.draw(st.lists(st.integers(-64, 64), min_size=1, max_size=5))) / 16
    A, B, error, u = additive.share(value), plain.share(value), 0.0, 2.0**-16
    magnitude = np.abs(value).max()
    for _ in range(data.draw(st.integers(1, 5))):
        operation = data.draw(st.sampled_from(["add", "sub", "scale", "square", "neg", "matmul"]))
        if operation == "square" or operation == "matmul":
            if magnitude > 64:
                continue
            n = A.size if operation == "matmul" else 1
            if operation == "square":
                A, B = A * A, B * B
            else:
                A, B = (A @ A).reshape(1), (B @ B).reshape(1)
            # Both round: plain by half a unit, additive by one; (a + d)^2 - a^2 = 2 a d + d^2.
            error = n * (2 * magnitude * error + error**2) + 1.5 * u
            magnitude = n * magnitude**2 + u
        elif operation == "scale":
            A, B = A * 0.3, B * 0.3
            error, magnitude = 0.3001 * error + 1.5 * u, 0.3001 * magnitude + u
        elif operation == "neg":
            A, B = 1 - A, 1 - B
            magnitude += 1
        else:
            combine = getattr(operator, operation)
            A, B = combine(A, A[::-1]), combine(B, B[::-1])
            error, magnitude = 2 * error, 2 * magnitude
    assert (np.abs(A.reveal() - B.reveal()) <= error + 1e-12).all()


# Ranges that shares cannot see


def plain_session():
    return he.Session(protocol="plain", device="cpu")


@pytest.mark.parametrize(
    "overflow",
    [
        lambda s: s.share(2.0**20) * s.share(2.0**11),
        lambda s: s.share([[2.0**15]]) @ s.share([[2.0**15]]),
        lambda s: s.share([2.0**14, 2.0**14]) @ s.share([2.0**15, 2.0**15]),
        lambda s: s.share([2.0**14, 2.0**14]) @ [2.0**40, 2.0**40],
        lambda s: s.share(2.0**29) * 2**40,
        lambda s: s.share(2.0**29) * 0.1,
        lambda s: s.share(np.full(2**10, 2.0**29)).sum() * 2**20,
        lambda s: s.share(2.0**29).with_frac_bits(40),
        lambda s: s.share(2.0**29) * 2**16 + s.share(2.0**29) * 2**16,
        lambda s: -(s.share(2.0**29) * 2**16) - s.share(2.0**29) * 2**16,
        lambda s: s.share(2.0**29) * 2**16 + 2.0**45,
        lambda s: s.share(2.0**29).scaled(0.1),
    ],
)
def test_plain_raises_where_a_value_leaves_its_range(overflow):
    with pytest.raises(he.errors.RangeError, match=r"must stay below 2\*\*62 before truncation"):
        overflow(plain_session())


def test_plain_agrees_at_the_edge_of_its_range():
    """Just inside 2^62, additive is right and plain does not raise."""
    for session in (plain_session(), he.Session(device="cpu", seed=1)):
        x, y = 2.0**14 - 1, 2.0**15 + 0.25
        one_unit(session.share(x) * session.share(y), np.asarray(x * y))
        one_unit(session.share(-x) * session.share(y), np.asarray(-x * y))


# Costs

WORD = {2**64: 8, 2**32: 4}


def cost_of(session, action):
    before = session.cost
    action()
    return session.cost - before


@pytest.mark.parametrize("parties", [2, 3, 5])
@pytest.mark.parametrize(("modulus", "frac_bits"), [(2**64, 16), (2**32, 10)])
def test_counted_cost_equals_the_documented_one(parties, modulus, frac_bits):
    s = he.Session(parties=parties, modulus=modulus, frac_bits=frac_bits, device="cpu", seed=1)
    word = WORD[modulus]
    X, Y = s.share(np.ones((3, 4))), s.share(np.ones((4, 2)))
    A, M = s.share(np.ones((3, 4))), s.share(np.ones((3, 4))).masked()

    def costs(rounds, words, dealer_words):
        return he.Cost(rounds, words * word * (parties - 1), dealer_words * word)

    table = [
        ("share", lambda: s.share(np.ones(5)), costs(0, 0, 0)),
        ("add", lambda: X + A, costs(0, 0, 0)),
        ("sub public", lambda: 3 - X, costs(0, 0, 0)),
        ("neg", lambda: -X, costs(0, 0, 0)),
        ("sum", lambda: X.sum(axis=0), costs(0, 0, 0)),
        ("mul", lambda: X * A, costs(2, 12 + 12 + 12, 3 * 12)),
        ("mul broadcast", lambda: X * A[:1], costs(2, 12 + 4 + 12, 3 * 12)),
        ("mul integer", lambda: X * 7, costs(0, 0, 0)),
        ("mul real", lambda: X * 0.3, costs(1, 12, 3 * 12)),
        ("div", lambda: X / 3, costs(1, 12, 3 * 12)),
        ("mean", lambda: X.mean(axis=1), costs(1, 3, 3 * 3)),
        ("mean of 2^n", lambda: X.mean(axis=1), costs(1, 3, 3 * 3)),
        ("matmul", lambda: X @ Y, costs(2, 12 + 8 + 6, 3 * 6)),
        ("matmul vector", lambda: X @ Y[:, 0], costs(2, 12 + 4 + 3, 3 * 3)),
        ("matmul untruncated", lambda: X.matmul(Y, frac_bits=2 * frac_bits), costs(1, 12 + 8, 6)),
        ("matmul masked", lambda: M @ Y, costs(2, 8 + 6, 3 * 6)),
        ("matmul transposed", lambda: M.T @ A, costs(2, 12 + 16, 3 * 16)),
        ("matmul both masked", lambda: M.T @ M, costs(1, 16, 3 * 16)),
        ("matmul integer", lambda: X @ np.ones((4, 2)), costs(0, 0, 0)),
        ("matmul public", lambda: X @ np.full((4, 2), 0.3), costs(1, 6, 3 * 6)),
        ("public matmul", lambda: np.full((2, 3), 0.3) @ X, costs(1, 8, 3 * 8)),
        ("masked", X.masked, costs(1, 12, 0)),
        ("masked again", M.masked, costs(0, 0, 0)),
        ("scaled", lambda: X.scaled(0.3), costs(0, 0, 0)),
        ("more frac bits", lambda: X.with_frac_bits(frac_bits + 2), costs(0, 0, 0)),
        ("fewer frac bits", lambda: X.with_frac_bits(frac_bits - 2), costs(1, 12, 3 * 12)),
        ("reveal", X.reveal, costs(1, 12, 0)),
        ("shape", lambda: X.T.reshape(2, 6)[0, ::2], costs(0, 0, 0)),
    ]
    counted = {name: cost_of(s, action) for name, action, _ in table}
    assert counted == {name: expected for name, _, expected in table}


def test_plain_costs_nothing():
    s = plain_session()
    X = s.share(np.ones((2, 2)))
    ((X @ X) * 0.3).reveal()
    assert s.cost == he.Cost(0, 0, 0)


# Refusals


@pytest.fixture
def X(additive):  # noqa: N802 - as in the contract
    return additive.share(np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    "access",
    [
        np.asarray,
        lambda X: np.array([X]),
        bool,
        float,
        int,
        complex,
        hash,
        operator.index,
        lambda X: {X: 1},
        lambda X: 1 in X,
        lambda X: 1 if X else 0,
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        lambda X: X[X],
        lambda X: X[0, X],
        lambda X: X.__add__([X]),
        lambda X: X.session.share([X, X]),
        lambda X: np.zeros(3)[X],
    ],
)
def test_a_secret_has_no_public_value(X, access):
    with pytest.raises(TypeError, match="reveal"):
        access(X)
    with pytest.raises(he.errors.SecretAccessError):
        access(X)


def test_iterating_is_not_revealing(X):
    with pytest.raises(TypeError):
        sorted(X)
    with pytest.raises(TypeError):
        max(X)


@pytest.mark.parametrize(
    "write",
    [
        lambda X: X.__setitem__(0, 1.0),
        lambda X: X.__setitem__((0, 0), X[0, 0]),
        lambda X: operator.iadd(np.zeros((2, 3)), X),
        lambda X: operator.imul(np.zeros((2, 3)), X),
        lambda X: X**0.5,
        lambda X: X**X,
        lambda X: 2**X,
        lambda X: X / "1",
        lambda X: np.ones(3) // X,
        lambda X: X // 2,
        lambda X: X % 2,
        lambda X: X & 1,
        lambda X: len(X[0, 0]),
    ],
)
def test_what_secrets_do_not_do_is_a_type_error(X, write):
    with pytest.raises(TypeError):
        write(X)


def test_immutable(X):
    with pytest.raises(he.errors.ArgumentTypeError, match="immutable"):
        X[0] = 1.0


def test_tensors_of_two_sessions(X):
    other = he.Session(parties=3, device="cpu", seed=21).share(np.ones((2, 3)))
    for call in (
        lambda: X + other,
        lambda: X - other,
        lambda: X * other,
        lambda: X @ other.T,
        lambda: X.masked() @ other.T,
    ):
        with pytest.raises(he.errors.ArgumentValueError, match="two different sessions"):
            call()


def test_a_closed_session_is_not_used():
    session = he.Session(device="cpu", seed=1)
    X = session.share(np.ones((2, 2)))
    session.close()
    calls = {
        "add": lambda: X + X,
        "radd": lambda: 1 + X,
        "sub": lambda: X - 1,
        "rsub": lambda: 1 - X,
        "neg": lambda: -X,
        "mul": lambda: X * X,
        "mul public": lambda: X * 2,
        "div": lambda: X / 2,
        "matmul": lambda: X @ X,
        "matmul public": lambda: X @ np.eye(2),
        "rmatmul": lambda: np.eye(2) @ X,
        "sum": X.sum,
        "mean": X.mean,
        "reshape": lambda: X.reshape(4),
        "transpose": X.transpose,
        "T": lambda: X.T,
        "index": lambda: X[0],
        "masked": X.masked,
        "scaled": lambda: X.scaled(2.0),
        "frac_bits": lambda: X.with_frac_bits(3),
        "reveal": X.reveal,
        "share": lambda: session.share(1.0),
    }
    for name, call in calls.items():
        with pytest.raises(he.errors.SessionClosedError, match="the session is closed"):
            pytest.fail(f"{name} gave {call()!r}")


BAD = [(np.nan, ValueError, "finite"), (np.inf, ValueError, "finite"),
       (-np.inf, ValueError, "finite"), (1e300, ValueError, "got 1e"), (1j, TypeError, "real"),
       ("1", TypeError, "real"), (None, TypeError, "real"), ([[1, 2], [3]], ValueError, "no array"),
       ([object()], TypeError, "real"), (b"1", TypeError, "real")]  # fmt: skip


@pytest.mark.parametrize(("bad", "error", "message"), BAD)
@pytest.mark.parametrize(
    "use",
    [
        lambda X, bad: X.session.share(bad),
        lambda X, bad: X + bad,
        lambda X, bad: X - bad,
        lambda X, bad: X * bad,
        lambda X, bad: X @ bad,
    ],
)
def test_bad_numbers(X, use, bad, error, message):
    with pytest.raises(he.errors.HeGpuError, match=message) as caught:
        use(X, bad)
    assert isinstance(caught.value, error)


def test_bad_numbers_inside_arrays(X):
    for bad in (np.nan, np.inf, -np.inf):
        p = np.ones((2, 3))
        p[1, 2] = bad
        for call in (lambda p=p: X + p, lambda p=p: p * X, lambda p=p: p.T @ X, lambda p=p: X / p):
            with pytest.raises(he.errors.ArgumentValueError):
                call()


@pytest.mark.parametrize("divisor", [0, 0.0, [1.0, 0.0, 2.0], np.zeros(3)])
def test_division_by_zero(X, divisor):
    with pytest.raises(he.errors.ArgumentValueError, match="divisor must not be 0"):
        X / divisor


@pytest.mark.parametrize("divisor", [5e-324, 1e-300, np.nan, np.inf])
def test_divisors_without_an_inverse(X, divisor):
    """5e-324 has no finite inverse; no warning of NumPy's reaches the caller."""
    if np.isfinite(divisor) or np.isnan(divisor):
        with pytest.raises(he.errors.ArgumentValueError):
            X / divisor
    else:
        with pytest.raises(he.errors.ArgumentValueError, match="finite"):
            X / divisor


@pytest.mark.parametrize(
    "call",
    [
        lambda X: X + np.ones(2),
        lambda X: X - X.T,
        lambda X: X * np.ones((3, 2)),
        lambda X: X * X[:, :2],
        lambda X: X @ X,
        lambda X: X @ np.ones((2, 3)),
        lambda X: np.ones((3, 3)) @ X,
        lambda X: X @ 2.0,
        lambda X: 2.0 @ X,
        lambda X: X @ X[0, 0],
        lambda X: X[0] @ X[:, 0],
        lambda X: X[[0, 1, 0]].reshape(3, 1, 3) @ np.ones((2, 3, 1)),
        lambda X: X.reshape(4, 2),
        lambda X: X.reshape(-1, -1),
        lambda X: X.transpose(0),
        lambda X: X.transpose(0, 0),
        lambda X: X.transpose(0, 2),
        lambda X: X.sum(axis=2),
        lambda X: X.sum(axis=-3),
        lambda X: X.sum(axis=(0, 0)),
        lambda X: X.sum(axis=(0, -2)),
        lambda X: X.mean(axis=5),
        lambda X: X[:0].mean(),
        lambda X: X[2],
        lambda X: X[0, 0, 0],
        lambda X: X[np.array([5])],
        lambda X: X[np.ones(5, bool)],
        lambda X: X.with_frac_bits(-1),
        lambda X: X.with_frac_bits(62),
        lambda X: X.matmul(X.T, frac_bits=-1),
        lambda X: X.matmul(X.T, frac_bits=33),
        lambda X: X.matmul(np.ones((3, 1)), frac_bits=17),
        lambda X: X.scaled(np.nan),
        lambda X: X.scaled(np.inf),
        lambda X: X * 2**53,
    ],
)
def test_bad_shapes_and_axes(X, call):
    with pytest.raises(he.errors.HeGpuError, match=r".+: .+") as caught:
        pytest.fail(f"gave {call(X)!r}")
    assert isinstance(caught.value, ValueError | TypeError)


@pytest.mark.parametrize(
    "call",
    [
        lambda X: X.sum(axis=1.5),
        lambda X: X.sum(axis="rows"),
        lambda X: X.sum(axis=(0, "rows")),
        lambda X: X.transpose("a", "b"),
        lambda X: X.transpose(0.0, 1.0),
        lambda X: X.reshape(2.0, 3),
        lambda X: X.with_frac_bits(1.5),
        lambda X: X.with_frac_bits("8"),
        lambda X: X.with_frac_bits(None),
        lambda X: X.matmul(X.T, frac_bits=1.5),
        lambda X: X.matmul(X.T, frac_bits="8"),
        lambda X: X.scaled("0.5"),
        lambda X: X.scaled(None),
        lambda X: X.scaled([0.5, 0.5]),
        lambda X: X.scaled(1j),
        lambda X: X["a"],
        lambda X: X[1.5],
    ],
)
def test_arguments_of_wrong_type_get_the_librarys_error(X, call):
    with pytest.raises(he.errors.HeGpuError) as caught:
        pytest.fail(f"gave {call(X)!r}")
    assert isinstance(caught.value, ValueError | TypeError)


def test_index_errors_are_index_errors_too(X):
    with pytest.raises(IndexError):
        X[2]
    assert isinstance(X, he.SecretTensor)


def test_repr_shows_no_value(additive):
    text = repr(additive.share([1234.5, 6.0]))
    assert text == (
        "SecretTensor(shape=(2,), protocol='additive', modulus=2**64, frac_bits=16, device='cpu')"
    )


def test_fraction_bits_that_leave_no_room_are_refused(additive):
    x = additive.share(3.0)
    with pytest.raises(ValueError, match=r"scaled: frac_bits must be in \[0, 62\), got 66"):
        x.scaled(1 / 3).scaled(1 / 3)
    with pytest.raises(ValueError, match=r"with_frac_bits: frac_bits must be in \[0, 62\)"):
        x.with_frac_bits(62)
    assert x.scaled(1e-9, 30).frac_bits == 30


@pytest.mark.parametrize("protocol", he.session.PROTOCOLS)
def test_bits_take_part_in_arithmetic_with_reals(protocol):
    """A comparison has no fraction bits; what it is multiplied with or added to keeps its own."""
    with he.Session(protocol, device="cpu", seed=1) as s:
        bits = s.share([1.0, 0.0, 1.0, 1.0]) > 0.5
        plain = np.array([1.0, 0.0, 1.0, 1.0])
        assert bits.frac_bits == 0
        unit = 2.0**-s.frac_bits
        assert bits.mean().reveal() == 0.75
        assert ((bits * 0.5).reveal() == plain * 0.5).all()
        assert ((bits - 0.5).reveal() == plain - 0.5).all()
        assert ((0.25 + bits).reveal() == plain + 0.25).all()
        assert abs((bits / 3).reveal() - plain / 3).max() <= 2 * unit
        weights = np.array([0.5, 0.25, 0.1, 0.3])
        assert abs((bits @ weights).reveal() - plain @ weights) <= 2 * unit
        assert abs((weights @ bits).reveal() - plain @ weights) <= 2 * unit
        assert (bits * 3).frac_bits == (bits + 2).frac_bits == 0
        fine = s.share(1.0).with_frac_bits(24)
        assert (fine * 0.3).frac_bits == 24
        assert (bits.maximum(0.5).reveal() == np.maximum(plain, 0.5)).all()
        assert (he.minimum(0.5, bits).reveal() == np.minimum(plain, 0.5)).all()
        assert (bits.clip(0.25, 0.75).reveal() == np.clip(plain, 0.25, 0.75)).all()
        assert (he.where(bits, bits, 0.5).reveal() == np.where(plain, plain, 0.5)).all()
