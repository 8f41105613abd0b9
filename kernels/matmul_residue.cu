// The exact matrix product of a ring by residues modulo s numbers up to 256, sm_80 and later:
//   out = a b + a2 b2 + add, in batches, summed over parties, in three kinds of launches
//
//   cut_residues_u64, _u32       words to balanced residues of 8 bits, s planes of them
//   multiply_residues_s8         products of planes, summed in 32 bits, modulo each small modulus
//   join_residues_ring_u64, ...  the words that have these residues
//
// Defined by he_gpu/backend/definition/matmul_residue.py, which also derives s and every constant.
// Source: Uchino, Ozaki, Imamura 2025 (Ozaki scheme II), with integers where they take floats.
// Planes: (s, batches, lines, depth) i8, lines the rows of a or the columns of b, depth filled up
// with zeros to a multiple of 64; each axis but the last has a step in bytes, 0 repeats.
// Products: (s, batches, m, n) u8, n filled up to a multiple of 16; packed.
// constants: (s, 7) as class Modulus; weights: (s + 1, 3) as class Weight, of the definition.
// Values: words in [0, q), q = 0 where they wrap; m, n below 2^31, parties (k + k2) to 131,071.
// Threads: blocks of 256. To multiply: grid x counts tiles of 256 x 128, y strides over batches, z
// is the small modulus. A step of 64 takes 512 mma, 1024 cycles of a multiprocessor of sm_80 at
// its 2048 byte products a cycle, beside 88 KiB through shared memory, 704 cycles.
// Constant-time: addresses and branches depend on shapes alone.
#include "byte_residues.cuh"

// planes (s, batches, lines, padded depth) packed, of words (batches, lines, depth) with steps.
extern "C" __global__ __launch_bounds__(256) void cut_residues_u64(
    const u64* __restrict__ words, i64 batch_step, i64 line_step, i64 depth_step,
    i8* __restrict__ planes, const u32* __restrict__ constants, u64 batches, u64 lines, u64 depth,
    u64 q, u32 count) {
    const Factor<u64> factor = {words, 0, batch_step, line_step, depth_step};
    cut_words(factor, planes, constants, batches, lines, depth, q, count);
}

extern "C" __global__ __launch_bounds__(256) void cut_residues_u32(
    const u32* __restrict__ words, i64 batch_step, i64 line_step, i64 depth_step,
    i8* __restrict__ planes, const u32* __restrict__ constants, u64 batches, u64 lines, u64 depth,
    u64 q, u32 count) {
    const Factor<u32> factor = {words, 0, batch_step, line_step, depth_step};
    cut_words(factor, planes, constants, batches, lines, depth, q, count);
}

// k and k2: of a party, in steps of 64.
extern "C" __global__ __launch_bounds__(256, 1) void multiply_residues_s8(
    const i8* __restrict__ a, i64 a_modulus, i64 a_party, i64 a_batch, i64 a_line,
    const i8* __restrict__ b, i64 b_modulus, i64 b_party, i64 b_batch, i64 b_line,
    const i8* __restrict__ a2, i64 a2_modulus, i64 a2_party, i64 a2_batch, i64 a2_line,
    const i8* __restrict__ b2, i64 b2_modulus, i64 b2_party, i64 b2_batch, i64 b2_line,
    u8* __restrict__ products, const u32* __restrict__ constants, u64 batches, u64 parties, u64 m,
    u64 n, u64 k, u64 k2) {
    DYNAMIC_SHARED(u8, shared);
    const Planes first = {a, a_modulus, a_party, a_batch, a_line,
                          b, b_modulus, b_party, b_batch, b_line};
    const Planes second = {a2, a2_modulus, a2_party, a2_batch, a2_line,
                           b2, b2_modulus, b2_party, b2_batch, b2_line};
    const Steps64 steps = {static_cast<u32>(k), static_cast<u32>(k2), static_cast<u32>(parties)};
    ResidueTile tile(first, second, steps, shared, m, n);
    const SmallModulus p(constants, blockIdx.z);
    for (tile.batch = blockIdx.y; tile.batch < batches; tile.batch += gridDim.y) {
        TileSums sums;
        sums.clear();
        sum_planes(sums, tile);
        store_residues(sums, p, tile, products + blockIdx.z * batches * tile.matrix_bytes());
    }
}

// out (batches, m, n) with steps; add (parties, batches, m, n), may be null. accumulate: adds to
// what out holds, and add is not read.
extern "C" __global__ __launch_bounds__(256) void join_residues_ring_u64(
    const u8* __restrict__ products, const u32* __restrict__ weights, u32 count,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u32 accumulate) {
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u32 table[TABLE_WORDS];
    const bool first = accumulate == 0;
    join_words(Ring64{}, products, weights, count, result, batches, m, n, first, table);
}

extern "C" __global__ __launch_bounds__(256) void join_residues_ring_u32(
    const u8* __restrict__ products, const u32* __restrict__ weights, u32 count,
    const u32* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u32* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u32 accumulate) {
    const Result<u32> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u32 table[TABLE_WORDS];
    const bool first = accumulate == 0;
    join_words(Ring32{}, products, weights, count, result, batches, m, n, first, table);
}

extern "C" __global__ __launch_bounds__(256) void join_residues_mod_u64(
    const u8* __restrict__ products, const u32* __restrict__ weights, u32 count,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u32 accumulate, u32 shift, u64 divisor, u64 inverse) {
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    const ResidueProducts ring(shift, divisor, inverse);
    __shared__ u32 table[TABLE_WORDS];
    const bool first = accumulate == 0;
    join_words(ring, products, weights, count, result, batches, m, n, first, table);
}
