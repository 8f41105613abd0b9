// Steps of replicated sharing among three parties, each one pass over memory for all
// the parties that this process holds.
//
//   cross_multiply   out[p] = x[p] (y[p] + y[p + 1]) + x[p + 1] y[p] + add[p]
//   deal_truncation  with r = -mask - 2^(k-2) and m = k - 1 - bits:
//                    top[0] = choices[0] << m, top[1] = (r >> (k - 1) << m) - top[0],
//                    low[0] = other << m, low[1] = (r mod 2^(k-1) >> bits) + 2^(m-1)
//                    - low[0] + first + last; other is choices[1], or with one choice
//                    the upper half of choices[0]
//
// Defined by he_gpu/backend/definition/replicated.py, which names the paper.
// Shapes: x and y (parties + 1, n) with step 1, or (parties + 1) words with step 0; add
// and out (parties, n); mask, first and last (n); choices (1 or 2, n); low and top (2, n);
// all contiguous; out may be add. Values: any word; with one choice bits < k / 2.
// Threads: runs.cuh walks the n elements by 16 bytes where it can; a thread serves its
// run's parties one after another and keeps the row that two of them have in common, so
// each word is read once. Nothing must divide anything. Constant-time.
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

// Two choices where `both`, else one.
template <class W>
__device__ __forceinline__ void deal(const W* mask, const W* first, const W* last,
                                     const W* choices, W* low, W* top, u64 n, u32 both, u32 bits) {
    constexpr u32 K = 8 * sizeof(W);
    const u32 lift = K - 1 - bits;
    const bool aligned = start_aligned(mask, first, last, choices, low, top);
    for_each_run<W>(n, aligned, [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        const Run<W, N> hidden = load_run<N>(mask, i), x = load_run<N>(first, i),
                        y = load_run<N>(last, i), choice = load_run<N>(choices, i);
        Run<W, N> other;
        if (both) {
            other = load_run<N>(choices + n, i);
        } else {
#pragma unroll
            for (u32 j = 0; j < N; j++) other[j] = choice[j] >> K / 2;
        }
        Run<W, N> lows[2], tops[2];
#pragma unroll
        for (u32 j = 0; j < N; j++) {
            const W r = W(0) - hidden[j] - (W(1) << (K - 2));
            const W kept = (r << 1 >> 1 >> bits) + (W(1) << (lift - 1));
            tops[0][j] = choice[j] << lift;
            tops[1][j] = (r >> (K - 1) << lift) - tops[0][j];
            lows[0][j] = other[j] << lift;
            lows[1][j] = kept - lows[0][j] + x[j] + y[j];
        }
#pragma unroll
        for (u32 row = 0; row < 2; row++) {
            store_run(low + row * n, i, lows[row]);
            store_run(top + row * n, i, tops[row]);
        }
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
    const u64* __restrict__ mask, const u64* __restrict__ first, const u64* __restrict__ last,
    const u64* __restrict__ choices, u64* __restrict__ low, u64* __restrict__ top, u64 n, u32 both,
    u32 bits) {
    deal(mask, first, last, choices, low, top, n, both, bits);
}

extern "C" __global__ __launch_bounds__(256) void deal_truncation_ring_u32(
    const u32* __restrict__ mask, const u32* __restrict__ first, const u32* __restrict__ last,
    const u32* __restrict__ choices, u32* __restrict__ low, u32* __restrict__ top, u64 n, u32 both,
    u32 bits) {
    deal(mask, first, last, choices, low, top, n, both, bits);
}
