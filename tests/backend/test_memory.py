"""The pool of NumPy's memory: blocks come back when nobody uses them, and not before."""

import gc
import os
import signal
import threading
import warnings
from collections import OrderedDict

import numpy as np
import pytest

from he_gpu.backend.definition import memory

LARGE = memory.SMALLEST // 8


@pytest.fixture
def blocks(monkeypatch):
    """A pool that nobody else has used, and to which nothing of earlier tests comes back."""
    gc.collect()
    pool = memory._Blocks()
    monkeypatch.setattr(memory, "_blocks", pool)
    return pool


def kept(pool):
    return {size: len(found) for size, found in pool._free.items()}


def test_a_block_serves_again_once_its_last_view_is_gone(blocks):
    array = memory.empty((2, LARGE), np.uint64)
    array[...] = 7
    view = array.reshape(-1)[3:]
    del array
    gc.collect()
    assert kept(blocks) == {}
    other = memory.empty((2, LARGE), np.uint64)
    other[...] = 1
    assert (view == 7).all()
    address = view.__array_interface__["data"][0] - 3 * 8
    del view
    gc.collect()
    assert kept(blocks) == {16 * LARGE: 1}
    again = memory.empty((LARGE, 2), np.uint64)
    assert again.__array_interface__["data"][0] == address
    assert again.shape == (LARGE, 2)
    assert again.flags.c_contiguous
    assert again.flags.writeable


def test_small_arrays_and_other_types(blocks):
    assert memory.empty((), np.uint32).shape == ()
    assert memory.empty((0, 5), np.uint64).size == 0
    assert memory.empty((LARGE, 4), np.uint32).dtype == np.uint32
    assert memory.empty((LARGE - 1,), np.uint64).base is None


def test_nearly_equal_sizes_share_a_block(blocks):
    """Each power of two has four sizes; up to a quarter of a block stays unused."""
    for n, whole in ((4, 4), (4.001, 5), (4.9, 5), (5, 5), (5.1, 6), (7.2, 8), (8, 8), (8.1, 10)):
        array = memory.empty((int(n * LARGE),), np.uint64)
        array[...] = 1
        assert array.size == int(n * LARGE)
        del array
        gc.collect()
        assert 8 * whole * LARGE in kept(blocks)
    assert all(found == 1 for found in kept(blocks).values())


def test_old_sizes_make_room_for_new_ones(blocks, monkeypatch):
    monkeypatch.setattr(memory, "LARGEST_SUM", 200 * LARGE)
    for n in (4, 5, 6, 7, 8):
        memory.empty((n * LARGE,), np.uint64)
    gc.collect()
    assert sum(size * n for size, n in kept(blocks).items()) <= 200 * LARGE
    assert 8 * 8 * LARGE in kept(blocks)
    assert 8 * 4 * LARGE not in kept(blocks)
    memory.empty((28 * LARGE,), np.uint64)  # more than may be kept at all
    gc.collect()
    assert 8 * 28 * LARGE not in kept(blocks)


class Collecting(OrderedDict):
    """A dictionary within whose calls a garbage collection gives back another block."""

    def __init__(self, pool):
        super().__init__()
        self.pool, self.left = pool, 3

    def collect(self):
        if self.left:
            self.left -= 1
            self.pool.give(np.empty(16 * LARGE, np.uint8))

    def get(self, *args):
        found = super().get(*args)
        self.collect()
        return found

    def pop(self, *args):
        found = super().pop(*args)
        self.collect()
        return found


def test_a_garbage_collection_within_a_change_miscounts_nothing(blocks):
    blocks._free = Collecting(blocks)
    for _ in range(3):
        arrays = [memory.empty((2, LARGE), np.uint64) for _ in range(2)]
        del arrays
        gc.collect()
        assert blocks._n_bytes == sum(size * n for size, n in kept(blocks).items()) > 0
    assert blocks._free.left == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_waits_for_no_thread_of_its_parent(blocks):
    held, done = threading.Event(), threading.Event()

    def change():
        with blocks._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=change)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # ends the child where it waits
        memory.empty((2, LARGE), np.uint64)
        os._exit(0)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_what_cannot_be_had_leaves_nothing_behind(blocks):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MemoryError):
            memory.empty((2**50,), np.uint64)
        gc.collect()


def test_room_for_a_result():
    small, large = np.zeros(3, np.uint64), np.zeros(LARGE, np.uint64)
    assert memory.room_for(small, small) is None
    assert memory.room_for(large[:, None], small).shape == (LARGE, 3)
