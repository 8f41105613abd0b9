// Step functions of a secret from its packed bits: public weights, summed bit by bit.
//
// Defined by he_gpu/backend/definition/steps.py, which names the source. One launch makes one
// party's words beta of its stream and adds, for each set of weights w,
//   share = [first party] (constant + sum w v) + sum w (1 - 2 v) beta,
//   rest  = sum w (1 - 2 v) (m - beta) for the first party, else less sum w (1 - 2 v) beta,
// over the rows of planes v and m. What is null is left out.
// Shapes: planes (rows, W), bit e % 64 of word e / 64 being that of element e; weights
// (sets, rows), constants (sets), share and rest (sets, n), contiguous. Row t starts at block
// t * groups of the stream. Values: any word; bits of a plane beyond n mean nothing.
// Threads: each serves a block of keystream, 8 or 16 elements, of all rows, for SETS sets at
// a time, whose sums are in registers.
// Nothing must divide anything. Constant-time: what a thread does depends on sizes alone.
#include "streams.cuh"

constexpr u32 SETS = 3;

// Writes one group of sums, by 16 bytes where it is whole.
template <class W>
__device__ __forceinline__ void store_group(W* out, u64 first, u64 n, const W* sums) {
    constexpr u32 PER = 64 / sizeof(W), PACK = 16 / sizeof(W);
    if (first + PER <= n && start_aligned(out)) {
#pragma unroll
        for (u32 i = 0; i < PER; i += PACK) {
            Run<W, PACK> run;
#pragma unroll
            for (u32 j = 0; j < PACK; j++) run[j] = sums[i + j];
            store_run(out, first + i, run);
        }
        return;
    }
#pragma unroll
    for (u32 i = 0; i < PER; i++) {
        if (first + i < n) out[first + i] = sums[i];
    }
}

template <class W>
__device__ __forceinline__ void sum_steps(const ChaCha& stream, const u64* opened, const u64* bits,
                                          const W* weights, const W* constants, W* share, W* rest,
                                          u64 n, u32 rows, u32 sets, u32 is_first) {
    constexpr u32 PER = 64 / sizeof(W);
    const u64 width = (n + 63) / 64, groups = (n + PER - 1) / PER;
    const W lead = W(0) - W(is_first);
    for (u64 group = global_index(); group < groups; group += global_stride()) {
        const u64 first = group * PER;
        for (u32 from = 0; from < sets; from += SETS) {
            W own[SETS][PER], other[SETS][PER];
#pragma unroll
            for (u32 s = 0; s < SETS; s++) {
                const bool exists = from + s < sets;
                if (exists && rest && !is_first) {
                    load_group(rest + (from + s) * n, group, n, other[s]);
                } else {
#pragma unroll
                    for (u32 i = 0; i < PER; i++) other[s][i] = 0;
                }
                const W constant = exists ? constants[from + s] & lead : W(0);
#pragma unroll
                for (u32 i = 0; i < PER; i++) own[s][i] = constant;
            }
            for (u32 row = 0; row < rows; row++) {
                u32 words[16];
                chacha_block(stream, static_cast<u32>(row * groups + group), words);
                W weight[SETS];
#pragma unroll
                for (u32 s = 0; s < SETS; s++) {
                    weight[s] = from + s < sets ? weights[(from + s) * rows + row] : W(0);
                }
                const u64 v = opened[row * width + first / 64] >> first % 64;
                const u64 m = bits[row * width + first / 64] >> first % 64;
#pragma unroll
                for (u32 i = 0; i < PER; i++) {
                    const W bit = static_cast<W>(v >> i & 1), flip = W(0) - bit;
                    const W beta = (element(words, i, W(0)) ^ flip) - flip;
                    const W mask = ((static_cast<W>(m >> i & 1) ^ flip) - flip) & lead;
#pragma unroll
                    for (u32 s = 0; s < SETS; s++) {
                        own[s][i] += weight[s] * (beta + (bit & lead));
                        other[s][i] += weight[s] * (mask - beta);
                    }
                }
            }
#pragma unroll
            for (u32 s = 0; s < SETS; s++) {
                if (from + s >= sets) continue;
                if (share) store_group(share + (from + s) * n, first, n, own[s]);
                if (rest) store_group(rest + (from + s) * n, first, n, other[s]);
            }
        }
    }
}

extern "C" __global__ __launch_bounds__(256) void step_shares_ring_u64(
    const u64* __restrict__ opened, const u64* __restrict__ bits, const u64* __restrict__ weights,
    const u64* __restrict__ constants, u64* __restrict__ share, u64* __restrict__ rest, u64 n,
    u32 rows, u32 sets, u32 is_first, u64 key0, u64 key1, u64 key2, u64 key3,
    u64 nonce0, u32 nonce1,
    const u64* __restrict__ calls) {
    const ChaCha stream = stream_of(key0, key1, key2, key3, nonce0, nonce1, calls);
    sum_steps(stream, opened, bits, weights, constants, share, rest, n, rows, sets, is_first);
}

extern "C" __global__ __launch_bounds__(256) void step_shares_ring_u32(
    const u64* __restrict__ opened, const u64* __restrict__ bits, const u32* __restrict__ weights,
    const u32* __restrict__ constants, u32* __restrict__ share, u32* __restrict__ rest, u64 n,
    u32 rows, u32 sets, u32 is_first, u64 key0, u64 key1, u64 key2, u64 key3,
    u64 nonce0, u32 nonce1,
    const u64* __restrict__ calls) {
    const ChaCha stream = stream_of(key0, key1, key2, key3, nonce0, nonce1, calls);
    sum_steps(stream, opened, bits, weights, constants, share, rest, n, rows, sets, is_first);
}
