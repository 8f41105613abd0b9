// The exact convolution of a ring on 8-bit tensor cores, sm_80 and later:
//   out = conv(b, a) + conv(b2, a2) + add, in batches, summed over parties
//
//   conv_limb_ring_u64, _u32  36 and 10 products of bytes for one of words
//
// Defined by conv_pair in he_gpu/backend/definition/conv.py. Source: the windows as columns of a
// matrix (image.cuh), gathered as they are staged, times byte digits as in matmul_limb.cu.
// Shapes: a (parties, batches, m, k), the windows' words next to each other; b (parties, batches,
// images, channels, rows, columns) with a step for every axis; add and out (batches, images, m,
// pixels), add with a step for the parties; n = images * pixels, k = channels * area. Groups are
// batches. a2 and b2 have the same sizes and k2 = k, or k2 = 0 and are not read. add may be null.
// Values: all words, in and out. Any k is exact: see LimbPlan::piece. n, k, and what lines, their
// strides and zeros around come to, stay below 2^31.
// Threads: as matmul_limb.cu; shared memory LimbPlan::SHARED_BYTES and 12 bytes for each of the
// 64 columns of a tile. A thread gathers 8 words in a step of depth, neighbours along n.
// Constant-time: addresses and branches depend on shapes alone.
#include "limb_tiles.cuh"

extern "C" __global__ __launch_bounds__(256, 1) void conv_limb_ring_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_image, i64 b_channel, i32 b_row,
    i32 b_column, const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_image, i64 b2_channel,
    i32 b2_row, i32 b2_column, const u64* __restrict__ add, i64 add_party, u64* __restrict__ out,
    i64 out_batch, i64 out_image, i64 out_row, u64 batches, u64 parties, u64 m, u64 n, u64 k,
    u64 k2, u32 lines, i32 stride, i32 dilation, i32 low, u32 apart, u32 apart_multiplier,
    u32 apart_shift, u32 column_lines, i32 column_stride, i32 column_dilation, i32 column_low,
    u32 column_apart, u32 column_apart_multiplier, u32 column_apart_shift, u32 area,
    u32 area_multiplier, u32 area_shift, u32 width, u32 width_multiplier, u32 width_shift,
    u32 pixels, u32 pixels_multiplier, u32 pixels_shift, u32 across, u32 across_multiplier,
    u32 across_shift) {
    const Windows windows = {
        {lines, stride, dilation, low, {apart, apart_multiplier, apart_shift}},
        {column_lines, column_stride, column_dilation, column_low,
         {column_apart, column_apart_multiplier, column_apart_shift}},
        {area, area_multiplier, area_shift},
        {width, width_multiplier, width_shift},
        {pixels, pixels_multiplier, pixels_shift},
        {across, across_multiplier, across_shift}};
    const Product<u64, u64, Image<u64>> first = {
        {a, a_party, a_batch, a_row, 1},
        {b, b_party, b_batch, b_image, b_channel, b_row, b_column},
        k};
    const Product<u64, u64, Image<u64>> second = {
        {a2, a2_party, a2_batch, a2_row, 1},
        {b2, b2_party, b2_batch, b2_image, b2_channel, b2_row, b2_column},
        k2};
    const ImageResult<u64> result = {add, add_party, out, out_batch, out_image, out_row, parties,
                                   windows.pixels};
    DYNAMIC_SHARED(u8, shared);
    typedef LimbPlan<Digits64, Digits64, 8, 64> Plan;
    const LimbTile<Plan, Image<u64>> tile(first, second, {}, {}, shared, m, n, windows);
    fill_origins(tile);
    multiply_limbs<64>(Ring64{}, tile, result, batches);
}

extern "C" __global__ __launch_bounds__(256, 1) void conv_limb_ring_u32(
    const u32* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row,
    const u32* __restrict__ b, i64 b_party, i64 b_batch, i64 b_image, i64 b_channel, i32 b_row,
    i32 b_column, const u32* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row,
    const u32* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_image, i64 b2_channel,
    i32 b2_row, i32 b2_column, const u32* __restrict__ add, i64 add_party, u32* __restrict__ out,
    i64 out_batch, i64 out_image, i64 out_row, u64 batches, u64 parties, u64 m, u64 n, u64 k,
    u64 k2, u32 lines, i32 stride, i32 dilation, i32 low, u32 apart, u32 apart_multiplier,
    u32 apart_shift, u32 column_lines, i32 column_stride, i32 column_dilation, i32 column_low,
    u32 column_apart, u32 column_apart_multiplier, u32 column_apart_shift, u32 area,
    u32 area_multiplier, u32 area_shift, u32 width, u32 width_multiplier, u32 width_shift,
    u32 pixels, u32 pixels_multiplier, u32 pixels_shift, u32 across, u32 across_multiplier,
    u32 across_shift) {
    const Windows windows = {
        {lines, stride, dilation, low, {apart, apart_multiplier, apart_shift}},
        {column_lines, column_stride, column_dilation, column_low,
         {column_apart, column_apart_multiplier, column_apart_shift}},
        {area, area_multiplier, area_shift},
        {width, width_multiplier, width_shift},
        {pixels, pixels_multiplier, pixels_shift},
        {across, across_multiplier, across_shift}};
    const Product<u32, u32, Image<u32>> first = {
        {a, a_party, a_batch, a_row, 1},
        {b, b_party, b_batch, b_image, b_channel, b_row, b_column},
        k};
    const Product<u32, u32, Image<u32>> second = {
        {a2, a2_party, a2_batch, a2_row, 1},
        {b2, b2_party, b2_batch, b2_image, b2_channel, b2_row, b2_column},
        k2};
    const ImageResult<u32> result = {add, add_party, out, out_batch, out_image, out_row, parties,
                                   windows.pixels};
    DYNAMIC_SHARED(u8, shared);
    typedef LimbPlan<Digits32, Digits32, 4, 128> Plan;
    const LimbTile<Plan, Image<u32>> tile(first, second, {}, {}, shared, m, n, windows);
    fill_origins(tile);
    multiply_limbs<32>(Ring32{}, tile, result, batches);
}
