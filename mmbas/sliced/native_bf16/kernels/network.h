// A backbone with its weights copied and packed.
#pragma once
#include <vector>

#include "weights.h"

// A convolution without its weights, and these packed.
struct ConvLayer {
    MmbasConv shape;  // pointers are null
    PackedConv packed;
};

struct BlockLayers {
    MmbasBlock shape;  // pointers are null
    std::vector<ConvLayer> convs;
    std::vector<ConvLayer> shortcut;  // none or one
    std::vector<PackedGate> gate;     // none or one
};

struct NetworkLayers {
    NetworkLayers(const MmbasNetwork &network, const MmbasOptions &options);

    bool max_pool;
    int num_outputs, num_gates;
    std::vector<ConvLayer> stem;
    std::vector<BlockLayers> blocks;

    int64_t weight_bytes() const;
};
