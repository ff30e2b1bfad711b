// Runs a plan (plan.h) on one image, with the instructions that this file is compiled for.
#pragma once
#include "conv_kernel.h"
#include "gate.h"
#include "maps.h"

namespace f32 {
namespace {

void run_op(const Op &op, const Team &team, const MmbasCall &call, int64_t image) {
    if (op.guard != kAlways && (team.count(0, 0) > 0) != (op.guard == kIfOpen)) return;
    const Grid &grid = op.in_grid;
    switch (op.kind) {
        case kSplit:
            return run_split(op, team,
                             (const float *)call.images +
                                 image * op.in_channels * grid.channel_stride);
        case kConv: return run_conv(op, team);
        case kMaxPool: return run_max_pool(op, team);
        case kAvgPool: return run_avg_pool(op, team);
        case kSubsample: return run_subsample(op, team);
        case kFinish: return run_finish(op, team);
        case kClear: return run_clear(op, team);
        case kWindows: return run_windows(op, team);
        case kResize: return run_resize(op, team);
        case kGate: {
            int64_t first = image * op.out_channels;
            const float *forced = call.forced[op.tensor];
            return run_gate(op, team, call.logits[op.tensor] + first,
                            forced ? forced + first : nullptr);
        }
        case kOutput: {
            int64_t first = image * op.in_channels * grid.height * grid.width;
            return run_output(op, team, (float *)call.outputs[op.tensor] + first);
        }
    }
}

void run_image(const Run &run) {
    Team team = {run.layout, run.workspace, run.rank, run.size};
    assert((uintptr_t)team.workspace % kVectorBytes == 0);
    double *seconds = run.rank == 0 ? run.call->step_seconds : nullptr;
    double start = seconds ? run.clock() : 0;
    for (int i = 0; i < run.num_ops; i++) {
        run_op(run.ops[i], team, *run.call, run.image);
        team.wait();
        if (!seconds) continue;
        double now = run.clock();
        seconds[i] += now - start;
        start = now;
    }
}

}  // namespace
}  // namespace f32
