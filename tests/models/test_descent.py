"""Steps of a descent taken together are those taken one by one: shares, losses, cost, masks."""

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend import emulator, get_backend
from he_gpu.channel import LocalChannel, PairChannel
from he_gpu.errors import SessionClosedError
from he_gpu.mpc import Additive, Replicated, pool
from he_gpu.ring import KeyRing
from he_gpu.tensor.descent import descended
from tests.single_steps import take_singly

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([0.0, 1.0, 1.0, 0.0])


@pytest.fixture
def taken(monkeypatch):
    """How many steps were taken together, each time that some were."""
    found = []

    def recording(descend):
        def record(self, *arguments):
            w, n = descend(self, *arguments)
            found.extend([n] if n else [])
            return w, n

        return record

    for scheme in (Additive, Replicated):
        monkeypatch.setattr(scheme, "descend", recording(scheme.descend))
    return found


@pytest.fixture
def singly(monkeypatch):
    """Take steps one by one from now on, when called."""
    return lambda: take_singly(monkeypatch)


def session_of(parties, device, seed=23):
    """A session of so many parties, or a replicated one."""
    if parties == "replicated":
        return he.Session(parties, device=device, seed=seed)
    return he.Session(parties=parties, device=device, seed=seed)


def assert_the_same(run, singly):
    """What a run returns, words first, does not depend on how its steps are taken."""
    together = run()
    singly()
    one_by_one = run()
    for found, expected in zip(together[0], one_by_one[0], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert together[1:] == one_by_one[1:]


def fitted(device, parties, X, y, **parameters):
    """All that a fit with a test seed leaves behind, and what the session draws next."""
    with session_of(parties, device) as session:
        model = he.ReservoirRegressor(**parameters)
        model.fit(X, y, session=session).partial_fit(X, y)
        following = session.share(1.0) * session.share(2.0)
        words = [value.shares for value in (model.coef_, following)]
        return list(map(session.backend.to_numpy, words)), model.loss_curve_, session.cost


SCHEMES = pytest.mark.parametrize("parties", [2, 3, 5, "replicated"])
CASES = {
    "no losses": (2, X, Y, {"width": 64, "n_steps": 30, "log_every": 0}),
    "losses": (3, X, Y, {"width": 17, "n_steps": 23, "log_every": 5}),
    "absolute losses": (2, X, Y, {"width": 8, "n_steps": 12, "log_every": 4, "loss": "absolute"}),
    "three targets": (3, X, np.stack([Y, 1 - Y, Y / 2], 1), {"width": 9, "n_steps": 9}),
    "one sample": (2, X[1:2], Y[1:2], {"width": 3, "n_steps": 8, "log_every": 0}),
    "gradients that are not bounded": (2, X * 9, Y * 99, {"width": 16, "n_steps": 8,
                                                          "learning_rate": 1e-5}),
    "replicated": ("replicated", X, Y, {"width": 64, "n_steps": 30, "log_every": 7}),
    "replicated, absolute": ("replicated", X, Y, {"width": 8, "n_steps": 9, "log_every": 4,
                                                  "loss": "absolute"}),
    "replicated, targets": ("replicated", X, np.stack([Y, 1 - Y, Y / 2], 1),
                            {"width": 9, "n_steps": 9}),
    "replicated, not bounded": ("replicated", X * 9, Y * 99, {"width": 16, "n_steps": 8,
                                                              "learning_rate": 1e-5}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_together_as_one_by_one(device, case, taken, singly):
    parties, inputs, y, parameters = CASES[case]
    assert_the_same(lambda: fitted(device, parties, inputs, y, **parameters), singly)
    assert taken


@SCHEMES
@pytest.mark.parametrize("n_steps", [1, 2, 3, 50])
@pytest.mark.parametrize("log_every", [0, 1, 2, 7, 300])
def test_few_and_logged_steps(parties, n_steps, log_every, singly):
    run = {"width": 33, "n_steps": n_steps, "log_every": log_every}
    assert_the_same(lambda: fitted("cpu", parties, X, Y, **run), singly)


@SCHEMES
@pytest.mark.parametrize(
    ("rows", "width", "targets"), [(1, 257, 1), (31, 32, 2), (32, 33, 1), (33, 31, 3), (257, 5, 1)]
)
def test_shapes_that_no_warp_divides(parties, rows, width, targets, taken, singly):
    rng = np.random.default_rng(rows)
    inputs, y = rng.uniform(size=(rows, 2)), rng.uniform(size=(rows, targets))
    run = {"width": width, "n_steps": 6, "log_every": 0, "learning_rate": 1e-6}
    assert_the_same(lambda: fitted("cpu", parties, inputs, y, **run), singly)
    assert taken == [6, 6]  # of the fit and the partial fit


@SCHEMES
def test_masks_that_run_out_in_the_middle(parties, taken, singly, monkeypatch):
    monkeypatch.setattr(pool, "BULK_BYTES", 2**17)
    run = {"n_steps": 40, "log_every": 17}
    assert_the_same(lambda: fitted("cpu", parties, X, Y, **run), singly)
    assert len(taken) > 6


@SCHEMES
def test_other_operations_between_the_fits_of_a_session(parties, taken, singly):
    def run():
        with session_of(parties, "cpu") as session:
            words, x = [], session.share(X)
            for rate in (1e-3, 2e-3):
                model = he.ReservoirRegressor(width=32, n_steps=9, learning_rate=rate, log_every=0)
                model.fit(X, Y, session=session)
                for _ in session.steps(3):
                    x = (x @ x.T).relu() * 0.3 @ x
                    words.append(x.shares)
                words.append(model.coef_.shares)
                words.append(model.predict(X).shares)
            for _ in session.steps(2):  # fits within a loop: its hints end with theirs
                words.append(model.fit(X, Y, session=session).coef_.shares)
                words.append((x * x).shares)
            return words, session.cost

    assert_the_same(run, singly)
    assert taken == [9] * 4


@SCHEMES
def test_a_run_that_diverges_stops_at_the_same_step(parties, taken, singly):
    """Of secret features nobody can tell before that the rate is too high."""

    def run():
        with session_of(parties, "cpu") as session:
            model = he.ReservoirRegressor(width=16, n_steps=30, log_every=3, random_state=1)
            F, y = model.transform(X), session.share(Y)
            model.learning_rate = 2.5 / np.linalg.eigvalsh(F @ F.T)[-1]
            F = session.share(F)
            with pytest.raises(ArithmeticError) as caught:
                model.fit(F, y)
            following = (F[:1] * y[0]).shares
            return [following], caught.value.loss_curve, caught.value.loss_steps, session.cost

    assert_the_same(run, singly)
    assert taken


@SCHEMES
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_masks_that_were_taken_are_gone_where_the_steps_are_not(parties, error, monkeypatch):
    """Broken off between taking masks and using them: what follows has masks of its own."""
    name = "descend_replicated" if parties == "replicated" else "descend"
    with session_of(parties, "cpu", seed=5) as session:
        real, seen = getattr(session.backend, name), []

        def broken(w, y, forward, backward):
            seen.extend((forward, backward))
            if len(seen) == 2:
                raise error
            return real(w, y, forward, backward)

        monkeypatch.setattr(session.backend, name, broken)
        model = he.ReservoirRegressor(width=16, n_steps=12, log_every=0)
        with pytest.raises(error):
            model.fit(X, Y, session=session)
        model.fit(X, Y, session=session)
        found = model.predict(X).reveal()
    assert len(seen) == 4
    fields = [np.ravel(each[-4]) for each in seen]  # the masks c, or what hides words
    words = np.concatenate(fields)
    assert len(np.unique(words)) == words.size > 500
    with he.Session("plain", device="cpu") as session:
        expected = model.fit(X, Y, session=session).predict(X).reveal()
    assert np.abs(found - expected).max() < 1e-3


def test_all_steps_but_the_logged_ones_are_taken_together(taken):
    with he.Session(device="cpu", seed=1) as session:
        he.ReservoirRegressor(log_every=0).fit(X, Y, session=session)
        assert taken == [250]
        taken.clear()
        he.ReservoirRegressor(log_every=100).fit(X, Y, session=session)
        assert taken == [99, 99, 49]


def test_all_these_steps_are_one_launch(require_emulator):
    launches = []
    for n_steps in (10, 200):
        before = emulator.launches.copy()
        with he.Session(device="emulator", seed=1) as session:
            he.ReservoirRegressor(width=8, n_steps=n_steps, log_every=0).fit(X, Y, session=session)
        launches.append(emulator.launches - before)
    assert launches[0] == launches[1]
    assert launches[0]["descend_ring_u64"] == 1


def test_masks_that_run_out_are_made_anew(taken, monkeypatch):
    monkeypatch.setattr(pool, "BULK_BYTES", 2**16)
    with he.Session(device="cpu", seed=1) as session:
        he.ReservoirRegressor(n_steps=30, log_every=0).fit(X, Y, session=session)
    # 65,536 bytes are five masks of 12,352 for the gradient, and fifteen of 4,288 for F w.
    assert taken == [5] * 6


@pytest.mark.parametrize(
    ("protocol", "log_every"), [("plain", 0), ("replicated", 1), ("additive", 1)]
)
def test_plain_and_logged_steps_go_one_by_one(taken, protocol, log_every):
    with he.Session(protocol, device="cpu") as session:
        he.ReservoirRegressor(width=8, n_steps=6, log_every=log_every).fit(X, Y, session=session)
    assert not taken


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_large_steps_go_one_by_one(taken, protocol):
    rng = np.random.default_rng(0)
    inputs, y = rng.uniform(size=(80, 2)), rng.uniform(size=80)
    model = he.ReservoirRegressor(width=1024, learning_rate=1e-6, n_steps=5, log_every=0)
    with he.Session(protocol, device="cpu") as session:
        model.fit(inputs, y, session=session)
    assert not taken


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_targets_of_more_fraction_bits_are_aligned_one_by_one(taken, protocol):
    with he.Session(protocol, device="cpu") as session:
        y = session.share(Y).with_frac_bits(20)
        model = he.ReservoirRegressor(width=8, n_steps=6, log_every=0).fit(X, y)
    assert not taken
    assert model.coef_.shape == (8,)


@pytest.mark.parametrize("bits", [(16, 8, 18), (16, 0, 16), (16, 16, 16)])
def test_what_single_steps_do_in_another_way_is_not_taken_together(bits):
    """Targets that a difference would align, and a product that nothing is dropped of."""
    x_bits, w_bits, y_bits = bits
    with he.Session(device="cpu") as session:
        F = session.share(X).with_frac_bits(x_bits).masked()
        G = F.T.scaled(0.3, 20).masked()
        w = session.share(np.ones((2, 1))).with_frac_bits(w_bits)
        y = session.share(Y[:, None]).with_frac_bits(y_bits)
        for step in session.steps(5):
            if step == 2:
                n = descended(w, y, F, G, 3)[1]
                assert n == (3 if bits == (16, 16, 16) else 0)
                break
            F.matmul(w, frac_bits=y_bits)
            G.matmul(y, frac_bits=w_bits)


@pytest.mark.parametrize("masked", ["F", "G", "both"])
def test_steps_by_matrices_without_masks_are_not_taken_together(masked):
    with he.Session(device="cpu") as session:
        F, w, y = session.share(X), session.share(np.ones((2, 1))), session.share(Y[:, None])
        G = F.T
        F, G = F if masked == "G" else F.masked(), G if masked == "F" else G.masked()
        for _ in session.steps(3):
            assert descended(w, y, F, G, 3)[1] == (3 if masked == "both" else 0)
            break


def test_a_closed_session_takes_no_steps():
    session = he.Session(device="cpu")
    F, w, y = session.share(X).masked(), session.share(np.ones((2, 1))), session.share(Y[:, None])
    G = F.T
    session.close()
    with pytest.raises(SessionClosedError, match="matmul"):
        descended(w, y, F, G, 1)


@pytest.mark.parametrize("hosted", ["all", "one", "a pair of three"])
def test_steps_are_taken_together_where_every_party_is_here(hosted):
    channel = LocalChannel(3)
    if hosted == "one":
        channel.parties = range(1)
    elif hosted == "a pair of three":
        channel = PairChannel(channel, 0)
    scheme = Additive(KeyRing(seed=1), get_backend("cpu"), 2**64, channel)
    F, G, w, y = (
        scheme.share(np.ones(shape, np.uint64), 0) for shape in ((3, 5), (5, 3), (5, 1), (3, 1))
    )
    F, G = scheme.mask(F), scheme.mask(G)
    for step in range(3):  # in the others a dealer makes the same correlations
        scheme.expect(9 - step)
        found = scheme.descend(w, y, (F, 9), (G, 11), 1)[1]
        assert found == (hosted == "all")
        scheme.product("matmul", F, w, 9)
        scheme.product("matmul", G, y, 11)


def test_steps_taken_together_are_left_out_of_the_count(monkeypatch):
    with he.Session(device="cpu") as session:
        announced, found = [], []
        monkeypatch.setattr(
            session.scheme, "expect", lambda n_repeats, singly=False: announced.append(n_repeats)
        )
        steps = session.steps(9)
        for step in steps:
            found.append(step)
            if step in (0, 4):
                steps.send(3)
        assert found == [0, 4, 8]
        assert announced == [9, 5, 1, 0]
        steps = session.steps(3)
        assert [steps.send(2) for _ in steps] == [0]  # all of them at once
