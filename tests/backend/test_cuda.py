"""The CUDA device: what is missing is named, and CuPy gets the call that it needs."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import he_gpu
from he_gpu.backend import cuda, launch, loader, nvrtc
from he_gpu.errors import ArgumentValueError, DeviceUnavailableError, UnknownDeviceError

SOURCE = loader.parse(
    "sample",
    """
    #include "primitives.cuh"
    extern "C" __global__ void fill_u64(u64* x, const u64* y, u64 n) {
        if (y == nullptr) for (u64 i = threadIdx.x; i < n; i += blockDim.x) x[i] = n;
    }
    """,
)


class Failing:
    """Raises what CuPy would, whatever is called."""

    def __init__(self, message):
        self.message = message

    def __getattr__(self, name):
        def call(*args):
            raise RuntimeError(self.message)

        return call


class CupyArray(np.ndarray):
    """Stands for a CuPy array: it says on which device it lies."""

    device = SimpleNamespace(id=0)


class Record:
    """Stands for CuPy: keeps what the kernels were called with."""

    ndarray = CupyArray

    def __init__(self):
        self.calls = []
        self.sources = []
        self.options = []
        self.current = 0
        runtime = SimpleNamespace(getDeviceCount=lambda: 2, getDevice=lambda: self.current)
        nvrtc = SimpleNamespace(getVersion=lambda: (13, 0))
        self.cuda = SimpleNamespace(runtime=runtime, nvrtc=nvrtc, Device=self.device)

    def device(self, index):
        record = self

        class Device:
            compute_capability = ("75", "120")[index]
            attributes = {  # noqa: RUF012 - CuPy's way
                "MultiProcessorCount": (40, 188)[index],
                "MaxSharedMemoryPerBlockOptin": (64, 99)[index] * 1024,
            }

            def __enter__(self):
                self.before, record.current = record.current, index

            def __exit__(self, *error):
                record.current = self.before

        return Device()

    def RawModule(self, code, options):  # noqa: N802 - CuPy's name
        self.sources.append(code)
        self.options.append(options)
        record = self

        class Kernel:
            max_dynamic_shared_size_bytes = 0

            def __init__(self, name):
                self.name = name

            def __call__(self, grid, block, args, *, shared_mem):
                most = self.max_dynamic_shared_size_bytes
                record.calls.append(
                    (self.name, grid, block, args, shared_mem, most, record.current)
                )

        return SimpleNamespace(get_function=Kernel)


@pytest.fixture
def without_cache():
    cuda.probe.cache_clear()
    yield
    cuda.probe.cache_clear()


@pytest.fixture
def cupy(monkeypatch, without_cache):
    record = Record()
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(cuda, "_import_cupy", lambda: record)
    return record


def test_without_cupy_the_install_command_is_named(monkeypatch, without_cache):
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: None)
    assert "pip install '.[cuda13]'" in cuda.probe(0)
    with pytest.raises(DeviceUnavailableError, match=r"cuda:1: CuPy is not installed"):
        cuda.Cuda("cuda:1")


def test_a_cupy_that_fails_on_import_is_named(monkeypatch, without_cache):
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(cuda, "_import_cupy", Failing("libcuda\nmore").anything)
    assert "cannot be imported (RuntimeError: libcuda);" in cuda.probe(0)


def test_a_missing_driver_is_named(cupy):
    cupy.cuda.runtime = Failing("cudaErrorNoDevice")
    assert cuda.probe(0) == ("CuPy finds no NVIDIA driver or GPU (RuntimeError: cudaErrorNoDevice)")


def test_a_missing_compiler_is_named(cupy):
    cupy.cuda.nvrtc = Failing("libnvrtc.so")
    assert "no CUDA compiler NVRTC (RuntimeError: libnvrtc.so)" in cuda.probe(0)


def test_an_index_out_of_range_is_named(cupy):
    assert cuda.probe(1) is None
    assert cuda.probe(2) == "no CUDA device 2: this machine has 2, counted from 0"


@pytest.mark.parametrize("name", ["cuda:", "cuda:x", "cuda:-1", "gpu"])
def test_a_name_that_is_no_cuda_device_is_refused(name):
    with pytest.raises(UnknownDeviceError, match=name):
        cuda.Cuda(name)


def test_what_reaches_cupy(cupy):
    device = cuda.Cuda("cuda:1")
    assert (device.name, device.index, device.xp) == ("cuda:1", 1, cupy)
    device.add_source(SOURCE)
    x = np.zeros(4, np.uint64).view(CupyArray)
    x.device = SimpleNamespace(id=1)
    n = np.uint64(4)
    big = launch.STATIC_SHARED_BYTES + 16
    device.launch("sample", "fill_u64", (2,), (32, 2), (x, None, n))
    cupy.current = 1
    device.launch("sample", "fill_u64", (2,), (32,), (x, x, n), shared_bytes=big)
    first, second = cupy.calls
    assert first[:3] == ("fill_u64", (2, 1, 1), (32, 2, 1))
    assert first[3][0] is x
    assert type(first[3][1]) is np.uint64
    assert first[3][1:] == (0, n)
    assert first[4:] == (0, 0, 1)
    assert second[4:] == (big, big, 1)
    assert cupy.sources == [SOURCE.text]


def test_the_architecture_is_two_numbers(cupy):
    assert [cuda.Cuda(name).compute_capability for name in ("cuda", "cuda:1")] == [(7, 5), (12, 0)]
    assert [cuda.Cuda(name).multiprocessors for name in ("cuda", "cuda:1")] == [40, 188]
    assert [cuda.Cuda(name).max_shared_bytes for name in ("cuda", "cuda:1")] == [65536, 101376]


@pytest.mark.parametrize("version", [(12, 0), (12, 8), (12, 9), (13, 0)])
@pytest.mark.parametrize("capability", [(8, 0), (9, 0), (10, 0), (12, 0)])
@pytest.mark.parametrize("header", ["primitives", "warpgroup"])
def test_what_sm_90a_alone_has_is_compiled_for_it(cupy, monkeypatch, header, capability, version):
    monkeypatch.setattr(cuda.Cuda, "compute_capability", capability)
    cupy.cuda.nvrtc = SimpleNamespace(getVersion=lambda: version)
    device = cuda.Cuda("cuda")
    # NVRTC to 12.8 refuses: "--gpu-architecture (-arch) defined more than once".
    assert device.has_warpgroups == (capability == (9, 0) and version >= (12, 9))
    text = f'#include "{header}.cuh"\nextern "C" __global__ void nothing(u32* x) {{ *x = 1; }}'
    device.add_source(loader.parse("sample", text))
    device.launch("sample", "nothing", (1,), (1,), (np.zeros(1, np.uint32).view(CupyArray),))
    options = [("--std=c++17",)]
    if header == "warpgroup" and device.has_warpgroups:
        options = [("--std=c++17", "-arch=sm_90a", "-DHE_GPU_WARPGROUP")]
    assert cupy.options == options


@pytest.mark.usefixtures("require_nvrtc")
@pytest.mark.parametrize("orders", [("sm_90a", "sm_90"), ("sm_90", "sm_90a")])
def test_the_compiler_takes_sm_90a_beside_the_architecture_that_cupy_names(orders):
    text = '#include "warpgroup.cuh"\nextern "C" __global__ void f() { products_commit(); }'
    source, (first, second) = loader.parse("sample", text), orders
    ptx = nvrtc.compile_ptx(source, first, [f"-arch={second}", "-DHE_GPU_WARPGROUP"])
    assert ".target sm_90a" in ptx
    assert "wgmma.commit_group" in ptx


def test_an_array_of_another_device_is_refused(cupy):
    device = cuda.Cuda("cuda:1")
    device.add_source(SOURCE)
    x = np.zeros(4, np.uint64).view(CupyArray)
    with pytest.raises(ArgumentValueError, match=r"x lies on CUDA device 0.*runs on cuda:1"):
        device.launch("sample", "fill_u64", (1,), (32,), (x, None, np.uint64(4)))


def test_kernels_run_with_null_pointers_on_every_device(kernel_device):
    kernel_device.add_source(SOURCE)
    x = kernel_device.xp.zeros(100, np.uint64)
    kernel_device.launch("sample", "fill_u64", (1,), (32,), (x, None, np.uint64(99)))
    assert x.tolist() == [99] * 99 + [0]


def test_importing_he_gpu_does_not_import_cupy():
    root = str(Path(he_gpu.__file__).resolve().parents[1])
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import he_gpu, he_gpu.backend.cuda, he_gpu.backend.emulator\n"
        "assert not [name for name in sys.modules if name.startswith('cupy')]"
    )
    subprocess.run([sys.executable, "-c", script, root], check=True)
