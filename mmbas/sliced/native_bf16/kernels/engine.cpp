// The bfloat16 kernels as backbone.cpp runs them.
#include "../../native/interface/engine.h"

#include <omp.h>

#include "planner.h"

namespace {

RunImage run_function(int kernels) {
    switch (kernels) {
        case MMBAS_PORTABLE: return run_image_portable;
        case MMBAS_AVX512_BF16: return run_image_avx512_bf16;
        case MMBAS_AMX: return run_image_amx;
        default: return nullptr;
    }
}

PeakRate peak_function(int kernels) {
    switch (kernels) {
        case MMBAS_AVX512_BF16: return peak_rate_avx512_bf16;
        case MMBAS_AMX: return peak_rate_amx;
        default: return peak_rate_portable;
    }
}

class Bfloat16Plan : public SizedPlan {
  public:
    Bfloat16Plan(std::unique_ptr<FinishedPlan> plan, RunImage run)
        : plan_(std::move(plan)), run_(run) {}
    int64_t workspace_bytes() const override { return plan_->plan.memory.total; }
    void run(const MmbasCall &call, char *workspace, int image, int rank, int size) const override {
        run_({omp_get_wtime, &plan_->plan, &call, workspace, image, rank, size});
    }
    std::string describe(int step) const override {
        const std::vector<Step> &steps = plan_->steps;
        return step < 0 || step >= (int64_t)steps.size() ? "" : ::describe(steps[step]);
    }

  private:
    std::unique_ptr<FinishedPlan> plan_;
    RunImage run_;
};

class Bfloat16Engine : public Engine {
  public:
    Bfloat16Engine(const MmbasNetwork &network, const MmbasOptions &options)
        : layers_(network, options), run_(run_function(options.kernels)),
          peak_(peak_function(options.kernels)) {}
    std::unique_ptr<SizedPlan> plan(Size size, int threads) const override {
        return std::make_unique<Bfloat16Plan>(make_plan(layers_, size, threads), run_);
    }
    int64_t weight_bytes() const override { return layers_.weight_bytes(); }
    double peak_rate() const override { return peak_(omp_get_wtime); }

  private:
    NetworkLayers layers_;
    RunImage run_;
    PeakRate peak_;
};

}  // namespace

bool has_bfloat16_kernels(int kernels) { return run_function(kernels) != nullptr; }

std::unique_ptr<Engine> make_bfloat16_engine(const MmbasNetwork &network,
                                             const MmbasOptions &options) {
    return std::make_unique<Bfloat16Engine>(network, options);
}
