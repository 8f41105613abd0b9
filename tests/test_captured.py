"""Steps that a device repeats by itself: every bit, cost and nonce as if they were taken."""

import os

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend import emulator
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    CaptureError,
    ForkedProcessError,
    SessionClosedError,
)
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
    "sort": lambda s: (lambda x: (x.sort(axis=1), x.argmax(axis=1)), (s.share(A),)),
    "convolution": lambda s: (
        lambda x, w: he.conv2d(x, w, padding=1),
        (s.share(np.arange(18.0).reshape(1, 2, 3, 3) / 8), s.share(np.ones((2, 2, 2, 2)) / 4)),
    ),
}
NARROW = ("descent", "network", "constants", "comparison", "joined", "places")
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


@pytest.mark.parametrize("protocol", ["additive", "additive-32", "replicated"])
def test_no_nonce_is_used_twice_by_repeated_steps(protocol, monkeypatch):
    """Each start of a kernel is looked at when it happens, with the calls that it then finds."""
    device = emulator.device()
    if isinstance(device, strict.StrictEmulator):
        pytest.skip("graphs of the emulator are of NumPy's arrays")
    start, seen = device._start, []

    def started(kernel, function, grid, block, args, shared_bytes):
        named = dict(zip((p.name for p in kernel.parameters), args, strict=True))
        for first, calls in (
            (("key0", "key1", "key2", "key3", "nonce0", "nonce1"), "calls"),
            *(((*(f"{s}{i}" for i in range(6)),), f"{s}_calls") for s in _STREAMS),
        ):
            if calls in named:
                *key, low, high = (int(named[name]) for name in first)
                made = 0 if named[calls] is None else int(np.asarray(named[calls])[0])
                seen.append((*key, (low + made) % 2**64, high))
        start(kernel, function, grid, block, args, shared_bytes)

    monkeypatch.setattr(device, "_start", started)
    with session("emulator", protocol, seed=None) as s:
        step, (w, x) = network(s)
        taken = s.captured(step)
        at, per_step = len(seen), []
        for number in range(7):
            before = len(seen)
            w, _ = taken(w, x)
            per_step.append(len(seen) - before)
            if number == 4:
                (w * 2 > 1).reveal()
    # The recording runs on the emulator too, with the numbers that its first replay has.
    assert per_step[2] == 2 * per_step[3]
    first = at + per_step[0] + per_step[1]
    half = per_step[2] // 2
    assert seen[first : first + half] == seen[first + half : first + 2 * half]
    made = seen[:first] + seen[first + half :]
    assert per_step[3] > 20
    assert len(set(made)) == len(made)


_STREAMS = ("mask", "c", "low", "top")


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


# What is refused


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
