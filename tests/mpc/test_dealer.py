"""The dealer: every correlation is right, is handed out once, and comes from shapes and keys."""

import copy
import inspect
import itertools

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend import Kept, get_backend
from he_gpu.channel import LocalChannel
from he_gpu.mpc import Additive, dealer
from he_gpu.mpc.dealer import Dealer, DealerMask
from he_gpu.mpc.pool import BULK_BYTES
from he_gpu.ring import KeyRing
from he_gpu.tensor.convolution import _view, channels_first, swapped, turned_windows, whole
from tests.uniformity import assert_uniform

RINGS = [2**64, 2**32]
rings = pytest.mark.parametrize("modulus", RINGS)
PARTIES = pytest.mark.parametrize("parties", [2, 3, 5])


def make(parties=3, modulus=2**64, seed=1, device="cpu"):
    return Dealer(KeyRing(seed), get_backend(device), modulus, parties, range(parties))


def total(stack, modulus):
    """The sum over parties, as Python integers modulo the ring."""
    host = stack.get() if hasattr(stack, "get") else stack
    return np.asarray(np.asarray(host).astype(object).sum(0) % modulus, dtype=object)


def check_pair(mask, low, top, drop, modulus):
    """low and top against their definition, in Python integers."""
    k = modulus.bit_length() - 1
    r = (-mask - 2 ** (k - 2)) % modulus
    expected_low = (r % 2 ** (k - 1)) // 2**drop + 2 ** (k - 2 - drop)
    assert (total(low, modulus) == expected_low % modulus).all()
    assert (total(top, modulus) == (r // 2 ** (k - 1)) * 2 ** (k - 1 - drop)).all()


def check_product(operation, a, b, correlation, drop, modulus):
    """c = a b less the mask that the truncation pair belongs to."""
    product = a * b if operation == "mul" else np.matmul(a, b)
    product = np.asarray(product % modulus, dtype=object)
    c = total(correlation.c, modulus)
    assert c.shape == product.shape
    if drop:
        check_pair((product - c) % modulus, correlation.low, correlation.top, drop, modulus)
    else:
        assert correlation.low is None
        assert correlation.top is None
        assert (c == product).all()


SHAPES = [
    ("mul", (3, 4), (3, 4)),
    ("mul", (3, 1), (1, 4)),
    ("mul", (), ()),
    ("mul", (0, 2), (0, 2)),
    ("matmul", (3, 4), (4, 2)),
    ("matmul", (2, 3, 4), (1, 4, 2)),
    ("matmul", (1, 5), (5, 1)),
    ("matmul", (2, 0), (0, 3)),
]


@rings
@PARTIES
@pytest.mark.parametrize(("operation", "left", "right"), SHAPES)
@pytest.mark.parametrize("drop", [0, 1, 16])
@pytest.mark.parametrize("repeats", [1, 5])
def test_every_triple_holds(modulus, parties, operation, left, right, drop, repeats):
    d = make(parties, modulus)
    d.expect(repeats)
    for _ in range(repeats + 2):  # beyond what was expected too
        correlation = d.product(operation, left, right, drop)
        assert correlation.a.shape == (parties, *left)
        assert correlation.b.shape == (parties, *right)
        a, b = total(correlation.a, modulus), total(correlation.b, modulus)
        check_product(operation, a, b, correlation, drop, modulus)


@rings
@PARTIES
@pytest.mark.parametrize("drop", [0, 9])
@pytest.mark.parametrize("repeats", [1, 5])
def test_every_square_holds(modulus, parties, drop, repeats):
    d = make(parties, modulus)
    stack, handle = d.mask((3, 2))
    d.expect(repeats)
    for shape in ((3, 4), (), (0, 2)):
        for _ in range(repeats + 1):
            correlation = d.product("mul", shape, None, drop)
            assert correlation.b is None
            assert correlation.a.shape == (parties, *shape)
            a = total(correlation.a, modulus)
            check_product("mul", a, a, correlation, drop, modulus)
            kept = d.product("mul", handle, None, drop)
            assert kept.a is None
            mask = total(stack, modulus)
            check_product("mul", mask, mask, kept, drop, modulus)


def test_triples_on_devices(device):
    for modulus in RINGS:
        d = make(3, modulus, device=device)
        for repeats in (1, 4):
            d.expect(repeats)
            correlation = d.product("matmul", (2, 3), (3, 2), 7)
            a, b = total(correlation.a, modulus), total(correlation.b, modulus)
            check_product("matmul", a, b, correlation, 7, modulus)


@rings
@PARTIES
@pytest.mark.parametrize("repeats", [1, 4])
def test_triples_of_masks_that_are_kept(modulus, parties, repeats):
    d = make(parties, modulus)
    stack, handle = d.mask((4, 3))
    assert (total(stack, modulus) == handle.total.words.astype(object)).all()
    other, other_handle = d.mask((3, 2))
    kept = total(stack, modulus)
    d.expect(repeats)
    for _ in range(repeats + 1):
        correlation = d.product("matmul", handle, (3, 2), 16)
        assert correlation.a is None
        check_product("matmul", kept, total(correlation.b, modulus), correlation, 16, modulus)
        correlation = d.product("matmul", (2, 4), handle, 0)
        assert correlation.b is None
        check_product("matmul", total(correlation.a, modulus), kept, correlation, 0, modulus)
        correlation = d.product("matmul", handle, other_handle, 16)
        assert correlation.a is None
        assert correlation.b is None
        check_product("matmul", kept, total(other, modulus), correlation, 16, modulus)


@rings
def test_triples_of_views_of_masks(modulus):
    scheme = Additive(KeyRing(1), get_backend("cpu"), modulus, LocalChannel(3))
    word = np.uint64 if modulus == 2**64 else np.uint32
    x = np.arange(12, dtype=word).reshape(4, 3)
    masked = scheme.mask(scheme.share(x, 0))
    factor = np.asarray(word(2**20 + 7))

    def turned(words):
        return words[..., ::-1, :]

    def repeated(words):
        return words[..., [2, 0, 2], :]

    for view, plain in (
        (masked, x),
        (masked.viewed(turned, "turned"), turned(x)),
        (masked.viewed(repeated), repeated(x)),
        (masked.viewed(repeated).transposed(), repeated(x).T),
        (masked.transposed(), x.T),
        (masked.transposed().scaled(factor, scheme.backend, modulus), x.T * factor),
        (masked.scaled(factor, scheme.backend, modulus).transposed(), x.T * factor),
    ):
        mask = total(view.mask.words, modulus)
        assert (mask == view.handle.total.words.astype(object)).all()
        assert (total(view.stack.words, modulus) == plain.astype(object) % modulus).all()
        assert (
            view.opened.words.astype(object) == (total(view.stack.words, modulus) - mask) % modulus
        ).all()
        correlation = scheme._dealer.product("matmul", view.handle, (plain.shape[1], 2), 5)
        check_product("matmul", mask, total(correlation.b, modulus), correlation, 5, modulus)


@rings
@PARTIES
@pytest.mark.parametrize("repeats", [1, 5])
@pytest.mark.parametrize("drop", [1, 8, 29])
def test_every_truncation_pair_holds(modulus, parties, repeats, drop):
    d = make(parties, modulus)
    d.expect(repeats)
    for shape in ((4, 3), (), (0, 2)):
        for _ in range(repeats + 1):
            minus_mask, low, top = d.truncation(shape, drop)
            assert minus_mask.shape == low.shape == top.shape == (parties, *shape)
            check_pair(-total(minus_mask, modulus) % modulus, low, top, drop, modulus)


# Handed out once


def words_of(correlation):
    """All share words of a correlation, except the public-like zeros of top's last row."""
    fields = [field for field in correlation if field is not None]
    return [np.ascontiguousarray(field).tobytes() for field in fields]


def test_nothing_is_handed_out_twice():
    """Single calls, bulk calls, ended and restarted pools, and kinds that look alike."""
    d = make(2)
    _, handle = d.mask((8, 8))
    seen = []
    for repeats in (1, 6, 0, 3, 1):
        d.expect(repeats)
        for _ in range(8):
            seen += words_of(d.product("mul", (8, 8), (8, 8), 16))
            seen += words_of(d.product("mul", (8, 8), None, 16))
            seen += words_of(d.product("matmul", (8, 8), (8, 8), 16))
            seen += words_of(d.product("matmul", (8, 8), (8, 8), 0))
            seen += words_of(d.product("matmul", handle, (8, 8), 16))
            seen += words_of(d.product("matmul", (8, 8), handle, 16))
            seen += words_of(d.truncation((8, 8), 16))
            seen += words_of(d.truncation((8, 8), 3))
            seen.append(d.mask((8, 8))[0].tobytes())
    assert len(seen) == len(set(seen)) > 1000


def test_no_two_correlations_share_a_word():
    """64-bit words of masks never coincide (probability 10^-10 for the 5 10^4 words here)."""
    d = make(2)
    words = []
    for repeats in (1, 10, 4):
        d.expect(repeats)
        for _ in range(12):
            correlation = d.product("mul", (10, 10), (10, 10), 16)
            words += [correlation.a.ravel(), correlation.b.ravel(), correlation.c.ravel()]
            mask, low, _ = d.truncation((10, 10), 16)
            words += [mask.ravel(), low.ravel()]
    words = np.concatenate(words)
    assert len(np.unique(words)) == words.size


def test_two_kept_masks_have_two_numbers():
    d = make(2)
    handles = [d.mask((2, 2))[1] for _ in range(3)]
    assert len({handle.name for handle in handles}) == 3


def test_views_of_masks_are_told_apart_by_name():
    """One name, one view of one mask: else a product would be dealt for another's words."""
    s = he.Session(device="cpu")
    rng = np.random.default_rng(3)
    X, Y = (s.share(np.arange(24.0).reshape(8, 3)).masked() for _ in range(2))
    orders = [rng.permutation(8) for _ in range(20)]
    keys = [np.s_[:4], np.s_[0:4], np.s_[4:], np.s_[::2], np.s_[:, :2], np.s_[0], np.s_[None]]
    views = [x[key] for x in (X, Y) for key in keys]
    views += [x[order] for x in (X, Y) for order in orders]
    views += [x[orders[0]][key] for x in (X, Y) for key in keys]
    views += [X[rng.permutation(8)] for _ in range(20)]  # of arrays that are gone, as is their id
    views += [X.T, X.reshape(2, 4, 3), X.reshape(4, 2, 3), X.reshape(4, 2, 3).transpose(2, 0, 1)]
    views += [X.repeat(2, 0), X.take([0, 1], 0), X.diagonal(), X.diagonal(-1), X.flip(), X.flip(0)]
    views += [X[0].broadcast_to(shape) for shape in ((2, 3), (3, 3))]
    views += [X.scaled(3.0), X.scaled(5.0)]
    Z = s.share(rng.uniform(-1, 1, (4, 4, 4))).masked()
    views += [
        Z.transpose(order) for order in itertools.permutations(range(3)) if order != (0, 1, 2)
    ]
    views += [Z.diagonal(0, *axes) for axes in ((0, 1), (1, 0), (0, 2), (1, 2))]
    views += [_view(Z, whole, *axes) for axes in ((1, True), (1, False), (2, False))]
    W = s.share(rng.uniform(-1, 1, (4, 4, 3, 2))).masked()
    views += [_view(W, turned_windows, groups) for groups in (1, 2)]
    views += [_view(W, channels_first, groups) for groups in (1, 2)] + [_view(W, swapped)]
    by_name = {}
    for view in (X, Y, *views):
        handle = view._masked.handle
        by_name.setdefault(handle.name, []).append(handle.total.words)
    for masks in by_name.values():
        assert all(np.array_equal(mask, masks[0]) for mask in masks)
    assert len(by_name) == len(views) + 2
    again = X[2:5]._masked.handle.name, X[2:5]._masked.handle.name
    assert again[0] == again[1] != Y[2:5]._masked.handle.name


def test_a_name_does_not_grow_for_ever():
    """A view of a view of a view: products still take it, and views are still told apart."""
    s = he.Session(device="cpu")
    x = np.arange(4.0).reshape(2, 2)
    X = view = s.share(x).masked()
    names = set()
    for _ in range(5000):
        view = view.T
        names.add(view._masked.handle.name)
    assert len(names) == 5000
    assert max(map(len, names)) == dealer.MAX_NAME
    for _ in s.steps(3):
        assert ((view @ X.T).reveal() == x @ x.T).all()


@rings
def test_each_row_is_uniform(modulus):
    d = make(3, modulus, seed=5)
    d.expect(20)
    fields = [[], [], [], [], []]
    for _ in range(20):
        for field, stack in zip(fields, d.product("mul", (20, 50), (20, 50), 16), strict=True):
            field.append(stack)
    for field in fields:
        rows = np.stack(field).swapaxes(0, 1).reshape(3, -1)
        for row in rows:
            assert_uniform(row, modulus)


# Shapes and keys, never operands


def test_the_dealer_sees_shapes_and_keys_only(monkeypatch):
    """Every argument of every call to the dealer in a training run, by type and by content."""
    allowed = []

    def spy(name):
        real = getattr(Dealer, name)

        def method(self, *args):
            allowed.append((name, args))
            return real(self, *args)

        monkeypatch.setattr(Dealer, name, method)

    public = [name for name, _ in inspect.getmembers(Dealer, inspect.isfunction) if name[0] != "_"]
    names = "expect mask product products_ahead sum_of_products truncation"
    assert sorted(public) == names.split()
    for name in public:
        spy(name)
    x = np.random.default_rng(1).uniform(0, 1, (5, 2))
    with he.Session(parties=3, device="cpu", seed=1) as s:
        model = he.ReservoirRegressor(width=4, n_steps=6, log_every=2).fit(x, x[:, 0], session=s)
        (model.predict(x) * s.share(2.0)).square().reveal()

    def is_shape(value):
        return isinstance(value, tuple) and all(type(length) is int for length in value)

    def are_masks(pair):
        return all(isinstance(mask, DealerMask) for mask in pair)

    for name, args in allowed:
        if name in ("sum_of_products", "products_ahead"):  # of the first argument, the tuples
            args = *(part for each in args[0] for part in each), *args[1:]
        for value in args:
            fits = is_shape(value) or isinstance(value, DealerMask | int)
            fits = fits or value is None  # a square's second operand
            fits = fits or (name == "sum_of_products" and all(map(are_masks, value)))
            assert fits or value in ("mul", "matmul"), f"{name} was given {value!r}"
    called = {name for name, _ in allowed}
    assert called >= {"mask", "truncation", "product", "products_ahead", "expect"}


def test_correlations_do_not_depend_on_the_data():
    """Two runs of one seed on different data: the same words come from the dealer."""

    def dealt(value):
        handed = []
        scheme = Additive(KeyRing(3), get_backend("cpu"), 2**64, LocalChannel(2))
        real = scheme._dealer.product

        def product(*args):
            correlation = real(*args)
            handed.extend(words_of(correlation))
            return correlation

        scheme._dealer.product = product
        x = scheme.share(np.full((3, 3), value, np.uint64), 0)
        for _ in range(3):
            scheme.product("matmul", x, x, 16)
        return handed

    assert dealt(0) == dealt(2**40)


def test_each_party_has_a_key_of_its_own():
    """All rows but the last are drawn from keys; party i's row repeats whatever the others do."""
    small, large = make(3, seed=4), make(4, seed=4)
    rows = [d.mask((50,))[0] for d in (small, large)]
    assert (rows[0][0] == rows[1][0]).all()
    assert (rows[0][1] == rows[1][1]).all()
    assert not (rows[0][0] == rows[0][1]).any()


# Bulk


def recording(backend_name="cpu"):
    """A copy of a backend that records the number of words of each call to uniform."""
    backend, drawn = copy.copy(get_backend(backend_name)), []
    real = backend.uniform

    def uniform(key, nonce, n, modulus, out=None):
        drawn.append(n)
        return real(key, nonce, n, modulus, out=out)

    backend.uniform = uniform
    return backend, drawn


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize(("protocol_parties", "modulus"), [(2, 2**64), (3, 2**64), (3, 2**32)])
def test_steps_and_single_calls_are_both_valid(bulk, protocol_parties, modulus):
    frac_bits = 16 if modulus == 2**64 else 10
    s = he.Session(
        parties=protocol_parties, modulus=modulus, frac_bits=frac_bits, device="cpu", seed=6
    )
    u = 2.0**-frac_bits
    x = np.rint(np.random.default_rng(2).uniform(-1, 1, (4, 4)) / u) * u
    X = s.share(x)
    M = X.masked()
    for step in s.steps(9) if bulk else range(9):
        assert np.abs((X @ X).reveal() - x @ x).max() < u
        assert np.abs((X * X).reveal() - x * x).max() < u
        assert np.abs((M @ X).reveal() - x @ x).max() < u
        assert np.abs((M.T @ X).reveal() - x.T @ x).max() < u
        if step % 3 == 0:  # a shape that is asked for less often than expected
            assert np.abs((X[:2] @ X).reveal() - x[:2] @ x).max() < u
        assert np.abs(X.with_frac_bits(frac_bits - 4).reveal() - x).max() < 16 * u


def words_drawn(action, n_steps, bulk):
    """Words drawn by a number of equal steps."""
    backend, drawn = recording()
    scheme = Additive(KeyRing(1), backend, 2**64, LocalChannel(2))
    x = scheme.mask(scheme.share(np.ones((6, 6), np.uint64), 0))
    y = scheme.share(np.ones((6, 6), np.uint64), 0)
    before = sum(drawn)
    for step in range(n_steps):
        if bulk:
            scheme.expect(n_steps - step)
        action(scheme, x, y)
    return sum(drawn) - before


@pytest.mark.parametrize(
    "action",
    [
        lambda s, x, y: s.product("matmul", y, y, 16),
        lambda s, x, y: s.product("matmul", x, y, 16),
        lambda s, x, y: s.product("matmul", x.transposed(), y, 16),
        lambda s, x, y: s.product("matmul", x, x, 16),
        lambda s, x, y: s.product("mul", y, y, 16),
        lambda s, x, y: s.truncate(y, 16),
        lambda s, x, y: s.product("matmul", s.mask(y), s.mask(y), 16),
        lambda s, x, y: s.product("matmul", s.mask(y), y, 16),
    ],
    ids=[
        "fresh", "masked", "transposed in the loop", "both masked", "square", "truncation",
        "both masked in the loop", "masked in the loop",
    ],
)  # fmt: skip
def test_bulk_draws_no_more_than_it_hands_out(action):
    """A loop of equal steps uses all that is prepared for it: work is linear in its length."""
    assert words_drawn(action, 20, bulk=True) == words_drawn(action, 20, bulk=False)


@pytest.mark.parametrize(
    ("left", "right"),
    [((64, 64), (64, 64)), ((300, 1), (1, 300)), ((1, 64), (64, 1))],
)
def test_bulk_is_bounded_in_memory(left, right):
    """One call to the generator fills at most BULK_BYTES, unless a single product takes more."""
    backend, drawn = recording()
    d = Dealer(KeyRing(1), backend, 2**64, 2, range(2))
    d.expect(50)
    for _ in range(2):  # the first is made alone
        d.product("matmul", left, right, 16)
    single = max(np.prod(left), np.prod(right), left[0] * right[1])
    assert max(drawn) * 8 <= max(BULK_BYTES, single * 8)


def test_bulk_is_bounded_in_memory_for_kept_masks():
    backend, drawn = recording()
    d = Dealer(KeyRing(1), backend, 2**64, 2, range(2))
    (_, left), (_, right) = d.mask((200, 2)), d.mask((2, 200))
    for step in range(2):
        d.expect(50 - step)
        d.product("matmul", left, right, 16)
    assert len(d._pool._items) == 1
    assert max(drawn) * 8 <= max(BULK_BYTES, 200 * 200 * 8)


def test_masks_that_do_not_come_again_leave_nothing_behind():
    """A permutation for each epoch, a batch for each step: the pool holds those of two steps."""
    d = make(2)
    _, data = d.mask((40, 3))
    rng = np.random.default_rng(5)
    for step in range(100):
        d.expect(100 - step)
        order = rng.permutation(40)
        batch = data.view(Kept(data.total.words[order]))
        _, weight = d.mask((3, 2))
        d.product("matmul", batch, weight, 16)
        d.product("matmul", data, (3, 2), 16)  # this one comes again
        if step in (50, 51):
            d.product("matmul", data, weight, 16)
    assert len(d._pool._items) == 1
    assert len(d._pool._named | d._pool._named_before) == 2  # the last step remembers nothing
    d.expect(0)
    assert not d._pool._items
    assert not d._pool._named | d._pool._named_before | d._pool._asked


def test_a_pool_outside_of_a_loop_remembers_nothing():
    d = make(2)
    for _ in range(5):
        d.product("matmul", d.mask((4, 4))[1], (4, 2), 16)
        d.product("matmul", (4, 4), (4, 2), 16)
    assert not d._pool._items
    assert not d._pool._named | d._pool._named_before | d._pool._asked


def test_pools_end_with_the_loop():
    d = make(2)
    d.expect(50)
    d.product("mul", (4,), (4,), 16)
    assert not d._pool._items  # asked for once, it may be the only one
    d.product("mul", (4,), (4,), 16)
    assert d._pool._items
    d.expect(0)
    assert not d._pool._items


def test_dealer_bytes_count_what_is_handed_out():
    for repeats in (1, 10):
        d = make(3)
        d.expect(repeats)
        counted = []
        for drop, words in ((0, 1), (16, 3)):
            before = d.bytes_sent
            d.product("matmul", (4, 5), (5, 6), drop)
            counted.append(d.bytes_sent - before == words * 24 * 8)
        before = d.bytes_sent
        d.truncation((7,), 3)
        counted.append(d.bytes_sent - before == 3 * 7 * 8)
        d.mask((7,))
        assert all(counted)
        assert d.bytes_sent - before == 3 * 7 * 8  # masks come from keys alone


def test_numbers_of_masks_are_global():
    """Sessions may not confuse each other's masks, so no two in a process share a number."""
    first, second = make(2), make(2)
    numbers = [d.mask((1,))[1].name for d, _ in itertools.product((first, second), range(3))]
    assert len(set(numbers)) == 6
    assert isinstance(dealer._numbers, itertools.count)
