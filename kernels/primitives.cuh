// Words, wide arithmetic and warp operations under every kernel family.
//
// The only file that may use PTX or arithmetic intrinsics; each piece stands
// beside the plain C++ twin that the emulator compiles (HE_GPU_EMULATOR).
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
