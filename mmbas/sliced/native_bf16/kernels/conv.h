// One convolution of one image: its lists of open channels looked up, and the operands of the
// products that it consists of.
#pragma once
#include <cstring>

#include "product.h"
#include "team.h"

namespace {

struct Conv {
    const ConvStep &step;
    const Team &team;
    const Open in, out;
    const Local local;
    const int taps, in_blocks, pairs;  // taps; blocks of open inputs; pairs of N tiles

    Conv(const ConvStep &step, const Team &team)
        : step(step), team(team), in(team.open(step.in_list, step.main.channels)),
          out(team.open(step.out_list, step.out_channels)), local(team.local()),
          taps(step.main.num_taps), in_blocks((int)div_up(in.count, kBlock)),
          pairs((int)div_up(out.count, kBlock)) {}

    int n_tiles(int pair) const {
        return (int)smaller(2, div_up(out.count - pair * kBlock, kRows));
    }
};

// A part of a convolution's weights: those of a pair of N tiles and of some blocks of inputs.
struct Piece {
    int pair, first_block, num_blocks;
};

// Weights in tiles, [N tile][block of inputs][tap][tile].
struct Tiles {
    const Bf16 *data;
    int64_t stride;  // elements between N tiles
};

Tiles dense_tiles(const Conv &conv, int pair) {
    int64_t stride = (int64_t)conv.in_blocks * conv.taps * kTile;
    return {conv.step.main.weights + 2 * pair * stride, stride};
}

// The product of a piece, which adds to those of the blocks before it; the shortcut comes with the
// last one.
Product make_product(const Conv &conv, const Piece &piece, const Tiles &tiles) {
    const ConvStep &step = conv.step;
    Product product = {};
    product.n_tiles = conv.n_tiles(piece.pair);
    product.bias = piece.first_block ? nullptr : conv.local.bias + piece.pair * kBlock;
    product.num_segments = 1;
    int64_t first = step.main.offset + piece.first_block * step.main.block_stride;
    product.segments[0] = {conv.team.at(first), kLine,       step.main.block_stride,
                           step.main.taps,      conv.taps,   piece.num_blocks,
                           tiles.data,          tiles.stride};
    if (step.image.kernel) {
        product.segments[0].a = conv.local.gathered;
        product.segments[0].row_stride = step.image.row_bytes;
    }
    if (step.shortcut.channels && piece.first_block + piece.num_blocks == conv.in_blocks) {
        int blocks = (int)div_up(step.shortcut.channels, kBlock);
        int64_t stride = (int64_t)blocks * kTile;
        product.num_segments = 2;
        product.segments[1] = {conv.team.at(step.shortcut.offset),
                               kLine,
                               step.shortcut.block_stride,
                               step.shortcut.taps,
                               1,
                               blocks,
                               step.shortcut.weights + 2 * piece.pair * stride,
                               stride};
    }
    return product;
}

void gather_bias(const Conv &conv) {
    float *bias = conv.local.bias;
    for (int i = 0; i < conv.out.count; i++) bias[i] = conv.step.bias[conv.out.channel(i)];
    for (int i = conv.out.count; i % kBlock; i++) bias[i] = 0;
}

Finish make_finish(const Conv &conv, int pair) {
    const ConvStep &step = conv.step;
    int left = conv.out.count - pair * kBlock;
    Finish finish = {};
    finish.out_table = step.out_table;
    finish.out = conv.team.at(step.out_offset) + pair * step.out_block_stride;
    finish.ahead = finish.out;
    finish.dump = step.out_dump;
    finish.lanes = left >= kBlock ? ~0u : (1u << left) - 1;
    if (pair * kBlock < step.residual_channels) {
        finish.residual_table = step.residual_table;
        finish.residual = conv.team.at(step.residual_offset) + pair * step.residual_block_stride;
    }
    if (step.sums) finish.sums = conv.team.sums(conv.team.run.rank) + pair * kBlock;
    return finish;
}

}  // namespace
