// One convolution of one image, and how threads divide it.
//
// Weights of open channels are packed into tiles first, [N tile][block of inputs][tap][tile], and
// then multiplied. Large maps: all threads pack for each other, then each takes some positions and
// computes all outputs of them, so that a piece of the map stays in the cache. Small maps: each
// thread takes some outputs, packs their weights and computes all positions.
#pragma once
#include <cstring>

#include "product.h"
#include "team.h"

namespace {

// A convolution with its lists looked up.
struct Conv {
    const ConvStep &step;
    const Team &team;
    const Open in, out;
    const Local local;
    const int taps, in_blocks, steps, pairs;
    const int64_t tile_stride;  // elements between N tiles of packed weights

    Conv(const ConvStep &step, const Team &team)
        : step(step), team(team), in(team.open(step.in_list, step.main.channels)),
          out(team.open(step.out_list, step.out_channels)), local(team.local()),
          taps(step.main.num_taps), in_blocks((int)div_up(in.count, kBlock)),
          steps(in_blocks * taps), pairs((int)div_up(out.count, kBlock)),
          tile_stride(packed_stride(step.gated, steps)) {}

    // Packed tiles are a line further apart than they need, since a stride of many pages would put
    // the same line of all of them in one set of the cache.
    static int64_t packed_stride(int gated, int64_t steps) {
        return steps * kTile + (gated == kDense ? 0 : kBlock);
    }
    Bf16 *shared() const { return (Bf16 *)team.at(team.memory().packed); }
};

// Weights [O][I / 32][tap][32]: a row for each output, whose tiles follow each other.
template <class Kernels>
void pack_outputs(const Conv &conv, int n, Range range, Bf16 *tiles) {
    const Bf16 *rows[kRows];
    for (int i = 0; i < kRows; i++) {
        // A row beyond the last is packed once more and dropped by `Finish::lanes`.
        int number = (int)smaller(n * kRows + i, conv.out.count - 1);
        rows[i] = conv.step.main.weights + conv.out.channel(number) * (int64_t)conv.steps * kBlock;
    }
    for (int64_t i = range.begin; i < range.end; i++)
        Kernels::pack_outputs(rows, i * kBlock, tiles + i * kTile);
}

// Calls pack(first, second, row) for each row of pairs in a block of open inputs, `stride` elements
// of weights for each input; rows beyond the last are cleared by clear(row).
template <class Pack, class Clear>
void for_pairs(const Conv &conv, int block, const Bf16 *weights, int64_t stride, Pack pack,
               Clear clear) {
    for (int row = 0; row < kRows; row++) {
        int i = block * kBlock + 2 * row;
        if (i >= conv.in.count) {
            clear(row);
            continue;
        }
        const Bf16 *first = weights + conv.in.channel(i) * stride, *second = nullptr;
        if (i + 1 < conv.in.count) second = weights + conv.in.channel(i + 1) * stride;
        pack(first, second, row);
    }
}

// The outputs of a pair of N tiles among the open ones.
OpenOutputs open_outputs(const Conv &conv, int pair) {
    int first = conv.out.channel(pair * kBlock);
    int last = conv.out.channel((int)smaller(pair * kBlock + kBlock, conv.out.count) - 1);
    OpenOutputs outputs = {};
    outputs.bits = conv.out.bits + first / kBlock;
    outputs.blocks = last / kBlock - first / kBlock + 1;
    outputs.head = ~0u << first % kBlock;
    outputs.tail = ~0u >> (kBlock - 1 - last % kBlock);
    outputs.stride = (int64_t)conv.step.main.channels * conv.taps * kBlock;
    return outputs;
}

// Weights [O / 32][I][tap][32 stored outputs]: two N tiles for a block of inputs.
template <class Kernels>
void pack_inputs(const Conv &conv, int pair, int block, Bf16 *tiles) {
    const int64_t stride = (int64_t)conv.taps * kBlock;
    bool both = conv.step.gated == kBoth;
    int first_output = pair;
    OpenOutputs outputs = {};
    if (both) {
        outputs = open_outputs(conv, pair);
        first_output = conv.out.channel(pair * kBlock) / kBlock;
        both = outputs.blocks > 1 || outputs.mask(0) != ~0u;  // else a whole block is open
    }
    const Bf16 *weights = conv.step.main.weights + first_output * conv.step.main.channels * stride;
    Bf16 *tiles0 = tiles + (int64_t)block * conv.taps * kTile, *tiles1 = tiles0 + conv.tile_stride;
    for_pairs(
        conv, block, weights, stride,
        [&](const Bf16 *first, const Bf16 *second, int row) {
            Bf16 *rows0 = tiles0 + row * kBlock, *rows1 = tiles1 + row * kBlock;
            if (both) Kernels::pack_both(first, second, conv.taps, outputs, rows0, rows1);
            else Kernels::pack_inputs(first, second, conv.taps, rows0, rows1);
        },
        [&](int row) {
            for (int t = 0; t < conv.taps; t++) {
                std::memset(tiles0 + t * kTile + row * kBlock, 0, kLine);
                std::memset(tiles1 + t * kTile + row * kBlock, 0, kLine);
            }
        });
}

// This thread's share of all weights, for all threads.
template <class Kernels>
void pack_shared(const Conv &conv) {
    Bf16 *tiles = conv.shared();
    const bool outputs = conv.step.gated == kOutputs;
    int64_t blocks = conv.in_blocks, columns = outputs ? div_up(conv.out.count, kRows) : conv.pairs;
    Range share = conv.team.share(columns * blocks);
    for (int64_t i = share.begin; i < share.end; i++) {
        int column = (int)(i / blocks), block = (int)(i % blocks);
        if (outputs) {
            Range range = {(int64_t)block * conv.taps, (int64_t)(block + 1) * conv.taps};
            pack_outputs<Kernels>(conv, column, range, tiles + column * conv.tile_stride);
        } else {
            pack_inputs<Kernels>(conv, column, block, tiles + 2 * column * conv.tile_stride);
        }
    }
    conv.team.wait();
}

// Two N tiles of weights for this thread alone.
template <class Kernels>
void pack_local(const Conv &conv, int pair, int n_tiles) {
    Bf16 *tiles = conv.local.packed;
    if (conv.step.gated == kOutputs) {
        for (int n = 0; n < n_tiles; n++)
            pack_outputs<Kernels>(conv, 2 * pair + n, {0, conv.steps},
                                  tiles + n * conv.tile_stride);
    } else {
        for (int block = 0; block < conv.in_blocks; block++)
            pack_inputs<Kernels>(conv, pair, block, tiles);
    }
}

// Rows of the image under the kernel, for `count` positions from `first`; a row may be copied
// further than it reaches, since the next one or the zero weights behind it follow.
void gather_image(const Conv &conv, int64_t first, int count) {
    const ImageConv &image = conv.step.image;
    const Bf16 *pixels = (const Bf16 *)conv.team.at(conv.step.main.offset);
    const int row_bytes = image.kernel * image.channels * (int)sizeof(Bf16);
    char *to = conv.local.gathered;
    int64_t y = first / image.width, x = first % image.width;
    for (int p = 0; p < count; p++, to += image.row_bytes) {
        const Bf16 *from = pixels + image.stride * (y * image.row + x * image.channels);
        for (int row = 0; row < image.kernel; row++, from += image.row)
            for (int byte = 0; byte < row_bytes; byte += kLine)
                std::memcpy(to + row * row_bytes + byte, (const char *)from + byte, kLine);
        if (++x == image.width) x = 0, y++;
    }
}

// The product for 32 outputs; `tiles` are the packed weights of the first N tile.
Product make_product(const Conv &conv, int pair, const Bf16 *tiles) {
    const ConvStep &step = conv.step;
    Product product = {};
    product.n_tiles = (int)smaller(2, div_up(conv.out.count - pair * kBlock, kRows));
    product.bias = conv.local.bias + pair * kBlock;
    product.num_segments = 1;
    product.segments[0] = {conv.team.at(step.main.offset), kLine, step.main.block_stride,
                           step.main.taps, conv.taps, conv.in_blocks, tiles, conv.tile_stride};
    if (step.image.kernel) {
        product.segments[0].a = conv.local.gathered;
        product.segments[0].row_stride = step.image.row_bytes;
    }
    if (step.shortcut.channels) {
        int blocks = (int)div_up(step.shortcut.channels, kBlock);
        int64_t stride = (int64_t)blocks * kTile;
        product.num_segments = 2;
        product.segments[1] = {conv.team.at(step.shortcut.offset), kLine,
                               step.shortcut.block_stride, step.shortcut.taps, 1, blocks,
                               step.shortcut.weights + 2 * pair * stride, stride};
    }
    return product;
}

void gather_bias(const Conv &conv) {
    float *bias = conv.local.bias;
    for (int i = 0; i < conv.out.count; i++) bias[i] = conv.step.bias[conv.out.channel(i)];
    for (int i = conv.out.count; i % kBlock; i++) bias[i] = 0;
}

// Lines that the next product but this one's needs, to be prefetched: the next 32 channels of the
// same positions, or the next positions.
const char *lines_ahead(const Conv &conv, int pair, int64_t position) {
    const ConvStep &step = conv.step;
    if (++pair == conv.pairs) pair = 0, position += kChunk;
    if (position >= step.positions) position = 0;
    if (pair * kBlock < step.residual_channels)
        return conv.team.at(step.residual_offset) + pair * step.residual_block_stride +
               (int64_t)step.residual_table[position] * kLine;
    return conv.team.at(step.out_offset) + pair * step.out_block_stride +
           (int64_t)step.out_table[position] * kLine;
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

// 32 outputs of some positions.
template <class Kernels>
void compute(const Conv &conv, Product &product, const Finish &finish, Range positions) {
    for (int64_t p = positions.begin; p < positions.end; p += kChunk) {
        int count = (int)smaller(kChunk, positions.end - p);
        product.m_tiles = (int)div_up(count, kRows);
        bool gathered = conv.step.image.kernel;
        Kernels::multiply(product, gathered ? 0 : p, conv.local.products);
        Kernels::finish(finish, conv.local.products, p, count);
    }
}

const Bf16 *packed_tiles(const Conv &conv, int pair) {
    const Bf16 *all = conv.step.gated == kDense ? conv.step.main.weights : conv.shared();
    return all + 2 * pair * conv.tile_stride;
}

template <class Kernels>
void run_large(const Conv &conv) {
    Range chunks = conv.team.share(div_up(conv.step.positions, kChunk));
    for (int64_t chunk = chunks.begin; chunk < chunks.end; chunk++) {
        int64_t first = chunk * kChunk, end = smaller(first + kChunk, conv.step.positions);
        if (conv.step.image.kernel) gather_image(conv, first, (int)(end - first));
        for (int pair = 0; pair < conv.pairs; pair++) {
            Product product = make_product(conv, pair, packed_tiles(conv, pair));
            Finish finish = make_finish(conv, pair);
            finish.ahead = lines_ahead(conv, pair, first);
            compute<Kernels>(conv, product, finish, {first, end});
        }
    }
}

template <class Kernels>
void run_small(const Conv &conv) {
    const bool local = conv.step.gated != kDense;
    Range pairs = conv.team.share(conv.pairs);
    for (int pair = (int)pairs.begin; pair < pairs.end; pair++) {
        const Bf16 *tiles = local ? conv.local.packed : packed_tiles(conv, pair);
        Product product = make_product(conv, pair, tiles);
        if (local) pack_local<Kernels>(conv, pair, product.n_tiles);
        compute<Kernels>(conv, product, make_finish(conv, pair), {0, conv.step.positions});
    }
}

template <class Kernels>
void run_conv(const ConvStep &step, const Team &team) {
    Conv conv(step, team);
    gather_bias(conv);
    if (step.sums)
        std::memset(team.sums(team.run.rank), 0,
                    sizeof(float) * round_up(step.out_channels, kBlock));
    if (step.gated != kDense && step.large) pack_shared<Kernels>(conv);
    if (step.large) run_large<Kernels>(conv);
    else run_small<Kernels>(conv);
}

}  // namespace
