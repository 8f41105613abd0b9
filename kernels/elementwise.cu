// Elementwise arithmetic in a ring: out = a + b, a - b, a * b or -a.
//
// Defined by he_gpu/backend/definition/elementwise.py: add, sub, mul, neg.
// Source of the modular product: Moeller and Granlund 2011, algorithm 4.
// Shapes: out (rows, columns), contiguous. a and b: element (row, column) at
// row * row_step + column * column_step, in words; see planes.cuh. out may be a
// or b where both have the same layout.
// Values: in [0, q), in and out. ring_u64 is q = 2^64, ring_u32 q = 2^32,
// mod_u64 any 2 <= q <= 2^63, with shift, divisor and inverse of words.reciprocal.
// Threads: blocks and grids of two dimensions, x over columns and y over rows,
// both striding; 16 bytes a thread where steps and addresses allow it, and single
// words for the rest.
// Nothing must divide anything. Constant-time.
#include "modular.cuh"
#include "planes.cuh"

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
