// Weights in the order in which the kernels read them, packed once.
#pragma once
#include <vector>

#include "../interface/buffer.h"
#include "plan.h"

namespace f32 {

// Of one convolution: OIHW, or [O / kRows][I][taps][kRows] with zeros for missing outputs.
struct ConvLayer {
    // Blocks of outputs cannot be picked apart, so gated outputs stay in rows.
    ConvLayer(const MmbasConv &conv, bool gated_outputs);

    const float *weights() const { return (const float *)memory.data(); }
    const float *bias() const { return weights() + num_weights; }

    MmbasConv shape;  // pointers are null
    bool packed;
    int64_t num_weights;
    Buffer memory;
};

// Of one gate network; the pointers lead into `memory`.
struct GateLayer {
    explicit GateLayer(const MmbasGate &gate);

    MmbasGate gate;
    Buffer memory;
};

struct BlockLayers {
    explicit BlockLayers(const MmbasBlock &block);
    int64_t bytes() const;

    MmbasBlock shape;  // its pointers are not used
    std::vector<ConvLayer> convs;
    std::vector<ConvLayer> shortcut;  // none or one
    std::vector<GateLayer> gate;      // none or one
};

struct HeadLayers {
    explicit HeadLayers(const MmbasHead &head);
    int64_t bytes() const;

    MmbasHead shape;  // its pointers are not used
    std::vector<ConvLayer> pools, convs;
};

struct NetworkLayers {
    NetworkLayers(const MmbasNetwork &network, const MmbasOptions &options);
    int64_t bytes() const;

    bool max_pool;
    std::vector<ConvLayer> stem;
    std::vector<BlockLayers> blocks;
};

}  // namespace f32
