// Convolutions of small maps: each thread takes some outputs and computes all positions of them.
//
// The weights are cut into pieces, of a few blocks of inputs each, whose tiles fit the first-level
// cache. While one piece is multiplied, the next is packed:
//
//     outputs gated:       pair 0: block 0, block 1, ...     pair 1: block 0, block 1, ...
//     inputs or both:      block 0: pair 0, pair 1, ...      block 1: pair 0, pair 1, ...
//
// This is the order in which the weights lie in memory. Sums wait in float32 for their next piece.
#pragma once
#include "packing.h"

namespace {

// The pieces of a thread's pairs, in their order.
struct Pieces {
    int first_pair, num_pairs, in_blocks, blocks;  // `blocks` of each piece
    bool inputs_outside;

    Pieces(const Conv &conv, Range pairs)
        : first_pair((int)pairs.begin), num_pairs((int)(pairs.end - pairs.begin)),
          in_blocks(conv.in_blocks), blocks(conv.step.piece_blocks),
          inputs_outside(conv.step.inputs_outside) {}

    int per_pair() const { return in_blocks ? (int)div_up(in_blocks, blocks) : 1; }
    int count() const { return num_pairs * per_pair(); }
    Piece at(int i) const {
        int pair = inputs_outside ? i % num_pairs : i / per_pair();
        int first = (inputs_outside ? i / num_pairs : i % per_pair()) * blocks;
        return {first_pair + pair, first, (int)smaller(blocks, in_blocks - first)};
    }
};

template <class Kernels, class Work>
void multiply_all(const Conv &conv, Product product, float *sums, Work &work) {
    for (int64_t p = 0; p < conv.step.positions; p += kChunk) {
        product.m_tiles = (int)div_up(smaller(kChunk, conv.step.positions - p), kRows);
        Kernels::multiply(product, p, sums + p * kBlock, work);
    }
}

template <class Kernels>
void finish_all(const Conv &conv, int pair, const float *sums) {
    const Finish finish = make_finish(conv, pair);
    for (int64_t p = 0; p < conv.step.positions; p += kChunk)
        Kernels::finish(finish, sums + p * kBlock, p,
                        (int)smaller(kChunk, conv.step.positions - p));
}

template <class Kernels>
void run_small_dense(const Conv &conv) {
    const Range pairs = conv.team.share(conv.pairs);
    NoWork work;
    for (int pair = (int)pairs.begin; pair < pairs.end; pair++) {
        Product product = make_product(conv, {pair, 0, conv.in_blocks}, dense_tiles(conv, pair));
        multiply_all<Kernels>(conv, product, conv.local.products, work);
        finish_all<Kernels>(conv, pair, conv.local.products);
    }
}

template <class Kernels>
void run_small_gated(const Conv &conv) {
    const Pieces pieces(conv, conv.team.share(conv.pairs));
    if (!pieces.count()) return;
    const int64_t positions = round_up(conv.step.positions, kChunk);
    const int64_t stride = (int64_t)pieces.blocks * conv.taps * kTile;  // between N tiles
    Bf16 *const tiles = conv.local.packed;
    Packing<Kernels> packing(conv);
    packing.begin(pieces.at(0), tiles, stride, 0);
    packing.finish();
    for (int i = 0; i < pieces.count(); i++) {
        const Piece piece = pieces.at(i);
        const int waiting = pieces.inputs_outside ? piece.pair - pieces.first_pair : 0;
        float *sums = conv.local.products + waiting * positions * kBlock;
        const int64_t slots = div_up(conv.step.positions, 2 * kRows) * piece.num_blocks * conv.taps;
        const bool last = i + 1 == pieces.count();
        const Piece next = last ? Piece{piece.pair, 0, 0} : pieces.at(i + 1);
        packing.begin(next, tiles + (i + 1) % 2 * 2 * stride, stride, slots);
        Tiles packed = {tiles + i % 2 * 2 * stride, stride};
        multiply_all<Kernels>(conv, make_product(conv, piece, packed), sums, packing);
        packing.finish();
        if (piece.first_block + piece.num_blocks == conv.in_blocks)
            finish_all<Kernels>(conv, piece.pair, sums);
    }
}

}  // namespace
