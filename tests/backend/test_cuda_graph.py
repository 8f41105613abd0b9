"""What a CUDA graph asks of CuPy, in which order, and what memory it keeps; without a GPU."""

import gc
import weakref

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend import found, recording, registry
from he_gpu.backend.device import elementwise, leaves, steps
from he_gpu.errors import CaptureError
from tests import test_captured
from tests.backend import capturing, strict
from tests.conftest import require_device

WORDS = np.arange(12, dtype=np.uint64).reshape(3, 4)
PROTOCOLS = ("additive", "additive-32", "replicated")


@pytest.fixture
def device():
    require_device("emulator")
    made = capturing.CapturingEmulator()
    with made.cupy.watching():
        yield made


@pytest.fixture
def sessions(device, monkeypatch):
    """Let sessions on the emulator have that device."""
    backend = strict.backend_of(lambda: device)
    make = registry._make
    monkeypatch.setattr(
        registry, "_make", lambda name: backend if name == "emulator" else make(name)
    )
    return device


def work_of(device):
    place = strict.asarray(WORDS)
    return lambda: elementwise.add(device, found(place), found(place), 2**64)


def test_the_order_of_calls(device):
    calls, work = device.cupy.calls, work_of(device)
    graph = device.graph()
    graph.rehearse(work)
    assert calls == [
        ("record", "null"),
        ("wait", "own", "null"),
        ("record", "own"),
        ("wait", "null", "own"),
    ]
    calls.clear()
    graph.record(work)
    assert calls == [("begin", "own"), ("end", "own")]
    assert device.on == ["own", "own"]
    calls.clear()
    with capturing.Stream(device.cupy, "another"):
        graph.replay()
    graph.replay()
    assert calls == [("launch", "another"), ("launch", "null")]
    assert device.cupy.current is device.cupy.null
    assert device.cupy.allocate is None
    assert device.gpu.depth == 0


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt()])
@pytest.mark.parametrize("phase", ["rehearse", "record"])
def test_an_error_leaves_streams_and_memory_as_they_were(device, error, phase):
    calls, work = device.cupy.calls, work_of(device)
    graph = device.graph()

    def failing():
        work()
        raise error

    if phase == "record":
        graph.rehearse(work)
        calls.clear()
    with pytest.raises(type(error)):
        getattr(graph, phase)(failing)
    if phase == "record":
        assert calls == [("begin", "own"), ("end", "own")]
    else:  # what it did run on its stream comes before all else
        assert calls[-2:] == [("record", "own"), ("wait", "null", "own")]
    assert recording() is None
    assert device.cupy.current is device.cupy.null
    assert device.cupy.allocate is None
    assert device.gpu.depth == 0
    assert not strict.watched.capturing


def test_what_cuda_refuses_is_a_capture_error(device):
    work = work_of(device)
    graph = device.graph()
    graph.rehearse(work)
    with pytest.raises(CaptureError, match="CUDA cannot record this work: get while a stream"):
        graph.record(lambda: work().get())
    graph = device.graph()
    graph.rehearse(work)
    device.cupy.fails = strict.RefusedError("invalidated")
    with pytest.raises(CaptureError, match="CUDA cannot record this work: invalidated"):
        graph.record(work)
    assert not strict.watched.capturing


@pytest.mark.parametrize("phase", ["rehearse", "record"])
def test_a_lack_of_memory_frees_none_of_the_graphs(device, phase):
    work, calls = work_of(device), device.cupy.calls
    for shortages in (1, 2):
        graph = device.graph()
        if phase == "record":
            graph.rehearse(work)
        calls.clear()
        device.cupy.shortages = shortages
        if shortages == 1:
            getattr(graph, phase)(work)
        else:
            with pytest.raises(CaptureError, match="no memory for 96 bytes: out of memory"):
                getattr(graph, phase)(work)
        assert calls.count(("free",)) == 1
        assert not strict.watched.capturing


def test_memory_that_replays_read_is_kept_alive_and_no_other(device):
    graph = device.graph()
    places = {name: strict.asarray(WORDS) for name in ("kernel", "module", "argument")}
    made, first = [], []

    def work():
        x, y = (found(places[name]) for name in ("kernel", "module"))
        inner = elementwise.add(device, x, places["argument"], 2**64)
        first.append(device.xp.zeros((3, 4), np.uint64))
        elementwise.neg(device, first[0], 2**64)  # the rehearsal's, in the recording too
        constant = registry.KernelDevice.asarray(device, np.array([5], np.uint64))
        made.append((weakref.ref(inner._host), weakref.ref(constant._host)))
        return device.xp.concatenate([elementwise.add(device, inner, constant, 2**64), y])

    graph.rehearse(work)
    graph.record(work)
    alive = [weakref.ref(place._host) for place in (*places.values(), first[0])]
    places.clear(), first.clear()
    gc.collect()
    assert [each() is not None for each in alive] == [True] * 4
    inner, constant = made[-1]
    assert inner() is None  # which lives on as memory of the graph's pool
    assert constant() is not None
    last = weakref.ref(graph)
    del graph
    assert [each() for each in (last, *alive, constant)] == [None] * 6


def test_arrays_that_are_others_than_before_are_refused(device):
    places = [strict.asarray(WORDS) for _ in range(2)]
    at = iter((0, 1))
    graph = device.graph()

    def work():
        return elementwise.neg(device, found(places[next(at)]), 2**64)

    graph.rehearse(work)
    with pytest.raises(CaptureError, match=r"array 0 .* of shape \(3, 4\), is another one"):
        graph.record(work)


# Whole steps: nothing of them moves between host and device while they are captured.

STEPS = test_captured.STEPS | {
    "pooled": lambda s: (
        lambda x: he.max_pool2d(x, (1, 10), stride=1),
        (s.share(np.arange(24.0).reshape(1, 2, 12) % 7),),
    ),
    "thresholds": lambda s: (
        lambda x: (x > np.arange(30.0).reshape(10, 3)[:, None]) + (x < np.array([1.0, 2.0, 3.0])),
        (s.share(test_captured.A),),
    ),
}


def test_numbers_that_are_forgotten_in_each_step_are_constants_of_it(sessions):
    """What a device keeps of public numbers is not kept for ever."""
    with test_captured.session("emulator") as s:
        step, operands = STEPS["thresholds"](s)

        def forgetting(x):
            for kept in (leaves._kept_numbers, steps._kept):
                kept.cache_clear()
            return step(x) + x.clip(-1, 1.5).sign() + x.sigmoid()

        taken, expected = s.captured(forgetting), forgetting(*operands).reveal()
        for _ in range(3):
            np.testing.assert_allclose(taken(*operands).reveal(), expected, atol=1e-3)


def test_many_parties_are_captured(sessions):
    with he.Session(parties=9, device="emulator", graph=True) as s:
        taken, x = s.captured(lambda x: x[[1, 0, 1], [2, 0, 0]] * 2.0), s.share(test_captured.A)
        for _ in range(3):
            assert taken(x).reveal().tolist() == [-3.0, 2.0, 0.5]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", STEPS)
def test_steps_are_captured(sessions, protocol, name):
    if protocol == "additive-32" and name not in test_captured.NARROW:
        pytest.skip("its numbers do not fit 32 bits")
    runs, calls = [], sessions.cupy.calls
    for device, graph in (("cpu", False), ("emulator", True)):
        with test_captured.session(device, protocol, graph=graph) as s:
            step, operands = STEPS[name](s)
            taken = s.captured(step)
            runs.append(([test_captured.bits(taken(*operands)) for _ in range(3)], s.cost))
            if graph:
                n_kernels = len(sessions.on)
                taken(*operands)
                assert len(sessions.on) == n_kernels  # nothing but the graph was started
    (expected, cost), (got, captured_cost) = runs
    assert captured_cost == cost
    for a, b in zip(got, expected, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert [call[0] for call in calls] == [
        *("record", "wait", "record", "wait", "begin", "end", "launch", "launch")
    ]
