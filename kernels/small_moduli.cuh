// Small moduli, and words cut into residues modulo them: what the two families of products by
// residues share. Every constant comes from he_gpu/backend/definition/matmul_residue.py.
// Constant-time.
// Not to be confused with residue.cuh, for polynomials modulo large primes: reduce_u32 serves both.
#pragma once
#include "residue.cuh"

#define WORDS 16  // of the depth, that a thread cuts

struct SmallModulus {
    u32 value, inverse, middle, high, shift, half, bias;

    __device__ __forceinline__ SmallModulus(const u32* constants, u32 index) {
        const u32* const own = constants + 7 * index;
        value = own[0], inverse = own[1], middle = own[2], high = own[3];
        shift = own[4], half = own[5], bias = own[6];
    }
    // A sum as a residue in [0, p). Its magnitude is at most 2^31 - 128^2: nothing wraps.
    __device__ __forceinline__ u32 reduce(i32 sum) const {
        return reduce_u32(static_cast<u32>(sum) + bias, value, inverse);
    }
};

// A word as a number around zero, plus 2^63. q = 0 where words wrap.
__device__ __forceinline__ u64 biased(u64 word, u64 q) {
    const u64 above = 0ull - static_cast<u64>(word > q / 2);
    return word - (q & above) + (1ull << 63);
}
__device__ __forceinline__ u64 biased(u32 word, u64) {
    return static_cast<u64>(static_cast<i64>(static_cast<i32>(word))) + (1ull << 63);
}

// 16 words in three pieces each, from which every residue is summed.
struct Pieces {
    u32 low[WORDS], middle[WORDS], high[WORDS];

    // Words from `first` on, with `apart` between neighbours; only so many of them are inside,
    // the others are zeros.
    template <class W>
    __device__ __forceinline__ Pieces(const W* first, i64 apart, i64 inside, u64 q) {
#pragma unroll
        for (u32 i = 0; i < WORDS; i++) {
            const u64 x = biased(i < inside ? first[i * apart] : W(0), q);
            low[i] = static_cast<u32>(x) & 0x3fffffu;
            middle[i] = static_cast<u32>(x >> 22) & 0x3fffffu;
            high[i] = static_cast<u32>(x >> 44);
        }
    }
    // Their balanced residues, a byte each.
    __device__ __forceinline__ uint4 residues(const SmallModulus& p) const {
        u32 bytes[4] = {0, 0, 0, 0};
#pragma unroll
        for (u32 i = 0; i < WORDS; i++) {
            // Below 2^22 + 255 (2^22 + 2^20) + 256 < 2^31.
            const u32 sum = low[i] + middle[i] * p.middle + high[i] * p.high + p.shift;
            const u32 residue = reduce_u32(sum, p.value, p.inverse) - p.half;
            bytes[i / 4] |= (residue & 0xffu) << (8 * (i % 4));
        }
        return make_uint4(bytes[0], bytes[1], bytes[2], bytes[3]);
    }
};
