#include "weights.h"

#include <cstring>

namespace f32 {
namespace {

// A copy of `count` floats at `to`; returns where the next one goes.
float *append(float *to, const float *from, int64_t count) {
    std::memcpy(to, from, sizeof(float) * count);
    return to + count;
}

// Blocks of kRows outputs, which have `row` weights each; `to` is zero where there is no output.
void pack(const MmbasConv &conv, int64_t row, float *to) {
    for (int64_t first = 0; first < conv.out_channels; first += kRows) {
        const int64_t left = conv.out_channels - first, outputs = left < kRows ? left : kRows;
        const float *from = conv.weights + first * row;
        for (int64_t i = 0; i < row; i++, to += kRows)
            for (int64_t o = 0; o < outputs; o++) to[o] = from[o * row + i];
    }
}

int64_t sum_bytes(const std::vector<ConvLayer> &layers) {
    int64_t bytes = 0;
    for (const ConvLayer &layer : layers) bytes += layer.memory.bytes();
    return bytes;
}

}  // namespace

ConvLayer::ConvLayer(const MmbasConv &conv, bool gated_outputs)
    : shape(conv), packed(!gated_outputs) {
    const int64_t taps = conv.kernel * conv.kernel, row = conv.in_channels * taps;
    const int64_t rows = packed ? (conv.out_channels + kRows - 1) / kRows * kRows
                                : conv.out_channels;
    num_weights = rows * row;
    memory = Buffer((num_weights + conv.out_channels) * (int64_t)sizeof(float));
    float *to = (float *)memory.data();
    if (packed) pack(conv, row, to);
    else append(to, conv.weights, num_weights);
    append(to + num_weights, conv.bias, conv.out_channels);
    shape.weights = shape.bias = nullptr;
}

GateLayer::GateLayer(const MmbasGate &from) : gate(from) {
    const int64_t first = (int64_t)from.hidden * from.in_channels;
    const int64_t second = (int64_t)from.num_gates * from.hidden;
    memory = Buffer((first + from.hidden + second + from.num_gates) * (int64_t)sizeof(float));
    float *to = (float *)memory.data();
    gate.weights = to;
    gate.bias = to = append(to, from.weights, first);
    gate.weights2 = to = append(to, from.bias, from.hidden);
    gate.bias2 = to = append(to, from.weights2, second);
    append(to, from.bias2, from.num_gates);
}

BlockLayers::BlockLayers(const MmbasBlock &block) : shape(block) {
    for (int i = 0; i < block.num_convs; i++) {
        bool gated = block.has_gate && i + 1 < block.num_convs && block.first_gates[i] >= 0;
        convs.emplace_back(block.convs[i], gated);
    }
    if (block.shortcut == MMBAS_CONV) shortcut.emplace_back(block.shortcut_conv, false);
    if (block.has_gate) gate.emplace_back(block.gate);
}

int64_t BlockLayers::bytes() const {
    int64_t bytes = sum_bytes(convs) + sum_bytes(shortcut);
    for (const GateLayer &layer : gate) bytes += layer.memory.bytes();
    return bytes;
}

HeadLayers::HeadLayers(const MmbasHead &head) : shape(head) {
    for (int i = 0; i < head.num_pools; i++) pools.emplace_back(head.pools[i], false);
    for (int i = 0; i < head.num_convs; i++) convs.emplace_back(head.convs[i], false);
}

int64_t HeadLayers::bytes() const { return sum_bytes(pools) + sum_bytes(convs); }

NetworkLayers::NetworkLayers(const MmbasNetwork &network, const MmbasOptions &options)
    : max_pool(network.max_pool != 0) {
    for (int i = 0; i < network.num_stem; i++) stem.emplace_back(network.stem[i], false);
    for (int i = 0; i < network.num_blocks; i++) {
        const MmbasBlock &block = network.blocks[i];
        if (options.copied) options.copied(options.context, block.convs[0].weights);
        blocks.emplace_back(block);
    }
}

int64_t NetworkLayers::bytes() const {
    int64_t bytes = sum_bytes(stem);
    for (const BlockLayers &block : blocks) bytes += block.bytes();
    return bytes;
}

}  // namespace f32
