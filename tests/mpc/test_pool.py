"""Masks made in bulk: each kind for itself, and none of them in a forked child."""

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend import get_backend
from he_gpu.channel import LocalChannel
from he_gpu.errors import ForkedProcessError
from he_gpu.mpc import Additive, Replicated
from he_gpu.mpc.pool import BULK_BYTES, Pool
from he_gpu.mpc.sums import Operand, SumOfProducts
from he_gpu.ring import KeyRing
from tests.ring.test_prg import error_of, ignore_threads, in_fork, needs_fork

WORDS = {2**64: (np.uint64, np.int64), 2**32: (np.uint32, np.int32)}


@pytest.mark.parametrize("modulus", [2**64, 2**32])
@pytest.mark.parametrize("kind", [Additive, Replicated])
def test_kinds_of_one_shape_are_not_mixed_up(kind, modulus):
    """Bits dropped, operation, square or product: whatever tells masks apart is told apart."""
    word, signed = WORDS[modulus]
    scheme = kind(KeyRing(4), get_backend("cpu"), modulus, LocalChannel(3))
    a, b = np.random.default_rng(6).integers(-1000, 1000, (2, 4, 4))
    x, y = (scheme.share(v.astype(signed).view(word), 0) for v in (a, b))
    kept = scheme.mask(x)
    cases = [
        *((scheme.truncate, (x, drop), a, drop) for drop in (3, 9)),
        *((scheme.product, ("mul", x, y, drop), a * b, drop) for drop in (0, 3, 9)),
        *((scheme.product, ("mul", x, x, drop), a * a, drop) for drop in (0, 3, 9)),
        *((scheme.product, ("matmul", x, y, drop), a @ b, drop) for drop in (0, 3, 9)),
        *((scheme.product, ("mul", kept, y, drop), a * b, drop) for drop in (0, 3)),
        *((scheme.product, ("mul", kept, kept, drop), a * a, drop) for drop in (0, 3)),
        *((scheme.product, ("matmul", y, kept, drop), b @ a, drop) for drop in (0, 3)),
    ]
    for step in range(3):
        scheme.expect(3 - step)
        for function, arguments, exact, drop in cases:
            result = scheme.open(function(*arguments)).view(signed)
            error = result - (exact >> drop)
            assert ((error == 0) | (error == int(drop > 0))).all(), arguments[0]
    scheme.expect(0)


def sum_of_squares(scheme, stack):
    factor = Operand(stack)
    return scheme.sums_of_products([SumOfProducts(((factor, factor),), None, 0, 9)])


STEPS = {
    "product": lambda s, x: s.product("mul", x, x, 9),
    "exact product": lambda s, x: s.product("mul", x, x, 0),
    "truncate": lambda s, x: s.truncate(x, 9),
    "sum of products": sum_of_squares,
}


@needs_fork
@ignore_threads
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_masks_made_ahead_are_not_reused_in_a_child(protocol, step):
    """A child that took one would send another value under it."""
    session = he.Session(protocol=protocol, device="cpu")
    scheme, x = session.scheme, session.share([1.0, 2.0])._stack
    for index in session.steps(4):
        STEPS[step](scheme, x)
        if index == 1:
            result = in_fork(error_of(lambda: STEPS[step](scheme, x)))
            assert result == ForkedProcessError.__name__.encode()


def wanted(kind, made):
    """A kind of numbered items of one field, and how many of it were made each time."""

    def make(n):
        first = sum(made)
        made.append(n)
        return (np.arange(first, first + n),)

    return kind, make, lambda: BULK_BYTES // 5


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("log_every", [0, 4])
def test_items_taken_ahead_are_those_of_the_steps_one_by_one(log_every, named):
    """Steps that are taken together ask for nothing of their own, and lose nothing."""
    runs = []
    for together in (False, True):
        pool, made, found, ahead = Pool(), {"a": [], "b": []}, [], 0
        for step in range(12):
            if step < ahead:
                continue
            pool.expect(12 - step)
            kinds = [wanted(kind, each) for kind, each in made.items()]
            n, fields = 0, []
            if not log_every or step % log_every:
                n, fields = pool.take_ahead(kinds, 3 if together else 0, named)
            ahead = step + n
            taken = [field[0] for field in fields]
            if not n:
                taken = [pool.take(*each, named=named) for each in kinds]
            found += zip(*(np.ravel(field) for field in taken), strict=True)
        pool.expect(0)
        runs.append((found, made))
        assert not pool._items
    assert runs[0] == runs[1]
    times = [1, 5, 5, 1] if log_every else [5, 5, 2]
    assert runs[0] == ([(i, i) for i in range(12)], {"a": times, "b": times})


@pytest.mark.parametrize("named", [False, True])
def test_nothing_is_taken_ahead_outside_of_loops_and_in_a_last_step(named):
    pool, made = Pool(), []
    for repeats in (None, 1, 0):
        if repeats is not None:
            pool.expect(repeats)
        assert pool.take_ahead([wanted("a", made)], 2, named) == (0, [])
    assert made == []


@pytest.mark.parametrize("named", [False, True])
def test_no_more_steps_are_taken_ahead_than_are_announced(named):
    pool, made = Pool(), []
    for _ in range(2):
        pool.expect(5)
        pool.take(*wanted("a", made), named=named)
    assert made == [1, 5]
    pool.expect(2)  # of another loop
    n, ((items,),) = pool.take_ahead([wanted("a", made)], 9, named)
    assert n == 2
    assert items.tolist() == [2, 3]


def test_a_step_after_those_taken_ahead_begins_anew():
    """What it does not ask for is gone in the next one."""
    pool, made = Pool(), []
    pool.expect(8)
    pool.take(*wanted("a", made), named=True)
    pool.expect(7)
    assert pool.take_ahead([wanted("a", made)], 2, named=True)[0] == 2
    pool.expect(5)
    assert pool._items
    pool.expect(4)
    assert not pool._items


def test_a_loop_broken_off_leaves_no_steps_taken_ahead():
    records = []
    for broken in (False, True):
        pool, before, made = Pool(), [], []
        if broken:
            for _ in range(2):
                pool.expect(5)
                pool.take(*wanted("b", before), named=True)
            assert pool.take_ahead([wanted("b", before)], 4, named=True)[0] == 4
            pool.expect(0)
        for step in range(4):
            pool.expect(4 - step)
            pool.take(*wanted("a", made), named=True)
        records.append((made, list(pool._items)))
    assert records[0] == records[1] == ([1, 3], ["a"])


AHEAD = {
    "additive": lambda scheme: scheme._dealer.products_ahead([], 1),
    "replicated": lambda scheme: scheme._pairwise.truncations_ahead([], 1),
}


@needs_fork
@ignore_threads
@pytest.mark.parametrize("protocol", AHEAD)
def test_masks_are_not_taken_ahead_in_a_child(protocol):
    session = he.Session(protocol=protocol, device="cpu")
    for _ in session.steps(4):
        result = in_fork(error_of(lambda: AHEAD[protocol](session.scheme)))
        assert result == ForkedProcessError.__name__.encode()


@pytest.mark.parametrize("named", [False, True])
def test_nothing_is_taken_ahead_of_a_kind_asked_for_twice_or_made_one_by_one(named, monkeypatch):
    """Of the first a step takes every second item, the second may differ from those of many."""
    pool, made, large = Pool(), [], []
    for step in range(4):
        pool.expect(4 - step)
        assert pool.take_ahead([wanted("a", made)] * 2, 2, named) == (0, [])
        for _ in range(2):
            pool.take(*wanted("a", made), named=named)
        kind, make, _ = wanted("b", large)
        b = kind, make, lambda: BULK_BYTES // 2 + 1
        assert pool.take_ahead([b], 2, named) == (0, [])
        pool.take(*b, named=named)
    assert sum(made) >= 8
    assert large == [1] * 4
