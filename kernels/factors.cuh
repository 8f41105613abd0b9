// Matrices in batches as kernels of matrix products take them, and where results go.
//
// Every matrix has a step in words for batch, row and column: transposes, slices and
// repeated operands (step 0) need no copy.
#pragma once
#include "primitives.cuh"

template <class W>
struct Factor {
    const W* data;
    i64 batch_step, row_step, column_step;

    __device__ __forceinline__ const W* matrix(u64 batch) const {
        return data + static_cast<i64>(batch) * batch_step;
    }
    __device__ __forceinline__ i64 offset(u64 row, u64 column) const {
        return static_cast<i64>(row) * row_step + static_cast<i64>(column) * column_step;
    }
};

// One product a b: a (batches, m, k), b (batches, k, n). A launch sums two of them; the
// second may have k = 0.
template <class W>
struct Product {
    Factor<W> a, b;
    u64 k;
};

// Where results go, and what is added to them.
template <class W>
struct Result {
    Factor<W> add;
    struct {
        W* data;
        i64 batch_step, row_step, column_step;
    } out;

    // Not `first`: adds to the word that this thread stored before.
    template <class Ring>
    __device__ __forceinline__ void store(Ring ring, u64 batch, u64 row, u64 column, W word,
                                          bool first = true) const {
        W* place = out.data + (static_cast<i64>(batch) * out.batch_step +
                               static_cast<i64>(row) * out.row_step +
                               static_cast<i64>(column) * out.column_step);
        if (!first) {
            word = ring.add(word, *place);
        } else if (add.data) {
            word = ring.add(word, add.matrix(batch)[add.offset(row, column)]);
        }
        *place = word;
    }
};
