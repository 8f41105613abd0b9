// The negacyclic number-theoretic transform modulo a prime for each limb, in two passes.
//
// Defined by he_gpu/backend/definition/ntt.py: ntt, intt; passes and tables by four_step.py.
// A polynomial is a matrix of n1 = 2^log_n1 rows and n2 = 2^log_n2 columns, 2 <= log <= 8.
// ntt_columns, then ntt_rows; intt_rows, then intt_columns.
// Source: Bailey 1990 (four steps); Harvey 2014 (lazy butterflies).
// Shapes: x and out: polys x_step and out_step words apart, rows of n1 n2 words; out may be x.
// limbs (y, 2): of each limb the row of tables that serves it, and its row in a polynomial. Rows of
// tables are packed, as TableRow says.
// Values: in [0, q), q < 2^27, but for those between passes, below 17 q. Butterflies leave
// u + t and u - t + 2 q, t < 2 q, so 8 stages after [0, 2 q) end below 18 q < 2^32.
// Threads: a transform of n words takes n / R, R = 2^ceil(log n / 2), each R words in registers:
// half of the stages, an exchange through shared memory, the other half. A block has x = 32 columns
// (n1, where n1 < 32) and y = n1 / R; or x = n2 / R and y rows; grid: x tiles, y limbs, z
// polynomials, over which a block strides, its twiddles in shared memory. Constant-time.
#include "residue.cuh"

template <u32 V>
struct Constant {
    static constexpr u32 value = V;
};

// Calls f with the logarithm of a side as a constant.
template <class F>
__device__ __forceinline__ void with_log(u32 log, F f) {
    switch (log) {
        case 2: f(Constant<2>()); break;
        case 3: f(Constant<3>()); break;
        case 4: f(Constant<4>()); break;
        case 5: f(Constant<5>()); break;
        case 6: f(Constant<6>()); break;
        case 7: f(Constant<7>()); break;
        case 8: f(Constant<8>()); break;
    }
}

// One limb's row of tables: q and floor(2^32 / q), q^-1 mod 2^32 and 2 q, each pair in a u64; then
// FourStep of four_step.py in this order: twiddles of residue.cuh, but for the twists, of which
// each word of a polynomial reads one: u32, times 2^32 modulo q.
struct TableRow {
    const u64 *columns, *rows, *rows_back, *columns_back, *scale;
    const u32 *twist, *twist_back;
    u32 q, inverse, back, twice;

    __device__ __forceinline__ TableRow(const u64* tables, u32 slot, u32 log_n1, u32 log_n2) {
        const u64 n1 = 1ull << log_n1, n2 = 1ull << log_n2;
        const u64* const row = tables + slot * (2 + 3 * n1 + 2 * n2 + n1 * n2);
        q = static_cast<u32>(row[0]);
        inverse = static_cast<u32>(row[0] >> 32);
        back = static_cast<u32>(row[1]);
        twice = static_cast<u32>(row[1] >> 32);
        columns = row + 2;
        rows = columns + n1;
        rows_back = rows + n2;
        columns_back = rows_back + n2;
        scale = columns_back + n1;
        twist = reinterpret_cast<const u32*>(scale + n1);
        twist_back = twist + n1 * n2;
    }
};

// A table of n words in shared memory, with a word more after 16: the lanes of a warp read words
// 1, 2, 4 or 8 apart, and meet in no bank.
struct SharedTable {
    u64* words;

    __device__ static constexpr u32 place(u32 i) { return i + (i >> 4); }
    __device__ static constexpr u32 room(u32 n) { return n + n / 16; }
    // Where words lie side by side: up to m from a multiple of m on, m = 1, 2, 4, 8 or 16.
    __device__ __forceinline__ const u64* from(u32 i) const { return words + place(i); }
    // Read by all threads of the block after the next barrier.
    __device__ __forceinline__ void load(const u64* table, u32 n) const {
        const u32 threads = blockDim.x * blockDim.y;
        for (u32 i = threadIdx.y * blockDim.x + threadIdx.x; i < n; i += threads) {
            words[place(i)] = table[i];
        }
    }
};

// The transform of n = 2^LOG words by the n / R threads of a group; this one has number `place`.
template <u32 LOG>
struct Transform {
    static constexpr u32 N = 1u << LOG;
    static constexpr u32 LOG_R = (LOG + 1) / 2;
    static constexpr u32 R = 1u << LOG_R;
    static constexpr u32 STEP = N / R;  // between the words of a thread, where not neighbours
    u32 q, twice, place;

    __device__ __forceinline__ void butterfly(u32& u, u32& v, u64 twiddle) const {
        const u32 product = multiply_lazy(v, twiddle, q);
        v = u - product + twice;  // one addition of three, where 2 q is a register
        u += product;
    }
    // Where word j of this thread lies, strided or among neighbours.
    __device__ __forceinline__ u32 strided(u32 j) const { return place + j * STEP; }
    __device__ __forceinline__ u32 neighbour(u32 j) const { return place * R + j; }

    // The first LOG_R stages of a forward transform, on strided words.
    __device__ __forceinline__ void forward_strided(u32 (&x)[R], const SharedTable& table) const {
#pragma unroll
        for (u32 half = R / 2; half > 0; half /= 2) stage(x, half, table.from(R / (2 * half)));
    }
    // The other stages, on neighbours.
    __device__ __forceinline__ void forward_neighbours(u32 (&x)[R],
                                                       const SharedTable& table) const {
#pragma unroll
        for (u32 half = STEP / 2; half > 0; half /= 2) {
            stage(x, half, table.from(N / (2 * half) + place * (R / (2 * half))));
        }
    }
    // The first stages of a backward transform, on neighbours.
    __device__ __forceinline__ void backward_neighbours(u32 (&x)[R],
                                                        const SharedTable& table) const {
#pragma unroll
        for (u32 half = 1; half < STEP; half *= 2) pairs(x, half, table.words, 1);
    }
    // The last LOG_R stages, on strided words; a multiple of STEP and this place lie in one gap.
    __device__ __forceinline__ void backward_strided(u32 (&x)[R], const SharedTable& table) const {
#pragma unroll
        for (u32 half = 1; half < R; half *= 2) pairs(x, half, table.words + place, STEP);
    }

 private:
    // Blocks of 2 half words, each with a twiddle of its own.
    __device__ __forceinline__ void stage(u32 (&x)[R], u32 half, const u64* twiddles) const {
#pragma unroll
        for (u32 j = 0; j < R; j++) {
            if ((j & half) == 0) butterfly(x[j], x[j + half], twiddles[j / (2 * half)]);
        }
    }
    // Blocks of 2 half words, whose pairs k have the twiddle of the table's word (half + k) step.
    __device__ __forceinline__ void pairs(u32 (&x)[R], u32 half, const u64* twiddles,
                                          u32 step) const {
#pragma unroll
        for (u32 k = 0; k < half; k++) {
            const u64 twiddle = twiddles[SharedTable::place((half + k) * step)];
#pragma unroll
            for (u32 j = k; j < R; j += 2 * half) butterfly(x[j], x[j + half], twiddle);
        }
    }
};

// The limb of a block: its tables, and its rows in polynomials one step apart.
struct Limb {
    const TableRow tables;
    const u32* x;
    u32* out;
    u64 x_step, out_step, polys;

    __device__ __forceinline__ Limb(const u32* x, u64 x_step, u32* out, u64 out_step,
                                    const u64* tables, const u32* limbs, u64 polys, u32 log_n1,
                                    u32 log_n2)
        : tables(tables, limbs[2 * blockIdx.y], log_n1, log_n2),
          x(x), out(out), x_step(x_step), out_step(out_step), polys(polys) {
        const u64 start = static_cast<u64>(limbs[2 * blockIdx.y + 1]) << (log_n1 + log_n2);
        this->x += start;
        this->out += start;
    }
};

// The transforms of a tile of columns.
template <u32 LOG, bool FORWARD>
__device__ __forceinline__ void transform_columns(const Limb& limb, u32 log_n2) {
    typedef Transform<LOG> T;
    const TableRow& tables = limb.tables;
    DYNAMIC_SHARED(u64, all);
    const SharedTable stages = {all}, last = {all + SharedTable::room(T::N)};
    u32* const shared = reinterpret_cast<u32*>(all + 2 * SharedTable::room(T::N));
    stages.load(FORWARD ? tables.columns : tables.columns_back, T::N);
    if (!FORWARD) last.load(tables.scale, T::N);
    block_barrier();
    const T transform = {tables.q, tables.twice, threadIdx.y};
    constexpr u32 WIDTH = T::N < 32 ? T::N : 32;  // n2 is n1 or 2 n1
    const u32 column = threadIdx.x, first = blockIdx.x * WIDTH + column;
    // Rows are walked, not indexed: the offsets of all would take registers from the words.
    const u32 strided = transform.strided(0) << log_n2;
    const u32 neighbour = transform.neighbour(0) << log_n2;
    const u32 from_step = (FORWARD ? T::STEP : 1u) << log_n2;
    const u32 to_step = (FORWARD ? 1u : T::STEP) << log_n2;
    const u64* const scale = last.words + threadIdx.y;  // one gap, as in backward_strided
    u32 words[T::R];
    for (u64 poly = blockIdx.z; poly < limb.polys; poly += gridDim.z) {
        const u32* from = limb.x + poly * limb.x_step + first + (FORWARD ? strided : neighbour);
        u32* to = limb.out + poly * limb.out_step + first + (FORWARD ? neighbour : strided);
#pragma unroll
        for (u32 j = 0; j < T::R; j++) {
            words[j] = *from;
            from += from_step;
        }
        if (FORWARD) transform.forward_strided(words, stages);
        else transform.backward_neighbours(words, stages);
#pragma unroll
        for (u32 j = 0; j < T::R; j++) {
            const u32 row = FORWARD ? transform.strided(j) : transform.neighbour(j);
            shared[row * WIDTH + column] = words[j];
        }
        block_barrier();
#pragma unroll
        for (u32 j = 0; j < T::R; j++) {
            const u32 row = FORWARD ? transform.neighbour(j) : transform.strided(j);
            words[j] = shared[row * WIDTH + column];
        }
        if (FORWARD) transform.forward_neighbours(words, stages);
        else transform.backward_strided(words, stages);
#pragma unroll
        for (u32 j = 0; j < T::R; j++) {
            u32 word = words[j];
            if (!FORWARD) {
                word = multiply_lazy(word, scale[SharedTable::place(j * T::STEP)], tables.q);
                word = settle_residue(word, tables.q);
            }
            *to = word;
            to += to_step;
        }
        block_barrier();  // before the next polynomial's words go to shared memory
    }
}

// The transforms of a tile of rows.
template <u32 LOG, bool FORWARD>
__device__ __forceinline__ void transform_rows(const Limb& limb) {
    typedef Transform<LOG> T;
    const TableRow& tables = limb.tables;
    DYNAMIC_SHARED(u64, all);
    const SharedTable stages = {all};
    stages.load(FORWARD ? tables.rows : tables.rows_back, T::N);
    block_barrier();
    const T transform = {tables.q, tables.twice, threadIdx.x};
    // One word more after R words: neither strided words nor neighbours meet in a bank.
    u32* const shared = reinterpret_cast<u32*>(all + SharedTable::room(T::N)) +
                        threadIdx.y * (T::N + T::STEP);
    u32* const strided = shared + transform.strided(0);
    u32* const neighbours = shared + transform.neighbour(0) + threadIdx.x;
    constexpr auto gap = [](u32 j) { return j * T::STEP + (j * T::STEP >> T::LOG_R); };
    const u32 first = (blockIdx.x * blockDim.y + threadIdx.y) << LOG;
    const u32* const twist = (FORWARD ? tables.twist : tables.twist_back) + first;
    u32 factors[T::R], words[T::R];
#pragma unroll
    for (u32 j = 0; j < T::R; j++) factors[j] = twist[transform.strided(j)];
    const auto twisted = [&](u32 word, u32 j) {
        return multiply_mont_lazy(word, factors[j], tables.q, tables.back);
    };
    for (u64 poly = blockIdx.z; poly < limb.polys; poly += gridDim.z) {
        const u32* const from = limb.x + poly * limb.x_step + first;
        u32* const to = limb.out + poly * limb.out_step + first;
#pragma unroll
        for (u32 j = 0; j < T::R; j++) words[j] = from[transform.strided(j)];
        if (FORWARD) {
#pragma unroll
            for (u32 j = 0; j < T::R; j++) words[j] = twisted(words[j], j);
            transform.forward_strided(words, stages);
        }
#pragma unroll
        for (u32 j = 0; j < T::R; j++) strided[gap(j)] = words[j];
        block_barrier();
#pragma unroll
        for (u32 j = 0; j < T::R; j++) words[j] = neighbours[j];
        if (FORWARD) transform.forward_neighbours(words, stages);
        else transform.backward_neighbours(words, stages);
#pragma unroll
        for (u32 j = 0; j < T::R; j++) neighbours[j] = words[j];
        block_barrier();
#pragma unroll
        for (u32 j = 0; j < T::R; j++) words[j] = strided[gap(j)];
        // The next polynomial's words go where this thread has just read its own.
        if (!FORWARD) transform.backward_strided(words, stages);
#pragma unroll
        for (u32 j = 0; j < T::R; j++) {
            to[transform.strided(j)] =
                FORWARD ? reduce_u32(words[j], tables.q, tables.inverse) : twisted(words[j], j);
        }
    }
}

extern "C" __global__ __launch_bounds__(512, 2) void ntt_columns_mod_u32(
    const u32* x, u64 x_step, u32* out, u64 out_step, const u64* __restrict__ tables,
    const u32* __restrict__ limbs, u64 polys, u32 log_n1, u32 log_n2) {
    const Limb limb(x, x_step, out, out_step, tables, limbs, polys, log_n1, log_n2);
    with_log(log_n1, [&](auto log) {
        transform_columns<decltype(log)::value, true>(limb, log_n2);
    });
}

extern "C" __global__ __launch_bounds__(256, 4) void ntt_rows_mod_u32(
    const u32* x, u64 x_step, u32* out, u64 out_step, const u64* __restrict__ tables,
    const u32* __restrict__ limbs, u64 polys, u32 log_n1, u32 log_n2) {
    const Limb limb(x, x_step, out, out_step, tables, limbs, polys, log_n1, log_n2);
    with_log(log_n2, [&](auto log) { transform_rows<decltype(log)::value, true>(limb); });
}

extern "C" __global__ __launch_bounds__(256, 4) void intt_rows_mod_u32(
    const u32* x, u64 x_step, u32* out, u64 out_step, const u64* __restrict__ tables,
    const u32* __restrict__ limbs, u64 polys, u32 log_n1, u32 log_n2) {
    const Limb limb(x, x_step, out, out_step, tables, limbs, polys, log_n1, log_n2);
    with_log(log_n2, [&](auto log) { transform_rows<decltype(log)::value, false>(limb); });
}

extern "C" __global__ __launch_bounds__(512, 2) void intt_columns_mod_u32(
    const u32* x, u64 x_step, u32* out, u64 out_step, const u64* __restrict__ tables,
    const u32* __restrict__ limbs, u64 polys, u32 log_n1, u32 log_n2) {
    const Limb limb(x, x_step, out, out_step, tables, limbs, polys, log_n1, log_n2);
    with_log(log_n1, [&](auto log) {
        transform_columns<decltype(log)::value, false>(limb, log_n2);
    });
}
