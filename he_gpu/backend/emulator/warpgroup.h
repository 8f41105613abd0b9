// What sm_90a alone has: barriers that count bytes, bulk copies, products of a warpgroup.
//
// As late as the PTX ISA allows: a bulk copy poisons its destination when it is issued and moves
// its bytes when nothing but them is missing from a phase for which a thread waits; a product
// reads its tiles at the wait that covers its group, when all 128 threads have come to it, and its
// sums are poison until then. So a read before the wait, in whichever order, finds poison; a write
// to the sums between products_begin and the wait, a copy over tiles that a product still reads,
// and a product of tiles that still come are faults. The chunks of a tile are found from the
// descriptor, as the PTX ISA lays it out; fields that it leaves no choice must hold its values.
// Barriers of this kind order more than races.h knows, so it does not see these accesses.

namespace {
namespace he_gpu_emulator {

// Where the dynamic memory begins in the window that descriptors address: not at a multiple of
// 1024, since CUDA promises none.
constexpr uint32_t WINDOW = 0x480;
constexpr unsigned MAX_PHASED = 64;         // barriers of a block
constexpr unsigned MAX_BULK_COPIES = 1024;  // of a block, on their way
constexpr unsigned MAX_PRODUCTS = 64;       // of a thread, on their way
constexpr unsigned GROUP_THREADS = 128;
constexpr uint32_t MOST_COUNTED = (1u << 20) - 1;  // arrivals, and bytes that are missing
constexpr uint64_t BARRIER_WORD = 0x6261727269657221ull;  // stands in a barrier's 8 bytes

struct Phased {
    uint64_t* barrier;
    uint32_t arrivals, missing, phase;
    int64_t bytes;  // that are expected and have not come
    bool visible;   // to other threads and to copies
};

struct BulkCopy {
    unsigned char* shared;
    const void* global;
    Phased* phased;
    const char* file;
    int line;
    uint32_t bytes;
};

struct TileProduct {
    uint64_t a, b;
    const char* file;
    int line;
    uint32_t group;
    bool accumulate;
};

struct ProductQueue {
    TileProduct products[MAX_PRODUCTS];
    int32_t* sums;  // of the thread, poison while products are on their way
    int32_t values[GROUP_THREADS];
    uint32_t count, committed, keep;
    bool begun;
};

struct Warpgroups {
    Phased phased[MAX_PHASED];
    BulkCopy copies[MAX_BULK_COPIES];
    unsigned n_phased, n_copies;
    ProductQueue queues[MAX_THREADS];
    struct {
        Phased* phased;
        uint32_t parity;
    } awaited[MAX_THREADS];
} warpgroups;

#define HE_GPU_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

HE_GPU_UNSEEN void forget_warpgroups() {
    warpgroups.n_phased = warpgroups.n_copies = 0;
    for (unsigned i = 0; i < machine.n_threads; i++) {
        warpgroups.queues[i].count = warpgroups.queues[i].committed = 0;
        warpgroups.queues[i].begun = false;
    }
}

HE_GPU_UNSEEN void check_no_product_is_pending(unsigned thread) {
    const ProductQueue& own = warpgroups.queues[thread];
    if (own.count == 0) return;
    record_fault(thread, "has exited while its product of %s:%d was on its way",
                 own.products[0].file, own.products[0].line);
}

HE_GPU_UNSEEN void check_no_bulk_copy_is_pending() {
    if (warpgroups.n_copies == 0) return;
    const BulkCopy& copy = warpgroups.copies[0];
    record_fault(0, "the block has ended while the bulk copy of %s:%d was on its way", copy.file,
                 copy.line);
}

HE_GPU_UNSEEN uint32_t window_address(const void* shared, HE_GPU_SITE) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(shared);
    const uintptr_t dynamic = reinterpret_cast<uintptr_t>(machine.dynamic);
    if (machine.dynamic == nullptr || begin - dynamic > machine.launch->shared_bytes) {
        stop_with_fault("address at %s:%d: not in dynamic shared memory", file, line);
    }
    return WINDOW + static_cast<uint32_t>(begin - dynamic);
}

// ---- barriers that count phases -------------------------------------------------

HE_GPU_UNSEEN Phased* phased_at(const char* operation, uint64_t* barrier, const char* file,
                                int line) {
    for (unsigned i = 0; i < warpgroups.n_phased; i++) {
        if (warpgroups.phased[i].barrier != barrier) continue;
        if (*barrier != BARRIER_WORD) {
            stop_with_fault("%s at %s:%d: the barrier was overwritten", operation, file, line);
        }
        if (!warpgroups.phased[i].visible) {
            stop_with_fault("%s at %s:%d: phases_visible is missing", operation, file, line);
        }
        return &warpgroups.phased[i];
    }
    stop_with_fault("%s at %s:%d: there is no barrier", operation, file, line);
}

HE_GPU_UNSEEN void phases_begin(unsigned long long* barrier, uint32_t arrivals, HE_GPU_SITE) {
    check_shared("barrier", barrier, 8, file, line);
    uint64_t* const word = reinterpret_cast<uint64_t*>(barrier);
    if (warpgroups.n_phased == MAX_PHASED || arrivals == 0 || arrivals > MOST_COUNTED) {
        stop_with_fault("barrier at %s:%d: needs 1 to %u arrivals, and the emulator has at most %u",
                        file, line, MOST_COUNTED, MAX_PHASED);
    }
    for (unsigned i = 0; i < warpgroups.n_phased; i++) {
        if (warpgroups.phased[i].barrier == word) {
            stop_with_fault("barrier at %s:%d: there is one already", file, line);
        }
    }
    *word = BARRIER_WORD;
    warpgroups.phased[warpgroups.n_phased++] = {word, arrivals, arrivals, 0, 0, false};
}

HE_GPU_UNSEEN inline void phases_visible() {
    for (unsigned i = 0; i < warpgroups.n_phased; i++) warpgroups.phased[i].visible = true;
}

// Ends the phase if nothing is missing.
HE_GPU_UNSEEN void settle_phase(Phased& phased) {
    if (phased.missing != 0 || phased.bytes != 0) return;
    phased.phase++;
    phased.missing = phased.arrivals;
}

HE_GPU_UNSEEN void phase_expect(unsigned long long* barrier, uint32_t bytes, HE_GPU_SITE) {
    uint64_t* const word = reinterpret_cast<uint64_t*>(barrier);
    Phased& phased = *phased_at("arrival", word, file, line);
    if (phased.missing == 0) {
        stop_with_fault("arrival at %s:%d: one more than the %u of the phase", file, line,
                        phased.arrivals);
    }
    phased.missing--;
    phased.bytes += bytes;
    if (phased.bytes > MOST_COUNTED) {
        stop_with_fault("arrival at %s:%d: a barrier counts at most %u bytes", file, line,
                        MOST_COUNTED);
    }
    settle_phase(phased);
}

HE_GPU_UNSEEN inline void phase_arrive(unsigned long long* barrier, HE_GPU_SITE) {
    phase_expect(barrier, 0, file, line);
}

// Moves the bytes of a phase of which nothing else is missing.
HE_GPU_UNSEEN void land_copies(Phased& phased) {
    if (phased.missing != 0) return;
    unsigned kept = 0;
    for (unsigned i = 0; i < warpgroups.n_copies; i++) {
        const BulkCopy copy = warpgroups.copies[i];
        if (copy.phased != &phased) {
            warpgroups.copies[kept++] = copy;
            continue;
        }
        memcpy(copy.shared, copy.global, copy.bytes);
        phased.bytes -= copy.bytes;
    }
    warpgroups.n_copies = kept;
    settle_phase(phased);
}

HE_GPU_UNSEEN bool phase_has_ended(unsigned thread) {
    Phased& phased = *warpgroups.awaited[thread].phased;
    const uint32_t parity = warpgroups.awaited[thread].parity;
    if (phased.phase % 2 == parity) land_copies(phased);
    return phased.phase % 2 != parity;
}

HE_GPU_UNSEEN void phase_wait(unsigned long long* barrier, uint32_t parity, HE_GPU_SITE) {
    uint64_t* const word = reinterpret_cast<uint64_t*>(barrier);
    Phased* const phased = phased_at("wait for a phase", word, file, line);
    if (parity > 1) stop_with_fault("wait at %s:%d: parity %u", file, line, parity);
    warpgroups.awaited[machine.current] = {phased, parity};
    if (phased->phase % 2 == parity) {
        wait_for(phase_has_ended, "the end of a phase", file, line);
    }
}

// ---- bulk copies ------------------------------------------------------------------

HE_GPU_UNSEEN inline bool overlap(const unsigned char* a, size_t a_bytes, const unsigned char* b,
                    size_t b_bytes) {
    return a < b + b_bytes && b < a + a_bytes;
}

// The lines that a descriptor names, where products may read them; checks its fields.
struct TileLines {
    uint32_t address, group_bytes;
    unsigned count;

    HE_GPU_UNSEEN TileLines(uint64_t descriptor, unsigned lines, const char* file, int line) {
        address = static_cast<uint32_t>(descriptor & 0x3fff) << 4;
        group_bytes = static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4;
        count = lines;
        // Swizzled over 128 bytes; the leading offset, which then is not used, is 1.
        if ((descriptor & ~0x3fff00003fffull) != (1ull << 62 | 1ull << 16)) {
            stop_with_fault("product at %s:%d: the emulator has descriptors for chunks swizzled "
                            "over 128 bytes alone, with base offset 0, leading offset 1 and no "
                            "other bit", file, line);
        }
        // Eight lines of 128 bytes are one pattern, which begins at a multiple of 1024.
        if (address % 1024 >= 128 || address % 32 != 0 || group_bytes % 1024 != 0) {
            stop_with_fault("product at %s:%d: a tile begins at a multiple of 1024", file, line);
        }
        const uint32_t begin = address / 1024 * 1024;
        const uint32_t end = begin + (lines / 8 - 1) * group_bytes + 1024;
        if (begin < WINDOW || end > WINDOW + machine.launch->shared_bytes) {
            stop_with_fault("product at %s:%d: a tile is not in shared memory", file, line);
        }
    }
    HE_GPU_UNSEEN unsigned char* eight(unsigned group) const {
        return machine.dynamic + (address / 1024 * 1024 + group * group_bytes - WINDOW);
    }
    HE_GPU_UNSEEN bool meets(const unsigned char* begin, size_t bytes) const {
        for (unsigned i = 0; i < count / 8; i++) {
            if (overlap(eight(i), 1024, begin, bytes)) return true;
        }
        return false;
    }
    // 32 bytes of a line: 16-byte chunks whose place depends on bits 7 to 9 of the address.
    template <class T>
    HE_GPU_UNSEEN bool read(unsigned index, T (&bytes)[32]) const {
        int any = 0;
        for (uint32_t half = 0; half < 32; half += 16) {
            const uint32_t plain = address + index / 8 * group_bytes + index % 8 * 128 + half;
            const uint32_t placed = plain ^ (plain >> 3 & 0x70);
            const unsigned char* const chunk = machine.dynamic + (placed - WINDOW);
            for (uint32_t i = 0; i < 16; i++) {
                bytes[half + i] = static_cast<signed char>(chunk[i]);
                any |= chunk[i];
            }
        }
        return any != 0;
    }
};

HE_GPU_UNSEEN void copy_bulk(void* shared, const void* global, uint32_t bytes,
                             unsigned long long* barrier, HE_GPU_SITE) {
    unsigned char* const begin = static_cast<unsigned char*>(shared);
    check_shared("bulk copy", shared, 16, file, line);
    if (!in_shared(reinterpret_cast<uintptr_t>(shared), bytes)) {
        stop_with_fault("bulk copy at %s:%d: leaves shared memory", file, line);
    }
    if (reinterpret_cast<uintptr_t>(global) % 16 != 0 || bytes % 16 != 0 || bytes == 0) {
        stop_with_fault("bulk copy at %s:%d: global address and bytes must be multiples of 16",
                        file, line);
    }
    Phased* const phased =
        phased_at("bulk copy", reinterpret_cast<uint64_t*>(barrier), file, line);
    if (warpgroups.n_copies == MAX_BULK_COPIES) {
        stop_with_fault("bulk copy at %s:%d: the emulator keeps at most %u on their way", file,
                        line, MAX_BULK_COPIES);
    }
    for (unsigned i = 0; i < warpgroups.n_copies; i++) {
        const BulkCopy& other = warpgroups.copies[i];
        if (overlap(begin, bytes, other.shared, other.bytes)) {
            stop_with_fault("bulk copy at %s:%d: the one of %s:%d still writes there", file, line,
                            other.file, other.line);
        }
    }
    for (unsigned thread = 0; thread < machine.n_threads; thread++) {
        const ProductQueue& queue = warpgroups.queues[thread];
        for (unsigned i = 0; i < queue.count; i++) {
            const TileProduct& product = queue.products[i];
            if (TileLines(product.a, 64, file, line).meets(begin, bytes) ||
                TileLines(product.b, 256, file, line).meets(begin, bytes)) {
                stop_with_fault("bulk copy at %s:%d: the product of %s:%d still reads there", file,
                                line, product.file, product.line);
            }
        }
    }
    memset(shared, 0xa5, bytes);
    warpgroups.copies[warpgroups.n_copies++] = {begin, global, phased, file, line, bytes};
}

// ---- products of a warpgroup --------------------------------------------------------

// Whether the sums still are what they were at products_begin, or the poison of later.
HE_GPU_UNSEEN bool sums_are_untouched(const ProductQueue& queue) {
    static unsigned char poison[sizeof queue.values];
    if (poison[0] == 0) memset(poison, 0xa5, sizeof poison);
    const void* const expected = queue.count == 0 ? static_cast<const void*>(queue.values) : poison;
    return memcmp(queue.sums, expected, sizeof queue.values) == 0;
}

HE_GPU_UNSEEN void products_begin(int32_t (&sums)[128], HE_GPU_SITE) {
    ProductQueue& own = warpgroups.queues[machine.current];
    own.begun = true;
    if (own.count == 0) {
        own.sums = sums;
        memcpy(own.values, sums, sizeof own.values);
    } else if (own.sums != sums) {
        stop_with_fault("products at %s:%d: the emulator has one set of sums at a time", file,
                        line);
    }
}
HE_GPU_UNSEEN inline void products_commit() { warpgroups.queues[machine.current].committed++; }

HE_GPU_UNSEEN void multiply_m64n256k32_s8(int32_t (&sums)[128], uint64_t a, uint64_t b,
                                          uint32_t accumulate, HE_GPU_SITE) {
    ProductQueue& own = warpgroups.queues[machine.current];
    if (!own.begun) stop_with_fault("product at %s:%d: products_begin is missing", file, line);
    if (own.count == MAX_PRODUCTS) {
        stop_with_fault("product at %s:%d: the emulator keeps at most %u on their way", file, line,
                        MAX_PRODUCTS);
    }
    const TileLines rows(a, 64, file, line), columns(b, 256, file, line);
    for (unsigned i = 0; i < warpgroups.n_copies; i++) {
        const BulkCopy& copy = warpgroups.copies[i];
        if (rows.meets(copy.shared, copy.bytes) || columns.meets(copy.shared, copy.bytes)) {
            stop_with_fault("product at %s:%d: the bulk copy of %s:%d still writes there", file,
                            line, copy.file, copy.line);
        }
    }
    if (own.sums != sums) {
        stop_with_fault("product at %s:%d: the emulator has one set of sums at a time", file, line);
    }
    if (!sums_are_untouched(own)) {
        stop_with_fault("product at %s:%d: the sums were touched after products_begin", file, line);
    }
    if (own.count == 0) memset(sums, 0xa5, sizeof own.values);
    own.products[own.count++] = {a, b, file, line, own.committed, accumulate != 0};
}

// Thread 32 w + 4 g + t holds in sums[i]: row 16 w + g + 8 (i / 2 % 2), column 8 (i / 4) + 2 t +
// i % 2. Lines of zeros are left out: most of a small matrix is the filling of its tiles.
HE_GPU_UNSEEN void multiply_tiles_of(unsigned first, const TileProduct& product) {
    static int16_t left[32], right[256][32];
    static unsigned columns[256];
    const TileLines a(product.a, 64, product.file, product.line);
    const TileLines b(product.b, 256, product.file, product.line);
    ProductQueue* const threads = warpgroups.queues + first;
    for (unsigned i = 0; i < GROUP_THREADS && !product.accumulate; i++) {
        memset(threads[i].values, 0, sizeof threads[i].values);
    }
    unsigned n = 0;
    for (unsigned column = 0; column < 256; column++) {
        columns[n] = column;
        if (b.read(column, right[n])) n++;
    }
    for (unsigned row = 0; row < 64; row++) {
        if (!a.read(row, left)) continue;
        for (unsigned j = 0; j < n; j++) {
            int32_t sum = 0;  // |sum| <= 32 * 128^2
            for (unsigned k = 0; k < 32; k++) sum += left[k] * right[j][k];
            const unsigned column = columns[j];
            const unsigned thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
            int32_t& value = threads[thread].values[column / 8 * 4 + row / 8 % 2 * 2 + column % 2];
            value =
                static_cast<int32_t>(static_cast<uint32_t>(value) + static_cast<uint32_t>(sum));
        }
    }
}

// Whether all 128 threads have come to the wait of one of them; then their products are made.
HE_GPU_UNSEEN bool group_has_come(unsigned thread) {
    const unsigned first = thread / GROUP_THREADS * GROUP_THREADS;
    const ProductQueue& own = warpgroups.queues[thread];
    for (unsigned i = first; i < first + GROUP_THREADS; i++) {
        const Thread& t = machine.threads[i];
        if (t.state != AT_EVENT || t.event != group_has_come ||
            !same_site(t, machine.threads[thread])) {
            return false;
        }
    }
    for (unsigned i = first; i < first + GROUP_THREADS; i++) {
        const ProductQueue& other = warpgroups.queues[i];
        bool alike = other.count == own.count && other.committed == own.committed &&
                     other.keep == own.keep;
        for (unsigned j = 0; alike && j < own.count; j++) {
            const TileProduct &x = own.products[j], &y = other.products[j];
            alike = x.a == y.a && x.b == y.b && x.accumulate == y.accumulate &&
                    x.group == y.group && x.line == y.line;
        }
        if (!alike) {
            record_fault(i, "waits at %s:%d for other products than thread %u of its warpgroup",
                         machine.threads[i].file, machine.threads[i].line, thread);
            return false;
        }
    }
    for (unsigned i = first; i < first + GROUP_THREADS; i++) {
        if (own.count == 0 || sums_are_untouched(warpgroups.queues[i])) continue;
        record_fault(i, "waits at %s:%d, and has touched the sums of its products",
                     machine.threads[i].file, machine.threads[i].line);
        return false;
    }
    const uint32_t end = own.committed > own.keep ? own.committed - own.keep : 0;
    unsigned made = 0;
    while (made < own.count && own.products[made].group < end) {
        multiply_tiles_of(first, own.products[made++]);
    }
    for (unsigned i = first; i < first + GROUP_THREADS; i++) {
        ProductQueue& queue = warpgroups.queues[i];
        queue.count -= made;
        memmove(queue.products, queue.products + made, queue.count * sizeof(TileProduct));
        if (made != 0 && queue.count == 0) {
            memcpy(queue.sums, queue.values, sizeof queue.values);
            queue.begun = false;
        }
        machine.threads[i].state = READY;
    }
    return true;
}

HE_GPU_UNSEEN void products_wait(uint32_t newest, HE_GPU_SITE) {
    const unsigned first = machine.current / GROUP_THREADS * GROUP_THREADS;
    if (first + GROUP_THREADS > machine.n_threads) {
        stop_with_fault("wait at %s:%d: a warpgroup has 128 threads, and this one has %u", file,
                        line, machine.n_threads - first);
    }
    warpgroups.queues[machine.current].keep = newest;
    wait_for(group_has_come, "the products of its warpgroup", file, line);
}

HE_GPU_UNSEEN inline void products_end(int32_t (&)[128], HE_GPU_SITE) {
    products_wait(0, file, line);
}

#undef HE_GPU_SITE

}  // namespace he_gpu_emulator
}  // namespace
