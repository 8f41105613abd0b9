// Operands of elementwise kernels, seen as planes of rows and columns.
//
// The launcher folds a broadcast into two axes: element (row, column) of an
// operand lies at row * row_step + column * column_step, in words. A step of 0
// repeats, so a suffix, a scalar and a column vector need no copy and no
// division per element. The result is contiguous.
// Defined by he_gpu/backend/definition/elementwise.py.
#pragma once
#include "primitives.cuh"

// 16 bytes of words, the widest access of a thread.
template <class W>
struct __align__(16) Pack {
    static constexpr u32 WIDTH = 16 / sizeof(W);
    W words[WIDTH];
};

// Not __restrict__: the result may be written over an operand of the same layout.
template <class W>
struct Plane {
    const W* data;
    i64 row_step, column_step;

    __device__ __forceinline__ W at(u64 row, u64 column) const {
        return data[static_cast<i64>(row) * row_step + static_cast<i64>(column) * column_step];
    }
    // Whether every aligned run of columns is one word repeated or one aligned pack.
    __device__ __forceinline__ bool is_packed(u64 rows) const {
        const bool rows_fit = rows == 1 || row_step % static_cast<i64>(Pack<W>::WIDTH) == 0;
        const bool aligned = rows_fit && (reinterpret_cast<u64>(data) & 15) == 0;
        return column_step == 0 || (column_step == 1 && aligned);
    }
    __device__ __forceinline__ Pack<W> pack_at(u64 row, u64 column) const {
        const W* place = data + static_cast<i64>(row) * row_step;
        Pack<W> pack;
        if (column_step == 1) return *reinterpret_cast<const Pack<W>*>(place + column);
#pragma unroll
        for (u32 i = 0; i < Pack<W>::WIDTH; i++) pack.words[i] = *place;
        return pack;
    }
};

// out[row, column] = operation(a[row, column], b[row, column]) by a grid of two dimensions,
// x along columns and y along rows, both strided: whole packs first, then single words.
template <class W, class Operation>
__device__ __forceinline__ void for_each_pair(Plane<W> a, Plane<W> b, W* out, u64 rows,
                                              u64 columns, Operation operation) {
    constexpr u32 WIDTH = Pack<W>::WIDTH;
    const Plane<W> target = {out, static_cast<i64>(columns), 1};
    const bool packed = a.is_packed(rows) && b.is_packed(rows) && target.is_packed(rows);
    const u64 packs = packed ? columns / WIDTH : 0;
    const u64 row_stride = static_cast<u64>(gridDim.y) * blockDim.y;
    for (u64 row = static_cast<u64>(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
         row += row_stride) {
        W* out_row = out + row * columns;
        for (u64 i = global_index(); i < packs; i += global_stride()) {
            const Pack<W> left = a.pack_at(row, i * WIDTH), right = b.pack_at(row, i * WIDTH);
            Pack<W> result;
#pragma unroll
            for (u32 j = 0; j < WIDTH; j++) {
                result.words[j] = operation(left.words[j], right.words[j]);
            }
            *reinterpret_cast<Pack<W>*>(out_row + i * WIDTH) = result;
        }
        for (u64 i = packs * WIDTH + global_index(); i < columns; i += global_stride()) {
            out_row[i] = operation(a.at(row, i), b.at(row, i));
        }
    }
}
