// Residues modulo several primes: word by word arithmetic, automorphisms, other primes.
//
// Defined by he_gpu/backend/definition/rns.py, by the same names without _mod_u32.
// Source of the extension: Halevi, Polyakov and Shoup 2018, with a quotient in integers.
// Shapes: x and out (polys, limbs, n) packed, n = 2^log_n; a the same, its polynomials a step of
// words apart; b with steps of its own, where 0 repeats. constants (limbs, 2): q and
// floor(2^64 / q); further arrays as beside each kernel.
// Values: in [0, q), in and out, q < 2^27, so 1024 products come to less than 2^64.
// Threads: x over the words of a row, y over rows (poly, limb), both striding; for extensions
// x over words and y over polynomials or digits, with the words' limbs in shared memory.
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

// operation(prime, limb, poly, word of the polynomial, word of all) for every word of the rows.
template <class Operation>
__device__ __forceinline__ void for_each_word(const u64* constants, u64 polys, u32 limbs,
                                              u32 log_n, Operation operation) {
    const u64 row_stride = static_cast<u64>(gridDim.y) * blockDim.y, n = 1ull << log_n;
    for (u64 row = static_cast<u64>(blockIdx.y) * blockDim.y + threadIdx.y; row < polys * limbs;
         row += row_stride) {
        const u64 poly = row / limbs;
        const u32 limb = static_cast<u32>(row - poly * limbs);
        const Prime prime(constants, limb);
        const u64 first = static_cast<u64>(limb) << log_n, all = row << log_n;
        for (u64 i = global_index(); i < n; i += global_stride()) {
            operation(prime, limb, poly, first + i, all + i);
        }
    }
}

// The operands of a pair: a with a step between polynomials, b with steps between these, limbs and
// columns. Their kernels' results may be written over a, which is not __restrict__.
struct Pair {
    const u32 *a, *b;
    u64 a_step;
    i64 poly_step, limb_step, column_step;
    u32 log_n;

    // out = operation(prime, limb, word of a, word of b).
    template <class Operation>
    __device__ __forceinline__ void apply(u32* out, const u64* constants, u64 polys, u32 limbs,
                                          Operation operation) const {
        const Pair pair = *this;
        for_each_word(constants, polys, limbs, log_n,
                      [=](const Prime& prime, u32 limb, u64 poly, u64 word, u64 i) {
                          const i64 column = static_cast<i64>(word & ((1ull << pair.log_n) - 1));
                          const u32 left = pair.a[poly * pair.a_step + word];
                          const u32 right = pair.b[static_cast<i64>(poly) * pair.poly_step +
                                                   limb * pair.limb_step +
                                                   column * pair.column_step];
                          out[i] = operation(prime, limb, left, right);
                      });
    }
};

extern "C" __global__ __launch_bounds__(256) void add_rns_mod_u32(
    const u32* a, u64 a_step, const u32* b, i64 poly_step, i64 limb_step, i64 column_step,
    u32* out, const u64* __restrict__ constants, u64 polys, u32 limbs, u32 log_n) {
    const Pair pair = {a, b, a_step, poly_step, limb_step, column_step, log_n};
    pair.apply(out, constants, polys, limbs,
               [](const Prime& prime, u32, u32 left, u32 right) { return prime.add(left, right); });
}

extern "C" __global__ __launch_bounds__(256) void sub_rns_mod_u32(
    const u32* a, u64 a_step, const u32* b, i64 poly_step, i64 limb_step, i64 column_step,
    u32* out, const u64* __restrict__ constants, u64 polys, u32 limbs, u32 log_n) {
    const Pair pair = {a, b, a_step, poly_step, limb_step, column_step, log_n};
    pair.apply(out, constants, polys, limbs,
               [](const Prime& prime, u32, u32 left, u32 right) { return prime.sub(left, right); });
}

extern "C" __global__ __launch_bounds__(256) void mul_rns_mod_u32(
    const u32* a, u64 a_step, const u32* b, i64 poly_step, i64 limb_step, i64 column_step,
    u32* out, const u64* __restrict__ constants, u64 polys, u32 limbs, u32 log_n) {
    const Pair pair = {a, b, a_step, poly_step, limb_step, column_step, log_n};
    pair.apply(out, constants, polys, limbs,
               [](const Prime& prime, u32, u32 left, u32 right) { return prime.mul(left, right); });
}

// factors (limbs), twiddles of residue.cuh.
extern "C" __global__ __launch_bounds__(256) void sub_scale_rns_mod_u32(
    const u32* a, u64 a_step, const u32* b, i64 poly_step, i64 limb_step, i64 column_step,
    u32* out, const u64* __restrict__ constants, const u64* __restrict__ factors, u64 polys,
    u32 limbs, u32 log_n) {
    const Pair pair = {a, b, a_step, poly_step, limb_step, column_step, log_n};
    pair.apply(out, constants, polys, limbs,
               [=](const Prime& prime, u32 limb, u32 left, u32 right) {
                   const u64 factor = factors[limb];
                   const u32 product = multiply_lazy(left + prime.q - right, factor, prime.q);
                   return settle_residue(product, prime.q);
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
                  [=](const Prime& prime, u32, u64, u64 word, u64 i) {
                      const u64 column = word & ((1ull << log_n) - 1);
                      const u32 place = index[column];
                      const u32 moved = x[i - column + (place & 0x7fffffffu)];
                      const u32 turned = 0u - (place >> 31);
                      out[i] = (prime.neg(moved) & turned) | (moved & ~turned);
                  });
}

// a (terms, polys, limbs, n), b (terms, keys, b_limbs, n), of which the first `head` limbs and the
// last ones count, out (keys, polys, limbs, n); base (base_keys, polys, base_limbs, n), of which
// factors (base_limbs) times a word joins the sum.
extern "C" __global__ __launch_bounds__(256) void dot_rns_mod_u32(
    const u32* __restrict__ a, const u32* __restrict__ b, const u32* __restrict__ base,
    const u32* __restrict__ factors, u32* __restrict__ out, const u64* __restrict__ constants,
    u32 terms, u64 keys, u32 b_limbs, u32 head, u64 base_keys, u32 base_limbs, u64 polys,
    u32 limbs, u32 log_n) {
    const u64 size = static_cast<u64>(limbs) << log_n;  // words of a polynomial
    const u64 b_size = static_cast<u64>(b_limbs) << log_n;
    for_each_word(constants, keys * polys, limbs, log_n,
                  [=](const Prime& prime, u32 limb, u64 poly, u64 word, u64 i) {
                      const u64 key = poly / polys;
                      const u32* left = a + (poly - key * polys) * size + word;
                      const u64 passed_over = limb < head ? 0 : b_size - size;
                      const u32* right = b + key * b_size + passed_over + word;
                      u64 sum = 0;
                      if (key < base_keys && limb < base_limbs) {
                          const u64 start = poly * base_limbs << log_n;
                          sum = static_cast<u64>(base[start + word]) * factors[limb];
                      }
                      for (u32 term = 0; term < terms; term++) {
                          sum += static_cast<u64>(*left) * *right;
                          left += polys * size;
                          right += keys * b_size;
                      }
                      out[i] = prime.reduce(sum);
                  });
}

// a and b (terms, 2), polynomials of (limbs, n) steps apart; out (3, limbs, n).
extern "C" __global__ __launch_bounds__(256) void tensor_rns_mod_u32(
    const u32* __restrict__ a, u64 a_step, const u32* __restrict__ b, u64 b_step,
    u32* __restrict__ out, const u64* __restrict__ constants, u32 terms, u32 limbs, u32 log_n) {
    const u64 size = static_cast<u64>(limbs) << log_n;
    for_each_word(constants, 1, limbs, log_n,
                  [=](const Prime& prime, u32, u64, u64, u64 word) {
                      const u32 *left = a + word, *right = b + word;
                      u64 first = 0, middle = 0, last = 0;
                      for (u32 term = 0; term < terms; term++) {
                          const u64 a0 = left[0], a1 = left[a_step];
                          const u64 b0 = right[0], b1 = right[b_step];
                          first += a0 * b0;
                          middle += a0 * b1 + a1 * b0;
                          last += a1 * b1;
                          left += 2 * a_step;
                          right += 2 * b_step;
                      }
                      out[word] = prime.reduce(first);
                      out[size + word] = prime.reduce(middle);
                      out[2 * size + word] = prime.reduce(last);
                  });
}

// One column of an extension. constants and factors ((Q / q)^-1 mod q, a twiddle) are of its limbs;
// a row of the matrix for each other prime p: Q / q mod p of the limbs, and -Q mod p.
struct Extension {
    u32* own;  // words of this thread, blockDim.x apart: no barrier
    u32 limbs;
    u64 quotient;

    __device__ __forceinline__ Extension(u32* shared, const u32* x, u32 log_n, u32 limbs,
                                         const u64* constants, const u64* factors)
        : own(shared + threadIdx.x), limbs(limbs) {
        u64 sum = 1ull << 55;  // one half, with 56 fraction bits
        for (u32 limb = 0; limb < limbs; limb++) {
            const Prime prime(constants, limb);
            const u32 word = x[static_cast<u64>(limb) << log_n];
            const u32 y = settle_residue(multiply_lazy(word, factors[limb], prime.q), prime.q);
            sum += (y * prime.inverse) >> 8;
            own[limb * blockDim.x] = y;
        }
        quotient = sum >> 56;
    }
    __device__ __forceinline__ u32 modulo(const Prime& prime, const u32* row) const {
        u64 sum = quotient * row[limbs];
        for (u32 limb = 0; limb < limbs; limb++) {
            sum += static_cast<u64>(own[limb * blockDim.x]) * row[limb];
        }
        return prime.reduce(sum);
    }
};

// x (polys, limbs, n), out (polys, others, n); other_constants of the others; matrix (others,
// limbs + 1). Shared memory: (limbs, threads) words.
extern "C" __global__ __launch_bounds__(128) void extend_rns_mod_u32(
    const u32* __restrict__ x, u32* __restrict__ out, const u64* __restrict__ constants,
    const u64* __restrict__ factors, const u64* __restrict__ other_constants,
    const u32* __restrict__ matrix, u64 polys, u32 limbs, u32 others, u32 log_n) {
    DYNAMIC_SHARED(u32, shared);
    const u64 n = 1ull << log_n;
    for (u64 poly = blockIdx.y; poly < polys; poly += gridDim.y) {
        for (u64 i = global_index(); i < n; i += global_stride()) {
            const u32* const column = x + (poly * limbs << log_n) + i;
            const Extension extension(shared, column, log_n, limbs, constants, factors);
            u32* to = out + (poly * others << log_n) + i;
            for (u32 other = 0; other < others; other++) {
                const Prime prime(other_constants, other);
                *to = extension.modulo(prime, matrix + other * (limbs + 1));
                to += n;
            }
        }
    }
}

// x (limbs, n) coefficients, values (limbs, n), out (digits, primes, n), of which limbs come first:
// a digit's own limbs are the values, the others coefficients. factors (limbs), for an extension of
// its digit; matrix (digits, primes, digit_limbs + 1), the last digit's rows shorter by the limbs
// that it lacks. Shared memory: (digit_limbs, threads) words.
extern "C" __global__ __launch_bounds__(128) void extend_digits_rns_mod_u32(
    const u32* __restrict__ x, const u32* __restrict__ values, u32* __restrict__ out,
    const u64* __restrict__ constants, const u64* __restrict__ factors,
    const u32* __restrict__ matrix, u32 digits, u32 digit_limbs, u32 limbs, u32 primes,
    u32 log_n) {
    DYNAMIC_SHARED(u32, shared);
    const u64 n = 1ull << log_n;
    for (u32 digit = blockIdx.y; digit < digits; digit += gridDim.y) {
        const u32 start = digit * digit_limbs;
        const u32 own = digit + 1 < digits ? digit_limbs : limbs - start;
        const u64 first = static_cast<u64>(start) << log_n;
        for (u64 i = global_index(); i < n; i += global_stride()) {
            const Extension extension(shared, x + first + i, log_n, own, constants + 2 * start,
                                      factors + start);
            const u32* row = matrix + digit * primes * (digit_limbs + 1);
            u32* to = out + (static_cast<u64>(digit) * primes << log_n) + i;
            for (u32 limb = 0; limb < primes; limb++) {
                *to = limb - start < own ? values[(static_cast<u64>(limb) << log_n) + i]
                                         : extension.modulo(Prime(constants, limb), row);
                row += own + 1;
                to += n;
            }
        }
    }
}
