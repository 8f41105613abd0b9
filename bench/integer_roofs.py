"""How many 32-bit operations a GPU does in a second, by two kernels that do little else.

`mix_u32` adds, exclusive-ors and rotates, as ChaCha20 does; `multiply_u32` multiplies and adds, as
the transforms do. Both are checked against NumPy, and bound kernels that move few bytes.
"""

import numpy as np

from he_gpu.backend import loader

FAMILY = "integer_roofs"
MIX, MULTIPLY = "mix_u32", "multiply_u32"
CHAINS = 8
"""Independent chains of a thread, so that none waits for its last result."""
OPERATIONS = {MIX: 3, MULTIPLY: 1}
"""Of a chain in a round: an exclusive or, a rotation and an addition; a multiplication."""
THREADS = 256
BLOCKS = 16
"""For each multiprocessor."""
ROUNDS = 4096
SOURCE = """
#include "primitives.cuh"
template <class Step>
__device__ __forceinline__ void run(u32* out, u32 rounds, Step step) {
    const u32 thread = static_cast<u32>(global_index());
    u32 x[CHAINS], sum = 0;
#pragma unroll
    for (u32 i = 0; i < CHAINS; i++) x[i] = thread + i;
    for (u32 round = 0; round < rounds; round++) {
#pragma unroll
        for (u32 i = 0; i < CHAINS; i++) x[i] = step(x[i], 2 * thread + 1);
    }
#pragma unroll
    for (u32 i = 0; i < CHAINS; i++) sum += x[i];
    out[thread] = sum;
}
extern "C" __global__ void mix_u32(u32* out, u32 rounds) {
    run(out, rounds, [](u32 x, u32 y) { return rotate_left_u32(x ^ y, 7) + x; });
}
extern "C" __global__ void multiply_u32(u32* out, u32 rounds) {
    run(out, rounds, [](u32 x, u32 y) { return x * y + x; });
}
"""


def source():
    """The kernels, for a device's `add_source`."""
    return loader.parse(FAMILY, SOURCE, (("CHAINS", CHAINS),))


def results(kernel, threads, rounds):
    """What the first threads write, in NumPy."""
    thread = np.arange(threads, dtype=np.uint32)[:, None]
    y = 2 * thread + np.uint32(1)
    x = thread + np.arange(CHAINS, dtype=np.uint32)
    for _ in range(rounds):
        mixed = x ^ y
        turned = mixed << np.uint32(7) | mixed >> np.uint32(25)
        x = turned + x if kernel == MIX else x * y + x
    return x.sum(axis=1, dtype=np.uint32)


def job(device, kernel, rounds=ROUNDS, blocks=None):
    """Return what runs a kernel on a whole device, after a check, and how many operations it does.

    Args:
        device: that launches kernels.
        kernel: `MIX` or `MULTIPLY`.
        rounds: steps of each chain.
        blocks: of `THREADS`; by default `BLOCKS` for each multiprocessor.

    Raises:
        ArithmeticError: the kernel's results are not NumPy's.
    """
    device.add_source(source())
    blocks = blocks or BLOCKS * device.multiprocessors
    out = device.xp.empty(blocks * THREADS, np.uint32)

    def launch(n_blocks, n_rounds):
        device.launch(FAMILY, kernel, (n_blocks,), (THREADS,), (out, np.uint32(n_rounds)))

    launch(1, 5)
    if not (out[:THREADS] == device.xp.asarray(results(kernel, THREADS, 5))).all():
        raise ArithmeticError(f"{kernel}: the results are not NumPy's")
    return lambda: launch(blocks, rounds), blocks * THREADS * rounds * CHAINS * OPERATIONS[kernel]
