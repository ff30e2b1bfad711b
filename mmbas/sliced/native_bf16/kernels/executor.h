// Runs a plan with one set of kernels.
#pragma once
#include "gate.h"
#include "maps.h"
#include "run_conv.h"
#include "stem.h"

namespace {

template <class Kernels>
void run_step(const Step &step, const Team &team) {
    switch (step.kind) {
        case kImage: return run_image_step(step.image, team);
        case kConv: return run_conv<Kernels>(step.conv, team);
        case kStem: return run_stem<Kernels>(step.stem, team);
        case kMaxPool:
        case kAvgPool: return run_pool(step.pool, team);
        case kGate: return run_gate(step.gate, team);
        case kOutput: return run_output(step.output, team);
    }
}

template <class Kernels>
void run_image(const Run &run) {
    Team team = {run};
    double *seconds = run.rank == 0 ? run.call->step_seconds : nullptr;
    double start = seconds ? run.clock() : 0;
    Kernels::begin();
    for (int i = 0; i < run.plan->num_steps; i++) {
        run_step<Kernels>(run.plan->steps[i], team);
        team.wait();
        if (!seconds) continue;
        double now = run.clock();
        seconds[i] += now - start;
        start = now;
    }
    Kernels::end();
}

}  // namespace
