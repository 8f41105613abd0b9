"""Each wrapper of sm_90a's instructions against NumPy, which knows nothing of its emulated twin.

Tiles are laid out here from the PTX ISA's picture of the 128-byte swizzle, element by element, and
sums are put together from its table of accumulators: on the emulator this tests the twin, on a GPU
of compute capability 9.0 the instruction.
"""

import re

import numpy as np
import pytest

from he_gpu.backend import loader, nvrtc
from he_gpu.backend.emulator import Emulator
from he_gpu.errors import KernelFaultError, KernelSourceError

SHARED = 1024 + 40 * 1024 + 64


def source(text):
    return loader.parse("primitive", '#include "warpgroup.cuh"\n' + text)


def launch(device, text, kernel, *args, block=128, shared_bytes=SHARED):
    """Run an inline kernel on host arrays; those that it may write come back changed."""
    device.add_source(source(text))
    passed = [device.xp.asarray(x) if isinstance(x, np.ndarray) else x for x in args]
    device.launch("primitive", kernel, (1,), (block,), passed, shared_bytes=shared_bytes)
    for array, result in zip(args, passed, strict=True):
        if isinstance(array, np.ndarray) and result is not array:
            array[...] = result.get()


def lay_out(lines):
    """Shared memory, in bytes, of lines of 128 bytes in the 128-byte swizzle.

    Eight lines make an atom of 1024 bytes; in line r of it the 16-byte chunk c stands at c xor r.
    """
    n = len(lines)
    memory = np.empty(n * 128, np.uint8)
    for line in range(n):
        for k in range(128):
            atom, r, chunk = line // 8, line % 8, k // 16
            memory[atom * 1024 + r * 128 + (chunk ^ r) * 16 + k % 16] = lines[line, k]
    return memory


def cells():
    """Row and column (thread, 128) of the accumulators d0 to d127 of m64n256."""
    thread, i = np.arange(128)[:, None], np.arange(128)[None, :]
    warp, lane = thread // 32, thread % 32
    row = warp * 16 + lane // 4 + np.where(i % 4 >= 2, 8, 0)
    column = i // 4 * 8 + lane % 4 * 2 + i % 2
    return row, column


BEGIN = """
    DYNAMIC_SHARED(u8, shared);
    u8* const tile = shared + (0u - window_address(shared)) % 1024;
    u64* const barriers = reinterpret_cast<u64*>(tile + 40 * 1024);
    const u32 t = threadIdx.x;
"""

MULTIPLY = """
extern "C" __global__ __launch_bounds__(128) void multiply(const u8* a, const u8* b, i32* d,
                                                           u32 depth, u32 accumulate) {BEGIN
    if (t == 0) {
        phases_begin(barriers, 1);
        phases_visible();
        phase_expect(barriers, 40 * 1024);
        copy_bulk(tile, a, 8 * 1024, barriers);
        copy_bulk(tile + 8 * 1024, b, 32 * 1024, barriers);
    }
    block_barrier();
    phase_wait(barriers, 0);
    i32 sums[128];
#pragma unroll
    for (u32 i = 0; i < 128; i++) sums[i] = d[128 * t + i];
    const u64 left = tile_descriptor(tile), right = tile_descriptor(tile + 8 * 1024);
    PRODUCTS
#pragma unroll
    for (u32 i = 0; i < 128; i++) d[128 * t + i] = sums[i];
}
""".replace("BEGIN", BEGIN)
ONE = """
    products_begin(sums);
    multiply_m64n256k32_s8(sums, deeper(left, depth), deeper(right, depth), accumulate);
    products_commit();
    products_end(sums);
"""
ALL = """
    products_begin(sums);
#pragma unroll
    for (u32 at = 0; at < 128; at += 32) {
        const u64 a_here = deeper(left, depth + at), b_here = deeper(right, depth + at);
        multiply_m64n256k32_s8(sums, a_here, b_here, accumulate || at != 0);
        products_commit();
    }
    products_wait<2>();
    products_wait<1>();
    products_end(sums);
"""


def operands(rng, kind):
    if kind == "random":
        a, b = (rng.integers(0, 256, (n, 128), np.uint8) for n in (64, 256))
    else:
        a, b = np.full((64, 128), kind[0], np.uint8), np.full((256, 128), kind[1], np.uint8)
    c = rng.integers(-(2**31), 2**31, (64, 256), np.int64)
    c[:2], c[2:4] = 2**31 - 1, -(2**31)  # sums that wrap both ways
    return a, b, c


def check_product(device, products, a, b, c, depths, depth=0, accumulate=1):
    row, column = cells()
    d = c[row, column].astype(np.int32)
    text = MULTIPLY.replace("PRODUCTS", products)
    launch(
        device, text, "multiply", lay_out(a), lay_out(b), d, np.uint32(depth), np.uint32(accumulate)
    )
    left, right = (x.view(np.int8).astype(np.int64)[:, depths] for x in (a, b))
    expected = left @ right.T + (c if accumulate else 0)
    expected = expected.astype(np.uint64).astype(np.uint32).view(np.int32)
    np.testing.assert_array_equal(d, expected[row, column])


@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize("depth", [0, 32, 64, 96])
def test_a_product_of_random_tiles(warpgroup_device, depth, accumulate):
    a, b, c = operands(np.random.default_rng(depth), "random")
    check_product(
        warpgroup_device, ONE, a, b, c, slice(depth, depth + 32), depth, accumulate=accumulate
    )


@pytest.mark.parametrize("kind", [(0x80, 0x80), (0x80, 0x7F), (0xFF, 0x80), (0xFF, 0xFF)])
def test_a_product_of_extreme_bytes(warpgroup_device, kind):
    a, b, c = operands(np.random.default_rng(1), kind)
    check_product(warpgroup_device, ONE, a, b, c, slice(32))


@pytest.mark.parametrize("accumulate", [0, 1])
def test_groups_of_products_follow_one_another(warpgroup_device, accumulate):
    a, b, c = operands(np.random.default_rng(2), "random")
    check_product(warpgroup_device, ALL, a, b, c, slice(128), accumulate=accumulate)


def test_the_swizzle_of_the_kernels_is_that_of_the_layout(warpgroup_device):
    text = """
    extern "C" __global__ void places(u32* y) {
        for (u32 chunk = 0; chunk < 8; chunk++) {
            y[8 * threadIdx.x + chunk] = swizzled(threadIdx.x, chunk);
        }
    }
    """
    places = np.zeros((128, 8), np.uint32)
    launch(warpgroup_device, text, "places", places, block=128)
    lines = np.zeros((128, 128), np.uint8)
    for line, chunk in ((0, 0), (1, 0), (9, 7), (77, 3), (127, 6)):
        lines[:] = 0
        lines[line, chunk * 16] = 1
        assert lay_out(lines).argmax() == places[line, chunk]


RELAY = """
extern "C" __global__ __launch_bounds__(160) void relay(const uint4* x, uint4* y, u32 n) {BEGIN
    uint4* const stages = reinterpret_cast<uint4*>(tile);
    u64 *const full = barriers, *const empty = barriers + 3;
    if (t == 0) {
        for (u32 i = 0; i < 3; i++) {
            phases_begin(full + i, 1);
            phases_begin(empty + i, 4);
        }
        phases_visible();
    }
    block_barrier();
    if (t >= 128) {
        if (t > 128) return;
        for (u32 i = 0; i < n; i++) {
            phase_wait(empty + i % 3, i / 3 % 2 ^ 1);
            phase_expect(full + i % 3, 128 * 16);
            copy_bulk(stages + i % 3 * 128, x + 128 * i, 16, full + i % 3);
            copy_bulk(stages + i % 3 * 128 + 1, x + 128 * i + 1, 127 * 16, full + i % 3);
        }
        return;
    }
    for (u32 i = 0; i < n; i++) {
        phase_wait(full + i % 3, i / 3 % 2);
        y[128 * i + t] = stages[i % 3 * 128 + 127 - t];
        warp_barrier(0xffffffffu);
        if (t % 32 == 0) phase_arrive(empty + i % 3);
    }
}
""".replace("BEGIN", BEGIN)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 20])
def test_a_thread_brings_what_four_warps_read(warpgroup_device, n):
    x = np.random.default_rng(n).integers(0, 2**32, (n, 128, 4), np.uint32)
    y = np.zeros_like(x)
    launch(warpgroup_device, RELAY, "relay", x, y, np.uint32(n), block=160)
    np.testing.assert_array_equal(y, x[:, ::-1])


# ---- what only the emulator notices -----------------------------------------


@pytest.fixture(params=["forward", "reverse", "random"])
def ordered(request, require_emulator):
    return Emulator(order=request.param)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("i / 3 % 2 ^ 1", "i / 3 % 2", "waits at .* for the end of a phase, and nobody can go on"),
        ("i / 3 % 2 ^ 1", "1", "for the end of a phase|still writes there|one more than the 1 of"),
        ("full + i % 3, i / 3 % 2)", "full + i % 3, 0)", ""),
        ("phases_begin(empty + i, 4)", "phases_begin(empty + i, 5)", "nobody can go on"),
        ("phases_begin(full + i, 1)", "phases_begin(full + i, 2)", "nobody can go on"),
        ("128 * 16);", "129 * 16);", "nobody can go on"),
        ("127 * 16, full", "126 * 16, full", "nobody can go on"),
        ("x + 128 * i, 16,", "x + 128 * i, 8,", "multiples of 16"),
        ("stages + i % 3 * 128 + 1,", "stages + i % 3 * 128,", "still writes there"),
        ("if (t > 128) return;", "", "still writes there|one more than"),
        ("n; i++) {\n        phase_wait(full + i % 3, i / 3 % 2);", "n; i++) {", ""),
    ],
)
def test_a_wrong_relay_is_noticed(ordered, old, new, reason):
    assert RELAY.count(old) == 1
    x = np.random.default_rng(8).integers(0, 2**32, (9, 128, 4), np.uint32)
    y = np.zeros_like(x)
    args = (x, y, np.uint32(9))
    if reason:
        with pytest.raises(KernelFaultError, match=reason):
            launch(ordered, RELAY.replace(old, new), "relay", *args, block=160)
        return
    try:  # a wrong result, or a fault
        launch(ordered, RELAY.replace(old, new), "relay", *args, block=160)
    except KernelFaultError:
        return
    assert (y != x[:, ::-1]).any()


MISUSE = """
extern "C" __global__ void misuse(const u8* x, i32* y) {BEGIN
    i32 sums[128];
    for (u32 i = 0; i < 128; i++) sums[i] = 1;
    const u64 whole = tile_descriptor(tile);
    if (t == 0) {
        phases_begin(barriers, 1);
        phases_visible();
        for (u32 i = 0; i < 40 * 1024; i++) tile[i] = 0;
    }
    block_barrier();
    BODY
    for (u32 i = 0; i < 128; i++) y[128 * t + i] = sums[i];
}
""".replace("BEGIN", BEGIN)
PRODUCT = "multiply_m64n256k32_s8(sums, whole, whole, 1u);"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f"{PRODUCT} products_commit(); products_end(sums);", "products_begin is missing"),
        (f"products_begin(sums); {PRODUCT}", "exited while its product of primitive"),
        (f"products_begin(sums); {PRODUCT} products_end(sums);", "exited while its product"),
        (
            f"products_begin(sums); {PRODUCT} products_commit(); products_end(sums); {PRODUCT}",
            "products_begin is missing",
        ),
        (
            "products_begin(sums); multiply_m64n256k32_s8(sums, whole + 8, whole, 1u);",
            "begins at a multiple of 1024",
        ),
        (
            "products_begin(sums); multiply_m64n256k32_s8(sums, whole, whole & ~(3ull << 62), 1u);",
            "swizzled over 128 bytes alone",
        ),
        (
            "products_begin(sums); multiply_m64n256k32_s8(sums, whole ^ 3ull << 16, whole, 1u);",
            "leading offset 1",
        ),
        (
            "products_begin(sums); multiply_m64n256k32_s8(sums, whole | 1ull << 49, whole, 1u);",
            "base offset 0",
        ),
        (
            f"products_begin(sums); sums[127]++; {PRODUCT}",
            "product at .*: the sums were touched after products_begin",
        ),
        (
            f"products_begin(sums); {PRODUCT} products_commit();\nsums[127] = 1; {PRODUCT}",
            "product at .*: the sums were touched after products_begin",
        ),
        (
            f"products_begin(sums); {PRODUCT} products_commit();\n"
            "sums[t == 9] = 7; products_end(sums);",
            "waits at .*, and has touched the sums of its products",
        ),
        (
            f"products_begin(sums); {PRODUCT} products_commit(); i32 more[128];\n"
            "products_begin(more);",
            "products at .*: the emulator has one set of sums at a time",
        ),
        (
            "products_begin(sums);\n"
            "multiply_m64n256k32_s8(sums, whole, deeper(whole, 40 << 10), 1u);",
            "a tile is not in shared memory",
        ),
        (
            f"products_begin(sums); if (t != 77) {PRODUCT} products_commit(); products_end(sums);",
            "waits at .* for other products than thread",
        ),
        (
            f"products_begin(sums); {PRODUCT} products_commit();\nif (t < 64) products_end(sums);",
            "exited while its product",
        ),
        ("if (t >= 32) products_end(sums);", "for the products of its warpgroup, and nobody can"),
        (
            f"products_begin(sums); {PRODUCT} products_commit(); i32 more[128];\n"
            "multiply_m64n256k32_s8(more, whole, whole, 0u);",
            "one set of sums at a time",
        ),
        (
            f"products_begin(sums); {PRODUCT} products_commit();\n"
            "if (t == 127) copy_bulk(tile + 1024, x, 16, barriers); products_end(sums);",
            "bulk copy at .*: the product of .* still reads there",
        ),
        (
            "if (t == 0) copy_bulk(tile + 16 * 1024, x, 16, barriers); block_barrier();\n"
            f"products_begin(sums); {PRODUCT}",
            "product at .*: the bulk copy of .* still writes there",
        ),
        ("if (t == 0) copy_bulk(tile, x, 16, barriers);", "the block has ended while the bulk"),
        ("if (t == 0) copy_bulk(tile, x + 8, 16, barriers);", "must be multiples of 16"),
        ("if (t == 0) copy_bulk(tile + 8, x, 16, barriers);", "shared address is not a multiple"),
        ("if (t == 0) copy_bulk(y, x, 16, barriers);", "not in shared memory"),
        ("if (t == 0) copy_bulk(tile, x, 16, barriers + 1);", "there is no barrier"),
        ("if (t == 0) copy_bulk(tile, x, 48 << 10, barriers);", "leaves shared memory"),
        ("if (t == 0) { barriers[0] = 0; phase_arrive(barriers); }", "barrier was overwritten"),
        ("if (t == 0) phases_begin(barriers, 1);", "there is one already"),
        ("if (t == 0) phases_begin(barriers + 1, 0);", "needs 1 to 1048575 arrivals"),
        (
            "if (t == 0) { phases_begin(barriers + 1, 1); phase_arrive(barriers + 1); }",
            "phases_visible is missing",
        ),
        ("if (t == 0) phase_expect(barriers, 1 << 20);", "counts at most 1048575 bytes"),
        ("if (t == 0) { phase_expect(barriers, 8); phase_arrive(barriers); }", "one more than the"),
        ("if (t == 0) phase_wait(barriers, 2);", "parity 2"),
        ("phase_wait(barriers, 0); phase_arrive(barriers);", "for the end of a phase, and nobody"),
    ],
)
def test_misuse_is_a_fault(ordered, body, reason):
    args = np.zeros(1024, np.uint64).view(np.uint8), np.zeros((128, 128), np.int32)
    with pytest.raises(KernelFaultError, match=reason):
        launch(ordered, MISUSE.replace("BODY", body), "misuse", *args)
    # Nothing of the fault is left.
    body = f"products_begin(sums); {PRODUCT} products_commit(); products_end(sums);"
    launch(ordered, MISUSE.replace("BODY", body), "misuse", *args)
    assert (args[1] == 1).all()


def test_sums_are_poison_until_they_are_made(ordered):
    body = f"""
    products_begin(sums);
    {PRODUCT}
    products_commit();
    for (u32 i = 0; i < 64; i++) y[128 * t + i] = sums[i];
    products_end(sums);
    for (u32 i = 64; i < 128; i++) y[128 * t + i] = sums[i];
    return;
    """
    y = np.zeros((128, 128), np.int32)
    text = MISUSE.replace("BODY", body)
    launch(ordered, text, "misuse", np.zeros(1024, np.uint64).view(np.uint8), y)
    assert (y[:, :64].view(np.uint32) == 0xA5A5A5A5).all()
    assert (y[:, 64:] == 1).all()


def test_a_warpgroup_has_128_threads(ordered):
    args = np.zeros(1024, np.uint64).view(np.uint8), np.zeros((128, 128), np.int32)
    with pytest.raises(KernelFaultError, match="a warpgroup has 128 threads, and this one has 96"):
        launch(ordered, MISUSE.replace("BODY", "products_end(sums);"), "misuse", *args, block=96)


# ---- what the compiler makes of them ----------------------------------------

INSTRUCTIONS = {
    "mbarrier.init.shared::cta.b64": RELAY,
    "fence.mbarrier_init.release.cluster": RELAY,
    "fence.proxy.async.shared::cta": RELAY,
    "mbarrier.arrive.shared::cta.b64": RELAY,
    "mbarrier.arrive.expect_tx.shared::cta.b64": RELAY,
    "mbarrier.try_wait.parity.shared::cta.b64": RELAY,
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes": RELAY,
    "wgmma.fence.sync.aligned": MULTIPLY.replace("PRODUCTS", ONE),
    "wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8": MULTIPLY.replace("PRODUCTS", ONE),
    "wgmma.commit_group.sync.aligned": MULTIPLY.replace("PRODUCTS", ONE),
    "wgmma.wait_group.sync.aligned 0": MULTIPLY.replace("PRODUCTS", ONE),
    "wgmma.wait_group.sync.aligned 2": MULTIPLY.replace("PRODUCTS", ALL),
}


@pytest.mark.usefixtures("require_nvrtc")
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_the_instruction_is_in_the_ptx(instruction):
    ptx = nvrtc.compile_ptx(source(INSTRUCTIONS[instruction]), "compute_90a")
    assert instruction in ptx
    assert "trap;" not in ptx


@pytest.mark.usefixtures("require_nvrtc")
@pytest.mark.parametrize("text", [RELAY, *(MULTIPLY.replace("PRODUCTS", p) for p in (ONE, ALL))])
def test_sums_stay_in_registers_and_products_in_the_background(text):
    cubin, log = nvrtc.compile_source(source(text), "sm_90a", ["-DHE_GPU_WARPGROUP"])
    assert cubin.startswith(b"\x7fELF")
    # ptxas says here where it makes products wait for one another.
    assert not re.search("warning|serializ", log)
    for used in nvrtc.resources(log).values():
        assert used.spill_store_bytes == used.spill_load_bytes == used.stack_bytes == 0


@pytest.mark.usefixtures("require_nvrtc")
@pytest.mark.parametrize("architecture", [*nvrtc.ARCHITECTURES, "sm_100a"])
def test_other_architectures_trap_or_refuse(architecture):
    whole = source(MULTIPLY.replace("PRODUCTS", ALL))
    ptx = nvrtc.compile_ptx(whole, architecture.replace("sm", "compute"))
    assert "trap;" in ptx
    assert "wgmma" not in ptx
    with pytest.raises(KernelSourceError, match="another architecture than sm_90a"):
        nvrtc.compile_source(whole, architecture, ["-DHE_GPU_WARPGROUP"])
