// Finds data races: two accesses of a word, one of them a write, with no order between.
//
// The runtime behind g++'s -fsanitize=thread, in place of the compiler's own. That one
// needs some 1 ms and 0.8 MB for each thread it can still tell apart; this one knows that
// CUDA's order has a simple shape, so it is exact and cheap:
//   - the threads of a block are ordered by each block barrier (interval);
//   - between two of them the lanes that a warp barrier names, and nothing else: shuffles,
//     votes and matrix operations order no memory;
//   - blocks of one launch are never ordered; a launch is, before and after all others.
// Every byte keeps its last write and the reads and atomics since that could still race,
// whatever order the fibers ran in. Atomics do not race with each other, and order nothing:
// a kernel that synchronises by them and __threadfence would be reported here.
// Not seen: memset and memcpy called by a kernel. Memory of one thread's stack is skipped.

// The first byte of this library, to which addresses of code are relative.
extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));

namespace {
namespace he_gpu_emulator {

enum Access : uint8_t { READ, WRITE, ATOMIC };

// Where an access stands: a file and line, or with line 0 an address of machine code.
struct Site {
    uintptr_t where;
    int line;
};

#if !defined(__SANITIZE_THREAD__)

void order_launch() {}
void order_block(uint64_t) {}
void order_all_threads() {}
void order_lanes(unsigned, uint32_t) {}
inline void saw(Access, const volatile void*, size_t, Site) {}

#else

struct Record {
    uintptr_t where;
    int line;
    uint32_t block;
    uint32_t interval;  // block barriers before the access
    uint32_t clock;     // the thread's warp barriers in this interval, plus 1
    uint16_t thread;
    uint8_t mask;  // bytes of the granule
    Access access;
};

// What is known of 8 bytes at an address that 8 divides.
struct Granule {
    uintptr_t address;  // 0: empty
    Record* records;
    uint32_t count, capacity;
};

struct Chunk {
    Chunk* next;
    size_t used, size;
    Record records[1];  // `size` of them
};

struct Watch {
    Granule* table;  // hashed by address, open addressing
    size_t size, filled;
    Chunk* chunks;
    uint32_t block, interval;
    bool warps_ordered;
    // seen[t][l]: how many warp barriers of lane l thread t has come after, in this interval
    uint32_t seen[MAX_THREADS][32];
} watch;

HE_GPU_UNSEEN void* memory_or_abort(size_t bytes) {
    void* memory = calloc(1, bytes);
    if (memory == nullptr) {
        fprintf(stderr, "he_gpu emulator: no memory to watch for races\n");
        abort();
    }
    return memory;
}

// ---- order --------------------------------------------------------------------

HE_GPU_UNSEEN void order_launch() {
    while (watch.chunks != nullptr) {
        Chunk* next = watch.chunks->next;
        free(watch.chunks);
        watch.chunks = next;
    }
    free(watch.table);
    watch.size = 4096;
    watch.filled = 0;
    watch.table = static_cast<Granule*>(memory_or_abort(watch.size * sizeof(Granule)));
}

HE_GPU_UNSEEN void order_all_threads() {
    watch.interval++;
    if (watch.warps_ordered) memset(watch.seen, 0, sizeof watch.seen);
    watch.warps_ordered = false;
}

HE_GPU_UNSEEN void order_block(uint64_t block) {
    order_all_threads();
    watch.block = static_cast<uint32_t>(block);
    watch.interval = 0;
}

HE_GPU_UNSEEN void order_lanes(unsigned first, uint32_t together) {
    uint32_t joined[32] = {};
    for (unsigned lane = 0; lane < 32; lane++) {
        if ((together >> lane & 1u) == 0) continue;
        const uint32_t* own = watch.seen[first + lane];
        for (unsigned l = 0; l < 32; l++) {
            const uint32_t seen = own[l] + (l == lane);
            if (joined[l] < seen) joined[l] = seen;
        }
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        if ((together >> lane & 1u) == 0) continue;
        for (unsigned l = 0; l < 32; l++) watch.seen[first + lane][l] = joined[l];
    }
    watch.warps_ordered = true;
}

// Whether an earlier access comes before whatever the current thread does now.
HE_GPU_UNSEEN inline bool ordered(const Record& earlier) {
    if (earlier.block != watch.block) return false;
    if (earlier.interval < watch.interval || earlier.thread == machine.current) return true;
    return earlier.thread / 32 == machine.current / 32 &&
           watch.seen[machine.current][earlier.thread % 32] >= earlier.clock;
}

// ---- what is kept ---------------------------------------------------------------

HE_GPU_UNSEEN Granule* slot_of(Granule* table, size_t size, uintptr_t address) {
    size_t i = (address >> 3) * 0x9e3779b97f4a7c15ull >> 20;
    for (;; i++) {
        Granule& granule = table[i & (size - 1)];
        if (granule.address == address || granule.address == 0) return &granule;
    }
}

HE_GPU_UNSEEN Granule& granule_of(uintptr_t address) {
    Granule* granule = slot_of(watch.table, watch.size, address);
    if (granule->address == address) return *granule;
    if (++watch.filled * 2 > watch.size) {
        const size_t size = watch.size * 4;
        Granule* table = static_cast<Granule*>(memory_or_abort(size * sizeof(Granule)));
        for (size_t i = 0; i < watch.size; i++) {
            const Granule& old = watch.table[i];
            if (old.address != 0) *slot_of(table, size, old.address) = old;
        }
        free(watch.table);
        watch.table = table;
        watch.size = size;
        granule = slot_of(table, size, address);
    }
    granule->address = address;
    return *granule;
}

HE_GPU_UNSEEN void append(Granule& granule, const Record& record) {
    if (granule.count == granule.capacity) {
        const uint32_t capacity = granule.capacity == 0 ? 2 : 2 * granule.capacity;
        if (watch.chunks == nullptr || watch.chunks->used + capacity > watch.chunks->size) {
            const size_t size = capacity > 8192 ? capacity : 16384;
            Chunk* chunk =
                static_cast<Chunk*>(memory_or_abort(sizeof(Chunk) + size * sizeof(Record)));
            chunk->next = watch.chunks;
            chunk->size = size;
            watch.chunks = chunk;
        }
        Record* records = watch.chunks->records + watch.chunks->used;
        watch.chunks->used += capacity;
        for (uint32_t i = 0; i < granule.count; i++) records[i] = granule.records[i];
        granule.records = records;
        granule.capacity = capacity;
    }
    granule.records[granule.count++] = record;
}

// ---- races ------------------------------------------------------------------------

// "write at file.cu:7"; an address of code as "@0x<offset>@", which device.py resolves.
HE_GPU_UNSEEN void describe_access(char* text, size_t bytes, const Record& record) {
    static const char* const NAMES[] = {"read", "write", "atomic operation"};
    const char* name = NAMES[record.access];
    if (record.line != 0) {
        snprintf(text, bytes, "%s at %s:%d", name, reinterpret_cast<const char*>(record.where),
                 record.line);
    } else {
        // One byte back: the call, where the address is that of the return.
        const uintptr_t base = reinterpret_cast<uintptr_t>(__ehdr_start);
        snprintf(text, bytes, "%s at @0x%zx@", name, record.where - 1 - base);
    }
}

[[noreturn]] HE_GPU_UNSEEN void stop_with_race(const Record& now, const Record& earlier,
                                               uintptr_t address) {
    char this_text[160], other_text[160], other_block[80] = "";
    describe_access(this_text, sizeof this_text, now);
    describe_access(other_text, sizeof other_text, earlier);
    const uint3 p = position(earlier.thread);
    if (earlier.block != now.block) {
        const unsigned x = earlier.block % gridDim.x, y = earlier.block / gridDim.x % gridDim.y;
        snprintf(other_block, sizeof other_block, " of block (%u, %u, %u)", x, y,
                 earlier.block / gridDim.x / gridDim.y);
    }
    stop_with_fault("race in %s memory: %s is not ordered with the %s by thread (%u, %u, %u)%s",
                    in_shared(address, 1) ? "shared" : "global", this_text, other_text, p.x, p.y,
                    p.z, other_block);
}

HE_GPU_UNSEEN void watch_granule(Access access, uintptr_t address, uint8_t mask, bool shared,
                                 Site site) {
    Granule& granule = granule_of(address);
    const uint16_t thread = static_cast<uint16_t>(machine.current);
    const Record now = {site.where, site.line, watch.block, watch.interval,
                        watch.seen[thread][thread % 32] + 1, thread, mask, access};
    uint32_t kept = 0, covering_block = 0;
    bool covered_once = false, covered = false;
    for (uint32_t i = 0; i < granule.count; i++) {
        Record& earlier = granule.records[i];
        if (shared && earlier.block != watch.block) continue;  // another block's memory
        if ((earlier.mask & mask) != 0) {
            const bool before = ordered(earlier);
            const bool alike = earlier.access == access && access != WRITE;
            if (!before && !alike) stop_with_race(now, earlier, address);
            // What would race with the earlier access will race with this one, which comes
            // after it and conflicts with no less.
            if (before && (access == WRITE || access == earlier.access)) earlier.mask &= ~mask;
            // Two blocks that did the same: any later access races with one of them.
            if (alike && (earlier.mask & mask) == mask) {
                if (covered_once && covering_block != earlier.block) covered = true;
                covering_block = earlier.block;
                covered_once = true;
            }
        }
        if (earlier.mask != 0) granule.records[kept++] = earlier;
    }
    granule.count = kept;
    if (!covered) append(granule, now);
}

HE_GPU_UNSEEN inline bool inside(uintptr_t address, const void* region, size_t bytes) {
    return address - reinterpret_cast<uintptr_t>(region) < bytes;
}

HE_GPU_UNSEEN void saw(Access access, const volatile void* begin, size_t bytes, Site site) {
    if (machine.running == nullptr || machine.failed) return;
    uintptr_t address = reinterpret_cast<uintptr_t>(begin);
    const uintptr_t end = address + bytes;
    if (inside(address, machine.running->stack, GUARD_BYTES + STACK_BYTES) ||
        inside(address, &machine, sizeof machine) ||
        inside(address, &threadIdx, sizeof threadIdx) ||
        inside(address, &blockIdx, sizeof blockIdx) ||
        inside(address, &blockDim, sizeof blockDim) ||
        inside(address, &gridDim, sizeof gridDim)) {
        return;
    }
    const bool shared = in_shared(address, bytes);
    while (address < end) {
        const uintptr_t granule = address & ~uintptr_t{7};
        const unsigned first = address % 8;
        const unsigned last = end - granule < 8 ? static_cast<unsigned>(end - granule) : 8;
        const unsigned mask = (0xffu << first) & (0xffu >> (8 - last));
        watch_granule(access, granule, static_cast<uint8_t>(mask), shared, site);
        address = granule + 8;
    }
}

#endif

HE_GPU_UNSEEN inline Site site_of(const char* file, int line) {
    return {reinterpret_cast<uintptr_t>(file), line};
}

}  // namespace he_gpu_emulator
}  // namespace

#if defined(__SANITIZE_THREAD__)

// ---- what g++ calls before each access --------------------------------------------

#define HE_GPU_CALLBACK extern "C" __attribute__((noinline, used)) HE_GPU_UNSEEN void
#define HE_GPU_WATCH(name, access, bytes)                                       \
    HE_GPU_CALLBACK __tsan_##name(void* address) {                              \
        const void* code = __builtin_return_address(0);                         \
        he_gpu_emulator::saw(he_gpu_emulator::access, address, bytes,           \
                             {reinterpret_cast<uintptr_t>(code), 0});           \
    }
HE_GPU_WATCH(read1, READ, 1)
HE_GPU_WATCH(read2, READ, 2)
HE_GPU_WATCH(read4, READ, 4)
HE_GPU_WATCH(read8, READ, 8)
HE_GPU_WATCH(read16, READ, 16)
HE_GPU_WATCH(unaligned_read2, READ, 2)
HE_GPU_WATCH(unaligned_read4, READ, 4)
HE_GPU_WATCH(unaligned_read8, READ, 8)
HE_GPU_WATCH(unaligned_read16, READ, 16)
HE_GPU_WATCH(write1, WRITE, 1)
HE_GPU_WATCH(write2, WRITE, 2)
HE_GPU_WATCH(write4, WRITE, 4)
HE_GPU_WATCH(write8, WRITE, 8)
HE_GPU_WATCH(write16, WRITE, 16)
HE_GPU_WATCH(unaligned_write2, WRITE, 2)
HE_GPU_WATCH(unaligned_write4, WRITE, 4)
HE_GPU_WATCH(unaligned_write8, WRITE, 8)
HE_GPU_WATCH(unaligned_write16, WRITE, 16)

HE_GPU_CALLBACK __tsan_read_range(void* address, size_t bytes) {
    const void* code = __builtin_return_address(0);
    he_gpu_emulator::saw(he_gpu_emulator::READ, address, bytes,
                         {reinterpret_cast<uintptr_t>(code), 0});
}
HE_GPU_CALLBACK __tsan_write_range(void* address, size_t bytes) {
    const void* code = __builtin_return_address(0);
    he_gpu_emulator::saw(he_gpu_emulator::WRITE, address, bytes,
                         {reinterpret_cast<uintptr_t>(code), 0});
}
HE_GPU_CALLBACK __tsan_init() {}
HE_GPU_CALLBACK __tsan_func_entry(void*) {}
HE_GPU_CALLBACK __tsan_func_exit() {}

#endif
