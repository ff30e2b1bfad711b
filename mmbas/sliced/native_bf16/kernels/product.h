// The work that an instruction set has to provide, and its drawing of the operands.
//
// A product is `kChunk` positions x 32 outputs, summed over blocks of 32 inputs and over taps:
//
//     A tile: 16 positions x 32 inputs      a + block * block_stride + tap's shift, rows of 64
//     bytes B tile: 16 pairs of inputs x 16 outputs x 2, 1 KB: [N tile][block][tap][16][16][2]
//     sums:   [position][32 outputs] in float32
//
// A second segment is the same over the shortcut's map and weights.
//
// Names of kernels: step_operand_type_isa, where the operand is the one that a gate switches.
#pragma once
#include "step.h"

namespace {

struct Segment {
    const char *a;         // position 0 of block 0, the tap's shift not included
    int64_t row_stride;    // bytes between positions
    int64_t block_stride;  // bytes between blocks
    const int64_t *taps;   // shifts in bytes
    int num_taps, num_blocks;
    const Bf16 *b;
    int64_t tile_stride;  // elements between N tiles

    const char *rows(int block, int tap, int64_t position) const {
        return a + block * block_stride + taps[tap] + position * row_stride;
    }
    const Bf16 *tile(int n, int step) const { return b + n * tile_stride + step * kTile; }
};

struct Product {
    Segment segments[2];
    int num_segments;
    int m_tiles;        // of positions, 1 to 4
    int n_tiles;        // of outputs, 1 or 2
    const float *bias;  // of 32 outputs; null: add to what the sums are
};

// What a kernel does between the steps of a product: nothing.
struct NoWork {
    void step() {}
};

// Which of a convolution's outputs a pair of N tiles holds: up to 32 open ones. They are picked
// from two blocks of 32 outputs at a time.
struct Picks {
    struct Pick {
        alignas(64) uint16_t from[kBlock];  // for each stored output its place in the 64
        int64_t low, high;                  // where the blocks begin, in elements
        uint32_t lanes;                     // stored outputs that these blocks have
    };
    int count;
    Pick picks[kRows];  // of two blocks each, which have an open output at least
};

// What follows a product: residual, ReLU, sums of channels, rounding, and where the lines go.
struct Finish {
    const int32_t *out_table;
    char *out;  // block of the output map
    int32_t dump;
    const int32_t *residual_table;
    const char *residual;  // block of the map to add, or null
    uint32_t lanes;        // a bit for each of the 32 outputs that there are
    float *sums;           // of the 32 channels, or null
    const char *ahead;     // lines to prefetch, as many as positions are finished
};

}  // namespace
