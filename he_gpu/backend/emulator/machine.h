// The machine that runs kernels of he_gpu on a CPU: blocks, fibers, scheduler.
//
// One translation unit = the headers of this folder + one kernel family + one
// generated entry point per kernel (build.py). Blocks run one after another. The
// threads of a block are fibers: a fiber runs thread after thread until one waits
// at a barrier or a warp operation, so a kernel that never waits costs one fiber.
// Only the scheduler, on the caller's stack, resumes fibers; the state is one
// static object, so a library runs one launch at a time (the caller holds a lock).
#define HE_GPU_EMULATOR 1

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Code whose accesses are not a kernel's: races.h does not see them.
#if defined(__SANITIZE_THREAD__)
#define HE_GPU_UNSEEN __attribute__((no_sanitize_thread))
#else
#define HE_GPU_UNSEEN
#endif

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
// All static shared memory lies in one section, so that it can be poisoned.
#define __shared__ static __attribute__((section("he_gpu_shared"), used))

extern "C" {
// Bounds of that section; null where a family has none.
extern unsigned char __start_he_gpu_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_he_gpu_shared[] __attribute__((weak, visibility("hidden")));
}

namespace {

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(16) ulonglong2 {
    unsigned long long x, y;
};
struct alignas(16) longlong2 {
    long long x, y;
};

inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }
inline longlong2 make_longlong2(long long x, long long y) { return {x, y}; }

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace he_gpu_emulator {

enum Order : uint32_t { FORWARD = 0, REVERSE = 1, RANDOM = 2 };

// Both structures are mirrored by ctypes in build.py.
struct Launch {
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t order;
    uint32_t shared_bytes;
    uint64_t seed;
};
struct Report {
    uint64_t threads_run;
    uint32_t block[3];
    uint32_t thread[3];
    char message[512];
};

typedef void (*Entry)(const uint64_t* slots);

enum State : uint8_t { UNSTARTED, READY, AT_BARRIER, AT_WARP_OPERATION, AT_EVENT, DONE };
enum Operation : uint8_t { SYNC, SHUFFLE, BALLOT, COLLECTIVE };
// What 32 lanes do together, once all have come: one pointer to operands per lane.
typedef void (*Collective)(void* const* operands);
// Whether what a thread waits for has come: asked only when nobody else can go on.
typedef bool (*Event)(unsigned thread);

struct Fiber {
    ucontext_t context;
    jmp_buf jump;
    void* stack;
    void* fake_stack;
    bool entered;
};

struct Thread {
    Fiber* fiber;
    const char* file;
    int line;
    uint32_t mask;
    uint64_t word;
    int source;
    Collective collective;
    Event event;
    const char* awaited;  // the event in words
    void* operands;
    Operation operation;
    State state;
};

constexpr unsigned MAX_THREADS = 1024;
constexpr uint32_t FULL_WARP = 0xffffffffu;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t STACK_BYTES = 256 * 1024;
#else
constexpr size_t STACK_BYTES = 64 * 1024;
#endif
constexpr size_t GUARD_BYTES = 64 * 1024;

struct Machine {
    Thread threads[MAX_THREADS];
    uint32_t order[MAX_THREADS];
    Fiber* idle[MAX_THREADS + 1];
    unsigned n_idle;
    unsigned n_threads;
    unsigned n_started;
    unsigned current;
    Fiber* running;
    bool failed;
    uint64_t random;
    Entry entry;
    const uint64_t* slots;
    unsigned char* dynamic;
    const Launch* launch;
    Report* report;
    ucontext_t scheduler;
    jmp_buf scheduler_jump;
    void* scheduler_fake_stack;
    const void* scheduler_stack;
    size_t scheduler_bytes;
} machine;

inline void* dynamic_shared() { return machine.dynamic; }

// SplitMix64: the order of fibers is a test's choice, not a secret.
uint64_t next_random() {
    uint64_t z = (machine.random += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

HE_GPU_UNSEEN uint3 position(unsigned thread) {
    const dim3 b = blockDim;
    return {thread % b.x, thread / b.x % b.y, thread / b.x / b.y};
}

// The first fault of a launch is the one that is reported.
void keep_fault(unsigned thread, const char* format, va_list arguments) {
    if (machine.failed) return;
    machine.failed = true;
    const uint3 p = position(thread);
    Report& r = *machine.report;
    r.block[0] = blockIdx.x, r.block[1] = blockIdx.y, r.block[2] = blockIdx.z;
    r.thread[0] = p.x, r.thread[1] = p.y, r.thread[2] = p.z;
    vsnprintf(r.message, sizeof r.message, format, arguments);
}

__attribute__((format(printf, 2, 3))) void record_fault(unsigned thread, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    keep_fault(thread, format, arguments);
    va_end(arguments);
}

// Whether bytes lie in shared memory of the running block.
HE_GPU_UNSEEN bool in_shared(uintptr_t begin, size_t bytes) {
    const uintptr_t fixed = reinterpret_cast<uintptr_t>(__start_he_gpu_shared);
    const uintptr_t fixed_end = reinterpret_cast<uintptr_t>(__stop_he_gpu_shared);
    const uintptr_t dynamic = reinterpret_cast<uintptr_t>(machine.dynamic);
    const uintptr_t dynamic_end = dynamic + machine.launch->shared_bytes;
    return (begin >= fixed && begin + bytes <= fixed_end) ||
           (begin >= dynamic && begin + bytes <= dynamic_end && dynamic != 0);
}

// What orders accesses to memory (races.h): the ends of a launch, the start of a block,
// its barriers, and those of the lanes `together` of the warp that begins at `first`.
void order_launch();
void order_block(uint64_t block);
void order_all_threads();
void order_lanes(unsigned first, uint32_t together);

// Asynchronous copies (transfers.h): none at a block's start, none left at a thread's end.
void forget_transfers();
void check_no_transfer_is_pending(unsigned thread);

// Bulk copies and products of warpgroups (warpgroup.h): likewise; a block's end leaves no copy.
void forget_warpgroups();
void check_no_product_is_pending(unsigned thread);
void check_no_bulk_copy_is_pending();

// ---- fibers -----------------------------------------------------------------
// Switching by _setjmp and _longjmp spares the system call that swapcontext
// makes for the signal mask; AddressSanitizer needs swapcontext and its own
// announcements.

HE_GPU_UNSEEN void switch_to_scheduler() {
    Fiber* self = machine.running;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&self->fake_stack, machine.scheduler_stack,
                                   machine.scheduler_bytes);
    swapcontext(&self->context, &machine.scheduler);
    __sanitizer_finish_switch_fiber(self->fake_stack, &machine.scheduler_stack,
                                    &machine.scheduler_bytes);
#else
    if (_setjmp(self->jump) == 0) _longjmp(machine.scheduler_jump, 1);
#endif
}

HE_GPU_UNSEEN void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &machine.scheduler_stack, &machine.scheduler_bytes);
#endif
    for (;;) {
        while (machine.n_started < machine.n_threads && !machine.failed) {
            const unsigned thread = machine.order[machine.n_started++];
            machine.current = thread;
            machine.threads[thread].fiber = machine.running;
            threadIdx = position(thread);
            machine.entry(machine.slots);
            // The thread may have waited in between; it came back as itself.
            check_no_transfer_is_pending(machine.current);
            check_no_product_is_pending(machine.current);
            machine.threads[machine.current].state = DONE;
            machine.threads[machine.current].fiber = nullptr;
            machine.report->threads_run++;
        }
        machine.idle[machine.n_idle++] = machine.running;
        switch_to_scheduler();
    }
}

HE_GPU_UNSEEN __attribute__((noinline)) void resume(Fiber* fiber) {
    machine.running = fiber;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&machine.scheduler_fake_stack,
                                   static_cast<char*>(fiber->stack) + GUARD_BYTES, STACK_BYTES);
    swapcontext(&machine.scheduler, &fiber->context);
    __sanitizer_finish_switch_fiber(machine.scheduler_fake_stack, nullptr, nullptr);
#else
    if (_setjmp(machine.scheduler_jump) == 0) {
        if (fiber->entered) _longjmp(fiber->jump, 1);
        fiber->entered = true;
        setcontext(&fiber->context);
    }
#endif
    machine.running = nullptr;
}

void prepare(Fiber* fiber) {
    char* stack = static_cast<char*>(fiber->stack) + GUARD_BYTES;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack, STACK_BYTES);
#endif
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = stack;
    fiber->context.uc_stack.ss_size = STACK_BYTES;
    fiber->context.uc_link = nullptr;
    fiber->entered = false;
    fiber->fake_stack = nullptr;
    makecontext(&fiber->context, fiber_main, 0);
}

// A fiber without a thread, or null where memory is short.
Fiber* take_fiber() {
    if (machine.n_idle > 0) return machine.idle[--machine.n_idle];
    Fiber* fiber = static_cast<Fiber*>(calloc(1, sizeof(Fiber)));
    if (fiber == nullptr) return nullptr;
    fiber->stack = mmap(nullptr, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fiber->stack == MAP_FAILED) {
        free(fiber);
        return nullptr;
    }
    mprotect(fiber->stack, GUARD_BYTES, PROT_NONE);
    prepare(fiber);
    return fiber;
}

// ---- what a thread calls ----------------------------------------------------

void wait(State state, const char* file, int line) {
    const unsigned self = machine.current;
    Thread& t = machine.threads[self];
    t.state = state;
    t.file = file;
    t.line = line;
    switch_to_scheduler();
    machine.current = self;
    threadIdx = position(self);
}

void wait_for(Event event, const char* awaited, const char* file, int line) {
    machine.threads[machine.current].event = event;
    machine.threads[machine.current].awaited = awaited;
    wait(AT_EVENT, file, line);
}

// Ends the launch with a fault of the current thread, which never comes back.
[[noreturn]] __attribute__((format(printf, 1, 2))) void stop_with_fault(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    keep_fault(machine.current, format, arguments);
    va_end(arguments);
    machine.threads[machine.current].state = AT_BARRIER;
    for (;;) switch_to_scheduler();
}

uint64_t warp_operation(Operation operation, uint32_t mask, uint64_t word, int source,
                        const char* file, int line) {
    const unsigned self = machine.current;
    Thread& t = machine.threads[self];
    if ((mask >> (self % 32) & 1u) == 0) {
        stop_with_fault("warp operation at %s:%d: mask 0x%08x lacks the calling lane %u", file,
                        line, mask, self % 32);
    }
    t.operation = operation;
    t.mask = mask;
    t.word = word;
    t.source = source;
    wait(AT_WARP_OPERATION, file, line);
    return t.word;
}

// An operation of all 32 lanes of a warp on operands that lie on their stacks.
void warp_collective(Collective collective, void* operands, const char* file, int line) {
    const unsigned self = machine.current;
    Thread& t = machine.threads[self];
    if ((self | 31u) >= machine.n_threads) {
        stop_with_fault("warp operation at %s:%d needs 32 lanes, and this warp has %u", file, line,
                        machine.n_threads % 32);
    }
    t.collective = collective;
    t.operands = operands;
    warp_operation(COLLECTIVE, FULL_WARP, 0, 0, file, line);
}

template <class T>
T shuffle_word(uint32_t mask, T value, int source, const char* file, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 32-bit and 64-bit words");
    uint64_t word = 0;
    memcpy(&word, &value, sizeof(T));
    word = warp_operation(SHUFFLE, mask, word, source, file, line);
    memcpy(&value, &word, sizeof(T));
    return value;
}

inline int lane() { return static_cast<int>(machine.current % 32); }

// ---- the scheduler ----------------------------------------------------------

bool same_site(const Thread& a, const Thread& b) {
    return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0);
}

// Whether a lane waits at the warp operation at which `t` waits.
bool same_operation(const Thread& lane, const Thread& t) {
    return lane.state == AT_WARP_OPERATION && lane.mask == t.mask &&
           lane.operation == t.operation && same_site(lane, t) &&
           (t.operation != COLLECTIVE || lane.collective == t.collective);
}

void shuffle_order(uint32_t* order, unsigned n) {
    for (unsigned i = n; i > 1; i--) {
        const unsigned j = static_cast<unsigned>(next_random() % i);
        const uint32_t swapped = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swapped;
    }
}

void describe(char* text, size_t bytes, const Thread& t) {
    if (t.state == DONE) {
        snprintf(text, bytes, "has exited");
    } else if (t.state == AT_BARRIER) {
        snprintf(text, bytes, "waits at the block barrier of %s:%d", t.file, t.line);
    } else if (t.state == AT_EVENT) {
        snprintf(text, bytes, "waits at %s:%d for %s", t.file, t.line, t.awaited);
    } else {
        snprintf(text, bytes, "waits at the warp operation of %s:%d with mask 0x%08x", t.file,
                 t.line, t.mask);
    }
}

// Lanes in the mask of thread `first + lane`, if all of them have arrived at the
// same operation; 0 as long as they have not. Stricter than CUDA, which lets a
// mask name lanes that have exited: whether they had then depends on timing.
uint32_t arrived(unsigned first, unsigned lanes, unsigned lane) {
    const Thread& t = machine.threads[first + lane];
    uint32_t together = 0;
    for (unsigned other = 0; other < lanes; other++) {
        const Thread& o = machine.threads[first + other];
        if ((t.mask >> other & 1u) == 0) continue;
        if (!same_operation(o, t)) return 0;
        together |= 1u << other;
    }
    return together;
}

void complete(unsigned first, uint32_t together) {
    if (machine.threads[first].operation == COLLECTIVE && together == FULL_WARP) {
        void* operands[32];
        for (unsigned lane = 0; lane < 32; lane++) {
            operands[lane] = machine.threads[first + lane].operands;
            machine.threads[first + lane].state = READY;
        }
        machine.threads[first].collective(operands);
        return;
    }
    if (machine.threads[first + static_cast<unsigned>(__builtin_ctz(together))].operation == SYNC) {
        order_lanes(first, together);
    }
    uint64_t words[32] = {};
    uint32_t votes = 0;
    for (unsigned lane = 0; lane < 32; lane++) {
        if ((together >> lane & 1u) == 0) continue;
        words[lane] = machine.threads[first + lane].word;
        if (words[lane] != 0) votes |= 1u << lane;
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        if ((together >> lane & 1u) == 0) continue;
        Thread& t = machine.threads[first + lane];
        if (t.operation == BALLOT) t.word = votes;
        if (t.operation == SHUFFLE) {
            if ((together >> t.source & 1u) == 0) {
                record_fault(first + lane,
                             "shuffle at %s:%d with mask 0x%08x reads lane %d, which takes no part",
                             t.file, t.line, t.mask, t.source);
                return;
            }
            t.word = words[t.source];
        }
        t.state = READY;
    }
}

// Completes every warp operation whose lanes have all arrived.
bool advance_warps() {
    bool advanced = false;
    for (unsigned first = 0; first < machine.n_threads; first += 32) {
        const unsigned left = machine.n_threads - first;
        const unsigned lanes = left < 32 ? left : 32;
        for (unsigned lane = 0; lane < lanes; lane++) {
            if (machine.threads[first + lane].state != AT_WARP_OPERATION) continue;
            const uint32_t together = arrived(first, lanes, lane);
            if (together == 0) continue;
            complete(first, together);
            if (machine.failed) return true;
            advanced = true;
        }
    }
    return advanced;
}

// Wakes the threads whose events have come; an event may wake others beside its own thread.
bool advance_events() {
    bool advanced = false;
    for (unsigned i = 0; i < machine.n_threads && !machine.failed; i++) {
        Thread& t = machine.threads[i];
        if (t.state != AT_EVENT || !t.event(i)) continue;
        t.state = READY;
        advanced = true;
    }
    return advanced || machine.failed;
}

// Nobody can go on: either the whole block is at one barrier, or that is a fault.
void advance_block() {
    char other[256];
    for (unsigned i = 0; i < machine.n_threads; i++) {
        const Thread& t = machine.threads[i];
        if (t.state != AT_WARP_OPERATION) continue;
        for (unsigned j = i / 32 * 32; j < machine.n_threads && j < i / 32 * 32 + 32; j++) {
            const Thread& o = machine.threads[j];
            if ((t.mask >> (j % 32) & 1u) == 0) continue;
            if (same_operation(o, t)) continue;
            describe(other, sizeof other, o);
            record_fault(i, "warp operation at %s:%d with mask 0x%08x: lane %u of its mask %s",
                         t.file, t.line, t.mask, j % 32, other);
            return;
        }
    }
    for (unsigned i = 0; i < machine.n_threads; i++) {
        const Thread& t = machine.threads[i];
        if (t.state != AT_EVENT) continue;
        record_fault(i, "waits at %s:%d for %s, and nobody can go on", t.file, t.line, t.awaited);
        return;
    }
    unsigned at_barrier = 0;
    while (machine.threads[at_barrier].state != AT_BARRIER) at_barrier++;
    const Thread& t = machine.threads[at_barrier];
    for (unsigned i = 0; i < machine.n_threads; i++) {
        const Thread& o = machine.threads[i];
        if (o.state == AT_BARRIER && same_site(o, t)) continue;
        describe(other, sizeof other, o);
        const uint3 p = position(at_barrier);
        record_fault(i, "thread (%u, %u, %u) waits at the block barrier of %s:%d, this one %s", p.x,
                     p.y, p.z, t.file, t.line, other);
        return;
    }
    order_all_threads();
    for (unsigned i = 0; i < machine.n_threads; i++) machine.threads[i].state = READY;
}

// Fills byte by byte: memset would be checked, and the section has red zones.
__attribute__((no_sanitize_address, no_sanitize_undefined, noinline)) void poison(
    unsigned char* begin, unsigned char* end) {
    for (volatile unsigned char* p = begin; p < end; p++) *p = 0xa5;
}

// Without AddressSanitizer a plain memset is right and fast.
void poison_shared() {
#if defined(__SANITIZE_ADDRESS__)
    poison(__start_he_gpu_shared, __stop_he_gpu_shared);
#else
    if (__start_he_gpu_shared != nullptr) {
        memset(__start_he_gpu_shared, 0xa5,
               static_cast<size_t>(__stop_he_gpu_shared - __start_he_gpu_shared));
    }
#endif
    if (machine.dynamic != nullptr) memset(machine.dynamic, 0xa5, machine.launch->shared_bytes);
}

void run_block(uint64_t block) {
    poison_shared();
    forget_transfers();
    forget_warpgroups();
    order_block(block);
    const unsigned n = machine.n_threads;
    for (unsigned i = 0; i < n; i++) machine.threads[i].state = UNSTARTED;
    if (machine.launch->order == RANDOM) shuffle_order(machine.order, n);
    machine.n_started = 0;
    while (machine.n_started < n && !machine.failed) {
        Fiber* fiber = take_fiber();
        if (fiber == nullptr) {
            record_fault(0, "no memory for the stack of another fiber");
            break;
        }
        resume(fiber);
    }
    while (!machine.failed) {
        bool all_done = true;
        for (unsigned i = 0; i < n; i++) all_done = all_done && machine.threads[i].state == DONE;
        if (all_done) {
            check_no_bulk_copy_is_pending();
            return;
        }
        if (!advance_warps() && !advance_events()) advance_block();
        if (machine.failed) break;
        if (machine.launch->order == RANDOM) shuffle_order(machine.order, n);
        for (unsigned i = 0; i < n && !machine.failed; i++) {
            Thread& t = machine.threads[machine.order[i]];
            if (t.state == READY) resume(t.fiber);
        }
    }
    // Stacks of threads that will never come back are made anew.
    for (unsigned i = 0; i < n; i++) {
        Thread& t = machine.threads[i];
        if (t.state == UNSTARTED || t.fiber == nullptr) continue;
        prepare(t.fiber);
        machine.idle[machine.n_idle++] = t.fiber;
        t.fiber = nullptr;
    }
}

// Runs a grid; 0, or 1 with the fault in the report, or 2 where memory is short.
int run(Entry entry, const Launch* launch, const uint64_t* slots, Report* report) {
    machine.launch = launch;
    machine.report = report;
    machine.entry = entry;
    machine.slots = slots;
    machine.failed = false;
    machine.random = launch->seed;
    report->threads_run = 0;
    report->message[0] = 0;
    gridDim = {launch->grid[0], launch->grid[1], launch->grid[2]};
    blockDim = {launch->block[0], launch->block[1], launch->block[2]};
    const unsigned n = blockDim.x * blockDim.y * blockDim.z;
    machine.n_threads = n;
    for (unsigned i = 0; i < n; i++) {
        machine.order[i] = launch->order == REVERSE ? n - 1 - i : i;
        machine.threads[i].fiber = nullptr;
    }

    machine.dynamic = nullptr;
    void* allocated = nullptr;
    if (launch->shared_bytes > 0) {
        if (posix_memalign(&allocated, 128, launch->shared_bytes) != 0) return 2;
        machine.dynamic = static_cast<unsigned char*>(allocated);
    }
    order_launch();
    const uint64_t n_blocks = static_cast<uint64_t>(gridDim.x) * gridDim.y * gridDim.z;
    uint32_t* blocks = nullptr;
    if (launch->order == RANDOM) {
        blocks = static_cast<uint32_t*>(malloc(n_blocks * sizeof(uint32_t)));
        if (blocks == nullptr) {
            free(allocated);
            return 2;
        }
        for (uint64_t i = 0; i < n_blocks; i++) blocks[i] = static_cast<uint32_t>(i);
        shuffle_order(blocks, static_cast<unsigned>(n_blocks));
    }
    for (uint64_t i = 0; i < n_blocks && !machine.failed; i++) {
        const uint64_t b = blocks                      ? blocks[i]
                           : launch->order == REVERSE ? n_blocks - 1 - i
                                                       : i;
        blockIdx = {static_cast<unsigned>(b % gridDim.x),
                    static_cast<unsigned>(b / gridDim.x % gridDim.y),
                    static_cast<unsigned>(b / gridDim.x / gridDim.y)};
        run_block(b);
    }
    order_launch();
    free(blocks);
    free(allocated);
    return machine.failed ? 1 : 0;
}

}  // namespace he_gpu_emulator

}  // namespace
