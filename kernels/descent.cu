// Many steps of a least-squares descent on additive shares, of all parties, in one block.
//
//   x A = (opened A) x_p + (mask A)_p e + c_p,  e = sum_p (x_p - b_p),  z = sum_p (x A)_p
//   share_p = top_p sign - low_p (+ z >> bits for the first party), sign = -1 where z < 0, else 1
//   residual = F w - y, w -= G residual, both products truncated so
//
// Defined by he_gpu/backend/definition/descent.py, which names the sources.
// Shapes: w and out (parties, width, targets), y (parties, rows, targets); of F and G, opened
// (m, k) and mask (parties, m, k), (m, k) = (rows, width) and (width, rows); of each step b
// (parties, k, targets) and c, low, top (parties, m, targets), steps first; all contiguous.
// Values: any word; 0 < bits < 62. Dynamic shared memory: (parties + 1) (width + rows) targets
// words: shares of w, opened w; shares of the residual, opened residual.
// Threads: one block of any number of whole warps. A warp serves an element of the residual, its
// lanes the inner dimension; a thread serves an element of w, of every party.
// Nothing must divide anything. Constant-time: what a thread does depends on sizes alone.
#include "primitives.cuh"

constexpr u32 LANES = 32, ALL = 0xffffffffu;

// One party's share of a truncated word.
__device__ __forceinline__ u64 truncated_share(u64 opened, u64 low, u64 top, u32 bits,
                                               bool is_first) {
    const u64 sign = static_cast<u64>(static_cast<i64>(opened) >> 63) | 1;
    return top * sign - low + (is_first ? opened >> bits : 0);
}

// The sum over a warp, in every lane.
__device__ __forceinline__ u64 warp_sum(u64 x) {
#pragma unroll
    for (u32 lanes = LANES / 2; lanes > 0; lanes /= 2) x += shuffle_xor(ALL, x, lanes);
    return x;
}

extern "C" __global__ __launch_bounds__(256) void descend_ring_u64(
    const u64* __restrict__ w, const u64* __restrict__ y, u64* __restrict__ out,
    const u64* __restrict__ f_opened, const u64* __restrict__ f_mask,
    const u64* __restrict__ f_b, const u64* __restrict__ f_c, const u64* __restrict__ f_low,
    const u64* __restrict__ f_top, const u64* __restrict__ g_opened,
    const u64* __restrict__ g_mask, const u64* __restrict__ g_b, const u64* __restrict__ g_c,
    const u64* __restrict__ g_low, const u64* __restrict__ g_top, u32 steps, u32 parties,
    u32 rows, u32 width, u32 targets, u32 f_bits, u32 g_bits) {
    const u32 weights = width * targets, residuals = rows * targets;
    const u32 lane = threadIdx.x % LANES;
    DYNAMIC_SHARED(u64, shared);
    u64* share = shared;                           // (parties, width, targets)
    u64* opened = share + parties * weights;       // (width, targets)
    u64* residual = opened + weights;              // (parties, rows, targets)
    u64* seen = residual + parties * residuals;    // (rows, targets)

    for (u32 i = threadIdx.x; i < weights; i += blockDim.x) {
        u64 sum = 0;
        for (u32 p = 0; p < parties; p++) {
            share[p * weights + i] = w[p * weights + i];
            sum += w[p * weights + i] - f_b[p * weights + i];
        }
        opened[i] = sum;
    }
    block_barrier();
    for (u32 step = 0; step < steps; step++) {
        for (u32 i = threadIdx.x / LANES; i < residuals; i += blockDim.x / LANES) {
            const u32 row = i / targets, target = i % targets;
            u64 sum = 0;
            for (u32 k = lane; k < width; k += LANES) {
                const u64 public_f = f_opened[row * width + k];
                const u64 public_w = opened[k * targets + target];
                for (u32 p = 0; p < parties; p++) {
                    sum += public_f * share[p * weights + k * targets + target];
                    sum += f_mask[(p * rows + row) * width + k] * public_w;
                }
            }
            for (u32 p = lane; p < parties; p += LANES) sum += f_c[p * residuals + i];
            const u64 z = warp_sum(sum);
            u64 masked = 0;
            for (u32 p = lane; p < parties; p += LANES) {
                const u32 at = p * residuals + i;
                const u64 e = truncated_share(z, f_low[at], f_top[at], f_bits, p == 0) - y[at];
                residual[at] = e;
                masked += e - g_b[at];
            }
            masked = warp_sum(masked);
            if (lane == 0) seen[i] = masked;
        }
        block_barrier();
        f_b += parties * weights, f_c += parties * residuals;
        f_low += parties * residuals, f_top += parties * residuals;
        const bool another = step + 1 < steps;
        for (u32 i = threadIdx.x; i < weights; i += blockDim.x) {
            const u32 row = i / targets, target = i % targets;
            u64 z = 0;
            for (u32 p = 0; p < parties; p++) z += g_c[p * weights + i];
            for (u32 k = 0; k < rows; k++) {
                const u64 public_g = g_opened[row * rows + k];
                const u64 public_e = seen[k * targets + target];
                for (u32 p = 0; p < parties; p++) {
                    z += public_g * residual[p * residuals + k * targets + target];
                    z += g_mask[(p * width + row) * rows + k] * public_e;
                }
            }
            u64 masked = 0;
            for (u32 p = 0; p < parties; p++) {
                const u32 at = p * weights + i;
                share[at] -= truncated_share(z, g_low[at], g_top[at], g_bits, p == 0);
                masked += share[at] - (another ? f_b[at] : 0);
            }
            opened[i] = masked;
        }
        block_barrier();
        g_b += parties * residuals, g_c += parties * weights;
        g_low += parties * weights, g_top += parties * weights;
    }
    for (u32 i = threadIdx.x; i < parties * weights; i += blockDim.x) out[i] = share[i];
}
