// Many steps of a least-squares descent on shares, of all parties, in one block:
// residual = F w - y, then w -= G residual, both products truncated.
//
//   additive    x A = (opened A) x_p + (mask A)_p e + c_p,  e = sum_p (x_p - b_p),  z = sum_p (x A)_p
//               share_p = top_p sign - low_p (+ z >> bits for the first), sign = -1 if z < 0, else 1
//   replicated  (x A)_p = A_p (x_p + x_{p+1}) + A_{p+1} x_p + hiding_p, of which the first two and
//               the third make word 1 as deal_mask and choose_truncation of replicated.cu do
//
// Defined by he_gpu/backend/definition/descent.py, which names the sources. Shapes: w and out
// (parties, width, targets), y (parties, rows, targets); of F and G, (m, k) = (rows, width) and
// (width, rows), opened (m, k) and mask (parties, m, k); of each step b (parties, k, targets) and
// c, low, top (parties, m, targets), steps first; all contiguous. Replicated words have 4 rows,
// the last the first once more; of each step hiding (3, m, targets), result 4, parts (2, 2).
// Values: any word; 0 < bits < 62. At most 32 parties, a lane each. Dynamic shared memory in
// words: additive (parties + 1) (width + rows) targets, replicated 3 (width + rows) targets.
// Threads: one block of any number of whole warps. A warp serves an element of the residual, its
// lanes the inner dimension; a thread an element of w, of every party. Constant-time.
#include "primitives.cuh"

constexpr u32 LANES = 32, ALL = 0xffffffffu;

// One party's share of a truncated word.
__device__ __forceinline__ u64 truncated_share(u64 opened, u64 low, u64 top, u32 bits,
                                               bool is_first) {
    const u64 sign = static_cast<u64>(static_cast<i64>(opened) >> 63) | 1;
    return top * sign - low + (is_first ? opened >> bits : 0);
}

// An index, or the last one in its place: so that lanes without an element of their own run as the
// others do, and loads of several rounds are on their way at once.
__device__ __forceinline__ u32 within(u32 index, u32 size) {
    return index < size ? index : size - 1;
}

// The sum over a warp, in every lane.
__device__ __forceinline__ u64 warp_sum(u64 x) {
#pragma unroll
    for (u32 lanes = LANES / 2; lanes > 0; lanes /= 2) x += shuffle_xor(ALL, x, lanes);
    return x;
}

extern "C" __global__ __launch_bounds__(1024) void descend_ring_u64(
    const u64* __restrict__ w, const u64* __restrict__ y, u64* __restrict__ out,
    const u64* __restrict__ f_opened, const u64* __restrict__ f_mask,
    const u64* __restrict__ f_b, const u64* __restrict__ f_c, const u64* __restrict__ f_low,
    const u64* __restrict__ f_top, const u64* __restrict__ g_opened,
    const u64* __restrict__ g_mask, const u64* __restrict__ g_b, const u64* __restrict__ g_c,
    const u64* __restrict__ g_low, const u64* __restrict__ g_top, u32 steps, u32 parties,
    u32 rows, u32 width, u32 targets, u32 f_bits, u32 g_bits) {
    const u32 weights = width * targets, residuals = rows * targets;
    const u32 lane = threadIdx.x % LANES, rounds = (width + LANES - 1) / LANES;
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
            // A lane's own party's words are on their way during the products.
            const bool own = lane < parties;
            const u32 at = lane * residuals + i;
            const u64 c = own ? f_c[at] : 0, low = own ? f_low[at] : 0;
            const u64 top = own ? f_top[at] : 0, b = own ? g_b[at] : 0;
            const u64 minus = own ? y[at] : 0;
            u64 sum = 0;
            for (u32 p = 0; p < parties; p++) {
                const u64* mask = f_mask + (p * rows + row) * width;
                const u64* words = share + p * weights + target;
#pragma unroll 4
                for (u32 round = 0; round < rounds; round++) {
                    const u32 k = within(round * LANES + lane, width);
                    u64 term = f_opened[row * width + k] * words[k * targets];
                    term += mask[k] * opened[k * targets + target];
                    sum += round * LANES + lane < width ? term : 0;
                }
            }
            const u64 z = warp_sum(sum + c);
            const u64 e = truncated_share(z, low, top, f_bits, lane == 0) - minus;
            if (own) residual[at] = e;
            const u64 masked = warp_sum(own ? e - b : 0);
            if (lane == 0) seen[i] = masked;
        }
        block_barrier();
        f_b += parties * weights, f_c += parties * residuals;
        f_low += parties * residuals, f_top += parties * residuals;
        const bool another = step + 1 < steps;
        for (u32 i = threadIdx.x; i < weights; i += blockDim.x) {
            const u32 row = i / targets, target = i % targets;
            u64 z = 0;
            for (u32 p = 0; p < parties; p++) {
                const u64* mask = g_mask + (p * width + row) * rows;
                const u64* words = residual + p * residuals + target;
                z += g_c[p * weights + i];
#pragma unroll 4
                for (u32 k = 0; k < rows; k++) {
                    z += g_opened[row * rows + k] * words[k * targets];
                    z += mask[k] * seen[k * targets + target];
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

// What the first two parties have of a product, and what the third has.
struct Cross {
    u64 pair, third;
};

// The products of every `every`-th element of a row of words of A, from the first on, with a
// column of those of x; the words of each lie a and b apart.
__device__ __forceinline__ Cross cross_products(const u64* matrix, u32 a, const u64* column, u32 b,
                                                u32 first, u32 every, u32 depth, u32 targets) {
    Cross sums = {0, 0};
#pragma unroll 4
    for (u32 round = 0; round < (depth + every - 1) / every; round++) {
        const u32 k = within(round * every + first, depth);
        const u64 *row = matrix + k, *words = column + k * targets;
        const u64 left[3] = {row[0], row[a], row[2 * a]};
        const u64 x[3] = {words[0], words[b], words[2 * b]};
        const u64 own = left[0] * (x[0] + x[1]) + left[1] * x[0];
        const u64 next = left[1] * (x[1] + x[2]) + left[2] * x[1];
        const u64 third = left[2] * (x[2] + x[0]) + left[0] * x[2];
        sums.pair += round * every + first < depth ? own + next : 0;
        sums.third += round * every + first < depth ? third : 0;
    }
    return sums;
}

// Word 1 of a truncated product, of n; hiding (3, n) and parts (2, 2, n) start at its own.
__device__ __forceinline__ u64 chosen_word(Cross sums, const u64* hiding, const u64* parts, u32 n,
                                           u32 bits) {
    const u64 upper = u64(0) - (u64(1) << (64 - bits));
    const u64 opened = sums.pair + hiding[0] + hiding[n];
    const u64 mask = sums.third + hiding[2 * n] + (u64(1) << 62) - 1;
    const u64 floor = static_cast<u64>(static_cast<i64>(mask) >> bits);
    const u64 s = static_cast<u64>(static_cast<i64>(opened) >> bits);
    const u64 taken = parts[2 * n] + parts[3 * n] + (floor & upper);
    return parts[0] + parts[n] + floor + s - (s & taken);
}

extern "C" __global__ __launch_bounds__(1024) void descend_replicated_ring_u64(
    const u64* __restrict__ w, const u64* __restrict__ y, u64* __restrict__ out,
    const u64* __restrict__ f_stack, const u64* __restrict__ f_hiding,
    const u64* __restrict__ f_result, const u64* __restrict__ f_parts,
    const u64* __restrict__ g_stack, const u64* __restrict__ g_hiding,
    const u64* __restrict__ g_result, const u64* __restrict__ g_parts, u32 steps, u32 rows,
    u32 width, u32 targets, u32 f_bits, u32 g_bits) {
    const u32 weights = width * targets, residuals = rows * targets, plane = rows * width;
    const u32 lane = threadIdx.x % LANES;
    DYNAMIC_SHARED(u64, shared);
    u64* words = shared;                       // (3, width, targets)
    u64* residual = shared + 3 * weights;      // (3, rows, targets)

    for (u32 i = threadIdx.x; i < 3 * weights; i += blockDim.x) words[i] = w[i];
    block_barrier();
    for (u32 step = 0; step < steps; step++) {
        for (u32 i = threadIdx.x / LANES; i < residuals; i += blockDim.x / LANES) {
            Cross sums = cross_products(f_stack + i / targets * width, plane, words + i % targets,
                                        weights, lane, LANES, width, targets);
            sums = {warp_sum(sums.pair), warp_sum(sums.third)};
            const u64 word = chosen_word(sums, f_hiding + i, f_parts + i, residuals, f_bits);
            for (u32 row = lane; row < 3; row += LANES) {
                const u32 at = row * residuals + i;
                residual[at] = (row == 1 ? word : f_result[at]) - y[at];
            }
        }
        block_barrier();
        f_hiding += 3 * residuals, f_result += 4 * residuals, f_parts += 4 * residuals;
        for (u32 i = threadIdx.x; i < weights; i += blockDim.x) {
            const Cross sums = cross_products(g_stack + i / targets * rows, plane,
                                              residual + i % targets, residuals, 0, 1, rows,
                                              targets);
            const u64 word = chosen_word(sums, g_hiding + i, g_parts + i, weights, g_bits);
            words[i] -= g_result[i];
            words[weights + i] -= word;
            words[2 * weights + i] -= g_result[2 * weights + i];
        }
        block_barrier();
        g_hiding += 3 * weights, g_result += 4 * weights, g_parts += 4 * weights;
    }
    for (u32 i = threadIdx.x; i < 4 * weights; i += blockDim.x) out[i] = words[i % (3 * weights)];
}
