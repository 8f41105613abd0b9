// Words split into a uniform share and the rest, the share made where it is used.
//
//   split_*             share = stream, rest = total - share
//   split_truncated_*   with M = the mask's stream: the same for total - M, for
//                       low = (r mod 2^(k-1) >> bits) + 2^(k-2-bits) and for
//                       top = (r >> (k-1)) 2^(k-1-bits), where r = -M - 2^(k-2)
//
// Defined by he_gpu/backend/definition/sharing.py and, low and top, protocol.py.
// Shapes: every array (n), contiguous; total may be the rest that is written. A stream
// is as in streams.cuh; element i takes the words that uniform in prg.cu gives it. Values:
// in [0, q), in and out; mod_u64 has any 2 <= q <= 2^63 and words_per_element as in
// definition/prg.py.
// Threads: a grid-stride loop in one dimension over groups of 8 elements (16 of 32
// bits), one block of ChaCha20 per stream and word of an element. Nothing must divide
// anything. Constant-time: what a thread does depends on sizes alone.
#include "modular.cuh"
#include "streams.cuh"

// The arrays that one truncation's randomness is written to.
template <class W>
struct Halves {
    W *share, *rest;
};

template <class W>
__device__ __forceinline__ void split_truncation(const ChaCha& mask, const ChaCha& c_stream,
                                                 const ChaCha& low_stream,
                                                 const ChaCha& top_stream, const W* total,
                                                 Halves<W> c, Halves<W> low, Halves<W> top, u64 n,
                                                 u32 bits) {
    constexpr u32 PER = 64 / sizeof(W), K = 8 * sizeof(W);
    const u64 groups = (n + PER - 1) / PER;
    for (u64 group = global_index(); group < groups; group += global_stride()) {
        u32 words[16];
        chacha_block(mask, static_cast<u32>(group), words);
        W r[PER], part[PER];
        load_group(total, group, n, part);
#pragma unroll
        for (u32 i = 0; i < PER; i++) {
            const W word = element(words, i, W(0));
            part[i] -= word;
            r[i] = W(0) - (W(1) << (K - 2)) - word;
        }
        split_group(Difference{}, c_stream, group, n, part, c.share, c.rest);
#pragma unroll
        for (u32 i = 0; i < PER; i++) {
            part[i] = (static_cast<W>(r[i] << 1) >> (bits + 1)) + (W(1) << (K - 2 - bits));
        }
        split_group(Difference{}, low_stream, group, n, part, low.share, low.rest);
#pragma unroll
        for (u32 i = 0; i < PER; i++) part[i] = (r[i] >> (K - 1)) << (K - 1 - bits);
        split_group(Difference{}, top_stream, group, n, part, top.share, top.rest);
    }
}

// total is not __restrict__: it may be rest, each word read before it is written.
extern "C" __global__ __launch_bounds__(256) void split_ring_u64(
    const u64* total, u64* __restrict__ share, u64* rest, u64 n, u64 key0, u64 key1, u64 key2,
    u64 key3, u64 nonce0, u32 nonce1,
    const u64* __restrict__ calls) {
    const ChaCha stream = stream_of(key0, key1, key2, key3, nonce0, nonce1, calls);
    split_words(Difference{}, stream, total, share, rest, n);
}

extern "C" __global__ __launch_bounds__(256) void split_ring_u32(
    const u32* total, u32* __restrict__ share, u32* rest, u64 n, u64 key0, u64 key1, u64 key2,
    u64 key3, u64 nonce0, u32 nonce1,
    const u64* __restrict__ calls) {
    const ChaCha stream = stream_of(key0, key1, key2, key3, nonce0, nonce1, calls);
    split_words(Difference{}, stream, total, share, rest, n);
}

extern "C" __global__ __launch_bounds__(256) void split_mod_u64(
    const u64* total, u64* __restrict__ share, u64* rest, u64 n, u32 words_per_element, u32 shift,
    u64 divisor, u64 inverse, u64 key0, u64 key1, u64 key2, u64 key3, u64 nonce0, u32 nonce1,
    const u64* __restrict__ calls) {
    const ChaCha stream = stream_of(key0, key1, key2, key3, nonce0, nonce1, calls);
    const ResidueProducts ring(shift, divisor, inverse);
    const u64 groups = (n + 7) / 8;
    for (u64 group = global_index(); group < groups; group += global_stride()) {
        u64 place = 8 * group, share_word = 0;
        u32 taken = 0;
        for (u32 part = 0; part < words_per_element; part++) {
            u32 words[16];
            chacha_block(stream, static_cast<u32>(group * words_per_element + part), words);
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                share_word = ring.reduce(share_word, chacha_word(words, i));
                if (++taken < words_per_element) continue;
                if (place < n) {
                    rest[place] = ring.sub(total[place], share_word);
                    share[place] = share_word;
                }
                place++;
                share_word = 0;
                taken = 0;
            }
        }
    }
}

extern "C" __global__ __launch_bounds__(256) void split_truncated_ring_u64(
    const u64* __restrict__ total, u64* __restrict__ c_share, u64* __restrict__ c_rest,
    u64* __restrict__ low_share, u64* __restrict__ low_rest, u64* __restrict__ top_share,
    u64* __restrict__ top_rest, u64 n, u32 bits,
    u64 mask0, u64 mask1, u64 mask2, u64 mask3, u64 mask4, u32 mask5,
    const u64* __restrict__ mask_calls,
    u64 c0, u64 c1, u64 c2, u64 c3, u64 c4, u32 c5,
    const u64* __restrict__ c_calls,
    u64 low0, u64 low1, u64 low2, u64 low3, u64 low4, u32 low5,
    const u64* __restrict__ low_calls,
    u64 top0, u64 top1, u64 top2, u64 top3, u64 top4, u32 top5,
    const u64* __restrict__ top_calls) {
    split_truncation<u64>(stream_of(mask0, mask1, mask2, mask3, mask4, mask5, mask_calls),
                          stream_of(c0, c1, c2, c3, c4, c5, c_calls),
                          stream_of(low0, low1, low2, low3, low4, low5, low_calls),
                          stream_of(top0, top1, top2, top3, top4, top5, top_calls), total,
                          {c_share, c_rest}, {low_share, low_rest}, {top_share, top_rest}, n,
                          bits);
}

extern "C" __global__ __launch_bounds__(256) void split_truncated_ring_u32(
    const u32* __restrict__ total, u32* __restrict__ c_share, u32* __restrict__ c_rest,
    u32* __restrict__ low_share, u32* __restrict__ low_rest, u32* __restrict__ top_share,
    u32* __restrict__ top_rest, u64 n, u32 bits,
    u64 mask0, u64 mask1, u64 mask2, u64 mask3, u64 mask4, u32 mask5,
    const u64* __restrict__ mask_calls,
    u64 c0, u64 c1, u64 c2, u64 c3, u64 c4, u32 c5,
    const u64* __restrict__ c_calls,
    u64 low0, u64 low1, u64 low2, u64 low3, u64 low4, u32 low5,
    const u64* __restrict__ low_calls,
    u64 top0, u64 top1, u64 top2, u64 top3, u64 top4, u32 top5,
    const u64* __restrict__ top_calls) {
    split_truncation<u32>(stream_of(mask0, mask1, mask2, mask3, mask4, mask5, mask_calls),
                          stream_of(c0, c1, c2, c3, c4, c5, c_calls),
                          stream_of(low0, low1, low2, low3, low4, low5, low_calls),
                          stream_of(top0, top1, top2, top3, top4, top5, top_calls), total,
                          {c_share, c_rest}, {low_share, low_rest}, {top_share, top_rest}, n,
                          bits);
}
