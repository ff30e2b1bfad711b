// A backbone with its weights copied and packed, and the check of what describes it.
#pragma once
#include <string>
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
    explicit NetworkLayers(const MmbasNetwork &network);

    bool max_pool;
    int num_outputs, num_gates;
    std::vector<ConvLayer> stem;
    std::vector<BlockLayers> blocks;

    int64_t weight_bytes() const;
};

// What is wrong with a description, as one clause; empty if it can be run.
std::string why_not(const MmbasNetwork &network);

// Size of what a convolution or a pooling of this stride leaves of `size`.
static inline int strided(int size, int stride) { return (size + stride - 1) / stride; }

// Whether a block reads every second pixel of its input.
bool reads_phases(const MmbasBlock &block);
