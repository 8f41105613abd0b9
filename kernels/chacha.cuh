// The ChaCha20 block function: 64 bytes of keystream from key, nonce and counter.
//
// Defined by he_gpu/backend/definition/prg.py (keystream).
// Source: RFC 8439, sections 2.1 to 2.3.
// Constant-time: additions, exclusive-ors and rotations by fixed distances.
#pragma once
#include "primitives.cuh"

// Words 4 to 11 and 13 to 15 of the state; word 12 counts blocks.
struct ChaCha {
    u32 key[8], nonce[3];
};

__device__ __forceinline__ void quarter_round(u32& a, u32& b, u32& c, u32& d) {
    a += b, d = rotate_left_u32(d ^ a, 16);
    c += d, b = rotate_left_u32(b ^ c, 12);
    a += b, d = rotate_left_u32(d ^ a, 8);
    c += d, b = rotate_left_u32(b ^ c, 7);
}

// Writes the 16 little-endian words of block `counter`.
__device__ __forceinline__ void chacha_block(const ChaCha& stream, u32 counter, u32* words) {
    const u32 state[16] = {
        0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u,  // "expand 32-byte k"
        stream.key[0], stream.key[1], stream.key[2], stream.key[3],
        stream.key[4], stream.key[5], stream.key[6], stream.key[7],
        counter, stream.nonce[0], stream.nonce[1], stream.nonce[2],
    };
#pragma unroll
    for (u32 i = 0; i < 16; i++) words[i] = state[i];
    // Rolled: one double round is some hundred instructions, ten would crowd the cache.
#pragma unroll 1
    for (u32 round = 0; round < 10; round++) {
        quarter_round(words[0], words[4], words[8], words[12]);
        quarter_round(words[1], words[5], words[9], words[13]);
        quarter_round(words[2], words[6], words[10], words[14]);
        quarter_round(words[3], words[7], words[11], words[15]);
        quarter_round(words[0], words[5], words[10], words[15]);
        quarter_round(words[1], words[6], words[11], words[12]);
        quarter_round(words[2], words[7], words[8], words[13]);
        quarter_round(words[3], words[4], words[9], words[14]);
    }
#pragma unroll
    for (u32 i = 0; i < 16; i++) words[i] += state[i];
}

// The 64-bit word i of a block.
__device__ __forceinline__ u64 chacha_word(const u32* words, u32 i) {
    return static_cast<u64>(words[2 * i + 1]) << 32 | words[2 * i];
}
