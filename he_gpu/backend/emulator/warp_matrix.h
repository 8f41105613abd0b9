// Matrix operations of a whole warp: ldmatrix and mma.sync on bytes.
//
// All 32 lanes must come to the same call. The products are computed from the
// fragments as the PTX ISA lays them out (sections on mma.m16n8k32 and ldmatrix),
// so a kernel that packs a fragment wrongly gets what a GPU would give it.

namespace {
namespace he_gpu_emulator {

struct MultiplyOperands {
    uint32_t a[4], b[2];
    int32_t d[4];
};

struct RowOperands {
    uint32_t row[4];  // the 16 bytes at this lane's address
    uint32_t result[4];
};

template <class T>
inline int32_t byte_of(uint32_t word, unsigned i) {
    return static_cast<T>(word >> (8 * i) & 0xffu);
}

// d (16 x 8) += a (16 x 32) b (32 x 8), sums modulo 2^32. Lane 4 g + t holds
// in a[r], byte i:  row g + 8 (r % 2),  column 16 (r / 2) + 4 t + i;
// in b[r], byte i:  row 16 r + 4 t + i, column g;
// in d[r]:          row g + 8 (r / 2),  column 2 t + r % 2.
template <class A, class B>
void multiply_fragments(void* const* operands) {
    int32_t a[16][32], b[8][32];
    for (unsigned lane = 0; lane < 32; lane++) {
        const MultiplyOperands& own = *static_cast<const MultiplyOperands*>(operands[lane]);
        const unsigned g = lane / 4, t = lane % 4;
        for (unsigned i = 0; i < 4; i++) {
            for (unsigned r = 0; r < 4; r++) {
                a[g + 8 * (r % 2)][16 * (r / 2) + 4 * t + i] = byte_of<A>(own.a[r], i);
            }
            for (unsigned r = 0; r < 2; r++) {
                b[g][16 * r + 4 * t + i] = byte_of<B>(own.b[r], i);
            }
        }
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        MultiplyOperands& own = *static_cast<MultiplyOperands*>(operands[lane]);
        const unsigned g = lane / 4, t = lane % 4;
        for (unsigned r = 0; r < 4; r++) {
            const int32_t* row = a[g + 8 * (r / 2)];
            const int32_t* column = b[2 * t + r % 2];
            int32_t sum = 0;  // |sum| <= 32 * 255^2
            for (unsigned k = 0; k < 32; k++) sum += row[k] * column[k];
            own.d[r] = static_cast<int32_t>(static_cast<uint32_t>(own.d[r]) +
                                            static_cast<uint32_t>(sum));
        }
    }
}

template <class A, class B>
void mma_m16n8k32(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                  const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    MultiplyOperands own = {
        {a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {d[0], d[1], d[2], d[3]}};
    warp_collective(multiply_fragments<A, B>, &own, file, line);
    for (unsigned r = 0; r < 4; r++) d[r] = own.d[r];
}

// Four 8 x 8 matrices of 16-bit elements; lane 8 m + r gave row r of matrix m. Lane
// 4 g + t receives in result[m] the elements 2 t and 2 t + 1 of row g; transposed,
// those of column g.
template <bool TRANSPOSED>
void deal_rows(void* const* operands) {
    for (unsigned lane = 0; lane < 32; lane++) {
        RowOperands& own = *static_cast<RowOperands*>(operands[lane]);
        const unsigned g = lane / 4, t = lane % 4;
        for (unsigned m = 0; m < 4; m++) {
            if (!TRANSPOSED) {
                own.result[m] = static_cast<RowOperands*>(operands[8 * m + g])->row[t];
                continue;
            }
            uint32_t pair = 0;
            for (unsigned i = 0; i < 2; i++) {
                const unsigned row = 2 * t + i, column = g;
                const uint32_t word =
                    static_cast<RowOperands*>(operands[8 * m + row])->row[column / 2];
                pair |= (word >> (16 * (column % 2)) & 0xffffu) << (16 * i);
            }
            own.result[m] = pair;
        }
    }
}

// A lane reads the row of its address when it comes: ldmatrix does not order the writes
// that other lanes make until the last one has come.
template <bool TRANSPOSED>
HE_GPU_UNSEEN void load_matrix_x4(uint32_t (&result)[4], const void* shared_row,
                                  const char* file = __builtin_FILE(),
                                  int line = __builtin_LINE()) {
    check_shared("ldmatrix", shared_row, 16, file, line);
    saw(READ, shared_row, 16, site_of(file, line));
    RowOperands own = {};
    memcpy(own.row, shared_row, 16);
    warp_collective(deal_rows<TRANSPOSED>, &own, file, line);
    for (unsigned m = 0; m < 4; m++) result[m] = own.result[m];
}

}  // namespace he_gpu_emulator
}  // namespace
