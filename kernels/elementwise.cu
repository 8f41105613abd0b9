// Elementwise arithmetic in a ring: out = a + b, a - b, a * b, -a, or w0 x0 + w1 x1 + ...
//
// Defined by he_gpu/backend/definition/elementwise.py: add, sub, mul, neg, weighted_sum.
// Source of the modular product: Moeller and Granlund 2011, algorithm 4.
// Shapes: out (rows, columns), contiguous. a and b: element (row, column) at
// row * row_step + column * column_step, in words; see planes.cuh. out may be a
// or b where both have the same layout. The first n_terms of x0 to x7 have column step 1 and do
// not overlap out; the rest are not read. onto: out has a sum already, of the terms before.
// Values: in [0, q), in and out. ring_u64 is q = 2^64, ring_u32 q = 2^32,
// mod_u64 any 2 <= q <= 2^63, with shift, divisor and inverse of words.reciprocal.
// Threads: blocks and grids of two dimensions, x over columns and y over rows,
// both striding; 16 bytes a thread where steps and addresses allow it, and single
// words for the rest.
// Nothing must divide anything. Constant-time.
#include "modular.cuh"
#include "planes.cuh"

#define TERMS 8  // of a launch

template <class W>
struct Term {
    const W* data;
    i64 row_step;
    W weight;

    __device__ __forceinline__ Plane<W> plane() const { return {data, row_step, 1}; }
};

// A word, or a pack of them: every term is read once, all before the first product waits.
template <class Ring, class W, class Words, class Load>
__device__ __forceinline__ void add_terms(Ring ring, const Term<W> (&terms)[TERMS], u32 n_terms,
                                          u32 onto, Words* place, Load load) {
    constexpr u32 WIDTH = sizeof(Words) / sizeof(W);
    Words words[TERMS], sum = {};
    if (onto) sum = *place;
#pragma unroll
    for (u32 t = 0; t < TERMS; t++) {
        if (t < n_terms) words[t] = load(terms[t].plane());
    }
#pragma unroll
    for (u32 t = 0; t < TERMS; t++) {
        if (t >= n_terms) break;
        const W* const word = reinterpret_cast<const W*>(&words[t]);
#pragma unroll
        for (u32 j = 0; j < WIDTH; j++) {
            ring.multiply_add(reinterpret_cast<W*>(&sum)[j], terms[t].weight, word[j]);
        }
    }
    *place = sum;
}

template <class Ring, class W>
__device__ __forceinline__ void sum_planes(Ring ring, const Term<W> (&terms)[TERMS], u32 n_terms,
                                           u32 onto, W* out, u64 rows, u64 columns) {
    constexpr u32 WIDTH = Pack<W>::WIDTH;
    const Plane<W> target = {out, static_cast<i64>(columns), 1};
    bool packed = target.is_packed(rows);
#pragma unroll
    for (u32 t = 0; t < TERMS; t++) packed = packed && terms[t].plane().is_packed(rows);
    const u64 packs = packed ? columns / WIDTH : 0;
    const u64 row_stride = static_cast<u64>(gridDim.y) * blockDim.y;
    for (u64 row = static_cast<u64>(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
         row += row_stride) {
        W* const out_row = out + row * columns;
        for (u64 i = global_index(); i < packs; i += global_stride()) {
            add_terms(ring, terms, n_terms, onto,
                      reinterpret_cast<Pack<W>*>(out_row + i * WIDTH),
                      [=](const Plane<W>& x) { return x.pack_at(row, i * WIDTH); });
        }
        for (u64 i = packs * WIDTH + global_index(); i < columns; i += global_stride()) {
            add_terms(ring, terms, n_terms, onto, out_row + i,
                      [=](const Plane<W>& x) { return x.at(row, i); });
        }
    }
}

extern "C" __global__ __launch_bounds__(256) void add_ring_u64(
    const u64* a, i64 a_row_step, i64 a_column_step, const u64* b, i64 b_row_step,
    i64 b_column_step, u64* out, u64 rows, u64 columns) {
    const Ring64 ring{};
    const Plane<u64> left = {a, a_row_step, a_column_step};
    const Plane<u64> right = {b, b_row_step, b_column_step};
    for_each_pair(left, right, out, rows, columns, [=](u64 x, u64 y) { return ring.add(x, y); });
}

extern "C" __global__ __launch_bounds__(256) void add_ring_u32(
    const u32* a, i64 a_row_step, i64 a_column_step, const u32* b, i64 b_row_step,
    i64 b_column_step, u32* out, u64 rows, u64 columns) {
    const Ring32 ring{};
    const Plane<u32> left = {a, a_row_step, a_column_step};
    const Plane<u32> right = {b, b_row_step, b_column_step};
    for_each_pair(left, right, out, rows, columns, [=](u32 x, u32 y) { return ring.add(x, y); });
}

extern "C" __global__ __launch_bounds__(256) void add_mod_u64(
    const u64* a, i64 a_row_step, i64 a_column_step, const u64* b, i64 b_row_step,
    i64 b_column_step, u64* out, u64 rows, u64 columns, u64 modulus) {
    const Residues ring = {modulus};
    const Plane<u64> left = {a, a_row_step, a_column_step};
    const Plane<u64> right = {b, b_row_step, b_column_step};
    for_each_pair(left, right, out, rows, columns, [=](u64 x, u64 y) { return ring.add(x, y); });
}

extern "C" __global__ __launch_bounds__(256) void sub_ring_u64(
    const u64* a, i64 a_row_step, i64 a_column_step, const u64* b, i64 b_row_step,
    i64 b_column_step, u64* out, u64 rows, u64 columns) {
    const Ring64 ring{};
    const Plane<u64> left = {a, a_row_step, a_column_step};
    const Plane<u64> right = {b, b_row_step, b_column_step};
    for_each_pair(left, right, out, rows, columns, [=](u64 x, u64 y) { return ring.sub(x, y); });
}

extern "C" __global__ __launch_bounds__(256) void sub_ring_u32(
    const u32* a, i64 a_row_step, i64 a_column_step, const u32* b, i64 b_row_step,
    i64 b_column_step, u32* out, u64 rows, u64 columns) {
    const Ring32 ring{};
    const Plane<u32> left = {a, a_row_step, a_column_step};
    const Plane<u32> right = {b, b_row_step, b_column_step};
    for_each_pair(left, right, out, rows, columns, [=](u32 x, u32 y) { return ring.sub(x, y); });
}

extern "C" __global__ __launch_bounds__(256) void sub_mod_u64(
    const u64* a, i64 a_row_step, i64 a_column_step, const u64* b, i64 b_row_step,
    i64 b_column_step, u64* out, u64 rows, u64 columns, u64 modulus) {
    const Residues ring = {modulus};
    const Plane<u64> left = {a, a_row_step, a_column_step};
    const Plane<u64> right = {b, b_row_step, b_column_step};
    for_each_pair(left, right, out, rows, columns, [=](u64 x, u64 y) { return ring.sub(x, y); });
}

extern "C" __global__ __launch_bounds__(256) void mul_ring_u64(
    const u64* a, i64 a_row_step, i64 a_column_step, const u64* b, i64 b_row_step,
    i64 b_column_step, u64* out, u64 rows, u64 columns) {
    const Ring64 ring{};
    const Plane<u64> left = {a, a_row_step, a_column_step};
    const Plane<u64> right = {b, b_row_step, b_column_step};
    for_each_pair(left, right, out, rows, columns, [=](u64 x, u64 y) { return ring.mul(x, y); });
}

extern "C" __global__ __launch_bounds__(256) void mul_ring_u32(
    const u32* a, i64 a_row_step, i64 a_column_step, const u32* b, i64 b_row_step,
    i64 b_column_step, u32* out, u64 rows, u64 columns) {
    const Ring32 ring{};
    const Plane<u32> left = {a, a_row_step, a_column_step};
    const Plane<u32> right = {b, b_row_step, b_column_step};
    for_each_pair(left, right, out, rows, columns, [=](u32 x, u32 y) { return ring.mul(x, y); });
}

extern "C" __global__ __launch_bounds__(256) void mul_mod_u64(
    const u64* a, i64 a_row_step, i64 a_column_step, const u64* b, i64 b_row_step,
    i64 b_column_step, u64* out, u64 rows, u64 columns, u32 shift, u64 divisor, u64 inverse) {
    const ResidueProducts ring(shift, divisor, inverse);
    const Plane<u64> left = {a, a_row_step, a_column_step};
    const Plane<u64> right = {b, b_row_step, b_column_step};
    for_each_pair(left, right, out, rows, columns, [=](u64 x, u64 y) { return ring.mul(x, y); });
}

extern "C" __global__ __launch_bounds__(256) void neg_ring_u64(
    const u64* a, i64 a_row_step, i64 a_column_step, u64* out, u64 rows, u64 columns) {
    const Ring64 ring{};
    const Plane<u64> left = {a, a_row_step, a_column_step};
    const u64 zero = 0;
    // The second operand of every pair is this thread's own zero, and unused.
    const Plane<u64> right = {&zero, 0, 0};
    for_each_pair(left, right, out, rows, columns, [=](u64 x, u64) { return ring.neg(x); });
}

extern "C" __global__ __launch_bounds__(256) void neg_ring_u32(
    const u32* a, i64 a_row_step, i64 a_column_step, u32* out, u64 rows, u64 columns) {
    const Ring32 ring{};
    const Plane<u32> left = {a, a_row_step, a_column_step};
    const u32 zero = 0;
    // The second operand of every pair is this thread's own zero, and unused.
    const Plane<u32> right = {&zero, 0, 0};
    for_each_pair(left, right, out, rows, columns, [=](u32 x, u32) { return ring.neg(x); });
}

extern "C" __global__ __launch_bounds__(256) void neg_mod_u64(
    const u64* a, i64 a_row_step, i64 a_column_step, u64* out, u64 rows, u64 columns,
    u64 modulus) {
    const Residues ring = {modulus};
    const Plane<u64> left = {a, a_row_step, a_column_step};
    const u64 zero = 0;
    // The second operand of every pair is this thread's own zero, and unused.
    const Plane<u64> right = {&zero, 0, 0};
    for_each_pair(left, right, out, rows, columns, [=](u64 x, u64) { return ring.neg(x); });
}

extern "C" __global__ __launch_bounds__(256) void weighted_sum_ring_u64(
    const u64* __restrict__ x0, i64 x0_row_step, u64 w0,
    const u64* __restrict__ x1, i64 x1_row_step, u64 w1,
    const u64* __restrict__ x2, i64 x2_row_step, u64 w2,
    const u64* __restrict__ x3, i64 x3_row_step, u64 w3,
    const u64* __restrict__ x4, i64 x4_row_step, u64 w4,
    const u64* __restrict__ x5, i64 x5_row_step, u64 w5,
    const u64* __restrict__ x6, i64 x6_row_step, u64 w6,
    const u64* __restrict__ x7, i64 x7_row_step, u64 w7,
    u64* __restrict__ out, u64 rows, u64 columns, u32 n_terms, u32 onto) {
    const Term<u64> terms[TERMS] = {
        {x0, x0_row_step, w0}, {x1, x1_row_step, w1},
        {x2, x2_row_step, w2}, {x3, x3_row_step, w3},
        {x4, x4_row_step, w4}, {x5, x5_row_step, w5},
        {x6, x6_row_step, w6}, {x7, x7_row_step, w7}};
    sum_planes(Ring64{}, terms, n_terms, onto, out, rows, columns);
}

extern "C" __global__ __launch_bounds__(256) void weighted_sum_ring_u32(
    const u32* __restrict__ x0, i64 x0_row_step, u32 w0,
    const u32* __restrict__ x1, i64 x1_row_step, u32 w1,
    const u32* __restrict__ x2, i64 x2_row_step, u32 w2,
    const u32* __restrict__ x3, i64 x3_row_step, u32 w3,
    const u32* __restrict__ x4, i64 x4_row_step, u32 w4,
    const u32* __restrict__ x5, i64 x5_row_step, u32 w5,
    const u32* __restrict__ x6, i64 x6_row_step, u32 w6,
    const u32* __restrict__ x7, i64 x7_row_step, u32 w7,
    u32* __restrict__ out, u64 rows, u64 columns, u32 n_terms, u32 onto) {
    const Term<u32> terms[TERMS] = {
        {x0, x0_row_step, w0}, {x1, x1_row_step, w1},
        {x2, x2_row_step, w2}, {x3, x3_row_step, w3},
        {x4, x4_row_step, w4}, {x5, x5_row_step, w5},
        {x6, x6_row_step, w6}, {x7, x7_row_step, w7}};
    sum_planes(Ring32{}, terms, n_terms, onto, out, rows, columns);
}
