"""Steps that a device repeats by itself: every bit, cost and nonce as if they were taken."""

import contextlib
import gc
import os
import struct
import threading

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend import emulator, recording
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    CaptureError,
    ForkedProcessError,
    SessionClosedError,
)
from he_gpu.mpc.pool import Pool
from tests.backend import strict
from tests.conftest import require_device

PROTOCOLS = {
    "additive": {"protocol": "additive"},
    "additive-5": {"protocol": "additive", "parties": 5},
    "additive-32": {"protocol": "additive", "modulus": 2**32, "frac_bits": 10},
    "replicated": {"protocol": "replicated"},
}
A = np.array([[1.0, -0.5, 2.0], [0.25, 3.0, -1.5]])
B = np.array([[0.5, 1.5], [-1.0, 0.75], [0.25, -0.125]])


@pytest.fixture(params=["emulator", "cuda"])
def graph_device(request):
    """A device that has graphs."""
    name = require_device(request.param)
    if name == "emulator" and isinstance(emulator.device(), strict.StrictEmulator):
        pytest.skip("graphs of the emulator are of NumPy's arrays")
    return name


def session(device, protocol="additive", seed=8, graph=True):
    return he.Session(device=device, seed=seed, graph=graph, **PROTOCOLS[protocol])


def to_numpy(tensor):
    return tensor.session.backend.to_numpy(tensor.shares)


def bits(results):
    """The shares of one tensor or of several."""
    return [to_numpy(t) for t in (results if isinstance(results, tuple) else (results,))]


class Counted:
    """A function that counts its calls."""

    def __init__(self, function):
        self.function, self.n_calls = function, 0

    def __call__(self, *arguments):
        self.n_calls += 1
        return self.function(*arguments)


def descent(s):
    X, y = s.share(A).masked(), s.share([[1.0], [-1.0]])
    return lambda w: w - X.T.scaled(0.05).matmul(X @ w - y, frac_bits=16), (s.share(B[:, :1]),)


def network(s):
    first = s.share(B)

    def step(w, x):
        hidden = (x @ w).relu()
        return w + 0.01 * (x.T @ (hidden - x[:, :2])), hidden.sum(axis=0)

    return step, (first, s.share(A))


def closed_over(s):
    y, z = s.share(A), s.share(A).masked()

    def step(x):
        return y.sort(axis=1) * x + z.T.T, he.concatenate([y, z[[1, 0]]]), y.cumsum(axis=0)

    return step, (s.share(A),)


def views(s):
    x = s.share(A).masked()
    return lambda x, y, z: (x @ y, z * z), (x, x.T, x[0])


STEPS = {
    "descent": descent,
    "network": network,
    "constants": lambda s: (lambda x: (x * 0.5 + np.arange(3) - 1) @ B[:, :2], (s.share(A),)),
    "comparison": lambda s: (
        lambda x: ((x > 0) * x + (x == 3) - abs(x).max(axis=1, keepdims=True), x.min()),
        (s.share(A),),
    ),
    "joined": lambda s: (
        lambda x: he.concatenate([x[:, ::-1], x.T.reshape(2, 3) ** 2, he.stack([x[0], x[1]])]),
        (s.share(A),),
    ),
    "places": lambda s: (lambda x: x[[1, 0, 1]][:, [2, 0]].cumsum(axis=0), (s.share(A),)),
    "division": lambda s: (lambda x, y: (x / y, (y * 2).sqrt()), (s.share(A), s.share(abs(A)))),
    "sigmoid": lambda s: (lambda x: x.sigmoid() + x.exp() * 0.01, (s.share(A),)),
    "softmax": lambda s: (lambda x: x.softmax(axis=1), (s.share(A),)),
    "many": lambda s: (
        lambda x: he.stack([x[0] * n for n in range(1, 11)]).sum(axis=0),
        (s.share(A),),
    ),
    "masks": lambda s: (
        lambda x: x[np.array([True, False])] + x[..., [1, 0, 1]],
        (s.share(A).masked(),),
    ),
    "numbers": lambda s: (
        lambda x, y: (x * y + 1, (x > y) * x, x.reshape(1) @ y.reshape(1)),
        (s.share(0.5), s.share(-2.0)),
    ),
    "nothing": lambda s: (
        lambda x: (x * x, x + 1, x.sum(axis=0), x.T @ x),
        (s.share(np.zeros((0, 2))),),
    ),
    "views": views,
    "closed over": closed_over,
    "shared": lambda s: (
        lambda x: x * s.share(A, owner=s.parties[1]) + s.share(A[0]),
        (s.share(A),),
    ),
    "sort": lambda s: (lambda x: (x.sort(axis=1), x.argmax(axis=1)), (s.share(A),)),
    "convolution": lambda s: (
        lambda x, w: he.conv2d(x, w, padding=1),
        (s.share(np.arange(18.0).reshape(1, 2, 3, 3) / 8), s.share(np.ones((2, 2, 2, 2)) / 4)),
    ),
}
NARROW = (
    *("descent", "network", "constants", "comparison", "joined", "places"),
    *("many", "masks", "numbers", "nothing", "views", "closed over", "shared"),
)
"""Steps that fit a ring of 32 bits."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", STEPS)
def test_repeated_steps_are_the_steps_bit_for_bit(graph_device, protocol, name):
    if protocol == "additive-32" and name not in NARROW:
        pytest.skip("its numbers do not fit 32 bits")
    runs = []
    for device, graph in (("cpu", False), (graph_device, True)):
        with session(device, protocol, graph=graph) as s:
            step, operands = STEPS[name](s)
            counted = Counted(step)
            taken = s.captured(counted)
            found = [taken(*operands) for _ in range(5)]
            # What was found stays as it was, however often the step is taken.
            runs.append(([bits(each) for each in found], s.cost, counted.n_calls))
    (expected, cost, n_plain), (found, repeated_cost, n_calls) = runs
    assert (n_plain, n_calls) == (5, 3)
    assert repeated_cost == cost
    for step_found, step_expected in zip(found, expected, strict=True):
        for got, wanted in zip(step_found, step_expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_a_chain_of_steps_with_other_work_between(graph_device, protocol):
    def run(device, graph):
        found = []
        with session(device, protocol, graph=graph) as s:
            step, (w,) = descent(s)
            taken, other = s.captured(step), s.captured(lambda x: x * x)
            x = s.share([1.0, 0.5])
            for number in s.steps(9):
                w = taken(w)
                x = other(x)
                if number % 3 == 1:  # draws from the same generators
                    found += [(x * x).reveal(), to_numpy(s.share([2.0]) / 3)]
                if number == 5:  # another kind of operands, which is recorded for itself
                    found += [to_numpy(other(s.share(np.full(n, 0.5)))) for n in (3, 3, 3, 3)]
                found.append(to_numpy(w))
            found += [to_numpy(x), w.reveal()]
            return found, s.cost

    expected, cost = run("cpu", True)
    found, repeated_cost = run(graph_device, True)
    assert repeated_cost == cost
    assert len(found) == len(expected)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_a_mask_of_an_operand_stays_and_costs_no_round(graph_device):
    with session(graph_device) as s:
        x, y = s.share(A).masked(), s.share(B)
        step = Counted(lambda x, y: x @ y)
        taken = s.captured(step)
        for _ in range(5):
            before = s.cost
            result = taken(x, y)
            assert (s.cost - before).rounds == 2  # y is opened, and the product
            assert not result.is_masked
            np.testing.assert_allclose(result.reveal(), A @ B, atol=1e-4)
        again = taken(s.share(2 * A).masked(), y)  # another value, another mask
        np.testing.assert_allclose(again.reveal(), 2 * A @ B, atol=1e-4)
        assert step.n_calls == 3
        assert taken(s.share(A), y).shape == (2, 2)
        assert step.n_calls == 4  # without a mask it is another kind


@pytest.fixture
def drawn(monkeypatch):
    """Key and nonce of every stream when a kernel uses it, with the calls that it then finds.

    The recording runs on the emulator too, with the numbers that its first replay has: it is left
    out, and lies in the attribute `recorded` of the list.
    """
    require_device("emulator")
    device = emulator.device()
    if isinstance(device, strict.StrictEmulator):
        pytest.skip("graphs of the emulator are of NumPy's arrays")
    start, seen = device._start, Drawn()

    def started(kernel, function, grid, block, args, shared_bytes):
        graph = recording()
        found = seen if graph is None or graph.is_rehearsal else seen.recorded
        named = dict(zip((p.name for p in kernel.parameters), args, strict=True))
        for first, calls in (
            (("key0", "key1", "key2", "key3", "nonce0", "nonce1"), "calls"),
            *(((*(f"{s}{i}" for i in range(6)),), f"{s}_calls") for s in _STREAMS),
        ):
            if calls in named:
                *key, low, high = (int(named[name]) for name in first)
                made = 0 if named[calls] is None else int(np.asarray(named[calls])[0])
                found.append((*key, (low + made) % 2**64, high))
        start(kernel, function, grid, block, args, shared_bytes)

    monkeypatch.setattr(device, "_start", started)
    return seen


class Drawn(list):
    def __init__(self):
        super().__init__()
        self.recorded = []


_STREAMS = ("mask", "c", "low", "top")


@pytest.mark.parametrize("protocol", ["additive", "additive-32", "replicated"])
def test_no_nonce_is_used_twice_by_repeated_steps(protocol, drawn):
    with session("emulator", protocol, seed=None) as s:
        step, (w, x) = network(s)
        taken = s.captured(step)
        steps = []
        for number in range(7):
            before = len(drawn)
            w, _ = taken(w, x)
            steps.append(drawn[before:])
            if number == 4:
                (w * 2 > 1).reveal()
    assert drawn.recorded == steps[2]
    assert len({len(step) for step in steps}) == 1
    assert len(steps[0]) > 20
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("late", [False, True])
def test_errors_in_any_call_use_no_nonce_twice_and_lose_nothing(protocol, error, late, drawn):
    with session("emulator", protocol, seed=None) as s:
        fails = iter([])

        def step(x, y):
            if not late and next(fails, False):
                raise error("wrong")
            z = x * y
            if late and next(fails, False):
                raise error("wrong")
            return z - y

        taken, operands = s.captured(step), (s.share(A), s.share(2 * A))
        for failing in range(5):
            fails = iter([number == failing for number in range(9)])
            for _ in range(6):
                try:
                    found = taken(*operands).reveal()
                except (CaptureError, error):
                    continue
                np.testing.assert_allclose(found, 2 * A * A - 2 * A, atol=1e-3)
        assert next(fails, None) is not None
        graph = s.captured(lambda x: x * x)
        for _ in range(5):
            np.testing.assert_allclose(graph(operands[0]).reveal(), A * A, atol=1e-3)
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("at", range(6))
def test_an_interrupted_replay_uses_no_nonce_twice(at, drawn):
    """The device stops before, within or after a step, and nobody knows which calls were made."""
    with session("emulator", seed=None) as s:
        taken, x = s.captured(lambda x: x * x * x), s.share(A)
        for _ in range(4):
            taken(x)
        (repeated,) = taken._kinds.values()

        def stop():
            raise KeyboardInterrupt

        repeated._graph._work.insert(len(repeated._graph._work) * at // 5, stop)
        with pytest.raises(KeyboardInterrupt):
            taken(x)
        for _ in range(5):
            np.testing.assert_allclose(taken(x).reveal(), A**3, atol=1e-2)
    assert len(set(drawn)) == len(drawn)


def test_calls_are_counted_for_the_graph_that_makes_them_alone(graph_device):
    """Whoever else draws meanwhile, such as another thread, takes numbers as ever."""
    with session(graph_device) as s:
        prg, (own, other) = s.keys.prg("test", s.backend), (s.backend.graph() for _ in range(2))
        calls, first = s.backend.asarray(np.zeros(1, np.uint64)), prg.skip(3)
        numbers = []

        def draw():
            with prg.counted_by(own, calls, first):
                nonce = prg.stream((1,), 2**64).nonce
            assert getattr(nonce, "calls", calls) is calls
            numbers.append((hasattr(nonce, "calls"), int.from_bytes(nonce, "little")))

        draw()
        other.rehearse(draw)
        own.rehearse(draw)
        own.record(draw)
        with pytest.raises(CaptureError, match="no graph can count it"):
            other.record(draw)
        draw()
        assert first == 0
        assert numbers == [(False, 3), (False, 4), (True, 5), (True, 6), (False, 8)]


def test_a_call_just_before_a_replay_keeps_its_number(drawn):
    """As another thread could make it, between the look at the number and the step."""
    with session("emulator", seed=None) as s:
        taken, x = s.captured(lambda x: x * x), s.share(A)
        for _ in range(4):
            taken(x)
        prg, between = s.scheme._dealer._own, []
        skip = prg.skip

        def late(n):
            key, nonce = prg.stream((1,), 2**64)
            between.append(struct.unpack("<4QQI", key + nonce))
            return skip(n)

        prg.skip = late
        for _ in range(3):
            np.testing.assert_allclose(taken(x).reveal(), A * A, atol=1e-4)
    assert len(between) == 3
    assert not set(between) & set(drawn)
    assert len(set(drawn)) == len(drawn)


def test_two_threads_use_no_nonce_twice(drawn):
    """A session is for one thread at a time; one that disobeys must not cost the masks."""
    with session("emulator", seed=None) as s:
        shared, x = s.captured(lambda x: x * x), s.share(A)

        def work():
            own = s.captured(lambda x: x * x + x)
            for _ in range(20):
                with contextlib.suppress(CaptureError):
                    own(shared(x))
                x * x

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(drawn) > 100
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("protocol", ["additive", "replicated"])
def test_recorded_steps_take_nothing_that_was_made_ahead(graph_device, protocol):
    """What was made for many steps would be every replay's."""
    with session(graph_device, protocol, graph=False) as s:
        taken, x, shares = s.captured(lambda x: x * x), s.share(np.zeros(3)), []
        for number in s.steps(12):
            if number < 4:
                x * x
            else:
                s.graph = True  # in the middle: randomness for the other steps is there
                found = taken(x)
                assert np.abs(found.reveal()).max() < 1e-4
                shares.append(to_numpy(found).tobytes())
        assert len(set(shares)) == len(shares) == 8


def test_a_pool_serves_recorded_steps_one_by_one(graph_device):
    pool, made, graph = Pool(), [], he.Session(device=graph_device).backend.graph()

    def make(n):
        made.append(n)
        return (list(range(n)),)

    def taken():
        pool.take("a", make, lambda: 8), pool.take("a", make, lambda: 8)
        return pool.take_ahead([("b", make, lambda: 8)], 3)

    pool.expect(9)
    assert graph.rehearse(taken) == graph.record(taken) == (0, [])
    assert made == [1] * 4
    taken()
    assert 9 in made[4:]
    before = len(made)
    graph.rehearse(taken)
    assert made[before:] == [1, 1]


def test_another_sessions_randomness_is_refused(graph_device):
    with session(graph_device) as s, session(graph_device) as other:
        y = other.share(A)

        def step(x):
            y * y
            return x * x

        taken, x = s.captured(step), s.share([1.0])
        taken(x), taken(x)
        with pytest.raises(CaptureError, match="not of its session"):
            taken(x)


def test_without_graphs_each_call_is_the_step():
    for arguments in ({"graph": False}, {"graph": True}, {"graph": True, "protocol": "plain"}):
        with he.Session(device="cpu", **arguments) as s:
            step = Counted(lambda x: x * 0.5)
            taken, x = s.captured(step), s.share([1.0])
            for _ in range(4):
                assert taken(x).reveal().tolist() == [0.5]
            assert step.n_calls == 4


def test_steps_within_steps_are_part_of_them(graph_device):
    with session(graph_device) as s:
        inner = Counted(lambda x: x * 0.5)
        half = s.captured(inner)
        outer = Counted(lambda x: half(half(x)))
        quarter = s.captured(outer)
        for _ in range(6):
            assert quarter(s.share([8.0])).reveal().round(2).tolist() == [2.0]
        assert (outer.n_calls, inner.n_calls) == (3, 6)


def test_steps_of_two_sessions_side_by_side(graph_device):
    def run(device):
        with session(device) as one, session(device, "replicated", seed=9) as two:
            taken = []
            for s in (one, two):
                step, operands = network(s)
                taken.append((s.captured(step), operands))
            return [bits(step(*operands)) for _ in range(5) for step, operands in taken]

    for found, expected in zip(run(graph_device), run("cpu"), strict=True):
        for got, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_what_a_step_was_given_it_may_return(graph_device):
    with session(graph_device) as s:
        kept = s.share(B)
        taken = s.captured(lambda x: (x, x.T, x[0], x.reshape(-1), kept, kept.T))
        found = [taken(s.share(A * n)) for n in range(1, 7)]
        for n, results in enumerate(found, 1):
            for result, expected in zip(results, (A, A.T, A[0], A.ravel()), strict=False):
                np.testing.assert_array_equal(result.reveal(), n * expected)
            assert np.array_equal(results[-2].reveal(), B)
            assert np.array_equal(results[-1].reveal(), B.T)


def test_a_square_of_one_operand_is_no_product_of_two(graph_device):
    runs = []
    for device in ("cpu", graph_device):
        with session(device) as s:
            taken, found = s.captured(lambda x, y: x * y), []
            x, y = s.share(A), s.share(2 * A)
            for operands in ((x, x), (x, y), (y, y), (x, x), (x, y), (x, x), (y, x), (y, x)):
                found += [*bits(taken(*operands)), s.cost]
            runs.append(found)
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))


def test_tensors_that_are_no_operands_live_on(graph_device):
    with session(graph_device) as s:
        rest = [s.share(A).masked(), s.share(B)]

        def step(x, found=rest):
            first, second = found
            return he.concatenate([x, first[[1, 0]]]) @ second + first.T.sum()

        taken, x = s.captured(step), s.share(A)
        expected = np.concatenate([A, A[[1, 0]]]) @ B + A.sum()
        for _ in range(3):
            taken(x)
        rest[:] = [None, None]
        gc.collect()
        others = [s.share(A * n) for n in range(20)]  # where they lay, if anywhere
        for _ in range(2):
            np.testing.assert_allclose(taken(x).reveal(), expected, atol=1e-3)
        assert len(others) == 20


def test_an_error_in_the_first_call_makes_the_next_one_the_first(graph_device):
    with session(graph_device, "replicated") as s:
        fails = iter([True])

        def step(x):
            if next(fails, False):
                raise ValueError("wrong")
            return x * x > 1

        counted = Counted(step)
        taken, x = s.captured(counted), s.share(A)
        with pytest.raises(ValueError, match="wrong"):
            taken(x)
        for _ in range(6):
            assert np.array_equal(taken(x).reveal(), A * A > 1)
        assert counted.n_calls == 4


def test_a_generator_of_another_step_delays_the_recording(graph_device):
    with session(graph_device, "replicated") as s:
        counted = Counted(lambda x: x * x)
        taken, x = s.captured(counted), s.share(A)
        taken(x), taken(x)
        (s.share(A, owner="carol") > 0).reveal()
        for _ in range(4):
            np.testing.assert_allclose(taken(x).reveal(), A * A, atol=1e-4)
        assert counted.n_calls == 4


# What is refused


def test_state_that_is_no_operand_is_refused(graph_device):
    with session(graph_device) as s:
        x = s.share(A)
        for change in (lambda w, x: w + x, lambda w, x: s.share(A), lambda w, x: w.T.T + 0):
            kept = [s.share(A)]

            def step(x, kept=kept, change=change):
                result = kept[0] * x
                kept[0] = change(kept[0], x)
                return result

            taken = s.captured(step)
            taken(x), taken(x)
            with pytest.raises(CaptureError, match="must be an operand"):
                taken(x)


def test_a_step_that_does_not_repeat_is_refused(graph_device):
    def varying(change):
        number = iter(range(100))
        return lambda x: change(x, next(number))

    changes = {
        "public words": lambda x, i: x * (1 + i),
        r"public words 0 .*, of shape \(3,\), differ": lambda x, i: (
            x + np.full(i + 1, 1.0) if i < 3 else x
        ),
        "launch": lambda x, i: x * x if i < 2 else x + x,
        "read what it computes": lambda x, i: x if i < 1 else x * x.reveal(),
    }
    for message, change in changes.items():
        with session(graph_device) as s:
            taken, x = s.captured(varying(change)), s.share([1.0])
            taken(x)
            with pytest.raises(CaptureError, match=message):
                [taken(x) for _ in range(2)]
            assert (x * x).reveal().round(2).tolist() == [1.0]


def test_after_an_error_the_step_begins_anew(graph_device):
    with session(graph_device) as s:
        factors = iter([1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 9.0])
        taken = s.captured(lambda x: x * next(factors))
        x = s.share([1.0])
        taken(x), taken(x)
        with pytest.raises(CaptureError):
            taken(x)
        assert [taken(x).reveal().round(2).tolist() for _ in range(5)] == [[3.0]] * 5
        assert next(factors) == 9.0


def test_generators_that_appear_meanwhile(graph_device):
    with session(graph_device) as s:
        draws = iter([False, False, True])
        taken = s.captured(lambda x: x + s.share([1.0], owner="bob") if next(draws) else x + x)
        x = s.share([1.0])
        taken(x), taken(x)
        with pytest.raises(CaptureError):
            taken(x)


def test_operands_and_results_are_checked():
    with he.Session(device="cpu", graph=True) as s, he.Session(device="cpu") as other:
        x = s.share([1.0])
        taken = s.captured(lambda *operands: operands[0])
        with pytest.raises(ArgumentTypeError, match="captured: operand 1 must be a SecretTensor"):
            taken(x, 2.0)
        with pytest.raises(ArgumentValueError, match="captured: operand 0 belongs to another"):
            taken(other.share([1.0]))
        with pytest.raises(ArgumentTypeError, match="captured: the step must return a SecretT"):
            s.captured(lambda x: 3)(x)
        with pytest.raises(ArgumentTypeError, match="captured: step must be callable, got int"):
            s.captured(3)
        with pytest.raises(ArgumentTypeError, match="Session: graph must be a bool, got int"):
            he.Session(device="cpu", graph=1)
        s.close()
        with pytest.raises(SessionClosedError, match="captured"):
            taken(x)


def test_a_forked_child_cannot_repeat_its_parents_steps(graph_device):
    if graph_device == "cuda":
        pytest.skip("CUDA does not survive a fork at all")
    with session("emulator") as s:
        taken, x = s.captured(lambda x: x * x), s.share([1.0])
        for _ in range(4):
            taken(x)
        child = os.fork()
        if not child:
            try:
                taken(x)
            except ForkedProcessError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
