// Rings as device types: integers modulo 2^64, 2^32 and any 2 <= q <= 2^63.
//
// Each ring has a Word, a Sum (an unreduced sum of products) and the functions
// add, sub, neg, mul, multiply_add, settle and finish; kernel bodies are
// templates over it. Words lie in [0, q), in and out. WRAPS: blocks can add to a word by atomicAdd.
// Defined by he_gpu/backend/definition/elementwise.py. The constants of a
// modulus come from words.reciprocal: no division happens here.
// Source: Moeller and Granlund, "Improved division by invariant integers", IEEE
// Trans. Computers 60 (2011), algorithm 4.
// Constant-time: no branch and no address depends on a word; what looks like a
// choice is a mask or a minimum.
#pragma once
#include "primitives.cuh"

// Words that wrap: machine arithmetic already is arithmetic in the ring.
template <class W>
struct Wrapping {
    typedef W Word;
    typedef W Sum;
    static constexpr bool WRAPS = true;

    __device__ __forceinline__ W add(W a, W b) const { return a + b; }
    __device__ __forceinline__ W sub(W a, W b) const { return a - b; }
    __device__ __forceinline__ W neg(W a) const { return W(0) - a; }
    __device__ __forceinline__ W mul(W a, W b) const { return a * b; }
    __device__ __forceinline__ Sum zero() const { return W(0); }
    __device__ __forceinline__ void multiply_add(Sum& sum, W a, W b) const { sum += a * b; }
    __device__ __forceinline__ void settle(Sum&) const {}
    __device__ __forceinline__ W finish(Sum sum) const { return sum; }
};
typedef Wrapping<u64> Ring64;
typedef Wrapping<u32> Ring32;

__device__ __forceinline__ u64 smaller(u64 a, u64 b) { return a < b ? a : b; }

// What addition modulo q <= 2^63 needs.
struct Residues {
    typedef u64 Word;
    static constexpr bool WRAPS = false;
    u64 modulus;

    // The sum stays below 2^64, and total - q wraps to the larger one where total < q.
    __device__ __forceinline__ u64 add(u64 a, u64 b) const {
        const u64 total = a + b;
        return smaller(total, total - modulus);
    }
    // A negative difference wraps to above 2^63 >= q.
    __device__ __forceinline__ u64 sub(u64 a, u64 b) const {
        const u64 difference = a - b;
        return smaller(difference, difference + modulus);
    }
    __device__ __forceinline__ u64 neg(u64 a) const {
        return (modulus - a) & (0ull - static_cast<u64>(a != 0));
    }
};

// A 128-bit sum of products.
struct WideSum {
    u64 low, high;
};

// What multiplication adds to it: divisor = q << shift fills 64 bits, and inverse is
// floor((2^128 - 1) / divisor) - 2^64.
struct ResidueProducts : Residues {
    typedef WideSum Sum;
    u64 divisor, inverse;
    u32 shift;

    __device__ __forceinline__ ResidueProducts(u32 shift_, u64 divisor_, u64 inverse_) {
        modulus = divisor_ >> shift_;
        divisor = divisor_;
        inverse = inverse_;
        shift = shift_;
    }
    // (high * 2^64 + low) mod q for high < q.
    __device__ __forceinline__ u64 reduce(u64 high, u64 low) const {
        // Two steps move low's top bits up: the shift is 0 for q = 2^63, and 64 is no shift.
        const u64 upper = (high << shift) | ((low >> 1) >> (63u - shift));
        const u64 lower = low << shift;
        const u64 product = upper * inverse;
        const u64 fraction = product + lower;
        const u64 quotient = mul_hi_u64(upper, inverse) + upper + (fraction < lower) + 1ull;
        u64 rest = lower - quotient * divisor;
        rest += divisor & (0ull - static_cast<u64>(rest > fraction));
        rest -= divisor & (0ull - static_cast<u64>(rest >= divisor));
        return rest >> shift;
    }
    __device__ __forceinline__ u64 mul(u64 a, u64 b) const {
        return reduce(mul_hi_u64(a, b), a * b);
    }
    __device__ __forceinline__ Sum zero() const { return {0, 0}; }
    // The high word of a product and a carry come to at most q / 2, so after a settled sum
    // two calls stay below 2^64 and below 2 q in the high word; then settle must follow.
    __device__ __forceinline__ void multiply_add(Sum& sum, u64 a, u64 b) const {
        const u64 low = a * b;
        sum.low += low;
        sum.high += mul_hi_u64(a, b) + static_cast<u64>(sum.low < low);
    }
    __device__ __forceinline__ void settle(Sum& sum) const {
        sum.high = smaller(sum.high, sum.high - modulus);
    }
    __device__ __forceinline__ u64 finish(Sum sum) const { return reduce(sum.high, sum.low); }
};
