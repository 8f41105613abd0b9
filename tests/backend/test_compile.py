"""Every kernel family compiles for every architecture, without a GPU."""

import pytest

from he_gpu.backend import loader, nvrtc
from he_gpu.backend.faults import KernelSourceError

pytestmark = pytest.mark.usefixtures("require_nvrtc")

PRIMITIVES = """
#include "primitives.cuh"
extern "C" __global__ void use_primitives(const u64* x, u32* y, u64 n) {
    DYNAMIC_SHARED(u32, words);
    words[threadIdx.x] = rotate_left_u32(static_cast<u32>(mul_hi_u64(x[threadIdx.x], n)), 7);
    block_barrier();
    u32 sum = words[blockDim.x - 1 - threadIdx.x] + mul_hi_u32(y[0], 3);
    sum += shuffle_down(0xffffffffu, sum, 16);
    sum += shuffle_xor(0xffffffffu, sum, 1) + shuffle(0xffffffffu, sum, 0);
    warp_barrier(0xffffffffu);
    for (u64 i = global_index(); i < n; i += global_stride()) y[i] = sum;
}
"""


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("family", loader.families())
def test_family_compiles(family, architecture):
    source = loader.load(family)
    cubin, log = nvrtc.compile_source(source, architecture)
    assert cubin.startswith(b"\x7fELF")
    assert "warning" not in log
    for kernel in source.kernels:
        assert kernel.encode() + b"\0" in cubin


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_every_primitive_compiles(architecture):
    cubin, log = nvrtc.compile_source(loader.parse("primitives", PRIMITIVES), architecture)
    assert cubin.startswith(b"\x7fELF")
    assert "use_primitives" in log
    assert "registers" in log


def test_errors_name_the_file_and_line_of_the_source():
    text = '#include "primitives.cuh"\n\nextern "C" __global__ void f(u64* x) { *x = absent; }\n'
    with pytest.raises(KernelSourceError, match=r"broken\.cu\(3\): error.*absent"):
        nvrtc.compile_source(loader.parse("broken", text), "sm_90")
