// Steps of replicated sharing, each one pass over memory for all parties that are held here.
//
//   cross_multiply     out[p] = x[p] (y[p] + y[p + 1]) + x[p + 1] y[p] + add[p]; to balance,
//                      the last add[p] is minus the sum of the others
//   deal_truncation    parts[0] = own[0], 1 - 2^(k-2-bits) - first - last - own[0] + floor,
//                      parts[1] = own[1], (floor & upper) - own[1], for the first party's
//                      own[0] = choice[0] << (k - bits), own[1] = last choice & upper; without
//                      a mask floor is 0, with one parts are without own; copy = first
//   deal_mask          rest[0] += floor, rest[1] += floor & upper for floor = (mask + 2^(k-2)
//                      - 1) / 2^bits rounded down, signed
//   choose_truncation  out = lead s + sum_p parts[0][p] - (s & sum_p parts[1][p]) for
//                      s = (first + second) / 2^bits rounded down, signed; own too by choices
//
// upper is 2^k - 2^(k - bits). Defined by he_gpu/backend/definition/replicated.py, which names
// the paper. Shapes: x and y (rows, n) with step 1, or (rows) words with step 0, the row after
// the last being the first; add and out of a product (parties, n), one array maybe; choices
// (1 or 2, n); parts (2, 1 or 2, n), to choose from (2, parties, n) with steps; rest (2, n) with
// a step; others (n). Rows are contiguous. Values: any word; with one choice bits <= k / 2.
// Threads: runs.cuh walks the n elements; each word is read once. Constant-time.
#include "runs.cuh"

template <class W>
__device__ __forceinline__ void cross(const W* x, u64 x_step, u32 x_rows, const W* y, u64 y_step,
                                      u32 y_rows, const W* add, W* out, u64 n, u32 parties,
                                      u32 balance) {
    const bool aligned = start_aligned(add, out) && (x_step == 0 || start_aligned(x)) &&
                         (y_step == 0 || start_aligned(y));
    const u64 x_row = x_step ? n : 1, y_row = y_step ? n : 1;
    for_each_run<W>(n, aligned, [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        const Run<W, N> first_left = load_public<N>(x, x_step, i),
                        first_right = load_public<N>(y, y_step, i);
        Run<W, N> left = first_left, right = first_right, rest = {};
        for (u32 p = 0; p < parties; p++) {
            const Run<W, N> next_left =
                p + 1 == x_rows ? first_left : load_public<N>(x + (p + 1) * x_row, x_step, i);
            const Run<W, N> next_right =
                p + 1 == y_rows ? first_right : load_public<N>(y + (p + 1) * y_row, y_step, i);
            Run<W, N> share = balance && p + 1 == parties ? rest : load_run<N>(add + p * n, i);
#pragma unroll
            for (u32 j = 0; j < N; j++) {
                rest[j] -= share[j];
                share[j] += left[j] * (right[j] + next_right[j]) + next_left[j] * right[j];
            }
            store_run(out + p * n, i, share);
            left = next_left;
            right = next_right;
        }
    });
}

template <class W>
__device__ __forceinline__ W upper_bits(u32 bits) {
    return W(0) - (W(1) << (8 * sizeof(W) - bits));
}

template <class W>
__device__ __forceinline__ W shift_signed(W word, u32 bits) {
    const W fill = W(0) - (word >> (8 * sizeof(W) - 1));
    return word >> bits | (fill & upper_bits<W>(bits));
}

// The first party's words to add and to take off; two choices where `both`, else one.
template <u32 N, class W>
__device__ __forceinline__ void load_own(Run<W, N> (&own)[2], const W* choices, u64 n, u64 i,
                                         u32 both, u32 bits) {
    own[0] = load_run<N>(choices, i);
    own[1] = both ? load_run<N>(choices + n, i) : own[0];
#pragma unroll
    for (u32 j = 0; j < N; j++) {
        own[0][j] <<= 8 * sizeof(W) - bits;
        own[1][j] &= upper_bits<W>(bits);
    }
}

// Gives the truncated masks of a run to the second party's words.
template <class W, u32 N>
__device__ __forceinline__ void give_mask(Run<W, N> (&rest)[2], const Run<W, N>& mask, u32 bits) {
#pragma unroll
    for (u32 j = 0; j < N; j++) {
        const W floor = shift_signed<W>(mask[j] + (W(1) << (8 * sizeof(W) - 2)) - 1, bits);
        rest[0][j] += floor;
        rest[1][j] += floor & upper_bits<W>(bits);
    }
}

// The mask and the copy may be null.
template <class W>
__device__ __forceinline__ void deal(const W* first, const W* last, const W* choices,
                                     const W* mask, W* parts, W* copy, u64 n, u32 both,
                                     u32 bits) {
    const W bias = W(1) - (W(1) << (8 * sizeof(W) - 2 - bits));
    const bool aligned = start_aligned(first, last, choices, mask, parts, copy);
    const u64 parties = mask ? 1 : 2;
    for_each_run<W>(n, aligned, [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        const Run<W, N> x = load_run<N>(first, i), y = load_run<N>(last, i);
        Run<W, N> own[2], rest[2];
        load_own<N>(own, choices, n, i, both, bits);
#pragma unroll
        for (u32 j = 0; j < N; j++) {
            rest[0][j] = bias - x[j] - y[j] - own[0][j];
            rest[1][j] = W(0) - own[1][j];
        }
        if (mask) give_mask(rest, load_run<N>(mask, i), bits);
        if (copy) store_run(copy, i, x);
#pragma unroll
        for (u32 c = 0; c < 2; c++) {
            if (!mask) store_run(parts + c * parties * n, i, own[c]);
            store_run(parts + (c * parties + parties - 1) * n, i, rest[c]);
        }
    });
}

template <class W>
__device__ __forceinline__ void deal_masks(W* rest, u64 step, const W* mask, u64 n, u32 bits) {
    for_each_run<W>(n, start_aligned(rest, rest + step, mask), [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        Run<W, N> words[2] = {load_run<N>(rest, i), load_run<N>(rest + step, i)};
        give_mask(words, load_run<N>(mask, i), bits);
        store_run(rest, i, words[0]);
        store_run(rest + step, i, words[1]);
    });
}

// Row c of party p starts at parts + c row_step + p party_step; the choices may be null.
template <class W>
__device__ __forceinline__ void choose(const W* first, const W* second, const W* parts,
                                       u64 row_step, u64 party_step, const W* choices, W* out,
                                       u64 n, u32 parties, u32 both, u32 bits, u32 lead) {
    const bool aligned = start_aligned(first, second, parts, parts + row_step, parts + party_step,
                                       choices, out);
    for_each_run<W>(n, aligned, [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        const Run<W, N> theirs = load_run<N>(second, i);
        Run<W, N> opened = load_run<N>(first, i), sums[2] = {};
        if (choices) load_own<N>(sums, choices, n, i, both, bits);
        for (u32 p = 0; p < parties; p++) {
            const W* row = parts + p * party_step;
            const Run<W, N> added = load_run<N>(row, i), taken = load_run<N>(row + row_step, i);
#pragma unroll
            for (u32 j = 0; j < N; j++) {
                sums[0][j] += added[j];
                sums[1][j] += taken[j];
            }
        }
#pragma unroll
        for (u32 j = 0; j < N; j++) {
            const W s = shift_signed<W>(opened[j] + theirs[j], bits);
            opened[j] = sums[0][j] - (s & sums[1][j]) + (lead ? s : W(0));
        }
        store_run(out, i, opened);
    });
}

extern "C" __global__ __launch_bounds__(256) void cross_multiply_ring_u64(
    const u64* __restrict__ x, u64 x_step, u32 x_rows, const u64* __restrict__ y, u64 y_step,
    u32 y_rows, const u64* add, u64* out, u64 n, u32 parties, u32 balance) {
    cross(x, x_step, x_rows, y, y_step, y_rows, add, out, n, parties, balance);
}

extern "C" __global__ __launch_bounds__(256) void cross_multiply_ring_u32(
    const u32* __restrict__ x, u64 x_step, u32 x_rows, const u32* __restrict__ y, u64 y_step,
    u32 y_rows, const u32* add, u32* out, u64 n, u32 parties, u32 balance) {
    cross(x, x_step, x_rows, y, y_step, y_rows, add, out, n, parties, balance);
}

extern "C" __global__ __launch_bounds__(256) void deal_truncation_ring_u64(
    const u64* __restrict__ first, const u64* __restrict__ last, const u64* __restrict__ choices,
    const u64* __restrict__ mask, u64* __restrict__ parts, u64* __restrict__ copy, u64 n, u32 both,
    u32 bits) {
    deal(first, last, choices, mask, parts, copy, n, both, bits);
}

extern "C" __global__ __launch_bounds__(256) void deal_truncation_ring_u32(
    const u32* __restrict__ first, const u32* __restrict__ last, const u32* __restrict__ choices,
    const u32* __restrict__ mask, u32* __restrict__ parts, u32* __restrict__ copy, u64 n, u32 both,
    u32 bits) {
    deal(first, last, choices, mask, parts, copy, n, both, bits);
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
    const u64* __restrict__ first, const u64* __restrict__ second, const u64* __restrict__ parts,
    u64 row_step, u64 party_step, const u64* __restrict__ choices, u64* __restrict__ out, u64 n,
    u32 parties, u32 both, u32 bits, u32 lead) {
    choose(first, second, parts, row_step, party_step, choices, out, n, parties, both, bits, lead);
}

extern "C" __global__ __launch_bounds__(256) void choose_truncation_ring_u32(
    const u32* __restrict__ first, const u32* __restrict__ second, const u32* __restrict__ parts,
    u64 row_step, u64 party_step, const u32* __restrict__ choices, u32* __restrict__ out, u64 n,
    u32 parties, u32 both, u32 bits, u32 lead) {
    choose(first, second, parts, row_step, party_step, choices, out, n, parties, both, bits, lead);
}
