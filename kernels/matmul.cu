// The exact matrix product of a ring: out = a b + a2 b2 + add, in batches, summed over parties.
//
//   matmul_*        tiles of 64 x 64 results
//   matmul_small_*  tiles of 32 x 32, where larger ones would leave a device idle
//   matmul_thin_*   one column of results per block, for some few columns
//
// Defined by matmul_pair in he_gpu/backend/definition/matmul.py.
// Shapes: a (parties, batches, m, k), b (parties, batches, k, n), a2 and b2 likewise with k2,
// add (parties, batches, m, n), out (batches, m, n), each with a step in words for every axis:
// transposes, slices and repeated operands (step 0) need no copy. With k2 = 0 nothing of a2
// and b2 is read. add may be null; nothing may overlap out.
// Values: in [0, q), in and out, for any k. mod_u64 takes any 2 <= q <= 2^63 and sums
// 128-bit products whose high word is kept below q (modular.cuh).
// Threads: blocks of 256. Grid x counts the tiles of a matrix (thin: groups of 256 / slices
// rows, column by column), grid y strides over batches, grid z splits the depth of small
// tiles: then q wraps and blocks add to zeros in out. slices divides 256: so many threads
// share the inner dimension of a result. Nothing else must divide anything.
// Constant-time: addresses and branches depend on shapes alone.
#include "factors.cuh"
#include "modular.cuh"
#include "word_tiles.cuh"

// A block makes SIDE x SIDE results, a thread PER x PER of them, 16 apart so that the threads
// of a warp read neighbouring words of the tiles and write neighbouring results.
template <u32 PER, class Ring, class W>
__device__ __forceinline__ void multiply_tiles(Ring ring, const Product<W>& first,
                                               const Product<W>& second, const Result<W>& result,
                                               u64 batches, u64 m, u64 n, W* a_tile, W* b_tile) {
    constexpr u32 SIDE = 16 * PER;
    constexpr bool SPLITS = SIDE == 32;  // large tiles fill a device, or give way to small ones
    const u64 across = (n + SIDE - 1) / SIDE;
    const u64 first_row = blockIdx.x / across * SIDE, first_column = blockIdx.x % across * SIDE;
    const u32 x = threadIdx.x % 16, y = threadIdx.x / 16;
    for (u64 batch = blockIdx.y; batch < batches; batch += gridDim.y) {
        typename Ring::Sum sums[PER][PER];
#pragma unroll
        for (u32 i = 0; i < PER * PER; i++) sums[i / PER][i % PER] = ring.zero();
#pragma unroll 1
        for (u32 party = 0; party < static_cast<u32>(result.parties); party++) {
#pragma unroll 1
            for (u32 part = 0; part < 2; part++) {
                const Product<W> p = part == 0 ? first : second;
                const Part range = SPLITS ? Part::own(p.k) : Part{0, p.k};
                for (u64 depth = range.first; depth < range.end; depth += DEPTH) {
                    block_barrier();  // the previous tiles are still being read
                    load_tile<SIDE>(a_tile, p.a.matrix(party, batch), p.a.row_step,
                                    p.a.column_step, first_row, m, depth, p.k);
                    load_tile<SIDE>(b_tile, p.b.matrix(party, batch), p.b.column_step,
                                    p.b.row_step, first_column, n, depth, p.k);
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
                             !SPLITS || blockIdx.z == 0, SPLITS && gridDim.z > 1);
            }
        }
    }
}

// A block makes one column of THREADS / slices rows; the `slices` threads of a row share the
// inner dimension and leave their sums in partial[slice][row]. Neighbouring threads follow
// the inner dimension where a's words are neighbours along it, else the rows.
template <class Ring, class W>
__device__ __forceinline__ void multiply_thin(Ring ring, const Product<W>& first,
                                              const Product<W>& second, const Result<W>& result,
                                              u64 batches, u64 m, u64 n, u32 slices, W* partial) {
    const u32 rows = THREADS / slices;
    const bool along_depth = first.a.column_step == 1;
    const u32 slice = along_depth ? threadIdx.x % slices : threadIdx.x / rows;
    const u32 line = along_depth ? threadIdx.x / slices : threadIdx.x % rows;
    const u64 groups = (m + rows - 1) / rows;
    const u64 row = blockIdx.x % groups * rows + line, column = blockIdx.x / groups;
    for (u64 batch = blockIdx.y; batch < batches; batch += gridDim.y) {
        typename Ring::Sum sum = ring.zero();
#pragma unroll 1
        for (u32 party = 0; party < static_cast<u32>(result.parties) && row < m; party++) {
#pragma unroll 1
            for (u32 part = 0; part < 2; part++) {
                const Product<W> p = part == 0 ? first : second;
                const W* a_row = p.a.matrix(party, batch) + p.a.offset(row, 0);
                const W* b_column = p.b.matrix(party, batch) + p.b.offset(0, column);
#pragma unroll 4
                for (u64 depth = slice; depth < p.k; depth += slices) {
                    ring.multiply_add(sum, a_row[p.a.offset(0, depth)],
                                      b_column[p.b.offset(depth, 0)]);
                    ring.settle(sum);
                }
            }
        }
        partial[slice * rows + line] = ring.finish(sum);
        block_barrier();
        if (slice == 0 && row < m) {
            W total = partial[line];
            for (u32 i = 1; i < slices; i++) total = ring.add(total, partial[i * rows + line]);
            result.store(ring, batch, row, column, total);
        }
        block_barrier();  // partial is read before the next batch writes it
    }
}

extern "C" __global__ __launch_bounds__(256, 2) void matmul_ring_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2) {
    const Ring64 ring{};
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u64 a_tile[TILE_WORDS(4)], b_tile[TILE_WORDS(4)];
    multiply_tiles<4>(ring, first, second, result, batches, m, n, a_tile, b_tile);
}

extern "C" __global__ __launch_bounds__(256, 2) void matmul_ring_u32(
    const u32* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u32* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u32* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u32* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u32* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u32* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2) {
    const Ring32 ring{};
    const Product<u32> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u32> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u32> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u32 a_tile[TILE_WORDS(4)], b_tile[TILE_WORDS(4)];
    multiply_tiles<4>(ring, first, second, result, batches, m, n, a_tile, b_tile);
}

extern "C" __global__ __launch_bounds__(256, 1) void matmul_mod_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2, u32 shift, u64 divisor, u64 inverse) {
    const ResidueProducts ring(shift, divisor, inverse);
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u64 a_tile[TILE_WORDS(4)], b_tile[TILE_WORDS(4)];
    multiply_tiles<4>(ring, first, second, result, batches, m, n, a_tile, b_tile);
}

extern "C" __global__ __launch_bounds__(256) void matmul_small_ring_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2) {
    const Ring64 ring{};
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u64 a_tile[TILE_WORDS(2)], b_tile[TILE_WORDS(2)];
    multiply_tiles<2>(ring, first, second, result, batches, m, n, a_tile, b_tile);
}

extern "C" __global__ __launch_bounds__(256) void matmul_small_ring_u32(
    const u32* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u32* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u32* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u32* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u32* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u32* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2) {
    const Ring32 ring{};
    const Product<u32> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u32> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u32> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u32 a_tile[TILE_WORDS(2)], b_tile[TILE_WORDS(2)];
    multiply_tiles<2>(ring, first, second, result, batches, m, n, a_tile, b_tile);
}

extern "C" __global__ __launch_bounds__(256) void matmul_small_mod_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2, u32 shift, u64 divisor, u64 inverse) {
    const ResidueProducts ring(shift, divisor, inverse);
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u64 a_tile[TILE_WORDS(2)], b_tile[TILE_WORDS(2)];
    multiply_tiles<2>(ring, first, second, result, batches, m, n, a_tile, b_tile);
}

extern "C" __global__ __launch_bounds__(256) void matmul_thin_ring_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2, u32 slices) {
    const Ring64 ring{};
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u64 partial[THREADS];
    multiply_thin(ring, first, second, result, batches, m, n, slices, partial);
}

extern "C" __global__ __launch_bounds__(256) void matmul_thin_ring_u32(
    const u32* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u32* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u32* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u32* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u32* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u32* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2, u32 slices) {
    const Ring32 ring{};
    const Product<u32> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u32> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u32> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u32 partial[THREADS];
    multiply_thin(ring, first, second, result, batches, m, n, slices, partial);
}

extern "C" __global__ __launch_bounds__(256) void matmul_thin_mod_u64(
    const u64* __restrict__ a, i64 a_party, i64 a_batch, i64 a_row, i64 a_column,
    const u64* __restrict__ b, i64 b_party, i64 b_batch, i64 b_row, i64 b_column,
    const u64* __restrict__ a2, i64 a2_party, i64 a2_batch, i64 a2_row, i64 a2_column,
    const u64* __restrict__ b2, i64 b2_party, i64 b2_batch, i64 b2_row, i64 b2_column,
    const u64* __restrict__ add, i64 add_party, i64 add_batch, i64 add_row, i64 add_column,
    u64* __restrict__ out, i64 out_batch, i64 out_row, i64 out_column, u64 batches, u64 parties,
    u64 m, u64 n, u64 k, u64 k2, u32 slices, u32 shift, u64 divisor, u64 inverse) {
    const ResidueProducts ring(shift, divisor, inverse);
    const Product<u64> first = {{a, a_party, a_batch, a_row, a_column},
                                {b, b_party, b_batch, b_row, b_column},
                                k};
    const Product<u64> second = {{a2, a2_party, a2_batch, a2_row, a2_column},
                                 {b2, b2_party, b2_batch, b2_row, b2_column},
                                 k2};
    const Result<u64> result = {{add, add_party, add_batch, add_row, add_column},
                                {out, out_batch, out_row, out_column},
                                parties};
    __shared__ u64 partial[THREADS];
    multiply_thin(ring, first, second, result, batches, m, n, slices, partial);
}
