// The float32 kernels as backbone.cpp runs them: the finished list of operations for one image
// size, with the memory that it works in.
#include "../interface/engine.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <list>

#include "memory_sharing.h"

namespace f32 {
namespace {

constexpr int kMaxLists = 2;                 // of one gate: a bottleneck's
constexpr int64_t kUnsharedBytes = 64 << 20;  // clearing less is not worth its time

RunImage run_function(int kernels) {
    switch (kernels) {
        case MMBAS_GENERIC: return mmbas_run_generic;
        case MMBAS_AVX2: return mmbas_run_avx2;
        case MMBAS_AVX512: return mmbas_run_avx512;
        default: return nullptr;
    }
}

PeakRate peak_function(int kernels) {
    switch (kernels) {
        case MMBAS_AVX2: return mmbas_peak_avx2;
        case MMBAS_AVX512: return mmbas_peak_avx512;
        default: return mmbas_peak_generic;
    }
}

// Memory for gates and max pooling, of which one runs at a time.
int64_t scratch_floats(const Draft &draft, int threads) {
    int64_t most = 0;
    for (const Step &step : draft.steps) {
        most = std::max<int64_t>(most, (int64_t)step.op.in_channels + step.op.hidden);
        if (step.source)
            most = std::max(most, threads * ((int64_t)step.source->level->size.width + 16));
    }
    return round_up(most, kMaxLanes);
}

class Float32Plan : public SizedPlan {
   public:
    Float32Plan(Draft draft, int threads, int64_t unshared_floats, RunImage run) : run_(run) {
        layout_.list_stride = round_up(1 + draft.max_channels + kLookAhead, kMaxLanes);
        layout_.pools = kMaxLists * layout_.list_stride;
        layout_.pool_stride = (int64_t)draft.max_channels * kMaxLanes;
        const int64_t scratch = layout_.pools + threads * layout_.pool_stride;
        layout_.total = place_maps(draft, scratch + scratch_floats(draft, threads),
                                   unshared_floats);
        for (int i = 0; i < draft.max_channels; i++) all_.push_back(i);
        all_.resize(all_.size() + kLookAhead, 0);
        for (const Level &level : draft.maps.levels) masks_.push_back({level.size, level.mask()});
        for (Step &step : draft.steps) {
            step.op.scratch = scratch;
            step.op.all = all_.data();
            fill(step);
            ops_.push_back(step.op);
        }
    }

    int64_t workspace_bytes() const override { return layout_.total * (int64_t)sizeof(float); }

    void run(const MmbasCall &call, char *workspace, int image, int rank,
             int size) const override {
        run_({omp_get_wtime, ops_.data(), (int32_t)ops_.size(), layout_, &call,
              (float *)workspace, image, rank, size});
    }

    std::string describe(int step) const override;

   private:
    // Writes offsets, grids and pointers into an operation.
    void fill(Step &step) {
        Op &op = step.op;
        if (step.source) {
            op.in_offset = step.source->offset;
            op.in_grid = step.source->grid();
        }
        if (step.target) {  // splitting writes phase by phase, all else channel by channel
            op.out_grid = step.target->grid(op.kind == kSplit);
            op.out_offset = step.target->offset +
                            (int64_t)step.first_channel * op.out_grid.channel_stride;
            op.mask = mask(step.target->level->size);
        }
        if (step.conv) {
            offsets_.push_back(tap_offsets(step.conv->shape, *step.target->level));
            op.tap_offsets = offsets_.back().data();
            op.weights = step.conv->weights();
            op.bias = step.conv->bias();
        } else if (step.gate) {
            const MmbasGate &gate = step.gate->gate;
            op.weights = gate.weights;
            op.bias = gate.bias;
            op.weights2 = gate.weights2;
            op.bias2 = gate.bias2;
        }
    }

    const int32_t *mask(Size size) const {
        for (const Mask &mask : masks_)
            if (mask.size == size) return mask.values.data();
        return nullptr;
    }

    struct Mask {
        Size size;
        std::vector<int32_t> values;
    };
    RunImage run_;
    Layout layout_ = {};
    std::vector<Op> ops_;
    std::vector<int32_t> all_;
    std::list<Mask> masks_;
    std::list<std::vector<int64_t>> offsets_;
};

std::string Float32Plan::describe(int step) const {
    static const char *const kNames[] = {"split", "conv", "max pool", "average pool",
                                         "subsample", "gate", "output", "finish", "clear", "windows",
                                         "resize"};
    if (step < 0 || step >= (int64_t)ops_.size()) return "";
    const Op &op = ops_[step];
    std::string text = kNames[op.kind];
    if (op.kind != kConv) return text;
    if (op.in_list != kAllOpen) text += op.out_list != kAllOpen ? " both" : " inputs";
    else text += op.out_list != kAllOpen ? " outputs" : " dense";
    const std::string kernel = std::to_string(std::lround(std::sqrt(op.taps)));
    text += " " + kernel + "x" + kernel + " " + std::to_string(op.in_channels) + "->";
    return text + std::to_string(op.out_channels) + ", " + std::to_string(op.out_grid.height) +
           "x" + std::to_string(op.out_grid.width);
}

// `Layers` are those of a network or of a head.
template <class Layers>
class Float32Engine : public Engine {
   public:
    Float32Engine(Layers layers, const MmbasOptions &options)
        : layers_(std::move(layers)), run_(run_function(options.kernels)),
          peak_(peak_function(options.kernels)) {
        int64_t bytes = options.unshared_bytes < 0 ? kUnsharedBytes : options.unshared_bytes;
        unshared_floats_ = bytes / (int64_t)sizeof(float);
    }
    std::unique_ptr<SizedPlan> plan(Size size, int threads) const override {
        return std::make_unique<Float32Plan>(draft_steps(layers_, size), threads,
                                             unshared_floats_, run_);
    }
    int64_t weight_bytes() const override { return layers_.bytes(); }
    double peak_rate() const override { return peak_(omp_get_wtime); }

   private:
    Layers layers_;
    RunImage run_;
    PeakRate peak_;
    int64_t unshared_floats_;
};

}  // namespace
}  // namespace f32

bool has_float32_kernels(int kernels) { return f32::run_function(kernels) != nullptr; }

std::unique_ptr<Engine> make_float32_engine(const MmbasNetwork &network,
                                            const MmbasOptions &options) {
    return std::make_unique<f32::Float32Engine<f32::NetworkLayers>>(
        f32::NetworkLayers(network, options), options);
}

std::unique_ptr<Engine> make_head_engine(const MmbasHead &head, const MmbasOptions &options) {
    return std::make_unique<f32::Float32Engine<f32::HeadLayers>>(f32::HeadLayers(head), options);
}
