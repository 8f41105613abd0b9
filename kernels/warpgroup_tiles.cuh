// The body of kernels/matmul_warpgroup.cu: planes of bytes in tiles, and the products of tiles.
//
// Planes lie in global memory as shared memory holds them: a tile of 128 lines by 128 of depth
// is 16 KiB in a row, so that one copy without a tensor map brings it. A block makes 128 x 256
// sums: one thread of warp 8 brings steps of depth, a tile of a and two of b each, into four
// stages; a warpgroup multiplies 64 x 256 of them. `full` tells that a stage has come, `empty` that
// all eight warps have read it. A block takes tile after tile, and the steps of the next one are
// on their way while sums are stored.
#pragma once
#include "modular.cuh"
#include "warpgroup_cuts.cuh"

#define WARPS 8        // that multiply; one more copies
#define THREADS (32 * (WARPS + 1))
#define ACROSS 2       // tiles of b beside each other
#define COLUMNS (ACROSS * TILE_LINES)
#define STAGE_BYTES ((1 + ACROSS) * TILE_BYTES)
#define STAGES 4
#define GROUP 16       // tile rows that follow one another: the blocks of 132 multiprocessors share
                       // 16 tiles of a and 9 pairs of b in the cache
#define ALIGNMENT 1024
#define SHARED_BYTES (STAGES * STAGE_BYTES + ALIGNMENT + STAGES * 2 * 8)

static_assert(SHARED_BYTES <= 227 * 1024, "what a block gets on sm_90");

// The tiles of one operand (planes, parties, batches, tiles of lines, steps of depth), with
// strides in bytes; a line of tiles is packed.
struct Tiles {
    const i8* data;
    i64 plane, party, batch, line;
};
struct TilePair {
    Tiles a, b;
    u64 steps;
};

// What is multiplied. A block's items are numbers: kind by kind (small moduli), of each the
// batches, of each GROUP rows of tiles after GROUP rows, each group column by column.
struct TileProducts {
    TilePair first, second;
    u64 parties, batches;
    u32 m, n, kinds;

    __device__ __forceinline__ u32 down() const { return (m + TILE_LINES - 1) / TILE_LINES; }
    __device__ __forceinline__ u32 across() const { return (n + COLUMNS - 1) / COLUMNS; }
    __device__ __forceinline__ u64 matrix_items() const {
        return static_cast<u64>(down()) * across();
    }
    __device__ __forceinline__ u64 items() const { return kinds * batches * matrix_items(); }
    __device__ __forceinline__ u64 line_bytes() const { return (n + 15ull) / 16 * 16; }
    // Steps of depth, at least one.
    __device__ __forceinline__ u32 steps() const {
        return static_cast<u32>((first.steps + second.steps) * parties);
    }
};

struct Item {
    u32 kind, row, column;  // of tiles
    u64 batch;

    __device__ __forceinline__ Item(const TileProducts& all, u64 number) {
        const u64 within = number % all.matrix_items(), matrix = number / all.matrix_items();
        const u64 group = within / (GROUP * all.across()), place = within % (GROUP * all.across());
        const u64 left = all.down() - group * GROUP, rows = left < GROUP ? left : GROUP;
        row = static_cast<u32>(group * GROUP + place % rows);
        column = static_cast<u32>(place / rows);
        kind = static_cast<u32>(matrix / all.batches);
        batch = matrix % all.batches;
    }
    __device__ __forceinline__ const i8* tile(const Tiles& tiles, u32 plane, u64 party,
                                              u32 line) const {
        return tiles.data + (plane * tiles.plane + static_cast<i64>(party) * tiles.party +
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

// Brings the steps of one product of one party, of plane i of a and plane j of b.
__device__ __forceinline__ void bring_pair(Stages& stages, const TilePair& pair, const Item& item,
                                           u32 i, u32 j, u64 party, u32 n) {
    const u32 column = item.column * ACROSS, last = (n - 1) / TILE_LINES;
    const i8* a = item.tile(pair.a, i, party, item.row);
    const i8* b = item.tile(pair.b, j, party, column);
    // Beyond the edge the tile comes twice: nobody stores what is made of it.
    const i8* beside = column < last ? b + pair.b.line : b;
#pragma unroll 1
    for (u64 step = 0; step < pair.steps; step++) {
        stages.fill(a, b, beside);
        a += TILE_BYTES, b += TILE_BYTES, beside += TILE_BYTES;
    }
}

// All steps of two planes.
__device__ __forceinline__ void bring_planes(Stages& stages, const TileProducts& all,
                                             const Item& item, u32 i, u32 j) {
#pragma unroll 1
    for (u64 party = 0; party < all.parties; party++) {
        bring_pair(stages, all.first, item, i, j, party, all.n);
        bring_pair(stages, all.second, item, i, j, party, all.n);
    }
}

// What a warpgroup sums: 64 rows of an item. Sums 4 (i / 2) + 2 lower + i % 2 of a quarter, i = 0
// to 15, are those of 16 neighbours.
struct GroupSums {
    i32 sums[128];

    // So many steps, one in the background while the next begins. fresh: nothing was summed yet.
    __device__ __forceinline__ void sum_tiles(Stages& stages, u32 steps, bool fresh) {
        const u32 rows = threadIdx.x / 128 * (64 * TILE_DEPTH);
#pragma unroll 1
        for (u32 step = 0; step < steps; step++) {
            stages.wait();
            const u64 a = tile_descriptor(stages.tile(0) + rows);
            const u64 b = tile_descriptor(stages.tile(1));
            products_begin(sums);
#pragma unroll
            for (u32 depth = 0; depth < TILE_DEPTH; depth += 32) {
                multiply_m64n256k32_s8(sums, deeper(a, depth), deeper(b, depth),
                                       !fresh || step + depth != 0);
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

    // The row of the result in which half of this thread's sums are, and the first of its columns;
    // the others are 64, 128 and 192 further.
    __device__ static __forceinline__ u32 row(const Item& item, u32 lower) {
        const u32 place = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * lower;
        return item.row * TILE_LINES + line_of_place(place);
    }
    __device__ static __forceinline__ u32 column(const Item& item) {
        return item.column * COLUMNS + threadIdx.x % 4 * 16;
    }

    // Reduces them and stores 16 neighbours at a time.
    __device__ __forceinline__ void store_residues(const SmallModulus& p, const TileProducts& all,
                                                   const Item& item, u8* products) const {
        const u64 matrix = item.kind * all.batches + item.batch;
#pragma unroll
        for (u32 lower = 0; lower < 2; lower++) {
            if (row(item, lower) >= all.m) continue;
            u8* const line = products + (matrix * all.m + row(item, lower)) * all.line_bytes();
#pragma unroll
            for (u32 quarter = 0; quarter < 4; quarter++) {
                u32 bytes[4] = {0, 0, 0, 0};
#pragma unroll
                for (u32 i = 0; i < 16; i++) {
                    const i32 sum = sums[32 * quarter + 4 * (i / 2) + 2 * lower + i % 2];
                    bytes[i / 4] |= p.reduce(sum) << (8 * (i % 4));
                }
                const u32 at = column(item) + 64 * quarter;
                if (at < all.n) {
                    *reinterpret_cast<uint4*>(line + at) =
                        make_uint4(bytes[0], bytes[1], bytes[2], bytes[3]);
                }
            }
        }
    }

    // Makes room for the next lower diagonal.
    __device__ __forceinline__ void weigh() {
#pragma unroll
        for (u32 i = 0; i < 128; i++) sums[i] = static_cast<i32>(static_cast<u32>(sums[i]) << 8);
    }

    // Stores them as words, after adding what the parties add, or if not `first` what out holds.
    __device__ __forceinline__ void store_words(const Result<u32>& result, const TileProducts& all,
                                                const Item& item, bool first) {
        const auto& out = result.out;
        const u64 parties = first ? (result.add.data ? result.parties : 0) : 1;
        const i64 step = first ? result.add.column_step : out.column_step;
        const bool packs = out.column_step == 1 && out.row_step % 4 == 0 &&
                           out.batch_step % 4 == 0 && reinterpret_cast<u64>(out.data) % 16 == 0;
#pragma unroll
        for (u32 part = 0; part < 8; part++) {
            const u32 lower = part % 2, quarter = part / 2;
            const u32 down = row(item, lower), at = column(item) + 64 * quarter;
            if (down >= all.m || at >= all.n) continue;
            const u32 inside = all.n - at;
            u32* const place = out.data + (static_cast<i64>(item.batch) * out.batch_step +
                                           down * out.row_step + at * out.column_step);
            const u32* added = place;
            if (first) added = result.add.matrix(0, item.batch) + result.add.offset(down, at);
#pragma unroll 1
            for (u64 party = 0; party < parties; party++) {
#pragma unroll
                for (u32 i = 0; i < 16; i++) {
                    i32& sum = sums[32 * quarter + 4 * (i / 2) + 2 * lower + i % 2];
                    if (i < inside) sum = static_cast<i32>(static_cast<u32>(sum) + added[i * step]);
                }
                added += result.add.party_step;
            }
#pragma unroll
            for (u32 i = 0; i < 16; i += 4) {
                const i32* const four = sums + 32 * quarter + 2 * i + 2 * lower;
                const u32 words[4] = {static_cast<u32>(four[0]), static_cast<u32>(four[1]),
                                      static_cast<u32>(four[4]), static_cast<u32>(four[5])};
                if (packs && i + 4 <= inside) {
                    *reinterpret_cast<uint4*>(place + i) =
                        make_uint4(words[0], words[1], words[2], words[3]);
                    continue;
                }
#pragma unroll
                for (u32 j = 0; j < 4; j++) {
                    if (i + j < inside) place[(i + j) * out.column_step] = words[j];
                }
            }
        }
    }
};

// What the copying thread does.
template <bool LIMB_PLANES>
__device__ __forceinline__ void bring_tiles(Stages& stages, const TileProducts& all) {
#pragma unroll 1
    for (u64 number = blockIdx.x; number < all.items(); number += gridDim.x) {
        const Item item(all, number);
        if constexpr (LIMB_PLANES) {
#pragma unroll 1
            for (u32 digits = LIMBS; digits > 0; digits--) {
#pragma unroll 1
                for (u32 i = 0; i < digits; i++) {
                    bring_planes(stages, all, item, i, digits - 1 - i);
                }
            }
        } else {
            bring_planes(stages, all, item, item.kind, item.kind);
        }
    }
}

__device__ __forceinline__ void multiply_residue_tiles(const TileProducts& all, u8* shared,
                                                       u8* products, const u32* constants) {
    Stages stages(shared);
    stages.begin();
    if (threadIdx.x >= 32 * WARPS) {
        if (threadIdx.x % 32 == 0) bring_tiles<false>(stages, all);
        return;
    }
#pragma unroll 1
    for (u64 number = blockIdx.x; number < all.items(); number += gridDim.x) {
        const Item item(all, number);
        GroupSums own;
        own.sum_tiles(stages, all.steps(), true);
        own.store_residues(SmallModulus(constants, item.kind), all, item, products);
    }
}

// The sum over d of 256^d times diagonal d, the products of digits i of a and d - i of b. Modulo
// 2^32 one set of sums holds it: the highest diagonal first, and 8 bits up for each that follows.
__device__ __forceinline__ void multiply_limb_tiles(const TileProducts& all, u8* shared,
                                                    const Result<u32>& result, bool first) {
    Stages stages(shared);
    stages.begin();
    if (threadIdx.x >= 32 * WARPS) {
        if (threadIdx.x % 32 == 0) bring_tiles<true>(stages, all);
        return;
    }
#pragma unroll 1
    for (u64 number = blockIdx.x; number < all.items(); number += gridDim.x) {
        const Item item(all, number);
        GroupSums own;
        own.sum_tiles(stages, LIMBS * all.steps(), true);
#pragma unroll
        for (u32 digits = LIMBS - 1; digits > 0; digits--) {
            own.weigh();
            own.sum_tiles(stages, digits * all.steps(), false);
        }
        own.store_words(result, all, item, first);
    }
}
