// Residues modulo several primes: word by word arithmetic, automorphisms, extension to other primes.
//
// Defined by he_gpu/backend/definition/rns.py, by the same names without _mod_u32.
// Source of the extension: Halevi, Polyakov and Shoup 2018, with a quotient in integers.
// Shapes: a, x and out (polys, limbs, n) packed, n = 2^log_n; b the same with steps in words, where
// 0 repeats. constants (limbs, 2): q and floor(2^64 / q); further arrays as beside each kernel.
// Values: in [0, q), in and out, q < 2^27, so 1024 products come to less than 2^64.
// Threads: x over the words of a row, y over rows (poly, limb), both striding; for the extension
// x over words and y over polynomials, with the words' limbs in shared memory.
// Nothing must divide anything. Constant-time.
#include "residue.cuh"

struct Prime {
    u32 q;
    u64 inverse;

    __device__ __forceinline__ Prime(const u64* constants, u32 limb)
        : q(static_cast<u32>(constants[2 * limb])), inverse(constants[2 * limb + 1]) {}
    __device__ __forceinline__ u32 add(u32 a, u32 b) const { return settle_residue(a + b, q); }
    // A negative difference wraps to above 2^31.
    __device__ __forceinline__ u32 sub(u32 a, u32 b) const {
        return smaller_u32(a - b, a - b + q);
    }
    __device__ __forceinline__ u32 neg(u32 a) const { return settle_residue(q - a, q); }
    __device__ __forceinline__ u32 reduce(u64 x) const { return reduce_u64(x, q, inverse); }
    __device__ __forceinline__ u32 mul(u32 a, u32 b) const {
        return reduce(static_cast<u64>(a) * b);
    }
};

// operation(prime, limb, poly, column, index of the word) for every word of the rows.
template <class Operation>
__device__ __forceinline__ void for_each_word(const u64* constants, u64 polys, u32 limbs,
                                              u32 log_n, Operation operation) {
    const u64 row_stride = static_cast<u64>(gridDim.y) * blockDim.y, n = 1ull << log_n;
    for (u64 row = static_cast<u64>(blockIdx.y) * blockDim.y + threadIdx.y; row < polys * limbs;
         row += row_stride) {
        const u64 poly = row / limbs;
        const u32 limb = static_cast<u32>(row - poly * limbs);
        const Prime prime(constants, limb);
        for (u64 i = global_index(); i < n; i += global_stride()) {
            operation(prime, limb, poly, i, (row << log_n) + i);
        }
    }
}

// The second operand of a pair: steps between polynomials, limbs and columns.
struct Operand {
    const u32* data;
    i64 poly_step, limb_step, column_step;

    __device__ __forceinline__ u32 at(u64 poly, u32 limb, u64 column) const {
        return data[static_cast<i64>(poly) * poly_step + limb * limb_step +
                    static_cast<i64>(column) * column_step];
    }
};

// Not __restrict__: the result may be written over a.
extern "C" __global__ __launch_bounds__(256) void add_rns_mod_u32(
    const u32* a, const u32* b, i64 poly_step, i64 limb_step, i64 column_step, u32* out,
    const u64* __restrict__ constants, u64 polys, u32 limbs, u32 log_n) {
    const Operand right = {b, poly_step, limb_step, column_step};
    for_each_word(constants, polys, limbs, log_n,
                  [=](const Prime& prime, u32 limb, u64 poly, u64 column, u64 i) {
                      out[i] = prime.add(a[i], right.at(poly, limb, column));
                  });
}

extern "C" __global__ __launch_bounds__(256) void sub_rns_mod_u32(
    const u32* a, const u32* b, i64 poly_step, i64 limb_step, i64 column_step, u32* out,
    const u64* __restrict__ constants, u64 polys, u32 limbs, u32 log_n) {
    const Operand right = {b, poly_step, limb_step, column_step};
    for_each_word(constants, polys, limbs, log_n,
                  [=](const Prime& prime, u32 limb, u64 poly, u64 column, u64 i) {
                      out[i] = prime.sub(a[i], right.at(poly, limb, column));
                  });
}

extern "C" __global__ __launch_bounds__(256) void mul_rns_mod_u32(
    const u32* a, const u32* b, i64 poly_step, i64 limb_step, i64 column_step, u32* out,
    const u64* __restrict__ constants, u64 polys, u32 limbs, u32 log_n) {
    const Operand right = {b, poly_step, limb_step, column_step};
    for_each_word(constants, polys, limbs, log_n,
                  [=](const Prime& prime, u32 limb, u64 poly, u64 column, u64 i) {
                      out[i] = prime.mul(a[i], right.at(poly, limb, column));
                  });
}

// factors (limbs), twiddles of residue.cuh.
extern "C" __global__ __launch_bounds__(256) void sub_scale_rns_mod_u32(
    const u32* a, const u32* b, i64 poly_step, i64 limb_step, i64 column_step, u32* out,
    const u64* __restrict__ constants, const u64* __restrict__ factors, u64 polys, u32 limbs,
    u32 log_n) {
    const Operand right = {b, poly_step, limb_step, column_step};
    for_each_word(constants, polys, limbs, log_n,
                  [=](const Prime& prime, u32 limb, u64 poly, u64 column, u64 i) {
                      const u32 positive = a[i] + prime.q - right.at(poly, limb, column);
                      const u32 product = multiply_lazy(positive, factors[limb], prime.q);
                      out[i] = settle_residue(product, prime.q);
                  });
}

extern "C" __global__ __launch_bounds__(256) void neg_rns_mod_u32(
    const u32* a, u32* out, const u64* __restrict__ constants, u64 polys, u32 limbs, u32 log_n) {
    for_each_word(constants, polys, limbs, log_n,
                  [=](const Prime& prime, u32, u64, u64, u64 i) { out[i] = prime.neg(a[i]); });
}

// index (n): where word i comes from, plus 2^31 where its sign turns.
extern "C" __global__ __launch_bounds__(256) void automorphism_rns_mod_u32(
    const u32* __restrict__ x, const u32* __restrict__ index, u32* __restrict__ out,
    const u64* __restrict__ constants, u64 polys, u32 limbs, u32 log_n) {
    for_each_word(constants, polys, limbs, log_n,
                  [=](const Prime& prime, u32, u64, u64 column, u64 i) {
                      const u32 place = index[column];
                      const u32 word = x[i - column + (place & 0x7fffffffu)];
                      const u32 turned = 0u - (place >> 31);
                      out[i] = (prime.neg(word) & turned) | (word & ~turned);
                  });
}

// a (terms, polys, limbs, n), b (terms, keys, limbs, n), out (keys, polys, limbs, n).
extern "C" __global__ __launch_bounds__(256) void dot_rns_mod_u32(
    const u32* __restrict__ a, const u32* __restrict__ b, u32* __restrict__ out,
    const u64* __restrict__ constants, u32 terms, u64 keys, u64 polys, u32 limbs, u32 log_n) {
    const u64 size = static_cast<u64>(limbs) << log_n;  // words of a polynomial
    for_each_word(constants, keys * polys, limbs, log_n,
                  [=](const Prime& prime, u32 limb, u64 poly, u64 column, u64 i) {
                      const u64 key = poly / polys;
                      const u64 word = (static_cast<u64>(limb) << log_n) + column;
                      u64 left = (poly - key * polys) * size + word, right = key * size + word;
                      u64 sum = 0;
                      for (u32 term = 0; term < terms; term++) {
                          sum += static_cast<u64>(a[left]) * b[right];
                          left += polys * size;
                          right += keys * size;
                      }
                      out[i] = prime.reduce(sum);
                  });
}

// x (polys, limbs, n), out (polys, others, n); factors (limbs): (Q / q)^-1 mod q, a twiddle;
// constants of the limbs, other_constants of the others; matrix (others, limbs + 1): Q / q mod p,
// and -Q mod p at last. Shared memory: (limbs, threads) words.
extern "C" __global__ __launch_bounds__(128) void extend_rns_mod_u32(
    const u32* __restrict__ x, u32* __restrict__ out, const u64* __restrict__ constants,
    const u64* __restrict__ factors, const u64* __restrict__ other_constants,
    const u32* __restrict__ matrix, u64 polys, u32 limbs, u32 others, u32 log_n) {
    DYNAMIC_SHARED(u32, shared);
    const u64 n = 1ull << log_n;
    u32* const own = shared + threadIdx.x;  // this thread alone uses its words: no barrier
    for (u64 poly = blockIdx.y; poly < polys; poly += gridDim.y) {
        for (u64 i = global_index(); i < n; i += global_stride()) {
            u64 quotients = 1ull << 55;  // one half, with 56 fraction bits
            for (u32 limb = 0; limb < limbs; limb++) {
                const Prime prime(constants, limb);
                const u32 word = x[((poly * limbs + limb) << log_n) + i];
                const u32 product = multiply_lazy(word, factors[limb], prime.q);
                const u32 y = settle_residue(product, prime.q);
                quotients += (y * prime.inverse) >> 8;
                own[limb * blockDim.x] = y;
            }
            for (u32 other = 0; other < others; other++) {
                const u32* const row = matrix + other * (limbs + 1);
                u64 sum = (quotients >> 56) * row[limbs];
                for (u32 limb = 0; limb < limbs; limb++) {
                    sum += static_cast<u64>(own[limb * blockDim.x]) * row[limb];
                }
                out[((poly * others + other) << log_n) + i] =
                    Prime(other_constants, other).reduce(sum);
            }
        }
    }
}
