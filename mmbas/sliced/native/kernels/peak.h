// The rate of multiplications whose operands are in registers: what a convolution could reach.
#pragma once
#include "conv_kernel.h"

namespace f32 {
namespace {

double peak_rate(double (*clock)()) {
    constexpr int kRounds = 100000;
    Vec sums[kRows][kVecs] = {}, values[kVecs];
    for (int j = 0; j < kVecs; j++) values[j] = splat((float)j);
    double start = clock();
    for (int round = 0; round < kRounds; round++) {
        const Vec weight = splat((float)round);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; r++)
#pragma GCC unroll 8
            for (int j = 0; j < kVecs; j++) sums[r][j] += weight * values[j];
        asm volatile("" ::"r"(values) : "memory");  // so that each round is computed
    }
    double seconds = clock() - start;
    float total = 0;
    for (auto &row : sums)
        for (Vec &each : row) total += sum(each);
    return total < 0 || seconds <= 0 ? 0 : (double)kRounds * kRows * kVecs * kLanes / seconds;
}

}  // namespace
}  // namespace f32
