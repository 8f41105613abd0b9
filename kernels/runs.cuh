// Rows of words walked in runs: 16 bytes at a time where every row allows it.
//
// A row of n words can be walked in packs if n is a multiple of the words in 16
// bytes (then each row of a stack starts aligned if the first does) and every
// array starts at a multiple of 16 bytes; otherwise runs are single words.
// A public operand has step 1, or step 0 for one word that all elements share.
#pragma once
#include "primitives.cuh"

template <class W, u32 N>
struct __align__(N * sizeof(W)) Run {
    W words[N];

    __device__ __forceinline__ W& operator[](u32 i) { return words[i]; }
    __device__ __forceinline__ const W& operator[](u32 i) const { return words[i]; }
};

template <u32 N>
struct Width {
    static constexpr u32 VALUE = N;
};

template <u32 N, class W>
__device__ __forceinline__ Run<W, N> load_run(const W* row, u64 i) {
    return *reinterpret_cast<const Run<W, N>*>(row + i);
}

template <u32 N, class W>
__device__ __forceinline__ void store_run(W* row, u64 i, const Run<W, N>& run) {
    *reinterpret_cast<Run<W, N>*>(row + i) = run;
}

template <u32 N, class W>
__device__ __forceinline__ Run<W, N> load_public(const W* words, u64 step, u64 i) {
    if (step) return load_run<N>(words, i);
    Run<W, N> run;
#pragma unroll
    for (u32 j = 0; j < N; j++) run[j] = words[0];
    return run;
}

// Whether arrays start at multiples of 16 bytes; a null pointer does.
template <class... Pointers>
__device__ __forceinline__ bool start_aligned(Pointers... pointers) {
    return ((... | reinterpret_cast<u64>(pointers)) & 15) == 0;
}

// Calls body(Width<N>{}, i) for the runs of N words that start at i and make up n words, by a
// grid-stride loop in one dimension.
template <class W, class Body>
__device__ __forceinline__ void for_each_run(u64 n, bool aligned, Body body) {
    constexpr u32 PACK = 16 / sizeof(W);
    if (aligned && n % PACK == 0) {
        for (u64 i = global_index() * PACK; i < n; i += global_stride() * PACK) {
            body(Width<PACK>{}, i);
        }
    } else {
        for (u64 i = global_index(); i < n; i += global_stride()) body(Width<1>{}, i);
    }
}
