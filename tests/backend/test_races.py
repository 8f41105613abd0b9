"""The emulator's `thread` sanitizer: a race is a fault, whatever the result and the order.

Planted races must be found and their corrections pass; random programs are compared with
vector clocks computed here; and every barrier of the tiled matrix product is needed.
"""

import numpy as np
import pytest

from he_gpu.backend import emulator, loader
from he_gpu.backend.definition import bits, ntt
from he_gpu.backend.device import bits as bits_launcher
from he_gpu.backend.device import matmul as launcher
from he_gpu.backend.device import ntt as ntt_launcher
from he_gpu.backend.emulator import Emulator
from he_gpu.errors import ArgumentValueError, KernelFaultError

pytestmark = pytest.mark.usefixtures("require_emulator")

ORDERS = ("forward", "reverse", "random")
FULL = "0xffffffffu"


def source(text):
    return loader.parse("sample", '#include "primitives.cuh"\n' + text)


def run(text, kernel, args, order="forward", sanitizers="thread", **launch):
    """Launch an inline kernel; by default one block of 64."""
    device = Emulator(order=order, seed=3, sanitizers=sanitizers)
    device.add_source(source(text))
    grid, block = launch.pop("grid", (1,)), launch.pop("block", (64,))
    device.launch("sample", kernel, grid, block, args, **launch)


def assert_race(text, kernel, args, match="race in", **launch):
    with pytest.raises(KernelFaultError, match=match) as caught:
        run(text, kernel, args, **launch)
    assert caught.value.kernel == kernel
    return caught.value


# Each thread adds a sum of lower threads, so threads that run one after another in
# ascending order need no barrier to come to the right result.
SWEEP = """
extern "C" __global__ void sweep(const u32* x, u32* sums) {
    __shared__ u32 partial[256];
    const u32 t = threadIdx.x;
    partial[t] = x[blockIdx.x * 256 + t];
    for (u32 half = 1; half < 256; half *= 2) {
        BARRIER
        if (t % (2 * half) == 2 * half - 1) partial[t] += partial[t - half];
    }
    if (t == 255) sums[blockIdx.x] = partial[t];
}
"""


@pytest.mark.parametrize("order", ORDERS)
def test_a_missing_barrier_is_found_though_the_result_is_right(order):
    x, sums = np.arange(512, dtype=np.uint32), np.zeros(2, np.uint32)
    expected = x.reshape(2, 256).sum(axis=1)
    launch = {"args": (x, sums), "grid": (2,), "block": (256,)}
    racing, correct = SWEEP.replace("BARRIER", ""), SWEEP.replace("BARRIER", "block_barrier();")
    run(racing, "sweep", **launch, sanitizers="")
    np.testing.assert_array_equal(sums, expected)
    found = assert_race(racing, "sweep", **launch, order=order, match="race in shared memory")
    assert "sample.cu:6" in found.reason or "sample.cu:9" in found.reason
    run(correct, "sweep", **launch, order=order)
    np.testing.assert_array_equal(sums, expected)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [1, 256])
def test_blocks_that_write_one_word_are_found(order, threads):
    text = """
    extern "C" __global__ void store(u32* x, u32 apart) {
        block_barrier();
        if (threadIdx.x == 0) x[blockIdx.x * apart] = 1;
    }
    """
    launch = {"grid": (3, 1, 2), "block": (threads,), "order": order}
    found = assert_race(
        text,
        "store",
        (np.zeros(3, np.uint32), np.uint32(0)),
        **launch,
        match=r"race in global memory: write at sample\.cu:5 is not ordered with the write at "
        r"sample\.cu:5 by thread \(0, 0, 0\) of block \(\d, 0, \d\)",
    )
    assert found.thread == (0, 0, 0)
    run(text, "store", (np.zeros(3, np.uint32), np.uint32(1)), grid=(3,), block=(threads,))


def test_a_block_that_reads_what_another_writes_is_found():
    text = """
    extern "C" __global__ void shift(u32* x) {
        const u32 t = threadIdx.x;
        const u32 next = x[(blockIdx.x + 1) % 4 * 64 + t];
        block_barrier();
        x[blockIdx.x * 64 + t] = next;
    }
    """
    for order in ORDERS:
        args = (np.zeros(256, np.uint32),)
        assert_race(text, "shift", args, grid=(4,), order=order, match="of block")


def test_launches_are_ordered():
    device = Emulator(sanitizers="thread")
    device.add_source(
        source('extern "C" __global__ void count(u32* x) { if (threadIdx.x == 5) x[0] += 1; }')
    )
    x = np.zeros(1, np.uint32)
    for _ in range(3):
        device.launch("sample", "count", (1,), (32,), (x,))
    assert x[0] == 3


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("body", "races"),
    [
        ("s[t] = t; warp_barrier(FULL); y[t] = s[t ^ 5];", False),
        ("s[t] = t; y[t] = s[t ^ 5];", True),
        ("s[t] = t; warp_barrier(t & 16 ? 0xffff0000u : 0xffffu); y[t] = s[t ^ 5];", False),
        ("s[t] = t; warp_barrier(t & 16 ? 0xffff0000u : 0xffffu); y[t] = s[t ^ 21];", True),
        ("s[t] = t; warp_barrier(FULL); y[t] = s[t ^ 32];", True),
        ("s[t] = t; block_barrier(); y[t] = s[t ^ 32];", False),
        # No shuffle, vote or matrix operation orders memory.
        ("s[t] = t; y[t] = shuffle(FULL, t, 3); y[t] += s[t ^ 5];", True),
        ("s[t] = t; y[t] = __ballot_sync(FULL, 1); y[t] += s[t ^ 5];", True),
        ("s[t] = t; mma_m16n8k32_s8(d, a, b); y[t] = s[t ^ 5] + d[0];", True),
        ("s[t] = t; load_matrix_x4(a, s + t % 16 * 4); y[t] = a[0];", True),
        ("s[t] = t; block_barrier(); load_matrix_x4(a, s + t % 16 * 4); y[t] = a[0];", False),
        ("s[t] = t; block_barrier(); load_matrix_x4(a, s + t % 16 * 4); s[t] = a[0];", True),
        # Through a third: 1 writes, 0 reads after one barrier, 2 writes after another.
        (
            "if (t == 1) s[0] = 1; if (t < 2) warp_barrier(3); if (t == 0) y[0] = s[0];\n"
            "if (t == 0 || t == 2) warp_barrier(5); if (t == 2) s[0] = 2;",
            False,
        ),
        (
            "if (t == 1) s[0] = 1; if (t < 2) warp_barrier(3); if (t == 1) y[0] = s[0];\n"
            "if (t == 0 || t == 2) warp_barrier(5); if (t == 2) s[0] = 2;",
            True,
        ),
        # A write by 1, then an atomic operation by 0 after it, and one by 2 that is not.
        (
            "if (t == 1) s[0] = 1; if (t < 2) warp_barrier(3); if (t == 0) atomicAdd(s, 1u);\n"
            "if (t == 2) atomicAdd(s, 1u);",
            True,
        ),
        # Bytes of one word are places of their own.
        ("reinterpret_cast<u8*>(s)[t] = 1;", False),
        ("reinterpret_cast<u8*>(s)[t] = 1; s[t] = 1;", True),
        ("reinterpret_cast<uint4*>(s)[t % 32] = make_uint4(t, 1, 2, 3);", True),
        ("u32 own[8]; for (u32 i = 0; i < 8; i++) own[(i + t) % 8] = i; y[t] = own[t % 7];", False),
        # Atomic operations do not race with each other, and order nothing.
        ("atomicAdd(y, 1u); atomicMax(y, t); atomicCAS(y, t, 0u);", False),
        ("atomicAdd(y, 1u); if (t == 9) y[0] = 1;", True),
        ("atomicAdd(y, 1u); if (t == 9) y[1] = y[0];", True),
        ("s[t] = t; atomicAdd(y, 1u); y[1 + t] = s[t ^ 5];", True),
        ("y[t] = x[0];", False),
        ("if (t == 7) y[0] = 1; if (t == 7) y[0] = 2;", False),
        ("if (t > 61) y[0] = 1;", True),
        ("y[0] = 1;", True),
        ("DYNAMIC_SHARED(u32, e); e[t] = t; y[t] = e[t ^ 5];", True),
        ("DYNAMIC_SHARED(u32, e); e[t] = t; block_barrier(); y[t] = e[t ^ 5];", False),
    ],
)
def test_what_orders_accesses_and_what_does_not(body, races, order):
    text = (
        'extern "C" __global__ void body(const u32* x, u32* y) {\n'
        "__shared__ __align__(16) u32 s[256];\n"
        "u32 a[4] = {1, 2, 3, 4}, b[2] = {5, 6}; i32 d[4] = {0, 0, 0, 0};\n"
        f"const u32 t = threadIdx.x;\n{body.replace('FULL', FULL)}\n"
        "if (x == nullptr) y[t] = s[0] + a[1] + b[0] + d[1];\n}"
    )
    args = (np.zeros(1, np.uint32), np.zeros(65, np.uint32))
    if races:
        assert (
            "sample.cu:6" in assert_race(text, "body", args, order=order, shared_bytes=256).reason
        )
    else:
        run(text, "body", args, order=order, shared_bytes=256)


PIPELINE = """
extern "C" __global__ void pipeline(const u32* x, u32* y, u32 n) {
    __shared__ u32 stages[2][64];
    const u32 t = threadIdx.x;
    copy_async_4(&stages[0][t], x + t, true);
    copy_async_commit();
    for (u32 i = 0; i < n; i++) {
        if (i + 1 < n) copy_async_4(&stages[(i + 1) % 2][t], x + 64 * (i + 1) + t, true);
        copy_async_commit();
        copy_async_wait<1>();
        LANDED
        y[64 * i + t] = stages[i % 2][63 - t];
        FREE
    }
    copy_async_wait<0>();
}
"""


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("missing", [None, "LANDED", "FREE"])
def test_a_pipeline_needs_both_its_barriers(order, missing):
    text = PIPELINE
    for place in ("LANDED", "FREE"):
        text = text.replace(place, "" if place == missing else "block_barrier();")
    x, y = np.arange(5 * 64, dtype=np.uint32), np.zeros((5, 64), np.uint32)
    args = (x, y, np.uint32(5))
    if missing is None:
        run(text, "pipeline", args, order=order)
        np.testing.assert_array_equal(y, x.reshape(5, 64)[:, ::-1])
    else:
        found = assert_race(text, "pipeline", args, order=order, match="race in shared memory")
        assert "sample.cu:13" in found.reason  # the read
        assert "sample.cu:6" in found.reason or "sample.cu:9" in found.reason  # the copy


def test_a_race_in_a_header_names_the_kernel_too():
    header = "__device__ __forceinline__ void leave(unsigned* x) {\n    *x = 1;\n}\n"
    text = '#include "leave.cuh"\nextern "C" __global__ void kernel(u32* x) {\n  leave(x);\n}\n'
    text = '#include "primitives.cuh"\n' + text
    read = {"leave.cuh": header, "primitives.cuh": source("").text}.__getitem__
    device = Emulator(sanitizers="thread")
    device.add_source(loader.parse("sample", text, read_header=read))
    with pytest.raises(KernelFaultError, match=r"write at leave\.cuh:2 in sample\.cu:4 is not"):
        device.launch("sample", "kernel", (1,), (2,), (np.zeros(1, np.uint32),))


def test_undefined_behaviour_may_be_watched_with_races():
    x = np.zeros(64, np.uint32)
    text = 'extern "C" __global__ void shift(u32* x, u32 by) { x[threadIdx.x * by] = 1u << by; }'
    assert_race(text, "shift", (x, np.uint32(0)), sanitizers="thread,undefined")
    run(text, "shift", (x, np.uint32(1)), sanitizers="undefined,thread")


def test_address_and_thread_are_not_joined():
    with pytest.raises(ArgumentValueError, match="must not join address and thread"):
        Emulator(sanitizers="address,thread")


# ---- random programs ----------------------------------------------------------

NOTHING, READ, WRITE, ATOMIC, WARP, BLOCK = range(6)
WORDS, BLOCKS, THREADS, STEPS = 6, 3, 40, 7

INTERPRETER = """
extern "C" __global__ void interpret(const u64* program, u32 steps, u32* memory, u32* out) {
    __shared__ u32 own[8];
    u32* const words = memory ? memory : own;
    u8* const bytes = reinterpret_cast<u8*>(words);
    const u32 t = threadIdx.x, n = blockDim.x;
    u32 total = 0;
    for (u32 step = 0; step < steps; step++) {
        const u64 operation = program[(blockIdx.x * steps + step) * n + t];
        const u32 kind = operation & 7, where = operation >> 8;
        const bool byte = operation >> 3 & 1;
        if (kind == 1) total += byte ? bytes[where] : words[where / 4];
        if (kind == 2 && byte) bytes[where] = t;
        if (kind == 2 && !byte) words[where / 4] = t;
        if (kind == 3) atomicAdd(words + where / 4, t);
        if (kind == 4) warp_barrier(where);
        if (kind == 5) block_barrier();
    }
    out[blockIdx.x * n + t] = total;
}
"""


def random_program(rng, density):
    """Operations (block, step, thread, [kind, is_byte, where]); where is a byte or a mask."""
    program = np.zeros((BLOCKS, STEPS, THREADS, 3), np.int64)
    for block in range(BLOCKS):
        for step in range(STEPS):
            place = program[block, step]
            what = rng.choice(["access", "warp", "block"], p=[0.5, 0.25, 0.25])
            if what == "block":
                place[:, 0] = BLOCK
            elif what == "warp":
                for first in range(0, THREADS, 32):
                    lanes = np.arange(first, min(first + 32, THREADS))
                    group = rng.integers(0, 3, len(lanes))  # group 2 takes no part
                    for part in (0, 1):
                        mask = sum(1 << int(lane % 32) for lane in lanes[group == part])
                        place[lanes[group == part]] = (WARP, 0, mask)
            else:
                busy = rng.random(THREADS) < density
                kinds = rng.choice([READ, WRITE, ATOMIC], THREADS, p=[0.7, 0.2, 0.1])
                is_byte = (rng.random(THREADS) < 0.5) & (kinds != ATOMIC)
                where = rng.integers(0, 4 * WORDS, THREADS)
                place[busy] = np.stack([kinds, is_byte, where], axis=1)[busy]
    return program


def races(program, is_shared):
    """Whether two accesses conflict of which neither happens before the other."""
    clocks = {(b, t): np.zeros((BLOCKS, THREADS), int) for b, t in np.ndindex(BLOCKS, THREADS)}
    accesses = []  # (memory, bytes, kind, block, thread, own time, clock)
    for b in range(BLOCKS):
        for step in range(STEPS):
            for t in range(THREADS):
                clocks[b, t] = clocks[b, t].copy()
                clocks[b, t][b, t] += 1
                kind, is_byte, where = program[b, step, t]
                if kind in (READ, WRITE, ATOMIC):
                    bytes_ = {where} if is_byte else {where // 4 * 4 + i for i in range(4)}
                    memory = b if is_shared else 0
                    time = clocks[b, t][b, t]
                    accesses.append((memory, bytes_, kind, b, t, time, clocks[b, t]))
            groups = {}
            for t in range(THREADS):
                kind, _, where = program[b, step, t]
                if kind in (WARP, BLOCK):
                    groups.setdefault((kind, where, t // 32 if kind == WARP else 0), []).append(t)
            for group in groups.values():
                joined = np.max([clocks[b, t] for t in group], axis=0)
                for t in group:
                    clocks[b, t] = joined
    for i, (memory, bytes_, kind, b, t, time, _) in enumerate(accesses):
        for other_memory, other_bytes, other_kind, other_b, other_t, _, clock in accesses[i + 1 :]:
            conflict = memory == other_memory and bytes_ & other_bytes
            if (
                not conflict
                or (kind == other_kind and kind != WRITE)
                or (b, t) == (other_b, other_t)
            ):
                continue
            # Accesses are listed block by block, step by step: the later never comes before.
            if clock[b, t] < time:
                return True
    return False


@pytest.mark.parametrize("is_shared", [True, False])
def test_random_programs_race_where_vector_clocks_say_so(is_shared):
    rng = np.random.default_rng(11)
    device = Emulator(sanitizers="thread")
    device.add_source(source(INTERPRETER))
    outcomes = []
    densities = [0.01, 0.02, 0.05] if is_shared else [0.005, 0.01, 0.02]
    for _ in range(60):
        program = random_program(rng, density=rng.choice(densities))
        packed = program[..., 0] | program[..., 1] << 3 | program[..., 2] << 8
        expected = races(program, is_shared)
        outcomes.append(expected)
        for order in ORDERS:
            device.order = order
            memory = None if is_shared else np.zeros(WORDS, np.uint32)
            out = np.zeros(BLOCKS * THREADS, np.uint32)
            args = (packed.astype(np.uint64), np.uint32(STEPS), memory, out)
            try:
                device.launch("sample", "interpret", (BLOCKS,), (THREADS,), args)
                found = ""
            except KernelFaultError as fault:
                found = fault.reason
            assert found.startswith("race in") == expected, (order, found, program.tolist())
            assert found.startswith("race in") or not found
    assert 15 < sum(outcomes) < 45  # both kinds are common


# ---- real kernels -------------------------------------------------------------


def without_barrier(text, number):
    """The source with its barrier of that number (from 0) taken out."""
    pieces = text.split("block_barrier();")
    return "block_barrier();".join(pieces[: number + 1]) + "block_barrier();".join(
        pieces[number + 1 :]
    )


@pytest.mark.parametrize("missing", [None, 0, 1])
@pytest.mark.parametrize("dtype", [np.uint64, np.uint32])
def test_every_barrier_of_the_bit_planes_is_needed(dtype, missing, monkeypatch):
    monkeypatch.setattr(bits_launcher, "grid_1d", lambda n, block: (1,))  # a block turns all tiles
    text = (loader.kernel_directory() / "bits.cu").read_text(encoding="utf-8")
    assert text.count("block_barrier();") == 2
    if missing is not None:
        text = without_barrier(text, missing)
    device = Emulator(order="random", sanitizers="thread")
    device.add_source(loader.parse("bits", text))
    words = np.random.default_rng(5).integers(0, 2**32, 4200, dtype)  # two tiles and a rest
    if missing is None:
        planes = bits_launcher.bit_planes(device, words)
        np.testing.assert_array_equal(planes, bits.bit_planes(words))
    else:
        with pytest.raises(KernelFaultError, match=r"race in shared memory: .* at bits\.cu:\d+"):
            bits_launcher.bit_planes(device, words)


# The kernel that each barrier of matmul.cu belongs to.
BARRIERS = ("matmul_small", "matmul_small", "matmul_thin", "matmul_thin")


@pytest.mark.parametrize("missing", [None, *range(len(BARRIERS))])
def test_every_barrier_of_the_tiled_product_is_needed(missing, monkeypatch):
    monkeypatch.setattr(launcher, "MAX_GRID", (2**31 - 1, 1, 1))  # a block takes both batches
    text = (loader.kernel_directory() / "matmul.cu").read_text(encoding="utf-8")
    assert text.count("block_barrier();") == len(BARRIERS)
    if missing is not None:
        text = without_barrier(text, missing)
    device = Emulator(order="random", sanitizers="thread")
    device.add_source(loader.parse("matmul", text))
    rng = np.random.default_rng(4)
    for kernel, n in (("matmul_small", 40), ("matmul_thin", 1)):
        a = rng.integers(0, 2**64, (2, 20, 40), np.uint64)
        b = rng.integers(0, 2**64, (2, 40, n), np.uint64)
        before = emulator.launches[f"{kernel}_ring_u64"]
        if missing is not None and BARRIERS[missing] == kernel:
            place = r"race in shared memory: .* (at|in) matmul\.cu:\d+"
            with pytest.raises(KernelFaultError, match=place) as caught:
                launcher.matmul(device, a, b, 2**64)
            assert caught.value.kernel == f"{kernel}_ring_u64"
        else:
            np.testing.assert_array_equal(launcher.matmul(device, a, b, 2**64), a @ b)
            assert emulator.launches[f"{kernel}_ring_u64"] == before + 1


# The pass of each barrier of ntt.cu: one comes after its tables, then those of the exchanges.
TRANSFORM_BARRIERS = ("columns",) * 3 + ("rows",) * 3


@pytest.mark.parametrize("missing", [None, *range(len(TRANSFORM_BARRIERS))])
def test_every_barrier_of_the_transforms_is_needed(missing, monkeypatch):
    monkeypatch.setattr(ntt_launcher, "BLOCKS_PER_MULTIPROCESSOR", 1)
    monkeypatch.setattr(Emulator, "multiprocessors", 1)  # a block takes both polynomials
    text = (loader.kernel_directory() / "ntt.cu").read_text(encoding="utf-8")
    assert text.count("block_barrier();") == len(TRANSFORM_BARRIERS)
    if missing is not None:
        text = without_barrier(text, missing)
    device = Emulator(order="random", sanitizers="thread")
    device.add_source(loader.parse("ntt", text))
    words = np.random.default_rng(6).integers(0, 786433, (2, 1, 256)).astype(np.uint32)
    for name in ("ntt", "intt"):
        if missing is None or (name, missing) == ("intt", 3):  # an exchange comes first
            result = getattr(ntt_launcher, name)(device, words, (786433,))
            np.testing.assert_array_equal(result, getattr(ntt, name)(words, (786433,)))
        else:
            with pytest.raises(KernelFaultError, match="race in") as caught:
                getattr(ntt_launcher, name)(device, words, (786433,))
            assert caught.value.kernel == f"{name}_{TRANSFORM_BARRIERS[missing]}_mod_u32"
