// The threads that work on one image, and the memory that they share.
#pragma once
#include "step.h"

namespace {

struct Range {
    int64_t begin, end;
};

// Channels of a map that there are: their numbers, and a bit for each channel.
struct Open {
    int count;
    const int32_t *channels;  // null: all
    const uint32_t *bits;

    int channel(int i) const { return channels ? channels[i] : i; }
};

// A list in memory: its length, `capacity` numbers, then the bits.
struct List {
    int32_t *words;
    int32_t capacity;

    int32_t *channels() const { return words + 1; }
    uint32_t *bits() const { return (uint32_t *)(words + 1 + capacity); }
};

// A thread's own memory, in this order.
constexpr int64_t kProductBytes = kChunk * kBlock * sizeof(float);
struct Local {
    float *products;  // kChunk positions x 32 outputs
    float *bias;      // of the open outputs, as many as `Memory::bias_bytes` hold
    char *gathered;   // rows of the image
    Bf16 *packed;     // weights of 32 outputs
};

struct Team {
    const Run &run;

    char *at(int64_t offset) const { return run.workspace + offset; }
    const Memory &memory() const { return run.plan->memory; }

    List list(int i) const {
        const Memory &m = memory();
        int64_t words = m.list_stride / 4;
        return {(int32_t *)at(m.lists + i * m.list_stride), (int32_t)((words - 1) / 33 * 32)};
    }
    Open open(int i, int all) const {
        if (i == kAllOpen) return {all, nullptr, nullptr};
        List from = list(i);
        return {from.words[0], from.channels(), from.bits()};
    }
    float *sums(int thread) const {
        return (float *)at(memory().sums + thread * memory().sum_stride);
    }
    Local local() const {
        char *start = at(memory().locals + run.rank * memory().local_stride);
        char *bias = start + kProductBytes, *rest = bias + memory().bias_bytes;
        return {(float *)start, (float *)bias, rest, (Bf16 *)rest};
    }
    Range share(int64_t items) const {
        return {items * run.rank / run.size, items * (run.rank + 1) / run.size};
    }
    void wait() const {
        if (run.size > 1) {
#pragma omp barrier
        }
    }
};

}  // namespace
