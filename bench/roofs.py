"""What a device can do at all, measured in the run that is judged by it.

The copy bandwidth bounds what reads and writes memory; the rate of the BLAS product that exact
products are made of bounds those: float64 on a CPU, int8 with int32 sums on CUDA. There 32-bit
operations have roofs too, of ChaCha20's kind and multiplications.
"""

import importlib
import time
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from bench import integer_roofs
from bench.recorder import synchronise
from he_gpu.backend import cuda

ROUNDS = 9
HOST_COPY_BYTES = 2**25
DEVICE_COPY_BYTES = 2**30
HOST_GEMM = 2048
DEVICE_GEMM = 8192
ROOF_NAMES = {
    integer_roofs.MIX: "32-bit additions, exclusive ors, rotations",
    integer_roofs.MULTIPLY: "32-bit multiplications",
}
R_8I, R_32I, COMPUTE_32I, TENSOR_OP, TRANSPOSED, PLAIN = 3, 10, 72, 99, 1, 0
"""Values of cuBLAS's enumerations cudaDataType_t, cublasComputeType_t, cublasGemmAlgo_t and
cublasOperation_t."""


class Roof(NamedTuple):
    """A name, with its unit, and a rate in that unit."""

    name: str
    rate: float


class Roofs:
    """The roofs of one device, each measured when it is first asked for.

    Args:
        backend: the device.

    Attributes:
        measured: rates by name, and why a roof is missing where it is.
    """

    def __init__(self, backend):
        self._backend = backend
        self.measured = {}
        self.copy = cache(self._copy)
        self.gemm = cache(self._gemm)
        self.mix = cache(partial(self._integers, integer_roofs.MIX))
        self.multiply = cache(partial(self._integers, integer_roofs.MULTIPLY))

    def _copy(self):
        """Bytes read and written by a copy of words, GB/s."""
        xp = self._backend.xp
        n_bytes = HOST_COPY_BYTES if self._backend.is_host else DEVICE_COPY_BYTES
        source = xp.ones(n_bytes // 8, np.uint64)
        target = xp.zeros_like(source)
        seconds = self._median(lambda: xp.copyto(target, source))
        return self._keep("copy, GB/s", 2 * n_bytes / seconds / 1e9)

    def _gemm(self):
        """Operations of the device's product, TOP/s; None where it cannot be measured."""
        if self._backend.is_host:
            n = HOST_GEMM
            rng = np.random.default_rng(0)
            a, b = rng.normal(size=(n, n)), rng.normal(size=(n, n))
            out = np.empty((n, n))
            seconds = self._median(lambda: np.matmul(a, b, out=out))
            return self._keep("float64 GEMM, TOP/s", 2 * n**3 / seconds / 1e12)
        name = "int8 GEMM, TOP/s"
        try:
            job = int8_product(self._backend.xp, DEVICE_GEMM)
        except Exception as error:  # an emulator, or a cuBLAS that is absent or too old
            return self._missing(name, error)
        return self._keep(name, 2 * DEVICE_GEMM**3 / self._median(job) / 1e12)

    def _integers(self, kernel):
        """32-bit operations of a kind, TOP/s; None where no kernels are launched."""
        if not hasattr(self._backend.xp, "cuda"):
            return None
        name = f"{ROOF_NAMES[kernel]}, TOP/s"
        try:
            job, operations = integer_roofs.job(cuda.device(self._backend.name), kernel)
            seconds = self._median(job)
        except Exception as error:  # a roof that is missing must cost no row
            return self._missing(name, error)
        return self._keep(name, operations / seconds / 1e12)

    def _missing(self, name, error):
        self.measured[name] = None
        self.measured[f"{name}, why not"] = f"{type(error).__name__}: {error}"

    def _median(self, job):
        times = []
        for _ in range(ROUNDS + 2):
            synchronise(self._backend)
            start = time.perf_counter()
            job()
            synchronise(self._backend)
            times.append(time.perf_counter() - start)
        return float(np.median(times[2:]))

    def _keep(self, name, rate):
        self.measured[name] = float(f"{rate:.5g}")
        return Roof(name, rate)


def int8_product(xp, n):
    """Return a job that multiplies two (n, n) int8 matrices by cuBLAS, after checking it.

    Raises:
        Exception: whatever CuPy raises where it has no cuBLAS that does this.
    """
    cublas = importlib.import_module("cupy_backends.cuda.libs.cublas")
    handles = importlib.import_module("cupy.cuda.device")
    rng = np.random.default_rng(0)
    left, right = (rng.integers(-128, 128, (n, n), np.int8) for _ in range(2))
    a, b = xp.asarray(left), xp.asarray(right)
    out = xp.empty((n, n), np.int32)
    one, zero = np.array(1, np.int32), np.array(0, np.int32)

    def job():
        # cuBLAS counts down columns: out.T = a @ b.T, both operands read along their rows.
        cublas.gemmEx(
            handles.get_cublas_handle(),
            *(TRANSPOSED, PLAIN, n, n, n, one.ctypes.data),
            *(a.data.ptr, R_8I, n, b.data.ptr, R_8I, n),
            *(zero.ctypes.data, out.data.ptr, R_32I, n, COMPUTE_32I, TENSOR_OP),
        )

    job()
    some = slice(0, n, n // 4)
    expected = left[some].astype(np.int32) @ right[some].astype(np.int32).T
    if not np.array_equal(out.get()[some, some].T, expected):
        raise ArithmeticError("cuBLAS's int8 product differs from NumPy's")
    return job
