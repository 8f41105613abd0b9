// Words, wide arithmetic and warp operations under every kernel family.
//
// With warpgroup.cuh the only file that may use PTX or arithmetic intrinsics; each piece
// stands beside the plain C++ twin that the emulator compiles (HE_GPU_EMULATOR).
// Includes no header of any toolkit, so NVRTC needs no include path.
// CUDA's own names for thread indices, barriers and shuffles are provided by
// the emulator's runtime; the macros below only give them one spelling.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;

static_assert(sizeof(u32) == 4 && sizeof(u64) == 8, "u32 and u64 name exact widths");

// High 64 bits of the 128-bit product a * b.
__device__ __forceinline__ u64 mul_hi_u64(u64 a, u64 b) {
#ifdef HE_GPU_EMULATOR
    return static_cast<u64>((static_cast<unsigned __int128>(a) * b) >> 64);
#else
    return __umul64hi(a, b);
#endif
}

// High 32 bits of the 64-bit product a * b.
__device__ __forceinline__ u32 mul_hi_u32(u32 a, u32 b) {
#ifdef HE_GPU_EMULATOR
    return static_cast<u32>((static_cast<u64>(a) * b) >> 32);
#else
    return __umulhi(a, b);
#endif
}

// x rotated left by `bits` modulo 32 (one funnel shift).
__device__ __forceinline__ u32 rotate_left_u32(u32 x, u32 bits) {
#ifdef HE_GPU_EMULATOR
    return (x << (bits & 31u)) | (x >> ((32u - bits) & 31u));
#else
    return __funnelshift_l(x, x, bits);
#endif
}

// Four of the eight bytes of a (0..3) and b (4..7): byte i is the one that hexadecimal digit i
// of `selector` names, below 8.
__device__ __forceinline__ u32 byte_permute(u32 a, u32 b, u32 selector) {
#ifdef HE_GPU_EMULATOR
    const u64 bytes = static_cast<u64>(b) << 32 | a;
    u32 chosen = 0;
    for (u32 i = 0; i < 4; i++) {
        chosen |= static_cast<u32>(bytes >> (selector >> 4 * i & 7u) * 8 & 0xffu) << 8 * i;
    }
    return chosen;
#else
    return __byte_perm(a, b, selector);
#endif
}

// Position of this thread in a one-dimensional grid, and the grid's width:
// for (u64 i = global_index(); i < n; i += global_stride()) { ... }
__device__ __forceinline__ u64 global_index() {
    return static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ u64 global_stride() {
    return static_cast<u64>(gridDim.x) * blockDim.x;
}

// Barriers and shuffles are macros, so that the emulator sees the line of the
// kernel that calls them and can tell two call sites apart. Every thread of the
// block must reach the same block_barrier, every lane named in `mask` the same
// warp operation; none may have returned. x is a 32-bit or 64-bit word.
#define block_barrier() __syncthreads()
#define warp_barrier(mask) __syncwarp(mask)
#define shuffle(mask, x, source_lane) __shfl_sync(mask, x, source_lane)
#define shuffle_down(mask, x, lanes) __shfl_down_sync(mask, x, lanes)
#define shuffle_xor(mask, x, lanes) __shfl_xor_sync(mask, x, lanes)

// Shared memory whose size the launch gives in `shared_bytes`, as `type* name`.
// Every use in one kernel names the same bytes, aligned to 128.
#ifdef HE_GPU_EMULATOR
#define DYNAMIC_SHARED(type, name) \
    type* name = static_cast<type*>(he_gpu_emulator::dynamic_shared())
#else
extern __shared__ __align__(128) unsigned char he_gpu_dynamic_shared[];
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(he_gpu_dynamic_shared)
#endif

// ---- sm_80 and later --------------------------------------------------------
// For an older architecture these still compile, into a trap: its launchers choose
// other kernels. In the emulator they are macros, for the line of the caller.

#ifdef HE_GPU_EMULATOR

#define mma_m16n8k32_s8(d, a, b) he_gpu_emulator::mma_m16n8k32<i8, i8>(d, a, b)
#define mma_m16n8k32_s8u8(d, a, b) he_gpu_emulator::mma_m16n8k32<i8, u8>(d, a, b)
#define mma_m16n8k32_u8s8(d, a, b) he_gpu_emulator::mma_m16n8k32<u8, i8>(d, a, b)
#define mma_m16n8k32_u8(d, a, b) he_gpu_emulator::mma_m16n8k32<u8, u8>(d, a, b)
#define load_matrix_x4(r, shared_row) he_gpu_emulator::load_matrix_x4<false>(r, shared_row)
#define load_matrix_x4_trans(r, shared_row) he_gpu_emulator::load_matrix_x4<true>(r, shared_row)
#define copy_async_4(shared, global, inside) \
    he_gpu_emulator::copy_async<4>(shared, global, inside)
#define copy_async_8(shared, global, inside) \
    he_gpu_emulator::copy_async<8>(shared, global, inside)
#define copy_async_16(shared, global, inside) \
    he_gpu_emulator::copy_async<16>(shared, global, inside)
#define copy_async_commit() he_gpu_emulator::copy_async_commit()
// A template in both worlds: copy_async_wait<1>().
template <u32 NEWEST>
__device__ __forceinline__ void copy_async_wait() {
    he_gpu_emulator::copy_async_wait(NEWEST);
}

#else

#if __CUDA_ARCH__ >= 800
#define SM80_ASM(...) asm volatile(__VA_ARGS__)
#else
#define SM80_ASM(...) __trap()
#endif

// d (16 x 8, i32) += a (16 x 32, bytes, row by row) b (32 x 8, bytes, column by column), in
// fragments of a warp; sums wrap modulo 2^32. All 32 lanes take part. Lane 4 g + t holds
//   a[r], byte i: row g + 8 (r % 2),  column 16 (r / 2) + 4 t + i
//   b[r], byte i: row 16 r + 4 t + i, column g
//   d[r]:         row g + 8 (r / 2),  column 2 t + r % 2
// The suffix tells which bytes are signed: a's, then b's, or both alike.
#define DEFINE_MMA(name, a_bytes, b_bytes)                                                     \
    __device__ __forceinline__ void name(i32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {  \
        SM80_ASM("mma.sync.aligned.m16n8k32.row.col.s32." a_bytes "." b_bytes                  \
                 ".s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"        \
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));          \
    }
DEFINE_MMA(mma_m16n8k32_s8, "s8", "s8")
DEFINE_MMA(mma_m16n8k32_s8u8, "s8", "u8")
DEFINE_MMA(mma_m16n8k32_u8s8, "u8", "s8")
DEFINE_MMA(mma_m16n8k32_u8, "u8", "u8")
#undef DEFINE_MMA

__device__ __forceinline__ u32 shared_address(const void* shared) {
    return static_cast<u32>(__cvta_generic_to_shared(shared));
}

// Four 8 x 8 matrices of 16-bit elements from shared memory to the fragments of a warp:
// lane 8 m + i gives the address of row i (16 bytes, aligned to 16) of matrix m. Lane
// 4 g + t receives in r[m] the elements 2 t and 2 t + 1 of row g of matrix m; with _trans
// of its column g. With bytes, an x4 of a 16 x 32 tile in the order (rows 0..7, 8..15) x
// (columns 0..15, 16..31), rows first, is the fragment a of mma_m16n8k32.
__device__ __forceinline__ void load_matrix_x4(u32 (&r)[4], const void* shared_row) {
    SM80_ASM("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
             : "r"(shared_address(shared_row))
             : "memory");
}

__device__ __forceinline__ void load_matrix_x4_trans(u32 (&r)[4], const void* shared_row) {
    SM80_ASM("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
             : "r"(shared_address(shared_row))
             : "memory");
}

// Copies 4, 8 or 16 bytes from global to shared memory in the background, zeros where
// not `inside` (then nothing is read). Both addresses are multiples of the size. A thread
// closes its copies so far into a group by copy_async_commit; copy_async_wait<N> waits for
// its own groups but the N latest. Other threads see the bytes after a barrier that
// follows the wait. Nothing may be on its way when a thread returns.
__device__ __forceinline__ void copy_async_4(void* shared, const void* global, bool inside) {
    SM80_ASM("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)),
             "l"(global), "r"(inside ? 4 : 0)
             : "memory");
}

__device__ __forceinline__ void copy_async_8(void* shared, const void* global, bool inside) {
    SM80_ASM("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(shared)),
             "l"(global), "r"(inside ? 8 : 0)
             : "memory");
}

__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool inside) {
    SM80_ASM("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
             "l"(global), "r"(inside ? 16 : 0)
             : "memory");
}

__device__ __forceinline__ void copy_async_commit() {
    SM80_ASM("cp.async.commit_group;" ::: "memory");
}

template <u32 NEWEST>
__device__ __forceinline__ void copy_async_wait() {
    SM80_ASM("cp.async.wait_group %0;" ::"n"(NEWEST) : "memory");
}

#endif
