// Matrices in batches as kernels of matrix products take them, and where results go.
//
// Every matrix has a step in words for party, batch, row and column: transposes, slices and
// repeated operands (step 0) need no copy. Products of the parties of a batch make one result:
// their sum. Where each party has a result of its own, parties are batches.
#pragma once
#include "primitives.cuh"

// What a kernel has to know of its right factors beside their steps.
struct Steps {};

template <class W>
struct Factor {
    typedef Steps Geometry;
    const W* data;
    i64 party_step, batch_step, row_step, column_step;

    __device__ __forceinline__ const W* matrix(u64 party, u64 batch) const {
        return data + (static_cast<i64>(party) * party_step + static_cast<i64>(batch) * batch_step);
    }
    __device__ __forceinline__ i64 offset(u64 row, u64 column) const {
        return static_cast<i64>(row) * row_step + static_cast<i64>(column) * column_step;
    }
};

// One product a b: a (parties, batches, m, k), b (parties, batches, k, n). A launch sums two of
// them; the second may have k = 0. A: what a's memory holds, words or what was made of them.
// B: how b lies in memory, as a Factor or as an Image (image.cuh).
template <class W, class A = W, class B = Factor<W>>
struct Product {
    Factor<A> a;
    B b;
    u64 k;
};

// Where results go, (batches, m, n), and what every party adds to them.
template <class W>
struct Result {
    Factor<W> add;
    struct {
        W* data;
        i64 batch_step, row_step, column_step;
    } out;
    u64 parties;

    // Not `first`: adds to the word that this thread stored before. `split`: adds to a word that
    // other blocks add to as well, in a ring that wraps.
    template <class Ring>
    __device__ __forceinline__ void store(Ring ring, u64 batch, u64 row, u64 column, W word,
                                          bool first = true, bool split = false) const {
        W* place = out.data + (static_cast<i64>(batch) * out.batch_step +
                               static_cast<i64>(row) * out.row_step +
                               static_cast<i64>(column) * out.column_step);
        if (first && add.data) {
#pragma unroll 1
            for (u64 party = 0; party < parties; party++) {
                word = ring.add(word, add.matrix(party, batch)[add.offset(row, column)]);
            }
        }
        if constexpr (Ring::WRAPS) {
            if (split) {
                atomicAdd(place, word);
                return;
            }
        }
        *place = first ? word : ring.add(word, *place);
    }
};
