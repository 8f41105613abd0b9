// How the limb kernels bring words into shared memory and cut them into planes.
//
// A tile is SIDE lines (rows of a, columns of b) by DEPTH. A thread copies its share of the
// words in the background, or their low half where that holds all digits, and later cuts
// what it copied itself, so no barrier stands between. A plane holds one digit of a tile,
// line after line of DEPTH bytes, in the order of place_in_plane.
// Alignment: copies of two words where an operand allows them, else word by word; nothing
// must divide anything. Beyond the edges stand zeros.
#pragma once
#include "image.cuh"
#include "limbs.cuh"

#define THREADS 256
#define DEPTH 32

// Place of four limbs in a plane: the 16-byte halves of four lines fill the 32 banks, in an
// order that lets 8 lines be read, and 4 lines or every second of 16 be written, at once.
__device__ __forceinline__ u32 place_in_plane(u32 line, u32 depth) {
    const u32 half = (line % 4 * 2 + depth / 16) ^ (line / 4 % 4);
    return line / 4 * 128 + half * 16 + depth % 16;
}

// The words of a tile that a thread stages, in chunks of two words. Threads follow the depth:
// a chunk is two of depth, and two chunks make a quad of every 32nd line. Or threads follow
// the lines: a chunk is two lines, and four chunks make two quads of every 64th line.
template <bool ALONG_DEPTH>
struct Share {
    static constexpr u32 CHUNKS = ALONG_DEPTH ? 2 : 4, LINES_APART = ALONG_DEPTH ? 32 : 64;
    u32 line, depth;

    __device__ __forceinline__ Share() {
        const u32 t = threadIdx.x, warp = t / 32;
        line = ALONG_DEPTH ? t / 8 : 2 * (t % 8 + warp % 4 * 8);
        depth = ALONG_DEPTH ? t % 8 * 4 : 4 * (t % 32 / 8 + warp / 4 * 4);
    }
};

__device__ __forceinline__ i32 at_most(i64 x, i32 bound) {
    return x < bound ? static_cast<i32>(x) : bound;
}

// One operand as lines that begin at the tile's first.
template <class W>
struct Lines {
    const W* data;
    i64 line_step, depth_step;
    i32 lines;  // that are left, or more than a tile has

    __device__ __forceinline__ Lines(const W* matrix, i64 line_step_, i64 depth_step_, u32 first,
                                     u32 end)
        : data(matrix + static_cast<i64>(first) * line_step_),
          line_step(line_step_),
          depth_step(depth_step_),
          lines(at_most(static_cast<i64>(end) - first, 1024)) {}
    __device__ __forceinline__ bool along_depth() const { return depth_step == 1; }
    // Whether chunks are aligned and lie inside or outside as a whole.
    __device__ __forceinline__ bool in_pairs(u64 k) const {
        const i64 near = along_depth() ? depth_step : line_step;
        const i64 far = along_depth() ? line_step : depth_step;
        const i64 extent = along_depth() ? static_cast<i64>(k) : lines;
        const u64 address = reinterpret_cast<u64>(data);
        return near == 1 && ((far | extent) & 1) == 0 && address % (2 * sizeof(W)) == 0;
    }
};

// The low bytes of a word, its part P.
template <class P, class W>
__device__ __forceinline__ void copy_word(P* shared, const W* global, bool inside) {
    if (sizeof(P) == 8) {
        copy_async_8(shared, global, inside);
    } else {
        copy_async_4(shared, global, inside);
    }
}

template <class W>
__device__ __forceinline__ void copy_pair(W* shared, const W* global, bool inside) {
    if (sizeof(W) == 8) {
        copy_async_16(shared, global, inside);
    } else {
        copy_async_8(shared, global, inside);
    }
}

// Starts the copies of a thread's words of a tile; zeros beyond the edges. IN_PAIRS: by chunks.
template <u32 SIDE, bool ALONG_DEPTH, bool IN_PAIRS, class P, class W>
__device__ __forceinline__ void copy_share(P* parts, const Lines<W>& lines, u32 step, u64 k) {
    typedef Share<ALONG_DEPTH> Own;
    const Own own;
    const i64 depth = static_cast<i64>(step) * DEPTH + own.depth;
    const W* word = lines.data + (static_cast<i64>(own.line) * lines.line_step +
                                  depth * lines.depth_step);
    const i32 lines_left = lines.lines - static_cast<i32>(own.line);
    const i32 depth_left = at_most(static_cast<i64>(k) - depth, DEPTH);
    const i64 near_step = ALONG_DEPTH ? 2 : lines.depth_step;
    P* place = parts + 2 * threadIdx.x;
    constexpr u32 UNROLL = IN_PAIRS ? Own::CHUNKS : 1;
#pragma unroll 1
    for (u32 far = 0; far < SIDE / Own::LINES_APART; far++) {
        const i32 l = far * Own::LINES_APART;
#pragma unroll UNROLL
        for (u32 near = 0; near < Own::CHUNKS; near++) {
            const W* pair = word + near * near_step;
            const i32 d = ALONG_DEPTH ? 2 * near : near;
            const bool inside = l < lines_left && d < depth_left;
            if constexpr (IN_PAIRS) {
                copy_pair(place, pair, inside);
            } else {
                const bool second = l + !ALONG_DEPTH < lines_left && d + ALONG_DEPTH < depth_left;
                copy_word(place, pair, inside);
                copy_word(place + 1, pair + (ALONG_DEPTH ? 1 : lines.line_step), second);
            }
            place += 2 * THREADS;
        }
        word += Own::LINES_APART * lines.line_step;
    }
}

template <u32 SIDE, bool ALONG_DEPTH, class P, class W>
__device__ __forceinline__ void copy_tile(P* parts, const Lines<W>& lines, u32 step, u64 k) {
    if constexpr (sizeof(P) == sizeof(W)) {
        if (lines.in_pairs(k)) {
            copy_share<SIDE, ALONG_DEPTH, true>(parts, lines, step, k);
            return;
        }
    }
    copy_share<SIDE, ALONG_DEPTH, false>(parts, lines, step, k);
}

// Starts the copies of a thread's words of windows, gathered from images; zeros where a window has
// none. Threads follow the lines. origins: rows, columns and images of the tile's lines.
template <u32 SIDE, class W>
__device__ __forceinline__ void copy_windows(W* parts, const Image<W>& image, const W* words,
                                             const Windows& windows, const i32* origins, u32 step,
                                             u32 k) {
    typedef Share<false> Own;
    static_assert(SIDE == Own::LINES_APART, "a thread has one pair of lines");
    const Own own;
    Origin origin[2];
#pragma unroll
    for (u32 e = 0; e < 2; e++) {
        const i32* const line = origins + own.line + e;
        origin[e] = {line[0], line[SIDE], static_cast<u32>(line[2 * SIDE])};
    }
    const u32 first = step * DEPTH + own.depth;
    W* place = parts + 2 * threadIdx.x;
#pragma unroll 1
    for (u32 near = 0; near < Own::CHUNKS; near++) {
        const Tap tap = windows.tap(first + near);
#pragma unroll
        for (u32 e = 0; e < 2; e++) {
            i64 offset;
            const bool inside = image.find(windows, origin[e], tap, offset);
            copy_word(place + e, words + offset, inside && first + near < k);
        }
        place += 2 * THREADS;
    }
}

// Starts the copies of a tile's planes that were cut before. Nothing lies beyond their edges.
template <u32 BYTES>
__device__ __forceinline__ void copy_planes(u8* planes, const u8* kept) {
    static_assert(BYTES % (16 * THREADS) == 0, "each thread copies as much");
#pragma unroll
    for (u32 i = 0; i < BYTES / (16 * THREADS); i++) {
        const u32 place = 16 * (i * THREADS + threadIdx.x);
        copy_async_16(planes + place, kept + place, true);
    }
}

template <class P>
struct alignas(2 * sizeof(P)) Chunk {
    P part[2];
};

// Cuts a thread's words of a tile into planes, two quads at a time.
template <u32 SIDE, bool ALONG_DEPTH, class Digits>
__device__ __forceinline__ void cut_share(Digits digits, const typename Digits::Part* parts,
                                          u8* planes) {
    const Share<ALONG_DEPTH> own;
    typedef typename Digits::Part P;
    const Chunk<P>* chunk = reinterpret_cast<const Chunk<P>*>(parts) + threadIdx.x;
    u8* const place = planes + place_in_plane(own.line, own.depth);
    // The second quad is 32 lines further, or one: that is another place in the 128 bytes.
    u8* const next = planes + place_in_plane(own.line + (ALONG_DEPTH ? 32 : 1), own.depth);
#pragma unroll 1
    for (u32 unit = 0; unit < SIDE / 64; unit++) {
        P quads[2][4];
#pragma unroll
        for (u32 c = 0; c < 4; c++) {
            const Chunk<P> pair = chunk[(unit * 4 + c) * THREADS];
#pragma unroll
            for (u32 e = 0; e < 2; e++) {
                quads[ALONG_DEPTH ? c / 2 : e][ALONG_DEPTH ? c % 2 * 2 + e : c] = pair.part[e];
            }
        }
#pragma unroll
        for (u32 quad = 0; quad < 2; quad++) {
            u32 limbs[Digits::COUNT];
            digits.cut(quads[quad], limbs);
#pragma unroll
            for (u32 i = 0; i < Digits::COUNT; i++) {
                u8* const bytes = (quad ? next : place) + unit * 64 * DEPTH + i * SIDE * DEPTH;
                *reinterpret_cast<u32*>(bytes) = limbs[i];
            }
        }
    }
}
