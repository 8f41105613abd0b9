// Elements drawn from a stream of ChaCha20 in the kernel that uses them, a block at a time.
//
// A stream is a key of four 64-bit words, a nonce of one 64-bit and one 32-bit word, and a place
// of calls made before, whose number is added to the first of these; null for none.
// A block makes a group of 8 elements of 64 bits, or 16 of 32 bits; element i of a call
// takes the word that uniform in prg.cu gives it. Constant-time: what a thread does
// depends on sizes alone.
#pragma once
#include "chacha.cuh"
#include "runs.cuh"

__device__ __forceinline__ ChaCha stream_of(u64 key0, u64 key1, u64 key2, u64 key3, u64 nonce0,
                                            u32 nonce1, const u64* calls) {
    if (calls) nonce0 += *calls;
    return {{static_cast<u32>(key0), static_cast<u32>(key0 >> 32), static_cast<u32>(key1),
             static_cast<u32>(key1 >> 32), static_cast<u32>(key2), static_cast<u32>(key2 >> 32),
             static_cast<u32>(key3), static_cast<u32>(key3 >> 32)},
            {static_cast<u32>(nonce0), static_cast<u32>(nonce0 >> 32), nonce1}};
}

// Element i of a block of keystream, as a word that wraps.
__device__ __forceinline__ u64 element(const u32* words, u32 i, u64) {
    return chacha_word(words, i);
}
__device__ __forceinline__ u32 element(const u32* words, u32 i, u32) { return words[i]; }

// What is left of an element whose share is drawn.
struct Difference {
    template <class W>
    __device__ __forceinline__ W operator()(W total, W share) const {
        return total - share;
    }
};
struct ExclusiveOr {
    template <class W>
    __device__ __forceinline__ W operator()(W total, W share) const {
        return total ^ share;
    }
};

// Reads one group of elements, by 16 bytes where it is whole; those beyond n are 0.
template <class W>
__device__ __forceinline__ void load_group(const W* total, u64 group, u64 n, W* part) {
    constexpr u32 PER = 64 / sizeof(W), PACK = 16 / sizeof(W);
    const u64 first = group * PER;
    if (first + PER <= n && start_aligned(total)) {
#pragma unroll
        for (u32 i = 0; i < PER; i += PACK) {
            const Run<W, PACK> run = load_run<PACK>(total, first + i);
#pragma unroll
            for (u32 j = 0; j < PACK; j++) part[i + j] = run[j];
        }
        return;
    }
#pragma unroll
    for (u32 i = 0; i < PER; i++) part[i] = first + i < n ? total[first + i] : W(0);
}

// Splits the elements of one group that exist: part[i] into share and rest.
template <class Left, class W>
__device__ __forceinline__ void split_group(Left left, const ChaCha& stream, u64 group, u64 n,
                                            const W* part, W* share, W* rest) {
    constexpr u32 PER = 64 / sizeof(W), PACK = 16 / sizeof(W);
    u32 words[16];
    chacha_block(stream, static_cast<u32>(group), words);
    const u64 first = group * PER;
    if (first + PER <= n && start_aligned(share, rest)) {
#pragma unroll
        for (u32 i = 0; i < PER; i += PACK) {
            Run<W, PACK> drawn, other;
#pragma unroll
            for (u32 j = 0; j < PACK; j++) {
                drawn[j] = element(words, i + j, W(0));
                other[j] = left(part[i + j], drawn[j]);
            }
            store_run(share, first + i, drawn);
            store_run(rest, first + i, other);
        }
        return;
    }
#pragma unroll
    for (u32 i = 0; i < PER; i++) {
        if (first + i >= n) continue;
        const W word = element(words, i, W(0));
        share[first + i] = word;
        rest[first + i] = left(part[i], word);
    }
}

// Splits n words by one stream, in a grid-stride loop over groups.
template <class Left, class W>
__device__ __forceinline__ void split_words(Left left, const ChaCha& stream, const W* total,
                                            W* share, W* rest, u64 n) {
    constexpr u32 PER = 64 / sizeof(W);
    const u64 groups = (n + PER - 1) / PER;
    for (u64 group = global_index(); group < groups; group += global_stride()) {
        W part[PER];
        load_group(total, group, n, part);
        split_group(left, stream, group, n, part, share, rest);
    }
}
