// Packing and finishing with AVX-512 (F, VL, BW, DQ, BF16), and the product with vdpbf16ps.
#pragma once
#include <immintrin.h>

#include "product.h"

namespace {

// Transposes 16 x 16 pairs. Register `quarter, i` holds in lane l a quarter of row 4 l + i, so that
// transposing 4 x 4 within lanes is enough.
static inline void pack_outputs_bf16_avx512(const Bf16 *const rows[kRows], int64_t offset,
                                            Bf16 *tile) {
    for (int quarter = 0; quarter < 4; quarter++) {
        __m512i r[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            int64_t at = offset + 8 * quarter;
            r[i] = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(rows[i] + at)));
            r[i] =
                _mm512_inserti32x4(r[i], _mm_loadu_si128((const __m128i *)(rows[4 + i] + at)), 1);
            r[i] =
                _mm512_inserti32x4(r[i], _mm_loadu_si128((const __m128i *)(rows[8 + i] + at)), 2);
            r[i] =
                _mm512_inserti32x4(r[i], _mm_loadu_si128((const __m128i *)(rows[12 + i] + at)), 3);
        }
        __m512i low01 = _mm512_unpacklo_epi32(r[0], r[1]),
                low23 = _mm512_unpacklo_epi32(r[2], r[3]);
        __m512i top01 = _mm512_unpackhi_epi32(r[0], r[1]),
                top23 = _mm512_unpackhi_epi32(r[2], r[3]);
        __m512i *to = (__m512i *)(tile + 4 * quarter * kBlock);
        _mm512_store_si512(to, _mm512_unpacklo_epi64(low01, low23));
        _mm512_store_si512(to + 1, _mm512_unpackhi_epi64(low01, low23));
        _mm512_store_si512(to + 2, _mm512_unpacklo_epi64(top01, top23));
        _mm512_store_si512(to + 3, _mm512_unpackhi_epi64(top01, top23));
    }
}

static inline void pack_inputs_bf16_avx512(const Bf16 *first, const Bf16 *second, int taps,
                                           Bf16 *rows0, Bf16 *rows1) {
    for (int t = 0; t < taps; t++) {
        __m512i a = _mm512_loadu_si512(first + t * kBlock);
        __m512i b = second ? _mm512_loadu_si512(second + t * kBlock) : _mm512_setzero_si512();
        _mm512_store_si512(rows0 + t * kTile, _mm512_unpacklo_epi16(a, b));
        _mm512_store_si512(rows1 + t * kTile, _mm512_unpackhi_epi16(a, b));
    }
}

// The picked ones of a row of weights.
static inline __m512i pick_outputs(const Bf16 *row, const Picks &picks) {
    __m512i picked = _mm512_setzero_si512();
    for (int i = 0; i < picks.count; i++) {
        const Picks::Pick &pick = picks.picks[i];
        __m512i low = _mm512_loadu_si512(row + pick.low),
                high = _mm512_loadu_si512(row + pick.high);
        __m512i both = _mm512_permutex2var_epi16(low, _mm512_load_si512(pick.from), high);
        picked = _mm512_mask_mov_epi16(picked, pick.lanes, both);
    }
    return picked;
}

static inline void pack_both_bf16_avx512(const Bf16 *first, const Bf16 *second, int taps,
                                         const Picks &picks, Bf16 *rows0, Bf16 *rows1) {
    for (int t = 0; t < taps; t++) {
        __m512i a = pick_outputs(first + t * kBlock, picks), b = _mm512_setzero_si512();
        if (second) b = pick_outputs(second + t * kBlock, picks);
        _mm512_store_si512(rows0 + t * kTile, _mm512_unpacklo_epi16(a, b));
        _mm512_store_si512(rows1 + t * kTile, _mm512_unpackhi_epi16(a, b));
    }
}

// 8 positions x 32 outputs in registers.
static inline void multiply_bf16_avx512(const Product &product, int64_t position, float *products) {
    constexpr int kPositions = 8;
    int second = product.n_tiles - 1;  // a missing second tile is the first once more
    for (int p = 0; p < product.m_tiles * kRows; p += kPositions) {
        __m512 sums[kPositions][2];
#pragma GCC unroll 8
        for (int i = 0; i < kPositions; i++) {
            const float *start = product.bias ? product.bias : products + (p + i) * kBlock;
            sums[i][0] = _mm512_loadu_ps(start);
            sums[i][1] = _mm512_loadu_ps(start + kRows);
        }
        for (int s = 0; s < product.num_segments; s++) {
            const Segment &segment = product.segments[s];
            int step = 0;
            for (int block = 0; block < segment.num_blocks; block++) {
                for (int tap = 0; tap < segment.num_taps; tap++, step++) {
                    const char *a = segment.rows(block, tap, position + p);
                    const Bf16 *b0 = segment.tile(0, step), *b1 = segment.tile(second, step);
                    for (int pair = 0; pair < kRows; pair++, a += 2 * sizeof(Bf16)) {
                        __m512bh w0 = (__m512bh)_mm512_load_si512(b0 + pair * kBlock);
                        __m512bh w1 = (__m512bh)_mm512_load_si512(b1 + pair * kBlock);
#pragma GCC unroll 8
                        for (int i = 0; i < kPositions; i++) {
                            int32_t two;
                            __builtin_memcpy(&two, a + i * segment.row_stride, sizeof two);
                            __m512bh x = (__m512bh)_mm512_set1_epi32(two);
                            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], x, w0);
                            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], x, w1);
                        }
                    }
                }
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < kPositions; i++) {
            _mm512_store_ps(products + (p + i) * kBlock, sums[i][0]);
            _mm512_store_ps(products + (p + i) * kBlock + kRows, sums[i][1]);
        }
    }
}

static inline __m512 widen(__m256i half) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

template <bool RESIDUAL, bool SUMS>
static inline void finish_lines(const Finish &finish, const float *products, int64_t position,
                                int count) {
    const __m512 zero = _mm512_setzero_ps();
    const __mmask32 lanes = finish.lanes;
    __m512 sum0 = zero, sum1 = zero;
    if (SUMS) sum0 = _mm512_loadu_ps(finish.sums), sum1 = _mm512_loadu_ps(finish.sums + kRows);
    for (int p = 0; p < count; p++, products += kBlock) {
        int64_t to = finish.out_table[position + p];
        _mm_prefetch(finish.ahead + p * kLine, _MM_HINT_T0);
        __m512 x0 = _mm512_load_ps(products), x1 = _mm512_load_ps(products + kRows);
        if (RESIDUAL) {
            int64_t from = finish.residual_table[position + p];
            __m512i line = _mm512_load_si512(finish.residual + from * kLine);
            x0 = _mm512_add_ps(x0, widen(_mm512_castsi512_si256(line)));
            x1 = _mm512_add_ps(x1, widen(_mm512_extracti64x4_epi64(line, 1)));
        }
        x0 = _mm512_max_ps(zero, x0);  // in this order NaN stays
        x1 = _mm512_max_ps(zero, x1);
        if (SUMS) {
            __mmask16 pixel = to != finish.dump ? 0xffff : 0;
            sum0 = _mm512_mask_add_ps(sum0, pixel, sum0, x0);
            sum1 = _mm512_mask_add_ps(sum1, pixel, sum1, x1);
        }
        __m512i line = (__m512i)_mm512_maskz_cvtne2ps_pbh(lanes, x1, x0);
        _mm512_store_si512(finish.out + to * kLine, line);
    }
    if (SUMS) {
        __mmask16 low = (__mmask16)lanes, top = (__mmask16)(lanes >> 16);
        _mm512_mask_storeu_ps(finish.sums, low, sum0);
        _mm512_mask_storeu_ps(finish.sums + kRows, top, sum1);
    }
}

static inline void finish_bf16_avx512(const Finish &finish, const float *products, int64_t position,
                                      int count) {
    if (finish.residual) {
        if (finish.sums) finish_lines<true, true>(finish, products, position, count);
        else finish_lines<true, false>(finish, products, position, count);
    } else {
        if (finish.sums) finish_lines<false, true>(finish, products, position, count);
        else finish_lines<false, false>(finish, products, position, count);
    }
}

struct Avx512Kernels {
    static void begin() {}
    static void end() {}
    static void pack_outputs(const Bf16 *const rows[kRows], int64_t offset, Bf16 *tile) {
        pack_outputs_bf16_avx512(rows, offset, tile);
    }
    static void pack_inputs(const Bf16 *first, const Bf16 *second, int taps, Bf16 *rows0,
                            Bf16 *rows1) {
        pack_inputs_bf16_avx512(first, second, taps, rows0, rows1);
    }
    static void pack_both(const Bf16 *first, const Bf16 *second, int taps, const Picks &picks,
                          Bf16 *rows0, Bf16 *rows1) {
        pack_both_bf16_avx512(first, second, taps, picks, rows0, rows1);
    }
    template <class Work>
    static void multiply(const Product &product, int64_t position, float *products, Work &) {
        multiply_bf16_avx512(product, position, products);
    }
    static void finish(const Finish &finish, const float *products, int64_t position, int count) {
        finish_bf16_avx512(finish, products, position, count);
    }
};

}  // namespace
