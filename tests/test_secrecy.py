"""What n - 1 parties see is uniform, no keystream is used twice, and nothing else is opened.

Seeds are fixed, so every test gives one result for good; LIMIT states how unlikely a correct
program is to fail (4e-8 for each score). Each kind of test is shown to fail on a broken program.
"""

import itertools

import numpy as np
import pytest

import he_gpu as he
from he_gpu import cipher
from he_gpu.backend import cpu, get_backend
from he_gpu.backend.definition.prg import WORDS_PER_BLOCK, n_keystream_words
from he_gpu.backend.definition.steps import words_per_row
from he_gpu.channel import LocalChannel
from he_gpu.mpc import Additive, pool
from he_gpu.ring import KeyRing
from he_gpu.ring.fixedpoint import decode
from tests.single_steps import single_steps, take_singly
from tests.uniformity import LIMIT, assert_uniform, two_sample_score

Q = 501337
POLYNOMIAL = he.approximate(np.tanh, (-3, 3.5), degree=8)  # has products, sums and a truncation


@pytest.fixture
def exchanged(monkeypatch):
    """What passes between the parties: one list of opened arrays for each exchange.

    Steps of a descent are taken one by one; that together they open the same words, see
    `test_steps_taken_together_open_what_they_open_one_by_one`.
    """
    record = []
    take_singly(monkeypatch)
    real = LocalChannel.exchange

    def exchange(self, partials, modulus):
        opened = real(self, partials, modulus)
        record.append([np.array(word) for word in opened])
        return opened

    monkeypatch.setattr(LocalChannel, "exchange", exchange)
    return record


@pytest.fixture
def fixed_entropy(monkeypatch):
    """he.encrypt with the keys of a fixed sequence instead of the operating system's."""
    sequence = np.random.default_rng(99)
    monkeypatch.setattr("he_gpu.ring.prg.os.urandom", sequence.bytes)
    monkeypatch.setattr(cipher, "_generators", {})


# Shares


@pytest.mark.parametrize("modulus", [2, Q, 2**32, 2**61 - 1, 2**63, 2**64])
@pytest.mark.parametrize("n_shares", [2, 3])
def test_each_share_of_the_cipher_is_uniform(fixed_entropy, modulus, n_shares):
    shares = he.encrypt(np.full(20_000, 7), n_shares, modulus, "cpu")
    for share in shares:
        assert_uniform(share, modulus)
    for factor in (1, 2):  # and after arithmetic, where the factor is a unit
        scaled = (
            he.product(he.add(shares, shares), factor)
            if modulus % 2
            else he.add(shares, he.encrypt(0, n_shares, modulus, "cpu"))
        )
        for share in scaled:
            assert_uniform(share, modulus)


@pytest.mark.parametrize("modulus", [Q, 2**64])
def test_any_two_of_three_shares_are_independent(fixed_entropy, modulus):
    """Sum and difference of each pair, and the pairs' top bits jointly, are uniform."""
    shares = he.encrypt(np.full(20_000, 7), 3, modulus, "cpu")
    ring = he.Ring(modulus, "cpu")
    for first, second in itertools.permutations(shares, 2):
        assert_uniform(ring.add(first, second), modulus)
        assert_uniform(ring.sub(first, second), modulus)
        if modulus == 2**64:
            assert_uniform((first >> np.uint64(62)) * np.uint64(4) + (second >> np.uint64(62)), 16)


@pytest.mark.parametrize("parties", [2, 3, 5])
@pytest.mark.parametrize("modulus", [2**64, 2**32])
def test_each_share_of_a_session_is_uniform(parties, modulus):
    """Inputs of every owner, and the results of each kind of operation, over many keys."""
    words = {}
    for seed in range(60):
        bits = 16 if modulus == 2**64 else 10
        s = he.Session(parties=parties, modulus=modulus, frac_bits=bits, device="cpu", seed=seed)
        x = [s.share(np.full((8, 8), 1.5), owner=owner) for owner in s.parties]
        results = {f"input of {i}": tensor for i, tensor in enumerate(x)}
        results |= {
            "sum": x[0] + x[1],
            "product": x[0] * x[1],
            "matmul": x[0] @ x[1],
            "masked": x[0].masked() @ x[1],
            "truncated": x[0] * 0.3,
            "public": 3 - x[0],
        }
        for name, tensor in results.items():
            for party, share in enumerate(tensor.shares):
                words.setdefault((name, party), []).append(share)
    for share in words.values():
        assert_uniform(np.stack(share), modulus)


@pytest.mark.parametrize("protocol_step", ["share", "product", "truncate"])
def test_shares_of_different_secrets_are_indistinguishable(protocol_step):
    """Two-sample tests of every n - 1 of 3 shares for the secrets 0 and 2^29 - 1."""

    def views(value, seeds):
        stacks = []
        for seed in seeds:
            s = he.Session(parties=3, device="cpu", seed=seed)
            x = s.share(np.full(100, value))
            if protocol_step == "product":
                x = x * s.share(np.full(100, 1.0))
            if protocol_step == "truncate":
                x = x.with_frac_bits(4)
            stacks.append(x.shares)
        return np.concatenate(stacks, axis=1)

    low, high = views(0.0, range(200)), views(2.0**29 - 1, range(200, 400))
    for i, j in itertools.combinations(range(3), 2):
        for combine in (
            lambda a, b: a,
            lambda a, b: b,
            np.add,
            np.subtract,
            np.bitwise_xor,
            lambda a, b: (a >> np.uint64(62) << np.uint64(62)) | (b >> np.uint64(2)),
            lambda a, b: a << np.uint64(60),
            lambda a, b: (a + b) << np.uint64(60),
        ):
            score = two_sample_score(combine(low[i], low[j]), combine(high[i], high[j]))
            assert abs(score) < LIMIT
    # The test can fail: all three shares together tell the secrets apart at once.
    sums = low.sum(0, dtype=np.uint64), high.sum(0, dtype=np.uint64)
    assert (decode(sums[0], 0, 2**64) < decode(sums[1], 0, 2**64)).all()


def test_two_sample_test_finds_a_difference():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 2**64, (2, 20_000), dtype=np.uint64)
    assert abs(two_sample_score(first, second)) < LIMIT
    leak = np.where(rng.random(20_000) < 0.05, np.uint64(7), second)
    assert abs(two_sample_score(first, leak)) > LIMIT


# Opened words


OPERATIONS = {
    "mul": lambda x, y: x * y,
    "matmul": lambda x, y: x @ y,
    "masked": lambda x, y: x.masked() @ y,
    "transposed": lambda x, y: x.masked().T @ y,
    "batch": lambda x, y: x.masked()[np.array([1, 0])][:1] @ y,
    "repeated": lambda x, y: x.masked()[[0, 0, 1]] @ y[[0, 1]],
    "both masked": lambda x, y: x.masked() @ y.masked(),
    "truncation": lambda x, y: x * 0.3,
    "square": lambda x, y: x * x,
    "mean": lambda x, y: x.mean(axis=0) if x.shape[0] % 3 == 0 else (x * 0.1).mean(axis=0),
    "rescaled": lambda x, y: x.with_frac_bits(5),
    "polynomial": lambda x, y: POLYNOMIAL.evaluate(x),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("modulus", [2**64, 2**32])
def test_each_opened_word_is_uniform(exchanged, name, parties, modulus):
    """Every exchange of an operation on fixed secrets, over 500 keys."""
    runs, bits = [], 16 if modulus == 2**64 else 10
    for seed in range(500):
        s = he.Session(parties=parties, modulus=modulus, frac_bits=bits, device="cpu", seed=seed)
        x, y = s.share(np.full((2, 2), 1.5)), s.share([[0.0, -2.0], [1.0, 0.25]])
        exchanged.clear()
        OPERATIONS[name](x, y)
        runs.append([word.ravel() for words in exchanged for word in words])
    assert len({tuple(word.size for word in run) for run in runs}) == 1
    assert len(runs[0]) >= 1
    for opened in zip(*runs, strict=True):
        assert_uniform(np.stack(opened), modulus)


def test_each_element_of_an_opening_is_uniform(exchanged):
    """One product of scalars, the four words that it opens, one by one over 4000 keys."""
    runs = []
    for seed in range(4000):
        s = he.Session(device="cpu", seed=seed)
        x, y = s.share(3.0), s.share(-5.0)
        exchanged.clear()
        x * y
        runs.append([int(word) for words in exchanged for word in words])
    runs = np.array(runs, np.uint64)
    assert runs.shape == (4000, 3)
    for words in runs.T:
        assert_uniform(words, 2**64)
    # Neighbours are independent: differences are uniform too.
    for i, j in itertools.combinations(range(3), 2):
        assert_uniform(runs[:, i] - runs[:, j], 2**64)


def test_an_unmasked_opening_would_be_seen(exchanged, monkeypatch):
    """The test can fail: a product whose mask is constant opens words that are not uniform."""
    backend = get_backend("cpu")
    real = backend.open_masked
    monkeypatch.setattr(backend, "open_masked", lambda stack, mask: real(stack, mask * 0))
    words = []
    for seed in range(500):
        s = he.Session(device="cpu", seed=seed)
        x = s.share(np.full((2, 2), 1.5))
        exchanged.clear()
        x.masked()
        words.append(exchanged[0][0])
    with pytest.raises(AssertionError, match="deviate by"):
        assert_uniform(np.stack(words), 2**64)


@pytest.fixture
def masks(monkeypatch):
    """The masks of all that is opened: for each array the function that opens it, and its words."""
    record, backend = [], get_backend("cpu")

    def enter(name, combine, *places):
        real = getattr(backend, name)

        def method(*arguments, **named):
            for place in places:
                if arguments[place] is not None:
                    record.append((name, combine.reduce(arguments[place], axis=0).ravel()))
            return real(*arguments, **named)

        monkeypatch.setattr(backend, name, method)

    enter("open_masked", np.add, 1)
    enter("open_scaled", np.add, 1)
    enter("carry_open", np.bitwise_xor, 1)
    enter("and_open", np.bitwise_xor, 1, 3)
    enter("xor_open", np.bitwise_xor, 1)
    descend = backend.descend

    def descended(w, y, *halves):
        for half in halves:
            record.append(("descend", np.add.reduce(half.b, axis=1).ravel()))
        return descend(w, y, *halves)

    monkeypatch.setattr(backend, "descend", descended)
    return record


def assert_distinct(masks, least):
    """10^5 words of 64 bits coincide with probability 3 10^-10."""
    words = np.concatenate([words for _, words in masks])
    assert least < words.size < 100_000
    assert len(np.unique(words)) == words.size


def test_no_mask_hides_two_openings(masks):
    """Epochs of shuffled batches of a matrix that is masked once: no mask is opened again."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(-1, 1, (50, 20)), rng.integers(0, 3, 50)
    with he.Session(device="cpu") as s:
        model = he.nn.Sequential(he.nn.Linear(20, 8), he.nn.ReLU(), he.nn.Linear(8, 3)).share(s)
        optimiser, loss = he.nn.SGD(model.parameters(), lr=0.1), he.nn.CrossEntropyLoss()
        data = s.share(X).masked()
        for _ in range(2):
            order = rng.permutation(50)
            shuffled = data[order]
            for at in range(0, 50, 10):
                optimiser.zero_grad()
                batch = slice(at, at + 10)
                loss(model(shuffled[batch]), y[order][batch]).backward()
                optimiser.step()
    sizes = [mask.size for name, mask in masks if name in ("open_masked", "open_scaled")]
    assert sizes.count(X.size) == 1  # the data, once for both epochs
    assert sizes.count(200) == 0  # and no batch of them
    assert_distinct(masks, 10_000)


def test_no_mask_hides_two_openings_where_loops_break_off(masks):
    """Loops in loops, one that is left, one that raises, two in turns, one that never ends."""
    x = np.array([[1.0, -2.0, 3.0], [0.0, 4.0, -1.0], [2.0, 2.0, -5.0]])
    with he.Session(device="cpu") as s:
        X = s.share(x)
        M = X.masked()

        def step():
            for found, expected in (
                (X * X, x * x),
                (X @ X, x @ x),
                (M @ X, x @ x),
                (X * M[::-1], x * x[::-1]),
                (M.T @ M, x.T @ x),
                (X * 0.3, x * 0.3),
                (X.max(0), x.max(0)),
                (X == 2, x == 2),
            ):
                assert np.abs(found.reveal() - expected).max() < 1e-4

        for _ in s.steps(3):
            step()
            for _ in s.steps(3):
                step()
            step()
        for index in s.steps(9):
            step()
            if index == 3:
                break

        def failing():
            for index in s.steps(9):
                step()
                1 // (3 - index)

        with pytest.raises(ZeroDivisionError):
            failing()
        first, second = s.steps(9), s.steps(5)
        for _ in range(4):
            next(first)
            step()
            next(second)
            step()
        second.close()
        step()
    assert_distinct(masks, 1000)


@pytest.mark.parametrize("parties", [2, 3])
def test_no_mask_hides_two_openings_of_steps_taken_together(masks, parties, monkeypatch):
    """Two fits, masks that run out, products between them, and a fit that is broken off."""
    monkeypatch.setattr(pool, "BULK_BYTES", 2**14)
    X, y = xor()
    with he.Session(parties=parties, device="cpu") as s:
        model = he.ReservoirRegressor(width=16, n_steps=40, log_every=13)
        model.fit(X, y, session=s).partial_fit(X, y)
        x = s.share(X)
        (x @ x.T) * 0.3
        backend, calls = s.backend, []

        def broken(*arguments):
            calls.append(arguments)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return recorded(*arguments)

        recorded = backend.descend
        monkeypatch.setattr(backend, "descend", broken)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y, session=s)
        x @ x.T
        monkeypatch.setattr(backend, "descend", recorded)
        masks.append(("broken off", np.add.reduce(calls[-1][2].b, axis=1).ravel()))
        model.fit(X, y, session=s)
    together = sum(name == "descend" for name, _ in masks)
    assert together > 20
    assert_distinct(masks, 3 * 30 * (16 + 4))


NEW_VALUES = {
    "sum with itself": lambda x: x + x,
    "sum": lambda x: x + x.T.reshape(2, 3),
    "sum with a public number": lambda x: x + 1,
    "difference": lambda x: 2 - x,
    "negative": lambda x: -x,
    "product": lambda x: x * x,
    "public product": lambda x: x * 2,
    "real product": lambda x: x * 0.3,
    "matrix product": lambda x: x @ x.T,
    "sum along an axis": lambda x: x.sum(0),
    "sums of the first": lambda x: x.cumsum(0),
    "zeros": lambda x: x.tril(),
    "frame": lambda x: x.pad(1),
    "fraction bits": lambda x: x.with_frac_bits(20),
    "joined": lambda x: he.concatenate([x, x + 1]),
    "relu": lambda x: x.relu(),
    "largest": lambda x: x.max(0),
    "sorted": lambda x: x.sort(),
}


@pytest.mark.parametrize("name", NEW_VALUES)
def test_a_new_value_does_not_keep_the_mask(name):
    """Both opened under one mask would tell their difference."""
    X = he.Session(device="cpu").share(np.arange(6.0).reshape(2, 3) - 2).masked()
    assert X.is_masked
    assert X[::-1].is_masked
    assert not NEW_VALUES[name](X).is_masked


# Keystream


class Ledger:
    """Every (key, nonce) with the blocks taken from it, call by call."""

    def __init__(self):
        self.calls = {}
        self.repeated = []
        self._ranges = {}

    def enter(self, key, nonce, n_words, first=0):
        """Enter a call that reads the blocks first, first + 1, ... of its nonce."""
        end = first - (-n_words // WORDS_PER_BLOCK)
        assert end < 2**32
        ranges = self._ranges.setdefault((key, nonce), [])
        if first < end and any(
            first < other_end and other_first < end for other_first, other_end in ranges
        ):
            self.repeated.append((key, nonce))
        ranges.append((first, end))
        self.calls[key, nonce] = max(end, self.calls.get((key, nonce), 0))

    def clear(self):
        self.calls.clear()
        self._ranges.clear()
        del self.repeated[:]


@pytest.fixture
def ledger(monkeypatch):
    """Entered by every call that makes words, at the deepest place on the CPU."""
    book, real = Ledger(), cpu.keystream

    def keystream(key, nonce, n_words, out=None, first=0):
        book.enter(key, nonce, n_words, first)
        return real(key, nonce, n_words, out, first)

    monkeypatch.setattr(cpu, "keystream", keystream)
    return book


def xor():
    return np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([0.0, 1.0, 1.0, 0.0])


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("y_columns", [None, 2])
def test_no_block_of_keystream_is_used_twice_in_a_training_run(ledger, parties, y_columns):
    X, y = xor()
    y = y if y_columns is None else np.stack([y, 1 - y], axis=1)
    with he.Session(parties=parties, device="cpu") as s:
        for rate in (1e-3, 2e-3):  # two fits in one session
            model = he.ReservoirRegressor(
                width=64, n_steps=30, learning_rate=rate, log_every=7
            ).fit(X, y, session=s)
        model.predict(X).reveal()
        (s.share(X) * s.share(X)).reveal()
    assert ledger.repeated == []
    # Bulk makes calls few and long: three streams for masks and shares, hundreds of blocks.
    assert len(ledger.calls) > 40
    assert sum(ledger.calls.values()) > 500


def test_no_block_is_used_twice_by_sessions_and_the_cipher_side_by_side(ledger):
    X, _ = xor()
    sessions = [he.Session(parties=n, device="cpu") for n in (2, 3, 2)]
    for _ in range(5):
        for s in sessions:
            T = s.share(X)
            (T.T @ T) * 0.3
        he.encrypt(np.arange(50), device="cpu")
        he.encrypt(np.arange(50), n_shares=2, modulus=2**64, device="cpu")
    assert ledger.repeated == []
    assert len({key for key, _ in ledger.calls}) >= 3 * 3


def test_no_block_is_used_twice_on_a_device(device, monkeypatch):
    backend, book = get_backend(device), Ledger()
    uniform, split, split_truncated = backend.uniform, backend.split, backend.split_truncated
    split_bits, step_shares = backend.split_bits, backend.step_shares

    def enter_uniform(key, nonce, n, modulus, out=None):
        book.enter(key, nonce, n_keystream_words(n, modulus))
        return uniform(key, nonce, n, modulus, out=out)

    def enter_split(total, stream, share, rest, modulus):
        book.enter(*stream, n_keystream_words(total.size, modulus))
        split(total, stream, share, rest, modulus)

    def enter_split_truncated(total, streams, *pairs_and_bits):
        for stream in streams:
            book.enter(*stream, n_keystream_words(total.size, 2**64))
        split_truncated(total, streams, *pairs_and_bits)

    def enter_split_bits(total, stream, *pair):
        book.enter(*stream, n_keystream_words(total.size, 2**64))
        split_bits(total, stream, *pair)

    def enter_step_shares(opened, bits, streams, weights, constants, n, hosted):
        n_words = weights.shape[1] * words_per_row(n, weights.dtype)
        for stream in streams:
            book.enter(*stream, n_keystream_words(n_words, 2**64))
        return step_shares(opened, bits, streams, weights, constants, n, hosted)

    monkeypatch.setattr(backend, "split_bits", enter_split_bits)
    monkeypatch.setattr(backend, "step_shares", enter_step_shares)
    monkeypatch.setattr(backend, "uniform", enter_uniform)
    monkeypatch.setattr(backend, "split", enter_split)
    monkeypatch.setattr(backend, "split_truncated", enter_split_truncated)
    X, y = xor()
    with he.Session(device=device) as s:
        he.ReservoirRegressor(width=8, n_steps=3, log_every=1).fit(X, y, session=s)
        trained = len(book.calls)
        x = s.share(np.linspace(0.5, 4, 70))
        assert np.abs(x.log().reveal() - np.log(np.linspace(0.5, 4, 70))).max() < 1e-4
        (x < 2).reveal()
    assert book.repeated == []
    assert trained > 20
    assert len(book.calls) > trained + 20


def test_the_ledger_finds_a_repetition(ledger):
    """The test can fail: two sessions of one seed use every block twice."""
    for _ in range(2):
        he.Session(device="cpu", seed=4).share(np.ones(3))
    assert ledger.repeated
    ledger.clear()
    prg = KeyRing().prg("a", get_backend("cpu"))
    prg.uniform((0,), 2**64)
    prg.uniform((9,), 2**64)
    assert ledger.repeated == []
    prg2 = KeyRing(seed=1).prg("a", get_backend("cpu"))
    prg3 = KeyRing(seed=1).prg("a", get_backend("cpu"))
    prg2.uniform((1,), 2**64)
    prg3.uniform((100,), 2**64)
    assert len(ledger.repeated) == 1
    ledger.clear()
    for first, n_words in [(0, 2 * WORDS_PER_BLOCK), (2, 1), (1, 0)]:  # no block twice
        ledger.enter(b"key", b"nonce", n_words, first)
    assert ledger.repeated == []
    ledger.enter(b"key", b"nonce", 1, 1)
    assert len(ledger.repeated) == 1


# Two runs


def run_without_seed(exchanged):
    """All 64-bit words that a run shares or opens, results and revealed values left out."""
    X, y = xor()
    with he.Session(parties=3, device="cpu") as s:
        exchanged.clear()
        tensors = [s.share(X + 1), s.share(y + 1)]
        tensors.append(tensors[0] * tensors[0])
        tensors.append(tensors[0].T @ tensors[0])
        tensors.append(tensors[0].masked().T @ tensors[0])
        tensors.append(tensors[1] * 0.3)
        words = [tensor.shares.ravel() for tensor in tensors]
    return np.concatenate(words + [word.ravel() for opened in exchanged for word in opened])


def test_two_runs_without_a_seed_never_repeat_a_share(exchanged):
    """10^3 words of 64 bits: a coincidence has probability 10^-13."""
    words = np.concatenate([run_without_seed(exchanged) for _ in range(6)])
    assert len(np.unique(words)) == words.size > 900


def test_two_runs_with_a_seed_repeat_every_share(exchanged):
    """The test above can fail."""
    runs = [he.Session(device="cpu", seed=1).share(np.ones(9)).shares for _ in range(2)]
    assert (runs[0] == runs[1]).all()


def test_ciphers_without_a_seed_never_repeat_a_share():
    words = np.concatenate(
        [np.concatenate(he.encrypt(np.ones(300, int), 3, 2**64, "cpu")) for _ in range(5)]
    )
    assert len(np.unique(words)) == words.size


# The fit


def fit(session, **parameters):
    X, y = xor()
    model = he.ReservoirRegressor(width=8, **parameters)
    return model.fit(X, y, session=session)


@pytest.mark.parametrize(("n_steps", "log_every"), [(12, 5), (6, 1), (5, 0), (0, 3)])
@pytest.mark.parametrize("parties", [2, 3])
def test_a_fit_opens_masked_words_and_the_logged_losses(exchanged, parties, n_steps, log_every):
    """Counted: one opening of the features, four words' worth per step, two per logged loss."""
    with he.Session(parties=parties, device="cpu", seed=1) as s:
        exchanged.clear()
        model = fit(s, n_steps=n_steps, log_every=log_every)
        counted = list(exchanged)
    logged = len(range(0, n_steps, log_every)) if log_every else 0
    assert len(model.loss_curve_) == logged
    sizes = [sorted(word.size for word in opened) for opened in counted]
    # Features (4, 8) once; each step w (8, 1), the product (4, 1), e (4, 1), the product (8, 1).
    expected = [[32]]
    for step in range(n_steps):
        expected += [[8], [4]]
        if log_every and step % log_every == 0:
            expected += [[4, 4], [1]]  # e and its transpose, masked; then the loss
        expected += [[4], [8]]
    assert sizes == expected
    revealed = [opened[0] for opened in counted if [word.size for word in opened] == [1]]
    losses = [float(decode(word, 32, 2**64).squeeze()) for word in revealed]
    assert losses == model.loss_curve_
    assert s.cost.rounds == len(counted)


@pytest.mark.parametrize("parties", [2, 3, 5])
@pytest.mark.parametrize("log_every", [0, 4])
def test_steps_taken_together_open_what_they_open_one_by_one(
    parties, log_every, monkeypatch, request
):
    """Their words are worked out from all that the operation gets, and compared in order."""
    transcripts, costs = [], []
    backend, together_too = get_backend("cpu"), Additive.descend
    exchanged = request.getfixturevalue("exchanged")
    for together in (False, True):
        if together:
            descend = backend.descend

            def opening(*arguments, real=descend):
                opened = []
                w = single_steps(*arguments, opened)
                exchanged.extend([word] for word in opened)
                assert (real(*arguments) == w).all()
                return w

            monkeypatch.setattr(Additive, "descend", together_too)
            monkeypatch.setattr(backend, "descend", opening)
        with he.Session(parties=parties, device="cpu", seed=1) as s:
            exchanged.clear()
            fit(s, n_steps=13, log_every=log_every)
            transcripts.append([word.copy() for words in exchanged for word in words])
            costs.append(s.cost)
    single, together = transcripts
    assert len(single) == len(together) > 4 * 13
    for one, other in zip(single, together, strict=True):
        np.testing.assert_array_equal(one.ravel(), other.ravel())
    assert costs[0] == costs[1]


def test_all_that_a_fit_opens_is_uniform_but_the_losses(exchanged):
    """Each opened array of a fit, over 300 keys: uniform, or a loss that is the same in each."""
    runs = []
    for seed in range(300):
        with he.Session(device="cpu", seed=seed) as s:
            exchanged.clear()
            model = fit(s, n_steps=3, log_every=2)
            runs.append([word.ravel() for opened in exchanged for word in opened])
            losses = model.loss_curve_
    found = []
    for words in zip(*runs, strict=True):
        words = np.stack(words)
        if words.shape[1] == 1:
            values = decode(words, 32, 2**64)
            # A loss, up to rounding: three steps leave each of 4 residuals within 4 u, and
            # 2 sum|e| 4 u <= 2 * 2 |e| * 4 u <= 3.5e-4 for |e| <= |y| = sqrt(2), either way.
            assert np.ptp(values) < 7e-4
            found.append(values[-1, 0])
        else:
            assert_uniform(words, 2**64)
    assert found == losses


def test_secret_inputs_open_no_more(exchanged):
    """On SecretTensors too, whatever way the gradient is scaled."""
    X, y = xor()
    with he.Session(device="cpu", seed=1) as s:
        model = he.ReservoirRegressor(width=8, n_steps=4, log_every=2)
        F, Y = s.share(model.transform(X)), s.share(y)
        exchanged.clear()
        model.fit(F, Y)
        opened = [word for words in exchanged for word in words]
    single = [word for word in opened if word.size == 1]
    assert [float(decode(word, 32, 2**64).squeeze()) for word in single] == model.loss_curve_
    assert len(single) == 2


def test_predictions_stay_secret(exchanged):
    X, _ = xor()
    with he.Session(device="cpu", seed=1) as s:
        model = fit(s, n_steps=2)
        exchanged.clear()
        predicted = model.predict(X)
        assert isinstance(predicted, he.SecretTensor)
        assert [[word.size for word in opened] for opened in exchanged] == [[4]]  # a truncation
        values = predicted.reveal()
        assert len(exchanged) == 2
        assert (decode(exchanged[1][0], predicted.frac_bits, 2**64) == values).all()


def test_shares_move_without_the_dealers_keys():
    """Additive among 3: what one party's keys give is not enough for another's share."""
    scheme = Additive(KeyRing(seed=1), get_backend("cpu"), 2**64, LocalChannel(3))
    stack = scheme.share(np.zeros(100, np.uint64), 1)
    again = scheme.share(np.zeros(100, np.uint64), 1)
    assert not (stack == again).any()
    assert (stack.sum(0, dtype=np.uint64) == 0).all()
