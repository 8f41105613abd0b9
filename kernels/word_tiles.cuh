// Tiles of whole words for products of matrices, and the sums of their products.
//
// A block of 256 threads makes SIDE x SIDE results, SIDE = 16 * PER, in steps of DEPTH along the
// inner dimension; a thread makes PER x PER of them. Under kernels/matmul.cu and kernels/conv.cu.
// Ragged edges are filled with zeros; nothing must divide anything.
// Constant-time: addresses and branches depend on shapes alone.
#pragma once
#include "primitives.cuh"

#define THREADS 256
#define DEPTH 16
// A tile holds DEPTH lines of 16 * PER words, and a spare word in each line so that threads
// that write along the inner dimension meet different banks.
#define TILE_WORDS(PER) (DEPTH * (16 * (PER) + 1))

// What a block of those along z sums of an inner dimension k, from a multiple of DEPTH on.
struct Part {
    u64 first, end;

    __device__ __forceinline__ static Part own(u64 k) {
        const u64 part = (k + DEPTH * gridDim.z - 1) / (DEPTH * gridDim.z) * DEPTH;
        const u64 first = blockIdx.z * part;
        return {first, first + part < k ? first + part : k};
    }
};

// Copies `lines` x DEPTH words into tile[depth][line], zeros beyond the edges. Neighbouring
// threads follow the axis along which the operand's words are neighbours.
template <u32 SIDE, class W>
__device__ __forceinline__ void load_tile(W* tile, const W* matrix, i64 line_step, i64 depth_step,
                                          u64 first_line, u64 lines, u64 first_depth, u64 k) {
    const bool along_depth = depth_step == 1;
    const u32 line = along_depth ? threadIdx.x / DEPTH : threadIdx.x % SIDE;
    const u32 depth = along_depth ? threadIdx.x % DEPTH : threadIdx.x / SIDE;
    const u32 next_line = along_depth ? THREADS / DEPTH : 0;
    const u32 next_depth = along_depth ? 0 : THREADS / SIDE;
    const W* word = matrix + static_cast<i64>(first_line + line) * line_step +
                    static_cast<i64>(first_depth + depth) * depth_step;
    const i64 step = static_cast<i64>(next_line) * line_step +
                     static_cast<i64>(next_depth) * depth_step;
    W* place = tile + depth * (SIDE + 1) + line;
    const u32 place_step = next_depth * (SIDE + 1) + next_line;
    // How many lines and how much depth lie before the edges, from this thread's first word on.
    const i64 lines_left = static_cast<i64>(lines - first_line) - line;
    const i64 depth_left = static_cast<i64>(k - first_depth) - depth;
#pragma unroll
    for (u32 i = 0; i < SIDE * DEPTH / THREADS; i++) {
        const bool inside = lines_left > static_cast<i64>(i * next_line) &&
                            depth_left > static_cast<i64>(i * next_depth);
        place[i * place_step] = inside ? word[i * step] : W(0);
    }
}

// Adds the products of a pair of tiles to the PER x PER sums of a thread.
template <u32 PER, class Ring, class W>
__device__ __forceinline__ void sum_tiles(Ring ring, typename Ring::Sum (&sums)[PER][PER],
                                          const W* a_tile, const W* b_tile) {
    constexpr u32 LINE = 16 * PER + 1;
#pragma unroll 4
    for (u32 d = 0; d < DEPTH; d++) {
        W rows[PER], columns[PER];
#pragma unroll
        for (u32 i = 0; i < PER; i++) {
            rows[i] = a_tile[d * LINE + 16 * i];
            columns[i] = b_tile[d * LINE + 16 * i];
        }
#pragma unroll
        for (u32 i = 0; i < PER * PER; i++) {
            ring.multiply_add(sums[i / PER][i % PER], rows[i / PER], columns[i % PER]);
            if (d % 2 == 1) ring.settle(sums[i / PER][i % PER]);  // every second product
        }
    }
}
