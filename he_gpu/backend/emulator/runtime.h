// CUDA's names for what a kernel does: barriers, shuffles, intrinsics, atomics.
//
// The last header before the kernel, above the machine and the order of its threads.

namespace {

// Default arguments give the caller's line: the call site that checks compare.

#define HE_GPU_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(HE_GPU_SITE) {
    he_gpu_emulator::wait(he_gpu_emulator::AT_BARRIER, file, line);
}

inline void __syncwarp(unsigned mask = he_gpu_emulator::FULL_WARP, HE_GPU_SITE) {
    he_gpu_emulator::warp_operation(he_gpu_emulator::SYNC, mask, 0, 0, file, line);
}

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, HE_GPU_SITE) {
    const int base = he_gpu_emulator::lane() & ~(width - 1);
    return he_gpu_emulator::shuffle_word(mask, value, base + (source & (width - 1)), file, line);
}

template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, HE_GPU_SITE) {
    const int lane = he_gpu_emulator::lane(), base = lane & ~(width - 1);
    const int source = lane - static_cast<int>(delta);
    return he_gpu_emulator::shuffle_word(mask, value, source < base ? lane : source, file, line);
}

template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, HE_GPU_SITE) {
    const int lane = he_gpu_emulator::lane(), last = lane | (width - 1);
    const int source = lane + static_cast<int>(delta);
    return he_gpu_emulator::shuffle_word(mask, value, source > last ? lane : source, file, line);
}

template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, HE_GPU_SITE) {
    const int lane = he_gpu_emulator::lane(), last = lane | (width - 1);
    const int source = lane ^ lanes;
    return he_gpu_emulator::shuffle_word(mask, value, source > last ? lane : source, file, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, HE_GPU_SITE) {
    return static_cast<unsigned>(he_gpu_emulator::warp_operation(
        he_gpu_emulator::BALLOT, mask, predicate != 0, 0, file, line));
}

inline int __any_sync(unsigned mask, int predicate, HE_GPU_SITE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}

inline int __all_sync(unsigned mask, int predicate, HE_GPU_SITE) {
    return __ballot_sync(mask, predicate == 0, file, line) == 0;
}

[[noreturn]] inline void __trap(HE_GPU_SITE) {
    he_gpu_emulator::stop_with_fault("trap at %s:%d", file, line);
}

inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
__forceinline__ T __ldg(const T* address) {
    return *address;
}

inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned bits) {
    const unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<unsigned>(both << (bits & 31u) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned bits) {
    const unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<unsigned>(both >> (bits & 31u));
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) {
    return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }

template <class A, class B>
constexpr auto min(A a, B b) -> decltype(a + b) {
    return b < a ? b : a;
}
template <class A, class B>
constexpr auto max(A a, B b) -> decltype(a + b) {
    return a < b ? b : a;
}

// Fibers switch only where a thread waits, so plain updates are atomic. The
// word's type follows the address alone, as in CUDA's overloads.
template <class T>
struct same_type {
    typedef T type;
};
template <class T>
using word_of = typename same_type<T>::type;

template <class T>
HE_GPU_UNSEEN inline T atomicExch(T* address, word_of<T> value, HE_GPU_SITE) {
    using namespace he_gpu_emulator;
    saw(ATOMIC, address, sizeof(T), site_of(file, line));
    const T old = *address;
    *address = value;
    return old;
}
template <class T>
HE_GPU_UNSEEN inline T atomicCAS(T* address, word_of<T> expected, word_of<T> value, HE_GPU_SITE) {
    return atomicExch(address, *address == expected ? value : *address, file, line);
}
template <class T>
HE_GPU_UNSEEN inline T atomicAdd(T* address, word_of<T> value, HE_GPU_SITE) {
    return atomicExch(address, static_cast<T>(*address + value), file, line);
}
template <class T>
HE_GPU_UNSEEN inline T atomicMin(T* address, word_of<T> value, HE_GPU_SITE) {
    return atomicExch(address, value < *address ? value : *address, file, line);
}
template <class T>
HE_GPU_UNSEEN inline T atomicMax(T* address, word_of<T> value, HE_GPU_SITE) {
    return atomicExch(address, *address < value ? value : *address, file, line);
}
template <class T>
HE_GPU_UNSEEN inline T atomicOr(T* address, word_of<T> value, HE_GPU_SITE) {
    return atomicExch(address, static_cast<T>(*address | value), file, line);
}
template <class T>
HE_GPU_UNSEEN inline T atomicAnd(T* address, word_of<T> value, HE_GPU_SITE) {
    return atomicExch(address, static_cast<T>(*address & value), file, line);
}
template <class T>
HE_GPU_UNSEEN inline T atomicXor(T* address, word_of<T> value, HE_GPU_SITE) {
    return atomicExch(address, static_cast<T>(*address ^ value), file, line);
}

#undef HE_GPU_SITE

}  // namespace
