// Operations on planes other than convolutions. Threads share the channels.
#pragma once
#include "team.h"

namespace f32 {
namespace {

static inline const float *row_of(const float *plane, const Grid &grid, int64_t y) {
    return plane + y * grid.pitch;
}

// Copies into padded planes, or with stride 2 into phases.
static void run_split(const Op &op, const Team &team, const float *image) {
    const Grid &from = op.in_grid, &to = op.out_grid;
    int channels = team.count(op.in_list, op.in_channels);
    int phases = op.stride * op.stride;
    assert(op.stride == 1 || op.stride == 2);
    team.check_planes(op.out_offset, to, (int64_t)channels * phases);
    const float *source = op.tensor >= 0 ? image : team.floats(op.in_offset);
    Range share = team.share((int64_t)channels * phases);
    for (int64_t i = share.begin; i < share.end; i++) {
        int top = i % phases / op.stride, left = i % op.stride;
        const float *in = source + i / phases * from.channel_stride;
        float *out = team.floats(op.out_offset) + i * to.channel_stride;
        int rows = div_up(from.height - top, op.stride);
        int columns = div_up(from.width - left, op.stride);
        for (int y = 0; y < rows; y++, out += to.pitch) {
            const float *row = row_of(in, from, op.stride * y + top) + left;
            if (op.stride == 1) {
                std::memcpy(out, row, sizeof(float) * columns);
            } else {
                for (int x = 0; x < columns; x++) out[x] = row[2 * x];
            }
        }
    }
}

static void run_subsample(const Op &op, const Team &team) {
    const Grid &from = op.in_grid, &to = op.out_grid;
    assert((to.height - 1) * op.stride < from.height && (to.width - 1) * op.stride < from.width);
    team.check_planes(op.in_offset, from, op.in_channels);
    team.check_planes(op.out_offset, to, op.out_channels);
    Range share = team.share(op.out_channels);
    for (int64_t c = share.begin; c < share.end; c++) {
        const float *in = team.floats(op.in_offset) + c * from.channel_stride;
        float *out = team.floats(op.out_offset) + c * to.channel_stride;
        for (int y = 0; y < to.height; y++) {
            const float *row = row_of(in, from, (int64_t)op.stride * y);
            for (int x = 0; x < to.width; x++)
                out[y * to.pitch + x] = c < op.in_channels ? row[op.stride * x] : 0;
        }
    }
}

static inline float average(const float *in, const Grid &grid, int y, int x, int stride) {
    int bottom = y + stride < grid.height ? y + stride : grid.height;
    int right = x + stride < grid.width ? x + stride : grid.width;
    float total = 0;
    for (int i = y; i < bottom; i++)
        for (int j = x; j < right; j++) total += in[i * grid.pitch + j];
    return total / ((bottom - y) * (right - x));
}

static void run_avg_pool(const Op &op, const Team &team) {
    const Grid &to = op.out_grid;
    assert(op.in_channels == op.out_channels && op.stride > 0);
    team.check_planes(op.in_offset, op.in_grid, op.in_channels);
    team.check_planes(op.out_offset, to, op.out_channels);
    Range share = team.share(op.out_channels);
    for (int64_t c = share.begin; c < share.end; c++) {
        const float *in = team.floats(op.in_offset) + c * op.in_grid.channel_stride;
        float *out = team.floats(op.out_offset) + c * to.channel_stride;
        for (int y = 0; y < to.height; y++)
            for (int x = 0; x < to.width; x++)
                out[y * to.pitch + x] =
                    average(in, op.in_grid, y * op.stride, x * op.stride, op.stride);
    }
}

// Padding may be zero instead of minus infinity, since all values are >= 0.
static float max_pool_row(const float *row, const Grid &from, const Grid &to, float *columns,
                          float *out) {
    const float *above = row - from.pitch, *below = row + from.pitch;
    for (int x = -1; x < from.width + 1; x++)
        columns[x + 1] = larger(larger(above[x], below[x]), row[x]);
    float total = 0;
    for (int x = 0; x < to.width; x++)
        out[x] = larger(larger(columns[2 * x], columns[2 * x + 2]), columns[2 * x + 1]);
    for (int x = 0; x < to.width; x++) total += out[x];
    return total;
}

static void run_max_pool(const Op &op, const Team &team) {
    const Grid &from = op.in_grid, &to = op.out_grid;
    assert(op.in_channels == op.out_channels && op.stride == 2);
    team.check_planes(op.in_offset, from, op.in_channels);
    team.check_planes(op.out_offset, to, op.out_channels);
    if (op.pool) team.clear_pool(op.out_channels);
    float *columns = team.floats(op.scratch) + (int64_t)team.rank * (from.width + 16);
    Range share = team.share(op.out_channels);
    for (int64_t c = share.begin; c < share.end; c++) {
        const float *in = team.floats(op.in_offset) + c * from.channel_stride;
        float *out = team.floats(op.out_offset) + c * to.channel_stride;
        float total = 0;
        for (int64_t y = 0; y < to.height; y++)
            total += max_pool_row(row_of(in, from, 2 * y), from, to, columns, out + y * to.pitch);
        if (op.pool) team.pool()[c * kLanes] = total;
    }
}

// Window i of n over `size` pixels; neighbours may share a pixel.
static Range window(int64_t i, int64_t n, int64_t size) {
    return {i * size / n, div_up((i + 1) * size, n)};
}

static void run_windows(const Op &op, const Team &team) {
    const Grid &from = op.in_grid, &to = op.out_grid;
    team.check_planes(op.in_offset, from, op.in_channels);
    team.check_planes(op.out_offset, to, op.out_channels);
    Range share = team.share(op.out_channels);
    for (int64_t c = share.begin; c < share.end; c++) {
        const float *in = team.floats(op.in_offset) + c * from.channel_stride;
        float *out = team.floats(op.out_offset) + c * to.channel_stride;
        for (int y = 0; y < to.height; y++) {
            for (int x = 0; x < to.width; x++) {
                Range rows = window(y, to.height, from.height);
                Range columns = window(x, to.width, from.width);
                float total = 0;
                for (int64_t i = rows.begin; i < rows.end; i++)
                    for (int64_t j = columns.begin; j < columns.end; j++)
                        total += row_of(in, from, i)[j];
                int64_t pixels = (rows.end - rows.begin) * (columns.end - columns.begin);
                out[(int64_t)y * to.pitch + x] = total / pixels;
            }
        }
    }
}

// Two neighbouring positions and the weight of the second.
struct Between {
    int first, second;
    float weight;
};

static Between between(int i, int size, int out_size, bool align_corners) {
    float position = 0;
    if (!align_corners) position = ((float)i + 0.5f) * ((float)size / (float)out_size) - 0.5f;
    else if (out_size > 1) position = (float)i * ((float)(size - 1) / (float)(out_size - 1));
    if (position < 0) position = 0;
    int first = (int)position < size - 1 ? (int)position : size - 1;
    return {first, first < size - 1 ? first + 1 : first, position - (float)first};
}

static void run_resize(const Op &op, const Team &team) {
    const Grid &from = op.in_grid, &to = op.out_grid;
    team.check_planes(op.in_offset, from, op.in_channels);
    team.check_planes(op.out_offset, to, op.out_channels);
    Range share = team.share(op.out_channels);
    for (int64_t c = share.begin; c < share.end; c++) {
        const float *in = team.floats(op.in_offset) + c * from.channel_stride;
        float *out = team.floats(op.out_offset) + c * to.channel_stride;
        for (int y = 0; y < to.height; y++) {
            Between rows = between(y, from.height, to.height, op.align_corners);
            const float *above = row_of(in, from, rows.first);
            const float *below = row_of(in, from, rows.second);
            for (int x = 0; x < to.width; x++) {
                Between columns = between(x, from.width, to.width, op.align_corners);
                float w = columns.weight;
                float top = above[columns.first] * (1 - w) + above[columns.second] * w;
                float bottom = below[columns.first] * (1 - w) + below[columns.second] * w;
                out[(int64_t)y * to.pitch + x] = top * (1 - rows.weight) + bottom * rows.weight;
            }
        }
    }
}

static void run_output(const Op &op, const Team &team, float *tensor) {
    const Grid &grid = op.in_grid;
    assert(tensor);
    team.check_planes(op.in_offset, grid, op.in_channels);
    Range share = team.share(op.in_channels);
    for (int64_t c = share.begin; c < share.end; c++) {
        const float *in = team.floats(op.in_offset) + c * grid.channel_stride;
        float *out = tensor + c * grid.height * grid.width;
        for (int y = 0; y < grid.height; y++)
            std::memcpy(out + (int64_t)y * grid.width, row_of(in, grid, y),
                        sizeof(float) * grid.width);
    }
}

static void run_finish(const Op &op, const Team &team) {
    const Grid &grid = op.out_grid;
    team.check_planes(op.out_offset, grid, op.out_channels);
    if (op.pool) team.clear_pool(op.out_channels);
    Range share = team.share(op.out_channels);
    for (int64_t c = share.begin; c < share.end; c++) {
        float *plane = team.floats(op.out_offset) + c * grid.channel_stride;
        float total = 0;
        for (int64_t y = 0; y < grid.height; y++) {
            float *row = plane + y * grid.pitch;
            if (op.relu)
                for (int x = 0; x < grid.width; x++) row[x] = larger(0, row[x]);
            for (int x = 0; x < grid.width; x++) total += row[x];
        }
        if (op.pool) team.pool()[c * kLanes] = total;
    }
}

static void run_clear(const Op &op, const Team &team) {
    team.check_range(op.out_offset, op.in_offset);
    Range share = team.share(op.in_offset - op.out_offset);
    std::memset(team.floats(op.out_offset) + share.begin, 0,
                sizeof(float) * (share.end - share.begin));
}

}  // namespace
}  // namespace f32
