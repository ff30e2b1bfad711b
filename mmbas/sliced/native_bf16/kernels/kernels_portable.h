// The kernels in plain C++: the specification that the other instruction sets are tested against.
#pragma once
#include <cstring>

#include "product.h"

namespace {

// Stored position of output `o` of 32 in weights whose inputs are gated: chosen so that the
// interleaving of two rows within lanes of 128 bits, as AVX-512 does it, ends in order.
static inline int stored_output(int o) {
    return o < 16 ? 8 * (o / 4) + o % 4 : 8 * ((o - 16) / 4) + 4 + o % 4;
}

// A tile from 16 rows of 32 inputs, one row for each output.
static inline void pack_outputs_bf16_portable(const Bf16 *const rows[kRows], int64_t offset,
                                              Bf16 *tile) {
    for (int pair = 0; pair < kRows; pair++)
        for (int o = 0; o < kRows; o++)
            std::memcpy(tile + pair * kBlock + 2 * o, rows[o] + offset + 2 * pair,
                        2 * sizeof(Bf16));
}

// Row `pair` of two tiles for each tap, from two inputs' weights [tap][32 stored outputs].
// `second` may be null: zeros.
static inline void pack_inputs_bf16_portable(const Bf16 *first, const Bf16 *second, int taps,
                                             Bf16 *rows0, Bf16 *rows1) {
    for (int t = 0; t < taps; t++, first += kBlock) {
        for (int o = 0; o < kBlock; o++) {
            Bf16 *row = (o < kRows ? rows0 : rows1) + t * kTile + o % kRows * 2;
            row[0] = first[stored_output(o)];
            row[1] = second ? second[t * kBlock + stored_output(o)] : (Bf16)0;
        }
    }
}

// The same where outputs are gated as well: only open ones, close together; zeros behind them.
static inline void pack_both_bf16_portable(const Bf16 *first, const Bf16 *second, int taps,
                                           const Picks &picks, Bf16 *rows0, Bf16 *rows1) {
    for (int t = 0; t < taps; t++) {
        Bf16 pairs[kBlock][2] = {};
        for (int i = 0; i < picks.count; i++) {
            const Picks::Pick &pick = picks.picks[i];
            for (int o = 0; o < kBlock; o++) {
                int stored = stored_output(o), from = pick.from[stored];
                if (!(pick.lanes >> stored & 1)) continue;
                int64_t at = (from < kBlock ? pick.low : pick.high) + t * kBlock + from % kBlock;
                pairs[o][0] = first[at];
                pairs[o][1] = second ? second[at] : (Bf16)0;
            }
        }
        std::memcpy(rows0 + t * kTile, pairs, kLine);
        std::memcpy(rows1 + t * kTile, pairs[kRows], kLine);
    }
}

static inline void multiply_bf16_portable(const Product &product, int64_t position,
                                          float *products) {
    for (int p = 0; p < product.m_tiles * kRows; p++) {
        float *sums = products + p * kBlock;
        for (int o = 0; product.bias && o < product.n_tiles * kRows; o++) sums[o] = product.bias[o];
        for (int s = 0; s < product.num_segments; s++) {
            const Segment &segment = product.segments[s];
            for (int step = 0; step < segment.num_blocks * segment.num_taps; step++) {
                int block = step / segment.num_taps, tap = step % segment.num_taps;
                const Bf16 *a = (const Bf16 *)segment.rows(block, tap, position + p);
                for (int n = 0; n < product.n_tiles; n++) {
                    const Bf16 *b = segment.tile(n, step);
                    for (int k = 0; k < kBlock; k++)
                        for (int o = 0; o < kRows; o++)
                            sums[n * kRows + o] +=
                                to_float(a[k]) * to_float(b[k / 2 * kBlock + 2 * o + k % 2]);
                }
            }
        }
    }
}

static inline void finish_bf16_portable(const Finish &finish, const float *products,
                                        int64_t position, int count) {
    for (int p = 0; p < count; p++) {
        int32_t to = finish.out_table[position + p];
        const Bf16 *residual = nullptr;
        if (finish.residual)
            residual = (const Bf16 *)(finish.residual +
                                      (int64_t)finish.residual_table[position + p] * kLine);
        Bf16 line[kBlock];
        for (int o = 0; o < kBlock; o++) {
            float x = finish.lanes >> o & 1 ? products[p * kBlock + o] : 0;
            if (residual && finish.lanes >> o & 1) x += to_float(residual[o]);
            if (x < 0) x = 0;  // NaN stays
            if (finish.sums && to != finish.dump) finish.sums[o] += x;
            line[o] = to_bf16(x);
        }
        std::memcpy(finish.out + (int64_t)to * kLine, line, sizeof line);
    }
}

struct PortableKernels {
    static void begin() {}
    static void end() {}
    static void pack_outputs(const Bf16 *const rows[kRows], int64_t offset, Bf16 *tile) {
        pack_outputs_bf16_portable(rows, offset, tile);
    }
    static void pack_inputs(const Bf16 *first, const Bf16 *second, int taps, Bf16 *rows0,
                            Bf16 *rows1) {
        pack_inputs_bf16_portable(first, second, taps, rows0, rows1);
    }
    static void pack_both(const Bf16 *first, const Bf16 *second, int taps, const Picks &picks,
                          Bf16 *rows0, Bf16 *rows1) {
        pack_both_bf16_portable(first, second, taps, picks, rows0, rows1);
    }
    template <class Work>
    static void multiply(const Product &product, int64_t position, float *products, Work &) {
        multiply_bf16_portable(product, position, products);
    }
    static void finish(const Finish &finish, const float *products, int64_t position, int count) {
        finish_bf16_portable(finish, products, position, count);
    }
};

}  // namespace
