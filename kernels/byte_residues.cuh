// The body of kernels/matmul_residue.cu: words cut into small residues, their products, the join.
//
// A block of 256 threads makes 256 x 128 sums of one small modulus in steps of 64 along the
// depth; a warp makes 64 x 64 of them. Four steps stand in shared memory, three of them on
// their way while one is multiplied. No step is cut or padded here: planes are whole, and lines
// beyond the edges are zeros.
#pragma once
#include "factors.cuh"
#include "modular.cuh"
#include "small_moduli.cuh"

#define THREADS 256
#define TILE_ROWS 256
#define TILE_COLUMNS 128
#define STEP 64    // depth of a step, bytes of a line in shared memory
#define STAGES 4
#define GROUP 8    // tile rows whose blocks are neighbours in the grid: they share b in the cache
#define STAGE_BYTES ((TILE_ROWS + TILE_COLUMNS) * STEP)
#define RESULT_LINE (TILE_COLUMNS + 16)  // 16 spare bytes: eight rows meet different banks
#define MOST_MODULI 20
#define TABLE_WORDS (3 * (MOST_MODULI + 1))

static_assert(STAGES * STAGE_BYTES <= 99 * 1024, "what a block gets on sm_86, sm_89 and sm_120");
static_assert(TILE_ROWS * RESULT_LINE <= STAGES * STAGE_BYTES, "results take the steps' place");

// A thread cuts 16 words of a line at a time, so that it stores 16 bytes of each plane. Threads
// follow the axis along which words are neighbours.
template <class W>
__device__ __forceinline__ void cut_words(const Factor<W>& words, i8* planes, const u32* constants,
                                          u64 batches, u64 lines, u64 depth, u64 q, u32 count) {
    const u64 parts = (depth + STEP - 1) / STEP * (STEP / WORDS);
    const u64 units = batches * lines * parts;
    const bool along_depth = words.column_step == 1;
    for (u64 unit = global_index(); unit < units; unit += global_stride()) {
        const u64 part = along_depth ? unit % parts : unit / lines % parts;
        const u64 line = along_depth ? unit / parts % lines : unit % lines;
        const u64 batch = unit / parts / lines;
        const W* const first = words.matrix(0, batch) + words.offset(line, part * WORDS);
        const i64 inside = static_cast<i64>(depth - part * WORDS);
        const Pieces pieces(first, words.column_step, inside, q);
        i8* place = planes + ((batch * lines + line) * parts + part) * WORDS;
#pragma unroll 1
        for (u32 s = 0; s < count; s++) {
            *reinterpret_cast<uint4*>(place) = pieces.residues(SmallModulus(constants, s));
            place += units * WORDS;
        }
    }
}

// The planes of one product, a (s, parties, batches, m, depth) and b (s, parties, batches, n,
// depth), with steps in bytes.
struct Planes {
    const i8* a;
    i64 a_modulus, a_party, a_batch, a_line;
    const i8* b;
    i64 b_modulus, b_party, b_batch, b_line;

    __device__ __forceinline__ const i8* left(u32 party, u64 batch) const {
        return a + (blockIdx.z * a_modulus + party * a_party + static_cast<i64>(batch) * a_batch);
    }
    __device__ __forceinline__ const i8* right(u32 party, u64 batch) const {
        return b + (blockIdx.z * b_modulus + party * b_party + static_cast<i64>(batch) * b_batch);
    }
};

// How many steps of depth there are: of the first and of the second product of each party.
struct Steps64 {
    u32 first, second, parties;
};

// Place of 16 bytes in a step's lines: those of eight lines at one depth fill the 32 banks.
__device__ __forceinline__ u32 place_in_step(u32 line, u32 chunk) {
    return line * STEP + ((chunk ^ (line / 2 % 4)) * 16);
}

// The tile of a block, in one batch.
struct ResidueTile {
    Planes first, second;
    Steps64 steps;
    u8* shared;
    u32 m, n, row, column;
    u64 batch;

    __device__ __forceinline__ ResidueTile(const Planes& first_, const Planes& second_,
                                           const Steps64& steps_, u8* shared_, u64 m_, u64 n_)
        : first(first_),
          second(second_),
          steps(steps_),
          shared(shared_),
          m(static_cast<u32>(m_)),
          n(static_cast<u32>(n_)),
          batch(0) {
        const u32 down = (m + TILE_ROWS - 1) / TILE_ROWS;
        const u32 across = (n + TILE_COLUMNS - 1) / TILE_COLUMNS;
        // GROUP rows of tiles after GROUP rows, each group column by column.
        const u32 group = blockIdx.x / (GROUP * across), within = blockIdx.x % (GROUP * across);
        const u32 left = down - group * GROUP, rows = left < GROUP ? left : GROUP;
        row = (group * GROUP + within % rows) * TILE_ROWS;
        column = within / rows * TILE_COLUMNS;
    }
    __device__ __forceinline__ u32 total_steps() const {
        return (steps.first + steps.second) * steps.parties;
    }
    __device__ __forceinline__ u64 line_bytes() const { return (n + 15ull) / 16 * 16; }
    __device__ __forceinline__ u64 matrix_bytes() const { return m * line_bytes(); }
    __device__ __forceinline__ u8* stage(u32 step) const {
        return shared + step % STAGES * STAGE_BYTES;
    }
};

// What a thread copies, step after step: 16 bytes of every 64th line. The steps of the first and
// of the second product of a party are two parts.
struct Feed {
    const i8 *left, *right;
    i64 left_apart, right_apart;  // 64 lines
    i32 rows, columns;            // that are left from the thread's first line on
    u32 place, part, steps;       // in a stage; two of each party; steps that are left of it

    __device__ __forceinline__ explicit Feed(const ResidueTile& tile) : part(~0u), steps(0) {
        const u32 line = threadIdx.x / 4;
        rows = static_cast<i32>(tile.m - tile.row - line);
        columns = static_cast<i32>(tile.n - tile.column - line);
        place = place_in_step(line, threadIdx.x % 4);
    }
    // Goes to the next part that has steps. There is one.
    __device__ __forceinline__ void next_part(const ResidueTile& tile) {
        do {
            part++;
            steps = part % 2 == 0 ? tile.steps.first : tile.steps.second;
        } while (steps == 0);
        const Planes p = part % 2 == 0 ? tile.first : tile.second;
        const u32 line = threadIdx.x / 4, depth = threadIdx.x % 4 * 16;
        left = p.left(part / 2, tile.batch) + ((tile.row + line) * p.a_line + depth);
        right = p.right(part / 2, tile.batch) + ((tile.column + line) * p.b_line + depth);
        left_apart = 64 * p.a_line, right_apart = 64 * p.b_line;
    }
    // Starts the copies of the next step.
    __device__ __forceinline__ void copy(const ResidueTile& tile, u32 step) {
        if (steps == 0) next_part(tile);
        u8* const stage = tile.stage(step) + place;
#pragma unroll
        for (u32 i = 0; i < TILE_ROWS / 64; i++) {
            copy_async_16(stage + 64 * i * STEP, left + i * left_apart,
                          static_cast<i32>(64 * i) < rows);
        }
#pragma unroll
        for (u32 i = 0; i < TILE_COLUMNS / 64; i++) {
            copy_async_16(stage + (TILE_ROWS + 64 * i) * STEP, right + i * right_apart,
                          static_cast<i32>(64 * i) < columns);
        }
        left += STEP, right += STEP, steps--;
    }
};

// What a warp sums: 64 x 64 results.
struct TileSums {
    i32 sums[4][8][4];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (u32 i = 0; i < 128; i++) sums[i / 32][i / 4 % 8][i % 4] = 0;
    }

    // Adds the products of 32 bytes of depth. left and right: this lane's row of the first
    // fragment.
    __device__ __forceinline__ void multiply(const u8* left, const u8* right) {
        u32 a[4][4], b[8][2];
#pragma unroll
        for (u32 down = 0; down < 4; down++) load_matrix_x4(a[down], left + down * 16 * STEP);
#pragma unroll
        for (u32 pair = 0; pair < 4; pair++) {
            u32 rows[4];
            load_matrix_x4(rows, right + pair * 16 * STEP);
            b[2 * pair][0] = rows[0], b[2 * pair][1] = rows[1];
            b[2 * pair + 1][0] = rows[2], b[2 * pair + 1][1] = rows[3];
        }
#pragma unroll
        for (u32 tile = 0; tile < 32; tile++) {
            mma_m16n8k32_s8(sums[tile / 8][tile % 8], a[tile / 8], b[tile % 8]);
        }
    }
};

// Sums all steps of a tile.
__device__ __forceinline__ void sum_planes(TileSums& sums, const ResidueTile& tile) {
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u32 warp_row = warp % 4 * 64, warp_column = warp / 4 * 64;
    const u32 left = place_in_step(warp_row + lane % 16, lane / 16);
    const u32 right = TILE_ROWS * STEP +
                      place_in_step(warp_column + lane / 16 * 8 + lane % 8, lane / 8 % 2);
    const bool busy = tile.row + warp_row < tile.m && tile.column + warp_column < tile.n;
    const u32 end = tile.total_steps();
    Feed feed(tile);
    block_barrier();  // the results before are still being read
#pragma unroll 1
    for (u32 step = 0; step < STAGES - 1; step++) {
        if (step < end) feed.copy(tile, step);
        copy_async_commit();
    }
#pragma unroll 1
    for (u32 step = 0; step < end; step++) {
        copy_async_wait<STAGES - 2>();
        block_barrier();  // all copies of the step have come, and the stage before is free
        const u8* const stage = tile.stage(step);
        if (busy) sums.multiply(stage + left, stage + right);
        // Between the halves, so that addresses are computed while tensor cores work.
        if (step + STAGES - 1 < end) feed.copy(tile, step + STAGES - 1);
        copy_async_commit();
        if (busy) sums.multiply(stage + (left ^ 32), stage + (right ^ 32));
    }
}

// Reduces sums to bytes, brings them into the order of rows by way of shared memory and stores
// them, 16 at a time.
__device__ __forceinline__ void store_residues(const TileSums& sums, const SmallModulus& p,
                                               const ResidueTile& tile, u8* products) {
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u8* const own = tile.shared + (warp % 4 * 64 + lane / 4) * RESULT_LINE + warp / 4 * 64 +
                    lane % 4 * 2;
    block_barrier();  // the last step is still being read
#pragma unroll
    for (u32 i = 0; i < 64; i++) {
        const u32 down = i / 16, across = i / 2 % 8, r = i % 2 * 2;
        const u32 low = p.reduce(sums.sums[down][across][r]);
        const u32 high = p.reduce(sums.sums[down][across][r + 1]);
        *reinterpret_cast<u16*>(own + (16 * down + 4 * r) * RESULT_LINE + 8 * across) =
            static_cast<u16>(low | high << 8);
    }
    block_barrier();
    const u64 line_bytes = tile.line_bytes();
    const u32 column = threadIdx.x % 8 * 16;
    if (tile.column + column >= tile.n) return;
    u8* const matrix = products + (tile.batch * tile.matrix_bytes() + tile.column + column);
#pragma unroll 1
    for (u32 row = threadIdx.x / 8; row < TILE_ROWS && tile.row + row < tile.m;
         row += THREADS / 8) {
        *reinterpret_cast<uint4*>(matrix + (tile.row + row) * line_bytes) =
            *reinterpret_cast<const uint4*>(tile.shared + row * RESULT_LINE + column);
    }
}

// high 2^32 + low as a word of the ring, both below 2^46.
__device__ __forceinline__ u64 word_of_parts(Ring64, u64 low, u64 high) {
    return low + (high << 32);
}
__device__ __forceinline__ u32 word_of_parts(Ring32, u64 low, u64) {
    return static_cast<u32>(low);
}
// They are at most some 10^4 words below q, so the upper half of their sum is below q.
__device__ __forceinline__ u64 word_of_parts(ResidueProducts ring, u64 low, u64 high) {
    const u64 total = low + (high << 32);
    return ring.reduce((high >> 32) + static_cast<u64>(total < low), total);
}

// A thread joins four results of a row at a time. The residues weigh v_i, their sum is right but
// for t P, and t is the nearest integer to their fractions' sum (deepest in the definition).
// table: TABLE_WORDS of shared memory.
template <class Ring, class W>
__device__ __forceinline__ void join_words(Ring ring, const u8* products, const u32* weights,
                                           u32 count, const Result<W>& result, u64 batches, u64 m,
                                           u64 n, bool first, u32* table) {
    for (u32 i = threadIdx.x; i < 3 * (count + 1); i += THREADS) table[i] = weights[i];
    block_barrier();
    const u64 quads = (n + 15) / 16 * 4, units = batches * m * quads;
    for (u64 unit = global_index(); unit < units; unit += global_stride()) {
        const u64 row = unit / quads, column = unit % quads * 4;
        u64 low[4] = {0, 0, 0, 0}, high[4] = {0, 0, 0, 0}, fraction[4] = {0, 0, 0, 0};
        const u8* place = products + 4 * unit;
#pragma unroll 2
        for (u32 s = 0; s < count; s++) {
            const u32 bytes = *reinterpret_cast<const u32*>(place);
            place += 4 * units;
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const u64 residue = bytes >> (8 * i) & 0xffu;
                low[i] += residue * table[3 * s];
                high[i] += residue * table[3 * s + 1];
                fraction[i] += residue * table[3 * s + 2];
            }
        }
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const u64 times = (fraction[i] + (1ull << 31)) >> 32;
            low[i] += times * table[3 * count];
            high[i] += times * table[3 * count + 1];
            if (column + i < n) {
                result.store(ring, row / m, row % m, column + i,
                             word_of_parts(ring, low[i], high[i]), first);
            }
        }
    }
}
