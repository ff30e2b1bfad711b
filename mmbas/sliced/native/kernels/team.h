// The threads that work on one image, and the memory that they share.
#pragma once
#include <cassert>
#include <cstring>

#include "plan.h"
#include "vectors.h"

namespace f32 {
namespace {

struct Range {
    int64_t begin, end;
};

struct Team {
    const Layout &layout;
    float *workspace;
    int rank, size;

    float *floats(int64_t offset) const { return workspace + offset; }

    // A list: its length, then the numbers of the open channels in ascending order, then slack.
    int32_t *list_at(int i) const {
        assert(0 <= i && i < 2);
        return (int32_t *)(workspace + layout.lists + i * layout.list_stride);
    }
    const int32_t *list(int i) const { return i < 0 ? nullptr : list_at(i) + 1; }
    int count(int i, int all) const { return i < 0 ? all : list_at(i)[0]; }

    // Sums of channels, kLanes partial ones for each, one set per thread.
    float *pool(int thread) const {
        return workspace + layout.pools + thread * layout.pool_stride;
    }
    float *pool() const { return pool(rank); }
    void clear_pool(int channels) const {
        std::memset(pool(), 0, sizeof(float) * kLanes * channels);
    }

    Range share(int64_t items) const { return {items * rank / size, items * (rank + 1) / size}; }

    // Asserts that `count` planes of `grid` at `offset` lie in the workspace.
    void check_planes(int64_t offset, const Grid &grid, int64_t count) const {
        assert(grid.height > 0 && grid.width > 0 && grid.pitch >= grid.width);
        int64_t plane = (int64_t)(grid.height - 1) * grid.pitch + grid.width;
        assert(plane <= grid.channel_stride || count <= 1);
        check_range(offset,
                    count > 0 ? offset + (count - 1) * grid.channel_stride + plane : offset);
    }
    void check_range(int64_t begin, int64_t end) const {
        (void)begin, (void)end;  // not used without assertions
        assert(0 <= begin && begin <= end && end <= layout.total);
    }

    void wait() const {
        if (size > 1) {
#pragma omp barrier
        }
    }
};

}  // namespace
}  // namespace f32
