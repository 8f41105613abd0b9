// The body of kernels/matmul_limb.cu and kernels/conv_limb.cu: sizes, sums of products, results.
//
// A block of 256 threads makes ROWS x 64 results in steps of 32 along the depth
// (limb_staging.cuh). Planes are double: while one set is multiplied, the next is cut.
// Words are single: once cut, the copies of the step after begin. Planes of a that were cut
// before (cut_planes) come along with the words of b, a step earlier than planes that are cut
// here, so there are three sets of them. Half of the warps multiply before they cut, the others
// cut first, so that the tensor cores of each quarter of a multiprocessor always have a warp.
// Sums of a diagonal (digits i of a and j of b with i + j = d) stay in registers as 32-bit
// numbers until the end, where sum d weighs 256^d.
#pragma once
#include "factors.cuh"
#include "limb_staging.cuh"
#include "modular.cuh"

#define ALL_EXACT 128  // more bits than all diagonals weigh: no sum may wrap
#define GROUP 8  // tile rows whose blocks are neighbours in the grid: they share b in the cache

// Sizes and bounds of one kernel.
template <class LeftDigits, class RightDigits, u32 DIAGONALS_, u32 ROWS_>
struct LimbPlan {
    typedef LeftDigits Left;
    typedef RightDigits Right;
    typedef typename Left::Word Word;
    static constexpr u32 DIAGONALS = DIAGONALS_, ROWS = ROWS_, COLUMNS = 64;
    // A warp makes 32 rows and what is left for 8 warps.
    static constexpr u32 WARPS_DOWN = ROWS / 32, WARP_COLUMNS = COLUMNS * WARPS_DOWN / 8;
    static constexpr u32 LEFT_PLANE = ROWS * DEPTH, RIGHT_PLANE = COLUMNS * DEPTH;
    static constexpr u32 LEFT_BYTES = Left::COUNT * LEFT_PLANE;
    static constexpr u32 RIGHT_BYTES = Right::COUNT * RIGHT_PLANE;
    // The sets of a's planes, those of b's, the parts of words that are cut, of a and of b.
    static constexpr u32 LEFT_SETS = Left::KEPT ? 3 : 2;
    static constexpr u32 RIGHT_PLANES = LEFT_SETS * LEFT_BYTES;
    static constexpr u32 LEFT_PARTS = RIGHT_PLANES + 2 * RIGHT_BYTES;
    static constexpr u32 RIGHT_PARTS =
        LEFT_PARTS + (Left::KEPT ? 0 : ROWS * DEPTH * sizeof(typename Left::Part));
    static constexpr u32 STAGING_BYTES =
        RIGHT_PARTS + COLUMNS * DEPTH * sizeof(typename Right::Part);
    // In the end the results take their place, two spare words in each row.
    static constexpr u32 RESULT_LINE = COLUMNS + 2;
    static constexpr u32 RESULT_BYTES = ROWS * RESULT_LINE * sizeof(Word);
    static constexpr u32 SHARED_BYTES =
        STAGING_BYTES > RESULT_BYTES ? STAGING_BYTES : RESULT_BYTES;
    static_assert(SHARED_BYTES <= 99 * 1024, "what a block gets on sm_86, sm_89 and sm_120");

    // Where the planes of a step lie.
    __device__ static constexpr u32 left_planes(u32 step) { return step % LEFT_SETS * LEFT_BYTES; }
    __device__ static constexpr u32 right_planes(u32 step) {
        return RIGHT_PLANES + step % 2 * RIGHT_BYTES;
    }

    // The largest magnitude that one step of depth adds to a diagonal.
    __device__ static constexpr u64 largest(u32 diagonal) {
        u64 sum = 0;
        for (u32 i = 0; i < Left::COUNT && i <= diagonal; i++) {
            if (diagonal - i < Right::COUNT) {
                sum += static_cast<u64>(Left::largest(i)) * Right::largest(diagonal - i);
            }
        }
        return sum;
    }
    // Steps of DEPTH after which a sum that must be exact could leave 32 bits. A sum may wrap
    // where the bits above, 2^(8 d + 32) and more, weigh nothing in a ring of `bits` bits.
    __device__ static constexpr u32 piece(u32 bits) {
        u32 steps = ~0u;
        for (u32 d = 0; d < DIAGONALS && 8 * d + 32 < bits; d++) {
            const u32 bound = static_cast<u32>(0x7fffffffull / largest(d) / DEPTH);
            steps = bound < steps ? bound : steps;
        }
        return steps;
    }
};

// What a warp multiplies: 32 x WARP_COLUMNS results, all diagonals.
template <class Plan>
struct WarpSums {
    static constexpr u32 ACROSS = Plan::WARP_COLUMNS / 8;
    i32 sums[Plan::DIAGONALS][2][ACROSS][4];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (u32 i = 0; i < Plan::DIAGONALS * 2 * ACROSS * 4; i++) {
            sums[i / (8 * ACROSS)][i / (4 * ACROSS) % 2][i / 4 % ACROSS][i % 4] = 0;
        }
    }

    // Adds the products of a set of planes. left and right: this lane's row of the first
    // fragment.
    __device__ __forceinline__ void multiply(const u8* left, const u8* right) {
        u32 b[Plan::Right::COUNT][ACROSS][2];
#pragma unroll
        for (u32 j = 0; j < Plan::Right::COUNT; j++) {
#pragma unroll
            for (u32 pair = 0; pair < ACROSS / 2; pair++) {
                u32 rows[4];
                load_matrix_x4(rows, right + j * Plan::RIGHT_PLANE + pair * 16 * DEPTH);
                b[j][2 * pair][0] = rows[0], b[j][2 * pair][1] = rows[1];
                b[j][2 * pair + 1][0] = rows[2], b[j][2 * pair + 1][1] = rows[3];
            }
        }
#pragma unroll
        for (u32 i = 0; i < Plan::Left::COUNT; i++) {
            u32 a[2][4];
#pragma unroll
            for (u32 down = 0; down < 2; down++) {
                load_matrix_x4(a[down], left + i * Plan::LEFT_PLANE + down * 16 * DEPTH);
            }
#pragma unroll
            for (u32 j = 0; j < Plan::Right::COUNT; j++) {
                if (i + j >= Plan::DIAGONALS) break;  // weighs nothing in the ring
#pragma unroll
                for (u32 tile = 0; tile < 2 * ACROSS; tile++) {
                    const u32 down = tile / ACROSS, across = tile % ACROSS;
                    if (j == 0 && Plan::Right::LOW_UNSIGNED) {
                        mma_m16n8k32_s8u8(sums[i + j][down][across], a[down], b[j][across]);
                    } else {
                        mma_m16n8k32_s8(sums[i + j][down][across], a[down], b[j][across]);
                    }
                }
            }
        }
    }

    // Sum of 256^d times diagonal d of one result, modulo 2^64.
    __device__ __forceinline__ u64 weigh(u32 down, u32 across, u32 r) const {
        u64 total = 0;
#pragma unroll
        for (u32 d = 0; d < Plan::DIAGONALS; d++) {
            total += static_cast<u64>(static_cast<i64>(sums[d][down][across][r])) << (8 * d);
        }
        return total;
    }
};

// A sum of weighed diagonals as a word of the ring.
__device__ __forceinline__ u64 word_of_sum(Ring64, u64 sum) { return sum; }
__device__ __forceinline__ u32 word_of_sum(Ring32, u64 sum) { return static_cast<u32>(sum); }
// A signed number: |sum| < 2^62, see LimbPlan::piece.
__device__ __forceinline__ u64 word_of_sum(ResidueProducts ring, u64 sum) {
    const u64 negative = 0ull - (sum >> 63);
    const u64 rest = ring.reduce(0, (sum ^ negative) - negative);
    return (rest & ~negative) | (ring.neg(rest) & negative);
}

// A place in the sequence of DEPTH-wide steps: those of `first` and of `second` for a party, and
// so on for the next.
struct Position {
    u32 party, step;
};

// The tile of a block in one batch. B: Factor, or Image with the windows' origins behind the
// plan's shared memory (fill_origins).
template <class Plan, class B = Factor<typename Plan::Word>>
struct LimbTile {
    typedef typename Plan::Word W;
    typedef typename Plan::Left::Part LeftPart;
    typedef typename Plan::Right::Part RightPart;
    typedef Product<W, typename Plan::Left::Stored, B> Pair;
    Pair first, second;
    typename Plan::Left left_digits;
    typename Plan::Right right_digits;
    u8* shared;
    u32 m, n, batch, row, column;
    typename B::Geometry geometry;

    __device__ __forceinline__ LimbTile(const Pair& first_, const Pair& second_,
                                        const typename Plan::Left& left_digits_,
                                        const typename Plan::Right& right_digits_, u8* shared_,
                                        u64 m_, u64 n_,
                                        const typename B::Geometry& geometry_ = {})
        : first(first_),
          second(second_),
          left_digits(left_digits_),
          right_digits(right_digits_),
          shared(shared_),
          m(static_cast<u32>(m_)),
          n(static_cast<u32>(n_)),
          batch(0),
          geometry(geometry_) {
        const u32 down = (m + Plan::ROWS - 1) / Plan::ROWS;
        const u32 across = (n + Plan::COLUMNS - 1) / Plan::COLUMNS;
        // GROUP rows of tiles after GROUP rows, each group column by column.
        const u32 group = blockIdx.x / (GROUP * across), within = blockIdx.x % (GROUP * across);
        const u32 left = down - group * GROUP, rows = left < GROUP ? left : GROUP;
        row = (group * GROUP + within % rows) * Plan::ROWS;
        column = within / rows * Plan::COLUMNS;
    }

    __device__ __forceinline__ u32 first_steps() const {
        return static_cast<u32>((first.k + DEPTH - 1) / DEPTH);
    }
    __device__ __forceinline__ u32 party_steps() const {
        return first_steps() + static_cast<u32>((second.k + DEPTH - 1) / DEPTH);
    }
    __device__ __forceinline__ u32 steps(u64 parties) const {
        const u32 steps = party_steps() * static_cast<u32>(parties);
        return steps != 0 ? steps : 1;  // of zeros
    }
    __device__ __forceinline__ Position position(u32 step) const {
        if (step == 0) return {0, 0};  // there may be no steps to divide by
        return {step / party_steps(), step % party_steps()};
    }
    __device__ __forceinline__ void advance(Position& at) const {
        if (++at.step == party_steps()) at.step = 0, at.party++;
    }
    __device__ __forceinline__ Pair product(Position at) const {
        return at.step < first_steps() ? first : second;
    }
    __device__ __forceinline__ Lines<W> left(const Pair& p, u32 party) const {
        return Lines<W>(p.a.matrix(party, batch), p.a.row_step, p.a.column_step, row, m);
    }
    __device__ __forceinline__ LeftPart* left_parts() const {
        return reinterpret_cast<LeftPart*>(shared + Plan::LEFT_PARTS);
    }
    __device__ __forceinline__ RightPart* right_parts() const {
        return reinterpret_cast<RightPart*>(shared + Plan::RIGHT_PARTS);
    }

    __device__ __forceinline__ i32* origins() const {
        return reinterpret_cast<i32*>(shared + Plan::SHARED_BYTES);
    }

    // Starts the copies of a step's words of b.
    __device__ __forceinline__ void copy_right(const Factor<W>& b, u32 party, u32 step,
                                               u64 k) const {
        const Lines<W> lines(b.matrix(party, batch), b.column_step, b.row_step, column, n);
        if (b.row_step == 1) {
            copy_tile<Plan::COLUMNS, true>(right_parts(), lines, step, k);
        } else {
            copy_tile<Plan::COLUMNS, false>(right_parts(), lines, step, k);
        }
    }
    __device__ __forceinline__ void copy_right(const Image<W>& b, u32 party, u32 step,
                                               u64 k) const {
        copy_windows<Plan::COLUMNS>(right_parts(), b, b.matrix(party, batch), geometry, origins(),
                                    step, static_cast<u32>(k));
    }

    // Makes planes of them.
    __device__ __forceinline__ void cut_right(const Factor<W>& b, u8* planes) const {
        if (b.row_step == 1) {
            cut_share<Plan::COLUMNS, true>(right_digits, right_parts(), planes);
        } else {
            cut_share<Plan::COLUMNS, false>(right_digits, right_parts(), planes);
        }
    }
    __device__ __forceinline__ void cut_right(const Image<W>&, u8* planes) const {
        cut_share<Plan::COLUMNS, false>(right_digits, right_parts(), planes);
    }

    // Starts the copies of step number `step`, which is at `at`.
    __device__ __forceinline__ void copy(Position at, u32 step) const {
        const Pair p = product(at);
        const u32 own_step = at.step < first_steps() ? at.step : at.step - first_steps();
        if constexpr (Plan::Left::KEPT) {
            copy_planes<Plan::LEFT_BYTES>(
                shared + Plan::left_planes(step),
                p.a.matrix(at.party, batch) + p.a.offset(row / Plan::ROWS, own_step));
        } else if (p.a.column_step == 1) {
            copy_tile<Plan::ROWS, true>(left_parts(), left(p, at.party), own_step, p.k);
        } else {
            copy_tile<Plan::ROWS, false>(left_parts(), left(p, at.party), own_step, p.k);
        }
        copy_right(p.b, at.party, own_step, p.k);
        copy_async_commit();
    }

    // Waits for its copies, and makes planes of words.
    __device__ __forceinline__ void cut(Position at, u32 step) const {
        copy_async_wait<0>();
        const Pair p = product(at);
        u8* const left_planes = shared + Plan::left_planes(step);
        if constexpr (Plan::Left::KEPT) {
            // There are planes already.
        } else if (p.a.column_step == 1) {
            cut_share<Plan::ROWS, true>(left_digits, left_parts(), left_planes);
        } else {
            cut_share<Plan::ROWS, false>(left_digits, left_parts(), left_planes);
        }
        cut_right(p.b, shared + Plan::right_planes(step));
    }
};

// Sums the steps from `step` to `end` of a tile, at least one. at: of `step`, then of `end`.
template <class Plan, class B>
__device__ __forceinline__ void sum_steps(WarpSums<Plan>& warp_sums, const LimbTile<Plan, B>& tile,
                                          Position& at, u32 step, u32 end) {
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u32 warp_row = warp % Plan::WARPS_DOWN * 32;
    const u32 warp_column = warp / Plan::WARPS_DOWN * Plan::WARP_COLUMNS;
    const u32 left_row = place_in_plane(warp_row + lane % 16, lane / 16 * 16);
    const u32 right_line = warp_column + lane / 16 * 8 + lane % 8;
    const u32 right_row = place_in_plane(right_line, lane / 8 % 2 * 16);
    const bool busy = tile.row + warp_row < tile.m && tile.column + warp_column < tile.n;
    block_barrier();  // the results before are still being read
    tile.copy(at, step);
    u32 next = step;
#pragma unroll 1
    do {
        block_barrier();  // the step before `next` is cut, and the planes to cut into are free
#pragma unroll 1
        for (u32 phase = 0; phase < 2; phase++) {
            if (phase == warp / 4) {
                if (busy && next != step) {
                    warp_sums.multiply(tile.shared + (Plan::left_planes(next - 1) + left_row),
                                       tile.shared + (Plan::right_planes(next - 1) + right_row));
                }
            } else if (next < end) {
                tile.cut(at, next);
                tile.advance(at);
                if (next + 1 < end) tile.copy(at, next + 1);
            }
        }
    } while (next++ < end);
}

// Writes where the windows of an image tile's columns begin, to be read after a barrier.
template <class Plan, class W>
__device__ __forceinline__ void fill_origins(const LimbTile<Plan, Image<W>>& tile) {
    const u32 line = threadIdx.x, n = tile.column + line;
    if (line >= Plan::COLUMNS) return;
    const Origin origin = n < tile.n ? tile.geometry.origin(n) : Windows::nowhere();
    tile.origins()[line] = origin.row;
    tile.origins()[Plan::COLUMNS + line] = origin.column;
    tile.origins()[2 * Plan::COLUMNS + line] = static_cast<i32>(origin.image);
}

// Turns sums into words of the ring, brings them into the order of rows by way of shared
// memory (planes and words are free now) and stores them.
template <class Plan, class B, class Ring, class Target>
__device__ __forceinline__ void store_sums(const WarpSums<Plan>& warp_sums, Ring ring,
                                           const LimbTile<Plan, B>& tile, const Target& result,
                                           bool first) {
    typedef typename Plan::Word W;
    constexpr u32 LINE = Plan::RESULT_LINE, ACROSS = WarpSums<Plan>::ACROSS;
    W* const words = reinterpret_cast<W*>(tile.shared);
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    W* const own = words + (warp % Plan::WARPS_DOWN * 32 + lane / 4) * LINE +
                   warp / Plan::WARPS_DOWN * Plan::WARP_COLUMNS + lane % 4 * 2;
    block_barrier();  // the planes are still being read
#pragma unroll
    for (u32 i = 0; i < 8 * ACROSS; i++) {
        const u32 r = i % 4, across = i / 4 % ACROSS, down = i / 4 / ACROSS;
        own[(16 * down + 8 * (r / 2)) * LINE + 8 * across + r % 2] =
            word_of_sum(ring, warp_sums.weigh(down, across, r));
    }
    block_barrier();
    const u32 across = threadIdx.x % Plan::COLUMNS;
#pragma unroll 4
    for (u32 down = threadIdx.x / Plan::COLUMNS; down < Plan::ROWS;
         down += THREADS / Plan::COLUMNS) {
        if (tile.row + down < tile.m && tile.column + across < tile.n) {
            result.store(ring, tile.batch, tile.row + down, tile.column + across,
                         words[down * LINE + across], first, gridDim.z > 1);
        }
    }
}

// Cuts an operand a into planes to keep: the tiles of a batch one after another, of each tile the
// steps of depth, of each step the planes as shared memory holds them. A block cuts one step.
template <class Plan>
__device__ __forceinline__ void cut_tiles(const Factor<typename Plan::Word>& words, u8* planes,
                                          u64 batches, u64 m, u64 k) {
    constexpr u32 QUADS = DEPTH / 4;
    const u64 tiles = (m + Plan::ROWS - 1) / Plan::ROWS, steps = (k + DEPTH - 1) / DEPTH;
    const bool along_depth = words.column_step == 1;
    for (u64 i = blockIdx.x; i < batches * tiles * steps; i += gridDim.x) {
        const auto* matrix = words.matrix(0, i / steps / tiles);
        for (u32 unit = threadIdx.x; unit < Plan::ROWS * QUADS; unit += THREADS) {
            const u32 line = along_depth ? unit / QUADS : unit % Plan::ROWS;
            const u32 depth = along_depth ? unit % QUADS * 4 : unit / Plan::ROWS * 4;
            const u64 row = i / steps % tiles * Plan::ROWS + line;
            const u64 column = i % steps * DEPTH + depth;
            typename Plan::Word quad[4];
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                const bool inside = row < m && column + j < k;
                quad[j] = inside ? matrix[words.offset(row, column + j)] : 0;
            }
            u32 limbs[Plan::Left::COUNT];
            typename Plan::Left().cut(quad, limbs);
            u8* const place = planes + (i * Plan::LEFT_BYTES + place_in_plane(line, depth));
#pragma unroll
            for (u32 j = 0; j < Plan::Left::COUNT; j++) {
                *reinterpret_cast<u32*>(place + j * Plan::LEFT_PLANE) = limbs[j];
            }
        }
    }
}

// result: where sums go, a Result or an ImageResult. In a ring that wraps, blocks along z
// share the steps of a tile.
template <u32 BITS, class Plan, class B, class Ring, class Target>
__device__ __forceinline__ void multiply_limbs(Ring ring, LimbTile<Plan, B> tile,
                                               const Target& result, u64 batches) {
    constexpr u32 PIECE = Plan::piece(BITS);
    const u32 steps = tile.steps(result.parties);
    const u32 parts = Ring::WRAPS ? gridDim.z : 1, part = (steps + parts - 1) / parts;
    const u32 first = Ring::WRAPS ? blockIdx.z * part : 0;
    const u32 last = steps - first > part ? first + part : steps;
    if (first >= steps) return;
    for (tile.batch = blockIdx.y; tile.batch < batches; tile.batch += gridDim.y) {
        u32 step = first;
        Position at = tile.position(step);
        do {
            const u32 end = last - step > PIECE ? step + PIECE : last;
            WarpSums<Plan> warp_sums;
            warp_sums.clear();
            sum_steps(warp_sums, tile, at, step, end);
            store_sums(warp_sums, ring, tile, result, step == 0);
            step = end;
        } while (step < last);
    }
}
