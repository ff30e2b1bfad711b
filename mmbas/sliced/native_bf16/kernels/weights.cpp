#include "weights.h"

#include "kernels_portable.h"

namespace {

// Where the weight of (output, input, tap) goes.
int64_t place(Gated gated, const MmbasConv &conv, int64_t o, int64_t i, int64_t tap) {
    const int64_t taps = conv.kernel * conv.kernel, inputs = conv.in_channels;
    const int64_t blocks = div_up(inputs, kBlock);
    const int64_t stored = stored_output((int)(o % kBlock));
    switch (gated) {
        case kDense: {
            int64_t tile = (o / kRows * blocks + i / kBlock) * taps + tap;
            return tile * kTile + i % kBlock / 2 * kBlock + o % kRows * 2 + i % 2;
        }
        case kOutputs: return ((o * blocks + i / kBlock) * taps + tap) * kBlock + i % kBlock;
        case kInputs:
        case kBoth: {
            int64_t output_blocks = div_up(conv.out_channels, kBlock);
            int64_t piece = i * output_blocks + o / kBlock;
            if (!is_by_input(gated, taps)) piece = o / kBlock * inputs + i;
            return (piece * taps + tap) * kBlock + stored;
        }
    }
    return 0;
}

int64_t elements(Gated gated, const MmbasConv &conv) {
    bool whole_outputs = gated == kOutputs, whole_inputs = gated == kInputs || gated == kBoth;
    int64_t outputs = whole_outputs ? conv.out_channels : round_up(conv.out_channels, kBlock);
    int64_t inputs = whole_inputs ? conv.in_channels : round_up(conv.in_channels, kBlock);
    return outputs * inputs * conv.kernel * conv.kernel;
}

}  // namespace

PackedConv::PackedConv(const MmbasConv &conv, Gated gated)
    : memory(elements(gated, conv) * (int64_t)sizeof(Bf16)),
      bias(conv.bias, conv.bias + conv.out_channels) {
    Bf16 *to = (Bf16 *)memory.data();
    const float *from = conv.weights;
    for (int o = 0; o < conv.out_channels; o++)
        for (int i = 0; i < conv.in_channels; i++)
            for (int tap = 0; tap < conv.kernel * conv.kernel; tap++)
                to[place(gated, conv, o, i, tap)] = to_bf16(*from++);
}

PackedConv PackedConv::of_image(const MmbasConv &conv) {
    const int taps = conv.kernel * conv.kernel;
    std::vector<float> weights((size_t)conv.out_channels * conv.in_channels * taps);
    for (int o = 0; o < conv.out_channels; o++)
        for (int i = 0; i < conv.in_channels; i++)
            for (int tap = 0; tap < taps; tap++) {
                int64_t first = (int64_t)o * conv.in_channels * taps;
                weights[first + tap * conv.in_channels + i] =
                    conv.weights[first + (int64_t)i * taps + tap];
            }
    MmbasConv rows = conv;
    rows.in_channels = conv.in_channels * taps;
    rows.kernel = 1;
    rows.weights = weights.data();
    return PackedConv(rows, kDense);
}

PackedGate::PackedGate(const MmbasGate &from) : gate(from) {
    const int64_t first = (int64_t)from.hidden * from.in_channels;
    const int64_t pitch = round_up(from.num_gates, kSums), second = pitch * from.hidden;
    memory.reserve(first + from.hidden + second + from.num_gates);
    memory.insert(memory.end(), from.weights, from.weights + first);
    memory.insert(memory.end(), from.bias, from.bias + from.hidden);
    for (int first = 0; first < pitch; first += kSums)
        for (int h = 0; h < from.hidden; h++)
            for (int g = first; g < first + kSums; g++)
                memory.push_back(g < from.num_gates ? from.weights2[(int64_t)g * from.hidden + h]
                                                    : 0);
    memory.insert(memory.end(), from.bias2, from.bias2 + from.num_gates);
    gate.weights = memory.data();
    gate.bias = gate.weights + first;
    gate.weights2 = gate.bias + from.hidden;
    gate.bias2 = gate.weights2 + second;
}
