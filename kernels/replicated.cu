// Steps of replicated sharing among three parties, each one pass over memory for all
// the parties that this process holds.
//
//   cross_multiply     out[p] = x[p] (y[p] + y[p + 1]) + x[p + 1] y[p] + add[p]
//   deal_truncation    parts[0][0] = choice[0] << (k - bits), parts[1][0] = the upper `bits`
//                      bits of the last choice, parts[c][1] = -2^(k-2-bits) - first - last
//                      - parts[c][0] - dropped[c]; dropped without a mask 0, else as next
//   deal_mask          rest[c] -= dropped[c] for r = -mask - 2^(k-2): r / 2^bits rounded
//                      down, r signed where c = 0 and unsigned where c = 1
//   choose_truncation  out = lead (opened >> bits) + sum_p parts[top bit of opened][p]
//
// Defined by he_gpu/backend/definition/replicated.py, which names the paper.
// Shapes: x and y (parties + 1, n) with step 1, or (parties + 1) words with step 0; add
// and out of a product (parties, n), one array maybe; choices (1 or 2, n); parts (2, 2, n),
// to choose from (2, parties, n) with steps; rest (2, n) with a step; others (n). Rows are
// contiguous. Values: any word; with one choice bits <= k / 2. Nothing must divide anything.
// Threads: runs.cuh walks the n elements by 16 bytes where it can; a thread serves all
// parties and cases of its run, so each word is read once. Constant-time.
#include "runs.cuh"

template <class W>
__device__ __forceinline__ void cross(const W* x, u64 x_step, const W* y, u64 y_step, const W* add,
                                      W* out, u64 n, u32 parties) {
    const bool aligned = start_aligned(add, out) && (x_step == 0 || start_aligned(x)) &&
                         (y_step == 0 || start_aligned(y));
    const u64 x_row = x_step ? n : 1, y_row = y_step ? n : 1;
    for_each_run<W>(n, aligned, [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        Run<W, N> left = load_public<N>(x, x_step, i), right = load_public<N>(y, y_step, i);
        for (u32 p = 0; p < parties; p++) {
            const Run<W, N> next_left = load_public<N>(x + (p + 1) * x_row, x_step, i),
                            next_right = load_public<N>(y + (p + 1) * y_row, y_step, i);
            Run<W, N> share = load_run<N>(add + p * n, i);
#pragma unroll
            for (u32 j = 0; j < N; j++) {
                share[j] += left[j] * (right[j] + next_right[j]) + next_left[j] * right[j];
            }
            store_run(out + p * n, i, share);
            left = next_left;
            right = next_right;
        }
    });
}

// Takes the truncated masks of a run from what both cases give the second party.
template <class W, u32 N>
__device__ __forceinline__ void take_mask(Run<W, N> (&rest)[2], const Run<W, N>& mask, u32 bits) {
    constexpr u32 K = 8 * sizeof(W);
#pragma unroll
    for (u32 j = 0; j < N; j++) {
        const W r = W(0) - mask[j] - (W(1) << (K - 2));
        const W dropped = r >> bits, sign = r >> (K - 1) << (K - bits);
        rest[0][j] -= dropped - sign;
        rest[1][j] -= dropped;
    }
}

// Two choices where `both`, else one; the mask may be null.
template <class W>
__device__ __forceinline__ void deal(const W* first, const W* last, const W* choices,
                                     const W* mask, W* parts, u64 n, u32 both, u32 bits) {
    constexpr u32 K = 8 * sizeof(W);
    const W bias = W(1) << (K - 2 - bits);
    const bool aligned = start_aligned(first, last, choices, mask, parts);
    for_each_run<W>(n, aligned, [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        const Run<W, N> x = load_run<N>(first, i), y = load_run<N>(last, i);
        Run<W, N> own[2], rest[2];
        own[0] = load_run<N>(choices, i);
        own[1] = both ? load_run<N>(choices + n, i) : own[0];
#pragma unroll
        for (u32 j = 0; j < N; j++) {
            own[0][j] <<= K - bits;
            own[1][j] &= W(0) - (W(1) << (K - bits));
#pragma unroll
            for (u32 c = 0; c < 2; c++) rest[c][j] = W(0) - bias - x[j] - y[j] - own[c][j];
        }
        if (mask) take_mask(rest, load_run<N>(mask, i), bits);
#pragma unroll
        for (u32 c = 0; c < 2; c++) {
            store_run(parts + 2 * c * n, i, own[c]);
            store_run(parts + (2 * c + 1) * n, i, rest[c]);
        }
    });
}

template <class W>
__device__ __forceinline__ void deal_masks(W* rest, u64 step, const W* mask, u64 n, u32 bits) {
    for_each_run<W>(n, start_aligned(rest, rest + step, mask), [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        Run<W, N> words[2] = {load_run<N>(rest, i), load_run<N>(rest + step, i)};
        take_mask(words, load_run<N>(mask, i), bits);
        store_run(rest, i, words[0]);
        store_run(rest + step, i, words[1]);
    });
}

// Case c of party p starts at parts + c case_step + p party_step.
template <class W>
__device__ __forceinline__ void choose(const W* opened, const W* parts, u64 case_step,
                                       u64 party_step, W* out, u64 n, u32 parties, u32 bits,
                                       u32 lead) {
    constexpr u32 K = 8 * sizeof(W);
    const bool aligned =
        start_aligned(opened, parts, parts + case_step, parts + party_step, out);
    for_each_run<W>(n, aligned, [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        const Run<W, N> word = load_run<N>(opened, i);
        Run<W, N> total;
#pragma unroll
        for (u32 j = 0; j < N; j++) total[j] = lead ? word[j] >> bits : W(0);
        for (u32 p = 0; p < parties; p++) {
            const W* row = parts + p * party_step;
            const Run<W, N> clear = load_run<N>(row, i), set = load_run<N>(row + case_step, i);
#pragma unroll
            for (u32 j = 0; j < N; j++) {
                const W chosen = W(0) - (word[j] >> (K - 1));
                total[j] += clear[j] ^ ((clear[j] ^ set[j]) & chosen);
            }
        }
        store_run(out, i, total);
    });
}

extern "C" __global__ __launch_bounds__(256) void cross_multiply_ring_u64(
    const u64* __restrict__ x, u64 x_step, const u64* __restrict__ y, u64 y_step,
    const u64* add, u64* out, u64 n, u32 parties) {
    cross(x, x_step, y, y_step, add, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void cross_multiply_ring_u32(
    const u32* __restrict__ x, u64 x_step, const u32* __restrict__ y, u64 y_step,
    const u32* add, u32* out, u64 n, u32 parties) {
    cross(x, x_step, y, y_step, add, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void deal_truncation_ring_u64(
    const u64* __restrict__ first, const u64* __restrict__ last, const u64* __restrict__ choices,
    const u64* __restrict__ mask, u64* __restrict__ parts, u64 n, u32 both, u32 bits) {
    deal(first, last, choices, mask, parts, n, both, bits);
}

extern "C" __global__ __launch_bounds__(256) void deal_truncation_ring_u32(
    const u32* __restrict__ first, const u32* __restrict__ last, const u32* __restrict__ choices,
    const u32* __restrict__ mask, u32* __restrict__ parts, u64 n, u32 both, u32 bits) {
    deal(first, last, choices, mask, parts, n, both, bits);
}

extern "C" __global__ __launch_bounds__(256) void deal_mask_ring_u64(
    u64* __restrict__ rest, u64 step, const u64* __restrict__ mask, u64 n, u32 bits) {
    deal_masks(rest, step, mask, n, bits);
}

extern "C" __global__ __launch_bounds__(256) void deal_mask_ring_u32(
    u32* __restrict__ rest, u64 step, const u32* __restrict__ mask, u64 n, u32 bits) {
    deal_masks(rest, step, mask, n, bits);
}

extern "C" __global__ __launch_bounds__(256) void choose_truncation_ring_u64(
    const u64* __restrict__ opened, const u64* __restrict__ parts, u64 case_step, u64 party_step,
    u64* __restrict__ out, u64 n, u32 parties, u32 bits, u32 lead) {
    choose(opened, parts, case_step, party_step, out, n, parties, bits, lead);
}

extern "C" __global__ __launch_bounds__(256) void choose_truncation_ring_u32(
    const u32* __restrict__ opened, const u32* __restrict__ parts, u64 case_step, u64 party_step,
    u32* __restrict__ out, u64 n, u32 parties, u32 bits, u32 lead) {
    choose(opened, parts, case_step, party_step, out, n, parties, bits, lead);
}
