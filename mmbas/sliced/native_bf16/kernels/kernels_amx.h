// The product with AMX; packing and finishing are those of AVX-512.
//
// Tile registers:  0 to 3 sums, 4 and 5 positions (A), 6 and 7 outputs (B).
//
//          B6  B7            2 x 2: 32 positions x 32 outputs, two loads of each kind for four
//     A4    0   1                   products, which hide the loads as far as they hit the L1 cache
//     A5    2   3
#pragma once
#include "kernels_avx512.h"

namespace {

struct alignas(64) TileConfig {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64, "as ldtilecfg reads it");

// All eight tiles 16 rows of 64 bytes. The compiler's own intrinsic reads 8 bytes only, as far as
// the compiler knows, and the rest of the structure would be optimised away.
static inline void load_tile_config() {
    TileConfig config = {};
    config.palette = 1;
    for (int tile = 0; tile < 8; tile++) config.row_bytes[tile] = kLine, config.rows[tile] = kRows;
    asm volatile("ldtilecfg %0" ::"m"(config));
}

// In the compiler's eyes tile loads and stores do not touch memory, so that others may move.
static inline void memory_fence() { asm volatile("" ::: "memory"); }

constexpr int kPitch = kBlock * sizeof(float);  // between positions of sums, in bytes

template <int M, int N>
static inline void load_sums(const float *from, int64_t pitch) {
    const float *second = (const float *)((const char *)from + kRows * pitch);
    _tile_loadd(0, from, pitch);
    if constexpr (N > 1) _tile_loadd(1, from + kRows, pitch);
    if constexpr (M > 1) _tile_loadd(2, second, pitch);
    if constexpr (M > 1 && N > 1) _tile_loadd(3, second + kRows, pitch);
}

// M x N tiles, M <= 2, N <= 2.
template <int M, int N, class Work>
static inline void multiply_tiles(const Product &product, int64_t position, float *products,
                                  Work &work) {
    if (product.bias) load_sums<M, N>(product.bias, 0);  // a pitch of 0 repeats one row
    else load_sums<M, N>(products, kPitch);
    for (int s = 0; s < product.num_segments; s++) {
        const Segment &segment = product.segments[s];
        const int64_t stride = segment.row_stride;
        const Bf16 *b = segment.b;
        for (int block = 0; block < segment.num_blocks; block++) {
            for (int tap = 0; tap < segment.num_taps; tap++, b += kTile) {
                const char *a = segment.rows(block, tap, position);
                _tile_loadd(4, a, stride);
                _tile_loadd(6, b, kLine);
                _tile_dpbf16ps(0, 4, 6);
                if constexpr (N > 1) {
                    _tile_loadd(7, b + segment.tile_stride, kLine);
                    _tile_dpbf16ps(1, 4, 7);
                }
                if constexpr (M > 1) {
                    _tile_loadd(5, a + kRows * stride, stride);
                    _tile_dpbf16ps(2, 5, 6);
                }
                if constexpr (M > 1 && N > 1) _tile_dpbf16ps(3, 5, 7);
                work.step();
            }
        }
    }
    _tile_stored(0, products, kPitch);
    if constexpr (N > 1) _tile_stored(1, products + kRows, kPitch);
    if constexpr (M > 1) _tile_stored(2, products + kRows * kBlock, kPitch);
    if constexpr (M > 1 && N > 1) _tile_stored(3, products + kRows * kBlock + kRows, kPitch);
}

template <class Work>
static inline void multiply_bf16_amx(const Product &product, int64_t position, float *products,
                                     Work &work) {
    memory_fence();
    for (int m = 0; m < product.m_tiles; m += 2) {
        int64_t from = position + m * kRows;
        float *to = products + m * kRows * kBlock;
        bool two = product.m_tiles - m > 1;
        if (product.n_tiles > 1) {
            if (two) multiply_tiles<2, 2>(product, from, to, work);
            else multiply_tiles<1, 2>(product, from, to, work);
        } else {
            if (two) multiply_tiles<2, 1>(product, from, to, work);
            else multiply_tiles<1, 1>(product, from, to, work);
        }
    }
    memory_fence();
}

struct AmxKernels : Avx512Kernels {
    static void begin() { load_tile_config(); }
    static void end() { _tile_release(); }
    template <class Work>
    static void multiply(const Product &product, int64_t position, float *products, Work &work) {
        multiply_bf16_amx(product, position, products, work);
    }
};

}  // namespace
