// Steps on maps other than convolutions.
#pragma once
#include "team.h"

namespace {

template <int CHANNELS, class T>
void interleave(const T *from, int64_t plane, int width, Bf16 *row) {
    for (int x = 0; x < width; x++)
        for (int c = 0; c < CHANNELS; c++) row[x * CHANNELS + c] = to_bf16(from[c * plane + x]);
}

// Planes -> bfloat16 pixels with their channels side by side, zeros around them.
template <class T>
void convert_image(const ImageStep &step, const Team &team) {
    const int64_t plane = (int64_t)step.height * step.width;
    const T *image = (const T *)team.run.call->images + team.run.image * step.channels * plane;
    Bf16 *to = (Bf16 *)team.at(team.memory().image);
    Range rows = team.share(step.height);
    for (int64_t y = rows.begin; y < rows.end; y++) {
        const T *from = image + y * step.width;
        Bf16 *row = to + (y + step.pad) * step.row + step.pad * step.channels;
        if (step.channels == 3) {
            interleave<3>(from, plane, step.width, row);
            continue;
        }
        for (int c = 0; c < step.channels; c++, from += plane)
            for (int x = 0; x < step.width; x++) row[x * step.channels + c] = to_bf16(from[x]);
    }
}

void run_image_step(const ImageStep &step, const Team &team) {
    if (team.run.call->type == MMBAS_BFLOAT16_TENSORS) convert_image<Bf16>(step, team);
    else convert_image<float>(step, team);
}

const Bf16 *line(const Team &team, const Map &map, int block, int y, int x) {
    int64_t position = position_of(map.grid, y, x);
    return (const Bf16 *)team.at(map.offset + block * map.block_stride + position * kLine);
}

void add_sums(const Bf16 *values, float *sums) {
    for (int c = 0; c < kBlock; c++) sums[c] += to_float(values[c]);
}

// Values are >= 0, so that they are ordered as integers are, and padding may be zero.
void max_pool_pixel(const Team &team, const Map &in, int block, int y, int x, Bf16 *out) {
    const Bf16 *center = line(team, in, block, y * kPoolStride, x * kPoolStride);
    Bf16 largest[kBlock] = {};
    for (int dy = -1; dy <= 1; dy++) {
        for (int dx = -1; dx <= 1; dx++) {
            const Bf16 *from = center + (dy * in.grid.pitch + dx) * kBlock;
            for (int c = 0; c < kBlock; c++)
                largest[c] = from[c] > largest[c] ? from[c] : largest[c];
        }
    }
    std::memcpy(out, largest, sizeof largest);
}

void avg_pool_pixel(const Team &team, const PoolStep &step, int block, int y, int x, Bf16 *out) {
    const Grid &grid = step.in.grid;
    int bottom = (int)smaller((y + 1) * step.size, grid.height);
    int right = (int)smaller((x + 1) * step.size, grid.width);
    float sums[kBlock] = {};
    for (int i = y * step.size; i < bottom; i++)
        for (int j = x * step.size; j < right; j++)
            add_sums(line(team, step.in, block, i, j), sums);
    float pixels = (float)((bottom - y * step.size) * (right - x * step.size));
    for (int c = 0; c < kBlock; c++) out[c] = to_bf16(sums[c] / pixels);
}

void run_pool(const PoolStep &step, const Team &team) {
    const Map &out = step.out;
    const int blocks = (int)div_up(out.channels, kBlock);
    float *sums = team.sums(team.run.rank);
    if (step.sums) std::memset(sums, 0, sizeof(float) * blocks * kBlock);
    Range rows = team.share(out.grid.height);
    for (int block = 0; block < blocks; block++) {
        for (int y = (int)rows.begin; y < rows.end; y++) {
            for (int x = 0; x < out.grid.width; x++) {
                Bf16 *to = (Bf16 *)line(team, out, block, y, x);
                if (step.size) avg_pool_pixel(team, step, block, y, x, to);
                else max_pool_pixel(team, step.in, block, y, x, to);
                if (step.sums) add_sums(to, sums + block * kBlock);
            }
        }
    }
}

// A map -> float32 planes.
void write_planes(const OutputStep &step, const Team &team) {
    const Map &in = step.in;
    const int64_t plane = (int64_t)in.grid.height * in.grid.width;
    float *tensor = (float *)team.run.call->outputs[step.number];
    tensor += team.run.image * in.channels * plane;
    Range blocks = team.share(div_up(in.channels, kBlock));
    for (int block = (int)blocks.begin; block < blocks.end; block++) {
        int channels = (int)smaller(kBlock, in.channels - block * kBlock);
        float *out = tensor + block * kBlock * plane;
        for (int y = 0; y < in.grid.height; y++) {
            for (int x = 0; x < in.grid.width; x++) {
                const Bf16 *from = line(team, in, block, y, x);
                int64_t pixel = (int64_t)y * in.grid.width + x;
                for (int c = 0; c < channels; c++) out[c * plane + pixel] = to_float(from[c]);
            }
        }
    }
}

// A map -> bfloat16 pixels with their channels side by side.
void write_pixels(const OutputStep &step, const Team &team) {
    const Map &in = step.in;
    const int64_t image = (int64_t)in.grid.height * in.grid.width * in.channels;
    Bf16 *tensor = (Bf16 *)team.run.call->outputs[step.number] + team.run.image * image;
    Range rows = team.share(in.grid.height);
    for (int y = (int)rows.begin; y < rows.end; y++) {
        for (int x = 0; x < in.grid.width; x++) {
            Bf16 *to = tensor + ((int64_t)y * in.grid.width + x) * in.channels;
            for (int c = 0; c < in.channels; c += kBlock)
                std::memcpy(to + c, line(team, in, c / kBlock, y, x),
                            smaller(kBlock, in.channels - c) * sizeof *to);
        }
    }
}

void run_output(const OutputStep &step, const Team &team) {
    if (team.run.call->type == MMBAS_BFLOAT16_TENSORS) write_pixels(step, team);
    else write_planes(step, team);
}

}  // namespace
