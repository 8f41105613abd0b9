"""Recorded work of a device, replayed on other numbers: kernels, and what the array module does."""

import numpy as np
import pytest

from he_gpu.backend import Kept, found, get_backend, recording
from he_gpu.backend.device import elementwise
from he_gpu.errors import CaptureError
from tests.backend import strict
from tests.backend.ring_words import to_host

SHAPE = (2, 3, 4)
WORDS = np.arange(24, dtype=np.uint64).reshape(SHAPE) * np.uint64(0x9E3779B97F4A7C15)
PLACES = np.array([[1, 0], [2, 2]])


@pytest.fixture
def device(kernel_device):
    if isinstance(kernel_device, strict.StrictEmulator):
        pytest.skip("graphs of the emulator are of NumPy's arrays")
    return kernel_device


def in_place(device, x):
    result = x.copy()
    result[:, 1] = x[:, 0]
    result[..., 2] += x[..., 1]
    result ^= x
    device.xp.invert(result, out=result)
    return result


def filled(device, x):
    result = device.xp.zeros((2, 5, 4), x.dtype)
    result[:, 1:4] = x
    return result


# What the library does with arrays between kernels, of one array each.
WORK = {
    "kernel": lambda device, x: elementwise.add(device, x, x, 2**64),
    "kernels": lambda device, x: elementwise.mul(device, elementwise.neg(device, x, 2**64), x, 97),
    "view": lambda device, x: x[:, ::2].transpose(2, 0, 1)[1:],
    "element": lambda device, x: x[1, 2, 3],
    "copy": lambda device, x: x.swapaxes(1, 2).copy(),
    "contiguous": lambda device, x: device.xp.ascontiguousarray(x.swapaxes(0, 2)),
    "reshaped view": lambda device, x: x.reshape(6, 4),
    "reshaped copy": lambda device, x: x.swapaxes(0, 1).reshape(-1),
    "raveled": lambda device, x: x[:, ::2].ravel(),
    "in place": in_place,
    "filled": filled,
    "empty": lambda device, x: device.xp.add(x, x, out=device.xp.empty(SHAPE, x.dtype)),
    "operators": lambda device, x: (x + x[:1]) * np.uint64(3) ^ ~x,
    "shifted": lambda device, x: x >> np.uint64(7),
    "converted": lambda device, x: x.astype(np.uint32),
    "sum": lambda device, x: device.xp.sum(x, axis=(0, 2), keepdims=True, dtype=x.dtype),
    "sum of all": lambda device, x: x.sum(dtype=x.dtype),
    "cumsum": lambda device, x: device.xp.cumsum(x, axis=1, dtype=x.dtype),
    "stacked": lambda device, x: device.xp.stack([x, x[::-1]], axis=1),
    "concatenated": lambda device, x: device.xp.concatenate([x, x[:, :1]], axis=1),
    "broadcast": lambda device, x: device.xp.broadcast_to(x[:, :1], SHAPE) + x,
    "taken": lambda device, x: device.xp.take(x, device.xp.asarray(PLACES), axis=1),
    "chosen": lambda device, x: device.xp.where(x > x[::-1], x, np.uint64(0)),
    "signed": lambda device, x: device.xp.maximum(x.view(np.int64), 0).view(np.uint64),
    "moved axis": lambda device, x: device.xp.moveaxis(x, 0, 2) + np.uint64(1),
}


def flat(results):
    return results if isinstance(results, tuple) else (results,)


@pytest.mark.parametrize("name", WORK)
def test_a_replay_does_the_work_again(device, name):
    work, xp = WORK[name], device.xp
    place = xp.asarray(WORDS)
    work(device, place)  # kernels are compiled, and what is kept is made
    graph = device.graph()
    rehearsed = graph.rehearse(lambda: work(device, graph.found(place)))
    assert np.array_equal(to_host(rehearsed), to_host(work(device, xp.asarray(WORDS))))
    result = graph.record(lambda: work(device, graph.found(place)))
    assert recording() is None
    for factor in (1, 5, 7):
        words = WORDS * np.uint64(factor) + np.uint64(factor)
        place[...] = xp.asarray(words)
        graph.replay()
        expected = to_host(work(device, xp.asarray(words)))
        assert to_host(result).dtype == expected.dtype
        assert np.array_equal(to_host(result), expected), factor


def test_fewer_or_other_launches_are_refused(device):
    x = device.xp.asarray(WORDS)

    def work(n):
        def run():
            for _ in range(n):
                elementwise.add(device, x, x, 2**64)

        return run

    for n, message in (
        (1, "had 2 launches before, now 1"),
        (3, "launch 2 .* was no launch before"),
    ):
        graph = device.graph()
        graph.rehearse(work(2))
        with pytest.raises(CaptureError, match=message):
            graph.record(work(n))
    graph = device.graph()
    graph.rehearse(lambda: elementwise.add(device, x, x, 2**64))
    with pytest.raises(CaptureError, match=r"launch 0 .* was add_ring_u64.* and is neg_ring_u64"):
        graph.record(lambda: elementwise.neg(device, x, 2**64))


def test_words_that_are_moved_are_kept_and_must_be_the_same(device):
    backend = get_backend(device.name)
    host, place = np.array([3, 4], np.uint64), device.xp.asarray(np.array([1, 2], np.uint64))

    def work():
        return backend.add(graph.found(place), backend.asarray(host), 2**64)

    graph = device.graph()
    graph.rehearse(work)
    result = graph.record(work)
    host[...] = 9  # whoever moved them may use the memory again
    graph.replay()
    assert to_host(result).tolist() == [4, 6]
    graph = device.graph()
    graph.rehearse(work)
    host[0] = 8
    with pytest.raises(CaptureError, match=r"public words 0 .*, of shape \(2,\), differ"):
        graph.record(work)
    graph = device.graph()
    graph.rehearse(work)
    with pytest.raises(CaptureError, match="had 1 constants before, now 0"):
        graph.record(lambda: backend.add(graph.found(place), place, 2**64))


def test_the_arrays_that_work_begins_from_must_be_the_same(device):
    places = [device.xp.asarray(WORDS).copy() for _ in range(2)]

    def work(*which):
        return lambda: [found(places[at]) for at in which]

    for again, message in (
        ((0,), "had 2 arrays to begin from before, now 1"),
        ((0, 1, 1), r"array 2 .* of shape \(2, 3, 4\), is another one"),
        ((0, 0), "array 1 .* is another one than before"),
    ):
        graph = device.graph()
        graph.rehearse(work(0, 1))
        with pytest.raises(CaptureError, match=message):
            graph.record(work(*again))
    graph = device.graph()
    empty = device.xp.zeros((0, 3), np.uint64)
    graph.rehearse(lambda: found(empty.copy()))
    graph.record(lambda: found(device.xp.zeros((3, 0), np.uint64)))


def test_nothing_is_read_from_the_device(device):
    backend, place = get_backend(device.name), device.xp.asarray(WORDS)
    graph = device.graph()
    with pytest.raises(CaptureError, match="must not reveal or read what it computes"):
        graph.rehearse(lambda: backend.to_numpy(place))
    assert recording() is None
    graph = device.graph()
    graph.rehearse(lambda: graph.found(place))
    with pytest.raises(CaptureError, match="must not reveal or read what it computes"):
        graph.record(lambda: backend.to_numpy(graph.found(place)))
    assert np.array_equal(backend.to_numpy(place), WORDS)


@pytest.mark.parametrize(
    "read", [bool, int, float, lambda x: x.item(), lambda x: x.tolist(), lambda x: x.tobytes()]
)
def test_the_emulator_refuses_reads_of_single_arrays(device, read):
    if device.name != "emulator":
        pytest.skip("CUDA itself refuses them")
    place = np.array(3, np.uint64)
    graph = device.graph()
    with pytest.raises(CaptureError, match="reads from the device"):
        graph.rehearse(lambda: read(graph.found(place)))
    assert read(place.view(type(graph.found(place)))) == read(place)  # outside it is an array


def test_forms_of_operands_are_kept_where_they_will_be_computed_again(device):
    """A form that a recorded step makes lies in the graph's memory: the step's own alone."""
    place, made = device.xp.asarray(WORDS), []
    outside = Kept(place)

    def form(kept, name):
        return kept.form(
            name, lambda words: made.append(name) or elementwise.neg(device, words, 97)
        )

    def work():
        inside = Kept(found(place))
        for kept, name in ((outside, "outside"), (inside, "inside")):
            form(kept, name), form(kept, name)
        return form(inside, "inside")

    graph = device.graph()
    graph.rehearse(work)
    graph.record(work)
    assert made == ["outside", "outside", "inside"] * 2
    form(outside, "outside")
    graph.rehearse(work)
    assert made[6:] == ["outside", "inside"]


def test_the_cpu_has_no_graphs():
    assert get_backend("cpu").graph() is None
