// The threads that work on one image, and the memory that they share.
#pragma once
#include <cstring>

#include "plan.h"
#include "vectors.h"

constexpr int kLookAhead = 8;  // entries of a list between prefetch and use

struct Range {
    int64_t begin, end;
};

struct Team {
    const Call &call;
    float *workspace;
    int rank, size;

    float *floats(int64_t offset) const { return workspace + offset; }

    // A list: its length, then the numbers of the open channels in ascending order, then slack.
    int32_t *list_at(int i) const {
        return (int32_t *)(workspace + call.lists_offset + i * call.list_stride);
    }
    const int32_t *list(int i) const { return i < 0 ? nullptr : list_at(i) + 1; }
    int count(int i, int all) const { return i < 0 ? all : list_at(i)[0]; }

    // Sums of channels, kLanes partial ones for each, one set per thread.
    float *pool(int thread) const {
        return workspace + call.pools_offset + thread * call.pool_stride;
    }
    float *pool() const { return pool(rank); }
    void clear_pool(int channels) const {
        std::memset(pool(), 0, sizeof(float) * kLanes * channels);
    }

    Range share(int64_t items) const {
        return {items * rank / size, items * (rank + 1) / size};
    }

    void wait() const {
        if (size > 1) {
#pragma omp barrier
        }
    }
};
