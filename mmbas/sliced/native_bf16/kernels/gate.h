// The gate network, in float32, and the lists of open channels that it decides.
#pragma once
#include "team.h"

namespace {

// Several sums side by side, which the compiler may turn into a vector.
float dot(const float *a, const float *b, int n) {
    float sums[kSums] = {}, rest = 0;
    int i = 0;
    for (; i + kSums <= n; i += kSums)
        for (int j = 0; j < kSums; j++) sums[j] += a[i + j] * b[i + j];
    for (; i < n; i++) rest += a[i] * b[i];
    for (int j = 0; j < kSums; j++) rest += sums[j];
    return rest;
}

void fill_list(List list, const float *logits, int num_gates) {
    int n = 0;
    for (int g = 0; g < num_gates; g++) {
        bool open = logits[g] > 0;
        list.channels()[n] = g;  // without a branch, which would often be mispredicted
        n += open;
    }
    list.words[0] = n;
}

void run_gate(const GateStep &step, const Team &team) {
    if (team.run.rank != 0) return;
    const MmbasGate &gate = step.gate;
    const MmbasCall &call = *team.run.call;
    float *means = (float *)team.at(team.memory().gate), *hidden = means + gate.in_channels;
    for (int c = 0; c < gate.in_channels; c++) means[c] = 0;
    for (int thread = 0; thread < team.run.size; thread++)
        for (int c = 0; c < gate.in_channels; c++) means[c] += team.sums(thread)[c];
    for (int c = 0; c < gate.in_channels; c++) means[c] /= step.pixels;
    for (int h = 0; h < gate.hidden; h++) {
        float x = dot(gate.weights + (int64_t)h * gate.in_channels, means, gate.in_channels);
        x += gate.bias[h];
        hidden[h] = x < 0 ? 0 : x;  // NaN stays
    }
    const int64_t first = (int64_t)team.run.image * gate.num_gates;
    const float *forced = call.forced[step.number];
    float *logits = call.logits[step.number] + first;
    const float *weights = gate.weights2;  // [gates / kSums][hidden][kSums]
    for (int g = 0; g < gate.num_gates; g += kSums) {
        float sums[kSums] = {};
        for (int h = 0; h < gate.hidden; h++, weights += kSums)
            for (int j = 0; j < kSums; j++) sums[j] += hidden[h] * weights[j];
        for (int j = 0; j < kSums && g + j < gate.num_gates; j++)
            logits[g + j] = sums[j] + gate.bias2[g + j];
    }
    if (forced) std::memcpy(logits, forced + first, sizeof(float) * gate.num_gates);
    for (int i = 0; i < step.num_lists; i++)
        fill_list(team.list(i), logits + step.starts[i], step.ends[i] - step.starts[i]);
}

}  // namespace
