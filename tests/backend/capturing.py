"""CuPy's streams, events and memory pools as recorders, on the arrays of `strict`.

A capture runs the work at once, as CUDA does not, and refuses what it could not repeat; a replay
only notes on which stream. So each line that gives work to CuPy runs here in its order.
"""

import weakref
from contextlib import contextmanager
from types import SimpleNamespace

from tests.backend import strict


class Cupy:
    """Stands for the module `cupy`.

    Attributes:
        calls: what was asked of streams, events and graphs, in order.
        current: the current stream.
        fails: what `end_capture` is to raise, or None.
        shortages: how often the next calls for memory fail.
    """

    ndarray = strict.StrictArray

    def __init__(self):
        vars(self).update({k: v for k, v in vars(strict.module).items() if k != "cuda"})
        self.calls, self.fails, self.shortages, self.allocate = [], None, 0, None
        self._known = {}
        self.null = self.current = Stream(self, "null")
        self.cuda = SimpleNamespace(
            Stream=lambda non_blocking: Stream(self, "own", non_blocking),
            MemoryPool=lambda allocator: Pool(self, allocator),
            MemoryPointer=lambda memory, offset: SimpleNamespace(
                mem=memory, ptr=memory.ptr + offset
            ),
            Memory=self.memory,
            get_current_stream=lambda: self.current,
            using_allocator=self.using_allocator,
            runtime=SimpleNamespace(CUDARuntimeError=strict.RefusedError),
            driver=SimpleNamespace(CUDADriverError=OSError),
        )

        self.get_default_memory_pool = lambda: SimpleNamespace(
            free_all_blocks=lambda: self.calls.append(("free",))
        )

    def memory(self, n_bytes):
        assert n_bytes == self.pending.nbytes
        if self.shortages:
            self.shortages -= 1
            raise strict.RefusedError("out of memory")
        return SimpleNamespace(ptr=self.pending.ctypes.data)

    @contextmanager
    def using_allocator(self, allocate):
        before = self.allocate
        self.allocate = allocate
        try:
            yield
        finally:
            self.allocate = before

    def asked(self, host):
        """Ask the allocator in force for the memory of an array, once."""
        memory = strict.memory_of(host)
        known = self._known.get(id(memory))
        if memory.size and (known is None or known() is not memory):
            self._known[id(memory)] = weakref.ref(memory)
            if self.allocate is not None:
                self.pending = memory
                self.allocate(memory.nbytes)

    @contextmanager
    def watching(self):
        """Let the strict arrays of this block ask here for memory."""
        strict.watched.allocator = self.asked
        try:
            yield self
        finally:
            strict.watched.allocator, strict.watched.capturing = None, False


class Pool:
    """Stands for `cupy.cuda.MemoryPool`; nothing that was free lies in it."""

    def __init__(self, cupy, allocator):
        self.cupy, self.allocator = cupy, allocator

    def malloc(self, n_bytes):
        try:
            return self.allocator(n_bytes)
        except strict.RefusedError:
            raise AssertionError("CuPy frees memory here that a capture has used") from None


class Stream:
    """Stands for `cupy.cuda.Stream`."""

    def __init__(self, cupy, name, non_blocking=False):
        self.cupy, self.name, self.non_blocking = cupy, name, non_blocking
        self.before = []

    def __enter__(self):
        self.before.append(self.cupy.current)
        self.cupy.current = self
        return self

    def __exit__(self, *error):
        self.cupy.current = self.before.pop()

    def record(self):
        assert not strict.watched.capturing
        self.cupy.calls.append(("record", self.name))
        return SimpleNamespace(stream=self)

    def wait_event(self, event):
        assert not strict.watched.capturing
        self.cupy.calls.append(("wait", self.name, event.stream.name))

    def begin_capture(self):
        assert self.non_blocking
        assert self.cupy.current is self
        assert self.cupy.allocate is not None
        self.cupy.calls.append(("begin", self.name))
        strict.watched.capturing = True

    def end_capture(self):
        if not strict.watched.capturing:
            raise strict.RefusedError("no stream is captured")
        self.cupy.calls.append(("end", self.name))
        strict.watched.capturing = False
        if self.cupy.fails is not None:
            raise self.cupy.fails
        return SimpleNamespace(launch=self.launched)

    def launched(self, stream):
        assert not strict.watched.capturing
        self.cupy.calls.append(("launch", stream.name))


class Gpu:
    """Stands for `cupy.cuda.Device`."""

    def __init__(self):
        self.depth = 0

    def __enter__(self):
        self.depth += 1

    def __exit__(self, *error):
        self.depth -= 1


class CapturingEmulator(strict.StrictEmulator):
    """The emulator with strict arrays and graphs of CUDA's kind."""

    def __init__(self):
        super().__init__()
        self.cupy = Cupy()
        self.xp, self.gpu = self.cupy, Gpu()
        self.on = []
        """The stream of each kernel that was started."""

    def graph(self):
        from he_gpu.backend.cuda import CudaGraph

        return CudaGraph(self.cupy, self.gpu)

    def _start(self, *start):
        self.on.append(self.cupy.current.name)
        super()._start(*start)
