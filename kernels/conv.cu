// The exact convolution of a ring, word by word:
//   out = conv(b, a) + conv(b2, a2) + add, in batches, summed over parties
//
//   conv_ring_u64, _ring_u32, _mod_u64  tiles of 32 x 32 results
//
// Defined by conv_pair in he_gpu/backend/definition/conv.py. Source: the windows as columns of a
// matrix (image.cuh), gathered as a tile is loaded.
// Shapes: as in conv_limb.cu, which serves large ones modulo 2^64 and 2^32.
// Values: in [0, q), in and out, for any k; mod_u64 takes any 2 <= q <= 2^63 and sums 128-bit
// products whose high word is kept below q (modular.cuh).
// Threads: blocks of 256; grid x counts tiles of m x n, grid y strides over batches, grid z splits
// k: then q wraps and blocks add to zeros in out. Nothing must divide anything: ragged edges are
// filled with zeros.
// Constant-time: addresses and branches depend on shapes alone.
#include "factors.cuh"
#include "image.cuh"
#include "modular.cuh"
#include "word_tiles.cuh"

#define PER 2
#define SIDE (16 * PER)

// Copies the words of SIDE windows at DEPTH places into tile[depth][line], zeros beyond the edges.
template <class W>
__device__ __forceinline__ void load_windows(W* tile, const Image<W>& image, const W* words,
                                             const Windows& windows, const Origin& origin,
                                             u32 first, u32 k) {
    const u32 line = threadIdx.x % SIDE;
#pragma unroll
    for (u32 depth = threadIdx.x / SIDE; depth < DEPTH; depth += THREADS / SIDE) {
        i64 offset;
        const bool inside = image.find(windows, origin, windows.tap(first + depth), offset);
        tile[depth * (SIDE + 1) + line] = inside && first + depth < k ? words[offset] : W(0);
    }
}

// A block makes SIDE x SIDE results, a thread PER x PER of them, 16 apart.
template <class Ring, class W>
__device__ __forceinline__ void convolve_tiles(Ring ring, const Product<W, W, Image<W>>& first,
                                               const Product<W, W, Image<W>>& second,
                                               const ImageResult<W>& result,
                                               const Windows& windows, u64 batches, u64 m, u64 n,
                                               W* a_tile, W* b_tile) {
    const u64 across = (n + SIDE - 1) / SIDE;
    const u64 first_row = blockIdx.x / across * SIDE, first_column = blockIdx.x % across * SIDE;
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16;
    const u32 own = static_cast<u32>(first_column) + threadIdx.x % SIDE;
    const Origin origin = own < n ? windows.origin(own) : Windows::nowhere();
    for (u64 batch = blockIdx.y; batch < batches; batch += gridDim.y) {
        typename Ring::Sum sums[PER][PER];
#pragma unroll
        for (u32 i = 0; i < PER * PER; i++) sums[i / PER][i % PER] = ring.zero();
#pragma unroll 1
        for (u32 party = 0; party < static_cast<u32>(result.parties); party++) {
#pragma unroll 1
            for (u32 part = 0; part < 2; part++) {
                const Product<W, W, Image<W>> p = part == 0 ? first : second;
                const Part range = Part::own(p.k);
                for (u64 depth = range.first; depth < range.end; depth += DEPTH) {
                    block_barrier();  // the previous tiles are still being read
                    load_tile<SIDE>(a_tile, p.a.matrix(party, batch), p.a.row_step,
                                    p.a.column_step, first_row, m, depth, p.k);
                    load_windows(b_tile, p.b, p.b.matrix(party, batch), windows, origin,
                                 static_cast<u32>(depth), static_cast<u32>(p.k));
                    block_barrier();
                    sum_tiles<PER>(ring, sums, a_tile + y, b_tile + x);
                }
            }
        }
#pragma unroll
        for (u32 i = 0; i < PER * PER; i++) {
            const u64 row = first_row + y + 16 * (i / PER);
            const u64 column = first_column + x + 16 * (i % PER);
            if (row < m && column < n) {
                result.store(ring, batch, row, column, ring.finish(sums[i / PER][i % PER]),
                             blockIdx.z == 0, gridDim.z > 1);
            }
        }
    }
}

extern "C" __global__ __launch_bounds__(256) void conv_ring_u64(
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
    const Ring64 ring{};
    __shared__ u64 a_tile[TILE_WORDS(PER)], b_tile[TILE_WORDS(PER)];
    convolve_tiles(ring, first, second, result, windows, batches, m, n, a_tile, b_tile);
}

extern "C" __global__ __launch_bounds__(256) void conv_ring_u32(
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
    const Ring32 ring{};
    __shared__ u32 a_tile[TILE_WORDS(PER)], b_tile[TILE_WORDS(PER)];
    convolve_tiles(ring, first, second, result, windows, batches, m, n, a_tile, b_tile);
}

extern "C" __global__ __launch_bounds__(256) void conv_mod_u64(
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
    u32 across_shift,
    u32 shift, u64 divisor, u64 inverse) {
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
    const ResidueProducts ring(shift, divisor, inverse);
    __shared__ u64 a_tile[TILE_WORDS(PER)], b_tile[TILE_WORDS(PER)];
    convolve_tiles(ring, first, second, result, windows, batches, m, n, a_tile, b_tile);
}
