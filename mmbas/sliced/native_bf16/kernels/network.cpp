#include "network.h"

namespace {

ConvLayer layer(const MmbasConv &conv, PackedConv packed) {
    MmbasConv shape = conv;
    shape.weights = shape.bias = nullptr;
    return {shape, std::move(packed)};
}

// Which sides of convolution `i` of a block its gates switch.
Gated gated_sides(const MmbasBlock &block, int i) {
    bool outputs = block.has_gate && i + 1 < block.num_convs && block.first_gates[i] >= 0;
    bool inputs = block.has_gate && i > 0 && block.first_gates[i - 1] >= 0;
    if (outputs) return inputs ? kBoth : kOutputs;
    return inputs ? kInputs : kDense;
}

BlockLayers pack_block(const MmbasBlock &block) {
    BlockLayers layers = {block, {}, {}, {}};
    for (int i = 0; i < block.num_convs; i++) {
        const MmbasConv &conv = block.convs[i];
        layers.convs.push_back(layer(conv, PackedConv(conv, gated_sides(block, i))));
    }
    if (block.shortcut == MMBAS_CONV) {
        const MmbasConv &conv = block.shortcut_conv;
        layers.shortcut.push_back(layer(conv, PackedConv(conv, kDense)));
        // Both are summed in one product, which has one bias.
        for (int o = 0; o < conv.out_channels; o++)
            layers.convs.back().packed.bias[o] += conv.bias[o];
    }
    if (block.has_gate) layers.gate.emplace_back(block.gate);
    return layers;
}

}  // namespace

NetworkLayers::NetworkLayers(const MmbasNetwork &network, const MmbasOptions &options)
    : max_pool(network.max_pool != 0), num_outputs(network.num_outputs), num_gates(0) {
    for (int i = 0; i < network.num_stem; i++) {
        const MmbasConv &conv = network.stem[i];
        PackedConv packed = i ? PackedConv(conv, kDense) : PackedConv::of_image(conv);
        stem.push_back(layer(conv, std::move(packed)));
    }
    for (int i = 0; i < network.num_blocks; i++) {
        if (options.copied) options.copied(options.context, network.blocks[i].convs[0].weights);
        blocks.push_back(pack_block(network.blocks[i]));
        num_gates += network.blocks[i].has_gate != 0;
    }
}

int64_t NetworkLayers::weight_bytes() const {
    int64_t bytes = 0;
    for (const ConvLayer &conv : stem) bytes += conv.packed.bytes();
    for (const BlockLayers &block : blocks) {
        for (const ConvLayer &conv : block.convs) bytes += conv.packed.bytes();
        for (const ConvLayer &conv : block.shortcut) bytes += conv.packed.bytes();
        for (const PackedGate &gate : block.gate)
            bytes += (int64_t)(gate.memory.size() * sizeof(float));
    }
    return bytes;
}
