// Convolution over planes (plan.h), vectorised over positions.
//
// The micro-kernel holds ROWS output channels x WIDTH positions in registers:
//
//     for each open input channel, for each tap:
//         load the positions at the tap's shift; for each row: broadcast a weight, multiply, add
//
// Closed input channels have no plane and are stepped over in the weights by their list; closed
// output channels are no rows. So nothing is gathered or reordered.
//
// Weights: OIHW as they are (a row is a pointer), or, where only inputs are gated, in blocks
// [O / kRows][I][taps][kRows], so that an open input channel is one contiguous piece.
#pragma once
#include "conv.h"

namespace f32 {
namespace {

static_assert(kRows == 6, "conv_tile: kRows rows of kVecs vectors fill the registers");

// Accumulators of WIDTH positions: full vectors, and a half one for the end of a plane.
template <int ROWS, int VECS, bool HALF>
struct Accumulators {
    Vec full[ROWS][VECS + 1];  // the last is not used, but an array must not be empty
    HalfVec half[ROWS];
};

template <int ROWS, int VECS, bool HALF, bool BLOCKS>
static inline void multiply(const Conv &conv, int row, int64_t position,
                            Accumulators<ROWS, VECS, HALF> &acc) {
    const Op &op = conv.op;
    const int taps = op.taps;
    const int64_t *offsets = op.tap_offsets;
    const float *rows[ROWS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
        rows[r] = op.weights + (int64_t)conv.out_channel(row + r) * op.in_channels * taps;
    const float *block = op.weights + (int64_t)row * op.in_channels * taps;
    const float *in = conv.in + position;
    for (int i = 0; i < conv.num_in; i++, in += op.in_grid.channel_stride) {
        int64_t first = (int64_t)conv.in_list[i] * taps;
        int64_t ahead = (int64_t)conv.in_list[i + kLookAhead] * taps;
        if (BLOCKS) {
            const float *next = block + ahead * kRows;
            for (int b = 0; b < taps * kRows; b += kLineFloats) __builtin_prefetch(next + b);
            __builtin_prefetch(next + taps * kRows - 1);
        } else {
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) __builtin_prefetch(rows[r] + ahead);
        }
        // The next plane is another page, where the CPU does not read ahead by itself.
        const float *plane = in + op.in_grid.channel_stride;
        for (int j = 0; j < VECS + HALF; j++) {
            __builtin_prefetch(plane + j * kLanes);
            if (taps > 1) __builtin_prefetch(plane + offsets[taps - 1] + j * kLanes);
        }
        for (int t = 0; t < taps; t++) {
            const float *x = in + offsets[t];
            Vec v[VECS + 1];
            HalfVec half = {};
#pragma GCC unroll 8
            for (int j = 0; j < VECS; j++) v[j] = load(x + j * kLanes);
            if (HALF) half = load<HalfVec>(x + VECS * kLanes);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                float w = BLOCKS ? block[(first + t) * kRows + r] : rows[r][first + t];
#pragma GCC unroll 8
                for (int j = 0; j < VECS; j++) acc.full[r][j] += splat(w) * v[j];
                if (HALF) acc.half[r] += splat<HalfVec>(w) * half;
            }
        }
    }
}

// Adds what is there, applies ReLU, clears padding, stores; returns what it stored.
template <class V>
static inline V finish(const Op &op, V v, float *out, const int32_t *mask) {
    if (op.accumulate) v += load<V>(out);
    if (op.relu) v = relu(v);
    v = keep(v, mask);
    store(out, v);
    return v;
}

template <int ROWS, int VECS, bool HALF>
static inline void store_rows(const Conv &conv, int row, int64_t position,
                              const Accumulators<ROWS, VECS, HALF> &acc) {
    const Op &op = conv.op;
    const int32_t *mask = op.mask + position;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        if (row + r >= conv.num_out) break;
        float *out = conv.out + (int64_t)(row + r) * op.out_grid.channel_stride + position;
        Vec total = {};
#pragma GCC unroll 8
        for (int j = 0; j < VECS; j++)
            total += finish(op, acc.full[r][j], out + j * kLanes, mask + j * kLanes);
        float rest = 0;
        if (HALF) {
            HalfVec stored = finish(op, acc.half[r], out + VECS * kLanes, mask + VECS * kLanes);
            if (conv.pool) rest = sum(stored);
        }
        if (conv.pool) {
            float *pool = conv.pool + (int64_t)(row + r) * kLanes;
            store(pool, load(pool) + total);
            pool[0] += rest;
        }
    }
}

template <int ROWS, int VECS, bool HALF, bool BLOCKS>
static void conv_tile(const Conv &conv, int row, int64_t position) {
    Accumulators<ROWS, VECS, HALF> acc;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
        float bias = conv.op.bias[conv.out_channel(row + r)];
#pragma GCC unroll 8
        for (int j = 0; j < VECS; j++) acc.full[r][j] = splat(bias);
        if (HALF) acc.half[r] = splat<HalfVec>(bias);
    }
    multiply<ROWS, VECS, HALF, BLOCKS>(conv, row, position, acc);
    store_rows<ROWS, VECS, HALF>(conv, row, position, acc);
}

template <int ROWS, int VECS, bool HALF>
static void conv_tile(const Conv &conv, int row, int64_t position) {
    if (conv.op.packed) conv_tile<ROWS, VECS, HALF, true>(conv, row, position);
    else conv_tile<ROWS, VECS, HALF, false>(conv, row, position);
}

// `halves`: how many half vectors of positions are left from here on. Computing a half one pays
// where it costs half, with AVX-512 on some CPUs.
template <int ROWS>
static void conv_tile(const Conv &conv, int row, int64_t position, int halves) {
#if defined(__AVX512F__)
    switch (halves) {
        case 1: return conv_tile<ROWS, 0, true>(conv, row, position);
        case 2: return conv_tile<ROWS, 1, false>(conv, row, position);
        case 3: return conv_tile<ROWS, 1, true>(conv, row, position);
        case 4: return conv_tile<ROWS, 2, false>(conv, row, position);
        case 5: return conv_tile<ROWS, 2, true>(conv, row, position);
        case 6: return conv_tile<ROWS, 3, false>(conv, row, position);
        case 7: return conv_tile<ROWS, 3, true>(conv, row, position);
        default: return conv_tile<ROWS, 4, false>(conv, row, position);
    }
#else
    if (halves <= 2) conv_tile<ROWS, 1, false>(conv, row, position);
    else conv_tile<ROWS, 2, false>(conv, row, position);
#endif
}

static void conv_tile(const Conv &conv, int row, int64_t position, int halves) {
    int rows = conv.num_out - row;
    if (rows > 4) conv_tile<6>(conv, row, position, halves);
    else if (rows > 2) conv_tile<4>(conv, row, position, halves);
    else conv_tile<2>(conv, row, position, halves);
}

static void run_conv(const Op &op, const Team &team) {
    Conv conv(op, team);
    if (op.pool) team.clear_pool(op.out_channels);
    const Grid &grid = op.out_grid;
    int64_t positions = (int64_t)(grid.height - 1) * grid.pitch + grid.width;
    int64_t halves = div_up(positions, kLanes / 2);
    Items items(conv, team, div_up(positions, kTile), div_up(conv.num_out, kRows));
    while (items.next()) {
        int64_t left = halves - items.tile * 2 * kVecs;
        conv_tile(conv, items.block * kRows, items.tile * kTile, left);
    }
}

}  // namespace
}  // namespace f32
