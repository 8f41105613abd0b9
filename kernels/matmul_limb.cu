// The exact matrix product of a ring on 8-bit tensor cores, sm_80 and later:
//   out = a b + a2 b2 + add, in batches, summed over parties
//
//   matmul_limb_ring_u64, _u32        36 and 10 products of bytes for one of words
//   matmul_limb_b2_*, _b1_*           b and b2 signed numbers of 16 bits (15) or of 8 (8)
//   matmul_limb_mod_u64, _m2_*        q <= 2^24 (9), q <= 2^16 (4)
//   matmul_limb_kept_*, cut_planes_*  a and a2 as planes (limb_tiles.cuh), and what makes them
//
// Defined by matmul_pair in he_gpu/backend/definition/matmul.py. Source: schoolbook
// multiplication of balanced base-256 digits (limbs.cuh, limb_tiles.cuh).
// Shapes, steps and values: as in matmul.cu; m, n, batches below 2^31, parties (k + k2) at most
// 2^36. Planes: (parties, batches, row of tiles, step of depth) begins at its steps in bytes.
// Where 32-bit sums could wrap and it would matter, results so far are stored and the sums
// begin anew: after the depth that LimbPlan::piece derives, so any k is exact.
// Threads: blocks of 256; grid x counts tiles (64 x 64 for 2^64, else 128 x 64), grid y
// strides over batches, grid z splits the depth: then q wraps and blocks add to zeros in out;
// shared memory LimbPlan::SHARED_BYTES. Modulo 2^64 a tile and 32 of depth take 1152
// mma, 2304 cycles of a multiprocessor of sm_80 at its 2048 byte products a cycle, beside
// 192 KiB through shared memory (96 of fragments, 3 x 32 of staging), 1536 cycles.
// Constant-time: addresses and branches depend on shapes alone.
#include "limb_tiles.cuh"

extern "C" __global__ __launch_bounds__(256, 1) void matmul_limb_ring_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2) {
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    DYNAMIC_SHARED(u8, shared);
    typedef LimbPlan<Digits64, Digits64, 8, 64> Plan;
    const LimbTile<Plan> tile(first, second, {}, {}, shared, m, n);
    multiply_limbs<64>(Ring64{}, tile, result, batches);
}

extern "C" __global__ __launch_bounds__(256, 1) void matmul_limb_b2_ring_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2) {
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    DYNAMIC_SHARED(u8, shared);
    typedef LimbPlan<Digits64, Bytes16, 8, 64> Plan;
    const LimbTile<Plan> tile(first, second, {}, {}, shared, m, n);
    multiply_limbs<64>(Ring64{}, tile, result, batches);
}

extern "C" __global__ __launch_bounds__(256, 1) void matmul_limb_b1_ring_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2) {
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    DYNAMIC_SHARED(u8, shared);
    typedef LimbPlan<Digits64, Bytes8, 8, 64> Plan;
    const LimbTile<Plan> tile(first, second, {}, {}, shared, m, n);
    multiply_limbs<64>(Ring64{}, tile, result, batches);
}

extern "C" __global__ __launch_bounds__(256, 1) void matmul_limb_ring_u32(
    const u32* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u32* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u32* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u32* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u32* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u32* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2) {
    const Product<u32> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u32> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u32> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    DYNAMIC_SHARED(u8, shared);
    typedef LimbPlan<Digits32, Digits32, 4, 128> Plan;
    const LimbTile<Plan> tile(first, second, {}, {}, shared, m, n);
    multiply_limbs<32>(Ring32{}, tile, result, batches);
}

extern "C" __global__ __launch_bounds__(256, 1) void matmul_limb_mod_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2, u32 shift, u64 divisor, u64 inverse) {
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    DYNAMIC_SHARED(u8, shared);
    const ResidueProducts ring(shift, divisor, inverse);
    const DigitsMod<3> digits(ring.modulus);
    typedef LimbPlan<DigitsMod<3>, DigitsMod<3>, 5, 128> Plan;
    const LimbTile<Plan> tile(first, second, digits, digits, shared, m, n);
    multiply_limbs<ALL_EXACT>(ring, tile, result, batches);
}

extern "C" __global__ __launch_bounds__(256, 1) void matmul_limb_m2_mod_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2, u32 shift, u64 divisor, u64 inverse) {
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    DYNAMIC_SHARED(u8, shared);
    const ResidueProducts ring(shift, divisor, inverse);
    const DigitsMod<2> digits(ring.modulus);
    typedef LimbPlan<DigitsMod<2>, DigitsMod<2>, 3, 128> Plan;
    const LimbTile<Plan> tile(first, second, digits, digits, shared, m, n);
    multiply_limbs<ALL_EXACT>(ring, tile, result, batches);
}

extern "C" __global__ __launch_bounds__(256, 1) void matmul_limb_kept_ring_u64(
    const u8* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u8* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2) {
    const Product<u64, u8> first = {{a, a_party, a_batch, a_row, a_column},
                                    {b, b_party, b_batch, b_row, b_column},
                                    k};
    const Product<u64, u8> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                     {b2, b2_party, b2_batch, b2_row, b2_column},
                                     k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    DYNAMIC_SHARED(u8, shared);
    typedef LimbPlan<KeptDigits<Digits64>, Digits64, 8, 64> Plan;
    const LimbTile<Plan> tile(first, second, {}, {}, shared, m, n);
    multiply_limbs<64>(Ring64{}, tile, result, batches);
}

extern "C" __global__ __launch_bounds__(256, 1) void matmul_limb_kept_ring_u32(
    const u8* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u32* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u8* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u32* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u32* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u32* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2) {
    const Product<u32, u8> first = {{a, a_party, a_batch, a_row, a_column},
                                    {b, b_party, b_batch, b_row, b_column},
                                    k};
    const Product<u32, u8> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                     {b2, b2_party, b2_batch, b2_row, b2_column},
                                     k2};
    const Result<u32> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    DYNAMIC_SHARED(u8, shared);
    typedef LimbPlan<KeptDigits<Digits32>, Digits32, 4, 128> Plan;
    const LimbTile<Plan> tile(first, second, {}, {}, shared, m, n);
    multiply_limbs<32>(Ring32{}, tile, result, batches);
}

extern "C" __global__ __launch_bounds__(256) void cut_planes_ring_u64(
    const u64* __restrict__ a, i64 a_batch, i64 a_row, i64 a_column, u8* __restrict__ planes,
    u64 batches, u64 m, u64 k) {
    const Factor<u64> words = {a, 0, a_batch, a_row, a_column};
    typedef LimbPlan<KeptDigits<Digits64>, Digits64, 8, 64> Plan;
    cut_tiles<Plan>(words, planes, batches, m, k);
}

extern "C" __global__ __launch_bounds__(256) void cut_planes_ring_u32(
    const u32* __restrict__ a, i64 a_batch, i64 a_row, i64 a_column, u8* __restrict__ planes,
    u64 batches, u64 m, u64 k) {
    const Factor<u32> words = {a, 0, a_batch, a_row, a_column};
    typedef LimbPlan<KeptDigits<Digits32>, Digits32, 4, 128> Plan;
    cut_tiles<Plan>(words, planes, batches, m, k);
}
