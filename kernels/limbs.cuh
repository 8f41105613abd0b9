// Byte limbs: words cut into digits base 256, four words at a time.
//
// A cut gives COUNT digits of each of four words x[0..3]: limbs[i] holds digit i of the
// four, x[0] lowest, as the fragments of mma_m16n8k32 want their bytes. Digits are
// balanced, -128 .. 127, but for the low one of Bytes16.
//   w + 0x80..80 has the bytes digit_i + 128, and flipping its top bit makes a byte the
//   two's complement of digit_i: one addition and one xor cut all digits of a word,
//   exactly modulo 256^COUNT.
// COUNT balanced digits hold -128 R .. 127 R, R = (256^COUNT - 1) / 255: 256^COUNT numbers
// in all, so a residue of any q <= 256^COUNT fits once q is taken from those above 127 R
// (two digits: 32,639 fits, 32,640 does not).
// Constant-time: no branch and no address depends on a word.
#pragma once
#include "primitives.cuh"

// out[i] = byte i of x[0..3].
__device__ __forceinline__ void transpose_bytes(const u32 (&x)[4], u32 (&out)[4]) {
    const u32 low01 = byte_permute(x[0], x[1], 0x5140u), low23 = byte_permute(x[2], x[3], 0x5140u);
    const u32 high01 = byte_permute(x[0], x[1], 0x7362u);
    const u32 high23 = byte_permute(x[2], x[3], 0x7362u);
    out[0] = byte_permute(low01, low23, 0x5410u);
    out[1] = byte_permute(low01, low23, 0x7632u);
    out[2] = byte_permute(high01, high23, 0x5410u);
    out[3] = byte_permute(high01, high23, 0x7632u);
}

// What every cut says of its digits: N of a word W, cut from its low bytes, a Part.
template <class W, class P, u32 N>
struct Digits {
    typedef W Word;
    typedef P Part;
    typedef W Stored;  // what the operand's memory holds
    static constexpr bool KEPT = false;
    static constexpr u32 COUNT = N;
    static constexpr bool LOW_UNSIGNED = false;
    // The largest magnitude of digit i.
    __device__ static constexpr u32 largest(u32) { return 128; }
};

// All of Z_2^64.
struct Digits64 : Digits<u64, u64, 8> {
    __device__ __forceinline__ void cut(const u64 (&x)[4], u32 (&limbs)[8]) const {
        u32 low[4], high[4], low_limbs[4], high_limbs[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const u64 shifted = x[i] + 0x8080808080808080ull;
            low[i] = static_cast<u32>(shifted);
            high[i] = static_cast<u32>(shifted >> 32);
        }
        transpose_bytes(low, low_limbs);
        transpose_bytes(high, high_limbs);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            limbs[i] = low_limbs[i] ^ 0x80808080u;
            limbs[4 + i] = high_limbs[i] ^ 0x80808080u;
        }
    }
};

// All of Z_2^32.
struct Digits32 : Digits<u32, u32, 4> {
    __device__ __forceinline__ void cut(const u32 (&x)[4], u32 (&limbs)[4]) const {
        u32 shifted[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) shifted[i] = x[i] + 0x80808080u;
        transpose_bytes(shifted, limbs);
#pragma unroll
        for (u32 i = 0; i < 4; i++) limbs[i] ^= 0x80808080u;
    }
};

// Words of Z_2^64 that are signed numbers of 16 bits: an unsigned low byte, a signed high one,
// because two balanced digits would end at 32,639.
struct Bytes16 : Digits<u64, u32, 2> {
    static constexpr bool LOW_UNSIGNED = true;
    __device__ static constexpr u32 largest(u32 i) { return i == 0 ? 255 : 128; }
    __device__ __forceinline__ void cut(const u32 (&x)[4], u32 (&limbs)[2]) const {
        u32 bytes[4];
        transpose_bytes(x, bytes);
        limbs[0] = bytes[0];
        limbs[1] = bytes[1];
    }
};

// Words of Z_2^64 that are signed numbers of 8 bits.
struct Bytes8 : Digits<u64, u32, 1> {
    __device__ __forceinline__ void cut(const u32 (&x)[4], u32 (&limbs)[1]) const {
        u32 bytes[4];
        transpose_bytes(x, bytes);
        limbs[0] = bytes[0];
    }
};

// Digits that were cut before, and are kept in planes.
template <class D>
struct KeptDigits : D {
    typedef u8 Stored;
    static constexpr bool KEPT = true;
};

// Residues of q <= 256^N, N <= 3.
template <u32 N>
struct DigitsMod : Digits<u64, u32, N> {
    static constexpr u32 ONES = (1u << 8 * N) / 255u;  // R
    u32 modulus;

    __device__ __forceinline__ explicit DigitsMod(u64 q) : modulus(static_cast<u32>(q)) {}

    __device__ __forceinline__ void cut(const u32 (&x)[4], u32 (&limbs)[N]) const {
        u32 shifted[4], bytes[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            shifted[i] = x[i] - (modulus & (0u - static_cast<u32>(x[i] > 127u * ONES)));
            shifted[i] += 128u * ONES;
        }
        transpose_bytes(shifted, bytes);
#pragma unroll
        for (u32 i = 0; i < N; i++) limbs[i] = bytes[i] ^ 0x80808080u;
    }
};
