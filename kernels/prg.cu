// Uniform ring elements straight from a ChaCha20 keystream.
//
//   uniform_ring_u64   out[i] = word i & mask      (64-bit words of the keystream)
//   uniform_ring_u32   out[i] = word i             (32-bit words)
//   uniform_mod_u64    out[i] = (words i w .. i w + w - 1, first word highest) mod q
//
// Defined by he_gpu/backend/definition/prg.py: keystream (mask 2^64 - 1) and
// uniform. Source: RFC 8439; the widths w = 2 for q <= 2^48 and w = 3 beyond keep
// an element within 2^-80 of uniform.
// Shapes: out (n), any alignment of its words; a stream as in streams.cuh. Values:
// out in [0, q); mask = q - 1 for a power of two q.
// Threads: a grid-stride loop in one dimension over groups of 64 bytes of
// keystream per word of an element: w blocks make 8 elements (16 of 32 bits).
// The launcher keeps the number of blocks at or below 2^32.
// Constant-time: what a thread does depends on n and w alone.
#include "modular.cuh"
#include "streams.cuh"

// Stores 16 words at out[first], of which `left` exist, by 16 bytes where they may.
__device__ __forceinline__ void store_block(u32* out, u64 left, const u32* words) {
    if (left >= 16 && (reinterpret_cast<u64>(out) & 15) == 0) {
        uint4* quads = reinterpret_cast<uint4*>(out);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            quads[i] = make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2],
                                  words[4 * i + 3]);
        }
        return;
    }
#pragma unroll
    for (u32 i = 0; i < 16; i++) {
        if (i < left) out[i] = words[i];
    }
}

extern "C" __global__ __launch_bounds__(256) void uniform_ring_u64(
    u64* __restrict__ out, u64 n, u64 mask, u64 key0, u64 key1, u64 key2, u64 key3, u64 nonce0,
    u32 nonce1, const u64* __restrict__ calls) {
    const ChaCha stream = stream_of(key0, key1, key2, key3, nonce0, nonce1, calls);
    const u64 blocks = (n + 7) / 8;
    for (u64 block = global_index(); block < blocks; block += global_stride()) {
        u32 words[16];
        chacha_block(stream, static_cast<u32>(block), words);
#pragma unroll
        for (u32 i = 0; i < 8; i++) {
            words[2 * i] &= static_cast<u32>(mask);
            words[2 * i + 1] &= static_cast<u32>(mask >> 32);
        }
        // A little-endian 64-bit word is two 32-bit words, low one first.
        store_block(reinterpret_cast<u32*>(out + 8 * block), 2 * (n - 8 * block), words);
    }
}

extern "C" __global__ __launch_bounds__(256) void uniform_ring_u32(
    u32* __restrict__ out, u64 n, u64 key0, u64 key1, u64 key2, u64 key3, u64 nonce0, u32 nonce1,
    const u64* __restrict__ calls) {
    const ChaCha stream = stream_of(key0, key1, key2, key3, nonce0, nonce1, calls);
    const u64 blocks = (n + 15) / 16;
    for (u64 block = global_index(); block < blocks; block += global_stride()) {
        u32 words[16];
        chacha_block(stream, static_cast<u32>(block), words);
        store_block(out + 16 * block, n - 16 * block, words);
    }
}

extern "C" __global__ __launch_bounds__(256) void uniform_mod_u64(
    u64* __restrict__ out, u64 n, u32 words_per_element, u32 shift, u64 divisor, u64 inverse,
    u64 key0, u64 key1, u64 key2, u64 key3, u64 nonce0, u32 nonce1,
    const u64* __restrict__ calls) {
    const ChaCha stream = stream_of(key0, key1, key2, key3, nonce0, nonce1, calls);
    const ResidueProducts ring(shift, divisor, inverse);
    const u64 groups = (n + 7) / 8;
    for (u64 group = global_index(); group < groups; group += global_stride()) {
        u64 index = 8 * group, element = 0;
        u32 taken = 0;
        for (u32 part = 0; part < words_per_element; part++) {
            u32 words[16];
            chacha_block(stream, static_cast<u32>(group * words_per_element + part), words);
#pragma unroll
            for (u32 i = 0; i < 8; i++) {
                element = ring.reduce(element, chacha_word(words, i));
                if (++taken < words_per_element) continue;
                if (index < n) out[index] = element;
                index++;
                element = 0;
                taken = 0;
            }
        }
    }
}
