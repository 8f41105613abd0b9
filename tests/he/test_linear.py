"""Products of matrices with encrypted vectors against NumPy, and what they refuse."""

import doctest
from functools import cache

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ExhaustedLevelError,
    KeyMismatchError,
    RangeError,
)
from he_gpu.he import diagonals, key_switch, noise
from he_gpu.he.context import Ckks
from he_gpu.he.diagonals import best, layouts
from he_gpu.he.linear import PlainMatrix, rotations_for
from he_gpu.he.products import dot
from he_gpu.ring import RnsRing
from tests.he.contexts import SLOTS, assert_within, context, parameters, reals

SHAPES = [
    (1, 1),
    (5, 5),
    (64, 64),
    (300, 300),  # neither repeated nor summed up in 512 slots
    (SLOTS, SLOTS),
    (1, SLOTS),
    (SLOTS, 1),
    (3, 100),
    (100, 3),
    (7, 200),
    (200, 7),
    (257, 255),
    (2, SLOTS - 1),
    (SLOTS - 1, 2),
]


def matrix(rows, columns, seed=0):
    return np.random.default_rng([seed, rows, columns]).uniform(-1, 1, (rows, columns))


@pytest.fixture(scope="module")
def holder():
    return context(2)


# Layouts


def rotated_sum(layout, values, vector):
    """What the product does, on plain slots."""
    slots = np.zeros(layout.slots)
    slots[: len(vector)] = vector
    for step in layout.before:
        slots = slots + np.roll(slots, step)
    offsets = layout.offsets(values)
    vectors = layout.diagonals(values, offsets)
    result = np.zeros(layout.slots)
    for t, diagonal in zip(offsets, vectors, strict=True):
        result += diagonal * np.roll(slots, -layout.sign * t)
    for step in layout.after:
        result = result + np.roll(result, -step)
    return result


@pytest.mark.parametrize("seed", range(40))
def test_every_layout_gives_the_product(seed):
    rng = np.random.default_rng(seed)
    slots = 2 ** int(rng.integers(0, 7))
    rows, columns = (int(k) for k in rng.integers(1, slots + 1, 2))
    values, vector = rng.uniform(-1, 1, (rows, columns)), rng.uniform(-1, 1, columns)
    values[rng.random(values.shape) < rng.choice([0, 0.5, 0.95])] = 0
    most = np.abs(values).sum(1).max() * np.abs(vector).max()
    found = list(layouts(rows, columns, slots, padded=True))
    assert found
    for layout in found:
        result = rotated_sum(layout, values, vector)
        np.testing.assert_allclose(result[:rows], values @ vector, rtol=0, atol=1e-12)
        assert np.abs(result).max() <= layout.rows_met * most + 1e-12
        if not layout.after:
            assert not result[rows:].any()


def test_sums_that_wrap_around_meet_two_rows():
    """A slot behind the result may have the last term of one row and the first of another."""
    largest = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        values = np.eye(10)[rng.integers(0, 10, 3)]
        for layout in layouts(3, 10, 16, padded=False):
            most = rotated_sum(layout, values, np.ones(10)).max()
            assert most <= layout.rows_met
            largest = max(largest, most)
    assert largest == 2


@pytest.mark.parametrize("seed", range(20))
def test_layouts_for_vectors_with_something_behind_them(seed):
    rng = np.random.default_rng(seed)
    slots = 64
    rows, columns = (int(k) for k in rng.integers(1, slots + 1, 2))
    values, everything = rng.uniform(-1, 1, (rows, columns)), rng.uniform(-1, 1, slots)
    for layout in layouts(rows, columns, slots, padded=False):
        result = rotated_sum(layout, values, everything)
        np.testing.assert_allclose(result[:rows], values @ everything[:columns], atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_rotations_are_about_two_roots(shape):
    rows, columns = shape
    small, ratio = min(shape), max(shape) / min(shape)
    wrapped = rows + columns - 1 if rows + columns > SLOTS else small
    most = 2 * np.ceil(np.sqrt(min(wrapped, SLOTS))) + np.ceil(np.log2(ratio)) + 2
    assert len(rotations_for(shape, SLOTS)) <= most


@pytest.mark.parametrize("shape", [(48, 48), (100, 3), (40, 13), (13, 40), (300, 300)])
@pytest.mark.parametrize("kind", [np.asarray, PlainMatrix])
@pytest.mark.parametrize("public", [False, True])
def test_plans_count_what_they_take(monkeypatch, kind, shape, public):
    """A key switch for each step and doubling; kept matrices divide no baby step by P."""
    context = Ckks(parameters(1), "cpu", 26)
    if public:
        context = context.public(rotations_for(shape, SLOTS), conjugation=False)
    values, X = matrix(*shape), context.encrypt(reals(shape[1]))
    plan = best(layouts(*shape, SLOTS, padded=True), values, lambda step: (step,))
    doublings, giants = plan.layout.before + plan.layout.after, plan.most - plan.least
    switched, divided = [], []
    multiply, finish = key_switch.multiply, key_switch.finish
    monkeypatch.setattr(
        key_switch, "multiply", lambda *a: switched.append(id(a[3])) or multiply(*a)
    )
    monkeypatch.setattr(
        key_switch, "finish", lambda *a: divided.append(a[2].size // a[2].shape[-1]) or finish(*a)
    )
    kind(values) @ X
    assert len(switched) == len(plan.own) + giants + len(doublings)
    assert len(set(switched)) == len(plan.rotations)
    root = np.sqrt(plan.layout.last - plan.layout.first + 1)
    assert len(switched) <= 2 * root + 1 + len(doublings)
    limbs = len(X.keys.ladder.extended(X.level).moduli)
    pairs = len(plan.layout.before) + (0 if kind is PlainMatrix else len(plan.own))
    singles = giants + len(plan.layout.after)
    assert 2 * pairs <= sum(divided) / limbs <= 2 * pairs + singles


@pytest.mark.parametrize("shape", [(64, 64), (100, 3), (3, 100)])
def test_every_key_switch_is_in_the_bound(holder, monkeypatch, shape):
    """With errors of 1e-3 for key switches, before or after the product, and none besides."""
    values, X = matrix(*shape), holder.encrypt(reals(shape[1]))
    plan = best(layouts(*shape, SLOTS, padded=True), values, lambda step: (step,))
    layout, giants = plan.layout, plan.most - plan.least
    before, after = len(layout.before), len(layout.after)
    norm = np.abs(values).sum(1).max() * layout.rows_met
    square = X.scale**2
    for product, expected in (
        (False, norm * (2**before - 1 + bool(plan.own)) * 1e-3),
        (True, (giants * 2**after + 2**after - 1) * 1e-3),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(
                noise,
                "key_switching",
                lambda *a, product=product: 1e-3 * ((a[2] == square) == product),
            )
            assert (values @ X).error == pytest.approx(expected, rel=1e-2)


# Products


@pytest.mark.parametrize("shape", SHAPES)
def test_matrix_times_vector(holder, shape):
    values, x = matrix(*shape), reals(shape[1], seed=1)
    X = holder.encrypt(x)
    result = values @ X
    assert (result.level, len(result)) == (X.level - 1, shape[0])
    assert_within(holder, result, values @ x)
    assert_within(holder, PlainMatrix(values) @ X, values @ x)
    assert result.error < 2**13 * np.abs(holder.decrypt(result) - values @ x).max()


@pytest.mark.parametrize("shape", [(6, 11), (11, 6), (8, 8)])
def test_vector_times_matrix(holder, shape):
    values, x = matrix(*shape), reals(shape[0], seed=2)
    assert_within(holder, holder.encrypt(x) @ values, x @ values)
    assert_within(holder, holder.encrypt(x) @ values.tolist(), x @ values)


@pytest.mark.parametrize("seed", range(6))
def test_random_shapes_and_sparse_matrices(holder, seed):
    rng = np.random.default_rng(seed)
    rows, columns = (int(k) for k in rng.integers(1, 80, 2))
    values = matrix(rows, columns, seed) * (rng.random((rows, columns)) < 0.05)
    x = reals(columns, seed)
    assert_within(holder, values @ holder.encrypt(x), values @ x)
    assert_within(holder, PlainMatrix(values) @ holder.encrypt(x), values @ x)


def test_matrices_of_few_diagonals_take_few_rotations(holder, monkeypatch):
    x = reals(40)
    X, band = holder.encrypt(x), np.diag(reals(40, 1)) + np.diag(reals(39, 2), 1)
    assert_within(holder, band @ X, band @ x)
    assert_within(holder, np.zeros((40, 40)) @ X, np.zeros(40))
    monkeypatch.setattr(key_switch, "multiply", lambda *_: pytest.fail("rotated"))
    monkeypatch.setattr(RnsRing, "mod_raise", lambda *_: pytest.fail("times P"))
    diagonal = np.diag(reals(40, 1))
    for kind in (np.asarray, PlainMatrix):
        assert_within(holder, kind(diagonal) @ X, reals(40, 1) * x)


def test_one_product_after_another(holder):
    first, second, x = matrix(5, 90), matrix(30, 5), reals(90)
    hidden = first @ holder.encrypt(x)
    assert hidden.leftovers
    assert_within(holder, second @ hidden, second @ (first @ x))


def test_rotated_vectors(holder):
    x, values = reals(20), matrix(20, 20)
    moved = holder.encrypt(x).rotate(3)
    assert_within(holder, values @ moved, values @ np.append(x[3:], np.zeros(3)))


def test_complex_matrices_and_vectors(holder):
    values, x = matrix(4, 6) + 1j * matrix(4, 6, 1), reals(6)
    assert_within(holder, values @ holder.encrypt(x), values @ x)
    z = x + 1j * reals(6, 3)
    assert_within(holder, values.real @ holder.encrypt(z), values.real @ z)


def test_integers_and_large_entries(holder):
    values, x = np.arange(12).reshape(3, 4) * 10, reals(4)
    assert_within(holder, values @ holder.encrypt(x), values @ x)


def test_inner_products(holder):
    x, y = reals(100, 1), reals(100, 2)
    X, Y = holder.encrypt(x), holder.encrypt(y)
    for result in (X @ Y, X @ y, y @ X, y.tolist() @ X):
        assert result.level == 1
        assert_within(holder, result, [x @ y])
    full = reals(SLOTS)
    assert_within(holder, holder.encrypt(full) @ holder.encrypt(full), [full @ full])


def test_kept_matrices_give_the_same_words(holder):
    values, x = matrix(12, 20), reals(20)
    given = values.copy()
    kept, X = PlainMatrix(given), holder.encrypt(x)
    given[:] = np.nan
    expected = (kept @ X).components
    np.testing.assert_array_equal((kept @ X).components, expected)
    assert_within(holder, kept @ X, values @ x)
    assert_within(holder, kept @ X.at_level(1), values @ x)
    y = reals(12)
    assert_within(holder, holder.encrypt(y) @ kept, y @ values)
    assert kept.T.T is kept
    assert (kept.shape, kept.T.shape, repr(kept)) == (
        (12, 20),
        (20, 12),
        "<PlainMatrix of shape (12, 20)>",
    )


def test_kept_matrix_is_encoded_once(holder, monkeypatch):
    kept, X = PlainMatrix(matrix(9, 9)), holder.encrypt(reals(9))
    kept @ X
    monkeypatch.setattr("he_gpu.he.linear.encode", lambda *_: pytest.fail("encoded"))
    kept @ X


# Keys


@cache
def fresh():
    return Ckks(parameters(2), "cpu", 21)


@pytest.mark.parametrize("shape", [(16, 16), (40, 13), (13, 40), (300, 300)])
def test_keys_listed_beforehand_suffice(shape):
    party = fresh().public(rotations_for(shape, SLOTS), conjugation=False)
    values, x = matrix(*shape), reals(shape[1])
    assert_within(fresh(), values @ party.encrypt(x), values @ x)
    assert_within(fresh(), PlainMatrix(values) @ party.encrypt(x), values @ x)
    sparse = values * (matrix(*shape, seed=1) > 0.8)
    assert_within(fresh(), sparse @ party.encrypt(x), sparse @ x)


def test_keys_listed_for_unpadded_vectors_suffice():
    wanted = rotations_for((10, 10), SLOTS, padded=False)
    values, x = matrix(10, 10), reals(10)
    party = Ckks(parameters(2), "cpu", 22)
    moved = party.encrypt(x).rotate(1)
    few = party.public(wanted, conjugation=False)
    rotated = moved.replace(keys=few.keys)
    assert_within(party, values @ rotated, values @ np.append(x[1:], 0))


@pytest.mark.parametrize("shape", [(16, 16), (40, 13), (13, 40), (300, 300)])
def test_powers_of_two_suffice(shape):
    holder = Ckks(parameters(2), "cpu", 23)
    party = holder.public()
    values, x = matrix(*shape), reals(shape[1])
    for kind in (np.asarray, PlainMatrix):
        assert_within(holder, kind(values) @ party.encrypt(x), values @ x)


def test_missing_keys_are_named():
    holder = Ckks(parameters(1), "cpu", 24)
    party = holder.public([1], conjugation=False)
    X = party.encrypt(reals(16))
    with pytest.raises(
        ArgumentValueError, match=r"rotations \[2, .*rotations_for\(\(16, 16\), 512"
    ):
        matrix(16, 16) @ X
    assert_within(holder, np.diag(reals(16)) @ X, reals(16) ** 2)
    with pytest.raises(
        ArgumentValueError, match=r"rotations=rotations_for\(\(16, 16\), 512, padded=False\)"
    ):
        matrix(16, 16) @ X.rotate(1)


# Refusals


def test_shapes_that_do_not_fit(holder):
    X = holder.encrypt(reals(10))
    for call, message in (
        (lambda: matrix(10, 9) @ X, r"at most 512 rows and 10 columns.*got shape \(10, 9\)"),
        (lambda: X @ matrix(9, 11), r"10 rows, .* at most 512 columns, got shape \(9, 11\)"),
        (lambda: X @ PlainMatrix(matrix(9, 11)), r"must have 10 rows.*got shape \(9, 11\)"),
        (lambda: X @ matrix(10, SLOTS + 1), r"at most 512 columns, got shape \(10, 513\)"),
        (lambda: matrix(SLOTS + 1, 10) @ X, r"got shape \(513, 10\)"),
        (lambda: X @ reals(9), r"shape \(10,\), got \(9,\)"),
        (lambda: X @ 2.0, r"got shape \(\)"),
        (lambda: np.zeros((2, 3, 10)) @ X, r"got shape \(2, 3, 10\)"),
        (lambda: np.zeros((0, 10)) @ X, r"got shape \(0, 10\)"),
        (lambda: [[1, 2], [3]] @ X, "of one shape"),
        (lambda: X @ holder.encrypt(reals(9)), "one length, got 10 and 9"),
    ):
        with pytest.raises(ArgumentValueError, match=message):
            call()


def test_operands_that_are_no_matrices(holder):
    X = holder.encrypt(reals(4))
    for operand in ("matrix", None, [["a"]], np.ma.masked_array(np.eye(4), np.eye(4))):
        with pytest.raises(ArgumentTypeError, match="a PlainMatrix or numbers"):
            X @ operand
    for value in (np.nan, np.inf, np.longdouble("1e4000")):
        with pytest.raises(RangeError, match="must be finite"):
            np.full((4, 4), value) @ X
    with pytest.raises(TypeError):
        PlainMatrix(np.eye(2)) @ np.eye(2)
    with pytest.raises(ArgumentTypeError, match=r"^PlainMatrix: values must be numbers"):
        PlainMatrix("matrix")
    with pytest.raises(ArgumentValueError, match=r"^PlainMatrix: values must be a matrix"):
        PlainMatrix([1.0, 2.0])
    with pytest.raises(KeyMismatchError, match="another secret key"):
        X @ context(2, seed=2).encrypt(reals(4))


def test_exhausted_levels(holder):
    X = holder.encrypt(reals(4)).at_level(0)
    for call in (lambda: matrix(4, 4) @ X, lambda: X @ X, lambda: X @ reals(4)):
        with pytest.raises(ExhaustedLevelError, match="level 0"):
            call()


def test_results_that_a_level_cannot_hold(holder):
    X = holder.encrypt(reals(4)).at_level(1)
    with pytest.raises(RangeError, match="matmul: level 0 holds values below"):
        np.full((4, 4), holder.params.largest(0) / 4 + 1) @ X
    with pytest.raises(RangeError, match="matmul: level 0 holds values below"):
        np.full((4, 4), holder.params.largest(0) / 4 * (1 - 1e-12)) @ X  # with its error
    for values in (np.full((4, 4), 1e308), np.eye(4) * (1e308 + 1e308j)):
        with pytest.raises(RangeError, match="the result may reach"):
            values @ X


def test_rotations_refuse_leftovers_and_sums_leave_them_out(holder):
    x = reals(64)
    values, X = matrix(2, 64) / 8, holder.encrypt(x)
    wide, total = values @ X, X.sum()
    for left in (wide, total, wide + 1, -wide, wide * 2.0, wide * wide):
        with pytest.raises(ArgumentValueError, match=r"multiply it by a vector of \d ones"):
            left.rotate(1)
        assert_within(holder, left.sum(), [holder.decrypt(left).sum()])
    assert holder.load_ciphertext(total.serialize()).leftovers
    assert dot([wide], [wide]).leftovers
    expected = values @ x
    assert_within(holder, wide.sum(), [expected.sum()])
    assert_within(holder, wide @ wide, [expected @ expected])
    cleared = wide * np.ones(2)
    assert not cleared.leftovers
    assert_within(holder, cleared.rotate(1), [expected[1], 0])
    assert_within(holder, cleared.sum(), [expected.sum()])
    Y = holder.encrypt([0.5, 2.0])
    assert_within(holder, (wide * Y).sum(), [expected @ [0.5, 2.0]])


def test_examples():
    assert doctest.testmod(diagonals).failed == 0 < doctest.testmod(diagonals).attempted


def test_rotations_for_refuses_shapes():
    for shape in ((0, 4), (4, SLOTS + 1)):
        with pytest.raises(ArgumentValueError, match=r"must be in \[1, 512\]"):
            rotations_for(shape, SLOTS)
    for slots in (0, -4, 500):
        with pytest.raises(ArgumentValueError, match="slots must be a power of two"):
            rotations_for((2, 2), slots)
    for slots in (None, 512.0, True):
        with pytest.raises(ArgumentTypeError, match="slots must be an integer"):
            rotations_for((2, 2), slots)
    assert all(type(step) is int for step in rotations_for((np.int64(9), 9), np.int64(512)))
    for shape in (4, (4,), (4.0, 4), (True, 4)):
        with pytest.raises(ArgumentTypeError, match="rotations_for: "):
            rotations_for(shape, SLOTS)


# Devices


def test_emulator_computes_the_same_words(require_emulator):
    values, x = matrix(9, 5), reals(5)
    results = []
    for device in ("cpu", "emulator"):
        X = Ckks(parameters(1), device, 25).encrypt(x)
        to_numpy = get_backend(device).to_numpy
        found = (values @ X, PlainMatrix(values) @ X, x @ X)
        results.append([to_numpy(each.components) for each in found])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)
