"""Each PTX wrapper against NumPy, which knows nothing of the wrapper's emulated twin.

The fragments of random matrices are cut here from the tables of the PTX ISA, element by
element, and the results are put together in the same way: on the emulator this tests the
twin, on a GPU the instruction.
"""

import numpy as np
import pytest

from he_gpu.backend import loader, nvrtc
from he_gpu.backend.emulator import Emulator
from he_gpu.errors import KernelFaultError

LANE = np.arange(32)
GROUP, IN_GROUP = LANE // 4, LANE % 4

BYTES = {"s8": (np.int8, np.int8), "s8u8": (np.int8, np.uint8)}
BYTES |= {"u8s8": (np.uint8, np.int8), "u8": (np.uint8, np.uint8)}


def source(text):
    return loader.parse("primitive", '#include "primitives.cuh"\n' + text)


def launch(device, text, kernel, *args, block=32, grid=1, shared_bytes=0):
    """Run an inline kernel on host arrays; those that it may write come back changed."""
    device.add_source(source(text))
    passed = [device.xp.asarray(x) if isinstance(x, np.ndarray) else x for x in args]
    device.launch("primitive", kernel, (grid,), (block,), passed, shared_bytes=shared_bytes)
    for array, result in zip(args, passed, strict=True):
        if isinstance(array, np.ndarray) and result is not array:
            array[...] = result.get()


def pack_a(matrix):
    """Registers (lane, 4) of a 16 x 32 matrix of bytes."""
    packed = np.empty((32, 4, 4), np.uint8)
    for lane in range(32):
        for i in range(16):  # the elements a0 to a15 of the table
            row = lane // 4 + (8 if 4 <= i < 8 or i >= 12 else 0)
            column = lane % 4 * 4 + i % 4 + (16 if i >= 8 else 0)
            packed[lane, i // 4, i % 4] = matrix.view(np.uint8)[row, column]
    return packed.view("<u4")[..., 0]


def pack_b(matrix):
    """Registers (lane, 2) of a 32 x 8 matrix of bytes."""
    packed = np.empty((32, 2, 4), np.uint8)
    for lane in range(32):
        for i in range(8):  # b0 to b7
            row = lane % 4 * 4 + i % 4 + (16 if i >= 4 else 0)
            packed[lane, i // 4, i % 4] = matrix.view(np.uint8)[row, lane // 4]
    return packed.view("<u4")[..., 0]


def cells():
    """Row and column (lane, 4) of the elements c0 to c3 of a 16 x 8 matrix."""
    row = np.stack([GROUP, GROUP, GROUP + 8, GROUP + 8], axis=1)
    column = np.stack([IN_GROUP * 2, IN_GROUP * 2 + 1] * 2, axis=1)
    return row, column


MULTIPLY = """
extern "C" __global__ void multiply(const u32* a, const u32* b, i32* d, u32 n) {
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (u32 i = warp; i < n; i += blockDim.x / 32) {
        u32 left[4], right[2];
        i32 sums[4];
        for (u32 r = 0; r < 4; r++) left[r] = a[(i * 32 + lane) * 4 + r];
        for (u32 r = 0; r < 2; r++) right[r] = b[(i * 32 + lane) * 2 + r];
        for (u32 r = 0; r < 4; r++) sums[r] = d[(i * 32 + lane) * 4 + r];
        MMA(sums, left, right);
        for (u32 r = 0; r < 4; r++) d[(i * 32 + lane) * 4 + r] = sums[r];
    }
}
"""


@pytest.mark.parametrize("kind", BYTES)
def test_products_of_bytes(kernel_device, kind):
    rng = np.random.default_rng(5)
    n = 12
    a_type, b_type = BYTES[kind]
    a = rng.integers(0, 256, (n, 16, 32), np.uint8)
    b = rng.integers(0, 256, (n, 32, 8), np.uint8)
    c = rng.integers(-(2**31), 2**31, (n, 16, 8), np.int64)
    for i, edge in enumerate((0x80, 0xFF, 0x7F)):  # extremes, and sums that wrap both ways
        a[i], b[i], c[i] = edge, (0x80, 0xFF, 0x7F)[i - 1], (2**31 - 1, -(2**31))[i % 2]
    row, column = cells()
    d = np.stack([matrix[row, column] for matrix in c]).astype(np.int32)
    text = MULTIPLY.replace("MMA", f"mma_m16n8k32_{kind}")
    left, right = (np.stack([pack(x) for x in m]) for pack, m in ((pack_a, a), (pack_b, b)))
    launch(kernel_device, text, "multiply", left, right, d, np.uint32(n), block=64)
    product = a.view(a_type).astype(np.int64) @ b.view(b_type).astype(np.int64) + c
    expected = product.astype(np.uint64).astype(np.uint32).view(np.int32)
    np.testing.assert_array_equal(d, np.stack([matrix[row, column] for matrix in expected]))


LOAD = """
extern "C" __global__ void load(const uint4* rows, u32* plain, u32* turned) {
    __shared__ __align__(16) u8 fixed[16 * 64];
    DYNAMIC_SHARED(uint4, tile);
    const u32 t = threadIdx.x;
    tile[t] = rows[t];
    for (u32 i = 0; i < 16; i++) fixed[16 * t + i] = reinterpret_cast<const u8*>(rows + t)[i];
    block_barrier();
    u32 r[4], s[4];
    load_matrix_x4(r, tile + (t ^ 5));
    load_matrix_x4_trans(s, fixed + 16 * (t ^ 5));
    for (u32 i = 0; i < 4; i++) plain[4 * t + i] = r[i], turned[4 * t + i] = s[i];
}
"""


def test_matrices_from_shared_memory(kernel_device):
    rng = np.random.default_rng(6)
    rows = rng.integers(0, 2**32, (64, 4), np.uint32)
    plain, turned = np.zeros((64, 4), np.uint32), np.zeros((64, 4), np.uint32)
    launch(kernel_device, LOAD, "load", rows, plain, turned, block=64, shared_bytes=16 * 64)
    # Lane l gives row l % 8 of matrix l / 8; two warps.
    given = rows.view(np.uint16).reshape(64, 8)[np.arange(64) ^ 5]
    matrices = given.reshape(2, 4, 8, 8)
    first = 2 * IN_GROUP
    for found, whole in ((plain, matrices), (turned, matrices.swapaxes(2, 3))):
        elements = np.stack([whole[:, :, GROUP, first], whole[:, :, GROUP, first + 1]], axis=-1)
        expected = elements.swapaxes(1, 2).astype(np.uint16)  # warp, lane, matrix, element
        np.testing.assert_array_equal(found.view(np.uint16).reshape(2, 32, 4, 2), expected)


TILE_PRODUCT = """
extern "C" __global__ void tile_product(const u8* a, const u8* bt, i32* d) {
    __shared__ __align__(16) u8 a_tile[16 * 32], b_tile[16 * 32];
    const u32 t = threadIdx.x;
    copy_async_16(a_tile + 16 * t, a + 16 * t, true);
    copy_async_16(b_tile + 16 * t, bt + 16 * t, true);
    copy_async_commit();
    copy_async_wait<0>();
    block_barrier();
    u32 left[4], right[4];
    load_matrix_x4(left, a_tile + t % 16 * 32 + t / 16 * 16);
    load_matrix_x4(right, b_tile + (t / 16 * 8 + t % 8) * 32 + t / 8 % 2 * 16);
    for (u32 half = 0; half < 2; half++) {
        i32 sums[4] = {0, 0, 0, 0};
        const u32 b[2] = {right[2 * half], right[2 * half + 1]};
        mma_m16n8k32_s8(sums, left, b);
        for (u32 r = 0; r < 4; r++) {
            d[(t / 4 + r / 2 * 8) * 16 + half * 8 + t % 4 * 2 + r % 2] = sums[r];
        }
    }
}
"""


def test_the_three_primitives_together_multiply_a_tile(kernel_device):
    rng = np.random.default_rng(7)
    a = rng.integers(-128, 128, (16, 32), np.int8)
    b = rng.integers(-128, 128, (32, 16), np.int8)
    d = np.zeros((16, 16), np.int32)
    turned = np.ascontiguousarray(b.T).view(np.uint8)
    launch(kernel_device, TILE_PRODUCT, "tile_product", a.view(np.uint8), turned, d)
    np.testing.assert_array_equal(d, a.astype(np.int32) @ b.astype(np.int32))


COPY = """
extern "C" __global__ void copy(const u8* x, u8* y) {
    __shared__ __align__(16) u8 tile[64 * SIZE];
    const u32 t = threadIdx.x;
    COPY_ASYNC(tile + SIZE * t, x + SIZE * (63 - t), t % 3 != 0);
    copy_async_commit();
    copy_async_wait<0>();
    block_barrier();
    const u32 from = t ^ 32;
    for (u32 i = 0; i < SIZE; i++) y[SIZE * t + i] = tile[SIZE * from + i];
}
"""


@pytest.mark.parametrize("size", [4, 8, 16])
def test_asynchronous_copies_and_their_zeros(kernel_device, size):
    x = np.random.default_rng(size).integers(1, 256, (64, size), np.uint8)
    y = np.zeros_like(x)
    text = COPY.replace("COPY_ASYNC", f"copy_async_{size}").replace("SIZE", str(size))
    launch(kernel_device, text, "copy", x, y, block=64)
    tile = np.where(np.arange(64)[:, None] % 3 != 0, x[::-1], 0)
    np.testing.assert_array_equal(y, tile[np.arange(64) ^ 32])


PIPELINE = """
extern "C" __global__ void pipeline(const uint4* x, uint4* y, u32 n) {
    __shared__ uint4 stages[3][32];
    const u32 t = threadIdx.x;
    for (u32 i = 0; i < 2; i++) {
        copy_async_16(&stages[i][t], x + 32 * i + t, i < n);
        copy_async_commit();
    }
    for (u32 i = 0; i < n; i++) {
        copy_async_wait<1>();
        block_barrier();
        y[32 * i + t] = stages[i % 3][31 - t];
        if (i + 2 < n) copy_async_16(&stages[(i + 2) % 3][t], x + 32 * (i + 2) + t, true);
        copy_async_commit();
    }
    copy_async_wait<0>();
}
"""


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_pipeline_of_three_stages(kernel_device, n):
    x = np.random.default_rng(n).integers(0, 2**32, (n, 32, 4), np.uint32)
    # With n = 1 the second stage is not inside: its address is never read.
    y = np.zeros_like(x)
    launch(kernel_device, PIPELINE, "pipeline", x, y, np.uint32(n))
    np.testing.assert_array_equal(y, x[:, ::-1])


# ---- what only the emulator notices -----------------------------------------


@pytest.fixture(params=["forward", "reverse", "random"])
def ordered(request, require_emulator):
    return Emulator(order=request.param)


EARLY = """
extern "C" __global__ void early(const u32* x, u32* y) {
    __shared__ u32 tile[4][64];
    const u32 t = threadIdx.x;
    for (u32 i = 0; i < 4; i++) tile[i][t] = 1;
    for (u32 i = 0; i < 4; i++) {
        copy_async_4(&tile[i][t], x + t, true);
        if (i < 3) copy_async_commit();
    }
    for (u32 i = 0; i < 4; i++) y[64 * i + t] = tile[i][t];
    copy_async_wait<2>();
    for (u32 i = 0; i < 4; i++) y[64 * (4 + i) + t] = tile[i][t];
    copy_async_wait<0>();
    for (u32 i = 0; i < 4; i++) y[64 * (8 + i) + t] = tile[i][t];
    copy_async_commit();
    copy_async_wait<0>();
    for (u32 i = 0; i < 4; i++) y[64 * (12 + i) + t] = tile[i][t];
}
"""


def test_copies_land_at_the_wait_that_covers_their_group(ordered):
    x = np.arange(64, dtype=np.uint32)
    y = np.zeros((4, 4, 64), np.uint32)
    launch(ordered, EARLY, "early", x, y, block=64)
    poison = np.full(64, 0xA5A5A5A5, np.uint32)
    for step, landed in enumerate((0, 1, 3, 4)):
        for i in range(4):
            np.testing.assert_array_equal(y[step, i], x if i < landed else poison)


UNORDERED = """
extern "C" __global__ void unordered(const u32* x, u32* y) {
    __shared__ u32 tile[32];
    const u32 t = threadIdx.x;
    copy_async_4(&tile[t], x + t, true);
    copy_async_commit();
    block_barrier();
    copy_async_wait<0>();
    BARRIER
    y[t] = tile[31 - t];
}
"""


def test_a_wait_serves_the_thread_that_issued_the_copy_alone(ordered):
    x, y = np.arange(32, dtype=np.uint32), np.zeros(32, np.uint32)
    launch(ordered, UNORDERED.replace("BARRIER", "block_barrier();"), "unordered", x, y)
    np.testing.assert_array_equal(y, x[::-1])
    launch(ordered, UNORDERED.replace("BARRIER", ""), "unordered", x, y)
    assert (y == 0xA5A5A5A5).any()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("copy_async_16(s + 8, x, true); copy_async_wait<0>();", "shared address is not a mul"),
        ("copy_async_16(s, x + 4, true); copy_async_wait<0>();", "global address is not a mul"),
        ("copy_async_8(s, x + 4, false); copy_async_wait<0>();", "global address is not a mul"),
        ("copy_async_4(y, x, true); copy_async_wait<0>();", "not in shared memory"),
        ("copy_async_4(s + 512, x, true); copy_async_wait<0>();", "not in shared memory"),
        ("copy_async_4(s, x, true);", r"exited while its asynchronous copy of primitive\.cu:4"),
        ("copy_async_4(s, x, true);\ncopy_async_commit(); copy_async_wait<1>();", "exited while"),
        ("copy_async_4(s, x, true);\ncopy_async_wait<0>();", "exited while"),
        ("for (u32 i = 0; i < 129; i++) copy_async_4(s, x, true);", "at most 128"),
        ("u32 r[4]; load_matrix_x4(r, s + 4);", "ldmatrix .* is not a multiple of 16"),
        ("u32 r[4]; load_matrix_x4(r, x);", "ldmatrix .* not in shared memory"),
    ],
)
def test_misuse_of_shared_memory_is_a_fault(ordered, body, reason):
    text = (
        'extern "C" __global__ void misuse(const u8* x, u8* y) {\n'
        f"__shared__ __align__(16) u8 s[512];\n{body}\n}}"
    )
    arrays = np.zeros(64, np.uint64).view(np.uint8), np.zeros(64, np.uint8)
    with pytest.raises(KernelFaultError, match=reason):
        launch(ordered, text, "misuse", *arrays)
    # The queue of the fault is forgotten.
    launch(
        ordered,
        LOAD,
        "load",
        np.zeros((64, 4), np.uint32),
        *(np.zeros((64, 4), np.uint32),) * 2,
        block=64,
        shared_bytes=1024,
    )


CALLS = {
    "mma": "mma_m16n8k32_s8(d, a, b);",
    "ldmatrix": "load_matrix_x4(a, s + threadIdx.x % 32);",
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("body", "block", "reason"),
    [
        ("if (threadIdx.x != 9) CALL", 64, "lane 9 of its mask has exited"),
        ("if (threadIdx.x % 2) CALL\nelse CALL", 64, r"lane \d+ of its mask waits at the warp op"),
        ("if (threadIdx.x < 16) CALL\nelse block_barrier();", 32, "waits at the block barrier"),
        ("CALL", 40, "needs 32 lanes, and this warp has 8"),
        ("if (threadIdx.x % 2) { CALL } else OTHER", 32, "waits at the warp operation"),
    ],
)
def test_a_collective_needs_the_whole_warp_at_one_call(ordered, call, body, block, reason):
    other = CALLS["ldmatrix" if call == "mma" else "mma"]
    text = (
        'extern "C" __global__ void partial(u32* y) {\n__shared__ uint4 s[32];\n'
        "u32 a[4] = {1, 2, 3, 4}, b[2] = {5, 6}; i32 d[4] = {0, 0, 0, 0};\n"
        f"{body.replace('CALL', CALLS[call]).replace('OTHER', other)}\n"
        "y[threadIdx.x] = a[0] + d[0];\n}"
    )
    with pytest.raises(KernelFaultError, match=reason) as caught:
        launch(ordered, text, "partial", np.zeros(64, np.uint32), block=block)
    assert "primitive.cu:5" in caught.value.reason or "primitive.cu:6" in caught.value.reason


# ---- what the compiler makes of them ----------------------------------------

INSTRUCTIONS = {
    "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32": MULTIPLY.replace("MMA", "mma_m16n8k32_s8"),
    "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32": MULTIPLY.replace("MMA", "mma_m16n8k32_u8s8"),
    "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32": MULTIPLY.replace("MMA", "mma_m16n8k32_s8u8"),
    "mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32": MULTIPLY.replace("MMA", "mma_m16n8k32_u8"),
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16": LOAD,
    "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16": LOAD,
    "cp.async.ca.shared.global [%r": COPY.replace("COPY_ASYNC", "copy_async_4").replace(
        "SIZE", "4"
    ),
    "cp.async.cg.shared.global [%r": PIPELINE,
    "cp.async.commit_group": PIPELINE,
    "cp.async.wait_group 1": PIPELINE,
}


@pytest.mark.usefixtures("require_nvrtc")
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_the_instruction_is_in_the_ptx(instruction):
    ptx = nvrtc.compile_ptx(source(INSTRUCTIONS[instruction]), "compute_80")
    assert instruction in ptx


@pytest.mark.usefixtures("require_nvrtc")
@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_wrappers_compile_and_older_architectures_trap(architecture):
    texts = (*INSTRUCTIONS.values(), TILE_PRODUCT)
    for text in {*texts}:
        cubin, log = nvrtc.compile_source(source(text), architecture)
        assert cubin.startswith(b"\x7fELF")
        assert "warning" not in log
    ptx = nvrtc.compile_ptx(source(TILE_PRODUCT), architecture.replace("sm", "compute"))
    older = int(architecture[3:]) < 80
    assert ("trap;" in ptx) == older
    assert ("mma.sync" in ptx) != older
