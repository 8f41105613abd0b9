// Words cut into planes of bytes, in the tiles that products of warpgroups read.
//
// A tile holds 128 lines (rows of a, columns of b) by 128 of depth, 16 KiB, in the order in which
// shared memory holds it. A plane is a residue modulo a small number, or a digit.
// Constant-time.
#pragma once
#include "factors.cuh"
#include "limbs.cuh"
#include "small_moduli.cuh"
#include "warpgroup.cuh"

#define TILE_LINES 128
#define TILE_DEPTH SWIZZLED_LINE
#define TILE_BYTES (TILE_LINES * TILE_DEPTH)
#define LIMBS 4  // balanced digits of a word of 32 bits

// Where a line stands in its tile, and back: among 64 lines, bits 3 to 1 change places with bits
// 5 and 4. So the 16 sums of a row that a thread holds in 32 registers in a row are neighbours,
// and four threads store 64 bytes of it.
__device__ __forceinline__ u32 place_of_line(u32 line) {
    return (line & 0x41u) | (line & 0x0eu) << 2 | (line & 0x30u) >> 3;
}
__device__ __forceinline__ u32 line_of_place(u32 place) {
    return (place & 0x41u) | (place & 0x38u) >> 2 | (place & 0x06u) << 3;
}

// 16 words of a line that a thread cuts. Eight threads make a line of a tile, four lines are
// neighbours in a warp: words are read in runs along either axis.
template <class W>
struct Cut {
    const W* first;
    i64 apart, inside;  // how many of the words there are: tiles are filled up with zeros
    u64 place;          // of their bytes in a plane

    __device__ __forceinline__ Cut(const Factor<W>& words, u64 lines, u64 depth, u64 unit) {
        const u64 down = (lines + TILE_LINES - 1) / TILE_LINES;
        const u64 steps = (depth + TILE_DEPTH - 1) / TILE_DEPTH;
        const u64 fours = down * (TILE_LINES / 4), rest = unit / 32;
        const bool along_depth = words.column_step == 1;
        const u64 four = along_depth ? rest / steps % fours : rest % fours;
        const u64 step = along_depth ? rest % steps : rest / fours % steps;
        const u64 batch = rest / fours / steps, line = 4 * four + unit / 8 % 4;
        const u32 chunk = unit % 8;
        const u64 start = step * TILE_DEPTH + chunk * WORDS;
        first = words.matrix(0, batch) + words.offset(line, start);
        apart = words.column_step;
        inside = line < lines ? static_cast<i64>(depth - start) : 0;
        place = ((batch * down + line / TILE_LINES) * steps + step) * TILE_BYTES +
                swizzled(place_of_line(static_cast<u32>(line % TILE_LINES)), chunk);
    }
    // How many of them there are in batches of matrices.
    __device__ static __forceinline__ u64 units(u64 batches, u64 lines, u64 depth) {
        const u64 down = (lines + TILE_LINES - 1) / TILE_LINES;
        return batches * down * ((depth + TILE_DEPTH - 1) / TILE_DEPTH) * (TILE_BYTES / WORDS);
    }
};

// Words to residues modulo `count` small numbers.
__device__ __forceinline__ void cut_residue_tiles(const Factor<u64>& words, i8* tiles,
                                                  const u32* constants, u64 batches, u64 lines,
                                                  u64 depth, u64 q, u32 count) {
    const u64 units = Cut<u64>::units(batches, lines, depth);
    for (u64 unit = global_index(); unit < units; unit += global_stride()) {
        const Cut<u64> cut(words, lines, depth, unit);
        const Pieces pieces(cut.first, cut.apart, cut.inside, q);
        i8* place = tiles + cut.place;
#pragma unroll 1
        for (u32 s = 0; s < count; s++) {
            *reinterpret_cast<uint4*>(place) = pieces.residues(SmallModulus(constants, s));
            place += units * WORDS;
        }
    }
}

// Words to their balanced digits, the low one first.
__device__ __forceinline__ void cut_limb_tiles(const Factor<u32>& words, i8* tiles, u64 batches,
                                               u64 lines, u64 depth) {
    const u64 units = Cut<u32>::units(batches, lines, depth);
    for (u64 unit = global_index(); unit < units; unit += global_stride()) {
        const Cut<u32> cut(words, lines, depth, unit);
        u32 limbs[4][LIMBS];
#pragma unroll
        for (u32 four = 0; four < 4; four++) {
            u32 quad[4];
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const u32 at = 4 * four + i;
                quad[i] = at < cut.inside ? cut.first[at * cut.apart] : 0;
            }
            Digits32().cut(quad, limbs[four]);
        }
#pragma unroll
        for (u32 i = 0; i < LIMBS; i++) {
            *reinterpret_cast<uint4*>(tiles + (cut.place + i * units * WORDS)) =
                make_uint4(limbs[0][i], limbs[1][i], limbs[2][i], limbs[3][i]);
        }
    }
}
