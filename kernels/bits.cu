// Boolean shares on packed words, each step one pass over memory for all the parties
// that this process holds: bit planes, carry trees, products of bits, bits as words.
//
// Defined by he_gpu/backend/definition/bits.py, which names the sources and gives the
// formulas; those stand beside the kernels too.
// Shapes: a plane is W words, bit e % 64 of word e / 64 being bit j of element e; all
// arrays contiguous, (parties, planes, W) or (parties, rows, n), but the operands x and y of
// products, whose parties and rows lie any steps of words apart. Values: any word; bits
// of a plane beyond n are read and mean nothing. bit_planes writes zeros there.
// Threads: runs.cuh walks the words of a row by 16 bytes where it can; gridDim.y strides
// over rows (nodes of a tree). A thread serves its run's parties one after another, so a
// public word is read once. bit_planes: a block of 256 turns 32 groups of 64 elements.
// Nothing must divide anything. Constant-time: what a thread does depends on sizes alone.
#include "runs.cuh"
#include "streams.cuh"
#include "transpose.cuh"

// ---- planes -----------------------------------------------------------------

constexpr u32 WARPS = 8, TILE = 32;

template <class W>
__device__ __forceinline__ void write_planes(u64 (*tile)[TILE + 1], const W* words, u64* planes,
                                             u64 n) {
    constexpr u32 K = 8 * sizeof(W), PER_LANE = K / 32;
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u64 width = (n + 63) / 64, tiles = (width + TILE - 1) / TILE;
    for (u64 t = blockIdx.x; t < tiles; t += gridDim.x) {
        for (u32 column = warp; column < TILE; column += WARPS) {
            const u64 first = (t * TILE + column) * 64 + lane;
            const W elements[2] = {first < n ? words[first] : W(0),
                                   first + 32 < n ? words[first + 32] : W(0)};
            u64 turned[PER_LANE];
            turn_group(elements, lane, turned);
#pragma unroll
            for (u32 i = 0; i < PER_LANE; i++) tile[lane + 32 * i][column] = turned[i];
        }
        block_barrier();
        const u64 word = t * TILE + lane;
        if (word < width) {
            for (u32 j = warp; j < K; j += WARPS) planes[j * width + word] = tile[j][lane];
        }
        block_barrier();
    }
}

extern "C" __global__ __launch_bounds__(256) void bit_planes_ring_u64(
    const u64* __restrict__ words, u64* __restrict__ planes, u64 n) {
    __shared__ u64 tile[64][TILE + 1];  // the odd pitch keeps both ways free of bank conflicts
    write_planes(tile, words, planes, n);
}

extern "C" __global__ __launch_bounds__(256) void bit_planes_ring_u32(
    const u32* __restrict__ words, u64* __restrict__ planes, u64 n) {
    __shared__ u64 tile[32][TILE + 1];
    write_planes(tile, words, planes, n);
}

// The bit of element i as a word: 0 or 1.
template <class W>
__device__ __forceinline__ W bit_at(const u64* plane, u64 i) {
    return static_cast<W>(plane[i / 64] >> i % 64 & 1);
}

template <class W>
__device__ __forceinline__ void write_bits(const u64* planes, W* out, u64 n, u64 rows) {
    for (u64 row = blockIdx.y; row < rows; row += gridDim.y) {
        const u64* plane = planes + row * ((n + 63) / 64);
        for_each_run<W>(n, start_aligned(out), [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            Run<W, N> run;
#pragma unroll
            for (u32 j = 0; j < N; j++) run[j] = bit_at<W>(plane, i + j);
            store_run(out + row * n, i, run);
        });
    }
}

extern "C" __global__ __launch_bounds__(256) void bit_words_ring_u64(
    const u64* __restrict__ planes, u64* __restrict__ out, u64 n, u64 rows) {
    write_bits(planes, out, n, rows);
}

extern "C" __global__ __launch_bounds__(256) void bit_words_ring_u32(
    const u64* __restrict__ planes, u32* __restrict__ out, u64 n, u64 rows) {
    write_bits(planes, out, n, rows);
}

// ---- trees ------------------------------------------------------------------

// out = xor_p [p_hi ^ mask0, g_lo ^ mask1, p_lo ^ mask2]: of a pair of nodes, hi = 2 j + 1.
extern "C" __global__ __launch_bounds__(256) void carry_open_bits_u64(
    const u64* __restrict__ nodes, const u64* __restrict__ masks, u64* __restrict__ out, u64 half,
    u64 width, u32 parties) {
    const bool aligned = start_aligned(nodes, masks, out);
    for (u64 j = blockIdx.y; j < half; j += gridDim.y) {
        for_each_run<u64>(width, aligned, [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            Run<u64, N> total[3] = {};
            for (u32 p = 0; p < parties; p++) {
                const u64* generate = nodes + (p * 4 * half + 2 * j) * width;
                const u64* propagate = generate + 2 * half * width;
                const u64* rows[3] = {propagate + width, generate, propagate};
#pragma unroll
                for (u32 part = 0; part < 3; part++) {
                    const Run<u64, N> share = load_run<N>(rows[part], i);
                    const u64* hidden = masks + ((p * 3 + part) * half + j) * width;
                    const Run<u64, N> random = load_run<N>(hidden, i);
#pragma unroll
                    for (u32 w = 0; w < N; w++) total[part][w] ^= share[w] ^ random[w];
                }
            }
#pragma unroll
            for (u32 part = 0; part < 3; part++) {
                store_run(out + (part * half + j) * width, i, total[part]);
            }
        });
    }
}

// out[p][0] = g_hi ^ d g_lo ^ mask0 e_g ^ products0, out[p][1] = d p_lo ^ mask0 e_p ^ products1,
// where opened = (d, e_g, e_p).
extern "C" __global__ __launch_bounds__(256) void carry_combine_bits_u64(
    const u64* __restrict__ opened, const u64* __restrict__ nodes, const u64* __restrict__ masks,
    const u64* __restrict__ products, u64* __restrict__ out, u64 half, u64 width, u32 parties) {
    const bool aligned = start_aligned(opened, nodes, masks, products, out);
    for (u64 j = blockIdx.y; j < half; j += gridDim.y) {
        for_each_run<u64>(width, aligned, [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            const Run<u64, N> d = load_run<N>(opened + j * width, i);
            const Run<u64, N> e[2] = {load_run<N>(opened + (half + j) * width, i),
                                      load_run<N>(opened + (2 * half + j) * width, i)};
            for (u32 p = 0; p < parties; p++) {
                const u64* generate = nodes + (p * 4 * half + 2 * j) * width;
                const Run<u64, N> a = load_run<N>(masks + (p * 3 * half + j) * width, i);
                const Run<u64, N> high = load_run<N>(generate + width, i);
#pragma unroll
                for (u32 part = 0; part < 2; part++) {
                    const Run<u64, N> low = load_run<N>(generate + part * 2 * half * width, i);
                    const u64 place = ((p * 2 + part) * half + j) * width;
                    Run<u64, N> node = load_run<N>(products + place, i);
#pragma unroll
                    for (u32 w = 0; w < N; w++) {
                        node[w] ^= (d[w] & low[w]) ^ (a[w] & e[part][w]) ^ (part ? 0 : high[w]);
                    }
                    store_run(out + place, i, node);
                }
            }
        });
    }
}

// ---- products of bits -------------------------------------------------------

// Whether rows that lie these steps apart start at multiples of 16 bytes if the first does.
__device__ __forceinline__ bool steps_aligned(u64 party_step, u64 row_step) {
    return ((party_step | row_step) & 1) == 0;
}

// out[0] = xor_p (x ^ a), out[1] = xor_p (y ^ b); rows of `width` words.
extern "C" __global__ __launch_bounds__(256) void and_open_bits_u64(
    const u64* __restrict__ x, u64 x_party, u64 x_row, const u64* __restrict__ a,
    const u64* __restrict__ y, u64 y_party, u64 y_row, const u64* __restrict__ b,
    u64* __restrict__ out, u64 rows, u64 width, u32 parties) {
    const bool aligned = start_aligned(x, a, y, b, out) && steps_aligned(x_party, x_row) &&
                         steps_aligned(y_party, y_row);
    for (u64 row = blockIdx.y; row < rows; row += gridDim.y) {
        for_each_run<u64>(width, aligned, [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            Run<u64, N> d = {}, e = {};
            for (u32 p = 0; p < parties; p++) {
                const u64 place = (p * rows + row) * width;
                const Run<u64, N> left = load_run<N>(x + p * x_party + row * x_row, i),
                                  right = load_run<N>(y + p * y_party + row * y_row, i),
                                  left_mask = load_run<N>(a + place, i),
                                  right_mask = load_run<N>(b + place, i);
#pragma unroll
                for (u32 w = 0; w < N; w++) {
                    d[w] ^= left[w] ^ left_mask[w];
                    e[w] ^= right[w] ^ right_mask[w];
                }
            }
            store_run(out + row * width, i, d);
            store_run(out + (rows + row) * width, i, e);
        });
    }
}

// out[p] = d y[p] ^ a[p] e ^ c[p], where opened = (d, e); rows of `width` words.
extern "C" __global__ __launch_bounds__(256) void and_combine_bits_u64(
    const u64* __restrict__ opened, const u64* __restrict__ y, u64 y_party, u64 y_row,
    const u64* __restrict__ a, const u64* __restrict__ c, u64* __restrict__ out, u64 rows,
    u64 width, u32 parties) {
    const bool aligned = start_aligned(opened, y, a, c, out) && steps_aligned(y_party, y_row);
    for (u64 row = blockIdx.y; row < rows; row += gridDim.y) {
        for_each_run<u64>(width, aligned, [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            const Run<u64, N> d = load_run<N>(opened + row * width, i),
                              e = load_run<N>(opened + (rows + row) * width, i);
            for (u32 p = 0; p < parties; p++) {
                const u64 place = (p * rows + row) * width;
                const Run<u64, N> factor = load_run<N>(y + p * y_party + row * y_row, i),
                                  mask = load_run<N>(a + place, i);
                Run<u64, N> share = load_run<N>(c + place, i);
#pragma unroll
                for (u32 w = 0; w < N; w++) share[w] ^= (d[w] & factor[w]) ^ (mask[w] & e[w]);
                store_run(out + place, i, share);
            }
        });
    }
}

// out = xor_p (stack[p] ^ mask[p]); a null mask is 0.
extern "C" __global__ __launch_bounds__(256) void xor_open_bits_u64(
    const u64* __restrict__ stack, const u64* __restrict__ mask, u64* __restrict__ out, u64 n,
    u32 parties) {
    for_each_run<u64>(n, start_aligned(stack, mask, out), [&](auto size, u64 i) {
        constexpr u32 N = decltype(size)::VALUE;
        Run<u64, N> total = {};
        for (u32 p = 0; p < parties; p++) {
            const Run<u64, N> share = load_run<N>(stack + p * n, i);
            Run<u64, N> hidden = {};
            if (mask) hidden = load_run<N>(mask + p * n, i);
#pragma unroll
            for (u32 w = 0; w < N; w++) total[w] ^= share[w] ^ hidden[w];
        }
        store_run(out, i, total);
    });
}

// share = stream, rest = total ^ share. total is not __restrict__: it may be rest, each word
// read before it is written.
extern "C" __global__ __launch_bounds__(256) void split_bits_u64(
    const u64* total, u64* __restrict__ share, u64* rest, u64 n, u64 key0, u64 key1, u64 key2,
    u64 key3, u64 nonce0, u32 nonce1,
    const u64* __restrict__ calls) {
    const ChaCha stream = stream_of(key0, key1, key2, key3, nonce0, nonce1, calls);
    split_words(ExclusiveOr{}, stream, total, share, rest, n);
}

// ---- bits as words ----------------------------------------------------------

// out[p][row] = (1 - 2 v) beta[p][row] + [p < lead] v: shares of v ^ beta, v = opened[row].
// beta and out are not __restrict__: they may be one, each word read before it is written.
template <class W>
__device__ __forceinline__ void share_bits(const u64* opened, const W* beta, W* out, u64 n,
                                           u64 rows, u32 parties, u32 lead) {
    for (u64 row = blockIdx.y; row < rows; row += gridDim.y) {
        const u64* plane = opened + row * ((n + 63) / 64);
        for_each_run<W>(n, start_aligned(beta, out), [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            Run<W, N> bit;
#pragma unroll
            for (u32 j = 0; j < N; j++) bit[j] = bit_at<W>(plane, i + j);
            for (u32 p = 0; p < parties; p++) {
                const W first = p < lead ? ~W(0) : W(0);
                const u64 place = (p * rows + row) * n;
                Run<W, N> share = load_run<N>(beta + place, i);
#pragma unroll
                for (u32 j = 0; j < N; j++) {
                    const W flip = W(0) - bit[j];  // all ones: negate, by complement plus one
                    share[j] = (share[j] ^ flip) - flip + (bit[j] & first);
                }
                store_run(out + place, i, share);
            }
        });
    }
}

// out[p][row] = (1 - 2 v) (c beta[p][row] + product[p][row]) + v (mask[p] + [p < lead] c): shares
// of (v ^ beta) (c + M) for v = opened[row], c = public_words[row]; minus that for the first
// `negated` rows.
template <class W>
__device__ __forceinline__ void scale_bits(const u64* opened, const W* public_words, const W* beta,
                                           const W* mask, const W* product, W* out, u64 n,
                                           u64 rows, u64 negated, u32 parties, u32 lead) {
    const bool aligned = start_aligned(public_words, beta, mask, product, out);
    for (u64 row = blockIdx.y; row < rows; row += gridDim.y) {
        const u64* plane = opened + row * ((n + 63) / 64);
        const W turn = row < negated ? ~W(0) : W(0);
        for_each_run<W>(n, aligned, [&](auto size, u64 i) {
            constexpr u32 N = decltype(size)::VALUE;
            const Run<W, N> c = load_run<N>(public_words + row * n, i);
            Run<W, N> flip;
#pragma unroll
            for (u32 j = 0; j < N; j++) flip[j] = W(0) - bit_at<W>(plane, i + j);
            for (u32 p = 0; p < parties; p++) {
                const W first = p < lead ? ~W(0) : W(0);
                const u64 place = (p * rows + row) * n;
                const Run<W, N> share = load_run<N>(beta + place, i);
                const Run<W, N> word = load_run<N>(mask + p * n, i);
                Run<W, N> result = load_run<N>(product + place, i);
#pragma unroll
                for (u32 j = 0; j < N; j++) {
                    const W turned = c[j] * share[j] + result[j];
                    const W chosen = (turned ^ flip[j]) - flip[j] +
                                     (flip[j] & (word[j] + (c[j] & first)));
                    result[j] = (chosen ^ turn) - turn;
                }
                store_run(out + place, i, result);
            }
        });
    }
}

extern "C" __global__ __launch_bounds__(256) void bit_shares_ring_u64(
    const u64* __restrict__ opened, const u64* beta, u64* out, u64 n, u64 rows, u32 parties,
    u32 lead) {
    share_bits(opened, beta, out, n, rows, parties, lead);
}

extern "C" __global__ __launch_bounds__(256) void bit_shares_ring_u32(
    const u64* __restrict__ opened, const u32* beta, u32* out, u64 n, u64 rows, u32 parties,
    u32 lead) {
    share_bits(opened, beta, out, n, rows, parties, lead);
}

extern "C" __global__ __launch_bounds__(256) void bit_times_word_ring_u64(
    const u64* __restrict__ opened, const u64* __restrict__ public_words,
    const u64* __restrict__ beta, const u64* __restrict__ mask, const u64* __restrict__ product,
    u64* __restrict__ out, u64 n, u64 rows, u64 negated, u32 parties, u32 lead) {
    scale_bits(opened, public_words, beta, mask, product, out, n, rows, negated, parties, lead);
}

extern "C" __global__ __launch_bounds__(256) void bit_times_word_ring_u32(
    const u64* __restrict__ opened, const u32* __restrict__ public_words,
    const u32* __restrict__ beta, const u32* __restrict__ mask, const u32* __restrict__ product,
    u32* __restrict__ out, u64 n, u64 rows, u64 negated, u32 parties, u32 lead) {
    scale_bits(opened, public_words, beta, mask, product, out, n, rows, negated, parties, lead);
}
