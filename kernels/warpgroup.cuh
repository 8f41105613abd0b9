// What sm_90a alone has: copies of whole tiles, the barriers that count their bytes, products
// of four warps.
//
// The second of the two files that may use PTX (primitives.cuh): each piece stands beside its
// emulated twin. A family that includes it is compiled for sm_90a by cuda.py where the GPU has
// compute capability 9.0; for other architectures the wrappers compile into a trap, and launchers
// choose other kernels. HE_GPU_WARPGROUP says that sm_90a was asked for.
// Source: PTX ISA, sections on mbarrier, cp.async.bulk and wgmma.
#pragma once
#include "primitives.cuh"

#define SWIZZLED_LINE 128  // bytes of a line of a tile

// Where 16 bytes of a line of a tile lie: chunk 0 to 7 of the line in place `place`. The eight
// chunks of one depth in eight lines fill the 32 banks.
__device__ __forceinline__ u32 swizzled(u32 place, u32 chunk) {
    return place * SWIZZLED_LINE + (chunk ^ (place % 8)) * 16;
}

#ifdef HE_GPU_EMULATOR

#define window_address(shared) he_gpu_emulator::window_address(shared)
#define phases_begin(barrier, arrivals) he_gpu_emulator::phases_begin(barrier, arrivals)
#define phases_visible() he_gpu_emulator::phases_visible()
#define phase_arrive(barrier) he_gpu_emulator::phase_arrive(barrier)
#define phase_expect(barrier, bytes) he_gpu_emulator::phase_expect(barrier, bytes)
#define phase_wait(barrier, parity) he_gpu_emulator::phase_wait(barrier, parity)
#define copy_bulk(shared, global, bytes, barrier) \
    he_gpu_emulator::copy_bulk(shared, global, bytes, barrier)
#define products_begin(sums) he_gpu_emulator::products_begin(sums)
#define multiply_m64n256k32_s8(sums, a, b, accumulate) \
    he_gpu_emulator::multiply_m64n256k32_s8(sums, a, b, accumulate)
#define products_commit() he_gpu_emulator::products_commit()
#define products_end(sums) he_gpu_emulator::products_end(sums)
// A template in both worlds: products_wait<1>().
template <u32 NEWEST>
__device__ __forceinline__ void products_wait(const char* file = __builtin_FILE(),
                                              int line = __builtin_LINE()) {
    he_gpu_emulator::products_wait(NEWEST, file, line);
}

#else

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SM90A_ASM(...) asm volatile(__VA_ARGS__)
#elif defined(HE_GPU_WARPGROUP)
#error "compiled for another architecture than sm_90a, which was asked for"
#else
#define SM90A_ASM(...) __trap()
#endif

// An address as descriptors and rounding take it: tiles begin at multiples of 1024.
__device__ __forceinline__ u32 window_address(const void* shared) {
    return shared_address(shared);
}

// A barrier in 8 bytes of shared memory counts the phases of what stands in a stage. A phase ends
// when so many arrivals were made and all bytes have come that arrivals expected; then the next
// one begins. One thread makes the barriers, then calls phases_visible, then a block barrier
// follows.
__device__ __forceinline__ void phases_begin(u64* barrier, u32 arrivals) {
    SM90A_ASM("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
              "r"(arrivals)
              : "memory");
}
__device__ __forceinline__ void phases_visible() {
    SM90A_ASM("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
}

// What this thread did before is done for those who wait for the phase.
__device__ __forceinline__ void phase_arrive(u64* barrier) {
    SM90A_ASM("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
              : "memory");
}
// An arrival after which the phase waits for so many bytes more.
__device__ __forceinline__ void phase_expect(u64* barrier, u32 bytes) {
    SM90A_ASM("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                  shared_address(barrier)),
              "r"(bytes)
              : "memory");
}
// Waits until the current phase, counted from 0, is not of this parity: until the last phase of
// this parity has ended. So a wait for parity 1 passes at once on a new barrier.
__device__ __forceinline__ void phase_wait(u64* barrier, u32 parity) {
    u32 ended = 0;
    do {
        SM90A_ASM("{\n.reg .pred ended;\n"
                  "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
                  "selp.u32 %0, 1, 0, ended;\n}"
                  : "=r"(ended)
                  : "r"(shared_address(barrier)), "r"(parity)
                  : "memory");
    } while (ended == 0);
}

// One thread brings bytes from global to shared memory; they count at the barrier as they come.
// Addresses and bytes are multiples of 16.
__device__ __forceinline__ void copy_bulk(void* shared, const void* global, u32 bytes,
                                          u64* barrier) {
    SM90A_ASM("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
              "[%3];" ::"r"(shared_address(shared)),
              "l"(global), "r"(bytes), "r"(shared_address(barrier))
              : "memory");
}

// Products of the 128 threads of a warpgroup, warps 4 w to 4 w + 3, which run in the background:
// products_begin before the first and whenever threads have touched the sums, then products,
// which products_commit closes into a group; products_wait<N> waits for all groups but the N
// latest, whose tiles are then free, and products_end for all of them. Until then nothing may
// touch the sums. They are operands of both ends, so that no use of them moves in between.
#define SUM_1(i) "+r"(sums[i])
#define SUM_4(i) SUM_1(i), SUM_1(i + 1), SUM_1(i + 2), SUM_1(i + 3)
#define SUM_16(i) SUM_4(i), SUM_4(i + 4), SUM_4(i + 8), SUM_4(i + 12)
#define SUM_64(i) SUM_16(i), SUM_16(i + 16), SUM_16(i + 32), SUM_16(i + 48)

__device__ __forceinline__ void products_begin(i32 (&sums)[128]) {
    SM90A_ASM("wgmma.fence.sync.aligned;" : SUM_64(0), SUM_64(64)::"memory");
}
__device__ __forceinline__ void products_commit() {
    SM90A_ASM("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <u32 NEWEST>
__device__ __forceinline__ void products_wait() {
    SM90A_ASM("wgmma.wait_group.sync.aligned %0;" ::"n"(NEWEST) : "memory");
}
__device__ __forceinline__ void products_end(i32 (&sums)[128]) {
    SM90A_ASM("wgmma.wait_group.sync.aligned 0;" : SUM_64(0), SUM_64(64)::"memory");
}

// sums (64 x 256, i32) = accumulate ? sums + a b : a b, modulo 2^32, of a (64 x 32, i8) and b
// (32 x 256, i8), lines of a and columns of b in tiles: see tile_descriptor. Thread 32 w + 4 g + t
// of the warpgroup holds in sums[i]: row 16 w + g + 8 (i / 2 % 2), column 8 (i / 4) + 2 t + i % 2.
__device__ __forceinline__ void multiply_m64n256k32_s8(i32 (&sums)[128], u64 a, u64 b,
                                                       u32 accumulate) {
    SM90A_ASM(
        "{\n.reg .pred more;\nsetp.ne.u32 more, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "
        "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "
        "%28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "
        "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "
        "%56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, "
        "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, "
        "%84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, "
        "%98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, "
        "%126, %127}, "
        "%128, %129, more;\n}"
        : SUM_64(0), SUM_64(64)
        : "l"(a), "l"(b), "r"(accumulate));
}
#undef SUM_1
#undef SUM_4
#undef SUM_16
#undef SUM_64

#endif

// What a product reads: lines of 128 bytes that lie one after another from a multiple of 1024
// on, the chunks of each as `swizzled` puts them. Fields: address / 16; unused in this layout;
// bytes from 8 lines to the next / 16; 1 for chunks that are swizzled over 128 bytes.
__device__ __forceinline__ u64 tile_descriptor(const void* tile) {
    const u64 eight_lines = 8 * SWIZZLED_LINE / 16, address = window_address(tile) & 0x3ffffu;
    return address >> 4 | 1ull << 16 | eight_lines << 32 | 1ull << 62;
}
// The same tile from a depth on, a multiple of 32 below 128.
__device__ __forceinline__ u64 deeper(u64 descriptor, u32 depth) {
    return descriptor + depth / 16;
}
