// The gate network, and the lists of open channels that it decides.
#pragma once
#include "team.h"

namespace f32 {
namespace {

static inline float dot(const float *a, const float *b, int n) {
    Vec total[2] = {};
    int i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
        total[0] += load(a + i) * load(b + i);
        total[1] += load(a + i + kLanes) * load(b + i + kLanes);
    }
    float rest = 0;
    for (; i < n; i++) rest += a[i] * b[i];
    return sum(total[0] + total[1]) + rest;
}

static void fill_list(int32_t *list, const float *logits, int num_gates) {
    assert(num_gates >= 0);
    int n = 0;
    for (int g = 0; g < num_gates; g++) {
        list[1 + n] = g;
        n += logits[g] > 0;
    }
    list[0] = n;
    for (int i = 0; i < kLookAhead; i++) list[1 + n + i] = 0;
}

// logits = W2 relu(W1 mean + b1) + b2; `forced` replaces them afterwards.
static void run_gate(const Op &op, const Team &team, float *logits, const float *forced) {
    if (team.rank != 0) return;
    assert(op.weights && op.bias && op.weights2 && op.bias2 && logits);
    assert(0 <= op.num_lists && op.num_lists <= 2);
    team.check_range(op.scratch, op.scratch + op.in_channels + op.hidden);
    float *means = team.floats(op.scratch), *hidden = means + op.in_channels;
    float pixels = (float)op.in_grid.height * op.in_grid.width;
    for (int c = 0; c < op.in_channels; c++) {
        Vec total = {};
        for (int t = 0; t < team.size; t++) total += load(team.pool(t) + (int64_t)c * kLanes);
        means[c] = sum(total) / pixels;
    }
    for (int h = 0; h < op.hidden; h++) {
        float x = dot(op.weights + (int64_t)h * op.in_channels, means, op.in_channels);
        hidden[h] = larger(0, x + op.bias[h]);
    }
    for (int g = 0; g < op.out_channels; g++) {
        float x = dot(op.weights2 + (int64_t)g * op.hidden, hidden, op.hidden) + op.bias2[g];
        logits[g] = forced ? forced[g] : x;
    }
    for (int i = 0; i < op.num_lists; i++)
        fill_list(team.list_at(i), logits + op.list_starts[i], op.list_ends[i] - op.list_starts[i]);
}

}  // namespace
}  // namespace f32
