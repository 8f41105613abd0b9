// Residues modulo word-size primes q < 2^27, one for each limb of a polynomial.
//
// A twiddle is a factor w in [0, q) in the low half of a u64 and floor(w 2^32 / q) in the high
// half: x w - floor(x high / 2^32) q lies in [0, 2 q) for every x < 2^32 (Shoup; Harvey 2014).
// Defined by he_gpu/backend/definition/ntt.py and rns.py. Constant-time.
#pragma once
#include "primitives.cuh"

__device__ __forceinline__ u32 smaller_u32(u32 a, u32 b) { return a < b ? a : b; }

// x in [0, 2 q) to [0, q): a negative difference wraps to above 2^31.
__device__ __forceinline__ u32 settle_residue(u32 x, u32 q) { return smaller_u32(x, x - q); }

// x w mod q, in [0, 2 q).
__device__ __forceinline__ u32 multiply_lazy(u32 x, u64 twiddle, u32 q) {
    return x * static_cast<u32>(twiddle) - mul_hi_u32(x, static_cast<u32>(twiddle >> 32)) * q;
}

// x w / 2^32 mod q, in (0, 2 q), for every x < 2^32 and w < q; back = q^-1 mod 2^32 (Montgomery).
__device__ __forceinline__ u32 multiply_mont_lazy(u32 x, u32 w, u32 q, u32 back) {
    const u64 product = static_cast<u64>(x) * w;
    const u32 multiple = mul_hi_u32(static_cast<u32>(product) * back, q);
    return static_cast<u32>(product >> 32) + q - multiple;
}

// x mod q for any x < 2^32, with inverse = floor(2^32 / q): the quotient is at most one short.
__device__ __forceinline__ u32 reduce_u32(u32 x, u32 q, u32 inverse) {
    return settle_residue(x - mul_hi_u32(x, inverse) * q, q);
}

// x mod q for any x < 2^64, with inverse = floor(2^64 / q): the quotient is at most one short.
__device__ __forceinline__ u32 reduce_u64(u64 x, u32 q, u64 inverse) {
    return settle_residue(static_cast<u32>(x - mul_hi_u64(x, inverse) * q), q);
}
