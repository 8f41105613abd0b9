// Asynchronous copies from global to shared memory, as late as CUDA allows.
//
// A copy (cp.async) poisons its destination when it is issued and moves its bytes
// at the wait that covers its group, in the thread that issued it. So a read before
// the wait, or by another thread without a barrier after it, finds poison in every
// order. For races and for AddressSanitizer a copy is a write at its issue, when it may
// land at the earliest, and a read and a write at its wait, when it does at the latest.

namespace {
namespace he_gpu_emulator {

constexpr unsigned MAX_TRANSFERS = 128;  // a thread's copies that may be on their way

struct Transfer {
    void* shared;
    const void* global;
    const char* file;
    int line;
    uint32_t group;
    uint16_t bytes;
    bool inside;
};

struct Queue {
    uint32_t first;      // the oldest pending copy, cyclic
    uint32_t count;
    uint32_t committed;  // groups closed so far; new copies join the next one
};

Queue queues[MAX_THREADS];
Transfer pending[MAX_THREADS][MAX_TRANSFERS];

HE_GPU_UNSEEN void forget_transfers() {
    for (unsigned i = 0; i < machine.n_threads; i++) queues[i] = {};
}

HE_GPU_UNSEEN void check_no_transfer_is_pending(unsigned thread) {
    if (queues[thread].count == 0) return;
    const Transfer& oldest = pending[thread][queues[thread].first];
    record_fault(thread, "has exited while its asynchronous copy of %s:%d was on its way",
                 oldest.file, oldest.line);
}

// Stops the thread unless the bytes lie in shared memory and the addresses are aligned.
void check_shared(const char* operation, const void* shared, size_t bytes, const char* file,
                  int line) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(shared);
    if (!in_shared(begin, bytes)) {
        stop_with_fault("%s at %s:%d: the address is not in shared memory", operation, file, line);
    }
    if (begin % bytes != 0) {
        stop_with_fault("%s at %s:%d: the shared address is not a multiple of %u", operation,
                        file, line, static_cast<unsigned>(bytes));
    }
}

HE_GPU_UNSEEN void enqueue(void* shared, const void* global, unsigned bytes, bool inside,
                           const char* file, int line) {
    check_shared("asynchronous copy", shared, bytes, file, line);
    if (reinterpret_cast<uintptr_t>(global) % bytes != 0) {
        stop_with_fault("asynchronous copy at %s:%d: the global address is not a multiple of %u",
                        file, line, bytes);
    }
    Queue& own = queues[machine.current];
    if (own.count == MAX_TRANSFERS) {
        stop_with_fault("asynchronous copy at %s:%d: the emulator keeps at most %u on their way",
                        file, line, MAX_TRANSFERS);
    }
    pending[machine.current][(own.first + own.count++) % MAX_TRANSFERS] = {
        shared, global, file, line, own.committed, static_cast<uint16_t>(bytes), inside};
}

// Takes the oldest copy from the queue; false where none is left in groups below `end`.
HE_GPU_UNSEEN bool dequeue(uint32_t end, Transfer& oldest) {
    Queue& own = queues[machine.current];
    if (own.count == 0) return false;
    oldest = pending[machine.current][own.first];
    if (oldest.group >= end) return false;
    own.first = (own.first + 1) % MAX_TRANSFERS;
    own.count--;
    return true;
}

template <unsigned BYTES>
inline void copy_async(void* shared, const void* global, bool inside,
                       const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    enqueue(shared, global, BYTES, inside, file, line);
    saw(WRITE, shared, BYTES, site_of(file, line));
    memset(shared, 0xa5, BYTES);
}

HE_GPU_UNSEEN inline void copy_async_commit() { queues[machine.current].committed++; }

HE_GPU_UNSEEN inline uint32_t first_group_left(uint32_t newest) {
    const uint32_t committed = queues[machine.current].committed;
    return committed > newest ? committed - newest : 0;
}

// Moves the bytes of all groups but the `newest` latest ones.
inline void copy_async_wait(uint32_t newest) {
    Transfer oldest;
    while (dequeue(first_group_left(newest), oldest)) {
        const Site site = site_of(oldest.file, oldest.line);
        saw(WRITE, oldest.shared, oldest.bytes, site);
        if (oldest.inside) {
            saw(READ, oldest.global, oldest.bytes, site);
            memcpy(oldest.shared, oldest.global, oldest.bytes);
        } else {
            memset(oldest.shared, 0, oldest.bytes);
        }
    }
}

}  // namespace he_gpu_emulator
}  // namespace
