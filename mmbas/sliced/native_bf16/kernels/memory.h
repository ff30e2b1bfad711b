// How much memory the steps of a plan need besides feature maps, and where it lies.
#pragma once
#include "team.h"

namespace {

// Most memory that any step needs.
struct Needs {
    int channels = kBlock, gates = kBlock, picked_channels = 0;
    int64_t gate_floats = 0, image = 0, packed = 0, local = 0, band = 0;
    int64_t products = kChunk * kBlock;  // of a thread

    template <class T>
    static void raise(T &most, T one) {
        most = most > one ? most : one;
    }
};

Memory lay_out(const Needs &needs, int threads) {
    Memory memory = {};
    int64_t end = 0;
    auto take = [&](int64_t bytes) {
        int64_t start = end;
        end += round_up(bytes, kLine);
        return start;
    };
    memory.list_stride = round_up((1 + needs.gates) * (int64_t)sizeof(int32_t), kLine);
    memory.lists = take(2 * memory.list_stride);
    memory.sum_stride = round_up(needs.channels, kBlock) * (int64_t)sizeof(float);
    memory.sums = take(threads * memory.sum_stride);
    memory.gate = take(needs.gate_floats * (int64_t)sizeof(float));
    memory.image = take(needs.image);
    memory.packed = take(needs.packed);
    memory.bias_bytes = round_up(needs.channels, kBlock) * (int64_t)sizeof(float);
    memory.product_bytes = needs.products * (int64_t)sizeof(float);
    memory.picks_bytes = div_up(needs.picked_channels, kBlock) * (int64_t)sizeof(Picks);
    memory.local_stride = memory.product_bytes + memory.bias_bytes + memory.picks_bytes;
    memory.local_stride += round_up(needs.local, kLine);
    memory.locals = take(threads * memory.local_stride);
    memory.band_stride = round_up(needs.band, kLine);
    memory.bands = take(threads * memory.band_stride);
    memory.total = end;
    return memory;
}

}  // namespace
