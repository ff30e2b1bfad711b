// Weights in the order in which the kernels read them, packed once.
//
// gated      kept as                                  packed for each image
// nothing    final tiles [O / 16][I / 32][tap][tile]  not at all
// outputs    [O][I / 32][tap][32]                     16 open rows transposed to a tile
// inputs     [I][O / 32][tap][32 outputs]             rows of two open inputs interleaved
//       1x1  [O / 32][I][32 outputs]                  the same
// both       [I][O / 32][tap][32 outputs]             the same for the open outputs
//
// Where inputs are gated, 32 outputs are stored in the order that `stored_output` explains.
// Missing inputs and outputs are zero.
#pragma once
#include <vector>

#include "../../native/interface/buffer.h"
#include "step.h"

// Of one convolution.
struct PackedConv {
    PackedConv(const MmbasConv &conv, Gated gated);
    // The convolution of the image: its operand has a row [ky][kx][channel] for each position.
    static PackedConv of_image(const MmbasConv &conv);

    const Bf16 *weights() const { return (const Bf16 *)memory.data(); }
    int64_t bytes() const { return memory.bytes() + (int64_t)(bias.size() * sizeof(float)); }

    Buffer memory;
    std::vector<float> bias;
};

// Of one gate network; `gate` points into `memory`. The second layer's weights are kept as
// [gates / kSums][hidden][kSums], zeros behind the last gate, so that gates are computed side by
// side.
struct PackedGate {
    explicit PackedGate(const MmbasGate &gate);

    MmbasGate gate;
    std::vector<float> memory;
};
