// The first level of comparison's trees: public bits of c - w, leaves, nodes put in order.
//
// Defined by he_gpu/backend/definition/leaves.py, which names the source and gives the
// formulas; those stand beside the kernels too.
// Shapes: planes of W words as in bits.cu; all arrays contiguous. Item i of m asks for
// c - words[i] from bit positions[i] on; a pick is three numbers (first, second, flag), of
// which second and flag count only where flag >= 0. Values: any word.
// Threads: runs.cuh walks the words of a plane by 16 bytes where it can; gridDim.y strides
// over items, nodes or picks. A thread serves its run's parties one after another.
// Nothing must divide anything. Constant-time: what a thread does depends on sizes, on
// public thresholds and on the order of nodes alone.
#include "runs.cuh"

// ---- public bits ------------------------------------------------------------

// The borrow into bit `position` of c - word, at a run of elements: b' = b & d where the bit of
// word is 0 and b | d where it is 1, for d = c ^ word ^ b. Bits below the lowest of word lend none.
template <u32 N>
__device__ __forceinline__ Run<u64, N> borrow_into(const u64* planes, u64 width, u64 i, u64 word,
                                                   u32 position) {
    Run<u64, N> borrow = {};
    for (u32 bit = 0; bit < position; bit++) {
        const u64 one = u64(0) - (word >> bit & 1);
        if (!(word << (63 - bit))) continue;  // no bit of word so far
        const Run<u64, N> c = load_run<N>(planes + bit * width, i);
#pragma unroll
        for (u32 w = 0; w < N; w++) {
            const u64 d = c[w] ^ one ^ borrow[w];
            borrow[w] = (borrow[w] & d) | (one & (borrow[w] | d));
        }
    }
    return borrow;
}

// out[i] = bits 2 j and 2 j + 1 of c - words[i], where j = places[i].
extern "C" __global__ __launch_bounds__(256) void less_pairs_bits_u64(
    const u64* __restrict__ planes, const u64* __restrict__ words, const u32* __restrict__ places,
    u64* __restrict__ out, u64 items, u64 width) {
    const bool aligned = start_aligned(planes, out);
    for (u64 item = blockIdx.y; item < items; item += gridDim.y) {
        const u64 word = words[item];
        const u32 position = 2 * places[item];
        for_each_run<u64>(width, aligned, [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            Run<u64, N> borrow = borrow_into<N>(planes, width, i, word, position);
#pragma unroll
            for (u32 bit = 0; bit < 2; bit++) {
                const u64 one = u64(0) - (word >> (position + bit) & 1);
                Run<u64, N> digit = load_run<N>(planes + (position + bit) * width, i);
#pragma unroll
                for (u32 w = 0; w < N; w++) {
                    digit[w] ^= one ^ borrow[w];
                    borrow[w] = (borrow[w] & digit[w]) | (one & (borrow[w] | digit[w]));
                }
                store_run(out + (2 * item + bit) * width, i, digit);
            }
        });
    }
}

// out[i] = the borrow into bit positions[i] of c - words[i].
extern "C" __global__ __launch_bounds__(256) void borrows_bits_u64(
    const u64* __restrict__ planes, const u64* __restrict__ words,
    const u32* __restrict__ positions, u64* __restrict__ out, u64 items, u64 width) {
    const bool aligned = start_aligned(planes, out);
    for (u64 item = blockIdx.y; item < items; item += gridDim.y) {
        const u64 word = words[item];
        const u32 position = positions[item];
        for_each_run<u64>(width, aligned, [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            store_run(out + item * width, i, borrow_into<N>(planes, width, i, word, position));
        });
    }
}

// ---- leaves -----------------------------------------------------------------

// out[p][0] = c_hi M_hi ^ c_lo u and out[p][1] = u ^ c_lo (M_hi ^ [p < lead] c_hi) for node i,
// where u = c_hi M_lo ^ Q, and hi = 2 j + 1 and lo = 2 j of M for j = places[i]; at the last
// place: c_lo M_lo, M_lo ^ [..] c_lo.
extern "C" __global__ __launch_bounds__(256) void carry_leaves_bits_u64(
    const u64* __restrict__ public_planes, const u32* __restrict__ places,
    const u64* __restrict__ mask, const u64* __restrict__ pairs, u64* __restrict__ out, u64 nodes,
    u64 n_places, u64 width, u32 parties, u32 lead) {
    const bool aligned = start_aligned(public_planes, mask, pairs, out);
    for (u64 node = blockIdx.y; node < nodes; node += gridDim.y) {
        const u64 j = places[node];
        const bool last = j + 1 == n_places;
        for_each_run<u64>(width, aligned, [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            const Run<u64, N> c_low = load_run<N>(public_planes + 2 * node * width, i),
                              c_high = load_run<N>(public_planes + (2 * node + 1) * width, i);
            for (u32 p = 0; p < parties; p++) {
                const u64* planes = mask + (p * n_places + j) * 2 * width;
                const Run<u64, N> low = load_run<N>(planes, i),
                                  high = load_run<N>(planes + width, i),
                                  pair = load_run<N>(pairs + (p * n_places + j) * width, i);
                const u64 first = p < lead ? ~0ull : 0;
                Run<u64, N> generate, propagate;
#pragma unroll
                for (u32 w = 0; w < N; w++) {
                    const u64 inner = (c_high[w] & low[w]) ^ pair[w];
                    generate[w] = last ? c_low[w] & low[w]
                                       : (c_high[w] & high[w]) ^ (c_low[w] & inner);
                    propagate[w] = last ? low[w] ^ (c_low[w] & first)
                                        : inner ^ (c_low[w] & (high[w] ^ (c_high[w] & first)));
                }
                store_run(out + (p * 2 * nodes + node) * width, i, generate);
                store_run(out + ((p * 2 + 1) * nodes + node) * width, i, propagate);
            }
        });
    }
}

// out[p] = ~c_hi M_lo ^ Q ^ ~c_lo (M_hi ^ [p < lead] ~c_hi) for node j.
extern "C" __global__ __launch_bounds__(256) void equal_leaves_bits_u64(
    const u64* __restrict__ public_planes, const u64* __restrict__ mask,
    const u64* __restrict__ pairs, u64* __restrict__ out, u64 nodes, u64 width, u32 parties,
    u32 lead) {
    const bool aligned = start_aligned(public_planes, mask, pairs, out);
    for (u64 j = blockIdx.y; j < nodes; j += gridDim.y) {
        for_each_run<u64>(width, aligned, [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            const Run<u64, N> c_low = load_run<N>(public_planes + 2 * j * width, i),
                              c_high = load_run<N>(public_planes + (2 * j + 1) * width, i);
            for (u32 p = 0; p < parties; p++) {
                const u64 node = (p * nodes + j) * width;
                const Run<u64, N> low = load_run<N>(mask + 2 * node, i),
                                  high = load_run<N>(mask + 2 * node + width, i),
                                  pair = load_run<N>(pairs + node, i);
                const u64 first = p < lead ? ~0ull : 0;
                Run<u64, N> equal;
#pragma unroll
                for (u32 w = 0; w < N; w++) {
                    equal[w] = (~c_high[w] & low[w]) ^ pair[w] ^
                               (~c_low[w] & (high[w] ^ (~c_high[w] & first)));
                }
                store_run(out + node, i, equal);
            }
        });
    }
}

// ---- nodes in order ---------------------------------------------------------

// out[row][i] = nodes[row][first], or nodes[row][second] where flags[flag] is set; picks[i] =
// (first, second, flag). A row is one kind of one party's nodes.
extern "C" __global__ __launch_bounds__(256) void choose_nodes_bits_u64(
    const u64* __restrict__ nodes, const i32* __restrict__ picks, const u64* __restrict__ flags,
    u64* __restrict__ out, u64 count, u64 n_nodes, u64 width, u32 rows) {
    const bool aligned = start_aligned(nodes, flags, out);
    for (u64 pick = blockIdx.y; pick < count; pick += gridDim.y) {
        const u64 first = picks[3 * pick], second = picks[3 * pick + 1];
        const i32 flag = picks[3 * pick + 2];
        for_each_run<u64>(width, aligned, [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            Run<u64, N> where = {};
            if (flag >= 0) where = load_run<N>(flags + flag * width, i);
            for (u32 row = 0; row < rows; row++) {
                const u64* source = nodes + row * n_nodes * width;
                Run<u64, N> node = load_run<N>(source + first * width, i);
                if (flag >= 0) {
                    const Run<u64, N> other = load_run<N>(source + second * width, i);
#pragma unroll
                    for (u32 w = 0; w < N; w++) node[w] ^= (node[w] ^ other[w]) & where[w];
                }
                store_run(out + (row * count + pick) * width, i, node);
            }
        });
    }
}
