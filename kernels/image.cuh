// Images as factors of matrix products: a convolution without a copy of its windows.
//
// The windows of images are the columns of a matrix that is never stored. Column n is a result's
// window, n = (image, p, q), and row k a place in it, k = (channel, i, j); the word there is
//   X[image, channel, p stride + i dilation - low, q stride + j dilation - low]
// where X is the image with zeros between its lines (input dilation) and around it. Where a
// window begins (Origin) and where a place lies in it (Tap) only have to be added.
// Divisions are multiplications by constants of the launcher: he_gpu/backend/device/conv.py, which
// also bounds all sizes, so that sums of them stay below 2^31.
// Defined by he_gpu/backend/definition/conv.py.
// Source of the division: Granlund and Montgomery, PLDI 1994, section 4.
// Constant-time: addresses and branches depend on shapes alone.
#pragma once
#include "primitives.cuh"

// n / value for n < 2^31: multiplier = ceil(2^shift / value), shift = 31 + ceil(log2 value).
struct Divisor {
    u32 value, multiplier, shift;

    __device__ __forceinline__ u32 divide(u32 n) const {
        return static_cast<u32>(static_cast<u64>(n) * multiplier >> shift);
    }
};

// Rows or columns: lines of X, the window's stride over them and its dilation, lines of zeros
// before the first (negative: lines left out), and how far apart X has the image's lines.
struct Axis {
    u32 lines;
    i32 stride, dilation, low;
    Divisor apart;
};

struct Origin {
    i32 row, column;
    u32 image;
};

struct Tap {
    i32 row, column;
    u32 channel;
};

// What all images of a launch have in common.
struct Windows {
    Axis rows, columns;
    Divisor area, width;    // words of a window's channel, and of its row
    Divisor pixels, across; // results of an image's channel, and of their row

    __device__ __forceinline__ Origin origin(u32 n) const {
        const u32 image = pixels.divide(n), pixel = n - image * pixels.value;
        const u32 p = across.divide(pixel), q = pixel - p * across.value;
        return {static_cast<i32>(p) * rows.stride - rows.low,
                static_cast<i32>(q) * columns.stride - columns.low, image};
    }
    // An origin whose windows lie outside of every image.
    __device__ __forceinline__ static Origin nowhere() { return {-0x7fffffff - 1, 0, 0}; }
    __device__ __forceinline__ Tap tap(u32 k) const {
        const u32 channel = area.divide(k), place = k - channel * area.value;
        const u32 i = width.divide(place), j = place - i * width.value;
        return {static_cast<i32>(i) * rows.dilation, static_cast<i32>(j) * columns.dilation,
                channel};
    }
};

// Images (parties, batches, images, channels, rows, columns), with a step in words for every axis.
template <class W>
struct Image {
    typedef Windows Geometry;
    const W* data;
    i64 party_step, batch_step, image_step, channel_step;
    i32 row_step, column_step;

    __device__ __forceinline__ const W* matrix(u64 party, u64 batch) const {
        return data + (static_cast<i64>(party) * party_step + static_cast<i64>(batch) * batch_step);
    }
    // Whether a window has an image's word at a place, and then its offset.
    __device__ __forceinline__ bool find(const Windows& windows, const Origin& origin,
                                         const Tap& tap, i64& offset) const {
        const u32 row = static_cast<u32>(origin.row) + static_cast<u32>(tap.row);
        const u32 column = static_cast<u32>(origin.column) + static_cast<u32>(tap.column);
        const Divisor &down = windows.rows.apart, &across = windows.columns.apart;
        const u32 r = down.divide(row), c = across.divide(column);
        const bool inside = row < windows.rows.lines && column < windows.columns.lines &&
                            r * down.value == row && c * across.value == column;
        const u32 place = r * static_cast<u32>(row_step) + c * static_cast<u32>(column_step);
        offset = static_cast<i64>(origin.image) * image_step +
                 static_cast<i64>(tap.channel) * channel_step + static_cast<i32>(place);
        offset = inside ? offset : 0;
        return inside;
    }
};

// Where results go, (batches, images, m, pixels), and what every party adds to them, in the same
// order but for a step of the parties.
template <class W>
struct ImageResult {
    const W* add;
    i64 add_party;
    W* out;
    i64 batch_step, image_step, row_step;
    u64 parties;
    Divisor pixels;

    // Not `first`: adds to the word that this thread stored before. `split`: adds to a word that
    // other blocks add to as well, in a ring that wraps.
    template <class Ring>
    __device__ __forceinline__ void store(Ring ring, u64 batch, u64 row, u64 column, W word,
                                          bool first = true, bool split = false) const {
        const u32 image = pixels.divide(static_cast<u32>(column));
        const i64 pixel = static_cast<u32>(column) - image * pixels.value;
        const i64 place = static_cast<i64>(batch) * batch_step +
                          static_cast<i64>(image) * image_step +
                          static_cast<i64>(row) * row_step + pixel;
        if (first && add) {
#pragma unroll 1
            for (u64 party = 0; party < parties; party++) {
                word = ring.add(word, add[static_cast<i64>(party) * add_party + place]);
            }
        }
        if constexpr (Ring::WRAPS) {
            if (split) {
                atomicAdd(out + place, word);
                return;
            }
        }
        out[place] = first ? word : ring.add(word, out[place]);
    }
};
