#include "planner.h"

#include "../../native/interface/check_network.h"
#include "memory.h"

namespace {

constexpr int kLargeMap = 400;  // positions from which on threads share them; see large_maps.h
// Most tiles of a piece of weights for 16 outputs, but at least one block of inputs; see
// small_maps.h.
constexpr int kOutputSteps = 9, kInputSteps = 16;

// How far taps reach beyond the borders of the map, or of its phases.
int reach(const MmbasConv &conv) {
    int radius = conv.dilation * (conv.kernel / 2);
    return conv.stride == 2 ? (radius + 1) / 2 : radius;
}

// What a convolution does besides multiplying.
struct Extras {
    int in_list = kAllOpen, out_list = kAllOpen;
    const Map *residual = nullptr;
    const Map *shortcut_map = nullptr;  // read by `shortcut`
    const ConvLayer *shortcut = nullptr;
    Gated gated = kDense;
};

class Planner {
  public:
    Planner(const NetworkLayers &network, FeatureMaps &maps) : network_(network), maps_(maps) {}

    void draft(Size size) {
        plan_ = std::make_unique<FinishedPlan>();
        tables_ = Tables();
        num_gates_ = 0;
        Map x = stem(size);
        for (size_t i = 0; i < network_.blocks.size(); i++) x = block(i, x);
    }

    std::unique_ptr<FinishedPlan> finish() {
        plan_->tables = std::move(tables_);
        return std::move(plan_);
    }

    const Needs &needs() const { return needs_; }

  private:
    Role other_stream() const { return stream_ == kStream ? kOtherStream : kStream; }

    // Whether the block reads its input in phases.
    bool phased_before(size_t block) const {
        return block < network_.blocks.size() && reads_phases(network_.blocks[block].shape);
    }

    Step &add(Kind kind) {
        plan_->steps.push_back({});
        plan_->steps.back().kind = kind;
        return plan_->steps.back();
    }

    void sum_last() {
        Step &last = plan_->steps.back();
        int32_t &sums = last.kind == kConv   ? last.conv.sums
                        : last.kind == kStem ? last.stem.conv.sums
                                             : last.pool.sums;
        sums = 1;
    }

    Map stem(Size size) {
        const size_t last = network_.stem.size() - 1;
        const bool phased = phased_before(0);
        stream_ = kStream;
        if (!last && network_.max_pool) return pooled_image_conv(size, phased);
        Map x = image_conv(network_.stem[0], size, phased && !last && !network_.max_pool);
        for (size_t i = 1; i <= last; i++) {
            stream_ = other_stream();
            x = conv(network_.stem[i], x, stream_, phased && i == last && !network_.max_pool, {});
        }
        if (!network_.max_pool) return x;
        maps_.need_padding(size_of(x), 1);
        return pool(kMaxPool, x, strided(size_of(x), kPoolStride), stream_, phased, 0);
    }

    Map block(size_t index, const Map &x) {
        const BlockLayers &block = network_.blocks[index];
        const int num = block.shape.num_convs;
        int lists[2] = {kAllOpen, kAllOpen};
        if (block.shape.has_gate) gate(block, x, lists);
        Map inner = x;
        for (int i = 0; i + 1 < num; i++) {
            Extras extras;
            extras.in_list = i ? lists[i - 1] : kAllOpen;
            extras.out_list = lists[i];
            bool phased = block.convs[i + 1].shape.stride == 2;
            inner = conv(block.convs[i], inner, i ? kOtherInner : kInner, phased, extras);
        }
        Extras extras;
        extras.in_list = lists[num - 2];
        Map result = last_conv(index, x, inner, extras);
        if (block.shape.output >= 0) output(block.shape.output, result);
        return result;
    }

    // The block's last convolution, which adds the shortcut.
    Map last_conv(size_t index, const Map &x, const Map &inner, Extras extras) {
        const BlockLayers &block = network_.blocks[index];
        const MmbasBlock &shape = block.shape;
        const bool phased = phased_before(index + 1);
        Size out = strided(size_of(inner), shape.convs[shape.num_convs - 1].stride);
        Map pooled, first_phase = x;
        if (shape.shortcut == MMBAS_CONV) {
            if (shape.pooling > 1) pooled = pool(kAvgPool, x, out, kPooled, false, shape.pooling);
            extras.shortcut = &block.shortcut[0];
            extras.shortcut_map = shape.pooling > 1 ? &pooled : &x;
        } else if (shape.shortcut == MMBAS_SUBSAMPLE) {
            first_phase.grid = {out.height, out.width, x.grid.pitch, 0, 0, 0};
            extras.residual = &first_phase;
        } else {
            extras.residual = &x;
        }
        // A sum at the same positions may take the place of the input; nothing else may.
        const bool same_place = size_of(x) == out && x.grid.phased == phased;
        if (same_place && extras.residual != &x) stream_ = other_stream();
        return conv(block.convs.back(), inner, stream_, phased, extras);
    }

    // The image, and what a convolution of it has before its target is known.
    ConvStep draft_image_conv(const ConvLayer &layer, Size size) {
        const MmbasConv &shape = layer.shape;
        const int pad = shape.kernel / 2, channels = shape.in_channels;
        Size out = strided(size, shape.stride);
        ImageStep image = {channels, size.height, size.width, pad,
                           (size.width + 2 * pad) * channels};
        add(kImage).image = image;
        int64_t elements = (int64_t)image.row * (size.height + 2 * pad) + 2 * kBlock;
        Needs::raise(needs_.image, elements * (int64_t)sizeof(Bf16));
        ConvStep step = {};
        int row_bytes = (int)round_up(shape.kernel * shape.kernel * channels, kBlock) * 2;
        step.image = {shape.kernel, shape.stride, channels, image.row, out.width, row_bytes};
        step.main = {0, kLine, row_bytes / 2, 1, tables_.taps({0}), layer.packed.weights()};
        step.in_list = step.out_list = kAllOpen;
        step.out_channels = shape.out_channels;
        step.out_height = out.height;
        step.out_width = out.width;
        step.bias = layer.packed.bias.data();
        step.positions = out.height * out.width;
        step.large = 1;
        Needs::raise(needs_.local, (int64_t)kChunk * row_bytes + 2 * kLine);
        Needs::raise(needs_.channels, step.out_channels);
        return step;
    }

    Map image_conv(const ConvLayer &layer, Size size, bool phased) {
        ConvStep step = draft_image_conv(layer, size);
        Size out = strided(size, layer.shape.stride);
        Map target = maps_.get(out, phased, stream_, step.out_channels);
        return finish_conv(step, layer, kPixels, target, {});
    }

    // The convolution of the image with the max pooling behind it.
    Map pooled_image_conv(Size size, bool phased) {
        StemStep step = {};
        step.conv = draft_image_conv(network_.stem[0], size);
        Size out = strided(size, network_.stem[0].shape.stride);
        step.conv_height = out.height;
        step.out = maps_.get(strided(out, kPoolStride), phased, stream_, step.conv.out_channels);
        const int rows = 2 * kBandRows + 1, pitch = out.width + 1;
        int64_t stride = (int64_t)(rows * pitch + 2) * kLine;
        // One position of padding stands in front of row 0.
        step.band = {kLine, stride, step.conv.out_channels, {rows, out.width, pitch, 0, 0, 0}};
        step.conv.out_dump = -1;
        step.conv.out_table = tables_.rows(rows, out.width, pitch);
        Needs::raise(needs_.band, stride * div_up(step.conv.out_channels, kBlock) + 2 * kLine);
        add(kStem).stem = step;
        return step.out;
    }

    Map conv(const ConvLayer &layer, const Map &in, Role role, bool phased, const Extras &extras) {
        const MmbasConv &shape = layer.shape;
        Size out = strided(size_of(in), shape.stride);
        const bool all_phases = in.grid.phased && shape.stride == 1;
        if (!all_phases) maps_.need_padding(out, reach(shape));
        Map target = maps_.get(out, phased, role, shape.out_channels);
        ConvStep step = {};
        step.in_list = extras.in_list;
        step.out_list = extras.out_list;
        step.gated = extras.out_list == kAllOpen ? kDense : kOutputs;
        if (extras.in_list != kAllOpen) step.gated = step.gated == kDense ? kInputs : kBoth;
        step.main = {in.offset,
                     in.block_stride,
                     shape.in_channels,
                     shape.kernel * shape.kernel,
                     tables_.conv_taps(shape, in.grid),
                     layer.packed.weights()};
        Grid computed = in.grid;
        if (!all_phases) computed = {out.height, out.width, in.grid.pitch, 0, 0, 0};
        step.positions = (int32_t)span(computed);
        step.large = step.positions >= kLargeMap;
        note_packing(step, shape);
        return finish_conv(step, layer, all_phases ? kPhases : kPlane, target, extras);
    }

    Map finish_conv(ConvStep step, const ConvLayer &layer, Order order, const Map &target,
                    const Extras &extras) {
        step.out_channels = layer.shape.out_channels;
        step.out_height = target.grid.height;
        step.out_width = target.grid.width;
        step.bias = layer.packed.bias.data();
        step.out_table = tables_.positions(
            order, target, maps_.grid(size_of(target), order == kPhases), target.grid.dump);
        step.out_offset = target.offset;
        step.out_block_stride = target.block_stride;
        step.out_dump = target.grid.dump;
        if (const Map *residual = extras.residual) {
            step.residual_channels = residual->channels;
            step.residual_table = tables_.positions(
                order, *residual, maps_.grid(size_of(*residual), order == kPhases), 0);
            step.residual_offset = residual->offset;
            step.residual_block_stride = residual->block_stride;
        }
        if (extras.shortcut) {
            const Map &map = *extras.shortcut_map;
            step.shortcut = {map.offset, map.block_stride,  map.channels,
                             1,          tables_.taps({0}), extras.shortcut->packed.weights()};
        }
        Needs::raise(needs_.channels, step.out_channels);
        add(kConv).conv = step;
        return target;
    }

    // How the weights are packed, and memory for it.
    void note_packing(ConvStep &step, const MmbasConv &shape) {
        const int64_t pairs = div_up(shape.out_channels, kBlock), taps = step.main.num_taps;
        const int64_t blocks = div_up(shape.in_channels, kBlock);
        const int64_t most = step.gated == kOutputs ? kOutputSteps : kInputSteps;
        step.inputs_outside = is_by_input(step.gated, taps);
        step.piece_blocks = (int32_t)(taps < most ? smaller(most / taps, blocks) : 1);
        if (step.gated == kBoth) Needs::raise(needs_.picked_channels, shape.out_channels);
        if (step.large) {
            int64_t pair = 2 * (blocks * taps * kTile + kBlock) * (int64_t)sizeof(Bf16);
            if (step.gated != kDense) Needs::raise(needs_.packed, pair * pairs);
            return;
        }
        int64_t products = round_up(step.positions, kChunk) * kBlock;
        Needs::raise(needs_.products, products * (step.inputs_outside ? pairs : 1));
        int64_t two_pieces = 4 * step.piece_blocks * taps * kTile * (int64_t)sizeof(Bf16);
        if (step.gated != kDense) Needs::raise(needs_.local, two_pieces);
    }

    Map pool(Kind kind, const Map &in, Size out, Role role, bool phased, int size) {
        Map target = maps_.get(out, phased, role, in.channels);
        add(kind).pool = {in, target, size, 0};
        return target;
    }

    void gate(const BlockLayers &block, const Map &x, int lists[2]) {
        sum_last();
        GateStep step = {};
        step.gate = block.gate[0].gate;
        step.pixels = (float)x.grid.height * (float)x.grid.width;
        step.number = num_gates_++;
        for (int i = 0; i + 1 < block.shape.num_convs; i++) {
            int first = block.shape.first_gates[i];
            if (first < 0) continue;
            lists[i] = step.num_lists++;
            step.starts[lists[i]] = first;
            step.ends[lists[i]] = first + block.shape.convs[i].out_channels;
            Needs::raise(needs_.gates, block.shape.convs[i].out_channels);
        }
        Needs::raise(needs_.gate_floats, (int64_t)step.gate.in_channels + step.gate.hidden);
        add(kGate).gate = step;
    }

    void output(int number, const Map &map) {
        add(kOutput).output = {map, number};
        plan_->outputs.push_back(map);
    }

    const NetworkLayers &network_;
    FeatureMaps &maps_;
    std::unique_ptr<FinishedPlan> plan_;
    Needs needs_;
    Tables tables_;
    int num_gates_ = 0;
    Role stream_ = kStream;  // of the map between the blocks
};

}  // namespace

std::unique_ptr<FinishedPlan> make_plan(const NetworkLayers &network, Size size, int threads) {
    FeatureMaps maps;
    Planner planner(network, maps);
    // Padding is known after the first draft, so memory after the second.
    planner.draft(size);
    planner.draft(size);
    Memory memory = lay_out(planner.needs(), threads);
    memory.total = maps.place(memory.total);
    planner.draft(size);
    std::unique_ptr<FinishedPlan> result = planner.finish();
    for (Step &step : result->steps) {
        if (step.kind == kStem) step.stem.conv.main.offset = memory.image;
        if (step.kind == kConv && step.conv.image.kernel) step.conv.main.offset = memory.image;
    }
    result->plan = {result->steps.data(), (int32_t)result->steps.size(), memory};
    return result;
}
