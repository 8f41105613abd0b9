// Products of planes of bytes for the exact matrix product on sm_90a, in three kinds of launches:
//
//   cut_tiles_u64             words to balanced residues of 8 bits, tiles of them
//   multiply_tiles_s8         products of tiles, summed in 32 bits, modulo each small modulus
//   cut_limb_tiles_u32        words to four balanced digits base 256, tiles of them
//   multiply_limb_tiles_u32   out = a b + a2 b2 + add modulo 2^32, in batches, summed over parties
//
// The first two take the place of cut_residues_u64 and multiply_residues_s8 of matmul_residue.cu,
// whose join follows; he_gpu/backend/definition/matmul_residue.py defines them and derives every
// constant; definition/matmul.py defines the last. Source of the digits: limbs.cuh.
// Tiles: (planes, batches, tiles of 128 lines, steps of 128 of depth, 16 KiB) i8, lines the rows
// of a or the columns of b, filled up with zeros; each axis but the last two has a step in bytes, 0
// repeats. Within a tile line l stands at place_of_line(l), its 16-byte chunks in the order of
// `swizzled`. Products: (s, batches, m, n) u8, n filled up to a multiple of 16; packed.
// Values: words in [0, q), q = 0 where they wrap; m, n below 2^31, parties (k + k2) to 131,071 for
// residues. Threads: to cut, blocks of 256. To multiply, blocks of 288, one to a multiprocessor.
// A step of 128 takes 8 wgmma, 1024 cycles at 4096 byte products a cycle, and 48 KiB of the cache.
// Constant-time: addresses and branches depend on shapes alone.
#include "warpgroup_tiles.cuh"

extern "C" __global__ __launch_bounds__(256) void cut_tiles_u64(
    const u64* __restrict__ words, i64 batch_step, i64 line_step, i64 depth_step,
    i8* __restrict__ tiles, const u32* __restrict__ constants, u64 batches, u64 lines, u64 depth,
    u64 q, u32 count) {
    const Factor<u64> factor = {words, 0, batch_step, line_step, depth_step};
    cut_residue_tiles(factor, tiles, constants, batches, lines, depth, q, count);
}

extern "C" __global__ __launch_bounds__(256) void cut_limb_tiles_u32(
    const u32* __restrict__ words, i64 batch_step, i64 line_step, i64 depth_step,
    i8* __restrict__ tiles, u64 batches, u64 lines, u64 depth) {
    const Factor<u32> factor = {words, 0, batch_step, line_step, depth_step};
    cut_limb_tiles(factor, tiles, batches, lines, depth);
}

// constants: (count, 7) as class Modulus of the definition. k and k2: of a party, in steps of 128.
extern "C" __global__ __launch_bounds__(288, 1) void multiply_tiles_s8(
    const i8* __restrict__ a, i64 a_plane, i64 a_party, i64 a_batch, i64 a_line,
    const i8* __restrict__ b, i64 b_plane, i64 b_party, i64 b_batch, i64 b_line,
    const i8* __restrict__ a2, i64 a2_plane, i64 a2_party, i64 a2_batch, i64 a2_line,
    const i8* __restrict__ b2, i64 b2_plane, i64 b2_party, i64 b2_batch, i64 b2_line,
    u8* __restrict__ products, const u32* __restrict__ constants, u64 count, u64 batches,
    u64 parties, u64 m, u64 n, u64 k, u64 k2) {
    DYNAMIC_SHARED(u8, shared);
    const TilePair first = {{a, a_plane, a_party, a_batch, a_line},
                            {b, b_plane, b_party, b_batch, b_line},
                            k};
    const TilePair second = {{a2, a2_plane, a2_party, a2_batch, a2_line},
                             {b2, b2_plane, b2_party, b2_batch, b2_line},
                             k2};
    const TileProducts all = {first,   second, parties,
                              batches, static_cast<u32>(m),
                              static_cast<u32>(n), static_cast<u32>(count)};
    multiply_residue_tiles(all, shared, products, constants);
}

// out (batches, m, n) with steps; add (parties, batches, m, n), may be null. accumulate: adds to
// what out holds, and add is not read.
extern "C" __global__ __launch_bounds__(288, 1) void multiply_limb_tiles_u32(
    const i8* __restrict__ a, i64 a_plane, i64 a_party, i64 a_batch, i64 a_line,
    const i8* __restrict__ b, i64 b_plane, i64 b_party, i64 b_batch, i64 b_line,
    const i8* __restrict__ a2, i64 a2_plane, i64 a2_party, i64 a2_batch, i64 a2_line,
    const i8* __restrict__ b2, i64 b2_plane, i64 b2_party, i64 b2_batch, i64 b2_line,
    const u32* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u32* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2, u32 accumulate) {
    DYNAMIC_SHARED(u8, shared);
    const TilePair first = {{a, a_plane, a_party, a_batch, a_line},
                            {b, b_plane, b_party, b_batch, b_line},
                            k};
    const TilePair second = {{a2, a2_plane, a2_party, a2_batch, a2_line},
                             {b2, b2_plane, b2_party, b2_batch, b2_line},
                             k2};
    const TileProducts all = {first,   second, parties,
                              batches, static_cast<u32>(m),
                              static_cast<u32>(n), 1};
    const Result<u32> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    multiply_limb_tiles(all, shared, result, accumulate == 0);
}
