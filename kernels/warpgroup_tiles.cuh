// The body of kernels/matmul_warpgroup.cu: residues in tiles, and the products of tiles.
//
// Residues lie in global memory as shared memory holds them: a tile of 128 lines by 128 of depth
// is 16 KiB in a row, so that one copy without a tensor map brings it. A block makes 128 x 256
// sums of one small modulus: one thread of warp 8 brings steps of depth, a tile of a and two of b
// each, into four stages; a warpgroup multiplies 64 x 256 of them. `full` tells that a stage has
// come, `empty` that all eight warps have read it. A block takes tile after tile, and the steps of
// the next one are on their way while sums are stored.
#pragma once
#include "factors.cuh"
#include "small_moduli.cuh"
#include "warpgroup.cuh"

#define WARPS 8        // that multiply; one more copies
#define THREADS (32 * (WARPS + 1))
#define TILE_LINES 128
#define TILE_DEPTH SWIZZLED_LINE
#define TILE_BYTES (TILE_LINES * TILE_DEPTH)
#define ACROSS 2       // tiles of b beside each other
#define COLUMNS (ACROSS * TILE_LINES)
#define STAGE_BYTES ((1 + ACROSS) * TILE_BYTES)
#define STAGES 4
#define GROUP 16       // tile rows that follow one another: the blocks of 132 multiprocessors share
                       // 16 tiles of a and 9 pairs of b in the cache
#define ALIGNMENT 1024
#define SHARED_BYTES (STAGES * STAGE_BYTES + ALIGNMENT + STAGES * 2 * 8)

static_assert(SHARED_BYTES <= 227 * 1024, "what a block gets on sm_90");

// Where a line stands in its tile, and back: among 64 lines, bits 3 to 1 change places with bits
// 5 and 4. So the 16 sums of a row that a thread holds in 32 registers in a row are neighbours,
// and four threads store 64 bytes of it.
__device__ __forceinline__ u32 place_of_line(u32 line) {
    return (line & 0x41u) | (line & 0x0eu) << 2 | (line & 0x30u) >> 3;
}
__device__ __forceinline__ u32 line_of_place(u32 place) {
    return (place & 0x41u) | (place & 0x38u) >> 2 | (place & 0x06u) << 3;
}

// A thread cuts 16 words of a line at a time. Eight threads make a line of a tile, four lines are
// neighbours in a warp: words are read in runs along either axis. Tiles are filled up with zeros.
template <class W>
__device__ __forceinline__ void cut_into_tiles(const Factor<W>& words, i8* tiles,
                                               const u32* constants, u64 batches, u64 lines,
                                               u64 depth, u64 q, u32 count) {
    const u64 down = (lines + TILE_LINES - 1) / TILE_LINES;
    const u64 steps = (depth + TILE_DEPTH - 1) / TILE_DEPTH;
    const u64 fours = down * (TILE_LINES / 4), units = batches * fours * steps * 32;
    const bool along_depth = words.column_step == 1;
    for (u64 unit = global_index(); unit < units; unit += global_stride()) {
        const u32 chunk = unit % 8;
        const u64 rest = unit / 32;
        const u64 four = along_depth ? rest / steps % fours : rest % fours;
        const u64 step = along_depth ? rest % steps : rest / fours % steps;
        const u64 batch = rest / fours / steps;
        const u64 line = 4 * four + unit / 8 % 4, start = step * TILE_DEPTH + chunk * WORDS;
        const W* const first = words.matrix(0, batch) + words.offset(line, start);
        const i64 inside = line < lines ? static_cast<i64>(depth - start) : 0;
        const Pieces pieces(first, words.column_step, inside, q);
        const u64 tile = (batch * down + line / TILE_LINES) * steps + step;
        i8* place = tiles + (tile * TILE_BYTES +
                             swizzled(place_of_line(static_cast<u32>(line % TILE_LINES)), chunk));
#pragma unroll 1
        for (u32 s = 0; s < count; s++) {
            *reinterpret_cast<uint4*>(place) = pieces.residues(SmallModulus(constants, s));
            place += units * WORDS;
        }
    }
}

// The tiles of one product, a and b alike (s, parties, batches, tiles of lines, steps of depth),
// with strides in bytes; a line of tiles is packed.
struct Tiles {
    const i8* data;
    i64 modulus, party, batch, line;
};
struct TilePair {
    Tiles a, b;
    u64 steps;
};

// What is multiplied. A block's items are numbers: modulus by modulus, of each the batches, of
// each GROUP rows of tiles after GROUP rows, each group column by column.
struct TileProducts {
    TilePair first, second;
    u64 parties, batches;
    u32 m, n, count;

    __device__ __forceinline__ u32 down() const { return (m + TILE_LINES - 1) / TILE_LINES; }
    __device__ __forceinline__ u32 across() const { return (n + COLUMNS - 1) / COLUMNS; }
    __device__ __forceinline__ u64 matrix_items() const {
        return static_cast<u64>(down()) * across();
    }
    __device__ __forceinline__ u64 items() const { return count * batches * matrix_items(); }
    __device__ __forceinline__ u64 line_bytes() const { return (n + 15ull) / 16 * 16; }
    // Steps of depth of an item, at least one.
    __device__ __forceinline__ u32 steps() const {
        return static_cast<u32>((first.steps + second.steps) * parties);
    }
};

struct Item {
    u32 modulus, row, column;  // of tiles
    u64 batch;

    __device__ __forceinline__ Item(const TileProducts& all, u64 number) {
        const u64 within = number % all.matrix_items(), matrix = number / all.matrix_items();
        const u64 group = within / (GROUP * all.across()), place = within % (GROUP * all.across());
        const u64 left = all.down() - group * GROUP, rows = left < GROUP ? left : GROUP;
        row = static_cast<u32>(group * GROUP + place % rows);
        column = static_cast<u32>(place / rows);
        modulus = static_cast<u32>(matrix / all.batches);
        batch = matrix % all.batches;
    }
    __device__ __forceinline__ const i8* tile(const Tiles& tiles, u64 party, u32 line) const {
        return tiles.data + (modulus * tiles.modulus + static_cast<i64>(party) * tiles.party +
                             static_cast<i64>(batch) * tiles.batch + line * tiles.line);
    }
};

// The stages of a block, and the number of the next step, counted over all its items.
struct Stages {
    u8* tiles;
    u64 *full, *empty;
    u32 step;

    __device__ __forceinline__ explicit Stages(u8* shared) : step(0) {
        tiles = shared + (0u - window_address(shared)) % ALIGNMENT;
        full = reinterpret_cast<u64*>(tiles + STAGES * STAGE_BYTES);
        empty = full + STAGES;
    }
    __device__ __forceinline__ void begin() const {
        if (threadIdx.x == 0) {
            for (u32 i = 0; i < STAGES; i++) {
                phases_begin(full + i, 1);
                phases_begin(empty + i, WARPS);
            }
            phases_visible();
        }
        block_barrier();
    }
    __device__ __forceinline__ u8* tile(u32 index) const {
        return tiles + step % STAGES * STAGE_BYTES + index * TILE_BYTES;
    }
    __device__ __forceinline__ u32 parity() const { return step / STAGES % 2; }

    // Starts the copies of a step once the stage is free: at the first round it is.
    __device__ __forceinline__ void fill(const i8* a, const i8* b, const i8* beside) {
        u64* const came = full + step % STAGES;
        phase_wait(empty + step % STAGES, parity() ^ 1);
        phase_expect(came, STAGE_BYTES);
        copy_bulk(tile(0), a, TILE_BYTES, came);
        copy_bulk(tile(1), b, TILE_BYTES, came);
        copy_bulk(tile(2), beside, TILE_BYTES, came);
        step++;
    }
    __device__ __forceinline__ void wait() const { phase_wait(full + step % STAGES, parity()); }
    // This warp has read the stage of an earlier step.
    __device__ __forceinline__ void release(u32 earlier) const {
        if (threadIdx.x % 32 == 0) phase_arrive(empty + (step - earlier) % STAGES);
    }
};

// Brings the steps of one product of one party.
__device__ __forceinline__ void bring_pair(Stages& stages, const TilePair& pair, const Item& item,
                                           u64 party, u32 n) {
    const u32 column = item.column * ACROSS, last = (n - 1) / TILE_LINES;
    const i8* a = item.tile(pair.a, party, item.row);
    const i8* b = item.tile(pair.b, party, column);
    // Beyond the edge the tile comes twice: nobody stores what is made of it.
    const i8* beside = column < last ? b + pair.b.line : b;
#pragma unroll 1
    for (u64 i = 0; i < pair.steps; i++) {
        stages.fill(a, b, beside);
        a += TILE_BYTES, b += TILE_BYTES, beside += TILE_BYTES;
    }
}

// What the copying thread does: all steps of all items.
__device__ __forceinline__ void bring_tiles(Stages& stages, const TileProducts& all) {
#pragma unroll 1
    for (u64 number = blockIdx.x; number < all.items(); number += gridDim.x) {
        const Item item(all, number);
#pragma unroll 1
        for (u64 party = 0; party < all.parties; party++) {
            bring_pair(stages, all.first, item, party, all.n);
            bring_pair(stages, all.second, item, party, all.n);
        }
    }
}

// What a warpgroup sums: 64 rows of an item.
struct GroupSums {
    i32 sums[128];

    // All steps of an item, one in the background while the next begins.
    __device__ __forceinline__ void sum_tiles(Stages& stages, u32 steps) {
        const u32 rows = threadIdx.x / 128 * (64 * TILE_DEPTH);
#pragma unroll 1
        for (u32 step = 0; step < steps; step++) {
            stages.wait();
            const u64 a = tile_descriptor(stages.tile(0) + rows);
            const u64 b = tile_descriptor(stages.tile(1));
            products_begin();
#pragma unroll
            for (u32 depth = 0; depth < TILE_DEPTH; depth += 32) {
                multiply_m64n256k32_s8(sums, deeper(a, depth), deeper(b, depth),
                                       step + depth != 0);
            }
            products_commit();
            if (step != 0) {
                products_wait<1>();
                stages.release(1);
            }
            stages.step++;
        }
        products_end(sums);
        stages.release(1);
    }

    // Reduces them and stores 16 neighbours at a time.
    __device__ __forceinline__ void store(const SmallModulus& p, const TileProducts& all,
                                          const Item& item, u8* products) const {
        const u32 thread = threadIdx.x % 32, column = item.column * COLUMNS + thread % 4 * 16;
        const u64 matrix = item.modulus * all.batches + item.batch;
#pragma unroll
        for (u32 lower = 0; lower < 2; lower++) {
            const u32 place = threadIdx.x / 32 * 16 + thread / 4 + 8 * lower;
            const u32 row = item.row * TILE_LINES + line_of_place(place);
            if (row >= all.m) continue;
            u8* const line = products + (matrix * all.m + row) * all.line_bytes() + column;
#pragma unroll
            for (u32 part = 0; part < 4; part++) {
                u32 bytes[4] = {0, 0, 0, 0};
#pragma unroll
                for (u32 i = 0; i < 16; i++) {
                    const i32 sum = sums[32 * part + 4 * (i / 2) + 2 * lower + i % 2];
                    bytes[i / 4] |= p.reduce(sum) << (8 * (i % 4));
                }
                if (column + 64 * part < all.n) {
                    *reinterpret_cast<uint4*>(line + 64 * part) =
                        make_uint4(bytes[0], bytes[1], bytes[2], bytes[3]);
                }
            }
        }
    }
};

__device__ __forceinline__ void multiply_tiles(const TileProducts& all, u8* shared, u8* products,
                                               const u32* constants) {
    Stages stages(shared);
    stages.begin();
    if (threadIdx.x >= 32 * WARPS) {
        if (threadIdx.x % 32 == 0) bring_tiles(stages, all);
        return;
    }
#pragma unroll 1
    for (u64 number = blockIdx.x; number < all.items(); number += gridDim.x) {
        const Item item(all, number);
        GroupSums own;
        own.sum_tiles(stages, all.steps());
        own.store(SmallModulus(constants, item.modulus), all, item, products);
    }
}
