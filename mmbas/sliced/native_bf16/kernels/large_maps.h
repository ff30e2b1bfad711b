// Convolutions of large maps: all threads pack weights for each other, then each takes some
// positions and computes all outputs of them, so that a part of the map stays in the cache.
#pragma once
#include "packing.h"

namespace {

// Packed tiles are a line further apart than they need, since a stride of many pages would put the
// same line of all of them in one set of the cache.
int64_t shared_stride(const Conv &conv) {
    return (int64_t)conv.in_blocks * conv.taps * kTile + kBlock;
}

Bf16 *shared_tiles(const Conv &conv, int pair) {
    Bf16 *tiles = (Bf16 *)conv.team.at(conv.team.memory().packed);
    return tiles + 2 * pair * shared_stride(conv);
}

Tiles tiles_of(const Conv &conv, int pair) {
    if (conv.step.gated == kDense) return dense_tiles(conv, pair);
    return {shared_tiles(conv, pair), shared_stride(conv)};
}

// This thread's share of all weights, for all threads.
template <class Kernels>
void pack_shared(const Conv &conv) {
    const bool outputs = conv.step.gated == kOutputs;
    Packing<Kernels> packing(conv);
    Range share = conv.team.share((int64_t)conv.pairs * conv.in_blocks);
    for (int64_t i = share.begin; i < share.end; i++) {
        // In the order of memory.
        int pair = (int)(outputs ? i / conv.in_blocks : i % conv.pairs);
        int block = (int)(outputs ? i % conv.in_blocks : i / conv.pairs);
        Bf16 *tiles = shared_tiles(conv, pair) + (int64_t)block * conv.taps * kTile;
        packing.begin({pair, block, 1}, tiles, shared_stride(conv), 0);
        packing.finish();
    }
    conv.team.wait();
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

template <class Kernels>
void run_large(const Conv &conv) {
    const int64_t positions = conv.step.positions;
    const bool image = conv.step.image.kernel;
    NoWork work;
    if (conv.step.gated != kDense) pack_shared<Kernels>(conv);
    Range chunks = conv.team.share(div_up(positions, kChunk));
    for (int64_t chunk = chunks.begin; chunk < chunks.end; chunk++) {
        const int64_t first = chunk * kChunk;
        const int count = (int)smaller(kChunk, positions - first);
        if (image) gather_image(conv, first, count);
        for (int pair = 0; pair < conv.pairs; pair++) {
            Product product = make_product(conv, {pair, 0, conv.in_blocks}, tiles_of(conv, pair));
            product.m_tiles = (int)div_up(count, kRows);
            Kernels::multiply(product, image ? 0 : first, conv.local.products, work);
            Finish finish = make_finish(conv, pair);
            finish.ahead = lines_ahead(conv, pair, first);
            Kernels::finish(finish, conv.local.products, first, count);
        }
    }
}

}  // namespace
