#include "check_network.h"

namespace {

constexpr int kMaxChannels = 1 << 16, kMaxKernel = 15, kMaxDilation = 64;

bool is_conv(const MmbasConv &conv) {
    auto channels = [](int32_t n) { return n >= 1 && n <= kMaxChannels; };
    return channels(conv.in_channels) && channels(conv.out_channels) && conv.kernel >= 1 &&
           conv.kernel <= kMaxKernel && conv.kernel % 2 == 1 && conv.stride >= 1 &&
           conv.stride <= 2 && conv.dilation >= 1 && conv.dilation <= kMaxDilation &&
           conv.weights && conv.bias;
}

std::string why_not_gate(const MmbasBlock &block, int channels) {
    const MmbasGate &gate = block.gate;
    if (block.skip < MMBAS_NEVER || block.skip > MMBAS_SKIP_BLOCK || (block.skip && !block.has_gate))
        return "a block is skipped by no known rule";
    if (!block.has_gate) return "";
    if (gate.in_channels != channels) return "a gate does not read the block's input";
    if (gate.hidden < 1 || gate.hidden > kMaxChannels || gate.num_gates < 1 ||
        gate.num_gates > 2 * kMaxChannels)
        return "a gate has no layers";
    if (!gate.weights || !gate.bias || !gate.weights2 || !gate.bias2)
        return "a gate has no weights";
    if (block.skip && gate.num_gates != 1) return "a block that is skipped has not one gate";
    for (int i = 0; i + 1 < block.num_convs; i++) {
        int64_t end = (int64_t)block.first_gates[i] + block.convs[i].out_channels;
        if (block.first_gates[i] < -1 || (block.first_gates[i] >= 0 && end > gate.num_gates))
            return "a convolution's gates are not in its block's gate";
    }
    return "";
}

std::string why_not_shortcut(const MmbasBlock &block, int channels, int stride) {
    int out = block.convs[block.num_convs - 1].out_channels;
    const MmbasConv &conv = block.shortcut_conv;
    switch (block.shortcut) {
        case MMBAS_IDENTITY:
            if (stride != 1 || out != channels) return "an identity changes its shape";
            return "";
        case MMBAS_SUBSAMPLE:
            if (stride != 2 || out < channels) return "a subsampling shortcut is not of stride 2";
            return "";
        case MMBAS_CONV:
            if (!is_conv(conv) || conv.kernel != 1 || conv.in_channels != channels ||
                conv.out_channels != out || block.pooling < 1 || block.pooling > 2 ||
                conv.stride * block.pooling != stride)
                return "a shortcut's convolution does not fit its block";
            return "";
        default: return "a shortcut is of no known kind";
    }
}

std::string why_not_block(const MmbasBlock &block, int channels) {
    if (block.num_convs < 2 || block.num_convs > 3) return "a block has not 2 or 3 convolutions";
    int stride = 1, in = channels;
    for (int i = 0; i < block.num_convs; i++) {
        const MmbasConv &conv = block.convs[i];
        if (!is_conv(conv) || conv.in_channels != in) return "a convolution is not covered";
        in = conv.out_channels;
        stride *= conv.stride;
    }
    const MmbasConv &first = block.convs[0];
    if (stride > 2) return "a block has two strides";
    if (reads_phases(block) && first.stride == 1 && first.kernel > 1)
        return "a convolution with a kernel comes before a block's stride";
    std::string reason = why_not_shortcut(block, channels, stride);
    return reason.empty() ? why_not_gate(block, channels) : reason;
}

}  // namespace

bool reads_phases(const MmbasBlock &block) {
    if (block.convs[0].stride == 2 || block.shortcut == MMBAS_SUBSAMPLE) return true;
    return block.shortcut == MMBAS_CONV && block.shortcut_conv.stride == 2;
}

std::string why_not(const MmbasNetwork &network) {
    if (network.num_stem < 1 || network.num_stem > 16 || !network.stem)
        return "the stem has no convolution";
    if (network.num_blocks < 0 || network.num_blocks > 4096) return "there are too many blocks";
    if (network.num_blocks && !network.blocks) return "the blocks are missing";
    int channels = network.stem[0].in_channels;
    for (int i = 0; i < network.num_stem; i++) {
        const MmbasConv &conv = network.stem[i];
        if (!is_conv(conv) || conv.in_channels != channels || (i && conv.stride > 1) ||
            (!i && conv.dilation > 1))
            return "a convolution of the stem is not covered";
        channels = conv.out_channels;
    }
    int outputs = 0;
    for (int i = 0; i < network.num_blocks; i++) {
        const MmbasBlock &block = network.blocks[i];
        std::string reason = why_not_block(block, channels);
        if (!reason.empty()) return reason;
        channels = block.convs[block.num_convs - 1].out_channels;
        if (block.output < -1 || (block.output >= 0 && block.output != outputs))
            return "the outputs are not numbered in order";
        outputs += block.output >= 0;
    }
    return outputs == network.num_outputs ? "" : "the number of outputs is not that of the blocks";
}

std::string why_not(const MmbasHead &head) {
    if (head.num_convs < 1 || head.num_convs > 16 || !head.convs)
        return "a head has no convolution";
    if (head.num_pools < 0 || head.num_pools > 8) return "a head has more than 8 pools";
    int channels = head.num_pools ? head.pools[0].in_channels : head.convs[0].in_channels;
    const int map_channels = channels;
    for (int i = 0; i < head.num_pools; i++) {
        const MmbasConv &conv = head.pools[i];
        if (!is_conv(conv) || conv.kernel != 1 || conv.stride != 1 ||
            conv.in_channels != map_channels || head.pool_sizes[i] < 1 || head.pool_sizes[i] > 64)
            return "a pool of a head is not covered";
        channels += conv.out_channels;
    }
    for (int i = 0; i < head.num_convs; i++) {
        const MmbasConv &conv = head.convs[i];
        if (!is_conv(conv) || conv.stride != 1 || conv.in_channels != channels)
            return "a convolution of a head is not covered";
        channels = conv.out_channels;
    }
    return "";
}
