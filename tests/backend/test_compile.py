"""Every kernel family compiles for every architecture, without a GPU."""

import functools
import itertools
import re

import pytest

from he_gpu.backend import loader, nvrtc
from he_gpu.errors import KernelSourceError

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


@functools.cache
def compiled(family, architecture):
    return nvrtc.compile_source(loader.load(family), architecture)


@pytest.mark.parametrize(
    ("family", "architecture"),
    [
        *itertools.product(loader.families(), nvrtc.ARCHITECTURES),
        ("matmul_warpgroup", "sm_90a"),
    ],
)
def test_family_compiles(family, architecture):
    source = loader.load(family)
    cubin, log = compiled(family, architecture)
    assert cubin.startswith(b"\x7fELF")
    assert "warning" not in log
    for kernel in source.kernels:
        assert kernel.encode() + b"\0" in cubin


@pytest.mark.parametrize("architecture", ["sm_80", "sm_89", "sm_90", "sm_100"])
@pytest.mark.parametrize("family", ["conv", "conv_limb", "matmul", "matmul_limb", "matmul_residue"])
def test_matrix_products_keep_their_sums_in_registers(family, architecture):
    used = nvrtc.resources(compiled(family, architecture)[1])
    assert set(used) == set(loader.load(family).kernels)
    for name, resources in used.items():
        # 64 bytes are 16 registers of 255: addresses, saved once around the loop.
        assert resources.spill_store_bytes <= 64, (name, resources)
        assert resources.spill_load_bytes <= 64, (name, resources)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_transforms_keep_their_words_in_registers(architecture):
    used = nvrtc.resources(compiled("ntt", architecture)[1])
    assert set(used) == set(loader.load("ntt").kernels)
    for name, resources in used.items():
        assert resources.spill_store_bytes <= 16, (name, resources)
        # A block of columns has 512 threads, one of rows 256: two and four on a multiprocessor.
        assert resources.registers <= 64, (name, resources)


SPILLS = """
#include "primitives.cuh"
extern "C" __global__ __launch_bounds__(1024) void spill(u32* x) {
    u32 words[200];
#pragma unroll
    for (u32 i = 0; i < 200; i++) words[i] = x[i];
    for (u32 j = 0; j < 200; j++) {
#pragma unroll
        for (u32 i = 0; i < 200; i++) words[i] = words[i] * words[(i + 7) % 200] + x[j];
    }
#pragma unroll
    for (u32 i = 0; i < 200; i++) x[i] = words[i];
}
"""


def test_the_report_of_resources_sees_a_spill():
    _, log = nvrtc.compile_source(loader.parse("spill", SPILLS), "sm_90")
    found = nvrtc.resources(log)["spill"]
    assert found.registers == 64
    assert found.stack_bytes >= 4 * (200 - 64)
    assert found.spill_store_bytes > 64
    assert found.spill_load_bytes > 64


def test_limb_products_run_on_integer_tensor_cores():
    products = {
        "matmul_limb_ring_u64": 36,
        "matmul_limb_b2_ring_u64": 15,
        "matmul_limb_b1_ring_u64": 8,
        "matmul_limb_ring_u32": 10,
        "matmul_limb_mod_u64": 9,
        "matmul_limb_m2_mod_u64": 4,
        "matmul_limb_kept_ring_u64": 36,
        "matmul_limb_kept_ring_u32": 10,
        "conv_limb_ring_u64": 36,
        "conv_limb_ring_u32": 10,
    }
    bodies = {}
    for family in ("matmul_limb", "conv_limb"):
        ptx = nvrtc.compile_ptx(loader.load(family), "compute_80")
        bodies |= {part[: part.index("(")]: part for part in ptx.split(".visible .entry ")[1:]}
    assert set(bodies) == {*products, "cut_planes_ring_u64", "cut_planes_ring_u32"}
    for name in products:
        body = bodies[name]
        # A warp multiplies 32 x 16 results by 4 instructions, or 32 x 32 by 8.
        tiles = 4 if "64" in name and "mod" not in name else 8
        found = re.findall(r"mma\.sync\.aligned\.m16n8k32\.row\.col\.s32\.(\w+)\.(\w+)", body)
        assert len(found) == tiles * products[name], name
        unsigned = 8 * tiles if name == "matmul_limb_b2_ring_u64" else 0
        assert found.count(("s8", "u8")) == unsigned
        assert "cp.async." in body
        assert "ldmatrix.sync" in body


def test_products_of_residues_run_on_integer_tensor_cores():
    ptx = nvrtc.compile_ptx(loader.load("matmul_residue"), "compute_80")
    bodies = {part[: part.index("(")]: part for part in ptx.split(".visible .entry ")[1:]}
    assert set(bodies) == set(loader.load("matmul_residue").kernels)
    for name, body in bodies.items():
        found = body.count("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8")
        # A warp multiplies 64 x 64 results by 32 instructions, twice in a step.
        assert found == (64 if name == "multiply_residues_s8" else 0)
        assert ("cp.async." in body) == ("ldmatrix.sync" in body) == (found > 0)
        assert not re.search(r"\.f(32|64)\b", body), name  # the quotient is found in integers


def test_products_of_warpgroups_run_in_the_background_on_sm_90a():
    source = loader.load("matmul_warpgroup")
    log = compiled("matmul_warpgroup", "sm_90a")[1]
    # ptxas says so where it makes products wait for one another.
    assert "serialized" not in log
    used = nvrtc.resources(log)
    assert set(used) == set(source.kernels)
    for name, resources in used.items():
        # 64 bytes are saved once around the loop, if at all.
        assert resources.spill_store_bytes <= 16, (name, resources)
        assert resources.spill_load_bytes <= 16, (name, resources)
        # Three warps of 168 registers fill a quarter of a multiprocessor; 128 of them are sums.
        assert resources.registers <= (168 if name.startswith("multiply") else 128), name
    ptx = nvrtc.compile_ptx(source, "compute_90a", ["-DHE_GPU_WARPGROUP"])
    bodies = {part[: part.index("(")]: part for part in ptx.split(".visible .entry ")[1:]}
    assert set(bodies) == set(source.kernels)
    for name, body in bodies.items():
        # A step of 128 in four products of 32; each diagonal of digits has a loop of its own.
        found = body.count("wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8")
        assert found == {"multiply_tiles_s8": 4, "multiply_limb_tiles_u32": 16}.get(name, 0)
        assert ("cp.async.bulk.shared" in body) == ("mbarrier." in body) == (found > 0)
        assert "trap;" not in body


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
