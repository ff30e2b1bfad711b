// The threads that work on one image, and the memory that they share.
#pragma once
#include "product.h"

namespace {

struct Range {
    int64_t begin, end;
};

// Channels of a map that there are.
struct Open {
    int count;
    const int32_t *channels;  // their numbers; null: all

    int channel(int i) const { return channels ? channels[i] : i; }
};

// A list in memory: its length, then the numbers.
struct List {
    int32_t *words;

    int32_t *channels() const { return words + 1; }
};

// A thread's own memory, in this order.
struct Local {
    float *products;  // sums for positions x 32 outputs
    float *bias;      // of the open outputs
    Picks *picks;     // for each pair of N tiles
    char *gathered;   // rows of the image
    Bf16 *packed;     // two pieces of weights
};

struct Team {
    const Run &run;

    char *at(int64_t offset) const { return run.workspace + offset; }
    const Memory &memory() const { return run.plan->memory; }

    List list(int i) const { return {(int32_t *)at(memory().lists + i * memory().list_stride)}; }
    Open open(int i, int all) const {
        if (i == kAllOpen) return {all, nullptr};
        List from = list(i);
        return {from.words[0], from.channels()};
    }
    float *sums(int thread) const {
        return (float *)at(memory().sums + thread * memory().sum_stride);
    }
    Local local() const {
        char *start = at(memory().locals + run.rank * memory().local_stride);
        char *bias = start + memory().product_bytes, *picks = bias + memory().bias_bytes;
        char *rest = picks + memory().picks_bytes;
        return {(float *)start, (float *)bias, (Picks *)picks, rest, (Bf16 *)rest};
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
