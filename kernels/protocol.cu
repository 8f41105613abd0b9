// Steps of the protocols on share stacks, each one pass over memory for all the
// parties that this process holds.
//
//   reconstruct      out = sum_p stack[p]
//   complete         stack[row] = total - sum_{p != row} stack[p]
//   add_public       out[p] = stack[p] + (p < lead) public
//   open_masked      out = sum_p (stack[p] - mask[p])
//   beaver_combine   out[p] = d y[p] + a[p] e + c[p]
//   truncation_pair, truncate_finish: see the functions below
//
// Defined by he_gpu/backend/definition/protocol.py, which names the papers.
// Shapes: stacks (parties, n), contiguous; public operands (n) with step 1 or one
// word with step 0. Values: in [0, q); mod_u64 has any 2 <= q <= 2^63.
// Threads: a grid-stride loop in one dimension over the n elements; a thread
// serves its element's parties one after another, so a public word is read once.
// Nothing must divide anything. Constant-time.
#include "modular.cuh"

#define FOR_EACH_ELEMENT(i, n) \
    for (u64 i = global_index(); i < (n); i += global_stride())

template <class Ring, class W>
__device__ __forceinline__ void sum_parties(Ring ring, const W* stack, W* out, u64 n,
                                            u32 parties) {
    FOR_EACH_ELEMENT(i, n) {
        W total = stack[i];
        for (u32 p = 1; p < parties; p++) total = ring.add(total, stack[p * n + i]);
        out[i] = total;
    }
}

template <class Ring, class W>
__device__ __forceinline__ void add_to_lead(Ring ring, const W* stack, const W* public_words,
                                            u64 public_step, W* out, u64 n, u32 parties,
                                            u32 lead) {
    FOR_EACH_ELEMENT(i, n) {
        for (u32 p = 0; p < parties; p++) {
            const W share = stack[p * n + i];
            out[p * n + i] = p < lead ? ring.add(share, public_words[i * public_step]) : share;
        }
    }
}

template <class W>
__device__ __forceinline__ void open_difference(const W* stack, const W* mask, W* out, u64 n,
                                                u32 parties) {
    FOR_EACH_ELEMENT(i, n) {
        W total = 0;
        for (u32 p = 0; p < parties; p++) total += stack[p * n + i] - mask[p * n + i];
        out[i] = total;
    }
}

template <class W>
__device__ __forceinline__ void open_product(const W* stack, const W* factor, u64 factor_step,
                                             const W* added, W* out, u64 n, u32 parties) {
    FOR_EACH_ELEMENT(i, n) {
        const W scale = factor ? factor[i * factor_step] : W(1);
        W total = 0;
        for (u32 p = 0; p < parties; p++) total += stack[p * n + i] * scale + added[p * n + i];
        out[i] = total;
    }
}

template <class W>
__device__ __forceinline__ void combine(const W* d, u64 d_step, const W* y, const W* a,
                                        const W* e, u64 e_step, const W* c, W* out, u64 n,
                                        u32 parties) {
    FOR_EACH_ELEMENT(i, n) {
        const W d_word = d[i * d_step], e_word = e[i * e_step];
        for (u32 p = 0; p < parties; p++) {
            const u64 place = p * n + i;
            out[place] = d_word * y[place] + a[place] * e_word + c[place];
        }
    }
}

// out[p] = top[p] sign - low[p] + (p < lead) (opened >> bits), where sign is -1 if the top bit
// of the opened word is set and else 1.
template <class W>
__device__ __forceinline__ void finish_truncation(const W* opened, const W* low, const W* top,
                                                  W* out, u64 n, u32 parties, u32 bits,
                                                  u32 lead) {
    constexpr u32 K = 8 * sizeof(W);
    FOR_EACH_ELEMENT(i, n) {
        const W word = opened[i], flip = W(0) - (word >> (K - 1));
        for (u32 p = 0; p < parties; p++) {
            // Negation where flip is all ones: the complement plus one.
            const W signed_top = (top[p * n + i] ^ flip) - flip;
            out[p * n + i] = signed_top - low[p * n + i] + (p < lead ? word >> bits : W(0));
        }
    }
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
    combine(d, d_step, y, a, e, e_step, c, out, n, parties);
}

extern "C" __global__ __launch_bounds__(256) void beaver_combine_ring_u32(
    const u32* __restrict__ d, u64 d_step, const u32* __restrict__ y,
    const u32* __restrict__ a, const u32* __restrict__ e, u64 e_step,
    const u32* __restrict__ c, u32* __restrict__ out, u64 n, u32 parties) {
    combine(d, d_step, y, a, e, e_step, c, out, n, parties);
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
