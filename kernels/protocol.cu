// Steps of the protocols on share stacks, each one pass over memory for all the
// parties that this process holds.
//
//   reconstruct      out = sum_p stack[p]
//   add_public       out[p] = stack[p] + (p < lead) public
//   open_masked      out = sum_p (stack[p] - mask[p])
//   open_scaled      out = sum_p (stack[p] factor + added[p]); a null factor is 1
//   beaver_combine   out[p] = d y[p] + a[p] e + c[p]
//   beaver_open      out = sum_p (d y[p] + a[p] e + c[p])
//   truncate_finish  out[p] = top[p] sign - low[p] + (p < lead) (opened >> bits), where
//                    sign is -1 if the top bit of opened is set and else 1
//
// Defined by he_gpu/backend/definition/protocol.py, which names the papers.
// Shapes: stacks (parties, n), contiguous; public operands (n) with step 1 or one
// word with step 0. Values: in [0, q); mod_u64 has any 2 <= q <= 2^63.
// Threads: runs.cuh walks the n elements by 16 bytes where it can; a thread serves
// its run's parties one after another, so a public word is read once. Nothing must
// divide anything. Constant-time.
#include "modular.cuh"
#include "runs.cuh"

template <class Ring, class W>
__device__ __forceinline__ void sum_parties(Ring ring, const W* stack, W* out, u64 n,
                                            u32 parties) {
    for_each_run<W>(n, start_aligned(stack, out), [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        Run<W, N> total = load_run<N>(stack, i);
        for (u32 p = 1; p < parties; p++) {
            const Run<W, N> share = load_run<N>(stack + p * n, i);
#pragma unroll
            for (u32 j = 0; j < N; j++) total[j] = ring.add(total[j], share[j]);
        }
        store_run(out, i, total);
    });
}

template <class Ring, class W>
__device__ __forceinline__ void add_to_lead(Ring ring, const W* stack, const W* public_words,
                                            u64 public_step, W* out, u64 n, u32 parties,
                                            u32 lead) {
    const bool aligned = start_aligned(stack, out) &&
                         (public_step == 0 || start_aligned(public_words));
    for_each_run<W>(n, aligned, [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        const Run<W, N> word = load_public<N>(public_words, public_step, i);
        for (u32 p = 0; p < parties; p++) {
            Run<W, N> share = load_run<N>(stack + p * n, i);
#pragma unroll
            for (u32 j = 0; j < N; j++) {
                if (p < lead) share[j] = ring.add(share[j], word[j]);
            }
            store_run(out + p * n, i, share);
        }
    });
}

template <class W>
__device__ __forceinline__ void open_difference(const W* stack, const W* mask, W* out, u64 n,
                                                u32 parties) {
    for_each_run<W>(n, start_aligned(stack, mask, out), [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        Run<W, N> total = {};
        for (u32 p = 0; p < parties; p++) {
            const Run<W, N> share = load_run<N>(stack + p * n, i);
            const Run<W, N> hidden = load_run<N>(mask + p * n, i);
#pragma unroll
            for (u32 j = 0; j < N; j++) total[j] += share[j] - hidden[j];
        }
        store_run(out, i, total);
    });
}

template <class W>
__device__ __forceinline__ void open_product(const W* stack, const W* factor, u64 factor_step,
                                             const W* added, W* out, u64 n, u32 parties) {
    const bool aligned = start_aligned(stack, added, out) &&
                         (factor_step == 0 || start_aligned(factor));
    for_each_run<W>(n, aligned, [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        Run<W, N> scale, total = {};
        if (factor) {
            scale = load_public<N>(factor, factor_step, i);
        } else {
#pragma unroll
            for (u32 j = 0; j < N; j++) scale[j] = 1;
        }
        for (u32 p = 0; p < parties; p++) {
            const Run<W, N> share = load_run<N>(stack + p * n, i);
            const Run<W, N> more = load_run<N>(added + p * n, i);
#pragma unroll
            for (u32 j = 0; j < N; j++) total[j] += share[j] * scale[j] + more[j];
        }
        store_run(out, i, total);
    });
}

// OPEN: leaves the sum over the parties, else the share of each.
template <bool OPEN, class W>
__device__ __forceinline__ void combine(const W* d, u64 d_step, const W* y, const W* a,
                                        const W* e, u64 e_step, const W* c, W* out, u64 n,
                                        u32 parties) {
    const bool aligned = start_aligned(y, a, c, out) && (d_step == 0 || start_aligned(d)) &&
                         (e_step == 0 || start_aligned(e));
    for_each_run<W>(n, aligned, [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        const Run<W, N> left = load_public<N>(d, d_step, i), right = load_public<N>(e, e_step, i);
        Run<W, N> total = {};
        for (u32 p = 0; p < parties; p++) {
            const Run<W, N> factor = load_run<N>(y + p * n, i), mask = load_run<N>(a + p * n, i);
            Run<W, N> sum = load_run<N>(c + p * n, i);
#pragma unroll
            for (u32 j = 0; j < N; j++) {
                sum[j] += left[j] * factor[j] + mask[j] * right[j];
                total[j] += sum[j];
            }
            if (!OPEN) store_run(out + p * n, i, sum);
        }
        if (OPEN) store_run(out, i, total);
    });
}

template <class W>
__device__ __forceinline__ void finish_truncation(const W* opened, const W* low, const W* top,
                                                  W* out, u64 n, u32 parties, u32 bits,
                                                  u32 lead) {
    constexpr u32 K = 8 * sizeof(W);
    for_each_run<W>(n, start_aligned(opened, low, top, out), [&](auto width, u64 i) {
        constexpr u32 N = decltype(width)::VALUE;
        const Run<W, N> word = load_run<N>(opened, i);
        for (u32 p = 0; p < parties; p++) {
            const Run<W, N> high = load_run<N>(top + p * n, i), part = load_run<N>(low + p * n, i);
            Run<W, N> share;
#pragma unroll
            for (u32 j = 0; j < N; j++) {
                // Negation where flip is all ones: the complement plus one.
                const W flip = W(0) - (word[j] >> (K - 1));
                const W shifted = p < lead ? word[j] >> bits : W(0);
                share[j] = (high[j] ^ flip) - flip - part[j] + shifted;
            }
            store_run(out + p * n, i, share);
        }
    });
}

extern "C" __global__ __launch_bounds__(256) void reconstruct_ring_u64(
    const u64* __restrict__ stack, u64* __restrict__ out, u64 n, u32 parties) {
    const Ring64 ring{};
    sum_parties(ring, stack, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void reconstruct_ring_u32(
    const u32* __restrict__ stack, u32* __restrict__ out, u64 n, u32 parties) {
    const Ring32 ring{};
    sum_parties(ring, stack, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void reconstruct_mod_u64(
    const u64* __restrict__ stack, u64* __restrict__ out, u64 n, u32 parties, u64 modulus) {
    const Residues ring = {modulus};
    sum_parties(ring, stack, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void add_public_ring_u64(
    const u64* __restrict__ stack, const u64* __restrict__ public_words, u64 public_step,
    u64* __restrict__ out, u64 n, u32 parties, u32 lead) {
    const Ring64 ring{};
    add_to_lead(ring, stack, public_words, public_step, out, n, parties, lead);
}

extern "C" __global__ __launch_bounds__(256) void add_public_ring_u32(
    const u32* __restrict__ stack, const u32* __restrict__ public_words, u64 public_step,
    u32* __restrict__ out, u64 n, u32 parties, u32 lead) {
    const Ring32 ring{};
    add_to_lead(ring, stack, public_words, public_step, out, n, parties, lead);
}

extern "C" __global__ __launch_bounds__(256) void add_public_mod_u64(
    const u64* __restrict__ stack, const u64* __restrict__ public_words, u64 public_step,
    u64* __restrict__ out, u64 n, u32 parties, u32 lead, u64 modulus) {
    const Residues ring = {modulus};
    add_to_lead(ring, stack, public_words, public_step, out, n, parties, lead);
}

extern "C" __global__ __launch_bounds__(256) void open_masked_ring_u64(
    const u64* __restrict__ stack, const u64* __restrict__ mask, u64* __restrict__ out, u64 n,
    u32 parties) {
    open_difference(stack, mask, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void open_masked_ring_u32(
    const u32* __restrict__ stack, const u32* __restrict__ mask, u32* __restrict__ out, u64 n,
    u32 parties) {
    open_difference(stack, mask, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void open_scaled_ring_u64(
    const u64* __restrict__ stack, const u64* __restrict__ factor, u64 factor_step,
    const u64* __restrict__ added, u64* __restrict__ out, u64 n, u32 parties) {
    open_product(stack, factor, factor_step, added, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void open_scaled_ring_u32(
    const u32* __restrict__ stack, const u32* __restrict__ factor, u64 factor_step,
    const u32* __restrict__ added, u32* __restrict__ out, u64 n, u32 parties) {
    open_product(stack, factor, factor_step, added, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void beaver_combine_ring_u64(
    const u64* __restrict__ d, u64 d_step, const u64* __restrict__ y,
    const u64* __restrict__ a, const u64* __restrict__ e, u64 e_step,
    const u64* __restrict__ c, u64* __restrict__ out, u64 n, u32 parties) {
    combine<false>(d, d_step, y, a, e, e_step, c, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void beaver_combine_ring_u32(
    const u32* __restrict__ d, u64 d_step, const u32* __restrict__ y,
    const u32* __restrict__ a, const u32* __restrict__ e, u64 e_step,
    const u32* __restrict__ c, u32* __restrict__ out, u64 n, u32 parties) {
    combine<false>(d, d_step, y, a, e, e_step, c, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void beaver_open_ring_u64(
    const u64* __restrict__ d, u64 d_step, const u64* __restrict__ y,
    const u64* __restrict__ a, const u64* __restrict__ e, u64 e_step,
    const u64* __restrict__ c, u64* __restrict__ out, u64 n, u32 parties) {
    combine<true>(d, d_step, y, a, e, e_step, c, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void beaver_open_ring_u32(
    const u32* __restrict__ d, u64 d_step, const u32* __restrict__ y,
    const u32* __restrict__ a, const u32* __restrict__ e, u64 e_step,
    const u32* __restrict__ c, u32* __restrict__ out, u64 n, u32 parties) {
    combine<true>(d, d_step, y, a, e, e_step, c, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void truncate_finish_ring_u64(
    const u64* __restrict__ opened, const u64* __restrict__ low, const u64* __restrict__ top,
    u64* __restrict__ out, u64 n, u32 parties, u32 bits, u32 lead) {
    finish_truncation(opened, low, top, out, n, parties, bits, lead);
}

extern "C" __global__ __launch_bounds__(256) void truncate_finish_ring_u32(
    const u32* __restrict__ opened, const u32* __restrict__ low, const u32* __restrict__ top,
    u32* __restrict__ out, u64 n, u32 parties, u32 bits, u32 lead) {
    finish_truncation(opened, low, top, out, n, parties, bits, lead);
}
