#include "steps.h"

#include <algorithm>

namespace f32 {
namespace {

// A feature map at one point of the network.
struct Value {
    FeatureMap *map;
    int channels;  // all of them, open or not
    Step *step;    // that wrote it
    int open_list = kAllOpen;
    Step *other = nullptr;  // that wrote it where `step` was skipped

    Size size() const { return map->level->size; }
};

// What a convolution does besides multiplying.
struct Target {
    std::string role;             // of a map of its own
    const Value *into = nullptr;  // or a map that its result is added to
    bool relu = false;
    int open_list = kAllOpen;  // of its outputs
};

class Writer {
   public:
    explicit Writer(Draft &draft) : draft_(draft) {}

    Value stem(const NetworkLayers &network, Size size) {
        Value x = image(network.stem[0].shape, size);
        for (size_t i = 0; i < network.stem.size(); i++)
            x = conv(network.stem[i], x, {"stem " + std::to_string(i), nullptr, true});
        return network.max_pool ? max_pool(x) : x;
    }

    Value block(const BlockLayers &block, const Value &x) {
        int lists[2] = {kAllOpen, kAllOpen};
        if (block.shape.has_gate) gate(block, x, lists);
        const bool skips = block.shape.skip != MMBAS_NEVER;
        if (skips) draft_.guard = kIfOpen;
        Value inner = x;
        // The residual branch reads x before the shortcut's sum may take its place.
        const int last = block.shape.num_convs - 1;
        for (int i = 0; i < last; i++)
            inner = conv(block.convs[i], inner,
                         {"inner " + std::to_string(i), nullptr, true, lists[i]});
        draft_.guard = kAlways;
        Value out = block.shape.shortcut == MMBAS_IDENTITY ? x : shortcut(block, x);
        if (skips) draft_.guard = kIfOpen;
        Value sum = conv(block.convs[last], inner, {"", &out, true});
        // Where the input is the shortcut it stays as it is, a result of ReLU already, and its sums
        // are still those that this block's gate has read.
        if (skips && block.shape.shortcut != MMBAS_IDENTITY)
            sum.other = finish(out, block.shape.skip == MMBAS_SKIP_BRANCH);
        draft_.guard = kAlways;
        return sum;
    }

    void head(const HeadLayers &head, Size size) {
        Value x = pyramid(head, size);
        if (head.shape.average) x = windows(x, 1);
        for (size_t i = 0; i < head.convs.size(); i++)
            x = conv(head.convs[i], x, {"head " + std::to_string(i % 2), nullptr,
                                        i + 1 < head.convs.size()});
        output(0, x);
    }

    void output(int number, const Value &x) {
        Op op = {};
        op.kind = kOutput;
        op.in_channels = x.channels;
        op.tensor = number;
        draft_.add({op, x.map});
    }

   private:
    FeatureMap *map(const std::string &role, int channels, Size size) {
        return draft_.maps.get(role, channels, size);
    }

    // Memory for the input of a convolution, of its output's size.
    FeatureMap *split_map(const MmbasConv &conv, int channels, Size size) {
        return draft_.maps.get("input", channels, strided(size, conv.stride),
                               conv.stride == 2 ? size : Size{});
    }

    Value image(const MmbasConv &conv, Size size) {
        Op op = {};
        op.kind = kSplit;
        op.in_channels = conv.in_channels;
        op.in_list = kAllOpen;
        op.stride = conv.stride;
        op.in_grid = {size.height, size.width, size.width, size.height * size.width};
        FeatureMap *target = split_map(conv, conv.in_channels, size);
        return {target, conv.in_channels, &draft_.add({op, nullptr, target})};
    }

    // The features, and behind their channels those of the pyramid.
    Value pyramid(const HeadLayers &head, Size size) {
        const std::vector<ConvLayer> &pools = head.pools;
        int channels = pools.empty() ? head.convs[0].shape.in_channels : pools[0].shape.in_channels;
        MmbasConv whole = {};
        whole.in_channels = channels;
        whole.stride = 1;
        const Value x = image(whole, size);
        for (size_t i = 0; i < pools.size(); i++) {
            Value pooled = windows(x, head.shape.pool_sizes[i]);
            pooled = conv(pools[i], pooled, {"pyramid", nullptr, true});
            Op op = {};
            op.kind = kResize;
            op.in_channels = op.out_channels = pooled.channels;
            op.align_corners = head.shape.align_corners;
            Step step = {op, pooled.map, map("input", channels + pooled.channels, size)};
            step.first_channel = channels;
            draft_.add(step);
            channels += pooled.channels;
        }
        return {x.map, channels, x.step};
    }

    // Averages over so many windows per side.
    Value windows(const Value &x, int count) {
        Op op = {};
        op.kind = kWindows;
        op.in_channels = op.out_channels = x.channels;
        FeatureMap *target = map("windows", x.channels, {count, count});
        return {target, x.channels, &draft_.add({op, x.map, target})};
    }

    // The phases of `x` that a convolution of stride 2 reads.
    Value split(const MmbasConv &conv, const Value &x) {
        Op op = {};
        op.kind = kSplit;
        op.in_channels = x.channels;
        op.in_list = x.open_list;
        op.stride = 2;
        op.tensor = -1;
        FeatureMap *target = split_map(conv, x.channels, x.size());
        return {target, x.channels, &draft_.add({op, x.map, target}), x.open_list};
    }

    Value conv(const ConvLayer &layer, Value x, const Target &target) {
        const MmbasConv &shape = layer.shape;
        if (shape.stride == 2 && x.map->phases == 1) {
            bool whole = shape.kernel > 1 || x.open_list != kAllOpen;
            x = whole ? split(shape, x) : subsample(x, x.channels, "shortcut");
        }
        FeatureMap *to = target.into ? target.into->map
                                     : map(target.role, shape.out_channels, x.size());
        to->level->pad = std::max(to->level->pad, halo(shape));
        Op op = {};
        op.kind = kConv;
        op.in_channels = shape.in_channels;
        op.out_channels = shape.out_channels;
        op.in_list = x.open_list;
        op.out_list = target.open_list;
        op.relu = target.relu;
        op.accumulate = target.into != nullptr;
        op.stride = shape.stride;
        op.taps = shape.kernel * shape.kernel;
        op.packed = layer.packed;
        Step &step = draft_.add({op, x.map, to, &layer});
        return {to, shape.out_channels, &step, target.open_list};
    }

    Value pool(Kind kind, const Value &x, int channels, int stride, const std::string &role) {
        Op op = {};
        op.kind = kind;
        op.in_channels = x.channels;
        op.out_channels = channels;
        op.stride = stride;
        FeatureMap *target = map(role, channels, strided(x.size(), stride));
        return {target, channels, &draft_.add({op, x.map, target})};
    }

    Value max_pool(const Value &x) {
        x.map->level->pad = std::max(x.map->level->pad, 1);
        return pool(kMaxPool, x, x.channels, 2, "max pool");
    }

    Value subsample(const Value &x, int channels, const std::string &role) {
        return pool(kSubsample, x, channels, 2, role);
    }

    // What is left of a new map where nothing was added to it.
    Step *finish(const Value &x, bool relu) {
        Op op = {};
        op.kind = kFinish;
        op.in_channels = op.out_channels = x.channels;
        op.relu = relu;
        draft_.guard = kIfClosed;
        return &draft_.add({op, x.map, x.map});
    }

    // Its sum is written beside the block's input, which has to stay until it is read.
    Value shortcut(const BlockLayers &block, Value x) {
        stream_ = 1 - stream_;
        const std::string role = "stream " + std::to_string(stream_);
        const int last = block.shape.num_convs - 1;
        if (block.shape.shortcut == MMBAS_SUBSAMPLE)
            return subsample(x, block.convs[last].shape.out_channels, role);
        const int pooling = block.shape.pooling;
        if (pooling > 1) x = pool(kAvgPool, x, x.channels, pooling, "shortcut");
        return conv(block.shortcut[0], x, {role});
    }

    // `lists`: which list holds the open channels after each convolution but the last.
    void gate(const BlockLayers &block, const Value &x, int lists[2]) {
        const MmbasGate &gate = block.gate[0].gate;
        x.step->op.pool = 1;
        if (x.other) x.other->op.pool = 1;
        Op op = {};
        op.kind = kGate;
        op.in_channels = x.channels;
        op.out_channels = gate.num_gates;
        op.hidden = gate.hidden;
        op.tensor = num_gates_++;
        if (block.shape.skip != MMBAS_NEVER) {  // list 0 holds the one gate if it is open
            op.num_lists = 1;
            op.list_ends[0] = 1;
        }
        for (int i = 0; i + 1 < block.shape.num_convs; i++) {
            const int first = block.shape.first_gates[i];
            if (first < 0) continue;
            lists[i] = op.num_lists++;
            op.list_starts[lists[i]] = first;
            op.list_ends[lists[i]] = first + block.convs[i].shape.out_channels;
        }
        draft_.add({op, x.map, nullptr, nullptr, &block.gate[0]});
    }

    Draft &draft_;
    int num_gates_ = 0, stream_ = 0;
};

}  // namespace

Step &Draft::add(const Step &step) {
    max_channels = std::max({max_channels, step.op.in_channels, step.op.out_channels});
    steps.push_back(step);
    steps.back().op.guard = guard;
    return steps.back();
}

Draft draft_steps(const NetworkLayers &network, Size size) {
    Draft draft;
    Writer writer(draft);
    Value x = writer.stem(network, size);
    for (const BlockLayers &block : network.blocks) {
        x = writer.block(block, x);
        if (block.shape.output >= 0) writer.output(block.shape.output, x);
    }
    return draft;
}

Draft draft_steps(const HeadLayers &head, Size size) {
    Draft draft;
    Writer(draft).head(head, size);
    return draft;
}

}  // namespace f32
