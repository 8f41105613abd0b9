// Bit matrices transposed by a warp: what each lane does depends on its number alone.
//
// Element e of a group of 64 words becomes bit e of the group's planes, plane j holding
// bit j of each. Five exchanges between lanes, and for 64-bit words one within them.
// Source: Warren, "Hacker's Delight", 2nd ed., section 7-3.
#pragma once
#include "primitives.cuh"

// Transposes two 32 x 32 bit matrices: row i is held by lane i, one matrix in the low halves of
// x and one in the high halves. At each level the lanes that differ in one bit of their number
// exchange the columns for which that bit is not the lane's own.
__device__ __forceinline__ u64 transpose_lanes(u64 x, u32 lane) {
    u64 columns = 0x0000ffff0000ffffull;  // those that lack the bit `distance` in their number
#pragma unroll
    for (u32 distance = 16; distance; distance /= 2) {
        const u64 other = shuffle_xor(0xffffffffu, x, distance);
        const bool set = lane & distance;
        const u64 kept = set ? ~columns : columns;
        x = (x & kept) | ((set ? other >> distance : other << distance) & ~kept);
        columns ^= columns << distance / 2;
    }
    return x;
}

// The planes of one group of 64 elements; this lane gives elements `lane` and lane + 32, and
// gets planes `lane` and, of 64-bit words, lane + 32.
__device__ __forceinline__ void turn_group(const u64 (&elements)[2], u32 lane, u64 (&planes)[2]) {
    const u64 low = 0xffffffffull;
    planes[0] = transpose_lanes((elements[0] & low) | (elements[1] << 32), lane);
    planes[1] = transpose_lanes((elements[0] >> 32) | (elements[1] & ~low), lane);
}
__device__ __forceinline__ void turn_group(const u32 (&elements)[2], u32 lane, u64 (&planes)[1]) {
    planes[0] = transpose_lanes(static_cast<u64>(elements[1]) << 32 | elements[0], lane);
}
