// The rate of products whose operands are in the first-level cache.
#pragma once
#include "product.h"

namespace {

template <class Kernels>
double peak_rate(double (*clock)()) {
    constexpr int kTaps = 9, kRounds = 20;
    alignas(64) Bf16 map[kChunk * kBlock] = {}, tiles[2 * kTaps * kTile] = {};
    alignas(64) float sums[kChunk * kBlock], bias[kBlock] = {};
    const int64_t shifts[kTaps] = {};
    Product product = {};
    product.num_segments = 1;
    product.m_tiles = kChunk / kRows;
    product.n_tiles = 2;
    product.bias = bias;
    product.segments[0] = {(const char *)map, kLine, 0, shifts, kTaps, 1, tiles, kTaps * kTile};
    NoWork work;
    Kernels::begin();
    double start = 0;
    for (int round = -kRounds; round < kRounds; round++) {  // the first half warms up
        if (round == 0) start = clock();
        Kernels::multiply(product, 0, sums, work);
    }
    double seconds = clock() - start;
    Kernels::end();
    return seconds <= 0 ? 0 : (double)kRounds * kChunk * 2 * kRows * kTaps * kBlock / seconds;
}

}  // namespace
