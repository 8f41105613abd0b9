"""The emulator: CUDA's rules kept, and what breaks them noticed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import he_gpu
from he_gpu.backend import emulator, launch, loader
from he_gpu.backend.emulator import Emulator, build
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EmulatorError,
    KernelFaultError,
    KernelSourceError,
)

pytestmark = pytest.mark.usefixtures("require_emulator")

FULL = "0xffffffffu"


def device_for(text, **options):
    """An emulator with one source named `sample`, with the primitives included."""
    device = Emulator(**options)
    device.add_source(loader.parse("sample", '#include "primitives.cuh"\n' + text))
    return device


def words(n, dtype=np.uint32):
    return np.zeros(n, dtype)


REDUCE = """
extern "C" __global__ void block_sum_u32(const u32* __restrict__ x, u32* sums) {
    __shared__ u32 partial[256];
    const u32 t = threadIdx.x;
    partial[t] = x[blockIdx.x * 256 + t];
    block_barrier();
    for (u32 half = 128; half > 0; half >>= 1) {
        if (t < half) partial[t] += partial[t + half];
        BARRIER
    }
    if (t == 0) sums[blockIdx.x] = partial[0];
}
"""


@pytest.mark.parametrize("order", ["forward", "reverse", "random", "random:7"])
def test_reduction_by_barriers(order):
    device = device_for(REDUCE.replace("BARRIER", "block_barrier();"), order=order)
    x = np.random.default_rng(1).integers(0, 2**32, 5 * 256, dtype=np.uint32)
    sums = words(5)
    before = emulator.launches["block_sum_u32"]
    device.launch("sample", "block_sum_u32", (5,), (256,), (x, sums))
    np.testing.assert_array_equal(sums, x.reshape(5, 256).sum(axis=1, dtype=np.uint32))
    assert emulator.launches["block_sum_u32"] == before + 1


def test_a_missing_barrier_shows_in_some_order():
    device = device_for(REDUCE.replace("BARRIER", ""))
    x = np.arange(256, dtype=np.uint32)
    results = set()
    for order in ("forward", "reverse", "random"):
        device.order = order
        sums = words(1)
        device.launch("sample", "block_sum_u32", (1,), (256,), (x, sums))
        results.add(int(sums[0]))
    assert len(results) > 1


def test_indices_of_three_dimensional_grids_and_blocks():
    device = device_for(
        """
        extern "C" __global__ void indices(u32* out) {
            const u32 b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
            const u32 t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
            const u32 at = b * blockDim.x * blockDim.y * blockDim.z + t;
            block_barrier();
            out[at] = threadIdx.z * 100000 + threadIdx.y * 10000 + threadIdx.x * 1000
                    + blockIdx.z * 100 + blockIdx.y * 10 + blockIdx.x;
        }
        """,
        order="random",
    )
    out = words(4 * 3 * 2 * 5 * 3 * 2)
    device.launch("sample", "indices", (4, 3, 2), (5, 3, 2), (out,))
    bz, by, bx, tz, ty, tx = np.indices((2, 3, 4, 2, 3, 5))
    expected = tz * 100000 + ty * 10000 + tx * 1000 + bz * 100 + by * 10 + bx
    np.testing.assert_array_equal(out, expected.reshape(-1))


@pytest.mark.parametrize(
    ("barrier", "thread", "reason"),
    [
        ("if (threadIdx.x < 32) block_barrier();", (32, 0, 0), "has exited"),
        ("if (threadIdx.x < 8) return; block_barrier();", (0, 0, 0), "has exited"),
        (
            "if (threadIdx.x < 40) block_barrier();\nelse block_barrier();",
            (40, 0, 0),
            r"waits at the block barrier of sample\.cu:5",
        ),
    ],
)
def test_a_barrier_that_is_not_reached_by_all_is_a_fault(barrier, thread, reason):
    device = device_for(
        f'extern "C" __global__ void diverge(u32* x) {{\nx[threadIdx.x] = 1;\n{barrier}\n}}'
    )
    with pytest.raises(KernelFaultError, match=reason) as caught:
        device.launch("sample", "diverge", (2,), (64,), (words(64),))
    assert caught.value.kernel == "diverge"
    assert caught.value.block == (0, 0, 0)
    assert caught.value.thread == thread
    assert "sample.cu:4" in caught.value.reason


def test_the_emulator_works_on_after_a_fault():
    text = REDUCE.replace("BARRIER", "block_barrier();") + (
        'extern "C" __global__ void diverge() { if (threadIdx.x) block_barrier(); }'
    )
    device = device_for(text)
    x = np.arange(256, dtype=np.uint32)
    for _ in range(3):
        with pytest.raises(KernelFaultError):
            device.launch("sample", "diverge", (1,), (512,), ())
        sums = words(1)
        device.launch("sample", "block_sum_u32", (1,), (256,), (x, sums))
        assert sums[0] == x.sum()


def test_a_fault_is_not_counted_as_a_launch():
    device = device_for('extern "C" __global__ void trapped() { if (threadIdx.x == 3) __trap(); }')
    before = emulator.launches["trapped"]
    with pytest.raises(KernelFaultError, match=r"trap at sample\.cu:2") as caught:
        device.launch("sample", "trapped", (1,), (8,), ())
    assert caught.value.thread == (3, 0, 0)
    assert emulator.launches["trapped"] == before


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("word", ["u32", "u64", "i32", "i64"])
def test_shuffles(order, word):
    device = device_for(
        f"""
        extern "C" __global__ void shuffles({word}* out, u32 by) {{
            const u32 t = threadIdx.x, n = blockDim.x;
            const {word} x = static_cast<{word}>(-1) / 3 * 2 + t;
            out[t] = shuffle({FULL}, x, by);
            out[n + t] = shuffle_down({FULL}, x, by);
            out[2 * n + t] = shuffle_xor({FULL}, x, by);
            out[3 * n + t] = __shfl_up_sync({FULL}, x, by);
            out[4 * n + t] = __shfl_sync({FULL}, x, by, 8);
            out[5 * n + t] = __shfl_down_sync({FULL}, x, by, 8);
            warp_barrier({FULL});
            out[6 * n + t] = x;
        }}
        """,
        order=order,
    )
    dtype = {"u32": np.uint32, "u64": np.uint64, "i32": np.int32, "i64": np.int64}[word]
    lane = np.arange(32)
    for by in (0, 1, 3, 5, 16, 31):
        out = words((7, 2, 32), dtype)
        device.launch("sample", "shuffles", (1,), (64,), (out, np.uint32(by)))
        x = out[6]
        sources = (
            np.full(32, by),
            np.where(lane + by < 32, lane + by, lane),
            lane ^ by,
            np.where(lane >= by, lane - by, lane),
            lane // 8 * 8 + by % 8,
            np.where(lane % 8 + by < 8, lane + by, lane),
        )
        for found, source in zip(out, sources, strict=False):
            np.testing.assert_array_equal(found, x[:, source])


def test_votes():
    device = device_for(
        f"""
        extern "C" __global__ void votes(u32* out) {{
            const u32 t = threadIdx.x;
            out[t] = __ballot_sync({FULL}, t % 3 == 0);
            out[32 + t] = __any_sync({FULL}, t == 31) * 2 + __all_sync({FULL}, t < 31);
        }}
        """
    )
    out = words((2, 32))
    device.launch("sample", "votes", (1,), (32,), (out,))
    assert set(out[0]) == {sum(1 << t for t in range(0, 32, 3))}
    assert set(out[1]) == {2}


def test_halves_of_a_warp_may_shuffle_apart():
    device = device_for(
        """
        extern "C" __global__ void halves(u32* out) {
            const u32 t = threadIdx.x;
            if (t < 16) out[t] = shuffle_xor(0x0000ffffu, t, 1);
            else out[t] = shuffle_xor(0xffff0000u, t, 2);
        }
        """
    )
    out = words(32)
    device.launch("sample", "halves", (1,), (32,), (out,))
    lane = np.arange(32)
    np.testing.assert_array_equal(out, np.where(lane < 16, lane ^ 1, lane ^ 2))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("x[t] = shuffle_xor(0x0000ffffu, t, 1);", "lacks the calling lane 16"),
        (
            f"x[t] = shuffle_xor(t < 16 ? {FULL} : 0xffff0000u, t, 1);",
            "lane 16 of its mask has exited",
        ),
        (
            f"if (t < 16) x[t] = shuffle_xor({FULL}, t, 1);\n"
            f"else x[t] = shuffle_xor({FULL}, t, 1);",
            r"lane 16 of its mask waits at the warp operation of sample\.cu:4",
        ),
        (
            f"if (t < 16) x[t] = shuffle_xor({FULL}, t, 1);\nelse block_barrier();",
            r"waits at the block barrier of sample\.cu:4",
        ),
        (f"if (t < 31) x[t] = shuffle_down({FULL}, t, 1);", "lane 31 of its mask has exited"),
        (
            "x[t] = shuffle_down(0x0000ffffu << (t & 16), t, 1);",
            "reads lane 16, which takes no part",
        ),
    ],
)
def test_shuffles_that_disagree_are_faults(body, reason):
    device = device_for(
        f'extern "C" __global__ void disagree(u32* x) {{ const u32 t = threadIdx.x;\n{body} }}'
    )
    with pytest.raises(KernelFaultError, match=reason):
        device.launch("sample", "disagree", (1,), (32,), (words(32),))


def test_shared_memory_is_poisoned_for_each_block():
    device = device_for(
        """
        extern "C" __global__ void unwritten(u32* out) {
            __shared__ u32 fixed[4];
            DYNAMIC_SHARED(u32, dynamic);
            out[2 * blockIdx.x] = fixed[3];
            out[2 * blockIdx.x + 1] = dynamic[5];
            fixed[3] = 1;
            dynamic[5] = 2;
        }
        """
    )
    out = words(6)
    device.launch("sample", "unwritten", (3,), (1,), (out,), shared_bytes=24)
    assert set(out) == {0xA5A5A5A5}


def test_vector_types_atomics_and_intrinsics():
    device = device_for(
        """
        extern "C" __global__ void pieces(const uint4* x, ulonglong2* y, u32* count, u64 a) {
            const uint4 v = __ldg(x + threadIdx.x);
            const u32 least = min(min(v.x, v.y), min(v.z, v.w));
            y[threadIdx.x] = make_ulonglong2(mul_hi_u64(a, a), rotate_left_u32(v.w, 8));
            atomicAdd(count, 1);
            atomicMax(count + 1, least);
            y[threadIdx.x].x += __popc(v.x) + __clz(v.y);
            y[threadIdx.x].x += mul_hi_u32(v.z, v.w) - __umulhi(v.z, v.w);
        }
        """
    )
    x = np.random.default_rng(2).integers(1, 2**31, (8, 4), dtype=np.uint32)
    y, count = words((8, 2), np.uint64), words(2)
    a = 0xFEDCBA9876543210
    device.launch("sample", "pieces", (1,), (8,), (x, y, count, np.uint64(a)))
    for (v0, v1, _, v3), (high, turned) in zip(x.tolist(), y.tolist(), strict=True):
        assert high == (a * a >> 64) + v0.bit_count() + 32 - v1.bit_length()
        assert turned == (v3 << 8 | v3 >> 24) & 0xFFFFFFFF
    assert count.tolist() == [8, x.min(axis=1).max()]


@pytest.mark.parametrize("turn", [0, 1, 31, 32])
def test_rotation_by_any_count(turn):
    device = device_for(
        'extern "C" __global__ void turn(u32* x, u32 by) { *x = rotate_left_u32(*x, by); }'
    )
    x = np.array([0x80000003], np.uint32)
    device.launch("sample", "turn", (1,), (1,), (x, np.uint32(turn)))
    by = turn % 32
    assert x[0] == (0x80000003 << by | 0x80000003 >> (32 - by)) & 0xFFFFFFFF


def test_random_orders_differ_and_a_seed_repeats_them():
    text = """
    extern "C" __global__ void sequence(u32* next, u32* out) {
        out[atomicAdd(next, 1u)] = blockIdx.x * blockDim.x + threadIdx.x;
    }
    """

    def sequence(device):
        out = words(64)
        device.launch("sample", "sequence", (4,), (16,), (words(1), out))
        assert sorted(out) == list(range(64))
        return out.tolist()

    first, second = device_for(text, order="random:5"), device_for(text, order="random", seed=5)
    run = [sequence(first) for _ in range(3)]
    assert run == [sequence(second) for _ in range(3)]
    assert len({tuple(order) for order in run}) == 3
    assert sequence(device_for(text, order="random:6")) != run[0]
    assert sequence(device_for(text, order="forward")) == list(range(64))
    assert sequence(device_for(text, order="reverse")) == list(range(63, -1, -1))


def test_the_environment_sets_the_order(monkeypatch):
    monkeypatch.setenv("HE_GPU_EMULATOR_ORDER", "random:12")
    device = Emulator()
    assert (device.order, device.seed) == ("random", 12)


@pytest.mark.parametrize("order", ["sideways", "forward:1", "random:x"])
def test_an_unknown_order_is_refused(order):
    with pytest.raises(ArgumentValueError, match=order):
        Emulator(order=order)


def test_an_unknown_sanitizer_is_refused():
    with pytest.raises(ArgumentValueError, match="memory"):
        Emulator(sanitizers="address,memory")


COPY = """
extern "C" __global__ void __launch_bounds__(64) copy_u64(const u64* x, u64* y, u64 n) {
    if (x != nullptr) for (u64 i = global_index(); i < n; i += global_stride()) y[i] = x[i];
}
"""
SOUND = (np.arange(8, dtype=np.uint64), np.zeros(8, np.uint64), np.uint64(8))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"args": SOUND[:2]}, ArgumentValueError, "takes 3 arguments, got 2"),
        (
            {"args": (SOUND[0].astype(np.int64), *SOUND[1:])},
            ArgumentTypeError,
            r"x \(const u64\*\) must be an array of emulator with dtype uint64, or None, "
            r"got numpy\.ndarray of dtype int64",
        ),
        ({"args": ([0] * 8, *SOUND[1:])}, ArgumentTypeError, "got builtins.list"),
        ({"args": (*SOUND[:2], 8)}, ArgumentTypeError, r"must be numpy\.uint64, got builtins\.int"),
        ({"args": (*SOUND[:2], np.uint32(8))}, ArgumentTypeError, r"got numpy\.uint32"),
        (
            {"args": (SOUND[0], np.broadcast_to(np.uint64(0), 8), SOUND[2])},
            ArgumentTypeError,
            "read-only",
        ),
        ({"grid": (0,)}, ArgumentValueError, "grid must be"),
        ({"grid": (1, 65536)}, ArgumentValueError, "grid must be"),
        ({"grid": (1, 1, 1, 1)}, ArgumentValueError, "grid must be"),
        ({"block": ()}, ArgumentValueError, "block must be"),
        ({"block": (65,)}, ArgumentValueError, "at most 64 threads"),
        ({"shared_bytes": -1}, ArgumentValueError, "shared_bytes must be"),
        ({"shared_bytes": 227 * 1024 + 1}, ArgumentValueError, "shared_bytes"),
        ({"kernel": "absent"}, KernelSourceError, "no kernel 'absent'"),
        ({"family": "absent"}, KernelSourceError, "no kernel family 'absent'"),
    ],
)
def test_a_launch_is_checked_against_the_signature(changed, error, message):
    call = {"family": "sample", "kernel": "copy_u64", "grid": (1,), "block": (64,), "args": SOUND}
    device = device_for(COPY)
    device.launch(**call)
    with pytest.raises(error, match=message):
        device.launch(**(call | changed))


def test_none_is_a_null_pointer():
    y = np.ones(8, np.uint64)
    device_for(COPY).launch("sample", "copy_u64", (1,), (64,), (None, y, np.uint64(8)))
    assert (y == 1).all()


@pytest.mark.parametrize(("n", "blocks"), [(1, 1), (64, 1), (65, 2), (10**9, 4096)])
def test_grid_of_a_strided_kernel(n, blocks):
    assert launch.grid_1d(n, 64) == (blocks,)


def test_an_empty_grid_is_refused():
    with pytest.raises(ArgumentValueError, match="at least 1, got 0"):
        launch.grid_1d(0, 64)


def test_what_does_not_compile_is_reported_with_its_line():
    device = device_for('extern "C" __global__ void f(u64* x) {\n*x = absent;\n}')
    with pytest.raises(KernelSourceError, match=r"sample\.cu:3:.*absent"):
        device.launch("sample", "f", (1,), (1,), (words(1, np.uint64),))


def test_processes_and_threads_may_build_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("HE_GPU_CACHE_DIR", str(tmp_path))
    script = (
        "import numpy as np\n"
        "from he_gpu.backend import loader\n"
        "from he_gpu.backend.emulator import Emulator\n"
        "device = Emulator()\n"
        f"device.add_source(loader.parse('sample', {COPY_WITH_HEADER!r}))\n"
        "y = np.zeros(8, np.uint64)\n"
        "device.launch('sample', 'copy_u64', (1,), (64,), (y + 7, y, np.uint64(8)))\n"
        "assert (y == 7).all()\n"
    )
    running = [start_python(script) for _ in range(3)]

    def here(_):
        y = np.zeros(8, np.uint64)
        device_for(COPY).launch("sample", "copy_u64", (1,), (64,), (y + 5, y, np.uint64(8)))
        return y

    with ThreadPoolExecutor(3) as pool:
        for y in pool.map(here, range(6)):
            assert (y == 5).all()
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert len(list((tmp_path / "emulator").iterdir())) == 1


COPY_WITH_HEADER = '#include "primitives.cuh"\n' + COPY


def start_python(script, **variables):
    root = str(Path(he_gpu.__file__).resolve().parents[1])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | variables
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_sanitized(text, kernel, setup, sanitizers="address,undefined"):
    """Exit status and standard error of a kernel in a process with sanitizers."""
    header = '#include "primitives.cuh"\n'
    script = (
        "import numpy as np\n"
        "from he_gpu.backend import loader\n"
        "from he_gpu.backend.emulator import Emulator\n"
        "device = Emulator()\n"
        f"device.add_source(loader.parse('sample', {header + text!r}))\n"
        f"{setup}\n"
        f"device.launch('sample', '{kernel}', (2,), (64,), args, shared_bytes=256)\n"
        "print('survived')\n"
    )
    process = start_python(script, **build.sanitizer_environment(sanitizers))
    output, errors = process.communicate()
    return process.returncode, output, errors


def test_a_sound_kernel_runs_under_the_sanitizers():
    text = REDUCE.replace("256", "64").replace("128", "32").replace("BARRIER", "block_barrier();")
    status, output, errors = run_sanitized(
        text,
        "block_sum_u32",
        "x, y = np.arange(128, dtype=np.uint32), np.zeros(2, np.uint32); args = (x, y)\n"
        "for order in ('reverse', 'random'):\n"
        "    device.order = order\n"
        "    device.launch('sample', 'block_sum_u32', (2,), (64,), args)\n"
        "    assert y.tolist() == x.reshape(2, 64).sum(axis=1).tolist()",
    )
    assert (status, output.strip()) == (0, "survived"), errors


@pytest.mark.parametrize(
    ("write", "report"),
    [
        ("x[100 + threadIdx.x] = 1;", "heap-buffer-overflow"),
        ("u32 own[4]; for (u32 i = 0; i <= n; i++) own[i] = i; x[0] = own[n - 1];", "stack-"),
        ("DYNAMIC_SHARED(u32, s); s[threadIdx.x + n] = 1;", "heap-buffer-overflow"),
        ("__shared__ u32 s[64]; u32* p = s; p[threadIdx.x + n - 3] = 1;", "global-buffer-overflow"),
        ("block_barrier(); x[127 + n] = 1;", "heap-buffer-overflow"),
    ],
)
def test_address_sanitizer_sees_a_write_out_of_bounds(write, report):
    status, output, errors = run_sanitized(
        f'extern "C" __global__ void stray(u32* x, u32 n) {{ {write} }}',
        "stray",
        "args = (np.zeros(128, np.uint32), np.uint32(4))",
        "address",
    )
    assert status != 0
    assert "survived" not in output
    assert f"AddressSanitizer: {report}" in errors
    assert "sample.cu:2" in errors


@pytest.mark.parametrize(
    ("expression", "report"),
    [
        ("1u << by", "shift exponent 40 is too large"),
        ("0x7fffffff + static_cast<i32>(by)", "signed integer overflow"),
    ],
)
def test_undefined_behaviour_is_seen(expression, report):
    status, output, errors = run_sanitized(
        f'extern "C" __global__ void undefined(u32* x, u32 by) {{ x[0] = {expression}; }}',
        "undefined",
        "args = (np.zeros(1, np.uint32), np.uint32(40))",
        "undefined",
    )
    assert status != 0
    assert "survived" not in output
    assert report in errors


def test_address_sanitizer_must_be_preloaded():
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("this process has AddressSanitizer preloaded")
    device = device_for(COPY, sanitizers="address")
    with pytest.raises(EmulatorError, match="must be preloaded"):
        device.launch("sample", "copy_u64", (1,), (64,), SOUND)


def test_a_cache_that_cannot_be_written_is_replaced(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("HE_GPU_CACHE_DIR", str(blocked))
    assert build.cache_directory() == build._private_directory()
    y = np.zeros(8, np.uint64)
    device_for(COPY).launch("sample", "copy_u64", (1,), (64,), (SOUND[0], y, np.uint64(8)))
    np.testing.assert_array_equal(y, SOUND[0])
